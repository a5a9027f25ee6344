// Goal: members come and go without losing what is committed. Method: changes in a small cluster,
// one rule each.

import t from 'tap'
import { encodeConfChange } from './codec.ts'
import { foundingState, MemoryStorage } from './memory-storage.ts'
import {
  type ConfChange,
  type ConfChangeSingle,
  EMPTY_CONF_STATE,
  type Entry,
  type Message,
  type MessageType,
  makeMessage,
  NO_BYTES,
} from './messages.ts'
import type { RawNode } from './raw-node.ts'
import { drain, makeNode, TestCluster, voters } from './test-cluster.ts'

function add(nodeId: number): ConfChangeSingle {
  return { type: 'add-voter', nodeId }
}

function remove(nodeId: number): ConfChangeSingle {
  return { type: 'remove', nodeId }
}

function set(transition: ConfChange['transition'], ...changes: ConfChangeSingle[]): ConfChange {
  return { transition, changes, context: NO_BYTES }
}

function leading(ids: readonly number[], config = {}): TestCluster {
  const cluster = TestCluster.founded(ids, config)
  cluster.elect(ids[0]!)
  return cluster
}

t.test('a new member gets the whole log', async (t) => {
  const cluster = leading([1])
  cluster.propose(1, 'a', 'b')
  cluster.add(2)
  t.equal(cluster.node(1).proposeConfChange(add(2)).refusal, null)
  cluster.settle()
  t.same(cluster.get(2).applied, ['a', 'b'])
  t.same(cluster.get(2).confState, voters(1, 2))
  cluster.partition([1])
  cluster.propose(1, 'c')
  t.same(cluster.get(1).applied, ['a', 'b'], 'alone it no longer decides')
})

t.test('a new member far behind gets a snapshot, then the log', async (t) => {
  const cluster = leading([1])
  cluster.propose(1, 'a', 'b')
  cluster.node(1).proposeConfChange(set('auto', { type: 'add-learner', nodeId: 2 }))
  cluster.settle()
  cluster.propose(1, 'c')
  cluster.compact(1)
  cluster.propose(1, 'd')
  cluster.add(2)
  cluster.tick(3)
  t.same(cluster.get(2).applied, ['a', 'b', 'c', 'd'])
  t.same(cluster.get(2).confState, { ...EMPTY_CONF_STATE, voters: [1], learners: [2] })
})

t.test('one change at a time', async (t) => {
  const cluster = leading([1, 2, 3])
  cluster.partition([1])
  const { index } = cluster.node(1).proposeConfChange(remove(3))
  const second = cluster.node(1).proposeConfChange(add(4))
  t.match(second, { refusal: null, index: index + 1 })
  cluster.heal()
  cluster.tick(2)
  t.same(cluster.get(1).confState, voters(1, 2), 'the second became an empty entry')
  t.equal(cluster.get(1).appliedIndex, index + 1)
})

t.test('a change and a refused change in one batch keep their places', async (t) => {
  const cluster = leading([1])
  const empty = cluster.node(1).proposeConfChange(set('auto'))
  t.equal(empty.refusal, null, 'leaving a joint configuration that is not there: an empty entry')
  cluster.settle()
  t.same(cluster.get(1).confState, voters(1))
})

t.test('joint-implicit is left by itself', async (t) => {
  const cluster = leading([1, 2, 3])
  for (const id of [4, 5]) cluster.add(id)
  cluster.node(1).proposeConfChange(set('joint-implicit', add(4), add(5), remove(2)))
  cluster.settle()
  for (const id of [1, 4, 5]) t.same(cluster.get(id).confState, voters(1, 3, 4, 5), `member ${id}`)
})

t.test('joint-explicit needs both majorities until it is left', async (t) => {
  const cluster = leading([1, 2, 3])
  for (const id of [4, 5]) cluster.add(id)
  const change = set('joint-explicit', add(4), add(5), remove(2), remove(3))
  cluster.node(1).proposeConfChange(change)
  cluster.settle()
  t.same(cluster.get(1).confState, {
    ...EMPTY_CONF_STATE,
    voters: [1, 4, 5],
    votersOutgoing: [1, 2, 3],
  })
  cluster.partition([1, 4, 5])
  cluster.propose(1, 'x')
  t.same(cluster.get(1).applied, [], 'the old majority is missing')
  cluster.partition([1, 2, 3])
  cluster.tick(3)
  t.same(cluster.get(1).applied, ['x'], 'both have it, though never at the same time')
  cluster.propose(1, 'y')
  t.same(cluster.get(1).applied, ['x'], 'the new majority is missing')
  cluster.partition([1, 2, 4])
  cluster.tick(3)
  t.same(cluster.get(1).applied, ['x', 'y'])
  t.equal(cluster.node(1).proposeConfChange(set('auto')).refusal, null)
  cluster.heal()
  cluster.tick(3)
  t.same(cluster.get(1).confState, voters(1, 4, 5))
})

t.test('the leader of a joint configuration dies: the next one leaves it', async (t) => {
  const cluster = leading([1, 2, 3])
  cluster.add(4)
  let autoLeave = false
  cluster.loses = ({ entries, from }) => {
    // What leaves the joint configuration never gets out of member 1.
    autoLeave ||= entries.some(
      ({ type, data }) => type === 'EntryConfChangeV2' && data.length === 0,
    )
    return autoLeave && from === 1
  }
  cluster.node(1).proposeConfChange(set('joint-implicit', add(4), remove(1)))
  cluster.settle()
  t.ok(autoLeave)
  t.same(cluster.get(2).confState.votersOutgoing, [1, 2, 3])
  cluster.partition([2, 3, 4])
  cluster.elect(2)
  cluster.settle()
  for (const id of [2, 3, 4]) t.same(cluster.get(id).confState, voters(2, 3, 4), `member ${id}`)
})

t.test(
  'a leader that is removed steps down, if told to; otherwise takes no proposals',
  async (t) => {
    for (const stepDownOnRemoval of [true, false]) {
      const cluster = leading([1, 2, 3], { stepDownOnRemoval })
      cluster.node(1).proposeConfChange(remove(1))
      cluster.settle()
      t.same(cluster.get(2).confState, voters(2, 3))
      t.equal(cluster.node(1).basicStatus().role, stepDownOnRemoval ? 'follower' : 'leader')
      const { refusal } = cluster.node(1).propose(NO_BYTES)
      t.equal(refusal, stepDownOnRemoval ? 'no-leader' : 'removed')
      cluster.node(1).campaign()
      cluster.settle()
      cluster.elect(2)
      cluster.propose(2, 'x')
      t.same(cluster.get(3).applied, ['x'])
    }
  },
)

t.test('a removed leader confirms no read by itself', async (t) => {
  // It goes on leading one voter, which may meanwhile have elected itself.
  const cluster = leading([1, 2])
  cluster.node(1).proposeConfChange(remove(1))
  cluster.settle()
  t.same(cluster.get(1).confState, voters(2))
  cluster.partition()
  cluster.node(1).readIndex(NO_BYTES)
  cluster.settle()
  t.same(cluster.get(1).reads, [])
})

t.test('a member with a committed change that is not applied does not campaign', async (t) => {
  const storage = new MemoryStorage(voters(1, 2, 3))
  const data = encodeConfChange(set('auto', add(4)))
  storage.append([{ index: 1, term: 1, type: 'EntryConfChangeV2', data }])
  storage.hardState = { term: 1, vote: 0, commit: 1 }
  const node = makeNode(1, storage)
  node.campaign()
  t.equal(node.basicStatus().role, 'follower')
  drain(node, storage)
  node.campaign()
  t.equal(node.basicStatus().role, 'candidate')
  t.same(node.status().config, voters(1, 2, 3, 4))
})

t.test('a member that was demoted learns of it from a snapshot', async (t) => {
  const cluster = leading([1, 2, 3])
  cluster.partition([1, 2])
  cluster.node(1).proposeConfChange(set('auto', { type: 'add-learner', nodeId: 3 }))
  cluster.settle()
  cluster.compact(1)
  cluster.heal()
  cluster.tick(3)
  t.same(cluster.get(3).confState, { ...EMPTY_CONF_STATE, voters: [1, 2], learners: [3] })
  cluster.node(3).campaign()
  t.equal(cluster.node(3).basicStatus().role, 'follower')
})

t.test('removing a voter may commit what waited for it', async (t) => {
  const cluster = leading([1, 2, 3, 4])
  cluster.partition([1, 2, 3])
  cluster.node(1).proposeConfChange(remove(4))
  cluster.settle()
  cluster.partition([1, 2])
  cluster.propose(1, 'x')
  t.same(cluster.get(1).applied, ['x'], 'two of three')
})

t.test('the target of a transfer is removed: the transfer is off', async (t) => {
  const cluster = leading([1, 2, 3])
  cluster.node(1).proposeConfChange(remove(3))
  cluster.loses = ({ to }) => to === 3
  cluster.node(1).transferLeader(3)
  t.equal(cluster.node(1).basicStatus().leadTransferee, 3)
  cluster.settle()
  t.equal(cluster.node(1).basicStatus().leadTransferee, 0)
})

function changeEntry(index: number, term: number, change: ConfChange): Entry {
  return { index, term, type: 'EntryConfChangeV2', data: encodeConfChange(change) }
}

function from(id: number, type: MessageType, term: number, fields: Partial<Message> = {}): Message {
  return makeMessage(type, 1, { from: id, term, ...fields })
}

t.test('a candidate must win in every configuration in its log', async (t) => {
  const storage = new MemoryStorage(voters(1, 2, 3))
  // Neither change is known to be committed: (1 2 3) -> (1 2 3 4) -> (1 2 3 4 5).
  storage.append([changeEntry(1, 1, set('auto', add(4))), changeEntry(2, 1, set('auto', add(5)))])
  storage.hardState = { term: 1, vote: 0, commit: 0 }
  const node = makeNode(1, storage)
  node.campaign()
  const asked = drain(node, storage).map(({ to }) => to)
  t.same(asked, [2, 3, 4, 5])
  node.step(from(2, 'MsgVoteResp', 2))
  t.equal(node.basicStatus().role, 'candidate', 'a majority of three, but not of four')
  t.equal(node.step(from(5, 'MsgVoteResp', 2)), null, 'a voter that is no member yet')
  t.equal(node.basicStatus().role, 'candidate', 'a majority of five, but not of four')
  node.step(from(4, 'MsgVoteResp', 2))
  t.equal(node.basicStatus().role, 'leader')
})

t.test('a leader commits no further than the configuration in force may say', async (t) => {
  const storage = new MemoryStorage(voters(1))
  // A lone voter lost its commit index: (1) -> (1)&&(1) by 1, (1) by 2, (2)&&(1) by 3, (2) by 4.
  storage.append([
    changeEntry(1, 1, set('joint-explicit', { type: 'add-learner', nodeId: 2 })),
    changeEntry(2, 1, set('auto')),
    changeEntry(3, 1, set('joint-explicit', add(2), remove(1))),
    changeEntry(4, 1, set('auto')),
  ])
  storage.hardState = { term: 1, vote: 1, commit: 0 }
  const node = makeNode(1, storage)
  node.campaign()
  drain(node, storage)
  node.step(from(2, 'MsgVoteResp', 2))
  t.match(node.basicStatus(), { role: 'leader', lastIndex: 5 })
  // By itself it may commit its way up to the configuration that needs member 2 as well.
  drain(node, storage)
  t.match(node.status(), { commit: 3, config: { voters: [2], votersOutgoing: [1] } })
  node.step(from(2, 'MsgAppResp', 2, { index: 5 }))
  t.equal(node.basicStatus().commit, 5)
})

t.test('a member that is no voter any more insists only on what is committed', async (t) => {
  const make = (commit: number): RawNode => {
    const storage = new MemoryStorage(voters(1, 2))
    const change = changeEntry(1, 1, set('auto', remove(1)))
    storage.append([change, { ...change, index: 2, type: 'EntryNormal', data: NO_BYTES }])
    storage.hardState = { term: 1, vote: 0, commit }
    const node = makeNode(1, storage)
    drain(node, storage)
    node.step(from(2, 'MsgVote', 2, { index: 1, logTerm: 1 }))
    return node
  }
  t.match(make(1).ready().messagesAfterAppend, [{ type: 'MsgVoteResp', reject: false }])
  t.match(make(0).ready().messagesAfterAppend, [{ type: 'MsgVoteResp', reject: true }])
})

t.test('a change that would leave no voters is refused', async (t) => {
  const cluster = leading([1])
  const { index } = cluster.node(1).proposeConfChange(set('auto', remove(1)))
  cluster.settle()
  t.same(cluster.get(1).confState, voters(1))
  t.equal(cluster.get(1).appliedIndex, index, 'an empty entry took its place')
})

t.test('a snapshot waits for the entries that are being applied', async (t) => {
  const storage = new MemoryStorage(voters(2))
  const node = makeNode(1, storage)
  const entries = [changeEntry(1, 1, set('auto', add(1)))]
  node.step(from(2, 'MsgApp', 1, { entries, commit: 1 }))
  const ready = node.ready()
  const confState = { ...voters(1, 2), learners: [3] }
  const snapshot = { index: 9, term: 1, confState, data: NO_BYTES }
  node.step(from(2, 'MsgSnap', 1, { snapshot }))
  t.same(node.applyConfChange(set('auto', add(1))), voters(1, 2), 'to the configuration before it')
  storage.append(ready.entries)
  node.advance()
  t.match(node.ready(), { snapshot: { index: 9 } })
  t.same(node.status().config, confState)
})

t.test('a voter by its log alone can win, if it has the longest log', async (t) => {
  const cluster = TestCluster.founded([1, 2, 4], { preVote: true, checkQuorum: true })
  const { snapshot } = foundingState(voters(1, 2, 4))
  const data = encodeConfChange({
    transition: 'auto',
    changes: [{ type: 'add-voter', nodeId: 3 }],
    context: NO_BYTES,
  })
  const change: Entry = { term: 1, index: 2, type: 'EntryConfChangeV2', data }
  const last: Entry = { term: 1, index: 3, type: 'EntryNormal', data: NO_BYTES }
  cluster.add(3, undefined, { preVote: true, checkQuorum: true }).storage.applySnapshot(snapshot)
  for (const id of [2, 3, 4]) {
    const member = cluster.get(id)
    member.storage.append(id === 3 ? [change, last] : [change])
    member.storage.hardState = { term: 1, vote: 0, commit: 1 }
    member.appliedIndex = 1
    cluster.restart(id)
  }
  // Member 1 is gone, and nobody knows yet that the change is committed. 2 and 4 need the vote of
  // 3, which insists on its longer log.
  cluster.partition([2, 3, 4])
  cluster.tick(100, [2, 4])
  t.not(cluster.node(2).basicStatus().role, 'leader')
  t.not(cluster.node(4).basicStatus().role, 'leader')
  cluster.tick(100, [3])
  t.equal(cluster.node(3).basicStatus().role, 'leader')
  t.same(cluster.get(3).confState.voters, [1, 2, 3, 4])
  cluster.propose(3, 'x')
  t.same(cluster.get(2).applied, ['x'], 'its own copies count')
})

t.test('a leader that its log makes a voter again does not step down in between', async (t) => {
  const cluster = TestCluster.founded([1, 2, 3], { stepDownOnRemoval: true })
  const change = (index: number, type: 'remove' | 'add-voter'): Entry => ({
    term: 1,
    index,
    type: 'EntryConfChangeV2',
    data: encodeConfChange({
      transition: 'auto',
      changes: [{ type, nodeId: 1 }],
      context: NO_BYTES,
    }),
  })
  const { storage } = cluster.get(1)
  storage.append([
    change(2, 'remove'),
    change(3, 'add-voter'),
    change(4, 'remove'),
    change(5, 'add-voter'),
  ])
  storage.hardState = { term: 1, vote: 0, commit: 1 }
  cluster.get(1).appliedIndex = 1
  cluster.restart(1)
  cluster.node(1).campaign()
  cluster.settle()
  t.match(cluster.node(1).basicStatus(), { role: 'leader', term: 2, commit: 6 })
  t.same(cluster.get(1).confState.voters, [1, 2, 3])
})
