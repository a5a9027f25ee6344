// Rewriting a packet to what the other side of its connection must see: addresses, ports, and every
// checksum that covers them.
//
// Checksums are updated by the difference (RFC 1624), never recomputed: a packet that was damaged
// on its way stays damaged, and the cost does not depend on its length. The difference of both
// addresses is collected once and applied to the IPv4 header and to the pseudo header below TCP and
// UDP.
//
//   full      the field holds the complement of the sum; addresses and ports count.
//   partial   the field holds the pseudo-header sum itself (virtio NEEDS_CSUM): addresses change
//             it, ports do not belong to it.
//   none      UDP with a zero field stays zero (RFC 768; over IPv6 tunnels may have one, RFC 6935).
//   SCTP      a CRC over header and payload, no pseudo header (RFC 9260 section 6.8), recomputed
//             when a port changes. That takes the whole packet: a fragment, or a packet of which
//             only the head is at hand, arrives damaged.

import { foldSum, updateSum16, updateSum32 } from '../wire/checksum.ts'
import { ADDRESSES, type ConnTable, PORTS, REPLY_PORTS } from './conn-table.ts'
import { crc32c } from './crc32c.ts'
import { SCTP, TCP, UDP } from './flow.ts'

const IPV4_CHECKSUM = 10
const IPV4_SOURCE = 12
const IPV6_SOURCE = 8
const TCP_CHECKSUM = 16
const UDP_CHECKSUM = 6
const SCTP_CHECKSUM = 8

/** Ports word (source << 16 | target) that a packet of `entry` carries after translation. */
export function translatedPorts(table: ConnTable, entry: number, direction: number): number {
  // The record keeps both words as the packets of their direction arrive; what leaves is the other
  // direction's word with its halves swapped.
  const word = table.records[entry * table.stride + (direction === 0 ? REPLY_PORTS : PORTS)]!
  return (word >>> 16) | (word << 16)
}

/** Word offsets of the addresses that a packet of `direction` gets: forward packets go from client'
 * to the server, replies from the virtual address to the client. */
export function newSourceAt(table: ConnTable, entry: number, direction: number): number {
  return entry * table.stride + ADDRESSES + (direction === 0 ? 2 : 1) * table.words
}

export function newTargetAt(table: ConnTable, entry: number, direction: number): number {
  return entry * table.stride + ADDRESSES + (direction === 0 ? 3 : 0) * table.words
}

/** Writes the four words of source and target at `at`, with the sum that makes up for the change:
 * adding it to a sum over the old addresses gives the sum over the new ones. `words` is 1 or 4 per
 * address. */
export function replaceAddresses(
  view: DataView,
  at: number,
  records: Int32Array,
  sourceAt: number,
  targetAt: number,
  words: number,
): number {
  const count = 2 * words
  // Two halves of at most 16 words fit in 32 bits: one folding at the end does.
  let change = 0
  for (let i = 0; i < count; i++) {
    const offset = at + 4 * i
    const word = records[i < words ? sourceAt + i : targetAt + i - words]!
    const before = ~view.getInt32(offset)
    change += (before >>> 16) + (before & 0xffff) + (word >>> 16) + (word & 0xffff)
    view.setInt32(offset, word)
  }
  return foldSum(change)
}

/** A checksum field after the sum it covers changed by `change` (a folded sum). */
export function addToChecksum(check: number, change: number): number {
  return ~addToSum(~check & 0xffff, change) & 0xffff
}

export function addToSum(sum: number, change: number): number {
  // 0xffff is zero in one's complement and so the neutral "word that was".
  return updateSum16(sum, 0xffff, change)
}

/** Rewrites the packet at `ipAt` for the other side. `laterFragment`: no L4 header at `l4At`. */
export function rewrite(
  table: ConnTable,
  entry: number,
  direction: number,
  protocol: number,
  view: DataView,
  ipAt: number,
  l4At: number,
  end: number,
  partial: boolean,
  laterFragment: boolean,
): void {
  const ipv4 = table.words === 1
  const change = replaceAddresses(
    view,
    ipAt + (ipv4 ? IPV4_SOURCE : IPV6_SOURCE),
    table.records,
    newSourceAt(table, entry, direction),
    newTargetAt(table, entry, direction),
    table.words,
  )
  if (ipv4) {
    const at = ipAt + IPV4_CHECKSUM
    view.setUint16(at, addToChecksum(view.getUint16(at), change))
  }
  if (laterFragment) return
  const ports = translatedPorts(table, entry, direction)
  const portsBefore = view.getInt32(l4At)
  view.setInt32(l4At, ports)
  if (protocol === SCTP) {
    if (ports !== portsBefore) fillSctpChecksum(view, l4At, end)
    return
  }
  const field = l4At + (protocol === TCP ? TCP_CHECKSUM : UDP_CHECKSUM)
  if (field + 2 > end) return
  const check = view.getUint16(field)
  if (partial) {
    view.setUint16(field, addToSum(check, change))
    return
  }
  if (protocol === UDP) {
    if (check === 0) return
    const updated = addToChecksum(check, updateSum32(change, portsBefore, ports))
    // A computed zero is sent as all ones: zero means "none" (RFC 768).
    view.setUint16(field, updated === 0 ? 0xffff : updated)
    return
  }
  view.setUint16(field, addToChecksum(check, updateSum32(change, portsBefore, ports)))
}

function fillSctpChecksum(view: DataView, at: number, end: number): void {
  if (end - at < SCTP_CHECKSUM + 4) return
  view.setUint32(at + SCTP_CHECKSUM, 0)
  // Sent with the least significant byte first (RFC 9260 appendix A).
  view.setUint32(at + SCTP_CHECKSUM, crc32c(view, at, end), true)
}
