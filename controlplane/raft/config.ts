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

/** What `Config.trace` is told. */
export interface TraceEvent {
  readonly kind:
    | 'role'
    | 'vote-granted'
    | 'vote-refused'
    | 'vote-ignored-in-lease'
    | 'quorum-lost'
    | 'conf-change-refused'
    | 'config-switched'
    | 'append-refused'
    | 'snapshot-sent'
    | 'snapshot-restored'
    | 'cannot-campaign'
  /** The member's own at that moment. */
  readonly term: number
  /** The other member that it is about; for `role` the leader. */
  readonly peer?: NodeId
  /** Of the entry refused, or the snapshot's. */
  readonly index?: number
  /** The role, the configuration as JSON, or the reason why not. */
  readonly detail?: string
}

/** A configuration with every default filled in. */
export type ResolvedConfig = Required<Config>

const DEFAULTS = {
  applied: 0,
  maxMessageBytes: Number.POSITIVE_INFINITY,
  maxUncommittedBytes: Number.POSITIVE_INFINITY,
  maxInflightBytes: Number.POSITIVE_INFINITY,
  checkQuorum: false,
  preVote: false,
  readOnly: 'safe',
  disableProposalForwarding: false,
  disableConfChangeValidation: false,
  stepDownOnRemoval: false,
  pipelinedWrites: false,
  trace: (): void => {},
} as const

/** Fills in the defaults. Throws a RangeError that says which setting is impossible, and why. */
export function resolveConfig(config: Config): ResolvedConfig {
  const filled = { ...DEFAULTS, ...config }
  const { maxMessageBytes, maxInflightBytes } = filled
  const demands: readonly (readonly [boolean, string])[] = [
    [Number.isSafeInteger(config.id) && config.id > NONE, 'id must be a positive integer'],
    [config.heartbeatTicks > 0, 'heartbeatTicks must be at least 1'],
    [
      config.electionTicks > config.heartbeatTicks,
      'electionTicks must be greater than heartbeatTicks',
    ],
    [config.maxInflightMessages > 0, 'maxInflightMessages must be at least 1'],
    [maxInflightBytes >= maxMessageBytes, 'maxInflightBytes must be at least maxMessageBytes'],
    [filled.readOnly !== 'lease' || filled.checkQuorum, 'readOnly: lease requires checkQuorum'],
  ]
  for (const [holds, fault] of demands) if (!holds) throw new RangeError(fault)
  return {
    ...filled,
    maxCommittedBytesPerReady: config.maxCommittedBytesPerReady ?? maxMessageBytes,
  }
}
