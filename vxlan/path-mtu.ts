// How large a datagram gets through to a peer: packetization-layer path-MTU discovery for datagrams
// (DPLPMTUD, RFC 8899), one machine per peer. ICMP is not relied upon: a path that swallows large
// packets in silence is found as well. Probes are sealed control messages padded to the size in
// question and acknowledged by the peer (control.ts); no frame is ever risked as a probe.
//
// All sizes are UDP payloads. The machine sends nothing itself: tick() says "send a probe of so
// many bytes now", the caller reports acknowledgements and refusals.
//
//     SEARCHING   binary search between the largest size that passed and the smallest that did not
//     COMPLETE    found; confirmed every CONFIRM_MS while there is traffic, raised every RAISE_MS
//     ERROR       not even BASE_PAYLOAD passes: it is used all the same, and tried again
//
// Where we differ from RFC 8899 section 5.2: until the first probe has come back, the ceiling is
// assumed rather than the base. The ceiling comes from the interface's own MTU and nearly always
// holds; to start low would have every first flow told "too big", which hosts remember for ten
// minutes.
//
// Not done: no use of ICMP "packet too big" (section 4.6 has it optional and in need of
// validation); no search above the ceiling.

import { CONFIRM_MS, PROBE_TIMEOUT_MS, PROBES_MAX, RAISE_MS, SEARCH_STEP_BYTES } from './limits.ts'

/** Passes in every packet of 1280 bytes, over IPv4 and IPv6, with room for an unknown header or
 * two: the base of RFC 8899 section 5.1.2. */
export const BASE_PAYLOAD = 1200

export const SEARCHING = 0
export const COMPLETE = 1
export const ERROR = 2
export type PathMtuState = 0 | 1 | 2

const OFF: number = Number.POSITIVE_INFINITY

export class PathMtu {
  state: PathMtuState = SEARCHING
  /** Probes sent, and sizes given up: for metrics. */
  probes = 0
  losses = 0
  #ceiling: number
  #size: number
  /** Largest size that may be relied upon, smallest that did not pass less one. */
  #low = BASE_PAYLOAD
  #high: number
  /** Size being probed, and how often it was sent. */
  #probe: number
  #tries = 0
  #probeDueMs: number
  #confirmMs: number = OFF
  #raiseMs: number = OFF
  /** The upper end of this search has been probed; it is tried first, as it mostly passes. */
  #topTried = true

  /** `ceiling`: UDP payload that the interface's MTU allows; below BASE_PAYLOAD nothing is
   * searched. */
  constructor(ceiling: number, nowMs: number) {
    this.#ceiling = ceiling
    this.#size = ceiling
    this.#high = ceiling
    this.#probe = ceiling
    this.#probeDueMs = nowMs
    this.restart(ceiling, nowMs)
  }

  /** Largest UDP payload to send to this peer. */
  get size(): number {
    return this.#size
  }

  /** Begins anew: another endpoint, or another interface. */
  restart(ceiling: number, nowMs: number): void {
    this.#ceiling = ceiling
    this.#size = ceiling
    if (ceiling <= BASE_PAYLOAD) {
      // The interface's own word is all there is to go by.
      this.#low = ceiling
      this.#high = ceiling
      this.#finish(nowMs)
      return
    }
    this.#low = BASE_PAYLOAD
    this.#search(ceiling, ceiling, nowMs)
  }

  /** When tick() may have something to say. */
  nextDeadline(): number {
    return Math.min(this.#probeDueMs, this.#confirmMs, this.#raiseMs)
  }

  /** Size of the probe to send now, 0 = none. `active`: frames were sent since the last tick;
   * without traffic a size is not confirmed, so that probes do not keep an idle session up. */
  tick(nowMs: number, active: boolean): number {
    if (this.#raiseMs <= nowMs) {
      this.#raiseMs = nowMs + RAISE_MS
      if (active) this.#search(this.#ceiling, this.#ceiling, nowMs)
    }
    if (this.#confirmMs <= nowMs) {
      this.#confirmMs = nowMs + CONFIRM_MS
      if (active && this.#probeDueMs === OFF) this.#begin(this.#size, nowMs)
    }
    if (this.#probeDueMs > nowMs) return 0
    if (this.#tries >= PROBES_MAX) {
      this.#lost(nowMs)
      // The search may have moved on to another size at once.
      if (this.#probeDueMs > nowMs) return 0
    }
    this.#tries++
    this.probes++
    this.#probeDueMs = nowMs + PROBE_TIMEOUT_MS
    return this.#probe
  }

  /** The peer has received a probe of `size`. */
  onAck(size: number, nowMs: number): void {
    if (size > this.#ceiling || this.#probeDueMs === OFF) return
    // A late answer about a size already given up is as good as a timely one.
    if (size > this.#low) this.#low = size
    if (size > this.#high) this.#high = size
    if (this.state === SEARCHING && this.#low > this.#size) this.#size = this.#low
    if (size < this.#probe) return
    if (this.state === SEARCHING) {
      this.#size = this.#low
      this.#continue(nowMs)
    } else if (this.state === ERROR) {
      this.#search(this.#ceiling, this.#ceiling, nowMs)
    } else {
      this.#probeDueMs = OFF
      this.#confirmMs = nowMs + CONFIRM_MS
    }
  }

  /** Our own kernel refused a datagram of `size` (EMSGSIZE): no need to wait for what will not
   * come. */
  onRefused(size: number, nowMs: number): void {
    if (size <= this.#low && size > BASE_PAYLOAD) this.#low = BASE_PAYLOAD
    if (size <= this.#low) return
    if (size <= this.#ceiling) this.#ceiling = size - 1
    if (this.#size > this.#ceiling) this.#size = this.#low
    if (this.#high > this.#ceiling) this.#search(this.#ceiling, this.#ceiling, nowMs)
  }

  /** PROBES_MAX probes of one size went unanswered. */
  #lost(nowMs: number): void {
    this.losses++
    if (this.#probe <= BASE_PAYLOAD) {
      this.state = ERROR
      this.#probeDueMs = OFF
      this.#confirmMs = nowMs + CONFIRM_MS
      this.#raiseMs = OFF
    } else if (this.state === SEARCHING) {
      this.#high = this.#probe - 1
      this.#size = this.#low
      this.#continue(nowMs)
    } else {
      // A black hole: what used to pass does not (section 4.3). Or the peer is away for a moment,
      // which looks the same; so the base comes first, and then the size that was in use.
      this.#low = BASE_PAYLOAD
      this.#size = BASE_PAYLOAD
      this.#search(this.#probe, BASE_PAYLOAD, nowMs)
    }
  }

  #search(high: number, first: number, nowMs: number): void {
    this.state = SEARCHING
    this.#high = high
    this.#topTried = first === high
    this.#raiseMs = OFF
    this.#confirmMs = OFF
    this.#begin(first, nowMs)
  }

  #continue(nowMs: number): void {
    if (!this.#topTried) {
      this.#topTried = true
      this.#begin(this.#high, nowMs)
    } else if (this.#high - this.#low >= SEARCH_STEP_BYTES) {
      this.#begin(Math.ceil((this.#low + this.#high) / 2), nowMs)
    } else {
      this.#size = this.#low
      this.#finish(nowMs)
    }
  }

  #begin(size: number, nowMs: number): void {
    this.#probe = size
    this.#tries = 0
    this.#probeDueMs = nowMs
  }

  #finish(nowMs: number): void {
    this.state = COMPLETE
    this.#probeDueMs = OFF
    this.#confirmMs = nowMs + CONFIRM_MS
    this.#raiseMs = this.#size < this.#ceiling ? nowMs + RAISE_MS : OFF
  }
}
