// The settings of one member, what each is for, and what goes wrong without it.

import type { NodeId } from './messages.ts'
import { NONE } from './messages.ts'
import type { Storage } from './storage.ts'

/** Where randomness comes from: an integer in [0, n). Election timeouts are all it is used for. */
export interface Random {
  below(n: number): number
}

export interface Config {
  /** This member's id, never 0, never used by another member before. */
  readonly id: NodeId
  readonly storage: Storage
  readonly random: Random
  /** Last index the state machine already holds, after a restart. Entries up to it are not
   * handed out for applying again. Default 0. */
  readonly applied?: number
  /** Ticks without a sign of the leader before an election starts; the timeout is drawn from
   * [electionTicks, 2 * electionTicks - 1] each time so that members rarely collide. Ten
   * heartbeats are customary: fewer and one lost packet costs an election. */
  readonly electionTicks: number
  /** Ticks between the leader's heartbeats. */
  readonly heartbeatTicks: number
  /** Bytes of entries in one MsgApp (at least one entry always goes). Small values waste round
   * trips, large ones make a retransmission expensive. Default unlimited. */
  readonly maxMessageBytes?: number
  /** Bytes of committed entries in one Ready, so that applying does not starve heartbeats. Default
   * maxMessageBytes. */
  readonly maxCommittedBytesPerReady?: number
  /** Bytes of data the leader takes in beyond what is committed; further proposals are refused.
   * Without it a leader cut off from its quorum grows without bound. Default unlimited. */
  readonly maxUncommittedBytes?: number
  /** MsgApps on their way to one follower before the leader waits for an answer. */
  readonly maxInflightMessages: number
  /** The same in bytes of data: throughput to one follower is at most this per round trip. Default
   * unlimited; else at least maxMessageBytes. */
  readonly maxInflightBytes?: number
  /** The leader steps down when no quorum was heard from for an election timeout, and members
   * refuse to vote while they hear from a leader. Default false. */
  readonly checkQuorum?: boolean
  /** Ask before incrementing the term, so that a member coming back from a partition does not
   * depose a working leader (thesis 9.6). Default false. */
  readonly preVote?: boolean
  /** `safe` confirms each batch of reads by a round of heartbeats. `lease` trusts the clocks and
   * checkQuorum, which it requires: a paused leader can answer a stale read. Default safe. */
  readonly readOnly?: 'safe' | 'lease'
  /** Followers refuse proposals instead of passing them to the leader. Default false. */
  readonly disableProposalForwarding?: boolean
  /** Membership changes are not checked against the current configuration when proposed. Only
   * for a caller that orders and checks them itself: an impossible change is then an assertion
   * failure when applied. Default false. */
  readonly disableConfChangeValidation?: boolean
  /** A leader that is removed or demoted becomes a follower at once when it applies that. Default
   * false. */
  readonly stepDownOnRemoval?: boolean
  /** The caller may take further Readies before the last one's writes are durable, and reports with
   * persisted() and applied() instead of advance(). Default false. */
  readonly pipelinedWrites?: boolean
  /** Told about the turns worth a log line or a metric. Must not call back. */
  readonly trace?: (event: TraceEvent) => void
}

/** What `Config.trace` is told. `term` is the member's own at that moment. */
export type TraceEvent =
  | { readonly kind: 'role'; readonly role: string; readonly term: number; readonly lead: NodeId }
  | {
      readonly kind: 'vote-granted'
      readonly to: NodeId
      readonly pre: boolean
      readonly term: number
    }
  | {
      readonly kind: 'vote-refused'
      readonly to: NodeId
      readonly pre: boolean
      readonly term: number
    }
  | { readonly kind: 'vote-ignored-in-lease'; readonly from: NodeId; readonly term: number }
  | { readonly kind: 'quorum-lost'; readonly term: number }
  | { readonly kind: 'conf-change-refused'; readonly reason: string; readonly term: number }
  | { readonly kind: 'config-switched'; readonly config: string; readonly term: number }
  | {
      readonly kind: 'append-refused'
      readonly from: NodeId
      readonly index: number
      readonly term: number
    }
  | {
      readonly kind: 'snapshot-sent'
      readonly to: NodeId
      readonly index: number
      readonly term: number
    }
  | { readonly kind: 'snapshot-restored'; readonly index: number; readonly term: number }
  | { readonly kind: 'cannot-campaign'; readonly reason: string; readonly term: number }

/** A configuration with every default filled in. */
export type ResolvedConfig = Required<Config>

/** Fills in the defaults. Throws a RangeError that says which setting is impossible, and why. */
export function resolveConfig(config: Config): ResolvedConfig {
  const maxMessageBytes = config.maxMessageBytes ?? Number.POSITIVE_INFINITY
  const resolved: ResolvedConfig = {
    ...config,
    applied: config.applied ?? 0,
    maxMessageBytes,
    maxCommittedBytesPerReady: config.maxCommittedBytesPerReady ?? maxMessageBytes,
    maxUncommittedBytes: config.maxUncommittedBytes ?? Number.POSITIVE_INFINITY,
    maxInflightBytes: config.maxInflightBytes ?? Number.POSITIVE_INFINITY,
    checkQuorum: config.checkQuorum ?? false,
    preVote: config.preVote ?? false,
    readOnly: config.readOnly ?? 'safe',
    disableProposalForwarding: config.disableProposalForwarding ?? false,
    disableConfChangeValidation: config.disableConfChangeValidation ?? false,
    stepDownOnRemoval: config.stepDownOnRemoval ?? false,
    pipelinedWrites: config.pipelinedWrites ?? false,
    trace: config.trace ?? (() => {}),
  }
  if (!Number.isSafeInteger(config.id) || config.id <= NONE) {
    throw new RangeError('id must be a positive integer')
  }
  if (!(config.heartbeatTicks > 0)) throw new RangeError('heartbeatTicks must be at least 1')
  if (!(config.electionTicks > config.heartbeatTicks)) {
    throw new RangeError('electionTicks must be greater than heartbeatTicks')
  }
  if (!(config.maxInflightMessages > 0)) {
    throw new RangeError('maxInflightMessages must be at least 1')
  }
  if (config.maxInflightBytes !== undefined && !(config.maxInflightBytes >= maxMessageBytes)) {
    throw new RangeError('maxInflightBytes must be at least maxMessageBytes')
  }
  if (resolved.readOnly === 'lease' && !resolved.checkQuorum) {
    throw new RangeError('readOnly: lease requires checkQuorum')
  }
  return resolved
}
