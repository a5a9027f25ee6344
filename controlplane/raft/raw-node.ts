// The face of the consensus core: a pure state machine that is told of ticks, messages and requests, and
// answers with a Ready, the list of what the caller must do next. It does no I/O, has no clock and
// starts nothing by itself. docs/raft.md is the manual.
//
//   node.tick() | node.step(message) | node.propose(data) | ...      any number of times
//   while (node.hasReady()) {
//     const ready = node.ready()
//     1. send ready.messages                        (may overlap with 2)
//     2. make snapshot, entries, hardState durable  (fsync if ready.mustSync)
//     3. send ready.messagesAfterAppend
//     4. apply ready.snapshot, then ready.committedEntries (applyConfChange() for membership changes)
//     node.advance()
//   }

import type { Config } from './config.ts'
import type {
  ConfChange,
  ConfChangeSingle,
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  ReadState,
  Role,
  Snapshot,
  SoftState,
} from './messages.ts'

/** Why a request or message was not taken. Nothing changed. */
export type Refusal =
  /** No leader is known: try again when softState.lead is set. */
  | 'no-leader'
  /** This member is a follower and disableProposalForwarding is set. */
  | 'not-forwarding'
  /** The leader is handing its office over. */
  | 'transferring'
  /** This leader is no longer a member. */
  | 'removed'
  /** maxUncommittedBytes is reached. */
  | 'too-many-uncommitted-bytes'
  /** A message type that only the core sends to itself came through step(). */
  | 'local-message'
  /** A response from somebody who is not a member. */
  | 'unknown-peer'

/** Fate of a proposal. `index` and `term` name the log position it was given, so that its caller can tell
 * whether what gets committed there is its own; both are 0 when it was passed on to the leader. */
export interface ProposeResult {
  readonly refusal: Refusal | null
  readonly index: number
  readonly term: number
}

/** What the caller must do before advance(). Every list is to be handled in order, and none may be
 * changed: the core goes on using the arrays. */
export interface Ready {
  /** Set when the leader or this member's role changed. Need not be stored. */
  readonly softState: SoftState | null
  /** Set when term, vote or commit index changed: to be stored with the entries. */
  readonly hardState: HardState | null
  /** Answered reads: each may be served once the state machine applied its index. */
  readonly readStates: readonly ReadState[]
  /** To be stored. They replace whatever was stored at and behind the index of the first. */
  readonly entries: readonly Entry[]
  /** A snapshot from the leader, to be stored (before `entries`) and applied (before
   * `committedEntries`). It replaces the whole log. */
  readonly snapshot: Snapshot | null
  /** To be applied to the state machine. Always already durable here. */
  readonly committedEntries: readonly Entry[]
  /** May be sent at once, even while the write is under way. */
  readonly messages: readonly Message[]
  /** May be sent only when everything in this Ready is durable: they promise something about it. */
  readonly messagesAfterAppend: readonly Message[]
  /** False when losing this Ready's writes in a crash would do no harm (only the commit index moved). */
  readonly mustSync: boolean
}

export interface BasicStatus extends HardState, SoftState {
  readonly id: NodeId
  readonly applied: number
  readonly lastIndex: number
  /** Target of a leadership transfer under way; 0 for none. */
  readonly leadTransferee: NodeId
}

/** The leader's view of one member. */
export interface ProgressStatus {
  readonly id: NodeId
  readonly state: 'probe' | 'replicate' | 'snapshot'
  /** Highest index known to be durable there. */
  readonly match: number
  /** Next index to send. */
  readonly next: number
  readonly learner: boolean
  /** No entries are sent at present. */
  readonly paused: boolean
  /** Index of the snapshot on its way; 0 for none. */
  readonly pendingSnapshot: number
  /** Heard from since the last quorum check. */
  readonly recentActive: boolean
  readonly inflightMessages: number
  readonly inflightFull: boolean
}

export interface Status extends BasicStatus {
  readonly config: ConfState
  /** By ascending id; empty unless this member leads. */
  readonly progress: readonly ProgressStatus[]
}

export class RawNode {
  constructor(config: Config) {
    void config
    throw new Error('not implemented yet')
  }

  /** Advances the logical clock by one tick. */
  tick(): void {
    throw new Error('not implemented yet')
  }

  /** Starts an election now, as if the election timeout had passed. */
  campaign(): void {
    throw new Error('not implemented yet')
  }

  /** Proposes `data` for the log. */
  propose(data: Uint8Array): ProposeResult {
    return this.proposeBatch([data])
  }

  /** Proposes several entries in one append; all are taken or none. The result names the first. */
  proposeBatch(batch: readonly Uint8Array[]): ProposeResult {
    void batch
    throw new Error('not implemented yet')
  }

  /** Proposes a change of membership. A change that cannot follow the current configuration is replaced
   * by an empty normal entry at the same index. */
  proposeConfChange(change: ConfChange | ConfChangeSingle): ProposeResult {
    void change
    throw new Error('not implemented yet')
  }

  /** Switches to the configuration after `change`; to be called when its entry is applied, unless the
   * caller decides to void it. Returns the new configuration, for the caller's next snapshot. */
  applyConfChange(change: ConfChange | ConfChangeSingle): ConfState {
    void change
    throw new Error('not implemented yet')
  }

  /** Takes a message from another member. */
  step(message: Message): Refusal | null {
    void message
    throw new Error('not implemented yet')
  }

  /** True when ready() has something to do. */
  hasReady(): boolean {
    throw new Error('not implemented yet')
  }

  /** Hands out the outstanding work. Must be followed by advance() before it is called again. */
  ready(): Ready {
    throw new Error('not implemented yet')
  }

  /** Says that the last Ready is durable, sent and applied. */
  advance(): void {
    throw new Error('not implemented yet')
  }

  basicStatus(): BasicStatus {
    throw new Error('not implemented yet')
  }

  status(): Status {
    throw new Error('not implemented yet')
  }

  /** Says that the last message to `id` could not be delivered. */
  reportUnreachable(id: NodeId): void {
    void id
    throw new Error('not implemented yet')
  }

  /** Says whether the snapshot to `id` arrived. Without it the member stays paused. */
  reportSnapshot(id: NodeId, ok: boolean): void {
    void id
    void ok
    throw new Error('not implemented yet')
  }

  /** Asks the leader (this or another member) to hand its office to `to`. */
  transferLeader(to: NodeId): void {
    void to
    throw new Error('not implemented yet')
  }

  /** Forgets the leader, so that this follower grants votes before the election timeout. */
  forgetLeader(): void {
    throw new Error('not implemented yet')
  }

  /** Asks for a linearizable read point; the answer comes as a ReadState with the same `context`, or not
   * at all if there is no leader or the message is lost: repeat after a timeout with a new context. */
  readIndex(context: Uint8Array): void {
    void context
    throw new Error('not implemented yet')
  }
}
