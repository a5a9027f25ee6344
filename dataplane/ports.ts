// Local ports: the TAP devices of the containers on this node, and the TUN of the routing mesh.
//
// read() brings a frame into the arena, guessing its shape: most large frames of a device have the
// same header and segment size as the last one, so the kernel is asked to scatter the payload to
// where each segment will be sealed. A wrong guess costs one move of the bytes, and teaches the
// next guess. So does a frame that is one packet but longer than the guessed first segment: the
// forwarder moves it together.
//
// deliver() is the way out: it writes the virtio-net header in front of the frame and hands over
// the pieces. One super-packet is one system call, whatever it was made of.

import type { FrameDevice } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import { pseudoSumV4, pseudoSumV6 } from '../wire/checksum.ts'
import { ENVELOPE_TAG_SIZE } from '../wire/envelope.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import { fillIpv4Checksum, PROTOCOL_TCP, setIpv4TotalLength } from '../wire/ipv4.ts'
import { IPV6_HEADER_SIZE, setIpv6PayloadLength } from '../wire/ipv6.ts'
import { setTcpChecksum, TCP_CHECKSUM_OFFSET } from '../wire/tcp.ts'
import { setUdpChecksum, setUdpLength, UDP_CHECKSUM_OFFSET } from '../wire/udp.ts'
import {
  clearVnet,
  VNET_FLAG_NEEDS_CHECKSUM,
  VNET_GSO_NONE,
  VNET_HEADER_SIZE,
  writeVnet,
} from '../wire/vnet.ts'
import { DROP_DEVICE_REFUSED, DROP_NONE } from './drop-reasons.ts'
import {
  COALESCE_FRAMES_MAX,
  CONTIGUOUS_MIN,
  FRAME_MAX,
  HEADROOM,
  SCATTER_SLOTS_MAX,
} from './engine-limits.ts'
import { type Frame, GATHERED, headersEnd, SCATTERED, WHOLE } from './frame.ts'

/** Small frames that a device may bring before its reads are no longer scattered. */
const SCATTER_CREDIT = 32

/** Headers of a full-sized TCP segment: Ethernet, IPv4, TCP with timestamps. The first guess. */
const TYPICAL_HEADER_SIZE = 14 + 20 + 32

export class Port {
  readonly device: FrameDevice
  /** 14 for a TAP, 0 for a TUN: what the device puts in front of the IP header. */
  readonly linkSize: number
  /** Guess for the next read: headers in front of the payload, and payload per segment. */
  headerSize: number = TYPICAL_HEADER_SIZE
  segmentSize: number
  /** Reads that are still scattered although no super-packet comes. */
  scatterCredit = 0

  constructor(device: FrameDevice, linkSize: number, mtu: number) {
    this.device = device
    this.linkSize = linkSize
    this.segmentSize = mtu + ETHERNET_HEADER_SIZE - TYPICAL_HEADER_SIZE
  }
}

/** Reads the next frame of `port` to `at` (the place of its Ethernet header; a TUN's IP header
 * goes 14 bytes further). Returns its size and sets its shape, or returns 0 when there is none,
 * or -errno. The virtio-net header lies in front of what was read: vnetAt(). */
export function readFrame(port: Port, at: number, frame: Frame): number {
  const linkGap = ETHERNET_HEADER_SIZE - port.linkSize
  const head = port.headerSize + port.segmentSize
  const slots = Math.ceil((FRAME_MAX - head) / port.segmentSize)
  // Describing fifty slots costs the kernel and us more than a small packet itself: a device that
  // has not brought a super-packet for a while is read in one piece.
  const scatter = port.scatterCredit > 0 && head >= CONTIGUOUS_MIN && slots <= SCATTER_SLOTS_MAX
  const readAt = at + linkGap - VNET_HEADER_SIZE
  const stride = HEADROOM + head + ENVELOPE_TAG_SIZE
  let got: number
  if (scatter) {
    const headRead = VNET_HEADER_SIZE + head - linkGap
    const slotAt = at + stride + port.headerSize
    got = port.device.readScatter(readAt, headRead, slotAt, port.segmentSize, stride, slots)
    frame.slotAt = slotAt
    frame.slotSize = port.segmentSize
    frame.stride = stride
  } else {
    got = port.device.read(readAt, VNET_HEADER_SIZE + FRAME_MAX)
  }
  if (got <= 0) return got
  if (port.scatterCredit > 0) port.scatterCredit--
  if (got <= VNET_HEADER_SIZE) return 0
  frame.at = at
  frame.size = got - VNET_HEADER_SIZE + linkGap
  frame.shape = scatter && frame.size > head ? SCATTERED : WHOLE
  frame.headSize = frame.shape === SCATTERED ? head : frame.size
  return frame.size
}

/** Where readFrame() put the virtio-net header. */
export function vnetAt(port: Port, frame: Frame): number {
  return frame.at + ETHERNET_HEADER_SIZE - port.linkSize - VNET_HEADER_SIZE
}

/** After a super-packet: scatter the next reads, guessing its shape. */
export function learnShape(view: DataView, port: Port, frame: Frame): void {
  port.scatterCredit = SCATTER_CREDIT
  const headerSize = headersEnd(view, frame) - frame.at
  if (frame.gsoSize === port.segmentSize && headerSize === port.headerSize) return
  if (headerSize + frame.gsoSize < CONTIGUOUS_MIN) return
  port.headerSize = headerSize
  port.segmentSize = frame.gsoSize
}

/** Writes frames to devices. One for the whole loop. */
export class Delivery {
  private readonly slab: Slab
  private readonly pieces: Int32Array = new Int32Array(
    2 * (1 + Math.max(SCATTER_SLOTS_MAX, COALESCE_FRAMES_MAX)),
  )

  constructor(slab: Slab) {
    this.slab = slab
  }

  /** Hands the frame to the port's device; `frame` has been parsed and needs VNET_HEADER_SIZE
   * bytes of room in front. Returns DROP_NONE or DROP_DEVICE_REFUSED. */
  deliver(frame: Frame, port: Port): number {
    const view = this.slab.view
    const at = frame.at + ETHERNET_HEADER_SIZE - port.linkSize - VNET_HEADER_SIZE
    if (frame.shape === GATHERED && frame.pieceCount > 0) finishMerged(view, frame)
    this.writeOffload(frame, at)
    const headSize = frame.at + frame.headSize - at
    if (frame.shape === WHOLE || (frame.shape === GATHERED && frame.pieceCount === 0)) {
      return port.device.write(at, headSize) === headSize ? DROP_NONE : DROP_DEVICE_REFUSED
    }
    const count = this.listPieces(frame, at, headSize)
    return port.device.writeGather(this.pieces, count) > 0 ? DROP_NONE : DROP_DEVICE_REFUSED
  }

  private writeOffload(frame: Frame, at: number): void {
    const view = this.slab.view
    if (!frame.partial) {
      clearVnet(view, at)
      return
    }
    const linkAt = at + VNET_HEADER_SIZE
    const tcp = frame.protocol === PROTOCOL_TCP
    const headers = frame.gsoType === VNET_GSO_NONE ? 0 : headersEnd(view, frame) - linkAt
    const offset = tcp ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET
    const flag = VNET_FLAG_NEEDS_CHECKSUM
    writeVnet(view, at, flag, frame.gsoType, headers, frame.gsoSize, frame.l4At - linkAt, offset)
  }

  private listPieces(frame: Frame, at: number, headSize: number): number {
    const pieces = this.pieces
    pieces[0] = at
    pieces[1] = headSize
    let count = 1
    if (frame.shape === GATHERED) {
      for (let i = 0; i < frame.pieceCount; i++, count++) {
        pieces[2 * count] = frame.pieces[2 * i]!
        pieces[2 * count + 1] = frame.pieces[2 * i + 1]!
      }
      return count
    }
    let left = frame.size - frame.headSize
    for (let slot = frame.slotAt; left > 0; slot += frame.stride, count++) {
      const size = Math.min(left, frame.slotSize)
      pieces[2 * count] = slot
      pieces[2 * count + 1] = size
      left -= size
    }
    return count
  }
}

/** Writes the lengths and sums of a merged frame, all at once after all merging and rewriting. */
function finishMerged(view: DataView, frame: Frame): void {
  const l4Length = frame.end() - frame.l4At
  let sum: number
  if (frame.family === 4) {
    setIpv4TotalLength(view, frame.l3At, frame.end() - frame.l3At)
    fillIpv4Checksum(view, frame.l3At)
    sum = pseudoSumV4(view, frame.l3At, frame.protocol, l4Length)
  } else {
    setIpv6PayloadLength(view, frame.l3At, frame.end() - frame.l3At - IPV6_HEADER_SIZE)
    sum = pseudoSumV6(view, frame.l3At, frame.protocol, l4Length)
  }
  if (frame.protocol === PROTOCOL_TCP) {
    setTcpChecksum(view, frame.l4At, sum)
  } else {
    setUdpLength(view, frame.l4At, l4Length)
    setUdpChecksum(view, frame.l4At, sum)
  }
}
