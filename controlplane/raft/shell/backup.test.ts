// Goal: a backup of a member that goes on working is whole, and brings its cluster back to life
// under another address; and nothing else can be done with it. Method: members of one process.

import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readBackup, restoreBackup } from './backup.ts'
import { TestCluster, until } from './testing/cluster.ts'
import { text } from './testing/machine.ts'
import { flip } from './testing/stored.ts'

t.test('a backup of a live member, restored as a new cluster', async (t) => {
  const all = new TestCluster(100, 10)
  t.teardown(() => all.close())
  const nodes = await all.found(3)
  const leader = await all.leader()
  const { member } = leader
  for (let i = 0; i < 250; i++) await member!.propose(text(`before ${i}`))
  const path = join(all.root, 'copy.db')
  let isOver = false
  const writing = (async () => {
    for (let i = 0; !isOver; i++) await member!.propose(text(`during ${i}`))
  })()
  await member!.backup(path)
  isOver = true
  await writing
  await t.rejects(member!.backup(path), /EEXIST/, 'nothing is written over')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(readFileSync(path).indexOf('before 1'), -1, 'it is sealed')
  t.same(readBackup(path), { clusterId: 'test-cluster', nodeId: leader.name, raftId: member!.id })

  const node = all.addNode('restored')
  Object.assign(node.keys, leader.keys)
  restoreBackup(path, node.directory)
  t.throws(() => restoreBackup(path, node.directory), { code: 'state-exists' })
  await t.rejects(all.start(node, { kind: 'restart' }), { code: 'restored' })
  const start = { kind: 'force-new-cluster', address: 'elsewhere:1' } as const
  const alone = await all.start(node, start)
  await until(() => alone.isLeader)
  t.not(alone.id, member!.id, 'under a Raft id of its own')
  const { texts } = node.machine
  t.same(
    texts.slice(0, 250),
    Array.from({ length: 250 }, (_, i) => `before ${i}`),
  )
  t.same(
    texts.slice(250),
    Array.from({ length: texts.length - 250 }, (_, i) => `during ${i}`),
    'a beginning of what went on',
  )
  t.same(
    alone.membership.members().map(({ address }) => address),
    ['elsewhere:1'],
  )
  for (const { member } of nodes) t.notOk(alone.speaksFor('x', member!.id), 'all removed')
  await alone.propose(text('on'))
  const { id } = alone
  await all.stop(node)
  const again = await all.restart({ ...node, name: leader.name })
  t.equal(again.id, id, 'from then on it restarts as any other')
  await again.close()
})

t.test('what is no backup, or a damaged one, is refused', async (t) => {
  const all = new TestCluster()
  t.teardown(() => all.close())
  const [node] = await all.found(1)
  const { member } = await all.leader()
  await member!.propose(text('x'))
  const path = join(all.root, 'copy.db')
  const target = join(all.root, 'target')
  await member!.backup(path)
  await all.stop(node!)
  t.throws(() => restoreBackup(join(node!.directory, 'raft.db'), target), { code: 'not-a-backup' })
  t.throws(() => restoreBackup(join(all.root, 'missing'), target), { code: 'not-a-backup' })
  writeFileSync(join(all.root, 'text'), 'no backup at all, but long enough to look at')
  t.throws(() => restoreBackup(join(all.root, 'text'), target), { code: 'corrupt' })
  flip(path, 100)
  t.throws(() => restoreBackup(path, target), { name: 'StorageError' })
  const other = all.addNode('other')
  await t.rejects(all.start(other, { kind: 'force-new-cluster', address: 'a:1' }), {
    code: 'no-state',
  })
})

t.test('the last member goes on alone, with all that it has', async (t) => {
  const all = new TestCluster(20, 2)
  t.teardown(() => all.close())
  const nodes = await all.found(3)
  const leader = await all.leader()
  for (let i = 0; i < 33; i++) await leader.member!.propose(text(`${i}`))
  const survivor = nodes.find((node) => node !== leader)!
  await until(() => survivor.machine.texts.length === 33)
  for (const node of nodes) await all.stop(node)
  const others = nodes.filter((node) => node !== survivor)
  const member = await all.start(survivor, {
    kind: 'force-new-cluster',
    address: all.address(survivor),
  })
  await until(() => member.isLeader)
  t.same(
    survivor.machine.texts,
    Array.from({ length: 33 }, (_, i) => `${i}`),
  )
  await member.propose(text('alone'))
  const [first] = others
  rmSync(first!.directory, { recursive: true })
  const back = await all.join(`${first!.name}-again`, member)
  await member.membership.change({
    kind: 'add-voter',
    member: { id: back.member!.id, address: all.address(back), nodeId: back.name },
  })
  await member.propose(text('not alone'))
  await until(() => back.machine.texts.at(-1) === 'not alone')
  t.equal(back.machine.texts.length, 35)
})
