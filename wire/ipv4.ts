// IPv4 header, RFC 791.
//
//   0       1       2               4               6               8
//   |ver|ihl| tos   | total length  | identification|fl | offset    |
//   8       9       10              12                              16
//   | ttl   | proto | checksum      | source address                |
//   16                              20
//   | target address                | options, to ihl * 4 ...
//
// Addresses are unsigned 32-bit numbers in reading order: 10.0.0.1 is 0x0a000001. Offsets of
// fragments are in bytes here; the field counts units of eight. Options are carried but never acted
// upon.

import { checksum, checksumHolds, updateChecksum16 } from './checksum.ts'

/** Size without options; the size of a header at hand is ipv4HeaderSize(). */
export const IPV4_HEADER_SIZE = 20
export const IPV4_ADDRESS_SIZE = 4

export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
export const PROTOCOL_ICMPV6 = 58

export const IPV4_BROADCAST = 0xffffffff

const VERSION_IHL = 0
const TOS = 1
const TOTAL_LENGTH = 2
const IDENTIFICATION = 4
const FRAGMENT = 6
const TTL = 8
const PROTOCOL = 9
const CHECKSUM = 10
const SOURCE = 12
const TARGET = 16

const DONT_FRAGMENT = 0x4000
const MORE_FRAGMENTS = 0x2000
const OFFSET_MASK = 0x1fff

/** True when [at, end) holds a whole IPv4 packet: version 4, a header of at least 20 bytes
 * inside the total length, and the total length inside [at, end). Bytes behind the total length
 * (the padding of short Ethernet frames) are allowed. The checksum is not looked at: see
 * ipv4HeaderHolds(). */
export function checkIpv4(view: DataView, at: number, end: number): boolean {
  if (end - at < IPV4_HEADER_SIZE) return false
  const first = view.getUint8(at + VERSION_IHL)
  if (first >>> 4 !== 4) return false
  const headerSize = (first & 15) * 4
  const length = view.getUint16(at + TOTAL_LENGTH)
  return headerSize >= IPV4_HEADER_SIZE && headerSize <= length && length <= end - at
}

/** Header bytes, options included: 20 to 60. */
export function ipv4HeaderSize(view: DataView, at: number): number {
  return (view.getUint8(at + VERSION_IHL) & 15) * 4
}

/** Type of service: DSCP in the upper six bits, ECN in the lower two (RFC 2474, RFC 3168). */
export function ipv4Tos(view: DataView, at: number): number {
  return view.getUint8(at + TOS)
}

/** Header and payload in bytes. */
export function ipv4TotalLength(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_LENGTH)
}

/** Offset just behind the packet. */
export function ipv4End(view: DataView, at: number): number {
  return at + view.getUint16(at + TOTAL_LENGTH)
}

/** Offset of the payload. */
export function ipv4Payload(view: DataView, at: number): number {
  return at + ipv4HeaderSize(view, at)
}

export function ipv4Identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION)
}

/** True when the packet is one piece of several: more follow, or it is not the first. */
export function ipv4IsFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & (MORE_FRAGMENTS | OFFSET_MASK)) !== 0
}

/** True when more fragments follow this one. */
export function ipv4MoreFragments(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & MORE_FRAGMENTS) !== 0
}

/** True when routers must not fragment the packet (DF). */
export function ipv4DontFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & DONT_FRAGMENT) !== 0
}

/** Where this fragment's payload lies within the whole, in bytes; 0 for the first and for whole
 * packets. */
export function ipv4FragmentOffset(view: DataView, at: number): number {
  return (view.getUint16(at + FRAGMENT) & OFFSET_MASK) * 8
}

export function ipv4Ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL)
}

export function ipv4Protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL)
}

export function ipv4Checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function ipv4Source(view: DataView, at: number): number {
  return view.getUint32(at + SOURCE)
}

export function ipv4Target(view: DataView, at: number): number {
  return view.getUint32(at + TARGET)
}

export function setIpv4Tos(view: DataView, at: number, value: number): void {
  view.setUint8(at + TOS, value)
}

export function setIpv4TotalLength(view: DataView, at: number, value: number): void {
  view.setUint16(at + TOTAL_LENGTH, value)
}

export function setIpv4Identification(view: DataView, at: number, value: number): void {
  view.setUint16(at + IDENTIFICATION, value)
}

/** Sets offset (bytes, a multiple of eight), DF and MF at once. */
export function setIpv4Fragment(
  view: DataView,
  at: number,
  offset: number,
  dontFragment: boolean,
  moreFragments: boolean,
): void {
  const flags = (dontFragment ? DONT_FRAGMENT : 0) | (moreFragments ? MORE_FRAGMENTS : 0)
  view.setUint16(at + FRAGMENT, flags | (offset >>> 3))
}

export function setIpv4Ttl(view: DataView, at: number, value: number): void {
  view.setUint8(at + TTL, value)
}

export function setIpv4Protocol(view: DataView, at: number, value: number): void {
  view.setUint8(at + PROTOCOL, value)
}

export function setIpv4Checksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

export function setIpv4Source(view: DataView, at: number, address: number): void {
  view.setUint32(at + SOURCE, address)
}

export function setIpv4Target(view: DataView, at: number, address: number): void {
  view.setUint32(at + TARGET, address)
}

/** True when the header's checksum is right. */
export function ipv4HeaderHolds(view: DataView, at: number): boolean {
  return checksumHolds(view, at, at + ipv4HeaderSize(view, at), 0)
}

/** Computes the header's checksum from nothing and writes it. */
export function fillIpv4Checksum(view: DataView, at: number): void {
  view.setUint16(at + CHECKSUM, 0)
  view.setUint16(at + CHECKSUM, checksum(view, at, at + ipv4HeaderSize(view, at), 0))
}

/** Takes one off the TTL (> 0) and mends the checksum (RFC 1624). */
export function decrementIpv4Ttl(view: DataView, at: number): void {
  const before = view.getUint16(at + TTL)
  view.setUint16(at + TTL, before - 0x0100)
  view.setUint16(
    at + CHECKSUM,
    updateChecksum16(view.getUint16(at + CHECKSUM), before, before - 0x0100),
  )
}

/** Writes a 20-byte header with DF set, identification 0 (RFC 6864 section 4.1 allows it for
 * packets that are never fragmented) and its checksum. `totalLength` counts the header. */
export function writeIpv4Header(
  view: DataView,
  at: number,
  totalLength: number,
  protocol: number,
  ttl: number,
  source: number,
  target: number,
): void {
  view.setUint16(at + VERSION_IHL, 0x4500)
  view.setUint16(at + TOTAL_LENGTH, totalLength)
  view.setUint32(at + IDENTIFICATION, DONT_FRAGMENT)
  view.setUint16(at + TTL, (ttl << 8) | protocol)
  view.setUint16(at + CHECKSUM, 0)
  view.setUint32(at + SOURCE, source)
  view.setUint32(at + TARGET, target)
  view.setUint16(at + CHECKSUM, checksum(view, at, at + IPV4_HEADER_SIZE, 0))
}
