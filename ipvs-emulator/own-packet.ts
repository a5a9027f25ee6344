// The IP header of the TCP segments that the balancer makes itself: resets and probes (reset.ts),
// PROXY headers (proxy-headers.ts).

import { IPV4_HEADER_SIZE, PROTOCOL_TCP, writeIpv4Header } from '../wire/ipv4.ts'
import { writeIpv6Header } from '../wire/ipv6.ts'
import type { ConnTable } from './conn-table.ts'
import { newSourceAt, newTargetAt } from './nat.ts'

const TTL = 64

/** Writes at `out` the IP header of a packet of `size` bytes of TCP that travels in `direction`, as
 * its receiver must see it. */
export function writeIpOf(
  table: ConnTable,
  entry: number,
  direction: number,
  view: DataView,
  out: number,
  size: number,
): void {
  const records = table.records
  const source = newSourceAt(table, entry, direction)
  const target = newTargetAt(table, entry, direction)
  if (table.words === 1) {
    const length = IPV4_HEADER_SIZE + size
    writeIpv4Header(view, out, length, PROTOCOL_TCP, TTL, records[source]!, records[target]!)
    return
  }
  writeIpv6Header(view, out, size, PROTOCOL_TCP, TTL)
  for (let i = 0; i < 4; i++) {
    view.setInt32(out + 8 + 4 * i, records[source + i]!)
    view.setInt32(out + 24 + 4 * i, records[target + i]!)
  }
}
