// The vocabulary of the consensus core: entries, snapshots, configurations, and the one shape that
// every message between members has. Nothing here has behaviour beyond filling in defaults.
//
// Terms, indexes and ids are plain numbers. They are asserted to stay below 2^53, which a cluster
// that committed a million entries a second would reach after 285 years.
//
// A message is one flat record with a field for everything any type needs, the same shape for all
// types: codec and queues stay simple and every engine sees one hidden class. docs/raft.md explains
// each type and which fields it uses; the rest hold the zero of their kind.

/** A member's id: 1 to 2^53 - 3. 0 means "nobody". Ids are never reused, not even after removal. */
export type NodeId = number

/** "No such member": no leader known, no vote cast. */
export const NONE: NodeId = 0

// In the following lists the position of a name is its code on disks and wires: append only.

/** - `EntryNormal`: opaque bytes for the state machine; empty data is the new leader's own marker
 *   entry.
 * - `EntryConfChange`: one membership change, encoded by encodeConfChange().
 * - `EntryConfChangeV2`: a set of membership changes, encoded likewise; empty data leaves a joint
 *   configuration. */
export const ENTRY_TYPES = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2'] as const
export type EntryType = (typeof ENTRY_TYPES)[number]

export interface Entry {
  readonly term: number
  readonly index: number
  readonly type: EntryType
  readonly data: Uint8Array
}

/** Who votes and who listens. Every list is sorted ascending and free of duplicates. */
export interface ConfState {
  /** The (incoming) voters. */
  readonly voters: readonly NodeId[]
  /** The outgoing voters of a joint configuration; empty when the configuration is not joint. */
  readonly votersOutgoing: readonly NodeId[]
  readonly learners: readonly NodeId[]
  /** Outgoing voters that become learners when the joint configuration is left. */
  readonly learnersNext: readonly NodeId[]
  /** Leave the joint configuration as soon as it is applied, without being asked. */
  readonly autoLeave: boolean
}

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
}

export interface Snapshot {
  /** Index and term of the last entry the snapshot covers; index 0 never occurs. */
  readonly index: number
  readonly term: number
  readonly confState: ConfState
  /** The state machine's bytes, or whatever stands for them in the caller's transport. */
  readonly data: Uint8Array
}

/** What must survive a crash besides the log (Raft paper, figure 2, plus the commit index, which
 * is only a convenience: losing it costs a little catching up). */
export interface HardState {
  readonly term: number
  readonly vote: NodeId
  readonly commit: number
}

export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NONE, commit: 0 }

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

/** What need not survive a crash: for metrics and for telling clients where the leader is. */
export interface SoftState {
  readonly lead: NodeId
  readonly role: Role
}

/** An answered readIndex(): reading the state machine once it has applied `index` is
 * linearizable. */
export interface ReadState {
  readonly index: number
  /** The bytes given to readIndex(). */
  readonly context: Uint8Array
}

/** - `add-voter`: adds a voter, or promotes a learner.
 * - `add-learner`: adds a learner, or demotes a voter.
 * - `update` changes nothing in the core: the entry tells the layers above that a member's address
 *   changed. */
export const CHANGE_TYPES = ['add-voter', 'remove', 'update', 'add-learner'] as const
export type ConfChangeType = (typeof CHANGE_TYPES)[number]

/** One membership change. Proposed by itself it becomes an EntryConfChange. */
export interface ConfChangeSingle {
  readonly type: ConfChangeType
  readonly nodeId: NodeId
}

/** How a set of changes passes through the joint configuration.
 * - `auto`: directly if at most one voter changes, else joint, left without being asked.
 * - `joint-implicit`: always joint, left without being asked.
 * - `joint-explicit`: always joint, left when the caller proposes the empty set. */
export const TRANSITIONS = ['auto', 'joint-implicit', 'joint-explicit'] as const
export type ConfChangeTransition = (typeof TRANSITIONS)[number]

/** A set of membership changes that take effect together. The empty set with `auto` leaves a joint
 * configuration. Becomes an EntryConfChangeV2. */
export interface ConfChange {
  readonly transition: ConfChangeTransition
  readonly changes: readonly ConfChangeSingle[]
  /** Opaque to the core (the layers above put the member's address here). */
  readonly context: Uint8Array
}

/** What a message is, which decides how its term is read and who may send it:
 * - `request`: passed on to the leader by whoever gets it, so `from` need not be the sender. No
 *   term.
 * - `leader`: from the leader of its term.
 * - `candidate`: asks for a vote, for a term that may not be the sender's.
 * - `response`: taken from members only. */
type MessageKind = 'request' | 'leader' | 'candidate' | 'response'

export const MESSAGE_KINDS = {
  MsgProp: 'request',
  MsgApp: 'leader',
  MsgAppResp: 'response',
  MsgVote: 'candidate',
  MsgVoteResp: 'response',
  MsgSnap: 'leader',
  MsgHeartbeat: 'leader',
  MsgHeartbeatResp: 'response',
  MsgTransferLeader: 'request',
  MsgTimeoutNow: 'leader',
  MsgReadIndex: 'request',
  MsgReadIndexResp: 'response',
  MsgPreVote: 'candidate',
  MsgPreVoteResp: 'response',
} as const
export type MessageType = keyof typeof MESSAGE_KINDS

export function kindOf(type: MessageType): MessageKind {
  return MESSAGE_KINDS[type]
}

export interface Message {
  readonly type: MessageType
  readonly to: NodeId
  readonly from: NodeId
  /** 0 in requests, which are never compared by term. */
  readonly term: number
  /** MsgApp: index before the first entry. MsgVote: the candidate's last index. Responses: the
   * index acknowledged or refused. */
  readonly index: number
  /** Term of the entry at `index` (in a rejection: at `rejectHint`). */
  readonly logTerm: number
  readonly commit: number
  readonly reject: boolean
  /** In a rejected MsgAppResp: where the sender's log may begin to agree. */
  readonly rejectHint: number
  readonly entries: readonly Entry[]
  readonly snapshot: Snapshot | null
  /** MsgVote only: the leader itself asked for this election (MsgTimeoutNow), so its lease is no
   * reason to refuse. */
  readonly transfer: boolean
  /** MsgHeartbeat and its response: how many reads this heartbeat confirms; 0 for none. */
  readonly readPosition: number
  /** MsgReadIndex and its response: the bytes by which the reader knows its request. */
  readonly context: Uint8Array
}

export const NO_BYTES: Uint8Array = new Uint8Array(0)
const NO_ENTRIES: readonly Entry[] = []

/** A message of `type` to `to` with the given fields, all others zero. `from` and `term` are
 * filled in by the sender. */
export function makeMessage(type: MessageType, to: NodeId, fields: Partial<Message> = {}): Message {
  return {
    type,
    to,
    from: fields.from ?? NONE,
    term: fields.term ?? 0,
    index: fields.index ?? 0,
    logTerm: fields.logTerm ?? 0,
    commit: fields.commit ?? 0,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    entries: fields.entries ?? NO_ENTRIES,
    snapshot: fields.snapshot ?? null,
    transfer: fields.transfer ?? false,
    readPosition: fields.readPosition ?? 0,
    context: fields.context ?? NO_BYTES,
  }
}
