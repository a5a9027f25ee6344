// ICMP for IPv4, RFC 792.
//
//   0       1       2               4                               8
//   | type  | code  | checksum      | rest, by type                 | body ...
//
//   echo                  rest = identifier(2) sequence(2)
//   fragmentation needed  rest = 0(2) next-hop MTU(2)   (RFC 1191 section 4)
//   every error           body = the IPv4 header and at least 8 bytes of the packet in error
//
// The checksum covers the whole message and no pseudo header.

import { checksum } from './checksum.ts'

export const ICMP_HEADER_SIZE = 8

export const ICMP_ECHO_REPLY = 0
export const ICMP_UNREACHABLE = 3
export const ICMP_SOURCE_QUENCH = 4
export const ICMP_REDIRECT = 5
export const ICMP_ECHO_REQUEST = 8
export const ICMP_TIME_EXCEEDED = 11
export const ICMP_PARAMETER_PROBLEM = 12

export const ICMP_CODE_NET_UNREACHABLE = 0
export const ICMP_CODE_HOST_UNREACHABLE = 1
export const ICMP_CODE_PROTOCOL_UNREACHABLE = 2
export const ICMP_CODE_PORT_UNREACHABLE = 3
export const ICMP_CODE_FRAGMENTATION_NEEDED = 4
export const ICMP_CODE_PROHIBITED = 13

const TYPE = 0
const CODE = 1
const CHECKSUM = 2
const IDENTIFIER = 4
const SEQUENCE = 6
const MTU = 6

/** True when [at, end) holds a whole header. */
export function checkIcmp(_view: DataView, at: number, end: number): boolean {
  return end - at >= ICMP_HEADER_SIZE
}

export function icmpType(view: DataView, at: number): number {
  return view.getUint8(at + TYPE)
}

export function icmpCode(view: DataView, at: number): number {
  return view.getUint8(at + CODE)
}

export function icmpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

/** Identifier of an echo request or reply. */
export function icmpIdentifier(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFIER)
}

/** Sequence number of an echo request or reply. */
export function icmpSequence(view: DataView, at: number): number {
  return view.getUint16(at + SEQUENCE)
}

/** Next-hop MTU of a "fragmentation needed"; 0 from routers older than RFC 1191. */
export function icmpMtu(view: DataView, at: number): number {
  return view.getUint16(at + MTU)
}

export function setIcmpType(view: DataView, at: number, value: number): void {
  view.setUint8(at + TYPE, value)
}

export function setIcmpCode(view: DataView, at: number, value: number): void {
  view.setUint8(at + CODE, value)
}

export function setIcmpChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

export function setIcmpIdentifier(view: DataView, at: number, value: number): void {
  view.setUint16(at + IDENTIFIER, value)
}

export function setIcmpSequence(view: DataView, at: number, value: number): void {
  view.setUint16(at + SEQUENCE, value)
}

export function setIcmpMtu(view: DataView, at: number, value: number): void {
  view.setUint16(at + MTU, value)
}

/** True for the types that report on another packet, which must never be answered with an error
 * (RFC 1122 section 3.2.2). */
export function isIcmpError(type: number): boolean {
  switch (type) {
    case ICMP_UNREACHABLE:
    case ICMP_SOURCE_QUENCH:
    case ICMP_REDIRECT:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER_PROBLEM:
      return true
    default:
      return false
  }
}

/** Offset of the packet that an error message quotes. Usually cut short: checkIcmpEmbedded()
 * first. */
export function icmpEmbeddedAt(at: number): number {
  return at + ICMP_HEADER_SIZE
}

/** True when the error message [at, end) quotes an IPv4 header and the 8 bytes behind it: enough
 * for addresses, protocol and ports. The quoted total length may exceed what is quoted. */
export function checkIcmpEmbedded(view: DataView, at: number, end: number): boolean {
  const ip = at + ICMP_HEADER_SIZE
  if (end - ip < 20) return false
  const first = view.getUint8(ip)
  const headerSize = (first & 15) * 4
  return first >>> 4 === 4 && headerSize >= 20 && headerSize + 8 <= end - ip
}

/** Computes the checksum of the message [at, end) from nothing and writes it. */
export function fillIcmpChecksum(view: DataView, at: number, end: number): void {
  view.setUint16(at + CHECKSUM, 0)
  view.setUint16(at + CHECKSUM, checksum(view, at, end, 0))
}
