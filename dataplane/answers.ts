// Packets that the node makes itself: echo replies of gateways and VIPs, ICMP errors, TCP resets.
// Each is written whole to the answer area of the slab; the caller sends it where the cause came
// from. Errors and resets are limited in rate (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)),
// never made for ICMP errors, broadcasts, or fragments other than the first (RFC 1122 section
// 3.2.2).

import type { Slab } from '../base/slab.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import {
  fillIcmpChecksum,
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_CODE_PORT_UNREACHABLE,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_HEADER_SIZE,
  ICMP_UNREACHABLE,
  icmpType,
  isIcmpError,
  setIcmpCode,
  setIcmpMtu,
  setIcmpType,
} from '../wire/icmp.ts'
import {
  fillIcmpv6Checksum,
  ICMPV6_CODE_PORT_UNREACHABLE,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_UNREACHABLE,
  icmpv6Type,
  isIcmpv6Error,
  setIcmpv6Code,
  setIcmpv6Mtu,
  setIcmpv6Type,
} from '../wire/icmpv6.ts'
import {
  fillIpv4Checksum,
  IPV4_HEADER_SIZE,
  ipv4Source,
  ipv4Target,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  setIpv4Source,
  setIpv4Target,
  setIpv4Ttl,
  writeIpv4Header,
} from '../wire/ipv4.ts'
import {
  copyIpv6Address,
  IPV6_HEADER_SIZE,
  ipv6SourceAt,
  ipv6TargetAt,
  isIpv6Multicast,
  isIpv6Unspecified,
  setIpv6HopLimit,
  writeIpv6Header,
} from '../wire/ipv6.ts'
import { writeTcpResetReplyV4, writeTcpResetReplyV6 } from '../wire/tcp-reset.ts'
import { ANSWERS_BURST, ANSWERS_PER_SECOND, HEADROOM } from './engine-limits.ts'
import { type Frame, LATER_FRAGMENT } from './frame.ts'

/** Bytes of the offending packet that an error quotes: with it the whole stays within 576 bytes
 * for IPv4 (RFC 1812 section 4.3.2.3) and 1280 for IPv6 (RFC 4443 section 2.4 (c)). */
const QUOTE_MAX_V4: number = 576 - IPV4_HEADER_SIZE - ICMP_HEADER_SIZE
const QUOTE_MAX_V6: number = 1280 - IPV6_HEADER_SIZE - ICMP_HEADER_SIZE

const TTL = 64

/** 224.0.0.0: no address from here on is a host's. */
const IPV4_GROUPS = 0xe0000000

/** Room that the answer area needs. */
export const ANSWER_AREA_SIZE = 2048

export class Answers {
  private readonly slab: Slab
  /** Where an answer's Ethernet header goes. */
  readonly at: number
  private tokens = ANSWERS_BURST
  private refilledMs = 0

  constructor(slab: Slab, areaStart: number) {
    this.slab = slab
    this.at = areaStart + HEADROOM
  }

  /** True for an echo request that the node may answer itself. */
  isEchoRequest(frame: Frame): boolean {
    const view = this.slab.view
    if (frame.fragment !== 0 || frame.headSize < frame.size) return false
    if (frame.family === 4 && frame.protocol === PROTOCOL_ICMP) {
      return (
        frame.end() - frame.l4At >= ICMP_HEADER_SIZE &&
        icmpType(view, frame.l4At) === ICMP_ECHO_REQUEST
      )
    }
    return (
      frame.family === 6 &&
      frame.protocol === PROTOCOL_ICMPV6 &&
      frame.end() - frame.l4At >= ICMP_HEADER_SIZE &&
      icmpv6Type(view, frame.l4At) === ICMPV6_ECHO_REQUEST
    )
  }

  /** Turns an echo request into its reply, in place (RFC 792, RFC 4443 section 4.2). */
  turnEcho(frame: Frame): void {
    const { bytes, view } = this.slab
    swap(bytes, frame.at, frame.at + 6, 6)
    const ip = frame.l3At
    if (frame.family === 4) {
      const source = ipv4Source(view, ip)
      setIpv4Source(view, ip, ipv4Target(view, ip))
      setIpv4Target(view, ip, source)
      setIpv4Ttl(view, ip, TTL)
      fillIpv4Checksum(view, ip)
      setIcmpType(view, frame.l4At, ICMP_ECHO_REPLY)
      fillIcmpChecksum(view, frame.l4At, frame.end())
    } else {
      swap(bytes, ipv6SourceAt(ip), ipv6TargetAt(ip), 16)
      setIpv6HopLimit(view, ip, TTL)
      setIcmpv6Type(view, frame.l4At, ICMPV6_ECHO_REPLY)
      fillIcmpv6Checksum(view, ip, frame.l4At, frame.end())
    }
    frame.partial = false
  }

  /** Whether an error or reset may ever be made for this frame (RFC 1122 section 3.2.2, RFC 4443
   * section 2.4 (e)). */
  isAnswerable(frame: Frame): boolean {
    const view = this.slab.view
    const { protocol, l3At, l4At } = frame
    if (frame.fragment === LATER_FRAGMENT) return false
    if (frame.family === 4) {
      // Groups, what is reserved, and everybody.
      if (ipv4Target(view, l3At) >= IPV4_GROUPS) return false
      return protocol !== PROTOCOL_ICMP || !isIcmpError(icmpType(view, l4At))
    }
    if (isIpv6Unspecified(view, ipv6SourceAt(l3At))) return false
    if (isIpv6Multicast(view, ipv6TargetAt(l3At))) return false
    return protocol !== PROTOCOL_ICMPV6 || !isIcmpv6Error(icmpv6Type(view, l4At))
  }

  /** Whether an error or reset may be made for this frame now. Takes a token. */
  mayAnswer(frame: Frame, nowMs: number): boolean {
    if (!this.isAnswerable(frame)) return false
    const refill = ((nowMs - this.refilledMs) * ANSWERS_PER_SECOND) / 1000
    if (refill >= 1) {
      this.tokens = Math.min(ANSWERS_BURST, this.tokens + refill)
      this.refilledMs = nowMs
    }
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }

  /** Writes "port unreachable" about `frame` (IPVS answers so when no server is left). Returns
   * the size. */
  writePortUnreachable(frame: Frame): number {
    if (frame.family === 4) {
      return this.writeError4(frame, ICMP_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE, 0)
    }
    return this.writeError6(frame, ICMPV6_UNREACHABLE, ICMPV6_CODE_PORT_UNREACHABLE, 0)
  }

  /** Writes "fragmentation needed" (RFC 1191 section 4) or "packet too big" (RFC 4443 section
   * 3.2) with the packet size that would fit. Returns the size of the frame. */
  writeTooBig(frame: Frame, mtu: number): number {
    if (frame.family === 4) {
      return this.writeError4(frame, ICMP_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED, mtu)
    }
    return this.writeError6(frame, ICMPV6_PACKET_TOO_BIG, 0, mtu)
  }

  /** Writes a reset in answer to a TCP segment, as if its target had no such connection. Returns
   * the size, 0 when the segment is a reset itself. */
  writeReset(frame: Frame): number {
    if (frame.protocol !== PROTOCOL_TCP) return 0
    const out = this.at + ETHERNET_HEADER_SIZE
    const view = this.slab.view
    const size =
      frame.family === 4
        ? writeTcpResetReplyV4(view, frame.l3At, out)
        : writeTcpResetReplyV6(view, frame.l3At, frame.l4At, out)
    if (size === 0) return 0
    this.turnEthernet(frame)
    return ETHERNET_HEADER_SIZE + size
  }

  private writeError4(frame: Frame, type: number, code: number, mtu: number): number {
    const { bytes, view } = this.slab
    const ip = this.at + ETHERNET_HEADER_SIZE
    const icmp = ip + IPV4_HEADER_SIZE
    const quote = Math.min(frame.at + frame.headSize - frame.l3At, QUOTE_MAX_V4)
    const length = IPV4_HEADER_SIZE + ICMP_HEADER_SIZE + quote
    const source = ipv4Target(view, frame.l3At)
    writeIpv4Header(view, ip, length, PROTOCOL_ICMP, TTL, source, ipv4Source(view, frame.l3At))
    bytes.copyWithin(icmp + ICMP_HEADER_SIZE, frame.l3At, frame.l3At + quote)
    view.setUint32(icmp, 0)
    view.setUint32(icmp + 4, 0)
    setIcmpType(view, icmp, type)
    setIcmpCode(view, icmp, code)
    if (mtu > 0) setIcmpMtu(view, icmp, mtu)
    fillIcmpChecksum(view, icmp, ip + length)
    this.turnEthernet(frame)
    return ETHERNET_HEADER_SIZE + length
  }

  private writeError6(frame: Frame, type: number, code: number, mtu: number): number {
    const { bytes, view } = this.slab
    const ip = this.at + ETHERNET_HEADER_SIZE
    const icmp = ip + IPV6_HEADER_SIZE
    const quote = Math.min(frame.at + frame.headSize - frame.l3At, QUOTE_MAX_V6)
    const length = ICMP_HEADER_SIZE + quote
    writeIpv6Header(view, ip, length, PROTOCOL_ICMPV6, TTL)
    copyIpv6Address(view, ipv6TargetAt(frame.l3At), view, ipv6SourceAt(ip))
    copyIpv6Address(view, ipv6SourceAt(frame.l3At), view, ipv6TargetAt(ip))
    bytes.copyWithin(icmp + ICMP_HEADER_SIZE, frame.l3At, frame.l3At + quote)
    view.setUint32(icmp, 0)
    view.setUint32(icmp + 4, 0)
    setIcmpv6Type(view, icmp, type)
    setIcmpv6Code(view, icmp, code)
    if (mtu > 0) setIcmpv6Mtu(view, icmp, mtu)
    fillIcmpv6Checksum(view, ip, icmp, icmp + length)
    this.turnEthernet(frame)
    return ETHERNET_HEADER_SIZE + IPV6_HEADER_SIZE + length
  }

  /** The answer's Ethernet header: the cause's, with source and target exchanged. */
  private turnEthernet(frame: Frame): void {
    const bytes = this.slab.bytes
    bytes.copyWithin(this.at, frame.at, frame.at + ETHERNET_HEADER_SIZE)
    swap(bytes, this.at, this.at + 6, 6)
  }
}

function swap(bytes: Uint8Array, a: number, b: number, size: number): void {
  for (let i = 0; i < size; i++) {
    const byte = bytes[a + i]!
    bytes[a + i] = bytes[b + i]!
    bytes[b + i] = byte
  }
}
