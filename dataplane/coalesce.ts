// Merging of datagrams into super-packets (GRO in user space), the mirror of split.ts.
//
// One call of recvmmsg brings up to a few hundred frames, most of them consecutive segments of a
// few flows. Writing each to its TAP would cost one system call and one trip through the guest's
// stack apiece; a super-packet costs one for up to 64 KB. Nothing is copied: an item is its first
// frame plus the ranges of the payloads that follow it, and the device gathers them. Nothing is
// held back either: the window is exactly the batch, so merging adds no delay and needs no timer.
//
// What may merge follows Linux GRO (net/ipv4/tcp_offload.c, udp_offload.c): same network, MACs,
// addresses, ports; IPv4 without options or fragments, same TOS, DF and TTL; IPv6 without extension
// headers, same first word and hop limit; TCP with equal header length, options, acknowledgement
// and window, flags ACK or ACK|PSH, payload following on directly; UDP with payload of the same
// size. A shorter payload or PSH closes an item. A frame is only ever tried on the newest item of
// its flow, and a frame that cannot merge closes its flow's item: a flow is never reordered.

import {
  ETHERNET_HEADER_SIZE,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethernetType,
} from '../wire/ethernet.ts'
import { IPV4_HEADER_SIZE, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts'
import { IPV6_HEADER_SIZE } from '../wire/ipv6.ts'
import {
  setTcpFlags,
  TCP_ACK,
  TCP_HEADER_SIZE,
  TCP_PSH,
  tcpFlags,
  tcpHeaderSize,
  tcpSequence,
} from '../wire/tcp.ts'
import { UDP_HEADER_SIZE } from '../wire/udp.ts'
import { COALESCE_FRAMES_MAX, COALESCE_ITEMS_MAX } from './engine-limits.ts'

/** IP packets longer than this are not made: total length has 16 bits. */
const IP_PACKET_MAX = 65535

export class Coalescer {
  /** Items in order of their first frame. */
  count = 0
  readonly at: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  /** Length of the first frame, and of headers plus all payloads. */
  readonly firstSize: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  readonly size: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  /** Frames merged, at least 1. */
  readonly frames: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  /** Payload size of all frames but the last. */
  readonly gsoSize: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  readonly headerSize: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  /** Caller's words: which network and which peer it came from, and whether its checksum is
   * partial. */
  readonly network: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  readonly peer: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  readonly partial: Uint8Array = new Uint8Array(COALESCE_ITEMS_MAX)
  /** Later payloads of item i: pieceAt[i * COALESCE_FRAMES_MAX + k], k < frames[i] - 1. */
  readonly pieceAt: Int32Array = new Int32Array(COALESCE_ITEMS_MAX * COALESCE_FRAMES_MAX)
  readonly pieceSize: Int32Array = new Int32Array(COALESCE_ITEMS_MAX * COALESCE_FRAMES_MAX)

  private readonly hash: Int32Array = new Int32Array(COALESCE_ITEMS_MAX)
  private readonly nextSequence: Uint32Array = new Uint32Array(COALESCE_ITEMS_MAX)
  /** Where an item's TCP header lies from its frame's start; 0 for UDP. */
  private readonly tcpOffset: Uint8Array = new Uint8Array(COALESCE_ITEMS_MAX)
  /** Item that the frame added last is in, -1 = none that could grow. */
  private last = -1
  private readonly open: Uint8Array = new Uint8Array(COALESCE_ITEMS_MAX)
  private readonly view: DataView

  /** Candidates in the window: while there are none, a frame that cannot merge has nothing to
   * close. */
  private candidates = 0

  // What measure() found in the frame at hand; hash 0: no flow that could have an item.
  private protocol = 0
  private family = 0
  private frameHeaderSize = 0
  private frameHash = 0

  constructor(view: DataView) {
    this.view = view
  }

  clear(): void {
    this.count = 0
    this.last = -1
    this.candidates = 0
  }

  /** Adds the frame [at, at + size), merging it where it may. `mergeUdp`: the device takes UDP
   * super-packets. False when there is no room for another item: flush, clear, add again. */
  add(
    at: number,
    size: number,
    network: number,
    peer: number,
    partial: boolean,
    mergeUdp: boolean,
  ): boolean {
    const candidate = this.measure(at, size, mergeUdp) && partial
    if (candidate) {
      for (let i = this.count - 1; i >= 0; i--) {
        if (this.hash[i] !== this.frameHash) continue
        if (this.network[i] !== network || this.peer[i] !== peer) continue
        // Equal hash: the flow's newest item, or (once in 2^31) another's. Older ones are out of
        // bounds.
        if (this.open[i] === 1 && this.agrees(this.at[i]!, at) && this.append(i, at, size)) {
          this.last = i
          return true
        }
        break
      }
    } else if (this.candidates > 0 && this.frameHash !== 0) {
      this.closeFlow()
    }
    if (this.count === COALESCE_ITEMS_MAX) return false
    this.start(at, size, network, peer, partial, candidate)
    this.last = candidate ? this.count - 1 : -1
    return true
  }

  /** Adds a frame that its sender cut from the same super-packet as the one added last, directly
   * behind it (VXLAN_INNER_CONTINUES): their headers are equal where add() would compare them.
   * False when it does not fit after all; then add() decides. */
  extend(at: number, size: number, network: number, peer: number): boolean {
    const i = this.last
    if (i < 0 || this.open[i] === 0) return false
    if (this.network[i] !== network || this.peer[i] !== peer) return false
    return size > this.headerSize[i]! && this.append(i, at, size)
  }

  /** Closes the newest item with the hash of the frame at hand, which must not be overtaken. An
   * item of another flow with this hash merely stops growing. */
  private closeFlow(): void {
    for (let i = this.count - 1; i >= 0; i--) {
      if (this.hash[i] !== this.frameHash) continue
      this.open[i] = 0
      return
    }
  }

  private start(
    at: number,
    size: number,
    network: number,
    peer: number,
    partial: boolean,
    candidate: boolean,
  ): void {
    const i = this.count++
    this.at[i] = at
    this.firstSize[i] = size
    this.size[i] = size
    this.frames[i] = 1
    this.network[i] = network
    this.peer[i] = peer
    this.partial[i] = partial ? 1 : 0
    this.open[i] = candidate ? 1 : 0
    this.hash[i] = candidate ? this.frameHash : 0
    if (!candidate) return
    this.candidates++
    const payload = size - this.frameHeaderSize
    this.headerSize[i] = this.frameHeaderSize
    this.gsoSize[i] = payload
    this.tcpOffset[i] = this.protocol === PROTOCOL_TCP ? this.l4Offset() : 0
    if (this.protocol === PROTOCOL_TCP) {
      const l4At = at + this.l4Offset()
      this.nextSequence[i] = tcpSequence(this.view, l4At) + payload
      if ((tcpFlags(this.view, l4At) & TCP_PSH) !== 0) this.open[i] = 0
    }
  }

  /** Appends a frame of the same flow to item i. False when sequence, size or room forbid it. */
  private append(i: number, at: number, size: number): boolean {
    const headerSize = this.headerSize[i]!
    const payload = size - headerSize
    const frames = this.frames[i]!
    if (payload > this.gsoSize[i]! || frames === COALESCE_FRAMES_MAX) return false
    if (this.size[i]! + payload - ETHERNET_HEADER_SIZE > IP_PACKET_MAX) return false
    const tcpOffset = this.tcpOffset[i]!
    if (tcpOffset > 0) {
      const l4At = at + tcpOffset
      if (tcpSequence(this.view, l4At) !== this.nextSequence[i]) return false
      const flags = tcpFlags(this.view, l4At)
      if ((flags & ~TCP_PSH) !== TCP_ACK) return false
      this.nextSequence[i] = this.nextSequence[i]! + payload
      if ((flags & TCP_PSH) !== 0) {
        setTcpFlags(this.view, this.at[i]! + tcpOffset, TCP_ACK | TCP_PSH)
        this.open[i] = 0
      }
    }
    if (payload < this.gsoSize[i]!) this.open[i] = 0
    const piece = i * COALESCE_FRAMES_MAX + frames - 1
    this.pieceAt[piece] = at + headerSize
    this.pieceSize[piece] = payload
    this.frames[i] = frames + 1
    this.size[i] = this.size[i]! + payload
    return true
  }

  private l4Offset(): number {
    return ETHERNET_HEADER_SIZE + (this.family === 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE)
  }

  /** Whether the frame's headers let it merge; sets protocol, family, header size and flow hash,
   * the latter also for a TCP segment that only its flags or want of payload keep apart. */
  private measure(at: number, size: number, mergeUdp: boolean): boolean {
    const view = this.view
    const ip = at + ETHERNET_HEADER_SIZE
    const type = size > ETHERNET_HEADER_SIZE + IPV4_HEADER_SIZE ? ethernetType(view, at) : 0
    let hash: number
    this.frameHash = 0
    if (type === ETHERTYPE_IPV4) {
      this.family = 4
      // Version 4, five words; whole packet in the frame; neither MF nor an offset.
      if (view.getUint8(ip) !== 0x45) return false
      if (view.getUint16(ip + 2) !== size - ETHERNET_HEADER_SIZE) return false
      if ((view.getUint16(ip + 6) & 0x3fff) !== 0) return false
      this.protocol = view.getUint8(ip + 9)
      hash = view.getInt32(ip + 12) ^ Math.imul(view.getInt32(ip + 16), 0x9e3779b1)
    } else if (type === ETHERTYPE_IPV6) {
      this.family = 6
      if (view.getUint8(ip) >>> 4 !== 6) return false
      if (view.getUint16(ip + 4) !== size - ETHERNET_HEADER_SIZE - IPV6_HEADER_SIZE) return false
      this.protocol = view.getUint8(ip + 6)
      hash = view.getInt32(ip + 20) ^ Math.imul(view.getInt32(ip + 36), 0x9e3779b1)
    } else {
      return false
    }
    const l4 = at + this.l4Offset()
    if (this.protocol === PROTOCOL_TCP) {
      if (size < this.l4Offset() + TCP_HEADER_SIZE) return false
      const tcpSize = tcpHeaderSize(view, l4)
      this.frameHeaderSize = this.l4Offset() + tcpSize
      this.frameHash = (hash ^ Math.imul(view.getInt32(l4), 0x85ebca6b)) | 1
      if (tcpSize < TCP_HEADER_SIZE || (tcpFlags(view, l4) & ~TCP_PSH) !== TCP_ACK) return false
    } else if (this.protocol === PROTOCOL_UDP && mergeUdp) {
      this.frameHeaderSize = this.l4Offset() + UDP_HEADER_SIZE
      if (size < this.frameHeaderSize) return false
      this.frameHash = (hash ^ Math.imul(view.getInt32(l4), 0x85ebca6b)) | 1
      if (view.getUint16(l4 + 4) !== size - this.l4Offset()) return false
    } else {
      return false
    }
    return size > this.frameHeaderSize
  }

  /** Whether two candidates belong to one flow and their headers agree where they must. */
  private agrees(a: number, b: number): boolean {
    const view = this.view
    // Both MAC addresses: three words.
    if (view.getInt32(a) !== view.getInt32(b)) return false
    if (view.getInt32(a + 4) !== view.getInt32(b + 4)) return false
    if (view.getInt32(a + 8) !== view.getInt32(b + 8)) return false
    if (view.getUint16(a + 12) !== view.getUint16(b + 12)) return false
    const ipA = a + ETHERNET_HEADER_SIZE
    const ipB = b + ETHERNET_HEADER_SIZE
    if (this.family === 4) {
      if (view.getUint16(ipA) !== view.getUint16(ipB)) return false
      if (((view.getUint16(ipA + 6) ^ view.getUint16(ipB + 6)) & 0xe000) !== 0) return false
      if (view.getUint16(ipA + 8) !== view.getUint16(ipB + 8)) return false
      if (view.getInt32(ipA + 12) !== view.getInt32(ipB + 12)) return false
      if (view.getInt32(ipA + 16) !== view.getInt32(ipB + 16)) return false
    } else {
      if (view.getInt32(ipA) !== view.getInt32(ipB)) return false
      if (view.getUint16(ipA + 6) !== view.getUint16(ipB + 6)) return false
      for (let k = 8; k < IPV6_HEADER_SIZE; k += 4) {
        if (view.getInt32(ipA + k) !== view.getInt32(ipB + k)) return false
      }
    }
    const l4A = a + this.l4Offset()
    const l4B = b + this.l4Offset()
    if (view.getInt32(l4A) !== view.getInt32(l4B)) return false
    if (this.protocol !== PROTOCOL_TCP) return true
    if (view.getInt32(l4A + 8) !== view.getInt32(l4B + 8)) return false
    // Header size, flags but for PSH, window: a window that moves must reach its receiver.
    if (((view.getInt32(l4A + 12) ^ view.getInt32(l4B + 12)) & ~(TCP_PSH << 16)) !== 0) return false
    for (let k = TCP_HEADER_SIZE; k < this.frameHeaderSize - this.l4Offset(); k += 4) {
      if (view.getInt32(l4A + k) !== view.getInt32(l4B + k)) return false
    }
    return true
  }
}
