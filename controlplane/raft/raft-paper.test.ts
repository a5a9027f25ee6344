// Goal: the rules of the Raft paper (Ongaro and Ousterhout, "In Search of an Understandable
// Consensus Algorithm", extended version) and of Ongaro's thesis hold. Method: each test quotes its
// section and checks the rule on one node or a small cluster, through the public face only.

import t from 'tap'
import { MemoryStorage } from './memory-storage.ts'
import {
  EMPTY_CONF_STATE,
  type Entry,
  type Message,
  type MessageType,
  makeMessage,
  NO_BYTES,
  type NodeId,
} from './messages.ts'
import type { RawNode } from './raw-node.ts'
import {
  bytes,
  drain,
  ELECTION_TICKS,
  HEARTBEAT_TICKS,
  type MemberConfig,
  makeNode,
  TestCluster,
  voters,
} from './test-cluster.ts'

const THREE = voters(1, 2, 3)

interface Lone {
  readonly node: RawNode
  readonly storage: MemoryStorage
  /** Takes the Readies and returns the messages sent. */
  sent(): Message[]
}

/** Member 1 of a configuration, with a log of the given terms, alone. */
function lone(terms: readonly number[] = [], config: MemberConfig = {}, confState = THREE): Lone {
  const storage = new MemoryStorage(confState)
  storage.append(log(terms))
  const term = terms.at(-1) ?? 0
  if (term > 0) storage.hardState = { term, vote: 0, commit: 0 }
  const node = makeNode(1, storage, config)
  return { node, storage, sent: () => drain(node, storage) }
}

function log(terms: readonly number[]): Entry[] {
  return terms.map((term, i) => ({ term, index: i + 1, type: 'EntryNormal', data: NO_BYTES }))
}

function from(id: NodeId, type: MessageType, term: number, fields: Partial<Message> = {}): Message {
  return makeMessage(type, 1, { from: id, term, ...fields })
}

/** Member 1 as leader of its first term after the given log. */
function leader(terms: readonly number[] = [], config: MemberConfig = {}): Lone {
  const member = lone(terms, config)
  member.node.campaign()
  member.sent()
  member.node.step(from(2, 'MsgVoteResp', member.node.basicStatus().term))
  t.equal(member.node.basicStatus().role, 'leader')
  return member
}

function ofType(messages: readonly Message[], type: MessageType): Message[] {
  return messages.filter((message) => message.type === type)
}

t.test('5.1: a member that hears of a higher term enters it as follower', async (t) => {
  const candidate = lone()
  candidate.node.campaign()
  for (const { node } of [lone(), candidate, leader()]) {
    node.step(from(2, 'MsgApp', 7))
    t.match(node.basicStatus(), { term: 7, role: 'follower', lead: 2 })
  }
})

t.test('5.1: requests of an old term are not obeyed', async (t) => {
  const { node, sent } = lone([1, 2])
  node.step(from(2, 'MsgApp', 1, { index: 1, logTerm: 1, commit: 1 }))
  t.match(node.basicStatus(), { term: 2, lead: 0, commit: 0 })
  t.same(sent(), [])
})

t.test('5.2: members start as followers', async (t) => {
  t.equal(lone().node.basicStatus().role, 'follower')
})

t.test('5.2: a leader sends heartbeats', async (t) => {
  const { node, sent } = leader()
  sent()
  for (let i = 0; i < HEARTBEAT_TICKS; i++) node.tick()
  const beats = ofType(sent(), 'MsgHeartbeat')
  t.same(
    beats.map(({ to, entries }) => ({ to, entries: entries.length })),
    [
      { to: 2, entries: 0 },
      { to: 3, entries: 0 },
    ],
  )
})

t.test('5.2: hearing from nobody, a follower or candidate starts an election', async (t) => {
  const { node, sent } = lone()
  for (const term of [1, 2]) {
    for (let i = 0; i < ELECTION_TICKS; i++) node.tick()
    t.match(node.basicStatus(), { term, role: 'candidate', vote: 1 })
    t.same(
      sent().map(({ type, to, term }) => ({ type, to, term })),
      [2, 3].map((to) => ({ type: 'MsgVote', to, term })),
    )
  }
})

t.test('5.2: an election is won, lost or open', async (t) => {
  const cases: [size: number, granted: NodeId[], refused: NodeId[], role: string][] = [
    [1, [], [], 'leader'],
    [3, [2], [], 'leader'],
    [3, [2, 3], [], 'leader'],
    [5, [2, 3], [], 'leader'],
    [5, [2, 3], [4, 5], 'leader'],
    [3, [], [2, 3], 'follower'],
    [5, [2], [3, 4, 5], 'follower'],
    [3, [], [], 'candidate'],
    [5, [2], [], 'candidate'],
    [5, [], [2, 3], 'candidate'],
  ]
  for (const [size, granted, refused, role] of cases) {
    const ids = Array.from({ length: size }, (_, i) => i + 1)
    const { node, sent } = lone([], {}, voters(...ids))
    node.campaign()
    sent()
    for (const id of granted) node.step(from(id, 'MsgVoteResp', 1))
    for (const id of refused) node.step(from(id, 'MsgVoteResp', 1, { reject: true }))
    t.match(node.basicStatus(), { role, term: 1 }, `${size}: +${granted} -${refused}`)
  }
})

t.test('5.2: a vote counted twice is one vote', async (t) => {
  const { node, sent } = lone([], {}, voters(1, 2, 3, 4, 5))
  node.campaign()
  sent()
  for (let i = 0; i < 3; i++) node.step(from(2, 'MsgVoteResp', 1))
  t.equal(node.basicStatus().role, 'candidate')
})

t.test('5.2: one vote per term, first come first served', async (t) => {
  const { node, sent } = lone()
  for (const [id, reject] of [
    [2, false],
    [3, true],
    [2, false],
  ] as const) {
    node.step(from(id, 'MsgVote', 1))
    t.match(sent(), [{ type: 'MsgVoteResp', to: id, reject }])
  }
})

t.test('5.2: a vote is remembered over a restart', async (t) => {
  const { node, storage, sent } = lone()
  node.step(from(2, 'MsgVote', 1))
  sent()
  const again = makeNode(1, storage)
  again.step(from(3, 'MsgVote', 1))
  t.match(drain(again, storage), [{ type: 'MsgVoteResp', to: 3, reject: true }])
})

t.test('5.2: a candidate yields to a leader of its term or a later one', async (t) => {
  for (const term of [1, 2]) {
    const { node } = lone()
    node.campaign()
    node.step(from(2, 'MsgApp', term))
    t.match(node.basicStatus(), { role: 'follower', term, lead: 2 })
  }
})

t.test('5.2: election timeouts are random in [T, 2T)', async (t) => {
  const seen = new Set<number>()
  for (let draw = 0; draw < ELECTION_TICKS; draw++) {
    const { node } = lone([], { random: { below: () => draw } })
    let ticks = 0
    for (; node.basicStatus().role === 'follower'; ticks++) node.tick()
    seen.add(ticks)
  }
  const expected = Array.from({ length: ELECTION_TICKS }, (_, i) => ELECTION_TICKS + i)
  t.same([...seen], expected)
})

t.test('5.3: a proposal is appended and sent with what precedes it', async (t) => {
  const { node, sent } = leader([1])
  sent()
  for (const id of [2, 3]) node.step(from(id, 'MsgAppResp', 2, { index: 2 }))
  sent()
  t.match(node.propose(bytes('x')), { refusal: null, index: 3, term: 2 })
  const appends = ofType(sent(), 'MsgApp')
  t.match(
    appends,
    [2, 3].map((to) => ({ to, index: 2, logTerm: 2, commit: 2 })),
  )
  t.match(appends[0]?.entries, [{ index: 3, term: 2, data: bytes('x') }])
})

t.test('5.3: an entry is committed once a majority has it', async (t) => {
  for (const [size, acknowledged, committed] of [
    [1, [], true],
    [3, [], false],
    [3, [2], true],
    [5, [2], false],
    [5, [2, 3], true],
  ] as const) {
    const ids = Array.from({ length: size }, (_, i) => i + 1)
    const { node, sent } = lone([], {}, voters(...ids))
    node.campaign()
    sent()
    for (const id of ids.slice(1)) node.step(from(id, 'MsgVoteResp', 1))
    node.propose(bytes('x'))
    sent()
    for (const id of acknowledged) node.step(from(id, 'MsgAppResp', 1, { index: 2 }))
    t.equal(node.basicStatus().commit, committed ? 2 : 0, `${size}: ${acknowledged}`)
  }
})

t.test("5.3: committing an entry commits those before it, also other leaders'", async (t) => {
  const { node, sent } = leader([1, 2])
  sent()
  node.step(from(2, 'MsgAppResp', 3, { index: 3 }))
  t.equal(node.basicStatus().commit, 3)
})

t.test('5.3: followers apply what they learn to be committed, in order', async (t) => {
  const cluster = new TestCluster([1, 2, 3])
  cluster.elect(1)
  cluster.propose(1, 'a', 'b', 'c')
  for (const id of [1, 2, 3]) t.same(cluster.get(id).applied, ['a', 'b', 'c'])
})

t.test('5.3: consistency check: an append must fit what precedes it', async (t) => {
  for (const [index, logTerm, refused, hint] of [
    [0, 0, false, 0],
    [2, 2, false, 0],
    [2, 3, true, 2],
    [5, 5, true, 3],
  ] as const) {
    const { node, sent } = lone([1, 2, 2])
    node.step(from(2, 'MsgApp', 5, { index, logTerm }))
    const [response] = ofType(sent(), 'MsgAppResp')
    t.match(response, { index, reject: refused, rejectHint: hint })
  }
})

t.test(
  '5.3: conflicting entries are replaced, with all behind them; others are kept',
  async (t) => {
    const cases: [index: number, entries: number[], result: number[]][] = [
      [2, [3], [1, 2, 3]],
      [1, [3, 4], [1, 3, 4]],
      [0, [1], [1, 2, 2]],
      [0, [3], [3]],
      [1, [], [1, 2, 2]],
      [1, [2, 2, 2], [1, 2, 2, 2]],
    ]
    for (const [index, terms, result] of cases) {
      const { node, storage, sent } = lone([1, 2, 2])
      const entries = log([...Array(index).fill(0), ...terms]).slice(index)
      const logTerm = [0, 1, 2][index]!
      node.step(from(2, 'MsgApp', 4, { index, logTerm, entries }))
      sent()
      const stored = storage.entries(1, storage.lastIndex() + 1, Number.POSITIVE_INFINITY)
      t.same(typeof stored === 'string' ? stored : stored.map(({ term }) => term), result)
    }
  },
)

t.test('5.3, figure 7: a leader brings every divergent log into line', async (t) => {
  const lead = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
  const followers = [
    [1, 1, 1, 4, 4, 5, 5, 6, 6],
    [1, 1, 1, 4],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    [1, 1, 1, 4, 4, 4, 4],
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
  ]
  for (const terms of followers) {
    const cluster = new TestCluster([1, 2, 3])
    for (const [id, own] of [
      [1, lead],
      [2, terms],
    ] as const) {
      const { storage } = cluster.get(id)
      storage.append(log(own))
      // As in the figure, the election is for term 8.
      storage.hardState = { term: 7, vote: 0, commit: 0 }
      cluster.restart(id)
    }
    // Member 3, with an empty log, gives the vote that a longer log refuses.
    cluster.elect(1)
    cluster.propose(1, 'x')
    const all = (id: NodeId): unknown => {
      const { storage } = cluster.get(id)
      return storage.entries(1, storage.lastIndex() + 1, Number.POSITIVE_INFINITY)
    }
    t.same(all(2), all(1), `follower ${terms.join('')}`)
    t.equal(cluster.get(2).appliedIndex, cluster.get(1).appliedIndex)
  }
})

t.test('5.4.1: no vote for a log that is behind', async (t) => {
  const cases: [own: number[], index: number, logTerm: number, reject: boolean][] = [
    [[1], 1, 1, false],
    [[1], 2, 1, false],
    [[1, 1], 1, 1, true],
    [[1], 1, 2, false],
    [[1, 1], 1, 2, false],
    [[2], 2, 1, true],
    [[1, 2], 1, 1, true],
  ]
  for (const [own, index, logTerm, reject] of cases) {
    const { node, sent } = lone(own)
    node.step(from(2, 'MsgVote', 3, { index, logTerm }))
    t.match(sent(), [{ type: 'MsgVoteResp', reject }], `own ${own}, other ${logTerm}/${index}`)
  }
})

t.test(
  '5.4.2, figure 8: an entry of an earlier term does not commit by being counted',
  async (t) => {
    const { node, sent } = leader([1, 2])
    sent()
    node.step(from(2, 'MsgAppResp', 3, { index: 2 }))
    t.equal(node.basicStatus().commit, 0, 'index 2 is on a majority, but of term 2')
    node.step(from(2, 'MsgAppResp', 3, { index: 3 }))
    t.equal(node.basicStatus().commit, 3)
  },
)

t.test('thesis 3.8: own vote and own copy count only when durable', async (t) => {
  const { node, storage, sent } = lone([], {}, voters(1))
  node.campaign()
  const vote = node.ready()
  t.equal(node.basicStatus().role, 'candidate', 'the vote is not stored yet')
  t.same(vote.hardState, { term: 1, vote: 1, commit: 0 })
  storage.hardState = vote.hardState!
  node.advance()
  t.equal(node.basicStatus().role, 'leader')
  node.propose(bytes('x'))
  const append = node.ready()
  t.equal(node.basicStatus().commit, 0, 'the entries are not stored yet')
  storage.append(append.entries)
  node.advance()
  t.equal(node.basicStatus().commit, 2)
  sent()
})

t.test('thesis 3.8: what promises durability is kept apart from what does not', async (t) => {
  const { node } = lone()
  node.step(from(2, 'MsgApp', 1, { entries: log([1]) }))
  const ready = node.ready()
  t.same(ready.messages, [])
  t.match(ready.messagesAfterAppend, [{ type: 'MsgAppResp', index: 1 }])
  t.equal(ready.mustSync, true)
})

t.test('a candidate states only a durable tail', async (t) => {
  // The tail was lost in a crash after MsgVote: then the grant must not elect the shorter log.
  const { node } = lone()
  node.step(from(2, 'MsgApp', 1, { entries: log([1]) }))
  node.campaign()
  const ready = node.ready()
  t.same(ofType(ready.messages, 'MsgVote'), [])
  t.equal(ofType(ready.messagesAfterAppend, 'MsgVote').length, 2)
  const durable = lone([1])
  durable.node.campaign()
  t.equal(ofType(durable.node.ready().messages, 'MsgVote').length, 2, 'nothing to wait for')
})

t.test('thesis 4.2.1: a learner follows and votes, but does not stand or count', async (t) => {
  const confState = { ...EMPTY_CONF_STATE, voters: [1, 2], learners: [3] }
  const cluster = new TestCluster([1, 2, 3], {}, confState)
  cluster.node(3).campaign()
  cluster.settle()
  t.equal(cluster.node(3).basicStatus().role, 'follower')
  cluster.elect(1)
  cluster.partition([1, 3])
  cluster.propose(1, 'x')
  t.equal(cluster.node(1).basicStatus().commit, 1, 'one voter of two')
  cluster.heal()
  cluster.tick(2)
  t.same(cluster.get(3).applied, ['x'])
})

t.test('thesis 6.4: a new leader serves no read before it has committed in its term', async (t) => {
  const { node, sent } = leader([1])
  sent()
  t.equal(node.readIndex(bytes('r')), null)
  t.same(ofType(sent(), 'MsgHeartbeat'), [])
  node.step(from(2, 'MsgAppResp', 2, { index: 2 }))
  const beats = ofType(sent(), 'MsgHeartbeat')
  t.match(beats, [
    { to: 2, readPosition: 1 },
    { to: 3, readPosition: 1 },
  ])
  node.step(from(2, 'MsgHeartbeatResp', 2, { readPosition: 1 }))
  t.match(node.ready().readStates, [{ index: 2, context: bytes('r') }])
})

t.test('thesis 9.6: a pre-vote changes neither term nor vote', async (t) => {
  const { node, sent } = lone([1], { preVote: true })
  node.campaign()
  t.match(node.basicStatus(), { role: 'pre-candidate', term: 1, vote: 0 })
  t.match(sent(), [
    { type: 'MsgPreVote', term: 2 },
    { type: 'MsgPreVote', term: 2 },
  ])
  const other = lone([1])
  other.node.step(from(2, 'MsgPreVote', 2, { index: 1, logTerm: 1 }))
  t.match(other.sent(), [{ type: 'MsgPreVoteResp', term: 2, reject: false }])
  t.match(other.node.basicStatus(), { term: 1, vote: 0 })
  node.step(from(2, 'MsgPreVoteResp', 2))
  t.match(node.basicStatus(), { role: 'candidate', term: 2, vote: 1 })
})
