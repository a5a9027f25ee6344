// The incoming half of the overlay: udp-recv > open > decap, then merging, then the forwarder.
//
//   1. udp-recv  One recvmmsg brings several messages; UDP_GRO has put consecutive datagrams of one
//                sender
//                into one message, all of one size but the last.
//   2. open      Receiver index -> key; replay window; AES-GCM in place; window again, now for
//                good.
//   3. decap     VXLAN header -> network. The frame stays where it is.
//   4. merging   Frames of one flow become a super-packet (coalesce.ts).
//   5. The forwarder gets each item once.
//
// A datagram whose first byte has the VXLAN I bit (0x08) is RFC 7348 in the clear: accepted only
// from the address of a peer in the tables, for a network that is plain. Everything else that is
// not ours is counted and forgotten.

import type { UnderlaySocket } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import { EXPECT_MAX } from '../ipvs-emulator/limits.ts'
import type { SessionTable } from '../vxlan/contract.ts'
import {
  CONTROL_PROBE,
  CONTROL_PROBE_ACK,
  controlKind,
  controlSize,
  isControl,
  isWholeProbe,
} from '../vxlan/control.ts'
import { checksumHolds, pseudoSumV4, pseudoSumV6 } from '../wire/checksum.ts'
import {
  checkEnvelopeTransport,
  checkEnvelopeType,
  ENVELOPE_COOKIE,
  ENVELOPE_HEADER_SIZE,
  ENVELOPE_INITIATION,
  ENVELOPE_RESPONSE,
  ENVELOPE_TAG_SIZE,
  ENVELOPE_TRANSPORT,
  envelopeCounter,
  envelopeCounterAt,
  envelopeReceiverIndex,
  envelopeType,
  isPlainVxlan,
} from '../wire/envelope.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts'
import { setTcpChecksum } from '../wire/tcp.ts'
import { setUdpChecksum, udpChecksum } from '../wire/udp.ts'
import { VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } from '../wire/vnet.ts'
import {
  checkVxlan,
  VXLAN_HEADER_SIZE,
  VXLAN_INNER_CHECKSUM_PARTIAL,
  VXLAN_INNER_CONTINUES,
  vxlanInnerFlags,
  vxlanVni,
} from '../wire/vxlan.ts'
import type { Balance } from './balance.ts'
import { Coalescer } from './coalesce.ts'
import { type Counters, ENGINE_CELLS, RX_BYTES, RX_PACKETS } from './counters.ts'
import {
  DROP_BAD_TAG,
  DROP_HANDSHAKE_REFUSED,
  DROP_NONE,
  DROP_NOT_OURS,
  DROP_PLAINTEXT,
  DROP_REPLAYED,
  DROP_TRUNCATED,
  DROP_UNKNOWN_PEER,
  DROP_UNKNOWN_RECEIVER,
  DROP_UNKNOWN_VNI,
} from './drop-reasons.ts'
import { ANNOUNCE_FRAMES_MIN, COALESCE_FRAMES_MAX, SOCKET_READS_MAX } from './engine-limits.ts'
import type { Forwarder } from './forwarder.ts'
import { FAMILY_ARP, Frame, GATHERED, LATER_FRAGMENT, NOT_A_FRAGMENT, parseFrame } from './frame.ts'
import type { Relay } from './relay.ts'
import type { NetworkState, Topology } from './topology.ts'

/** What the receiver asks of the engine for sealed control messages. */
export interface ControlHandler {
  /** A probe of `size` bytes arrived whole: acknowledge it. */
  probeReceived(peer: number, size: number, nowMs: number): void
  probeAcknowledged(peer: number, size: number, nowMs: number): void
}

export interface ReceiverParts {
  readonly slab: Slab
  readonly socket: UnderlaySocket
  readonly sessions: SessionTable
  readonly topology: Topology
  readonly forwarder: Forwarder
  readonly balance: Balance
  readonly counters: Counters
  readonly control: ControlHandler
  readonly relay: Relay
  /** Engine's peer number of a session number. */
  readonly peerOfSession: Int32Array
}

export class Receiver {
  /** True when local devices take UDP super-packets (USO, Linux 6.2). */
  mergeUdp = false
  /** Peers whose address the tables name: 16 bytes of it each, and their peer numbers. */
  plainAddresses: Uint8Array[] = []
  plainPeers: number[] = []

  private readonly slab: Slab
  private readonly socket: UnderlaySocket
  private readonly sessions: SessionTable
  private readonly topology: Topology
  private readonly forwarder: Forwarder
  private readonly balance: Balance
  private readonly counters: Counters
  private readonly cells: Float64Array
  private readonly control: ControlHandler
  private readonly relay: Relay
  private readonly peerOfSession: Int32Array
  private readonly coalescer: Coalescer
  private readonly frame: Frame = new Frame()
  private readonly source: Uint8Array = new Uint8Array(18)

  // The last session and network seen: consecutive datagrams mostly share them.
  private lastIndex = -1
  private lastSlot = -1
  private lastPeer = -1
  private lastData = false
  private lastCounter = -1
  /** Message of this batch whose source has been looked at. */
  private followedMessage = -1
  /** Datagrams opened under the last session since settle(), and their bytes. */
  private openedDatagrams = 0
  private openedBytes = 0
  private lastVni = -1
  private lastNetwork: NetworkState | undefined
  private nowMs = 0

  constructor(parts: ReceiverParts) {
    this.slab = parts.slab
    this.socket = parts.socket
    this.sessions = parts.sessions
    this.topology = parts.topology
    this.forwarder = parts.forwarder
    this.balance = parts.balance
    this.counters = parts.counters
    this.cells = parts.counters.cells
    this.control = parts.control
    this.relay = parts.relay
    this.peerOfSession = parts.peerOfSession
    this.coalescer = new Coalescer(parts.slab.view)
  }

  /** Empties the socket, within reason. Returns true when more may wait. */
  receive(nowMs: number): boolean {
    this.nowMs = nowMs
    this.forget()
    const receiving = this.socket.receiving
    for (let round = 0; round < SOCKET_READS_MAX; round++) {
      const messages = receiving.receive()
      if (messages <= 0) return false
      this.followedMessage = -1
      for (let i = 0; i < messages; i++) {
        const at = receiving.at(i)
        const end = at + receiving.size(i)
        const segment = receiving.segmentSize(i)
        for (let from = at; from < end; from += segment) {
          this.datagram(i, from, Math.min(from + segment, end))
        }
      }
      this.flush()
      this.settle()
      // A batch that is not full has emptied the socket: asking again would cost a call for
      // nothing.
      if (messages < receiving.capacity) return false
    }
    return true
  }

  /** Tables or sessions changed: remembered look-ups are void. */
  forget(): void {
    this.lastIndex = -1
    this.lastVni = -1
    this.lastNetwork = undefined
  }

  private datagram(message: number, at: number, end: number): void {
    const view = this.slab.view
    this.cells[ENGINE_CELLS.datagramsIn]!++
    if (checkEnvelopeTransport(view, at, end)) return this.transport(message, at, end)
    if (isPlainVxlan(view, at, end)) return this.plain(message, at, end)
    if (!checkEnvelopeType(view, at, end)) return this.drop(DROP_NOT_OURS)
    const type = envelopeType(view, at)
    if (type === ENVELOPE_TRANSPORT) return this.drop(DROP_TRUNCATED)
    if (type !== ENVELOPE_INITIATION && type !== ENVELOPE_RESPONSE && type !== ENVELOPE_COOKIE) {
      return this.drop(DROP_NOT_OURS)
    }
    this.handshake(message, at, end)
  }

  private handshake(message: number, at: number, end: number): void {
    const receiving = this.socket.receiving
    receiving.sourceBytes(message, this.source)
    const endpoint = receiving.source(message)
    if (endpoint < 0) return this.drop(DROP_HANDSHAKE_REFUSED)
    const bytes = this.slab.bytes.subarray(at, end)
    const outcome = this.sessions.receiveHandshake(bytes, this.source, endpoint, this.nowMs)
    // Whoever keeps the endpoint has taken a reference of its own.
    this.socket.release(endpoint)
    this.lastIndex = -1
    if (outcome < 0 && this.relay.handshake(message, bytes[0]!, at, end, this.nowMs)) {
      this.cells[ENGINE_CELLS.control]!++
      return
    }
    if (outcome < 0) return this.drop(DROP_HANDSHAKE_REFUSED)
    this.cells[ENGINE_CELLS.control]!++
  }

  private transport(message: number, at: number, end: number): void {
    const view = this.slab.view
    const sessions = this.sessions
    const index = envelopeReceiverIndex(view, at)
    if (index !== this.lastIndex && !this.select(index)) return this.strange(message, at, end)
    const slot = this.lastSlot
    const counter = envelopeCounter(view, at)
    if (!sessions.windowCheck(slot, counter)) return this.drop(DROP_REPLAYED)
    const size = end - at - ENVELOPE_HEADER_SIZE - ENVELOPE_TAG_SIZE
    if (sessions.opener(slot).open(envelopeCounterAt(at), size) < 0) return this.drop(DROP_BAD_TAG)
    // One look at the source per message: UDP_GRO merges what comes from one place only.
    if (sessions.commit(slot, counter) && message !== this.followedMessage) {
      this.followSource(message, slot)
      this.followedMessage = message
    }
    const peer = this.lastPeer
    this.openedDatagrams++
    this.openedBytes += end - at
    const follows = counter === this.lastCounter + 1
    this.lastCounter = counter
    const inner = at + ENVELOPE_HEADER_SIZE
    const innerEnd = end - ENVELOPE_TAG_SIZE
    if (isControl(view, inner, innerEnd)) return this.controlMessage(peer, inner, innerEnd)
    if (!checkVxlan(view, inner, innerEnd)) return this.drop(DROP_TRUNCATED)
    this.lastData = true
    const network = this.networkOf(vxlanVni(view, inner))
    if (network === undefined || !network.encrypted) return this.drop(DROP_UNKNOWN_VNI)
    const flags = vxlanInnerFlags(view, inner)
    const frameAt = inner + VXLAN_HEADER_SIZE
    if (
      follows &&
      (flags & VXLAN_INNER_CONTINUES) !== 0 &&
      this.coalescer.extend(frameAt, innerEnd - frameAt, network.id, peer)
    ) {
      return
    }
    const partial = (flags & VXLAN_INNER_CHECKSUM_PARTIAL) !== 0
    this.merge(inner + VXLAN_HEADER_SIZE, innerEnd, network, peer, partial)
  }

  /** A sealed datagram that is not for this node. */
  private strange(message: number, at: number, end: number): void {
    if (!this.relay.datagram(message, at, end, this.nowMs)) return this.drop(DROP_UNKNOWN_RECEIVER)
    this.cells[ENGINE_CELLS.control]!++
  }

  /** Makes the session that `index` names the current one. */
  private select(index: number): boolean {
    this.settle()
    const slot = this.sessions.openerAt(index)
    if (slot < 0) return false
    const peer = this.peerOfSession[this.sessions.peerAt(slot)]!
    if (peer < 0) return false
    this.lastIndex = index
    this.lastSlot = slot
    this.lastPeer = peer
    this.lastData = false
    this.lastCounter = -1
    this.followedMessage = -1
    return true
  }

  /** Tells the session table once per batch that datagrams came in. */
  private settle(): void {
    if (this.lastIndex < 0) return
    if (this.openedDatagrams > 0) {
      const row = this.topology.peers.row[this.lastPeer]!
      this.cells[row + RX_PACKETS]! += this.openedDatagrams
      this.cells[row + RX_BYTES]! += this.openedBytes
      this.openedDatagrams = 0
      this.openedBytes = 0
      this.sessions.onOpened(this.lastSlot, this.lastData, this.nowMs)
    }
    this.lastIndex = -1
  }

  /** Roaming: the newest authenticated datagram tells where the peer is. */
  private followSource(message: number, slot: number): void {
    const receiving = this.socket.receiving
    const known = this.sessions.endpointOf(this.sessions.peerAt(slot))
    if (known >= 0 && receiving.from(message, known)) return
    const endpoint = receiving.source(message)
    if (endpoint < 0) return
    this.sessions.roam(slot, endpoint)
    this.socket.release(endpoint)
  }

  private controlMessage(peer: number, at: number, end: number): void {
    const view = this.slab.view
    this.cells[ENGINE_CELLS.control]!++
    const kind = controlKind(view, at)
    if (kind === CONTROL_PROBE && isWholeProbe(view, at, end)) {
      // The answer needs a key to seal with, and this batch may be the proof that the session waits
      // for.
      this.settle()
      this.control.probeReceived(peer, controlSize(view, at), this.nowMs)
    } else if (kind === CONTROL_PROBE_ACK) {
      this.control.probeAcknowledged(peer, controlSize(view, at), this.nowMs)
    }
  }

  private plain(message: number, at: number, end: number): void {
    const view = this.slab.view
    if (!checkVxlan(view, at, end)) return this.drop(DROP_TRUNCATED)
    const network = this.networkOf(vxlanVni(view, at))
    if (network === undefined) return this.drop(DROP_UNKNOWN_VNI)
    if (network.encrypted) return this.drop(DROP_PLAINTEXT)
    const peer = this.plainPeer(message)
    if (peer < 0) return this.drop(DROP_UNKNOWN_PEER)
    const row = this.topology.peers.row[peer]!
    this.cells[row + RX_PACKETS]!++
    this.cells[row + RX_BYTES]! += end - at
    const frameAt = at + VXLAN_HEADER_SIZE
    this.merge(frameAt, end, network, peer, this.checkPlain(frameAt, end))
  }

  /** Peer with the source address of the message. The port is a hash of the inner flow (RFC 7348
   * section 5) and says nothing. */
  private plainPeer(message: number): number {
    this.socket.receiving.sourceBytes(message, this.source)
    for (let p = 0; p < this.plainPeers.length; p++) {
      const address = this.plainAddresses[p]!
      let k = 0
      while (k < 16 && address[k] === this.source[k]) k++
      if (k === 16) return this.plainPeers[p]!
    }
    return -1
  }

  /** Whether a frame that came in the clear may merge: its checksum is right, and has been made
   * partial, as super-packets demand. A wrong one is left for the receiver's stack to find. */
  private checkPlain(at: number, end: number): boolean {
    const view = this.slab.view
    const frame = this.frame
    frame.setWhole(at, end - at)
    if (parseFrame(view, frame) !== DROP_NONE || frame.family === FAMILY_ARP) return false
    if (frame.fragment !== NOT_A_FRAGMENT) return false
    const tcp = frame.protocol === PROTOCOL_TCP
    if (!tcp && frame.protocol !== PROTOCOL_UDP) return false
    if (!tcp && udpChecksum(view, frame.l4At) === 0) return false
    const length = frame.end() - frame.l4At
    const sum =
      frame.family === 4
        ? pseudoSumV4(view, frame.l3At, frame.protocol, length)
        : pseudoSumV6(view, frame.l3At, frame.protocol, length)
    if (!checksumHolds(view, frame.l4At, frame.end(), sum)) return false
    if (tcp) setTcpChecksum(view, frame.l4At, sum)
    else setUdpChecksum(view, frame.l4At, sum)
    return true
  }

  private networkOf(vni: number): NetworkState | undefined {
    if (vni !== this.lastVni) {
      this.lastVni = vni
      this.lastNetwork = this.topology.networkByVni.get(vni)
    }
    return this.lastNetwork
  }

  private merge(
    at: number,
    end: number,
    network: NetworkState,
    peer: number,
    partial: boolean,
  ): void {
    const { coalescer, mergeUdp } = this
    if (coalescer.add(at, end - at, network.id, peer, partial, mergeUdp)) return
    this.flush()
    coalescer.add(at, end - at, network.id, peer, partial, mergeUdp)
  }

  /** Hands all items to the forwarder. */
  private flush(): void {
    const { coalescer } = this
    const announces = coalescer.count >= ANNOUNCE_FRAMES_MIN && this.balance.announces
    for (let i = 0; i < coalescer.count; i++) {
      if (announces && i % EXPECT_MAX === 0) this.announce(i)
      this.forward(i)
    }
    coalescer.clear()
  }

  /** Prepares the look-ups of the next EXPECT_MAX items. */
  private announce(first: number): void {
    const { balance, coalescer, frame } = this
    const { view } = this.slab
    const end = Math.min(first + EXPECT_MAX, coalescer.count)
    for (let i = first; i < end; i++) {
      const network = this.topology.networks[coalescer.network[i]!]!
      frame.setWhole(coalescer.at[i]!, coalescer.firstSize[i]!)
      if (parseFrame(view, frame) === DROP_NONE) balance.announce(frame, network.zone)
    }
    balance.load()
  }

  private forward(i: number): void {
    const coalescer = this.coalescer
    const frame = this.frame
    const frames = coalescer.frames[i]!
    const network = this.topology.networks[coalescer.network[i]!]!
    frame.setWhole(coalescer.at[i]!, coalescer.firstSize[i]!)
    const reason = parseFrame(this.slab.view, frame)
    if (reason !== DROP_NONE) return this.drop(reason)
    frame.partial = coalescer.partial[i] === 1
    if (frame.partial && !mayBePartial(frame)) return this.drop(DROP_TRUNCATED)
    frame.packets = frames
    if (frames > 1) {
      frame.shape = GATHERED
      frame.size = coalescer.size[i]!
      frame.gsoSize = coalescer.gsoSize[i]!
      frame.gsoType = gsoTypeOf(frame)
      const base = i * COALESCE_FRAMES_MAX
      for (let k = 0; k < frames - 1; k++) {
        frame.pieces[2 * k] = coalescer.pieceAt[base + k]!
        frame.pieces[2 * k + 1] = coalescer.pieceSize[base + k]!
      }
      frame.pieceCount = frames - 1
      // Merged datagrams came in one by one and go on as one frame.
      this.cells[ENGINE_CELLS.merged]! += frames - 1
    }
    this.forwarder.fromPeer(frame, network, coalescer.peer[i]!, this.nowMs)
  }

  private drop(reason: number): void {
    this.counters.drop(reason)
  }
}

function gsoTypeOf(frame: Frame): number {
  if (frame.protocol === PROTOCOL_UDP) return VNET_GSO_UDP_L4
  if (frame.protocol !== PROTOCOL_TCP) return VNET_GSO_NONE
  return frame.family === 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6
}

/** A peer may only call the checksum of TCP and UDP partial: nothing else has one to finish. */
function mayBePartial(frame: Frame): boolean {
  if (frame.family === FAMILY_ARP || frame.fragment === LATER_FRAGMENT) return false
  return frame.protocol === PROTOCOL_TCP || frame.protocol === PROTOCOL_UDP
}
