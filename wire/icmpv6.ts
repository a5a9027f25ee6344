// ICMPv6, RFC 4443, and neighbour discovery, RFC 4861.
//
//   0       1       2               4                               8
//   | type  | code  | checksum      | rest, by type                 | body ...
//
//   echo              rest = identifier(2) sequence(2)
//   packet too big    rest = MTU(4)
//   every error       body = as much of the packet in error as fits in 1280 bytes
//   solicitation      rest = 0(4), body = target address(16), options
//   advertisement     rest = R S O flags in the first byte, body = target address(16), options
//
// An option is type(1), length(1) in units of eight bytes, value. The checksum covers the message
// and the IPv6 pseudo header. Types below 128 are errors.

import { checksum, pseudoSumV6 } from './checksum.ts'
import { macHi, macLo, setMac } from './ethernet.ts'
import { PROTOCOL_ICMPV6 } from './ipv4.ts'

export const ICMPV6_HEADER_SIZE = 8
/** A solicitation or advertisement without options. */
export const ND_SIZE = 24
/** A link-layer address option for Ethernet. */
export const ND_LINK_OPTION_SIZE = 8
/** Hop limit of every valid ND message: proof that no router forwarded it (RFC 4861 section
 * 7.1). */
export const ND_HOP_LIMIT = 255

export const ICMPV6_UNREACHABLE = 1
export const ICMPV6_PACKET_TOO_BIG = 2
export const ICMPV6_TIME_EXCEEDED = 3
export const ICMPV6_PARAMETER_PROBLEM = 4
export const ICMPV6_ECHO_REQUEST = 128
export const ICMPV6_ECHO_REPLY = 129
export const ICMPV6_MLD_QUERY = 130
export const ICMPV6_MLD_REPORT = 131
export const ICMPV6_MLD_DONE = 132
export const ICMPV6_ROUTER_SOLICITATION = 133
export const ICMPV6_ROUTER_ADVERTISEMENT = 134
export const ICMPV6_NEIGHBOUR_SOLICITATION = 135
export const ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136
export const ICMPV6_REDIRECT = 137
export const ICMPV6_MLDV2_REPORT = 143

export const ICMPV6_CODE_NO_ROUTE = 0
export const ICMPV6_CODE_PROHIBITED = 1
export const ICMPV6_CODE_ADDRESS_UNREACHABLE = 3
export const ICMPV6_CODE_PORT_UNREACHABLE = 4

export const ND_OPTION_SOURCE_LINK = 1
export const ND_OPTION_TARGET_LINK = 2

export const ND_FLAG_ROUTER = 0x80
export const ND_FLAG_SOLICITED = 0x40
export const ND_FLAG_OVERRIDE = 0x20

const TYPE = 0
const CODE = 1
const CHECKSUM = 2
const REST = 4
const IDENTIFIER = 4
const SEQUENCE = 6
const ND_TARGET = 8

/** True when [at, end) holds a whole header. */
export function checkIcmpv6(_view: DataView, at: number, end: number): boolean {
  return end - at >= ICMPV6_HEADER_SIZE
}

/** True when [at, end) holds a solicitation or advertisement and every option in it is whole and
 * not of length 0 (RFC 4861 section 7.1 has such messages discarded). */
export function checkNeighbour(view: DataView, at: number, end: number): boolean {
  if (end - at < ND_SIZE || view.getUint8(at + CODE) !== 0) return false
  const type = view.getUint8(at + TYPE)
  if (type !== ICMPV6_NEIGHBOUR_SOLICITATION && type !== ICMPV6_NEIGHBOUR_ADVERTISEMENT)
    return false
  let option = at + ND_SIZE
  while (option < end) {
    if (end - option < 8) return false
    const size = view.getUint8(option + 1) * 8
    if (size === 0 || size > end - option) return false
    option += size
  }
  return true
}

export function icmpv6Type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE)
}

export function icmpv6Code(view: DataView, at: number): number {
  return view.getUint8(at + CODE)
}

export function icmpv6Checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

/** Identifier of an echo request or reply. */
export function icmpv6Identifier(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFIER)
}

/** Sequence number of an echo request or reply. */
export function icmpv6Sequence(view: DataView, at: number): number {
  return view.getUint16(at + SEQUENCE)
}

/** MTU of a "packet too big". */
export function icmpv6Mtu(view: DataView, at: number): number {
  return view.getUint32(at + REST)
}

/** ND_FLAG_* bits of an advertisement. */
export function neighbourFlags(view: DataView, at: number): number {
  return view.getUint8(at + REST)
}

/** Offset of the target address of a solicitation or advertisement. */
export function neighbourTargetAt(at: number): number {
  return at + ND_TARGET
}

export function setIcmpv6Type(view: DataView, at: number, value: number): void {
  view.setUint8(at + TYPE, value)
}

export function setIcmpv6Code(view: DataView, at: number, value: number): void {
  view.setUint8(at + CODE, value)
}

export function setIcmpv6Checksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

export function setIcmpv6Identifier(view: DataView, at: number, value: number): void {
  view.setUint16(at + IDENTIFIER, value)
}

export function setIcmpv6Sequence(view: DataView, at: number, value: number): void {
  view.setUint16(at + SEQUENCE, value)
}

export function setIcmpv6Mtu(view: DataView, at: number, value: number): void {
  view.setUint32(at + REST, value)
}

/** Sets the ND_FLAG_* bits of an advertisement and clears the reserved ones behind them. */
export function setNeighbourFlags(view: DataView, at: number, value: number): void {
  view.setUint32(at + REST, value << 24)
}

/** True for the types that report on another packet (RFC 4443 section 2.1). */
export function isIcmpv6Error(type: number): boolean {
  return type < 128
}

/** Offset of the packet that an error message quotes. */
export function icmpv6EmbeddedAt(at: number): number {
  return at + ICMPV6_HEADER_SIZE
}

/** True when the error message [at, end) quotes an IPv6 header and 8 bytes behind it. */
export function checkIcmpv6Embedded(view: DataView, at: number, end: number): boolean {
  const ip = at + ICMPV6_HEADER_SIZE
  return end - ip >= 48 && view.getUint8(ip) >>> 4 === 6
}

/** Offset of the first option of kind `kind` in the solicitation or advertisement [at, end), or
 * -1. To be asked after checkNeighbour(). */
export function neighbourOption(view: DataView, at: number, end: number, kind: number): number {
  let option = at + ND_SIZE
  while (option < end) {
    if (view.getUint8(option) === kind) return option
    option += view.getUint8(option + 1) * 8
  }
  return -1
}

/** First half of the MAC in a link-layer address option. */
export function linkOptionMacHi(view: DataView, option: number): number {
  return macHi(view, option + 2)
}

/** Second half of the MAC in a link-layer address option. */
export function linkOptionMacLo(view: DataView, option: number): number {
  return macLo(view, option + 2)
}

/** Writes an 8-byte link-layer address option; `kind` is ND_OPTION_SOURCE_LINK or
 * ND_OPTION_TARGET_LINK. */
export function writeLinkOption(
  view: DataView,
  option: number,
  kind: number,
  hi: number,
  lo: number,
): void {
  view.setUint16(option, (kind << 8) | 1)
  setMac(view, option + 2, hi, lo)
}

/** Computes the checksum of the message [at, end) in the IPv6 packet at `ipAt` and writes it. */
export function fillIcmpv6Checksum(view: DataView, ipAt: number, at: number, end: number): void {
  view.setUint16(at + CHECKSUM, 0)
  const sum = pseudoSumV6(view, ipAt, PROTOCOL_ICMPV6, end - at)
  view.setUint16(at + CHECKSUM, checksum(view, at, end, sum))
}
