// The outgoing half of the overlay: encap > seal > udp-send.
//
//   1. encap     VXLAN header and envelope are written into the headroom in front of each frame, in
//                place.
//   2. seal      AES-GCM in place; the counter is written by the cipher.
//   3. udp-send  Datagrams to one peer are chained into messages (UDP_SEGMENT: all of one size,
//                only the
//                last may be shorter); one sendmmsg call sends what a burst made for all peers.
//
// All of it happens in the arena, the part of the slab where frames are read: whoever reads a frame
// puts it at `frameAt()`, and after send() the arena goes on behind it. Nothing moves until
// flush(), because the kernel has not seen it. A peer's datagrams leave in the order in which they
// were sealed.

import type { UnderlaySocket } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import type { SessionTable } from '../vxlan/contract.ts'
import { finishChecksum } from '../wire/checksum.ts'
import {
  ENVELOPE_HEADER_SIZE,
  ENVELOPE_TAG_SIZE,
  ENVELOPE_TRANSPORT,
  writeEnvelope,
} from '../wire/envelope.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import {
  VXLAN_HEADER_SIZE,
  VXLAN_INNER_CHECKSUM_PARTIAL,
  VXLAN_INNER_CONTINUES,
  writeVxlan,
} from '../wire/vxlan.ts'
import { type Counters, ENGINE_CELLS, TX_BYTES, TX_PACKETS } from './counters.ts'
import {
  DROP_BAD_HEADER,
  DROP_NO_ENDPOINT,
  DROP_NO_SESSION,
  DROP_NONE,
  DROP_SEAL_FAILED,
  DROP_TOO_BIG,
} from './drop-reasons.ts'
import {
  ARENA_BURST,
  ARENA_SIZE,
  HEADROOM,
  MESSAGE_SEGMENTS_MAX,
  MESSAGE_SIZE_MAX,
  PEERS_MAX,
} from './engine-limits.ts'
import { checksumFieldAt, type Frame, SCATTERED, WHOLE } from './frame.ts'
import type { Peers } from './peers.ts'
import { Splitter } from './split.ts'

/** Bytes of an encrypted datagram besides the frame. */
export const ENCRYPTED_OVERHEAD: number =
  ENVELOPE_HEADER_SIZE + VXLAN_HEADER_SIZE + ENVELOPE_TAG_SIZE

/** What send() returns when the frame was taken over by the staging area: no drop, nothing sent
 * yet. */
export const STAGED: number = -1

export class Transmitter {
  /** Next free offset of the arena. */
  private at: number
  private readonly start: number
  private readonly end: number
  private readonly splitter: Splitter = new Splitter()
  private readonly slab: Slab
  private readonly socket: UnderlaySocket
  private readonly sessions: SessionTable
  private readonly peers: Peers
  private readonly cells: Float64Array

  /** Peers that got a datagram since the last flush. */
  private readonly touched: Int32Array = new Int32Array(PEERS_MAX)
  private touchedCount = 0
  /** Rises at each flush: tells whether a peer's open message is of this burst. */
  private generation = 1
  private messages = 0

  constructor(
    slab: Slab,
    arenaStart: number,
    socket: UnderlaySocket,
    sessions: SessionTable,
    peers: Peers,
    counters: Counters,
  ) {
    this.slab = slab
    this.start = arenaStart
    this.end = arenaStart + ARENA_SIZE
    this.at = arenaStart
    this.socket = socket
    this.sessions = sessions
    this.peers = peers
    this.cells = counters.cells
  }

  /** Where the next frame is to be read: its Ethernet header. HEADROOM bytes before it are free. */
  frameAt(): number {
    return this.at + HEADROOM
  }

  /** True when the burst has grown large enough to be sent before more is read. */
  full(): boolean {
    return this.at - this.start > ARENA_BURST
  }

  /** Keeps [.., end) until the next flush: for frames that send() does not see. */
  claim(end: number): void {
    if (end > this.at) this.at = end
  }

  /** Sends a frame that lies at frameAt(), or anywhere before it with HEADROOM in front. Returns
   * DROP_NONE or a reason; after DROP_TOO_BIG the frame is untouched. */
  send(frame: Frame, peer: number, vni: number, encrypted: boolean, nowMs: number): number {
    const packet = frame.isGso() ? this.segmentPacketSize(frame) : frame.size - ETHERNET_HEADER_SIZE
    if (packet < 0) return DROP_BAD_HEADER
    const session = encrypted ? this.peers.session[peer]! : -1
    if (encrypted) {
      if (session < 0) return DROP_NO_SESSION
      if (packet > this.peers.packetMax[peer]!) return DROP_TOO_BIG
      if (this.sessions.sealerOf(session) === null) {
        // Without an address there is nobody to call: staging would wait for nothing.
        if (!this.sessions.canCall(session)) return DROP_NO_ENDPOINT
        // The handshake message must not be written where the frame lies.
        this.claim(frame.end())
        this.sessions.wantSession(session, nowMs)
        return STAGED
      }
    } else if (this.peers.endpoint[peer]! < 0) {
      return DROP_NO_ENDPOINT
    }
    if (frame.isGso()) return this.sendSegments(frame, peer, session, vni)
    if (!encrypted && frame.partial) {
      finishChecksum(this.slab.view, frame.l4At, frame.end(), checksumFieldAt(frame))
    }
    return this.sendOne(frame.at, frame.size, frame.partial, peer, session, vni)
  }

  /** IP packet size of the frame's largest segment. */
  private segmentPacketSize(frame: Frame): number {
    const splitter = this.splitter
    if (!splitter.measure(this.slab.view, frame)) return -1
    return splitter.headerSize + splitter.payloadSize - ETHERNET_HEADER_SIZE
  }

  private sendSegments(frame: Frame, peer: number, session: number, vni: number): number {
    const { bytes, view } = this.slab
    const splitter = this.splitter
    splitter.begin(view, frame)
    const inPlace =
      frame.shape === SCATTERED &&
      frame.slotSize === splitter.payloadSize &&
      frame.headSize === splitter.headerSize + splitter.payloadSize &&
      frame.slotAt === frame.at + frame.stride + splitter.headerSize
    let first = frame.at
    let stride = frame.stride
    if (!inPlace) {
      linearize(bytes, frame)
      stride = HEADROOM + splitter.headerSize + splitter.payloadSize + ENVELOPE_TAG_SIZE
      first = Math.max(this.frameAt(), frame.end() + HEADROOM)
      // The device was told how many segments to ask for; who writes to it past the kernel may ask
      // for more.
      if (first + splitter.count * stride > this.end) return DROP_BAD_HEADER
      splitter.copyPayloads(bytes, frame.at, first, stride)
    }
    for (let i = splitter.count - 1; i >= 0; i--) {
      splitter.header(bytes, view, frame.at, first + i * stride, i)
    }
    if (session >= 0) return this.sendRun(first, stride, peer, session, vni)
    const l4 = frame.l4At - frame.at
    const field = checksumFieldAt(frame) - frame.at
    for (let i = 0; i < splitter.count; i++) {
      const at = first + i * stride
      const size = splitter.segmentSize(i)
      finishChecksum(view, at + l4, at + size, at + field)
      this.sendOne(at, size, true, peer, session, vni)
    }
    return DROP_NONE
  }

  /** Encap and seal of all segments of the super-packet in the splitter, the first at `first`;
   * they lie without gaps and leave as one message. */
  private sendRun(
    first: number,
    stride: number,
    peer: number,
    session: number,
    vni: number,
  ): number {
    const view = this.slab.view
    const splitter = this.splitter
    const sealer = this.sessions.sealerOf(session)
    if (sealer === null) return DROP_NO_SESSION
    const index = this.sessions.receiverIndexOf(session)
    let flags = VXLAN_INNER_CHECKSUM_PARTIAL
    for (let i = 0; i < splitter.count; i++) {
      const at = first + i * stride
      writeVxlan(view, at - VXLAN_HEADER_SIZE, vni, flags)
      writeEnvelope(view, at - HEADROOM, ENVELOPE_TRANSPORT, index)
      if (sealer.seal(at - HEADROOM + 8, VXLAN_HEADER_SIZE + splitter.segmentSize(i)) < 0) {
        return DROP_SEAL_FAILED
      }
      flags = VXLAN_INNER_CHECKSUM_PARTIAL | VXLAN_INNER_CONTINUES
    }
    this.peers.burstFrames[peer] = this.peers.burstFrames[peer]! + splitter.count
    const last = ENCRYPTED_OVERHEAD + splitter.segmentSize(splitter.count - 1)
    const endpoint = this.sessions.endpointOf(session)
    this.chainRun(peer, endpoint, first - HEADROOM, splitter.count, stride, last)
    return DROP_NONE
  }

  /** Encap, seal and chain one frame that fits one datagram. session < 0: a plain network. */
  private sendOne(
    at: number,
    size: number,
    partial: boolean,
    peer: number,
    session: number,
    vni: number,
  ): number {
    const view = this.slab.view
    const vxlanAt = at - VXLAN_HEADER_SIZE
    if (session < 0) {
      writeVxlan(view, vxlanAt, vni, 0)
      return this.chain(peer, this.peers.endpoint[peer]!, vxlanAt, VXLAN_HEADER_SIZE + size)
    }
    writeVxlan(view, vxlanAt, vni, partial ? VXLAN_INNER_CHECKSUM_PARTIAL : 0)
    // Control messages do not count: the session's timers tell silence from idleness by frames.
    this.peers.burstFrames[peer] = this.peers.burstFrames[peer]! + 1
    return this.seal(peer, session, vxlanAt, VXLAN_HEADER_SIZE + size)
  }

  /** Seals [at, at + size), with room for the envelope before and the tag behind, and chains it. */
  private seal(peer: number, session: number, at: number, size: number): number {
    const sealer = this.sessions.sealerOf(session)
    if (sealer === null) return DROP_NO_SESSION
    const datagram = at - ENVELOPE_HEADER_SIZE
    const index = this.sessions.receiverIndexOf(session)
    writeEnvelope(this.slab.view, datagram, ENVELOPE_TRANSPORT, index)
    if (sealer.seal(at - 8, size) < 0) return DROP_SEAL_FAILED
    const whole = ENVELOPE_HEADER_SIZE + size + ENVELOPE_TAG_SIZE
    return this.chain(peer, this.sessions.endpointOf(session), datagram, whole)
  }

  /** Seals and chains a control message: payload of `size` bytes at frameAt() -
   * VXLAN_HEADER_SIZE, where a frame's VXLAN header would be. */
  sendControl(peer: number, size: number): number {
    const session = this.peers.session[peer]!
    if (session < 0) return DROP_NO_SESSION
    return this.seal(peer, session, this.frameAt() - VXLAN_HEADER_SIZE, size)
  }

  /** Sends a datagram that needs no seal and is not chained: a handshake message, copied to the
   * arena. */
  sendBare(endpoint: number, message: Uint8Array, nowMs: number): void {
    // A timer may call all peers at once. No frame is lost: one that is in hand now lies far behind
    // `start`.
    if (this.full()) this.flush(nowMs)
    const at = this.frameAt()
    this.slab.bytes.set(message, at)
    const number = this.begin(endpoint)
    this.socket.sending.append(number, at, message.length)
    this.at = at + message.length
  }

  /** Sends a datagram on as it came: [at, at + size) of the slab, copied to the arena. */
  sendOn(endpoint: number, from: number, size: number, nowMs: number): void {
    if (this.full()) this.flush(nowMs)
    const at = this.frameAt()
    this.slab.bytes.copyWithin(at, from, from + size)
    const number = this.begin(endpoint)
    this.socket.sending.append(number, at, size)
    this.at = at + size
  }

  /** Adds a datagram to the peer's open message, or begins one. */
  private chain(peer: number, endpoint: number, at: number, size: number): number {
    const sending = this.socket.sending
    const peers = this.peers
    this.touch(peer, 1, size)
    let message = peers.openMessage[peer]!
    const segment = peers.openSegment[peer]!
    if (message < 0 || size > segment || !sending.append(message, at, size)) {
      message = this.begin(endpoint)
      sending.append(message, at, size)
      peers.openMessage[peer] = message
      peers.openSegment[peer] = size
      peers.openCount[peer] = 1
    } else {
      if (peers.openCount[peer] === 1) sending.segment(message, segment)
      peers.openCount[peer] = peers.openCount[peer]! + 1
      // Only the last datagram of a message may be shorter than the others.
      if (size < segment) peers.openMessage[peer] = -1
    }
    this.at = Math.max(this.at, at + size)
    return DROP_NONE
  }

  /** Sends `count` datagrams that follow one another at `at`, all of `size` bytes but the last. */
  private chainRun(
    peer: number,
    endpoint: number,
    at: number,
    count: number,
    size: number,
    lastSize: number,
  ): void {
    const total = (count - 1) * size + lastSize
    if (count === 1 || count > MESSAGE_SEGMENTS_MAX || total > MESSAGE_SIZE_MAX) {
      for (let i = 0; i < count; i++) {
        this.chain(peer, endpoint, at + i * size, i === count - 1 ? lastSize : size)
      }
      return
    }
    const peers = this.peers
    this.touch(peer, count, total)
    const message = this.begin(endpoint)
    this.socket.sending.segment(message, size)
    this.socket.sending.append(message, at, total)
    peers.openMessage[peer] = lastSize === size ? message : -1
    peers.openSegment[peer] = size
    peers.openCount[peer] = count
    this.at = Math.max(this.at, at + total)
  }

  /** Counts datagrams for a peer; its open message is void if it is of an earlier burst. */
  private touch(peer: number, datagrams: number, bytes: number): void {
    const peers = this.peers
    if (peers.generation[peer] !== this.generation) {
      peers.generation[peer] = this.generation
      peers.openMessage[peer] = -1
    }
    if (peers.burstDatagrams[peer] === 0) this.touched[this.touchedCount++] = peer
    peers.burstDatagrams[peer] = peers.burstDatagrams[peer]! + datagrams
    const row = peers.row[peer]!
    this.cells[row + TX_PACKETS]! += datagrams
    this.cells[row + TX_BYTES]! += bytes
  }

  /** Begins a message, sending what there is when the batch is full. */
  private begin(endpoint: number): number {
    this.messages++
    const message = this.socket.sending.begin(endpoint)
    if (message >= 0) return message
    this.flushMessages()
    this.messages++
    return this.socket.sending.begin(endpoint)
  }

  /** Sends the burst and starts the arena over, at `from`: what lies before it, a frame still in
   * hand, stays. That comes first, because a session that is told of its datagrams may answer
   * with a handshake message, which goes out with the next flush. */
  flush(nowMs: number, from: number = this.start): void {
    this.flushMessages()
    this.at = Math.max(this.start, from)
    for (let i = 0; i < this.touchedCount; i++) {
      const peer = this.touched[i]!
      const session = this.peers.session[peer]!
      const datagrams = this.peers.burstDatagrams[peer]!
      const data = this.peers.burstFrames[peer]! > 0
      this.peers.burstDatagrams[peer] = 0
      this.peers.burstFrames[peer] = 0
      if (session >= 0) this.sessions.onSealed(session, datagrams, data, nowMs)
    }
    this.touchedCount = 0
  }

  /** flush() after a probe: the errno with which the kernel refused it, 0 = it went out. */
  flushProbe(nowMs: number): number {
    const before = this.cells[ENGINE_CELLS.socketRefused]!
    this.flush(nowMs)
    const refused = this.cells[ENGINE_CELLS.socketRefused]! > before
    return refused ? this.socket.sending.lastError : 0
  }

  private flushMessages(): void {
    if (this.messages > 0) {
      this.messages = 0
      const refused = this.socket.sending.flush()
      this.cells[ENGINE_CELLS.socketRefused]! += refused
    }
    this.generation++
  }
}

/** Moves a scattered frame's slots together, so that it lies in one piece. A frame that is not a
 * super-packet is scattered when the guess of its shape was wrong (ports.ts). */
export function linearize(bytes: Uint8Array, frame: Frame): void {
  if (frame.shape !== SCATTERED) return
  let to = frame.at + frame.headSize
  const end = frame.end()
  for (let from = frame.slotAt; to < end; from += frame.stride) {
    const size = Math.min(frame.slotSize, end - to)
    bytes.copyWithin(to, from, from + size)
    to += size
  }
  frame.shape = WHOLE
  frame.headSize = frame.size
}
