// Which peers answer through the tunnel: from readings of the data plane's counters of packets,
// what was sent to a peer and what came from it.
//
//   quiet    nothing was sent to it: nothing is known
//   heard    something came from it after what was sent
//   asked    something was sent and nothing came since: after KNOCK_MS it is asked for a sign of
//            life, at each look, which a live data plane gives at once
//   silent   for SILENT_MS, and asked KNOCKS_MIN times: new flows avoid it, the leader is told
//            (dispatcher/liveness.ts), and it is called for a new session
//
// Nothing is sent to peers that nobody speaks to, so a large cluster costs no more than its
// traffic.
//
// A node that is short of processor time may be taken for a dead one. It is back with the first
// packet that comes from it, and is given twice as long the next time, up to PATIENCE_MAX times;
// what it was given is taken back when it has been heard for CALM_MS. One that stays silent for
// DEAD_MS was dead or cut off, and is given no more. A look that comes late says that this node
// stood still itself: that time is nobody's silence.

import {
  ASKED_MAX,
  CALLED_MAX,
  CALM_MS,
  DEAD_MS,
  KNOCK_MS,
  KNOCKS_MIN,
  LONG_SILENT_LOOKS,
  LONG_SILENT_MS,
  LOOK_LATE_MS,
  LOOK_MS,
  PATIENCE_MAX,
  SILENT_MS,
} from './limits.ts'

export interface PeerTraffic {
  readonly nodeId: string
  readonly received: number
  readonly sent: number
}

interface Seen {
  received: number
  sent: number
  heardMs: number
  /** When it was first sent something that nothing came after; Infinity = there is nothing such. */
  askedMs: number
  /** How often it was asked for a sign of life since. */
  knocks: number
  isSilent: boolean
  /** Its silence lasts this many times SILENT_MS. */
  patience: number
  /** When it was last taken for silent. */
  silencedMs: number
}

/** What a look has found, by node id. */
export interface Look {
  /** To be asked for a sign of life, at most ASKED_MAX. */
  readonly asked: readonly string[]
  /** To be called for a new session, at most CALLED_MAX. */
  readonly called: readonly string[]
  /** The set of the silent is another than at the look before. */
  readonly isNews: boolean
}

export class PeerLiveness {
  readonly #peers = new Map<string, Seen>()
  #silent: ReadonlySet<string> = new Set()
  #lookMs: number | null = null
  #looks = 0

  /** Who does not answer. */
  get silent(): ReadonlySet<string> {
    return this.#silent
  }

  /** Those that were heard lately, as of the last look. */
  heard(nowMs: number): string[] {
    return [...this.#peers]
      .filter(([id, { heardMs }]) => nowMs - heardMs < SILENT_MS && !this.#silent.has(id))
      .map(([id]) => id)
  }

  /** Takes a reading. To be called every LOOK_MS. */
  look(traffic: Iterable<PeerTraffic>, nowMs: number): Look {
    const lateMs = nowMs - (this.#lookMs ?? nowMs) - LOOK_MS
    const stoodMs = lateMs > LOOK_LATE_MS ? lateMs : 0
    this.#lookMs = nowMs
    this.#looks++
    const asked: string[] = []
    const silent = new Set<string>()
    const present = new Set<string>()
    for (const reading of traffic) {
      const { nodeId } = reading
      present.add(nodeId)
      const seen = this.#peers.get(nodeId)
      if (seen === undefined) this.#peers.set(nodeId, newPeer(reading))
      else {
        seen.askedMs += stoodMs
        read(seen, reading, nowMs)
        if (seen.isSilent) silent.add(nodeId)
        if (this.#isAsked(nowMs - seen.askedMs)) asked.push(nodeId)
      }
    }
    for (const nodeId of this.#peers.keys()) if (!present.has(nodeId)) this.#peers.delete(nodeId)
    const isNews = !isSame(silent, this.#silent)
    this.#silent = silent
    const some = inTurn(asked, ASKED_MAX, this.#looks)
    for (const nodeId of some) this.#peers.get(nodeId)!.knocks++
    return { asked: some, called: inTurn([...silent], CALLED_MAX, this.#looks), isNews }
  }

  #isAsked(silentMs: number): boolean {
    if (silentMs < KNOCK_MS) return false
    return silentMs < LONG_SILENT_MS || this.#looks % LONG_SILENT_LOOKS === 0
  }
}

/** At most `max` of a list, others the next time. */
function inTurn(list: readonly string[], max: number, turn: number): readonly string[] {
  if (list.length <= max) return list
  const at = (turn * max) % list.length
  return [...list.slice(at), ...list.slice(0, at)].slice(0, max)
}

function newPeer({ received, sent }: PeerTraffic): Seen {
  const never = Number.NEGATIVE_INFINITY
  return {
    received,
    sent,
    heardMs: never,
    askedMs: Number.POSITIVE_INFINITY,
    knocks: 0,
    isSilent: false,
    patience: 1,
    silencedMs: never,
  }
}

function read(seen: Seen, { received, sent }: PeerTraffic, nowMs: number): void {
  // The counters begin anew with the packet loop.
  const isHeard = received > seen.received
  const isAsked = sent > seen.sent
  seen.received = received
  seen.sent = sent
  if (isHeard) {
    const silencedForMs = nowMs - seen.silencedMs
    if (!seen.isSilent) {
      if (silencedForMs >= CALM_MS) seen.patience = 1
    } else if (silencedForMs < DEAD_MS) {
      seen.patience = Math.min(2 * seen.patience, PATIENCE_MAX)
    }
    seen.heardMs = nowMs
    seen.askedMs = Number.POSITIVE_INFINITY
    seen.knocks = 0
    seen.isSilent = false
  } else if (isAsked && seen.askedMs === Number.POSITIVE_INFINITY) {
    seen.askedMs = nowMs
  }
  const isLong = nowMs - seen.askedMs >= SILENT_MS * seen.patience
  if (!seen.isSilent && isLong && seen.knocks >= KNOCKS_MIN) {
    seen.isSilent = true
    seen.silencedMs = nowMs
  }
}

function isSame(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((id) => b.has(id))
}
