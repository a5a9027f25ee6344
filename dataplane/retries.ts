// A SYN that its backend refuses goes to another one before the client learns of it: for services
// with retryRefused. A refusal is a reset, or an ICMP error that says "unreachable", before the
// backend has said anything else. The balancer decides whether and where (Director.retry()); this
// file keeps the client's SYNs meanwhile and knows a refusal when it sees one. A SYN that is not
// kept any more is repeated by its client, and then goes to the new backend.

import type { Slab } from '../base/slab.ts'
import type { Director } from '../ipvs-emulator/director.ts'
import {
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_UNREACHABLE,
  icmpCode,
  icmpType,
} from '../wire/icmp.ts'
import { ICMPV6_UNREACHABLE, icmpv6Type } from '../wire/icmpv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP } from '../wire/ipv4.ts'
import { TCP_RST, tcpFlags } from '../wire/tcp.ts'
import { DROP_NONE } from './drop-reasons.ts'
import { type Frame, LATER_FRAGMENT, parseFrame } from './frame.ts'

export class Retries {
  private readonly director: Director
  private readonly slab: Slab
  /** The connection that was refused last. */
  private refused = -1

  constructor(director: Director, slab: Slab) {
    this.director = director
    this.slab = slab
  }

  /** Keeps the frame that has just opened a connection of a service, not yet rewritten. */
  keep(frame: Frame, connection: number, service: number): void {
    if (frame.protocol !== PROTOCOL_TCP) return
    const config = this.director.services.services[service]?.config
    if (config?.retryRefused !== true) return
    // A frame in pieces is no SYN that anybody sends; it is too long, and forgotten as such.
    const end = frame.at + frame.size
    this.director.heldSyns.keep(connection, this.slab.bytes, frame.at, end, frame.partial ? 1 : 0)
  }

  /** True when a reply may say that its sender takes no connection. */
  isRefusal(frame: Frame): boolean {
    const view = this.slab.view
    if (frame.fragment === LATER_FRAGMENT) return false
    if (frame.protocol === PROTOCOL_TCP) return (tcpFlags(view, frame.l4At) & TCP_RST) !== 0
    if (frame.protocol === PROTOCOL_ICMPV6) {
      return icmpv6Type(view, frame.l4At) === ICMPV6_UNREACHABLE
    }
    return (
      frame.protocol === PROTOCOL_ICMP &&
      icmpType(view, frame.l4At) === ICMP_UNREACHABLE &&
      icmpCode(view, frame.l4At) !== ICMP_CODE_FRAGMENTATION_NEEDED
    )
  }

  /** The connection that takes the place of one that was refused, -1 = the client must know. */
  attempt(connection: number, nowMs: number): number {
    this.refused = connection
    return this.director.retry(connection, nowMs)
  }

  /** Lays the SYN of the connection that was refused last at `at`, and describes it by `frame`;
   * `connection` is what it goes by now. False when it is not kept any more. */
  take(connection: number, at: number, frame: Frame): boolean {
    const { heldSyns } = this.director
    const { bytes, view } = this.slab
    const size = heldSyns.copy(this.refused, bytes, at)
    if (size === 0) return false
    const { note } = heldSyns
    heldSyns.drop(this.refused)
    heldSyns.keep(connection, bytes, at, at + size, note)
    frame.setWhole(at, size)
    if (parseFrame(view, frame) !== DROP_NONE) return false
    frame.partial = note === 1
    return true
  }
}
