// Goal: the promises of a member to the layers above. Method: members of one process, with real
// disks and a transport in memory that can be cut.

import t from 'tap'
import { MAX_PROPOSAL_BYTES } from './limits.ts'
import { TestCluster, until } from './testing/cluster.ts'
import { text } from './testing/machine.ts'

async function cluster(
  t: { teardown(run: () => Promise<void>): void },
  snapshotEntries?: number,
  keptEntries?: number,
): Promise<TestCluster> {
  const made = new TestCluster(snapshotEntries, keptEntries)
  t.teardown(() => made.close())
  return made
}

t.test('a lone member takes what it is given, and has it after a restart', async (t) => {
  const all = await cluster(t)
  const [node] = await all.found(1)
  const { member } = await all.leader()
  const results = await Promise.all(['a', 'b', 'c'].map((word) => member!.propose(text(word))))
  t.same(
    results.map(({ index }) => index - results[0]!.index),
    [0, 1, 2],
    'one after the other',
  )
  t.same(node!.machine.texts, ['a', 'b', 'c'])
  t.same(
    node!.machine.indexes,
    results.map(({ index }) => index),
  )
  const before = await member!.readBarrier()
  t.ok(before >= results[2]!.index)
  const { id } = member!
  await all.stop(node!)
  const again = await all.restart(node!)
  t.equal(again.id, id)
  await again.waitApplied(results[2]!.index)
  t.same(node!.machine.texts, ['a', 'b', 'c'])
})

t.test('three members agree; only the leader takes proposals', async (t) => {
  const all = await cluster(t)
  const nodes = await all.found(3)
  const leader = await all.leader()
  const words = Array.from({ length: 100 }, (_, i) => `word ${i}`)
  await Promise.all(words.map((word) => leader.member!.propose(text(word))))
  for (const node of nodes) {
    await node.member!.readBarrier()
    t.same(node.machine.texts, words, `${node.name} reads all of it after a barrier`)
  }
  const follower = nodes.find((node) => node !== leader)!
  await t.rejects(follower.member!.propose(text('x')), {
    code: 'not-leader',
    leader: { id: leader.member!.id, address: all.address(leader) },
  })
  const large = new Uint8Array(MAX_PROPOSAL_BYTES + 1)
  await t.rejects(leader.member!.propose(large), { code: 'too-large' })
  const largest = await leader.member!.propose(new Uint8Array(MAX_PROPOSAL_BYTES).fill(65))
  t.ok(largest.index > 0)
  const { metrics } = { metrics: leader.member!.metrics() }
  t.equal(metrics.role, 'leader')
  t.equal(metrics.commitLatency.count, 101)
  t.ok(metrics.writeLatency.count > 0 && metrics.writeLatency.count < 101, 'written in groups')
  t.equal(metrics.pendingProposals, 0)
})

t.test('a member that is cut off catches up; a leader that is cut off gives up', async (t) => {
  const all = await cluster(t)
  const nodes = await all.found(3)
  const leader = await all.leader()
  await leader.member!.propose(text('before'))
  const others = nodes.filter((node) => node !== leader)
  const cut = (isCut: boolean): void => {
    for (const node of others) {
      all.hub.cut(all.address(leader), all.address(node), isCut)
      all.hub.cut(all.address(node), all.address(leader), isCut)
    }
  }
  cut(true)
  await t.rejects(leader.member!.propose(text('lost')), { code: 'lost-leadership' })
  await t.rejects(leader.member!.readBarrier(200), { code: 'not-leader' })
  const next = await until(() => others.find(({ member }) => member!.isLeader))
  await next.member!.propose(text('after'))
  cut(false)
  await until(() => leader.machine.texts.includes('after'))
  for (const node of nodes) {
    await node.member!.readBarrier()
    t.same(node.machine.texts, ['before', 'after'], node.name)
  }
})

t.test('a connection that breaks costs no election while the leader lives', async (t) => {
  const all = await cluster(t)
  const nodes = await all.found(3)
  const leader = await all.leader()
  const { id } = leader.member!
  const [follower] = nodes.filter((node) => node !== leader)
  const { term } = leader.member!.status()
  for (let i = 0; i < 10; i++) {
    await until(() => follower!.member!.status().lead === id)
    follower!.transport!.breakConnection(id)
    if (i === 0) t.equal(follower!.member!.status().lead, 0, 'it suspects the leader')
    // A heartbeat clears it.
    await until(() => follower!.member!.status().lead === id)
  }
  await leader.member!.propose(text('x'))
  t.equal(leader.member!.status().term, term)
  t.equal(follower!.member!.metrics().leader, id)
})

t.test('members that lose their leader do not wait for an election timeout', async (t) => {
  const all = await cluster(t)
  const nodes = await all.found(3)
  const leader = await all.leader()
  const others = nodes.filter((node) => node !== leader)
  await leader.member!.propose(text('x'))
  await until(() => others.every(({ machine }) => machine.texts.length === 1))
  const before = others.map(({ member }) => member!.metrics().elections)
  const { id } = leader.member!
  await all.stop(leader)
  for (const { transport } of others) transport!.breakConnection(id)
  const next = await until(() => others.find(({ member }) => member!.isLeader))
  const stood = others.map(({ member }, i) => member!.metrics().elections - before[i]!)
  t.ok(
    stood.some((count) => count > 0),
    `${stood}`,
  )
  await next.member!.propose(text('y'))
})

t.test('members come and go', async (t) => {
  const all = await cluster(t)
  const [first] = await all.found(1)
  const { member } = await all.leader()
  await member!.propose(text('a'))
  const second = await all.join('second', member!)
  const third = await all.join('third', member!)
  const { membership } = member!
  const entry = (node: typeof second) => ({
    id: node.member!.id,
    address: all.address(node),
    nodeId: node.name,
  })
  t.same(await membership.probe(all.address(second)), { id: second.member!.id })
  await membership.change({ kind: 'add-learner', member: entry(second) })
  await until(() => membership.behind(second.member!.id) === 0)
  t.same(second.machine.texts, ['a'])
  await membership.change({ kind: 'promote', id: second.member!.id })
  await membership.change({ kind: 'add-voter', member: entry(third) })
  await member!.propose(text('b'))
  for (const node of [second, third]) {
    await until(() => node.machine.texts.length === 2)
    t.same(node.member!.status().members.length, 3)
  }
  await t.rejects(
    async () => membership.change({ kind: 'remove', id: member!.id }),
    { code: 'bad-change' },
    'the leader hands over first',
  )
  let wasTold = false
  second.member!.removed.on(() => {
    wasTold = true
  })
  await membership.change({ kind: 'remove', id: second.member!.id })
  await until(() => wasTold)
  t.ok(second.member!.status().isRemoved)
  await all.stop(second)
  await t.rejects(
    async () =>
      membership.change({
        kind: 'add-voter',
        member: { ...entry(third), id: second.transport!.id },
      }),
    { code: 'bad-change' },
    'an id that was removed stays away',
  )
  // On a loaded machine an attempt may run out of time, or find that leadership has moved already.
  await until(async () => {
    await member!.transferLeadership().catch(() => {})
    return third.member!.isLeader
  })
  await third.member!.membership.change({ kind: 'remove', id: first!.member!.id })
  await third.member!.propose(text('c'))
  t.same(third.machine.texts, ['a', 'b', 'c'])
  await t.rejects(
    async () => third.member!.membership.change({ kind: 'remove', id: third.member!.id }),
    { code: 'bad-change' },
    'the last one stays',
  )
})

t.test('a newcomer takes a snapshot when the log is gone', async (t) => {
  const all = await cluster(t, 50, 5)
  await all.found(1)
  const { member } = await all.leader()
  const words = Array.from({ length: 320 }, (_, i) => `w${i}`)
  for (let i = 0; i < words.length; i += 10) {
    await Promise.all(words.slice(i, i + 10).map((word) => member!.propose(text(word))))
  }
  const late = await all.join('late', member!)
  const entry = { id: late.member!.id, address: all.address(late), nodeId: 'late' }
  await member!.membership.change({ kind: 'add-learner', member: entry })
  await until(() => late.machine.texts.length === words.length)
  t.same(late.machine.texts, words)
  t.ok(late.machine.indexes.length === words.length)
  await all.stop(late)
  await all.restart(late)
  await member!.propose(text('more'))
  await until(() => late.machine.texts.length === words.length + 1)
  t.same(late.machine.texts, [...words, 'more'], 'and goes on after a restart')
})

t.test('a joiner that restarts before it hears anything still answers', async (t) => {
  const all = await cluster(t)
  await all.found(1)
  const { member } = await all.leader()
  const node = await all.join('joiner', member!)
  await all.stop(node)
  await all.restart(node)
  const entry = { id: node.member!.id, address: all.address(node), nodeId: 'joiner' }
  await member!.membership.change({ kind: 'add-voter', member: entry })
  await member!.propose(text('x'))
  await until(() => node.machine.texts.length === 1)
  t.same(node.machine.texts, ['x'])
})

t.test('what waits is told when the member ends', async (t) => {
  const all = await cluster(t)
  const nodes = await all.found(3)
  const leader = await all.leader()
  for (const node of nodes) if (node !== leader) await all.stop(node)
  const proposal = leader.member!.propose(text('x'))
  const read = leader.member!.readBarrier()
  const expected = Promise.all([
    t.rejects(proposal, { code: 'shut-down' }),
    t.rejects(read, { code: 'shut-down' }),
  ])
  await all.stop(leader)
  await expected
})
