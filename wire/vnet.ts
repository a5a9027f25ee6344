// The virtio-net header in front of every frame of a TUN or TAP device opened with IFF_VNET_HDR:
// struct virtio_net_hdr of linux/virtio_net.h, the legacy form, in HOST byte order. Both machines
// we run on (x86-64 and AArch64) are little-endian, and so are these accessors.
//
//   0       1       2               4               6               8               10
//   | flags | type  | header size   | segment size  | csum start    | csum offset   |
//
// On read it says what the sender's kernel left undone; on write it says what the receiver's kernel
// may take as done or is to do.

export const VNET_HEADER_SIZE = 10

/** The checksum at csum start + csum offset is partial: finish it over [csum start, end). */
export const VNET_FLAG_NEEDS_CHECKSUM = 1
/** The checksum was verified. */
export const VNET_FLAG_DATA_VALID = 2

export const VNET_GSO_NONE = 0
export const VNET_GSO_TCPV4 = 1
/** UDP fragmentation (UFO), removed from Linux in 4.14: never asked for. */
export const VNET_GSO_UDP = 3
export const VNET_GSO_TCPV6 = 4
/** UDP segmentation (USO), Linux 6.2. */
export const VNET_GSO_UDP_L4 = 5
/** Bit beside the type: the TCP segments have ECN's CWR set. */
export const VNET_GSO_ECN = 0x80

const FLAGS = 0
const GSO_TYPE = 1
const HEADER_SIZE = 2
const SEGMENT_SIZE = 4
const CHECKSUM_START = 6
const CHECKSUM_OFFSET = 8

/** True when [at, end) holds a whole header. */
export function checkVnet(_view: DataView, at: number, end: number): boolean {
  return end - at >= VNET_HEADER_SIZE
}

export function vnetFlags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS)
}

export function vnetGsoType(view: DataView, at: number): number {
  return view.getUint8(at + GSO_TYPE)
}

/** Bytes of headers in front of the payload. A hint: the kernel may give more than the headers'
 * size. */
export function vnetHeaderSize(view: DataView, at: number): number {
  return view.getUint16(at + HEADER_SIZE, true)
}

/** Payload bytes per segment; 0 without segmentation. */
export function vnetSegmentSize(view: DataView, at: number): number {
  return view.getUint16(at + SEGMENT_SIZE, true)
}

/** Where the sum begins, from the first byte of the frame. */
export function vnetChecksumStart(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM_START, true)
}

/** Where the checksum field lies, from csum start. */
export function vnetChecksumOffset(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM_OFFSET, true)
}

/** Writes all ten bytes. */
export function writeVnet(
  view: DataView,
  at: number,
  flags: number,
  gsoType: number,
  headerSize: number,
  segmentSize: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  view.setUint8(at + FLAGS, flags)
  view.setUint8(at + GSO_TYPE, gsoType)
  view.setUint16(at + HEADER_SIZE, headerSize, true)
  view.setUint16(at + SEGMENT_SIZE, segmentSize, true)
  view.setUint16(at + CHECKSUM_START, checksumStart, true)
  view.setUint16(at + CHECKSUM_OFFSET, checksumOffset, true)
}

/** Writes the header of a frame that asks nothing: whole checksum, no segmentation. */
export function clearVnet(view: DataView, at: number): void {
  view.setUint32(at, 0)
  view.setUint32(at + 4, 0)
  view.setUint16(at + 8, 0)
}
