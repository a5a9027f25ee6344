// Goal: flow control holds its limits and always recovers. Method: a leader alone, its followers'
// answers given by hand; and small clusters with losses.

import t from 'tap'
import { MemoryStorage } from './memory-storage.ts'
import { type Message, makeMessage } from './messages.ts'
import type { ProgressStatus } from './progress.ts'
import type { RawNode } from './raw-node.ts'
import {
  bytes,
  drain,
  ELECTION_TICKS,
  type MemberConfig,
  makeNode,
  TestCluster,
  voters,
} from './test-cluster.ts'

interface Leader {
  readonly node: RawNode
  /** What it wants sent to member 2. */
  toTwo(): Message[]
  two(): ProgressStatus
  hear(message: Partial<Message> & Pick<Message, 'type'>): void
}

/** Member 1 leads members 2 and 3; nobody has acknowledged anything. */
function leader(config: MemberConfig = {}): Leader {
  const storage = new MemoryStorage(voters(1, 2, 3))
  const node = makeNode(1, storage, config)
  node.campaign()
  drain(node, storage)
  node.step(makeMessage('MsgVoteResp', 1, { from: 3, term: 1 }))
  return {
    node,
    toTwo: () => drain(node, storage).filter(({ to }) => to === 2),
    two: () => node.status().progress.find(({ id }) => id === 2)!,
    hear: ({ type, ...fields }) => {
      node.step(makeMessage(type, 1, { from: 2, term: 1, ...fields }))
    },
  }
}

function entryCounts(messages: readonly Message[]): number[] {
  return messages.filter(({ type }) => type === 'MsgApp').map(({ entries }) => entries.length)
}

t.test('probe: one append until a heartbeat is answered', async (t) => {
  const { node, toTwo, two, hear } = leader()
  t.same(entryCounts(toTwo()), [1])
  t.match(two(), { state: 'probe', paused: true })
  node.propose(bytes('x'))
  t.same(entryCounts(toTwo()), [])
  hear({ type: 'MsgHeartbeatResp' })
  t.same(entryCounts(toTwo()), [2])
  hear({ type: 'MsgAppResp', index: 2 })
  t.match(two(), { state: 'replicate', match: 2, next: 3, paused: false })
})

t.test('replicate: the window counts messages and opens by acknowledgement', async (t) => {
  const { node, toTwo, two, hear } = leader({ maxInflightMessages: 2 })
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  toTwo()
  for (let i = 0; i < 4; i++) node.propose(bytes('x'))
  t.same(entryCounts(toTwo()), [1, 1])
  t.match(two(), { inflightMessages: 2, inflightFull: true, paused: true })
  hear({ type: 'MsgAppResp', index: 2 })
  t.same(entryCounts(toTwo()), [2], 'one message fits, and takes all that waited')
})

t.test('replicate: the window counts bytes', async (t) => {
  const { node, toTwo, two, hear } = leader({ maxInflightBytes: 250, maxMessageBytes: 250 })
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  toTwo()
  for (let i = 0; i < 6; i++) node.propose(new Uint8Array(100))
  t.same(entryCounts(toTwo()), [1, 1, 1], 'the last may overshoot')
  hear({ type: 'MsgAppResp', index: 3 })
  t.match(two(), { match: 3 })
  t.same(entryCounts(toTwo()), [2], 'as much as one message holds')
})

t.test('a full window whose messages were lost is probed and recovers', async (t) => {
  const { node, toTwo, two, hear } = leader({ maxInflightMessages: 1 })
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  node.propose(bytes('lost'))
  toTwo()
  hear({ type: 'MsgHeartbeatResp' })
  t.same(entryCounts(toTwo()), [0], 'an empty append asks')
  hear({ type: 'MsgAppResp', index: 2, reject: true, rejectHint: 1, logTerm: 1 })
  t.same(entryCounts(toTwo()), [1], 'the lost entry again')
  t.match(two(), { state: 'probe', match: 1, next: 2 })
})

t.test('messages hold maxMessageBytes, one entry at least', async (t) => {
  const { node, toTwo, hear } = leader({ maxMessageBytes: 300 })
  toTwo()
  for (let i = 0; i < 5; i++) node.propose(new Uint8Array(100))
  node.propose(new Uint8Array(1000))
  hear({ type: 'MsgAppResp', index: 1 })
  t.same(entryCounts(toTwo()), [2, 2, 1, 1])
})

t.test('unreachable: back to probing', async (t) => {
  const { node, toTwo, two, hear } = leader()
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  node.propose(bytes('x'))
  toTwo()
  t.match(two(), { state: 'replicate', next: 3 })
  node.reportUnreachable(2)
  t.match(two(), { state: 'probe', next: 2 })
})

t.test('a stale rejection changes nothing', async (t) => {
  const { toTwo, two, hear } = leader()
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  const before = two()
  hear({ type: 'MsgAppResp', index: 1, reject: true, rejectHint: 0 })
  hear({ type: 'MsgAppResp', index: 0 })
  t.same(two(), before)
})

t.test('snapshot: paused until acknowledged or reported', async (t) => {
  /** Member 3 missed two entries that are compacted now; the snapshot for it is lost. */
  const make = (): TestCluster => {
    const cluster = new TestCluster([1, 2, 3])
    cluster.elect(1)
    cluster.loses = ({ to, type }) => to === 3 && type !== 'MsgHeartbeat'
    cluster.propose(1, 'a', 'b')
    cluster.compact(1)
    cluster.node(1).reportUnreachable(3)
    cluster.tick(1)
    t.match(three(cluster), { state: 'snapshot', pendingSnapshot: 3, paused: true })
    return cluster
  }
  const three = (cluster: TestCluster): ProgressStatus => cluster.node(1).status().progress[2]!

  const silent = make()
  silent.heal()
  silent.tick(3)
  t.match(three(silent), { state: 'snapshot' }, 'nobody said that it was lost')

  const failed = make()
  failed.node(1).reportSnapshot(3, false)
  t.match(three(failed), { state: 'probe', next: 2, paused: true })
  failed.heal()
  failed.tick(2)
  t.match(three(failed), { state: 'replicate', match: 3 })
  t.same(failed.get(3).applied, ['a', 'b'], 'it was sent again')

  const delivered = make()
  delivered.node(1).reportSnapshot(3, true)
  t.match(three(delivered), { state: 'probe', next: 4, paused: true })
})

t.test('no snapshot to a member that was not heard from', async (t) => {
  const cluster = new TestCluster([1, 2, 3])
  cluster.elect(1)
  cluster.partition([1, 2])
  cluster.propose(1, 'a')
  cluster.compact(1)
  cluster.elect(2)
  cluster.elect(1)
  t.match(cluster.node(1).status().progress[2], { state: 'probe' })
  cluster.heal()
  cluster.tick(3)
  t.same(cluster.get(3).applied, ['a'])
})

t.test('a snapshot that the log already covers only commits', async (t) => {
  const cluster = new TestCluster([1, 2])
  cluster.elect(1)
  cluster.propose(1, 'a', 'b')
  const snapshot = cluster.compact(1)
  const member = cluster.get(2)
  member.node.step(makeMessage('MsgSnap', 2, { from: 1, term: 1, snapshot }))
  const sent = drain(member.node, member.storage)
  t.match(sent, [{ type: 'MsgAppResp', index: 3, reject: false }])
  t.equal(member.storage.firstIndex(), 1, 'the log is kept')
})

t.test('the uncommitted tail is bounded; an empty tail takes anything', async (t) => {
  const { node, toTwo, hear } = leader({ maxUncommittedBytes: 100 })
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  toTwo()
  t.equal(node.propose(new Uint8Array(500)).refusal, null)
  t.match(node.propose(new Uint8Array(1)), { refusal: 'too-many-uncommitted-bytes', index: 0 })
  t.equal(node.basicStatus().lastIndex, 2, 'nothing changed')
  t.equal(node.propose(new Uint8Array(0)).refusal, null, 'no data, no weight')
  toTwo()
  hear({ type: 'MsgAppResp', index: 3 })
  toTwo()
  t.equal(node.propose(new Uint8Array(60)).refusal, null)
  t.equal(node.propose(new Uint8Array(60)).refusal, 'too-many-uncommitted-bytes')
})

t.test('a batch is one append, and all or nothing', async (t) => {
  const { node, toTwo, hear } = leader({ maxUncommittedBytes: 10 })
  toTwo()
  hear({ type: 'MsgAppResp', index: 1 })
  toTwo()
  t.match(node.proposeBatch([bytes('abc'), bytes('def')]), { refusal: null, index: 2, term: 1 })
  t.same(entryCounts(toTwo()), [2])
  t.match(node.proposeBatch([bytes('abc'), bytes('def')]), {
    refusal: 'too-many-uncommitted-bytes',
  })
  t.match(node.proposeBatch([]), { refusal: 'malformed' })
  t.equal(node.basicStatus().lastIndex, 3)
})

t.test('followers pass proposals on, unless told not to', async (t) => {
  const cluster = new TestCluster([1, 2, 3])
  t.equal(cluster.node(2).propose(bytes('x')).refusal, 'no-leader')
  cluster.elect(1)
  t.match(cluster.node(2).propose(bytes('x')), { refusal: null, index: 0 })
  cluster.settle()
  t.same(cluster.get(3).applied, ['x'])
  const strict = new TestCluster([1, 2], { disableProposalForwarding: true })
  strict.elect(1)
  t.equal(strict.node(2).propose(bytes('x')).refusal, 'not-forwarding')
})

t.test('a member that was away catches up; one that restarts forgets nothing', async (t) => {
  const cluster = new TestCluster([1, 2, 3])
  cluster.elect(1)
  cluster.partition([1, 2])
  cluster.propose(1, 'a', 'b')
  cluster.heal()
  cluster.tick(2)
  t.same(cluster.get(3).applied, ['a', 'b'])
  for (const id of [1, 2, 3]) cluster.restart(id)
  cluster.tick(ELECTION_TICKS, [2])
  cluster.propose(2, 'c')
  for (const id of [1, 2, 3]) t.same(cluster.get(id).applied, ['a', 'b', 'c'])
})
