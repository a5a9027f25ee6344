// Goal: the data key of a member that works can be changed, and a key file is private and whole.
// Method: a member under proposals; files.

import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { fileKeys } from './keys.ts'
import { newDataKey } from './seal.ts'
import { TestCluster } from './testing/cluster.ts'
import { text } from './testing/machine.ts'
import { load, temporaryFolder } from './testing/stored.ts'

t.test('the key changes while proposals go on', async (t) => {
  const all = new TestCluster(40, 5)
  t.teardown(() => all.close())
  const [node] = await all.found(1)
  const { member } = await all.leader()
  for (let i = 0; i < 100; i++) await member!.propose(text(`${i}`))
  const before = await node!.keys.unwrap()
  const rotations = [member!.rotateKey(), member!.rotateKey()]
  for (let i = 100; i < 150; i++) await member!.propose(text(`${i}`))
  await Promise.all(rotations)
  const after = await node!.keys.unwrap()
  t.equal(after.pending, null)
  t.notSame(after.current, before.current)
  await all.stop(node!)
  t.throws(() => load(node!.directory, before), { code: 'wrong-key' })
  const again = await all.restart(node!)
  await again.readBarrier()
  t.same(
    node!.machine.texts,
    Array.from({ length: 150 }, (_, i) => `${i}`),
  )
})

t.test('a start goes on with a change that a crash interrupted', async (t) => {
  const all = new TestCluster()
  t.teardown(() => all.close())
  const [node] = await all.found(1)
  const { member } = await all.leader()
  await member!.propose(text('x'))
  await all.stop(node!)
  const { current } = await node!.keys.unwrap()
  const pending = newDataKey()
  await node!.keys.replace({ current, pending })
  await all.restart(node!)
  t.same(await node!.keys.unwrap(), { current: pending, pending: null })
  await all.stop(node!)
  t.throws(() => load(node!.directory, { current, pending: null }), { code: 'wrong-key' })
})

t.test('a key file', async (t) => {
  const { path: folder, remove } = temporaryFolder()
  t.teardown(remove)
  const path = join(folder, 'key')
  const keys = fileKeys(path)
  const first = await keys.unwrap()
  t.equal(first.current.length, 32)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.same(await fileKeys(path).unwrap(), first, 'the same the next time')
  const pending = newDataKey()
  await keys.replace({ current: first.current, pending })
  t.same(await keys.unwrap(), {
    current: Buffer.from(first.current),
    pending: Buffer.from(pending),
  })
  t.equal(readFileSync(path, 'utf8').split('\n').length, 3)
  for (const bad of ['', 'short\n', `${Buffer.alloc(31).toString('base64')}\n`]) {
    writeFileSync(path, bad)
    await t.rejects(keys.unwrap(), { code: 'wrong-key' }, JSON.stringify(bad))
  }
})
