// What goes in and out of a RawNode besides messages.

import type {
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  ReadState,
  Snapshot,
  SoftState,
} from './messages.ts'
import type { ProgressStatus } from './progress.ts'

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
  /** A response from somebody who is not a member. */
  | 'unknown-peer'
  /** More reads wait for confirmation than MAX_HELD_READS. */
  | 'too-many-reads'
  /** A message or proposal that no correct member makes. */
  | 'malformed'

/** Fate of a proposal. `index` and `term` name the log position it was given, so that its caller
 * can tell whether what gets committed there is its own; both are 0 when it was passed on to
 * the leader. */
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
  /** False when losing this Ready's writes in a crash would do no harm (only the commit index
   * moved). */
  readonly mustSync: boolean
  /** What persisted() will report; of interest to traces only. */
  readonly receipt: WriteReceipt
}

/** What the core tells itself when a Ready's writes are durable. */
export interface WriteReceipt {
  /** The term when the Ready was handed out. */
  readonly term: number
  /** Ready.messagesAfterAppend and, in their places, this member's messages to itself: its own
   * vote, its own acknowledgement. */
  readonly messages: readonly Message[]
  /** The end of the log as it was then; index 0 when everything was durable already. */
  readonly lastIndex: number
  readonly lastTerm: number
  readonly snapshot: Snapshot | null
}

export interface BasicStatus extends HardState, SoftState {
  readonly id: NodeId
  readonly applied: number
  readonly lastIndex: number
  /** Target of a leadership transfer under way; 0 for none. */
  readonly leadTransferee: NodeId
}

export interface Status extends BasicStatus {
  readonly config: ConfState
  /** By ascending id; empty unless this member leads. */
  readonly progress: readonly ProgressStatus[]
}
