// ICMP errors about a translated flow: the outer packet goes on to the other side, and the packet
// it quotes must look as that side sent it.
//
// An error that travels in the reply direction (from the real server's side to the client) quotes a
// forward packet after translation; one that travels forward quotes a reply after translation. So
// the quoted packet, its two ends swapped, is a packet of the direction in which the error travels:
// that is how its connection is found, and its translation back is the translation of that
// direction, again swapped.
//
//                        outer source     outer target    quoted source    quoted target
//   travelling in reply  virtual address  client          client           virtual address
//   travelling forward   client'          real server     real server      client'
//
// As in IPVS the outer source of a reply becomes the virtual address, even where a router between
// us and the real server sent it: the client knows no other. Forward, a router's own address stays
// when the client's address is not rewritten.
//
// RFC 5508 (NAT behaviour for ICMP) section 4.2; the kernel's ip_vs_nat_icmp(). Checksums: the IPv4
// headers (outer, quoted) and the quoted UDP and TCP checksum, if it is quoted, by difference; the
// ICMP checksum by the difference of all bytes that changed, so that a damaged message stays
// damaged.

import { sumBytes, updateSum16, updateSum32 } from '../wire/checksum.ts'
import type { ConnTable } from './conn-table.ts'
import { TCP, UDP } from './flow.ts'
import {
  addToChecksum,
  newSourceAt,
  newTargetAt,
  replaceAddresses,
  translatedPorts,
} from './nat.ts'

const ICMP_CHECKSUM = 2
const ICMP_HEADER_SIZE = 8
/** Bytes behind the quoted IP header that translation may change: ports, and TCP's checksum. */
const QUOTED_L4_MAX = 20

/** Rewrites the message at `icmpAt` of the packet at `ipAt`; the quoted packet's L4 header is at
 * `quotedL4At`, at least 8 bytes before `end`. */
export function rewriteIcmpError(
  table: ConnTable,
  entry: number,
  direction: number,
  protocol: number,
  view: DataView,
  ipAt: number,
  icmpAt: number,
  quotedL4At: number,
  end: number,
): void {
  const ipv4 = table.words === 1
  const quotedAt = icmpAt + ICMP_HEADER_SIZE
  const changedEnd = Math.min(quotedL4At + QUOTED_L4_MAX, end)
  const before = sumBytes(view, quotedAt, changedEnd, 0)
  rewriteQuoted(table, entry, direction, protocol, view, quotedAt, quotedL4At, end)
  const after = sumBytes(view, quotedAt, changedEnd, 0)
  const outer = rewriteOuter(table, entry, direction, view, ipAt)
  let change = updateSum16(0, before, after)
  // ICMPv6 covers the outer addresses by its pseudo header (RFC 4443 section 2.3).
  if (!ipv4) change = updateSum16(change, 0xffff, outer)
  const field = icmpAt + ICMP_CHECKSUM
  view.setUint16(field, addToChecksum(view.getUint16(field), change))
}

function rewriteOuter(
  table: ConnTable,
  entry: number,
  direction: number,
  view: DataView,
  ipAt: number,
): number {
  const ipv4 = table.words === 1
  const sourceAt = ipAt + (ipv4 ? 12 : 8)
  const words = table.words
  const records = table.records
  const source = newSourceAt(table, entry, direction)
  // Word offset of what the sender of this direction calls itself.
  const ownSource = newTargetAt(table, entry, direction ^ 1)
  let keepSource = direction === 0
  for (let i = 0; keepSource && i < words; i++) {
    if (records[source + i] !== records[ownSource + i]) keepSource = false
  }
  let change = 0
  for (let i = 0; i < words; i++) {
    const at = sourceAt + 4 * i
    if (!keepSource) {
      change = updateSum32(change, view.getInt32(at), records[source + i]!)
      view.setInt32(at, records[source + i]!)
    }
    const targetAt = sourceAt + 4 * (words + i)
    const target = records[newTargetAt(table, entry, direction) + i]!
    change = updateSum32(change, view.getInt32(targetAt), target)
    view.setInt32(targetAt, target)
  }
  if (ipv4) view.setUint16(ipAt + 10, addToChecksum(view.getUint16(ipAt + 10), change))
  return change
}

function rewriteQuoted(
  table: ConnTable,
  entry: number,
  direction: number,
  protocol: number,
  view: DataView,
  quotedAt: number,
  l4At: number,
  end: number,
): void {
  const ipv4 = table.words === 1
  const change = replaceAddresses(
    view,
    quotedAt + (ipv4 ? 12 : 8),
    table.records,
    newTargetAt(table, entry, direction),
    newSourceAt(table, entry, direction),
    table.words,
  )
  if (ipv4) view.setUint16(quotedAt + 10, addToChecksum(view.getUint16(quotedAt + 10), change))
  const ports = translatedPorts(table, entry, direction)
  const quotedPorts = (ports >>> 16) | (ports << 16)
  const portsBefore = view.getInt32(l4At)
  view.setInt32(l4At, quotedPorts)
  if (protocol !== TCP && protocol !== UDP) return
  const field = l4At + (protocol === TCP ? 16 : 6)
  if (field + 2 > end) return
  const check = view.getUint16(field)
  if (protocol === UDP && check === 0) return
  const updated = addToChecksum(check, updateSum32(change, portsBefore, quotedPorts))
  view.setUint16(field, protocol === UDP && updated === 0 ? 0xffff : updated)
}
