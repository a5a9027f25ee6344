// How large a datagram gets through to a peer: packetization-layer path-MTU discovery for datagrams
// (DPLPMTUD, RFC 8899), one machine per peer. ICMP is not relied upon: a path that swallows large packets
// in silence is found as well. Probes are sealed control messages padded to the size in question and
// acknowledged by the peer (control.ts); no frame is ever risked as a probe.
//
// All sizes are UDP payloads. The machine sends nothing itself: tick() says "send a probe of so many bytes
// now", the caller reports acknowledgements and refusals.
//
//     SEARCHING   binary search between the largest size that passed and the smallest that did not
//     COMPLETE    found; confirmed every CONFIRM_MS while there is traffic, raised every RAISE_MS
//     ERROR       not even BASE_PAYLOAD passes: it is used all the same, and tried again
//
// Where we differ from RFC 8899 section 5.2: until the first probe has come back, the ceiling is assumed
// rather than the base. The ceiling comes from the interface's own MTU and nearly always holds; to start
// low would have every first flow told "too big", which hosts remember for ten minutes.
//
// Not done: no use of ICMP "packet too big" (section 4.6 has it optional and in need of validation); no
// search above the ceiling.

import { CONFIRM_MS, PROBE_TIMEOUT_MS, PROBES_MAX, RAISE_MS, SEARCH_STEP_BYTES } from './limits.ts'

/** Passes in every packet of 1280 bytes, over IPv4 and IPv6, with room for an unknown header or two: the
 * base of RFC 8899 section 5.1.2. */
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

  /** `ceiling`: UDP payload that the interface's MTU allows; below BASE_PAYLOAD nothing is searched. */
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

  /** Size of the probe to send now, 0 = none. `active`: frames were sent since the last tick; without
   * traffic a size is not confirmed, so that probes do not keep an idle session up. */
  tick(nowMs: number, active: boolean): number {
    if (this.#confirmMs <= nowMs) {
      this.#confirmMs = nowMs + CONFIRM_MS
      if (active && this.#probeDueMs === OFF) this.#begin(this.#size, nowMs)
    }
    if (this.#raiseMs <= nowMs) {
      this.#raiseMs = nowMs + RAISE_MS
      if (active && this.#probeDueMs === OFF) this.#search(this.#ceiling, this.#ceiling, nowMs)
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
    if (size < this.#probe) return
    if (this.state === SEARCHING) {
      this.#size = this.#low
      this.#continue(nowMs)
    } else {
      // A confirmation, or the first sign of life of the base.
      this.#finish(nowMs)
    }
  }

  /** Our own kernel refused a datagram of `size` (EMSGSIZE): no need to wait for what will not come. */
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
    if (this.state === SEARCHING) {
      this.#high = this.#probe - 1
      if (this.#size > this.#low) this.#size = this.#low
      this.#continue(nowMs)
      return
    }
    if (this.#size > BASE_PAYLOAD) {
      // A black hole: what used to pass does not (section 4.3). Start over from the base.
      this.#low = BASE_PAYLOAD
      this.#size = BASE_PAYLOAD
      this.#search(this.#probe - 1, BASE_PAYLOAD, nowMs)
      return
    }
    this.state = ERROR
    this.#idle(nowMs)
  }

  #search(high: number, first: number, nowMs: number): void {
    this.state = SEARCHING
    this.#high = high
    this.#raiseMs = OFF
    this.#confirmMs = OFF
    this.#begin(first, nowMs)
  }

  #continue(nowMs: number): void {
    if (this.#high - this.#low < SEARCH_STEP_BYTES) {
      this.#size = this.#low
      this.#finish(nowMs)
      return
    }
    this.#begin(Math.ceil((this.#low + this.#high) / 2), nowMs)
  }

  #begin(size: number, nowMs: number): void {
    this.#probe = size
    this.#tries = 0
    this.#probeDueMs = nowMs
  }

  #finish(nowMs: number): void {
    this.state = COMPLETE
    this.#idle(nowMs)
  }

  #idle(nowMs: number): void {
    this.#probeDueMs = OFF
    this.#confirmMs = nowMs + CONFIRM_MS
    this.#raiseMs = this.#size < this.#ceiling ? nowMs + RAISE_MS : OFF
  }
}
