// VXLAN header, RFC 7348 section 5.
//
//   0       1       2       3       4                       7       8
//   | flags | inner | reserved      | VNI                   | rsvd  |
//
// The I flag (0x08) must be set: the VNI is valid. Everything reserved is sent as zero and ignored
// on receipt. Byte 1 is reserved too and stays zero on plain networks; inside a SEALED datagram,
// which only weft reads, it carries our inner flags (VXLAN_INNER_*).

export const VXLAN_HEADER_SIZE = 8
export const VXLAN_PORT = 4789
/** The first byte of every VXLAN header: only the I flag. */
export const VXLAN_FLAGS = 0x08

/** Inner flag: the checksum field of the inner TCP or UDP header is partial, it holds only the
 * sum of the pseudo header. The seal already proves the payload; the receiver's kernel is told
 * not to check. */
export const VXLAN_INNER_CHECKSUM_PARTIAL = 0x01

/** Inner flag: this frame is the next segment of the super-packet that the datagram with the
 * preceding counter was cut from. Whoever merges them again need not compare the headers: they are
 * equal but for sequence, lengths, PSH and FIN. */
export const VXLAN_INNER_CONTINUES = 0x02

const FLAGS = 0
const INNER = 1
const VNI = 4

/** True when [at, end) holds a whole header whose VNI is valid. */
export function checkVxlan(view: DataView, at: number, end: number): boolean {
  return end - at >= VXLAN_HEADER_SIZE && (view.getUint8(at + FLAGS) & VXLAN_FLAGS) !== 0
}

export function vxlanVni(view: DataView, at: number): number {
  return view.getUint32(at + VNI) >>> 8
}

export function vxlanInnerFlags(view: DataView, at: number): number {
  return view.getUint8(at + INNER)
}

export function setVxlanVni(view: DataView, at: number, vni: number): void {
  view.setUint32(at + VNI, vni << 8)
}

export function setVxlanInnerFlags(view: DataView, at: number, value: number): void {
  view.setUint8(at + INNER, value)
}

/** Writes all eight bytes; `innerFlags` is 0 on plain networks. */
export function writeVxlan(view: DataView, at: number, vni: number, innerFlags: number): void {
  view.setUint32(at + FLAGS, (VXLAN_FLAGS << 24) | (innerFlags << 16))
  view.setUint32(at + VNI, vni << 8)
}
