// Goal: the contract of RawNode: what it refuses, what a Ready holds, what a restart brings back,
// and that writes may be pipelined. Method: a node by itself, its Readies handled by hand.

import t from 'tap'
import { MemoryStorage } from './memory-storage.ts'
import {
  EMPTY_CONF_STATE,
  type Entry,
  type Message,
  type MessageType,
  makeMessage,
  NO_BYTES,
} from './messages.ts'
import { RawNode } from './raw-node.ts'
import { bytes, drain, makeNode, store, voters } from './test-cluster.ts'

function entry(index: number, term: number): Entry {
  return { index, term, type: 'EntryNormal', data: NO_BYTES }
}

function from2(type: MessageType, fields: Partial<Message>): Message {
  return makeMessage(type, 1, { from: 2, term: 1, ...fields })
}

t.test('impossible settings are refused with a reason', async (t) => {
  const storage = new MemoryStorage(voters(1))
  for (const [config, reason] of [
    [{ heartbeatTicks: 0 }, /heartbeatTicks/],
    [{ electionTicks: 1 }, /electionTicks must be greater/],
    [{ maxInflightMessages: 0 }, /maxInflightMessages/],
    [{ maxInflightBytes: 10, maxMessageBytes: 11 }, /maxInflightBytes/],
    [{ readOnly: 'lease' }, /requires checkQuorum/],
  ] as const) {
    t.throws(() => makeNode(1, storage, config), reason)
  }
  t.throws(() => makeNode(0, storage), /positive/)
  const twice = new MemoryStorage({ ...voters(1), learners: [1] })
  t.throws(() => makeNode(1, twice), /both learner and voter/)
})

t.test('messages that no correct member sends are refused and change nothing', async (t) => {
  const storage = new MemoryStorage(voters(1, 2))
  const node = makeNode(1, storage)
  const snapshot = { index: 5, term: 1, confState: { ...voters(1), learners: [1] }, data: NO_BYTES }
  for (const [message, refusal] of [
    [from2('MsgAppResp', { from: 9 }), 'unknown-peer'],
    [from2('MsgApp', { term: 0 }), 'malformed'],
    [from2('MsgApp', { entries: [entry(2, 1)] }), 'malformed'],
    [from2('MsgApp', { entries: [entry(1, 1), entry(3, 1)] }), 'malformed'],
    [from2('MsgApp', { entries: [entry(1, 2)] }), 'malformed'],
    [from2('MsgApp', { index: 1, logTerm: 1, term: 2, entries: [entry(2, 0)] }), 'malformed'],
    [from2('MsgSnap', {}), 'malformed'],
    [from2('MsgSnap', { snapshot }), 'malformed'],
    [from2('MsgProp', { term: 0 }), 'malformed'],
  ] as const) {
    t.equal(node.step(message), refusal, message.type)
  }
  t.equal(node.hasReady(), false)
  t.match(node.basicStatus(), { term: 0, lead: 0 })
})

t.test('a malformed membership change is refused by the leader', async (t) => {
  const storage = new MemoryStorage(voters(1))
  const node = makeNode(1, storage)
  node.campaign()
  drain(node, storage)
  const bad = { ...entry(0, 0), type: 'EntryConfChange', data: new Uint8Array([99]) } as const
  t.equal(node.step(from2('MsgProp', { term: 0, entries: [bad] })), 'malformed')
  t.equal(node.basicStatus().lastIndex, 1)
})

t.test('nothing to do at the start; a commit index alone need not be synced', async (t) => {
  const storage = new MemoryStorage(voters(1, 2))
  const node = makeNode(1, storage)
  t.equal(node.hasReady(), false)
  node.step(from2('MsgApp', { entries: [entry(1, 1)] }))
  const first = node.ready()
  t.match(first, { mustSync: true, hardState: { term: 1, vote: 0, commit: 0 } })
  t.same(first.softState, { lead: 2, role: 'follower' })
  store(storage, first)
  node.advance()
  node.step(from2('MsgHeartbeat', { commit: 1 }))
  const second = node.ready()
  t.match(second, { mustSync: false, hardState: { commit: 1 }, softState: null, entries: [] })
  t.match(second.committedEntries, [{ index: 1 }])
  store(storage, second)
  node.advance()
  t.equal(node.hasReady(), false)
})

t.test('a second Ready before advance() is a bug of the caller', async (t) => {
  const node = makeNode(1, new MemoryStorage(voters(1)))
  node.campaign()
  node.ready()
  t.throws(() => node.ready(), /before advance/)
})

t.test('after a restart only what was not applied is handed out again', async (t) => {
  const storage = new MemoryStorage(voters(1))
  storage.append([entry(1, 1), entry(2, 1), entry(3, 1)])
  storage.hardState = { term: 1, vote: 1, commit: 2 }
  const fresh = makeNode(1, storage)
  t.same(
    fresh.ready().committedEntries.map(({ index }) => index),
    [1, 2],
  )
  const later = makeNode(1, storage, { applied: 1 })
  t.match(later.basicStatus(), { term: 1, vote: 1, commit: 2, applied: 1, lastIndex: 3 })
  t.same(
    later.ready().committedEntries.map(({ index }) => index),
    [2],
  )
  storage.hardState = { term: 1, vote: 1, commit: 9 }
  t.throws(() => makeNode(1, storage), /commit index 9/)
})

t.test('a restart from a snapshot begins behind it', async (t) => {
  const storage = new MemoryStorage()
  storage.applySnapshot({ index: 7, term: 3, confState: voters(1, 2), data: bytes('state') })
  storage.hardState = { term: 3, vote: 0, commit: 7 }
  const node = makeNode(1, storage, { applied: 7 })
  t.match(node.status(), { commit: 7, applied: 7, lastIndex: 7, config: { voters: [1, 2] } })
  t.equal(node.hasReady(), false)
})

t.test('a snapshot is handed out alone and before entries', async (t) => {
  const storage = new MemoryStorage({ ...EMPTY_CONF_STATE, learners: [1] })
  const node = makeNode(1, storage)
  const confState = { ...voters(2), learners: [1] }
  const snapshot = { index: 7, term: 1, confState, data: bytes('state') }
  node.step(from2('MsgSnap', { snapshot }))
  node.step(from2('MsgApp', { index: 7, logTerm: 1, entries: [entry(8, 1)], commit: 8 }))
  const ready = node.ready()
  t.match(ready, {
    snapshot: { index: 7 },
    entries: [{ index: 8 }],
    committedEntries: [],
    mustSync: true,
  })
  store(storage, ready)
  node.advance()
  t.match(node.basicStatus(), { applied: 7 })
  t.match(node.ready().committedEntries, [{ index: 8 }])
})

t.test(
  'pipelined: the next Ready does not wait for the disk, but what it promises does',
  async (t) => {
    const storage = new MemoryStorage(voters(1, 2, 3))
    const node = makeNode(1, storage, { pipelinedWrites: true })
    const finish = (ready: ReturnType<RawNode['ready']>): void => {
      store(storage, ready)
      node.persisted()
      node.applied()
    }
    node.campaign()
    finish(node.ready())
    node.step(from2('MsgVoteResp', {}))
    const first = node.ready()
    node.propose(bytes('x'))
    node.step(from2('MsgAppResp', { index: 1 }))
    const second = node.ready()
    t.match(second.entries, [{ index: 2 }], 'handed out while the first is being written')
    node.step(from2('MsgAppResp', { index: 2 }))
    t.equal(node.basicStatus().commit, 0, 'one copy of three is durable: the follower’s')
    store(storage, first)
    node.persisted()
    t.equal(node.basicStatus().commit, 1)
    const third = node.ready()
    t.match(third.committedEntries, [{ index: 1 }])
    store(storage, second)
    node.persisted()
    t.equal(node.basicStatus().commit, 2)
    store(storage, third)
    node.persisted()
    t.equal(node.basicStatus().applied, 0)
    for (let i = 0; i < 3; i++) node.applied()
    t.equal(node.basicStatus().applied, 1)
  },
)

t.test('pipelined: committed is not applied before it is durable here', async (t) => {
  const storage = new MemoryStorage(voters(1, 2, 3))
  const node = makeNode(1, storage, { pipelinedWrites: true })
  node.step(from2('MsgApp', { entries: [entry(1, 1)], commit: 1 }))
  const ready = node.ready()
  t.same(ready.committedEntries, [])
  store(storage, ready)
  node.persisted()
  t.match(node.ready().committedEntries, [{ index: 1 }])
})

t.test('pipelined: a leader need not have what a quorum of others has', async (t) => {
  const storage = new MemoryStorage(voters(1, 2, 3))
  const node = makeNode(1, storage, { pipelinedWrites: true })
  node.campaign()
  store(storage, node.ready())
  node.persisted()
  node.applied()
  node.step(from2('MsgVoteResp', {}))
  const first = node.ready()
  t.match(first.entries, [{ index: 1 }])
  for (const from of [2, 3]) {
    node.step(makeMessage('MsgAppResp', 1, { from, term: 1, index: 1 }))
  }
  t.equal(node.basicStatus().commit, 1, 'two of three have it')
  t.same(node.ready().committedEntries, [], 'but not this one')
  node.appliesAhead = true
  t.match(node.ready().committedEntries, [{ index: 1 }])
  for (let i = 0; i < 3; i++) node.applied()
  t.match(node.basicStatus(), { applied: 1 })
  node.step(makeMessage('MsgApp', 1, { from: 3, term: 2, index: 1, logTerm: 1, commit: 1 }))
  t.match(node.basicStatus(), { role: 'follower', applied: 1, commit: 1 })
  store(storage, first)
  for (let i = 0; i < 3; i++) node.persisted()
  node.step(
    makeMessage('MsgApp', 1, {
      from: 3,
      term: 2,
      index: 1,
      logTerm: 1,
      entries: [entry(2, 2)],
      commit: 2,
    }),
  )
  const later = node.ready()
  t.same(later.committedEntries, [], 'a follower waits for its disk')
  store(storage, later)
  node.persisted()
  t.match(node.ready().committedEntries, [{ index: 2 }])
})

t.test('reports and traces', async (t) => {
  const kinds: string[] = []
  const storage = new MemoryStorage(voters(1))
  const node = new RawNode({
    id: 1,
    storage,
    electionTicks: 10,
    heartbeatTicks: 1,
    maxInflightMessages: 1,
    random: { below: () => 0 },
    trace: (event) => kinds.push(event.kind),
  })
  node.campaign()
  drain(node, storage)
  node.proposeConfChange({ transition: 'auto', changes: [], context: NO_BYTES })
  t.same(kinds, ['config-switched', 'role', 'role', 'role', 'conf-change-refused'])
  t.match(node.status().progress, [{ id: 1, state: 'replicate', match: 1, learner: false }])
})

t.test('a candidate leads only once its own vote is durable', async (t) => {
  const storage = new MemoryStorage(voters(1, 2, 3))
  const node = makeNode(1, storage, { pipelinedWrites: true })
  node.campaign()
  store(storage, node.ready())
  for (const from of [2, 3]) node.step(makeMessage('MsgVoteResp', 1, { from, term: 1 }))
  t.equal(node.basicStatus().role, 'candidate', 'it could crash, and be elected in this term again')
  node.persisted()
  t.equal(node.basicStatus().role, 'leader')
})
