// The state of one member, and the few moves that every role shares: changing role, sending,
// appending. What a member does with a message is in step.ts (rules common to all roles) and
// step-leader.ts, step-candidate.ts and step-follower.ts.
//
//                 timeout                    quorum of votes
//   follower ------------------> candidate ------------------> leader
//      ^    (pre-candidate first    |                             |
//      |     when preVote is on)    |                             |
//      +--- higher term, or a ------+------ higher term, ---------+
//           leader of this term             quorum lost, removed

import { assert } from '../../base/assert.ts'
import type { ResolvedConfig, TraceEvent } from './config.ts'
import { INTEGER_END } from './limits.ts'
import { payloadBytes, RaftLog } from './log.ts'
import {
  type Entry,
  type EntryType,
  kindOf,
  type Message,
  type MessageType,
  makeMessage,
  NONE,
  type NodeId,
  type ReadState,
  type Role,
} from './messages.ts'
import { type PendingRead, ReadQueue } from './read-queue.ts'
import { Tracker } from './tracker.ts'

/** An entry that has no place in the log yet. */
export interface Draft {
  readonly type: EntryType
  readonly data: Uint8Array
}

/** Messages that promise something about what the sender has stored, and therefore leave
 * only after it is durable (thesis, section 3.8). */
const AFTER_APPEND: ReadonlySet<MessageType> = new Set<MessageType>([
  'MsgAppResp',
  'MsgVoteResp',
  'MsgPreVoteResp',
])

export class Raft {
  readonly id: NodeId
  readonly config: ResolvedConfig
  readonly log: RaftLog
  readonly tracker: Tracker

  term = 0
  vote: NodeId = NONE
  role: Role = 'follower'
  lead: NodeId = NONE

  /** To be sent at once. Never to this member itself. */
  messages: Message[] = []
  /** To be sent, or stepped if to this member itself, when all that is unstable now is durable. */
  messagesAfterAppend: Message[] = []
  readStates: ReadState[] = []

  /** Target of a leadership transfer (thesis, section 3.10). */
  leadTransferee: NodeId = NONE
  /** At least the index of the newest membership change in the log: no other may be proposed
   * until this is applied. */
  pendingConfIndex = 0
  /** Index of the membership change that the configuration in force comes from, if it was handed
   * out for applying but not yet reported as applied. */
  configIndex = 0
  /** The leader's: indexes of the membership changes in its log that were not in force when it
   * became leader or proposed them. */
  tailChanges: number[] = []
  /** Bytes of data in the uncommitted tail, by the leader's reckoning. */
  uncommittedBytes = 0
  reads: ReadQueue = new ReadQueue()
  /** Reads that wait for the new leader's first committed entry. */
  heldReads: PendingRead[] = []

  /** A MsgSnap that waits until the entries handed out are applied. */
  heldSnapshot: Message | null = null

  /** Ticks since the last sign of a leader; for the leader, since its last quorum check. */
  electionElapsed = 0
  heartbeatElapsed = 0
  /** The election timeout drawn for this round. */
  electionTimeoutTicks = 0

  constructor(config: ResolvedConfig) {
    this.id = config.id
    this.config = config
    this.log = new RaftLog(config.storage, config.maxCommittedBytesPerReady)
    this.tracker = new Tracker(config.maxInflightMessages, config.maxInflightBytes)
  }

  becomeFollower(term: number, lead: NodeId): void {
    this.#reset(term)
    this.lead = lead
    this.#enter('follower')
  }

  becomePreCandidate(): void {
    assert(this.role !== 'leader', 'invalid transition [leader -> pre-candidate]')
    // Asking changes nothing: neither term nor vote.
    this.tracker.resetVotes()
    this.lead = NONE
    this.#enter('pre-candidate')
  }

  becomeCandidate(): void {
    assert(this.role !== 'leader', 'invalid transition [leader -> candidate]')
    this.#reset(this.term + 1)
    this.vote = this.id
    this.#enter('candidate')
  }

  becomeLeader(): void {
    assert(this.role !== 'follower', 'invalid transition [follower -> leader]')
    this.#reset(this.term)
    this.lead = this.id
    this.#enter('leader')
    // A voter by its log alone (election.ts) is not counted before that part of the log is in
    // force.
    const self = this.tracker.get(this.id)
    if (self !== undefined) {
      self.becomeReplicate()
      self.recentActive = true
    }
    // Somewhere in the inherited tail there may be a membership change. Waiting for all of it is
    // simpler than looking.
    this.pendingConfIndex = this.log.lastIndex()
    for (const { type, index } of this.log.entriesAfter(
      this.inForceIndex(),
      this.pendingConfIndex,
    )) {
      if (type !== 'EntryNormal') this.tailChanges.push(index)
    }
    // Entries of earlier terms commit only through one of this term (paper, section 5.4.2).
    const accepted = this.appendDrafts([{ type: 'EntryNormal', data: new Uint8Array(0) }])
    assert(accepted, 'an empty entry is never refused')
  }

  trace(kind: TraceEvent['kind'], about: Partial<TraceEvent> = {}): void {
    this.config.trace({ ...about, kind, term: this.term })
  }

  /** Queues a message. Term and sender are filled in. */
  send(type: MessageType, to: NodeId, fields: Partial<Message> = {}): void {
    // Votes may speak of a term other than the member's own and say so. Requests have none.
    const term = kindOf(type) === 'request' ? 0 : (fields.term ?? this.term)
    const message = makeMessage(type, to, { ...fields, from: fields.from ?? this.id, term })
    // A MsgVote states where the candidate's log ends. Were that tail not durable, and lost in a
    // crash, a vote given for the long log could reach the candidate's next incarnation and elect
    // the short one.
    const statesUnstableTail = type === 'MsgVote' && this.log.unstable.entryCount > 0
    if (AFTER_APPEND.has(type) || statesUnstableTail) {
      this.messagesAfterAppend.push(message)
    } else {
      assert(to !== this.id, `${type} must not be sent to oneself`)
      this.messages.push(message)
    }
  }

  /** Appends to the leader's log. False, and no change, when that would exceed
   * maxUncommittedBytes. */
  appendDrafts(drafts: readonly Draft[]): boolean {
    let index = this.log.lastIndex()
    const term = this.term
    const entries: Entry[] = drafts.map(({ type, data }) => ({ term, index: ++index, type, data }))
    assert(index < INTEGER_END, 'log index overflow')
    const bytes = payloadBytes(entries)
    // An empty tail takes an entry of any size, or large entries could never be proposed.
    if (
      this.uncommittedBytes > 0 &&
      bytes > 0 &&
      this.uncommittedBytes + bytes > this.config.maxUncommittedBytes
    ) {
      return false
    }
    this.uncommittedBytes += bytes
    this.log.append(entries)
    // The leader's own copy counts only when durable: this acknowledgement to itself waits for
    // that.
    this.send('MsgAppResp', this.id, { index })
    return true
  }

  /** Advances the commit index to what a quorum has, as far as the configuration in force may
   * say so.
   *
   * It may for entries behind the next membership change in the log, since majorities of
   * neighbouring configurations overlap, but not from the change after that. A leader that has
   * just one change unapplied never meets this limit; one that lost its commit index in a crash
   * may have several. */
  maybeCommit(): boolean {
    const index = this.tracker.committedIndex()
    // Only an entry of its own term commits by being counted; those before it commit with it
    // (paper, section 5.4.2).
    if (index <= this.log.committed || !this.log.matches(index, this.term)) return false
    const inForce = this.inForceIndex()
    while (this.tailChanges[0] !== undefined && this.tailChanges[0] <= inForce) {
      this.tailChanges.shift()
    }
    const limit = (this.tailChanges[1] ?? INTEGER_END) - 1
    if (Math.min(index, limit) <= this.log.committed) return false
    this.log.commitTo(Math.min(index, limit))
    return true
  }

  /** The membership changes up to this index are in force. */
  inForceIndex(): number {
    return Math.max(this.configIndex, this.log.applied, this.log.firstIndex() - 1)
  }

  committedInCurrentTerm(): boolean {
    return this.log.term(this.log.committed) === this.term
  }

  #reset(term: number): void {
    assert(term >= this.term && term < INTEGER_END, 'the term never falls')
    if (this.term !== term) {
      this.term = term
      this.vote = NONE
    }
    this.lead = NONE
    this.electionElapsed = 0
    this.heartbeatElapsed = 0
    const { electionTicks, random } = this.config
    this.electionTimeoutTicks = electionTicks + random.below(electionTicks)
    this.leadTransferee = NONE
    this.tracker.reset(this.id, this.log.lastIndex())
    this.pendingConfIndex = 0
    this.tailChanges = []
    this.uncommittedBytes = 0
    this.reads = new ReadQueue()
    this.heldReads = []
  }

  #enter(role: Role): void {
    this.role = role
    this.trace('role', { detail: role, peer: this.lead })
  }
}
