// The reset that tells one end of a tracked TCP flow that the other is gone, made from the numbers that
// tracker.ts noted: no packet of the flow is at hand when its real server is taken away.

import { checksum, pseudoSumV4, pseudoSumV6 } from '../wire/checksum.ts'
import { IPV4_HEADER_SIZE, PROTOCOL_TCP, writeIpv4Header } from '../wire/ipv4.ts'
import { IPV6_HEADER_SIZE, writeIpv6Header } from '../wire/ipv6.ts'
import { TCP_ACK, TCP_HEADER_SIZE, TCP_RST } from '../wire/tcp.ts'
import { type ConnTable, HEADS } from './conn-table.ts'
import { newSourceAt, newTargetAt, translatedPorts } from './nat.ts'
import { HEAD_ACKNOWLEDGEMENT, HEAD_SEQUENCE_END } from './tracker.ts'

const RESET_TTL = 64

/** Writes at `out` a whole IP packet with the reset that travels in `direction` (0 = to the real server,
 * 1 = to the client), as its receiver must see it. Returns its length, 40 or 60. */
export function writeReset(
  table: ConnTable,
  entry: number,
  direction: number,
  view: DataView,
  out: number,
): number {
  const ipv4 = table.words === 1
  const records = table.records
  const source = newSourceAt(table, entry, direction)
  const target = newTargetAt(table, entry, direction)
  const tcpAt = out + (ipv4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE)
  if (ipv4) {
    const length = IPV4_HEADER_SIZE + TCP_HEADER_SIZE
    writeIpv4Header(view, out, length, PROTOCOL_TCP, RESET_TTL, records[source]!, records[target]!)
  } else {
    writeIpv6Header(view, out, TCP_HEADER_SIZE, PROTOCOL_TCP, RESET_TTL)
    for (let i = 0; i < 4; i++) {
      view.setInt32(out + 8 + 4 * i, records[source + i]!)
      view.setInt32(out + 24 + 4 * i, records[target + i]!)
    }
  }
  const heads = entry * table.stride + HEADS
  const own = heads + 2 * direction
  const other = heads + 2 * (direction ^ 1)
  // What this direction's sender has sent so far; where it never spoke, what its peer asked for.
  const sent = records[own + HEAD_SEQUENCE_END]!
  view.setInt32(tcpAt, translatedPorts(table, entry, direction))
  view.setInt32(tcpAt + 4, sent !== 0 ? sent : records[other + HEAD_ACKNOWLEDGEMENT]!)
  view.setInt32(tcpAt + 8, records[other + HEAD_SEQUENCE_END]!)
  view.setUint16(tcpAt + 12, ((TCP_HEADER_SIZE / 4) << 12) | TCP_RST | TCP_ACK)
  view.setUint16(tcpAt + 14, 0)
  view.setUint32(tcpAt + 16, 0)
  const pseudo = ipv4
    ? pseudoSumV4(view, out, PROTOCOL_TCP, TCP_HEADER_SIZE)
    : pseudoSumV6(view, out, PROTOCOL_TCP, TCP_HEADER_SIZE)
  const end = tcpAt + TCP_HEADER_SIZE
  view.setUint16(tcpAt + 16, checksum(view, tcpAt, end, pseudo))
  return end - out
}
