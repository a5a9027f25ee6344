// The packet in hand: one mutable descriptor, filled by whoever read the packet and passed from
// stage to stage. It says where the bytes are, what the virtio-net header claimed of them, and what
// classify() found. There is one per direction of the loop, never one per packet.
//
// A frame read from a device may be scattered: its first `headSize` bytes (all headers and the
// first segment's payload) lie at `at`, the rest in slots of `slotSize` bytes, `stride` apart, each
// where its segment is going to be sealed and sent from. That saves the copy which splitting a
// super-packet costs. A frame merged from datagrams is gathered instead: `pieces` lists the ranges
// that follow the head.
//
//   whole       | at ................. at+size |
//   scattered   | at .. at+headSize |  gap  | slotAt .. slotSize |  gap  | slotAt+stride .. |  …
//   gathered    | at .. at+headSize |   …   | pieces[0], pieces[1] |   …   | pieces[2], pieces[3] |

import { SCTP_HEADER_SIZE } from '../ipvs-emulator/proto-sctp.ts'
import {
  ETHERNET_HEADER_SIZE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethernetType,
} from '../wire/ethernet.ts'
import {
  checkIpv4,
  ipv4FragmentOffset,
  ipv4IsFragment,
  ipv4Payload,
  ipv4Protocol,
  ipv4TotalLength,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4.ts'
import {
  checkIpv6,
  IPV6_HEADER_SIZE,
  IPV6_WALK_FAILED,
  ipv6FragmentOffset,
  ipv6PayloadLength,
  walkFragment,
  walkIpv6,
  walkProtocol,
  walkUpper,
} from '../wire/ipv6.ts'
import { TCP_CHECKSUM_OFFSET, TCP_HEADER_SIZE, tcpHeaderSize } from '../wire/tcp.ts'
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_SIZE } from '../wire/udp.ts'
import {
  VNET_FLAG_NEEDS_CHECKSUM,
  VNET_GSO_ECN,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  vnetChecksumStart,
  vnetFlags,
  vnetGsoType,
  vnetSegmentSize,
} from '../wire/vnet.ts'
import { PROTOCOL_SCTP } from './compiled.ts'
import { DROP_BAD_HEADER, DROP_NONE, DROP_NOT_IP, DROP_TRUNCATED } from './drop-reasons.ts'
import { COALESCE_FRAMES_MAX } from './engine-limits.ts'

export const WHOLE = 0
export const SCATTERED = 1
export const GATHERED = 2

/** Values of Frame.family besides 4 and 6. */
export const FAMILY_ARP = 1

/** Values of Frame.fragment. */
export const NOT_A_FRAGMENT = 0
export const FIRST_FRAGMENT = 1
export const LATER_FRAGMENT = 2

export class Frame {
  /** Offset of the Ethernet header, and length of the whole frame from there. */
  at = 0
  size = 0
  /** WHOLE, SCATTERED or GATHERED, and how many bytes lie together at `at`. */
  shape: number = WHOLE
  headSize = 0
  slotAt = 0
  slotSize = 0
  stride = 0
  readonly pieces: Int32Array = new Int32Array(2 * COALESCE_FRAMES_MAX)
  pieceCount = 0
  /** The L4 checksum field holds the folded pseudo-header sum only. */
  partial = false
  /** VNET_GSO_*, and payload bytes per segment; 0 when the frame is one packet. */
  gsoType = 0
  gsoSize = 0
  /** Packets that the frame stands for: what counters count. */
  packets = 1

  /** 4, 6 or FAMILY_ARP. */
  family = 0
  l3At = 0
  l4At = 0
  /** Upper-layer protocol. */
  protocol = 0
  fragment: number = NOT_A_FRAGMENT

  /** Describes a whole frame without offload. */
  setWhole(at: number, size: number): void {
    this.at = at
    this.size = size
    this.shape = WHOLE
    this.headSize = size
    this.partial = false
    this.gsoType = VNET_GSO_NONE
    this.gsoSize = 0
    this.packets = 1
  }

  /** Offset behind the frame's last byte, as if it lay in one piece. */
  end(): number {
    return this.at + this.size
  }

  /** Offset behind the last byte that belongs to the frame where it lies, slots included. */
  extentEnd(): number {
    if (this.shape !== SCATTERED) return this.at + this.headSize
    const slots = Math.ceil((this.size - this.headSize) / this.slotSize)
    return this.slotAt + (slots - 1) * this.stride + this.slotSize
  }

  isGso(): boolean {
    return this.gsoType !== VNET_GSO_NONE
  }
}

/** Takes over what the virtio-net header at `vnetAt` says. `linkSize` is 14 for a TAP; a TUN's
 * header counts its checksum start from the IP header. Returns DROP_NONE or a reason. Called
 * after parseFrame(). */
export function readOffload(
  view: DataView,
  vnetAt: number,
  frame: Frame,
  linkSize: number,
): number {
  const gsoType = vnetGsoType(view, vnetAt) & ~VNET_GSO_ECN
  frame.partial = (vnetFlags(view, vnetAt) & VNET_FLAG_NEEDS_CHECKSUM) !== 0
  if (frame.partial) {
    // The stack asks for exactly one thing: the checksum of the transport header that we found too.
    const start = frame.at + vnetChecksumStart(view, vnetAt) + ETHERNET_HEADER_SIZE - linkSize
    if (start !== frame.l4At || frame.family === FAMILY_ARP) return DROP_BAD_HEADER
    if (frame.protocol !== PROTOCOL_TCP && frame.protocol !== PROTOCOL_UDP) return DROP_BAD_HEADER
  }
  frame.gsoType = gsoType
  frame.gsoSize = 0
  frame.packets = 1
  if (gsoType === VNET_GSO_NONE) return DROP_NONE
  return readSegmentation(view, vnetAt, frame)
}

function readSegmentation(view: DataView, vnetAt: number, frame: Frame): number {
  const gsoType = frame.gsoType
  // hdr_len is not trusted: on a forwarding path the kernel may set it to the whole first segment.
  const tcp4 = gsoType === VNET_GSO_TCPV4 && frame.family === 4 && frame.protocol === PROTOCOL_TCP
  const tcp6 = gsoType === VNET_GSO_TCPV6 && frame.family === 6 && frame.protocol === PROTOCOL_TCP
  const udp = gsoType === VNET_GSO_UDP_L4 && frame.protocol === PROTOCOL_UDP
  if (!frame.partial || !(tcp4 || tcp6 || udp)) return DROP_BAD_HEADER
  if (frame.fragment !== NOT_A_FRAGMENT) return DROP_BAD_HEADER
  frame.gsoSize = vnetSegmentSize(view, vnetAt)
  const payload = frame.size - (headersEnd(view, frame) - frame.at)
  if (frame.gsoSize === 0 || payload <= 0) return DROP_BAD_HEADER
  frame.packets = Math.ceil(payload / frame.gsoSize)
  return DROP_NONE
}

/** Offset behind the transport header of a TCP or UDP frame. */
export function headersEnd(view: DataView, frame: Frame): number {
  return (
    frame.l4At +
    (frame.protocol === PROTOCOL_TCP ? tcpHeaderSize(view, frame.l4At) : UDP_HEADER_SIZE)
  )
}

/** Where the checksum field of a TCP or UDP frame lies. */
export function checksumFieldAt(frame: Frame): number {
  return frame.l4At + (frame.protocol === PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET)
}

/** Fills family, l3At, l4At, protocol and fragment, and trims padding. After DROP_NONE, all
 * headers up to and including TCP's or UDP's are complete, consistent with the frame's length,
 * and in its head. */
export function parseFrame(view: DataView, frame: Frame): number {
  if (frame.size < ETHERNET_HEADER_SIZE) return DROP_TRUNCATED
  const type = ethernetType(view, frame.at)
  frame.l3At = frame.at + ETHERNET_HEADER_SIZE
  frame.fragment = NOT_A_FRAGMENT
  if (type === ETHERTYPE_IPV4) return parseIpv4(view, frame)
  if (type === ETHERTYPE_IPV6) return parseIpv6(view, frame)
  if (type !== ETHERTYPE_ARP) return DROP_NOT_IP
  frame.family = FAMILY_ARP
  frame.protocol = 0
  return DROP_NONE
}

function parseIpv4(view: DataView, frame: Frame): number {
  const ip = frame.l3At
  if (!checkIpv4(view, ip, frame.end())) return DROP_TRUNCATED
  frame.family = 4
  frame.protocol = ipv4Protocol(view, ip)
  frame.l4At = ipv4Payload(view, ip)
  if (ipv4IsFragment(view, ip)) {
    frame.fragment = ipv4FragmentOffset(view, ip) === 0 ? FIRST_FRAGMENT : LATER_FRAGMENT
  }
  trim(frame, ETHERNET_HEADER_SIZE + ipv4TotalLength(view, ip))
  return checkUpper(view, frame)
}

function parseIpv6(view: DataView, frame: Frame): number {
  const ip = frame.l3At
  if (!checkIpv6(view, ip, frame.end())) return DROP_TRUNCATED
  frame.family = 6
  const walk = walkIpv6(view, ip)
  if (walk === IPV6_WALK_FAILED) return DROP_BAD_HEADER
  frame.protocol = walkProtocol(walk)
  frame.l4At = walkUpper(ip, walk)
  const header = walkFragment(ip, walk)
  if (header >= 0) {
    frame.fragment = ipv6FragmentOffset(view, header) === 0 ? FIRST_FRAGMENT : LATER_FRAGMENT
  }
  trim(frame, ETHERNET_HEADER_SIZE + IPV6_HEADER_SIZE + ipv6PayloadLength(view, ip))
  return checkUpper(view, frame)
}

/** Cuts what follows the IP packet: short frames are padded to 60 bytes on a wire. */
function trim(frame: Frame, size: number): void {
  if (frame.size === size) return
  frame.size = size
  if (frame.headSize > size) frame.headSize = size
}

function checkUpper(view: DataView, frame: Frame): number {
  if (frame.fragment === LATER_FRAGMENT) return DROP_NONE
  const headEnd = frame.at + frame.headSize
  if (frame.l4At > headEnd) return DROP_TRUNCATED
  if (frame.protocol === PROTOCOL_UDP) {
    return frame.l4At + UDP_HEADER_SIZE <= headEnd ? DROP_NONE : DROP_TRUNCATED
  }
  if (frame.protocol === PROTOCOL_SCTP) {
    return frame.l4At + SCTP_HEADER_SIZE <= headEnd ? DROP_NONE : DROP_TRUNCATED
  }
  if (frame.protocol !== PROTOCOL_TCP) return DROP_NONE
  if (frame.l4At + TCP_HEADER_SIZE > headEnd) return DROP_TRUNCATED
  const size = tcpHeaderSize(view, frame.l4At)
  return size >= TCP_HEADER_SIZE && frame.l4At + size <= headEnd ? DROP_NONE : DROP_BAD_HEADER
}
