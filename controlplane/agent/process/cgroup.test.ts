// Goal: a limit that a host cannot enforce is refused; it is neither believed nor waited for.
// Method: hosts without control groups: a file system in which nothing can be made, as a sysfs
// without any, and a folder of the test's own in their place.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { makeGroup } from './cgroup.ts'

const LIMITS = { MemoryBytes: 2 ** 24 }
const REFUSED = { message: /^resource limits cannot be enforced on this node: / }

t.test('nothing can be made where groups should be', async (t) => {
  await t.rejects(makeGroup('task', LIMITS, '/proc'), REFUSED)
})

t.test('a folder that is no control group', async (t) => {
  const mount = mkdtempSync(join(tmpdir(), 'weft-cgroup-'))
  t.teardown(() => rmSync(mount, { recursive: true }))
  await t.rejects(makeGroup('task', LIMITS, mount), REFUSED)
  mkdirSync(join(mount, 'memory'))
  await t.rejects(makeGroup('task', LIMITS, mount), REFUSED)
  t.same(readdirSync(join(mount, 'memory')), [], 'nothing is left')
  writeFileSync(join(mount, 'memory', 'cgroup.procs'), '')
  const joins = await makeGroup('task', LIMITS, mount)
  t.same(joins, [join(mount, 'memory', 'weft', 'task', 'cgroup.procs')])
})

t.test('without limits there is no group', async (t) => {
  t.same(await makeGroup('task', undefined, '/proc'), [])
  t.same(await makeGroup('task', {}, '/proc'), [])
})
