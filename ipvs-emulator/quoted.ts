// The packet that an ICMP error quotes: usually cut short, so every step is checked against the end
// of the message and nothing is believed that its own length field says.

import { NEXT_FRAGMENT, NEXT_HOP_BY_HOP, NEXT_OPTIONS, NEXT_ROUTING } from '../wire/ipv6.ts'

const IPV4_HEADER_MIN = 20
const IPV6_HEADER_SIZE = 40
/** Bytes of L4 header that must be quoted (RFC 792; RFC 1812 section 4.3.2.3). */
const L4_QUOTED_MIN = 8
const EXTENSIONS_MAX = 4

/** Protocol of the packet whose L4 header quotedUpper() found. */
export interface Quoted {
  l4At: number
  protocol: number
}

/** Finds the L4 header of the packet quoted at [at, end). Fills `quoted` and returns true; false
 * when it is not there, cut off, or the packet is a fragment other than the first. */
export function readQuoted(quoted: Quoted, view: DataView, at: number, end: number): boolean {
  if (end - at < IPV4_HEADER_MIN) return false
  return view.getUint8(at) >> 4 === 4
    ? readQuoted4(quoted, view, at, end)
    : readQuoted6(quoted, view, at, end)
}

function readQuoted4(quoted: Quoted, view: DataView, at: number, end: number): boolean {
  const headerSize = (view.getUint8(at) & 15) * 4
  if (headerSize < IPV4_HEADER_MIN || (view.getUint16(at + 6) & 0x1fff) !== 0) return false
  quoted.l4At = at + headerSize
  quoted.protocol = view.getUint8(at + 9)
  return quoted.l4At + L4_QUOTED_MIN <= end
}

function readQuoted6(quoted: Quoted, view: DataView, at: number, end: number): boolean {
  let header = at + IPV6_HEADER_SIZE
  if (header + L4_QUOTED_MIN > end || view.getUint8(at) >> 4 !== 6) return false
  let next = view.getUint8(at + 6)
  for (let i = 0; i < EXTENSIONS_MAX; i++) {
    if (next === NEXT_FRAGMENT) {
      if ((view.getUint16(header + 2) & 0xfff8) !== 0) return false
      next = view.getUint8(header)
      header += 8
    } else if (next === NEXT_HOP_BY_HOP || next === NEXT_OPTIONS || next === NEXT_ROUTING) {
      next = view.getUint8(header)
      header += (view.getUint8(header + 1) + 1) * 8
    } else break
    if (header + L4_QUOTED_MIN > end) return false
  }
  quoted.l4At = header
  quoted.protocol = next
  return true
}
