// Segmentation of super-packets (GSO in user space), the mirror of coalesce.ts.
//
// A TAP with TSO hands over one frame of up to 64 KB whose virtio-net header says: cut the payload
// into pieces of gsoSize. Each piece gets a copy of the headers with
//
//   IPv4   identification + i, total length, header checksum; IPv6: payload length
//   TCP    sequence + i * gsoSize; FIN and PSH only on the last, CWR only on the first
//          (RFC 3168 section 6.1.2; Linux net/ipv4/tcp_offload.c)
//   UDP    length
//   L4 checksum: the folded pseudo-header sum of the segment ("partial"), or a complete one
//
// measure() and begin() read the headers once; header() writes those of one segment wherever it is
// to be sent from. The payload is not looked at: on the fast path it already lies behind the place
// where header() writes. Segments must be written from the last to the first when segment 0 is the
// template itself.

import { pseudoSumV4, pseudoSumV6, sumBytes } from '../wire/checksum.ts'
import {
  ipv4HeaderSize,
  ipv4Identification,
  PROTOCOL_TCP,
  setIpv4Checksum,
  setIpv4Identification,
  setIpv4TotalLength,
} from '../wire/ipv4.ts'
import { IPV6_HEADER_SIZE, setIpv6PayloadLength } from '../wire/ipv6.ts'
import {
  setTcpChecksum,
  setTcpFlags,
  setTcpSequence,
  TCP_CWR,
  TCP_FIN,
  TCP_PSH,
  tcpFlags,
  tcpSequence,
} from '../wire/tcp.ts'
import { setUdpChecksum, setUdpLength } from '../wire/udp.ts'
import { type Frame, headersEnd } from './frame.ts'

export class Splitter {
  /** Bytes of Ethernet, IP and L4 header together: what header() writes. */
  headerSize = 0
  /** Segments that the frame makes, at least 1. */
  count = 0
  /** Payload bytes of every segment but the last, and of the last. */
  payloadSize = 0
  lastPayloadSize = 0

  private family = 0
  private tcp = false
  private l3 = 0
  private l4 = 0
  private identification = 0
  private sequence = 0
  private flags = 0
  private headerSum = 0
  private pseudoSum = 0

  /** Sizes of the segments of a frame that parseFrame() accepted; changes nothing. False when the
   * virtio-net header contradicts the packet. */
  measure(view: DataView, frame: Frame): boolean {
    this.l4 = frame.l4At - frame.at
    this.headerSize = headersEnd(view, frame) - frame.at
    const payload = frame.size - this.headerSize
    if (payload <= 0 || this.headerSize > frame.headSize) return false
    this.payloadSize = frame.gsoSize > 0 && frame.gsoSize < payload ? frame.gsoSize : payload
    this.count = Math.ceil(payload / this.payloadSize)
    this.lastPayloadSize = payload - (this.count - 1) * this.payloadSize
    return true
  }

  /** After measure(): reads what header() needs from the template, and clears its length fields. */
  begin(view: DataView, frame: Frame): void {
    this.tcp = frame.protocol === PROTOCOL_TCP
    this.family = frame.family
    this.l3 = frame.l3At - frame.at
    if (this.tcp) {
      this.sequence = tcpSequence(view, frame.l4At)
      this.flags = tcpFlags(view, frame.l4At)
    }
    this.readNetworkHeader(view, frame)
  }

  /** Length of segment i, headers included. */
  segmentSize(i: number): number {
    return this.headerSize + (i === this.count - 1 ? this.lastPayloadSize : this.payloadSize)
  }

  /** Writes the headers of segment i at `at`, copying the template at `from` (which may be
   * `at`). The L4 checksum field gets the folded pseudo-header sum. */
  header(bytes: Uint8Array, view: DataView, from: number, at: number, i: number): void {
    if (at !== from) bytes.copyWithin(at, from, from + this.headerSize)
    const last = i === this.count - 1
    const l4Length = this.headerSize - this.l4 + (last ? this.lastPayloadSize : this.payloadSize)
    const l3At = at + this.l3
    const l4At = at + this.l4
    if (this.family === 4) {
      const total = this.l4 - this.l3 + l4Length
      const identification = (this.identification + i) & 0xffff
      setIpv4TotalLength(view, l3At, total)
      setIpv4Identification(view, l3At, identification)
      setIpv4Checksum(view, l3At, ~foldSum(this.headerSum + total + identification) & 0xffff)
    } else {
      setIpv6PayloadLength(view, l3At, this.l4 - this.l3 - IPV6_HEADER_SIZE + l4Length)
    }
    const partial = foldSum(this.pseudoSum + l4Length)
    if (this.tcp) {
      setTcpSequence(view, l4At, (this.sequence + i * this.payloadSize) >>> 0)
      const cleared = (last ? 0 : TCP_FIN | TCP_PSH) | (i > 0 ? TCP_CWR : 0)
      setTcpFlags(view, l4At, this.flags & ~cleared)
      setTcpChecksum(view, l4At, partial)
    } else {
      setUdpLength(view, l4At, l4Length)
      setUdpChecksum(view, l4At, partial)
    }
  }

  /** Copies the payload of every segment of a frame that lies whole at `from` to where it
   * belongs when segment i begins at first + i * stride. */
  copyPayloads(bytes: Uint8Array, from: number, first: number, stride: number): void {
    let source = from + this.headerSize
    for (let i = 0; i < this.count; i++) {
      const size = i === this.count - 1 ? this.lastPayloadSize : this.payloadSize
      bytes.copyWithin(first + i * stride + this.headerSize, source, source + size)
      source += size
    }
  }

  /** Sums of what all segments share; header() adds what each has of its own. */
  private readNetworkHeader(view: DataView, frame: Frame): void {
    const at = frame.l3At
    if (frame.family === 4) {
      this.identification = ipv4Identification(view, at)
      setIpv4TotalLength(view, at, 0)
      setIpv4Identification(view, at, 0)
      setIpv4Checksum(view, at, 0)
      this.headerSum = sumBytes(view, at, at + ipv4HeaderSize(view, at), 0)
      this.pseudoSum = pseudoSumV4(view, at, frame.protocol, 0)
    } else {
      this.pseudoSum = pseudoSumV6(view, at, frame.protocol, 0)
    }
  }
}

/** Folds a sum of up to a few 16-bit words to 16 bits. */
function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16)
  return (once & 0xffff) + (once >>> 16)
}
