// Segments made from the numbers that tracker.ts noted, where no packet of the flow is at hand: the
// reset that tells one end of a flow that the other is gone, and the probe that asks an end whether
// it still lives.
//
// A probe is TCP's own keep-alive (RFC 9293 section 3.8.4): an empty segment whose sequence number
// lies one before what its receiver expects, which a live receiver answers with an acknowledgement.

import { checksum, pseudoSumV4, pseudoSumV6 } from '../wire/checksum.ts'
import { IPV4_HEADER_SIZE, PROTOCOL_TCP } from '../wire/ipv4.ts'
import { IPV6_HEADER_SIZE } from '../wire/ipv6.ts'
import { TCP_ACK, TCP_HEADER_SIZE, TCP_RST } from '../wire/tcp.ts'
import { type ConnTable, HEADS } from './conn-table.ts'
import { translatedPorts } from './nat.ts'
import { writeIpOf } from './own-packet.ts'
import { HEAD_ACKNOWLEDGEMENT, HEAD_SEQUENCE_END } from './tracker.ts'

/** Writes at `out` a whole IP packet with the reset that travels in `direction` (0 = to the real
 * server, 1 = to the client), as its receiver must see it. `shift`: what its receiver's sequence
 * numbers are ahead by of those that were noted. Returns its length, 40 or 60. */
export function writeReset(
  table: ConnTable,
  entry: number,
  direction: number,
  view: DataView,
  out: number,
  shift: number,
): number {
  return writeSegment(table, entry, direction, view, out, shift, TCP_RST | TCP_ACK)
}

/** Writes at `out` the keep-alive probe that travels in `direction`; `shift` as for writeReset().
 * Returns its length, 40 or 60. */
export function writeProbe(
  table: ConnTable,
  entry: number,
  direction: number,
  view: DataView,
  out: number,
  shift: number,
): number {
  return writeSegment(table, entry, direction, view, out, shift - 1, TCP_ACK)
}

function writeSegment(
  table: ConnTable,
  entry: number,
  direction: number,
  view: DataView,
  out: number,
  shift: number,
  flags: number,
): number {
  const ipv4 = table.words === 1
  const tcpAt = out + (ipv4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE)
  writeIpOf(table, entry, direction, view, out, TCP_HEADER_SIZE)
  const heads = entry * table.stride + HEADS
  const own = heads + 2 * direction
  const other = heads + 2 * (direction ^ 1)
  const records = table.records
  // What this direction's sender has sent so far; where it never spoke, what its peer asked for.
  const sent = records[own + HEAD_SEQUENCE_END]!
  const sequence = sent !== 0 ? sent : records[other + HEAD_ACKNOWLEDGEMENT]!
  view.setInt32(tcpAt, translatedPorts(table, entry, direction))
  view.setInt32(tcpAt + 4, (sequence + shift) | 0)
  view.setInt32(tcpAt + 8, records[other + HEAD_SEQUENCE_END]!)
  view.setUint16(tcpAt + 12, ((TCP_HEADER_SIZE / 4) << 12) | flags)
  view.setUint32(tcpAt + 14, 0)
  view.setUint16(tcpAt + 18, 0)
  const pseudo = ipv4
    ? pseudoSumV4(view, out, PROTOCOL_TCP, TCP_HEADER_SIZE)
    : pseudoSumV6(view, out, PROTOCOL_TCP, TCP_HEADER_SIZE)
  const end = tcpAt + TCP_HEADER_SIZE
  view.setUint16(tcpAt + 16, checksum(view, tcpAt, end, pseudo))
  return end - out
}
