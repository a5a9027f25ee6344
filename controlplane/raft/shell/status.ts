// What a member tells of itself: status for people and APIs, plain numbers for metrics.

import type { HistogramValues } from '../../../base/histogram.ts'
import type { NodeId } from '../messages.ts'
import type { ProgressStatus } from '../progress.ts'
import type { BasicStatus } from '../types.ts'
import type { MemberAddress } from './members.ts'
import type { PeerStatus } from './transport-contract.ts'

export interface MemberState extends MemberAddress {
  readonly isVoter: boolean
  readonly isLeader: boolean
  /** Heard from within an election timeout (on the leader), or connected. */
  readonly isReachable: boolean
}

export interface MemberStatus extends BasicStatus {
  readonly members: readonly MemberState[]
  /** The leader's view of each member; empty elsewhere. */
  readonly progress: readonly ProgressStatus[]
  /** This member was removed and is to be closed. */
  readonly isRemoved: boolean
}

export interface MemberMetrics {
  readonly term: number
  readonly role: string
  readonly leader: NodeId
  readonly committedIndex: number
  readonly appliedIndex: number
  readonly lastIndex: number
  /** Elections this member stood for since it started, pre-votes included. */
  readonly elections: number
  readonly leaderChanges: number
  readonly pendingProposals: number
  readonly pendingReads: number
  /** Writes that the disk has not confirmed. */
  readonly queuedWrites: number
  /** From propose() to applied here. */
  readonly commitLatency: HistogramValues
  /** One entry in the state machine. */
  readonly applyLatency: HistogramValues
  /** One durable transaction, sync included. */
  readonly writeLatency: HistogramValues
  readonly peers: readonly PeerStatus[]
}
