// Goal: leadership moves when it must, stays when it can, and reads are never stale. Method:
// partitions, transfers and reads in small clusters.

import t from 'tap'
import { type Message, makeMessage } from './messages.ts'
import { bytes, ELECTION_TICKS, TestCluster } from './test-cluster.ts'

const QUORUM = { checkQuorum: true }
const BOTH = { checkQuorum: true, preVote: true }

function leading(config = {}, ids: readonly number[] = [1, 2, 3]): TestCluster {
  const cluster = new TestCluster(ids, config)
  cluster.elect(ids[0]!)
  return cluster
}

function contexts(cluster: TestCluster, id: number): string[] {
  return cluster.get(id).reads.map(({ context }) => new TextDecoder().decode(context))
}

t.test('check-quorum: a leader without its quorum steps down', async (t) => {
  for (const [config, role] of [
    [QUORUM, 'follower'],
    [{}, 'leader'],
  ] as const) {
    const cluster = leading(config)
    cluster.partition([1])
    cluster.tick(2 * ELECTION_TICKS, [1])
    t.equal(cluster.node(1).basicStatus().role, role)
  }
})

t.test('check-quorum: a member that hears from a leader ignores candidates', async (t) => {
  const cluster = leading(QUORUM)
  cluster.node(2).tick()
  cluster.node(3).campaign()
  cluster.settle()
  t.match(cluster.node(2).basicStatus(), { vote: 1, lead: 1 })
})

t.test('pre-vote: a member coming back does not depose the leader', async (t) => {
  for (const config of [{ preVote: true }, BOTH]) {
    const cluster = leading(config)
    const { term } = cluster.node(1).basicStatus()
    cluster.partition([1, 2], [3])
    cluster.tick(5 * ELECTION_TICKS)
    cluster.propose(1, 'x')
    cluster.heal()
    cluster.tick(ELECTION_TICKS)
    t.match(cluster.node(1).basicStatus(), { role: 'leader', term })
    t.match(cluster.node(3).basicStatus(), { role: 'follower', lead: 1, term })
    t.same(cluster.get(3).applied, ['x'])
  }
})

t.test('without pre-vote it does', async (t) => {
  const cluster = leading()
  const { term } = cluster.node(1).basicStatus()
  cluster.partition([1, 2], [3])
  cluster.tick(5 * ELECTION_TICKS)
  cluster.heal()
  cluster.tick(ELECTION_TICKS)
  t.ok(cluster.node(1).basicStatus().term > term)
})

t.test('check-quorum: a member stuck at a higher term is let in again', async (t) => {
  const cluster = leading(QUORUM)
  cluster.partition([1, 2], [3])
  cluster.tick(3 * ELECTION_TICKS, [3])
  const { term } = cluster.node(3).basicStatus()
  cluster.heal()
  cluster.tick(3 * ELECTION_TICKS, [1, 2])
  const status = [1, 2, 3].map((id) => cluster.node(id).basicStatus())
  t.ok(status.every((each) => each.term >= term))
  t.equal(status.filter(({ role }) => role === 'leader').length, 1)
})

t.test('a lower pre-vote is answered, so that nobody waits for ever', async (t) => {
  const cluster = leading({ preVote: true })
  cluster.node(2).step(makeMessage('MsgPreVote', 2, { from: 3, term: 1 }))
  const { node } = cluster.get(2)
  cluster.elect(2)
  const before = node.basicStatus().term
  node.step(makeMessage('MsgPreVote', 2, { from: 3, term: before - 1 }))
  t.match(node.ready().messagesAfterAppend, [
    { type: 'MsgPreVoteResp', to: 3, reject: true, term: before },
  ])
})

t.test('forget-leader: a follower votes before its timeout', async (t) => {
  const cluster = leading(BOTH)
  cluster.partition([2, 3])
  cluster.node(2).campaign()
  cluster.settle()
  t.not(cluster.node(2).basicStatus().role, 'leader', 'member 3 trusts its leader')
  cluster.node(3).forgetLeader()
  cluster.elect(2)
  const leased = leading({ ...QUORUM, readOnly: 'lease' })
  leased.node(2).forgetLeader()
  t.equal(leased.node(2).basicStatus().lead, 1, 'a lease forbids it')
})

t.test('transfer: to a member that is caught up, at once', async (t) => {
  const cluster = leading(BOTH)
  cluster.node(1).transferLeader(2)
  t.equal(cluster.node(1).propose(bytes('x')).refusal, 'transferring')
  cluster.settle()
  t.equal(cluster.node(2).basicStatus().role, 'leader')
  t.match(cluster.node(1).basicStatus(), { role: 'follower', lead: 2 })
})

t.test(
  'transfer: to a member that is behind, when it has caught up; asked by a follower',
  async (t) => {
    const cluster = leading()
    cluster.partition([1, 2])
    cluster.propose(1, 'x')
    cluster.heal()
    cluster.node(2).transferLeader(3)
    cluster.settle()
    cluster.tick(2)
    t.equal(cluster.node(3).basicStatus().role, 'leader')
    t.same(cluster.get(3).applied, ['x'])
  },
)

t.test('transfer: given up after an election timeout, or when called off', async (t) => {
  const cluster = leading()
  cluster.partition([1, 2])
  cluster.node(1).transferLeader(3)
  cluster.tick(ELECTION_TICKS)
  t.match(cluster.node(1).basicStatus(), { role: 'leader', leadTransferee: 0 })
  cluster.propose(1, 'x')
  cluster.node(1).transferLeader(3)
  cluster.node(1).transferLeader(1)
  t.equal(cluster.node(1).basicStatus().leadTransferee, 0)
  t.same(cluster.get(2).applied, ['x'])
})

t.test('read: confirmed by a quorum, at the leader and through a follower', async (t) => {
  const cluster = leading()
  cluster.propose(1, 'x')
  cluster.node(1).readIndex(bytes('one'))
  cluster.node(1).readIndex(bytes('two'))
  cluster.node(2).readIndex(bytes('three'))
  cluster.settle()
  t.same(contexts(cluster, 1), ['one', 'two'])
  t.same(contexts(cluster, 2), ['three'])
  t.equal(cluster.get(2).reads[0]?.index, 2)
})

t.test(
  'read: a leader cut off answers nothing; a confirmation from before counts nothing',
  async (t) => {
    const cluster = leading()
    cluster.node(1).readIndex(bytes('before'))
    cluster.settle()
    cluster.partition([1], [2, 3])
    cluster.node(1).readIndex(bytes('stale'))
    cluster.elect(2)
    cluster.propose(2, 'x')
    cluster.tick(3, [1])
    t.same(contexts(cluster, 1), ['before'])
    cluster.heal()
    cluster.tick(2, [2])
    t.same(contexts(cluster, 1), ['before'], 'deposed: the read is dropped')
  },
)

t.test('read: one late answer confirms all reads before its position, none after', async (t) => {
  const cluster = leading()
  const held: Message[] = []
  cluster.loses = (message) => {
    if (message.type !== 'MsgHeartbeatResp') return false
    held.push(message)
    return true
  }
  for (const text of ['a', 'b', 'c']) {
    cluster.node(1).readIndex(bytes(text))
    cluster.settle()
  }
  t.same(contexts(cluster, 1), [])
  const second = held.find(({ readPosition }) => readPosition === 2)!
  cluster.node(1).step(second)
  cluster.settle()
  t.same(contexts(cluster, 1), ['a', 'b'])
})

t.test('read: a lone voter that lost its commit index does not answer from it', async (t) => {
  const cluster = new TestCluster([1])
  cluster.elect(1)
  cluster.propose(1, 'x')
  const member = cluster.get(1)
  // The commit index alone need not survive a crash.
  member.storage.hardState = { ...member.storage.hardState, commit: 0 }
  member.applied = []
  member.appliedIndex = 0
  cluster.restart(1)
  member.node.campaign()
  member.node.ready()
  member.node.advance()
  t.match(member.node.basicStatus(), { role: 'leader', commit: 0 })
  member.node.readIndex(bytes('r'))
  cluster.settle()
  t.ok(member.reads[0]!.index >= 2, 'the index covers what was acknowledged before')
})

t.test('read: a lease needs no round of heartbeats', async (t) => {
  const cluster = leading({ ...QUORUM, readOnly: 'lease' })
  cluster.partition([1])
  cluster.node(1).readIndex(bytes('r'))
  cluster.settle()
  t.same(contexts(cluster, 1), ['r'])
})

t.test('read: without a leader it is refused', async (t) => {
  t.equal(new TestCluster([1, 2]).node(1).readIndex(bytes('r')), 'no-leader')
})

t.test('a member that answers is reachable whenever one asks', async (t) => {
  const cluster = new TestCluster([1, 2, 3], { checkQuorum: true })
  cluster.elect(1)
  const reachable = (id: number): boolean =>
    cluster
      .node(1)
      .status()
      .progress.find((progress) => progress.id === id)!.reachable
  for (let i = 0; i < 3 * ELECTION_TICKS; i++) {
    cluster.tick(1, [1])
    if (!(reachable(1) && reachable(2) && reachable(3))) t.fail(`not after ${i} ticks`)
  }
  cluster.partition([1, 2], [3])
  cluster.tick(2 * ELECTION_TICKS, [1])
  t.ok(reachable(2))
  t.notOk(reachable(3), 'gone for two rounds')
})
