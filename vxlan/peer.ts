// One peer as PeerTable keeps it: who it is, its session, and its timers.

import { earliestTimestamp } from './handshake.ts'
import type { RemoteIdentity } from './handshaker.ts'
import type { Keyring } from './keyring.ts'
import type { Initiator } from './noise.ts'
import { IDLE, type SessionState } from './session.ts'

/** An initiation goes unanswered, or the wait for a proof is over. */
export const RETRY_TIMER = 0
/** Calling has gone on for too long. */
export const GIVE_UP_TIMER = 1
/** Frames were sent and nothing came back. */
export const SILENCE_TIMER = 2
/** Frames came in and nothing was sent back. */
export const PASSIVE_TIMER = 3
/** Nothing was sent for as long as the configuration allows. */
export const PERSISTENT_TIMER = 4
/** The oldest keypair has reached REJECT_AFTER_MS. */
export const EXPIRY_TIMER = 5
/** An initiation that has gone the direct way goes by the relay, too. */
export const RELAY_TIMER = 6
export const TIMERS = 7
export type Timer = 0 | 1 | 2 | 3 | 4 | 5 | 6

const OFF: number = Number.POSITIVE_INFINITY

/** An initiation of ours that is out. */
export interface Call {
  readonly initiator: Initiator
  readonly slot: number
  readonly index: number
  readonly message: Uint8Array
}

export class Peer {
  readonly number: number
  readonly remote: RemoteIdentity
  readonly ring: Keyring
  endpoint: number
  /** Where the tables say that it is, -1 = they do not. */
  home: number
  /** Endpoint of a node that passes on what is for the peer, -1 = none. */
  relay = -1
  /** When it was last called where the tables say that it is. */
  triedMs: number = Number.NEGATIVE_INFINITY
  /** Initiations of the call under way. */
  tries = 0
  keepaliveMs: number
  state: SessionState = IDLE
  call: Call | null = null
  /** A cookie has already brought the retry of this call forward. */
  hurried = false
  /** Timestamp of the newest initiation accepted, and when it came in. */
  timestamp: Uint8Array = earliestTimestamp()
  initiationMs: number = Number.NEGATIVE_INFINITY
  /** Answers of ours since the last one that it made use of. */
  unusedAnswers = 0
  /** When we last sent a handshake message. */
  handshakeMs: number = Number.NEGATIVE_INFINITY
  /** Due times, Infinity = off. */
  readonly timers: Float64Array = new Float64Array(TIMERS).fill(OFF)

  constructor(
    number: number,
    remote: RemoteIdentity,
    ring: Keyring,
    endpoint: number,
    keepaliveMs: number,
  ) {
    this.number = number
    this.remote = remote
    this.ring = ring
    this.endpoint = endpoint
    this.home = endpoint
    this.keepaliveMs = keepaliveMs
  }

  stop(timer: Timer): void {
    this.timers[timer] = OFF
  }

  isOff(timer: Timer): boolean {
    return this.timers[timer] === OFF
  }

  /** When the first timer is due. */
  dueMs(): number {
    let due = OFF
    for (let i = 0; i < TIMERS; i++) if (this.timers[i]! < due) due = this.timers[i]!
    return due
  }
}
