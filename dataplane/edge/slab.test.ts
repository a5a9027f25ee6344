// Goal: the slab is what its header says. Method: /proc/self/status for residency, a system call
// for the guard page.

import { openSync, readFileSync } from 'node:fs'
import t from 'tap'
import * as libc from './libc.ts'
import { allocateSlab } from './slab.ts'

function residentKilobytes(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
}

t.test('untouched pages are not resident, touched ones are', (t) => {
  const before = residentKilobytes()
  const slab = allocateSlab(256 << 20)
  t.ok(residentKilobytes() - before < 32 << 10, 'the mapping alone')
  slab.bytes.fill(1, 0, 128 << 20)
  t.ok(residentKilobytes() - before > 100 << 10, 'half of it written')
  t.equal(slab.bytes[(256 << 20) - 1], 0, 'zeroed')
  slab.free()
  slab.free()
  t.ok(residentKilobytes() - before < 64 << 10, 'given back')
  t.end()
})

t.test('address and offset meet; one byte too far is EFAULT', (t) => {
  const slab = allocateSlab(4097)
  t.equal(slab.bytes.length, 8192, 'whole pages')
  const zero = openSync('/dev/zero', 'r')
  slab.bytes.fill(9)
  t.equal(libc.read(zero, slab.address + 100, 50), 50)
  t.equal(slab.bytes.indexOf(0), 100)
  t.equal(slab.view.getUint8(149), 0)
  t.equal(slab.bytes[150], 9)
  t.equal(libc.read(zero, slab.address + 8192, 1), -14)
  slab.free()
  t.throws(() => allocateSlab(0), { code: 'LIMIT' })
  t.throws(() => allocateSlab(2 ** 31), { code: 'LIMIT' })
  t.end()
})

t.test('thread usage rises with work; a thread can be pinned', (t) => {
  const usage = { userUs: 0, systemUs: 0, voluntarySwitches: 0, involuntarySwitches: 0 }
  t.equal(libc.threadUsage(usage), 0)
  const first = usage.userUs + usage.systemUs
  const deadline = performance.now() + 50
  while (performance.now() < deadline);
  libc.threadUsage(usage)
  t.ok(usage.userUs + usage.systemUs > first)
  const allowed = (): string =>
    /Cpus_allowed_list:\s+(\S+)/.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1] ?? ''
  const cpu = Number(/^\d+/.exec(allowed())?.[0])
  t.equal(libc.pinThread(cpu), 0)
  t.equal(allowed(), String(cpu))
  t.equal(libc.pinThread(-1), -22)
  t.equal(libc.pinThread(1023), -22, 'there is no such processor')
  t.end()
})
