// ICMP errors from outside about flows of published ports.
//
//   client's router or host ──> the host's ICMP ──> raw socket > check > service-nat > fdb-lookup
//                                                                   > tap-write | encap > seal > …
//
// What a backend sends to its client leaves the node with the node's address, so a router beyond
// that has no room for it, or a client that does not listen any more, tells the node. Its own stack
// knows no such connection. So the loop reads these errors as well and passes those about an open
// flow on to the backend, translated; its stack judges them as it would judge any (RFC 5927: the
// sequence number that is quoted must be in flight, an MTU has a floor).
//
// Nobody vouches for an error: whoever knows or guesses a flow's addresses and ports can send one.
// It is therefore read with bounds, limited in rate, and changes nothing on this node: no flow
// begins, ends or lives longer by it.

import type { ErrorSource } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import { checksumHolds, pseudoSumV6 } from '../wire/checksum.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import {
  ICMP_HEADER_SIZE,
  ICMP_PARAMETER_PROBLEM,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  icmpType,
} from '../wire/icmp.ts'
import { ICMPV6_PARAMETER_PROBLEM, ICMPV6_UNREACHABLE, icmpv6Type } from '../wire/icmpv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../wire/ipv4.ts'
import { type Counters, ENGINE_CELLS } from './counters.ts'
import {
  DROP_BAD_HEADER,
  DROP_ERROR_LIMITED,
  DROP_NO_FLOW,
  DROP_NONE,
  DROP_TRUNCATED,
} from './drop-reasons.ts'
import {
  OUTSIDE_ERROR_READS_MAX,
  OUTSIDE_ERROR_SIZE_MAX,
  OUTSIDE_ERRORS_BURST,
  OUTSIDE_ERRORS_PER_SECOND,
} from './engine-limits.ts'
import type { Forwarder } from './forwarder.ts'
import { type Frame, NOT_A_FRAGMENT, parseFrame } from './frame.ts'
import type { Transmitter } from './transmitter.ts'

export interface OutsideErrorsParts {
  readonly slab: Slab
  readonly forwarder: Forwarder
  readonly transmitter: Transmitter
  readonly counters: Counters
}

export class OutsideErrors {
  private readonly parts: OutsideErrorsParts
  private tokens = OUTSIDE_ERRORS_BURST
  private refilledMs = 0

  constructor(parts: OutsideErrorsParts) {
    this.parts = parts
  }

  /** Reads and passes on a bounded number of errors. `frame` is the loop's. */
  drain(source: ErrorSource, frame: Frame, nowMs: number): void {
    const { forwarder, transmitter } = this.parts
    forwarder.inHand = frame
    for (let i = 0; i < OUTSIDE_ERROR_READS_MAX; i++) {
      if (transmitter.full()) transmitter.flush(nowMs)
      const at = transmitter.frameAt()
      const size = source.read(at + ETHERNET_HEADER_SIZE, OUTSIDE_ERROR_SIZE_MAX)
      if (size <= 0) break
      frame.setWhole(at, ETHERNET_HEADER_SIZE + size)
      this.take(frame, nowMs)
    }
    forwarder.inHand = null
  }

  private take(frame: Frame, nowMs: number): void {
    const { counters, forwarder, slab } = this.parts
    counters.cells[ENGINE_CELLS.framesIn]!++
    if (!this.mayLook(nowMs)) return forwarder.drop(DROP_ERROR_LIMITED)
    forwarder.asEthernet(frame)
    const parsed = parseFrame(slab.view, frame)
    if (parsed !== DROP_NONE) return forwarder.drop(parsed)
    const reason = checkOutsideError(slab.view, frame)
    if (reason !== DROP_NONE) return forwarder.drop(reason)
    forwarder.fromOutside(frame, nowMs)
  }

  private mayLook(nowMs: number): boolean {
    const refill = ((nowMs - this.refilledMs) * OUTSIDE_ERRORS_PER_SECOND) / 1000
    if (refill >= 1) {
      this.tokens = Math.min(OUTSIDE_ERRORS_BURST, this.tokens + refill)
      this.refilledMs = nowMs
    }
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }
}

/** Whether a frame that has been parsed is an ICMP error, whole and undamaged. What it quotes has
 * not been looked at. Returns DROP_NONE or a reason. */
export function checkOutsideError(view: DataView, frame: Frame): number {
  const { l4At, protocol } = frame
  const end = frame.end()
  if (frame.fragment !== NOT_A_FRAGMENT) return DROP_BAD_HEADER
  if (end - l4At < ICMP_HEADER_SIZE) return DROP_TRUNCATED
  if (frame.family === 4) {
    if (protocol !== PROTOCOL_ICMP) return DROP_BAD_HEADER
    if (!checksumHolds(view, l4At, end, 0)) return DROP_BAD_HEADER
    return isPassed4(icmpType(view, l4At)) ? DROP_NONE : DROP_NO_FLOW
  }
  if (protocol !== PROTOCOL_ICMPV6) return DROP_BAD_HEADER
  const pseudo = pseudoSumV6(view, frame.l3At, PROTOCOL_ICMPV6, end - l4At)
  if (!checksumHolds(view, l4At, end, pseudo)) return DROP_BAD_HEADER
  const type = icmpv6Type(view, l4At)
  return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM ? DROP_NONE : DROP_NO_FLOW
}

/** Source quench and redirect are not for hosts behind the node (RFC 6633, RFC 1122 section
 * 3.2.2.2). */
function isPassed4(type: number): boolean {
  return type === ICMP_UNREACHABLE || type === ICMP_TIME_EXCEEDED || type === ICMP_PARAMETER_PROBLEM
}
