// UDP header, RFC 768.
//
//   0               2               4               6               8
//   | source port   | target port   | length        | checksum      |
//
// Over IPv4 a checksum of 0 means "none"; over IPv6 it is an error (RFC 8200 section 8.1), except
// for tunnels (RFC 6935). A checksum that computes to 0 is sent as 0xffff.

export const UDP_HEADER_SIZE = 8
/** Offset of the checksum in the header: the csum_offset of a virtio-net header. */
export const UDP_CHECKSUM_OFFSET = 6

const SOURCE_PORT = 0
const TARGET_PORT = 2
const LENGTH = 4
const CHECKSUM = UDP_CHECKSUM_OFFSET

/** True when [at, end) holds a whole header and the length field agrees with it. Do not ask of
 * the first fragment of a datagram: its length field counts bytes that are in other fragments. */
export function checkUdp(view: DataView, at: number, end: number): boolean {
  if (end - at < UDP_HEADER_SIZE) return false
  const length = view.getUint16(at + LENGTH)
  return length >= UDP_HEADER_SIZE && length <= end - at
}

export function udpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE_PORT)
}

export function udpTargetPort(view: DataView, at: number): number {
  return view.getUint16(at + TARGET_PORT)
}

/** Header and payload in bytes. */
export function udpLength(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH)
}

export function udpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function setUdpSourcePort(view: DataView, at: number, value: number): void {
  view.setUint16(at + SOURCE_PORT, value)
}

export function setUdpTargetPort(view: DataView, at: number, value: number): void {
  view.setUint16(at + TARGET_PORT, value)
}

export function setUdpLength(view: DataView, at: number, value: number): void {
  view.setUint16(at + LENGTH, value)
}

export function setUdpChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

/** Writes a computed checksum: 0 becomes 0xffff, because 0 in the field means "none". */
export function storeUdpChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value === 0 ? 0xffff : value)
}
