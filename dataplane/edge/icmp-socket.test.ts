// Goal: the sockets hand over ICMP errors of both families as whole packets, and nothing else.
// Method: inside a lab, errors and echoes that the kernel itself sends over loopback.

import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { ErrorSource } from '../../base/device.ts'
import { packetHolds, view } from '../testing/packets.ts'
import { errorSource, openIcmpSocket } from './icmp-socket.ts'
import { close } from './libc.ts'
import { ICMP_BUFFER_SIZE } from './limits.ts'
import { allocateSlab } from './slab.ts'
import { insideLab, run, until } from './testing/lab.ts'

const t = await insideLab(import.meta.filename)

const AT = 64
const CAPACITY = 2048
const EAGAIN = 11
const FAMILIES = [
  { family: 4, kind: 'udp4', address: '127.0.0.1', ip: 20, upper: 1, type: 3, code: 3 },
  { family: 6, kind: 'udp6', address: '::1', ip: 40, upper: 58, type: 1, code: 4 },
] as const

for (const { family, kind, address, ip, upper, type, code } of FAMILIES) {
  const slab = allocateSlab(AT + CAPACITY + 64)
  const fd = openIcmpSocket(family)!
  t.teardown(() => close(fd))
  const source = errorSource(fd, family, slab)

  /** Sends a datagram to a port where nobody listens; returns the ports. */
  async function refused(size: number): Promise<[number, number]> {
    const deaf = createSocket(kind).bind(0, address)
    await once(deaf, 'listening')
    const { port } = deaf.address()
    deaf.close()
    const socket = createSocket(kind).bind(0, address)
    await once(socket, 'listening')
    const own = socket.address().port
    await new Promise((sent) => socket.send(Buffer.alloc(size), port, address, sent))
    socket.close()
    return [own, port]
  }

  t.test(`IPv${family}: nothing there`, async (t) => {
    t.equal(source.read(AT, CAPACITY), -EAGAIN)
  })

  t.test(`IPv${family}: an error is a whole packet`, async (t) => {
    const [from, to] = await refused(100)
    const size = await received(source)
    t.equal(size, 2 * ip + 8 + 8 + 100)
    const packet = slab.bytes.slice(AT, AT + size)
    t.ok(packetHolds(packet), 'addresses, length and checksum')
    t.equal(packet[0]! >> 4, family)
    t.equal(packet[family === 4 ? 9 : 6], upper)
    t.same([packet[ip], packet[ip + 1]], [type, code])
    const quoted = 2 * ip + 8
    const at = view(packet)
    t.same([at.getUint16(quoted), at.getUint16(quoted + 2)], [from, to])
    t.equal(source.read(AT, CAPACITY), -EAGAIN, 'once')
  })

  t.test(`IPv${family}: a longer one than there is room for is cut off there`, async (t) => {
    const { bytes } = slab
    bytes.fill(0x5a)
    await refused(300)
    const capacity = 2 * ip + 20
    let size = -EAGAIN
    await until('there is an error', () => {
      size = source.read(AT, capacity)
      return size !== -EAGAIN
    })
    t.equal(size, capacity)
    t.ok(bytes.subarray(AT + capacity).every((byte) => byte === 0x5a))
    t.equal(source.read(AT, CAPACITY), -EAGAIN, 'the rest is gone')
  })

  t.test(`IPv${family}: echoes do not pass, and the errors that wait are bounded`, async (t) => {
    const ping = spawnSync('ping', ['-c', '2', '-i', '0.01', '-q', address])
    if (ping.error) t.comment('no ping')
    else t.equal(ping.status, 0)
    t.equal(source.read(AT, CAPACITY), -EAGAIN)
    for (let i = 0; i < 400; i++) await refused(500)
    let waiting = 0
    await until('there is an error', () => source.read(AT, CAPACITY) > 0)
    while (source.read(AT, CAPACITY) > 0) waiting++
    t.ok(waiting < ICMP_BUFFER_SIZE / 500, `${waiting}`)
  })

  async function received(from: ErrorSource): Promise<number> {
    let size = -EAGAIN
    await until('there is an error', () => {
      size = from.read(AT, CAPACITY)
      return size !== -EAGAIN
    })
    return size
  }
}

t.test('without the right to', async (t) => {
  const bounds = ['--bounding-set', '-net_raw', '--inh-caps', '-net_raw']
  const from = new URL('./icmp-socket.ts', import.meta.url).href
  const script = `
    import { openIcmpSocket } from '${from}'
    for (const family of [4, 6]) {
      try { openIcmpSocket(family) } catch ({ code, message }) { console.log(code, message) }
    }`
  const said = run('setpriv', ...bounds, process.execPath, '--input-type=module', '-e', script)
  const lines = said.trim().split('\n')
  t.equal(lines.length, 2)
  for (const line of lines) t.match(line, /^NO_PERMISSION .*CAP_NET_RAW/)
})
