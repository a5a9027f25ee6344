// Ethernet II frame, IEEE 802.3 clause 3.
//
//   0                       6                       12      14
//   | target MAC            | source MAC            | type  | payload ...
//
// A MAC address is handled as two numbers: its first 16 bits (hi) and its last 32 (lo, unsigned).
// Frames have no preamble and no check sequence here: TAP devices and VXLAN carry neither. A frame
// with an 802.1Q tag has type ETHERTYPE_VLAN and is not looked into: an overlay network is one
// untagged segment (RFC 7348 section 6.1 has the inner tag stripped).

export const ETHERNET_HEADER_SIZE = 14
export const MAC_SIZE = 6

export const ETHERTYPE_IPV4 = 0x0800
export const ETHERTYPE_ARP = 0x0806
export const ETHERTYPE_VLAN = 0x8100
export const ETHERTYPE_IPV6 = 0x86dd

const TARGET = 0
const SOURCE = 6
const TYPE = 12

/** The group bit (I/G) within the hi half: set for multicast and broadcast. */
const GROUP_HI = 0x0100

/** True when [at, end) holds a whole header. */
export function checkEthernet(_view: DataView, at: number, end: number): boolean {
  return end - at >= ETHERNET_HEADER_SIZE
}

export function ethernetTargetHi(view: DataView, at: number): number {
  return view.getUint16(at + TARGET)
}

export function ethernetTargetLo(view: DataView, at: number): number {
  return view.getUint32(at + TARGET + 2)
}

export function ethernetSourceHi(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE)
}

export function ethernetSourceLo(view: DataView, at: number): number {
  return view.getUint32(at + SOURCE + 2)
}

export function ethernetType(view: DataView, at: number): number {
  return view.getUint16(at + TYPE)
}

export function setEthernetTarget(view: DataView, at: number, hi: number, lo: number): void {
  view.setUint16(at + TARGET, hi)
  view.setUint32(at + TARGET + 2, lo)
}

export function setEthernetSource(view: DataView, at: number, hi: number, lo: number): void {
  view.setUint16(at + SOURCE, hi)
  view.setUint32(at + SOURCE + 2, lo)
}

export function setEthernetType(view: DataView, at: number, value: number): void {
  view.setUint16(at + TYPE, value)
}

/** Offset of the target MAC of the frame at `at`, for copyMac(). */
export function ethernetTargetAt(at: number): number {
  return at + TARGET
}

/** Offset of the source MAC of the frame at `at`, for copyMac(). */
export function ethernetSourceAt(at: number): number {
  return at + SOURCE
}

/** True when the MAC whose first half is `hi` names a group: multicast or broadcast. */
export function isGroupMac(hi: number): boolean {
  return (hi & GROUP_HI) !== 0
}

/** True for ff:ff:ff:ff:ff:ff. */
export function isBroadcastMac(hi: number, lo: number): boolean {
  return hi === 0xffff && lo === 0xffffffff
}

/** First half of the MAC at offset `at`, wherever it stands. */
export function macHi(view: DataView, at: number): number {
  return view.getUint16(at)
}

/** Second half of the MAC at offset `at`, wherever it stands. */
export function macLo(view: DataView, at: number): number {
  return view.getUint32(at + 2)
}

/** Writes a MAC at offset `at`, wherever that is. */
export function setMac(view: DataView, at: number, hi: number, lo: number): void {
  view.setUint16(at, hi)
  view.setUint32(at + 2, lo)
}

/** Copies the six bytes at `from` to `to`. */
export function copyMac(view: DataView, from: number, to: number): void {
  const hi = view.getUint16(from)
  const lo = view.getUint32(from + 2)
  view.setUint16(to, hi)
  view.setUint32(to + 2, lo)
}
