// Resets: the segments that end a TCP connection nobody knows any more.
//
// A reset is believed only when its sequence number is right (RFC 9293 section 3.5.3), so both
// builders take a segment of the connection and derive the numbers from it:
//
//   reply    to the segment's sender, as if its target had no such connection (section 3.10.7.1):
//            with ACK     <SEQ=SEG.ACK><CTL=RST>
//            without ACK  <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
//   forward  to the segment's target, as if its sender had given up:
//            <SEQ=SEG.SEQ><ACK=SEG.ACK><CTL=RST>, with ACK where the segment had it. SEG.SEQ is
//            what the target expects next, as long as the segment was in order.
//
// A reset never answers a reset. The packet written is a whole IP packet without options.

import { checksum, pseudoSumV4, pseudoSumV6 } from './checksum.ts'
import {
  IPV4_HEADER_SIZE,
  ipv4End,
  ipv4Payload,
  ipv4Source,
  ipv4Target,
  PROTOCOL_TCP,
  writeIpv4Header,
} from './ipv4.ts'
import {
  copyIpv6Address,
  IPV6_HEADER_SIZE,
  ipv6End,
  ipv6SourceAt,
  ipv6TargetAt,
  writeIpv6Header,
} from './ipv6.ts'
import {
  setTcpAcknowledgement,
  setTcpChecksum,
  setTcpFlags,
  setTcpHeaderSize,
  setTcpSequence,
  setTcpSourcePort,
  setTcpTargetPort,
  setTcpUrgent,
  setTcpWindow,
  TCP_ACK,
  TCP_FIN,
  TCP_HEADER_SIZE,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgement,
  tcpFlags,
  tcpHeaderSize,
  tcpSequence,
  tcpSourcePort,
  tcpTargetPort,
} from './tcp.ts'

export const TCP_RESET_SIZE_V4 = 40
export const TCP_RESET_SIZE_V6 = 60

/** TTL and hop limit of a reset: the default of RFC 1700 and of Linux. */
const RESET_TTL = 64

/** Writes, at `out`, the reset that answers the IPv4 TCP segment at `ipAt` to its sender. Checks
 * of both headers must have passed, and the packet must not be a later fragment. Returns
 * TCP_RESET_SIZE_V4, or 0 when the segment is itself a reset. [out, out + 40) must not overlap
 * the segment's headers. */
export function writeTcpResetReplyV4(view: DataView, ipAt: number, out: number): number {
  const tcpAt = ipv4Payload(view, ipAt)
  const outTcp = out + IPV4_HEADER_SIZE
  if (!writeReply(view, tcpAt, ipv4End(view, ipAt), outTcp)) return 0
  return finishV4(view, ipv4Target(view, ipAt), ipv4Source(view, ipAt), out)
}

/** Writes, at `out`, the reset that takes the place of the IPv4 TCP segment at `ipAt` on its way
 * to its target. Conditions and result as for writeTcpResetReplyV4(). */
export function writeTcpResetForwardV4(view: DataView, ipAt: number, out: number): number {
  if (!writeForward(view, ipv4Payload(view, ipAt), out + IPV4_HEADER_SIZE)) return 0
  return finishV4(view, ipv4Source(view, ipAt), ipv4Target(view, ipAt), out)
}

/** Writes, at `out`, the reset that answers the IPv6 TCP segment at `ipAt`, whose TCP header is
 * at `tcpAt`, to its sender. Conditions as for writeTcpResetReplyV4(); returns TCP_RESET_SIZE_V6
 * or 0. */
export function writeTcpResetReplyV6(
  view: DataView,
  ipAt: number,
  tcpAt: number,
  out: number,
): number {
  const outTcp = out + IPV6_HEADER_SIZE
  if (!writeReply(view, tcpAt, ipv6End(view, ipAt), outTcp)) return 0
  return finishV6(view, ipv6TargetAt(ipAt), ipv6SourceAt(ipAt), out)
}

/** Writes, at `out`, the reset that takes the place of the IPv6 TCP segment at `ipAt`, whose TCP
 * header is at `tcpAt`, on its way to its target. Conditions and result as for
 * writeTcpResetReplyV6(). */
export function writeTcpResetForwardV6(
  view: DataView,
  ipAt: number,
  tcpAt: number,
  out: number,
): number {
  if (!writeForward(view, tcpAt, out + IPV6_HEADER_SIZE)) return 0
  return finishV6(view, ipv6SourceAt(ipAt), ipv6TargetAt(ipAt), out)
}

function writeReply(view: DataView, tcpAt: number, end: number, out: number): boolean {
  const flags = tcpFlags(view, tcpAt)
  if ((flags & TCP_RST) !== 0) return false
  setTcpSourcePort(view, out, tcpTargetPort(view, tcpAt))
  setTcpTargetPort(view, out, tcpSourcePort(view, tcpAt))
  if ((flags & TCP_ACK) !== 0) {
    writeRest(view, out, tcpAcknowledgement(view, tcpAt), 0, TCP_RST)
  } else {
    // SYN and FIN each take one sequence number (RFC 9293 section 3.4).
    const controls = ((flags & TCP_SYN) !== 0 ? 1 : 0) + ((flags & TCP_FIN) !== 0 ? 1 : 0)
    const length = end - tcpAt - tcpHeaderSize(view, tcpAt) + controls
    writeRest(view, out, 0, tcpSequence(view, tcpAt) + length, TCP_RST | TCP_ACK)
  }
  return true
}

function writeForward(view: DataView, tcpAt: number, out: number): boolean {
  const flags = tcpFlags(view, tcpAt)
  if ((flags & TCP_RST) !== 0) return false
  setTcpSourcePort(view, out, tcpSourcePort(view, tcpAt))
  setTcpTargetPort(view, out, tcpTargetPort(view, tcpAt))
  const acknowledgement = (flags & TCP_ACK) !== 0 ? tcpAcknowledgement(view, tcpAt) : 0
  writeRest(view, out, tcpSequence(view, tcpAt), acknowledgement, TCP_RST | (flags & TCP_ACK))
  return true
}

function writeRest(
  view: DataView,
  out: number,
  sequence: number,
  acknowledgement: number,
  flags: number,
): void {
  setTcpSequence(view, out, sequence)
  setTcpAcknowledgement(view, out, acknowledgement)
  setTcpHeaderSize(view, out, TCP_HEADER_SIZE)
  setTcpFlags(view, out, flags)
  setTcpWindow(view, out, 0)
  setTcpChecksum(view, out, 0)
  setTcpUrgent(view, out, 0)
}

function finishV4(view: DataView, source: number, target: number, out: number): number {
  writeIpv4Header(view, out, TCP_RESET_SIZE_V4, PROTOCOL_TCP, RESET_TTL, source, target)
  const tcp = out + IPV4_HEADER_SIZE
  const sum = pseudoSumV4(view, out, PROTOCOL_TCP, TCP_HEADER_SIZE)
  setTcpChecksum(view, tcp, checksum(view, tcp, tcp + TCP_HEADER_SIZE, sum))
  return TCP_RESET_SIZE_V4
}

function finishV6(view: DataView, sourceAt: number, targetAt: number, out: number): number {
  writeIpv6Header(view, out, TCP_HEADER_SIZE, PROTOCOL_TCP, RESET_TTL)
  copyIpv6Address(view, sourceAt, view, ipv6SourceAt(out))
  copyIpv6Address(view, targetAt, view, ipv6TargetAt(out))
  const tcp = out + IPV6_HEADER_SIZE
  const sum = pseudoSumV6(view, out, PROTOCOL_TCP, TCP_HEADER_SIZE)
  setTcpChecksum(view, tcp, checksum(view, tcp, tcp + TCP_HEADER_SIZE, sum))
  return TCP_RESET_SIZE_V6
}
