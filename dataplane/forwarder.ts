// The decisions of the data plane: where a parsed frame goes.
//
//   from a container   tap-read > classify > service-nat > fdb-lookup > encap > seal > udp-send
//                                                                     > tap-write (same node)
//   from a peer        udp-recv > open > decap > service-nat > fdb-lookup > tap-write
//   routing mesh       mesh-in > classify > service-nat > tap-write | encap > seal > udp-send
//                      and back: (from container or peer, to the gateway) > service-nat > mesh-out
//
// Each public method takes one frame and ends in exactly one of: handed on (forwarded), answered by
// the node itself, kept for a session (staged), or dropped with a reason. Copies made for several
// receivers count as `replicated`, so that framesIn + datagramsIn + replicated = forwarded +
// answered + control + drops + staged always holds; a test says so.
//
// Longer than 500 lines because every way that a frame can go is decided here, and a reader who
// asks where a frame ends must find all of them in one place.

import type { Slab } from '../base/slab.ts'
import { FORWARD, REPLY } from '../ipvs-emulator/director.ts'
import { PROXY_INSTEAD, PROXY_PASS } from '../ipvs-emulator/proxy-headers.ts'
import {
  answerNeighbour,
  NEIGHBOUR_ANNOUNCEMENT,
  NEIGHBOUR_OWN,
  NEIGHBOUR_UNKNOWN,
} from '../vxlan/neighbour.ts'
import { ENVELOPE_TAG_SIZE } from '../wire/envelope.ts'
import {
  ETHERNET_HEADER_SIZE,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethernetSourceHi,
  ethernetSourceLo,
  ethernetTargetHi,
  ethernetTargetLo,
  isGroupMac,
  setEthernetSource,
  setEthernetTarget,
  setEthernetType,
} from '../wire/ethernet.ts'
import {
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  icmpv6Type,
} from '../wire/icmpv6.ts'
import {
  ipv4Source,
  ipv4Target,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4.ts'
import {
  equalIpv6Address,
  ipv6SourceAt,
  ipv6TargetAt,
  isIpv6LinkLocal,
  isIpv6Unspecified,
} from '../wire/ipv6.ts'
import { clampTcpMss, TCP_SYN, tcpFlags, tcpTargetPort } from '../wire/tcp.ts'
import { Answers } from './answers.ts'
import { type Balance, MESH_ZONE } from './balance.ts'
import {
  type Counters,
  ENGINE_CELLS,
  RX_BYTES,
  RX_PACKETS,
  TX_BYTES,
  TX_PACKETS,
} from './counters.ts'
import {
  DROP_ANSWER_LIMITED,
  DROP_DEVICE_REFUSED,
  DROP_FORGED_NEIGHBOUR,
  DROP_MULTICAST_OFF,
  DROP_NO_BACKEND,
  DROP_NO_FLOW,
  DROP_NO_PORT,
  DROP_NO_ROUTE,
  DROP_NONE,
  DROP_NOT_IP,
  DROP_NOT_PUBLISHED,
  DROP_NOT_SYN,
  DROP_SPOOFED_SOURCE,
  DROP_TOO_BIG,
  DROP_TRUNCATED,
  DROP_UNKNOWN_DESTINATION,
  DROP_UNKNOWN_NEIGHBOUR,
} from './drop-reasons.ts'
import { PROXY_HEADERS_PER_TURN } from './engine-limits.ts'
import { FAMILY_ARP, Frame, LATER_FRAGMENT, parseFrame, readOffload } from './frame.ts'
import { Delivery, learnShape, type Port, vnetAt } from './ports.ts'
import { PROBE, RESET, writeFlowFrame } from './resets.ts'
import type { Staging } from './staging.ts'
import {
  FDB_GATEWAY,
  FDB_VIP,
  type LocalPort,
  type NetworkState,
  type Topology,
} from './topology.ts'
import { linearize, STAGED, type Transmitter } from './transmitter.ts'

export interface ForwarderParts {
  readonly slab: Slab
  readonly topology: Topology
  readonly balance: Balance
  readonly transmitter: Transmitter
  readonly staging: Staging
  readonly counters: Counters
  /** Start of ANSWER_AREA_SIZE bytes of the slab. */
  readonly answerArea: number
}

export class Forwarder {
  /** The mesh's TUN; null when nothing is published. */
  tun: Port | null = null
  /** The frame that was read to the end of the arena and is being looked at; null = there is
   * none. */
  inHand: Frame | null = null
  /** Director's service index for a published port: published[family is 6 ? 1 : 0 + protocol is
   * UDP ? 2 : 0] [port], -1 = not published. */
  readonly published: readonly Int32Array[] = [0, 1, 2, 3].map(() => new Int32Array(65536).fill(-1))

  private readonly slab: Slab
  private readonly topology: Topology
  private readonly balance: Balance
  private readonly transmitter: Transmitter
  private readonly staging: Staging
  private readonly counters: Counters
  private readonly cells: Float64Array
  private readonly answers: Answers
  private readonly delivery: Delivery
  private readonly answer: Frame = new Frame()
  private readonly copy: Frame = new Frame()

  constructor(parts: ForwarderParts) {
    this.slab = parts.slab
    this.topology = parts.topology
    this.balance = parts.balance
    this.transmitter = parts.transmitter
    this.staging = parts.staging
    this.counters = parts.counters
    this.cells = parts.counters.cells
    this.answers = new Answers(parts.slab, parts.answerArea)
    this.delivery = new Delivery(parts.slab)
  }

  // -- from a container
  // -----------------------------------------------------------------------------

  /** A frame that readFrame() read from a local port. */
  fromPort(frame: Frame, local: LocalPort, nowMs: number): void {
    const view = this.slab.view
    this.cells[ENGINE_CELLS.framesIn]!++
    const parsed = parseFrame(view, frame)
    if (parsed !== DROP_NONE) return this.drop(parsed)
    const offload = readOffload(view, vnetAt(local.port, frame), frame, local.port.linkSize)
    if (offload !== DROP_NONE) return this.drop(offload)
    if (frame.isGso()) learnShape(view, local.port, frame)
    else linearize(this.slab.bytes, frame)
    const network = local.network
    this.cells[network.row + TX_PACKETS]! += frame.packets
    this.cells[network.row + TX_BYTES]! += frame.size
    if (
      ethernetSourceLo(view, frame.at) !== local.macLo ||
      ethernetSourceHi(view, frame.at) !== local.macHi
    ) {
      return this.drop(DROP_SPOOFED_SOURCE)
    }
    if (frame.family === FAMILY_ARP) return this.answerNeighbour(frame, local)
    if (!this.sourceAllowed(frame, local)) return this.drop(DROP_SPOOFED_SOURCE)
    if (this.isSolicitation(frame)) return this.answerNeighbour(frame, local)
    if (this.isForgery(frame)) return this.drop(DROP_FORGED_NEIGHBOUR)
    const targetHi = ethernetTargetHi(view, frame.at)
    if (isGroupMac(targetHi)) return this.broadcast(frame, local, nowMs)
    const target = this.topology.fdb.lookup(network.vni, targetHi, ethernetTargetLo(view, frame.at))
    if (target < 0) return this.drop(DROP_UNKNOWN_DESTINATION)
    if (local.isGateway) return this.fromGateway(frame, target)
    if (target === FDB_VIP) return this.toVip(frame, local, nowMs)
    if (target === FDB_GATEWAY) return this.toGateway(frame, local, nowMs)
    if (this.topology.endpointServes[local.endpoint] === 1) {
      this.balance.reply(frame, network.zone, nowMs)
      if (this.balance.retried) return this.resend(nowMs)
    } else {
      this.balance.connection = -1
    }
    this.toEndpoint(frame, network, target, local, nowMs)
  }

  private sourceAllowed(frame: Frame, local: LocalPort): boolean {
    const view = this.slab.view
    if (frame.family === 4) {
      const source = ipv4Source(view, frame.l3At)
      for (let i = 0; i < local.addresses4.length; i++) {
        if (local.addresses4[i] === source) return true
      }
      return false
    }
    const at = ipv6SourceAt(frame.l3At)
    for (let i = 0; i < local.addresses6.length; i++) {
      if (equalIpv6Address(local.addresses6[i]!, 0, view, at)) return true
    }
    return isIpv6LinkLocal(view, at) || isIpv6Unspecified(view, at)
  }

  private isSolicitation(frame: Frame): boolean {
    return (
      frame.family === 6 &&
      frame.protocol === PROTOCOL_ICMPV6 &&
      frame.fragment !== LATER_FRAGMENT &&
      frame.end() > frame.l4At &&
      icmpv6Type(this.slab.view, frame.l4At) === ICMPV6_NEIGHBOUR_SOLICITATION
    )
  }

  /** Messages that would tell a neighbour where an address is, or how to leave the network: RFC
   * 4861 has no way to tell a true one from a false one, and nobody here needs them. */
  private isForgery(frame: Frame): boolean {
    if (frame.family !== 6 || frame.protocol !== PROTOCOL_ICMPV6) return false
    if (frame.fragment === LATER_FRAGMENT || frame.end() <= frame.l4At) return false
    const type = icmpv6Type(this.slab.view, frame.l4At)
    return (
      type === ICMPV6_ROUTER_ADVERTISEMENT ||
      type === ICMPV6_NEIGHBOUR_ADVERTISEMENT ||
      type === ICMPV6_REDIRECT
    )
  }

  /** ARP and neighbour solicitation are answered from the tables, by the node that hears them. */
  private answerNeighbour(frame: Frame, local: LocalPort): void {
    const size = answerNeighbour(
      this.topology.neighbours,
      local.network.vni,
      this.slab.view,
      frame.at,
      frame.end(),
      this.answers.at,
    )
    if (size > 0) return this.answerPort(size, local)
    // Announcements, and probes of the own address, ask for nothing.
    const asked = size !== NEIGHBOUR_OWN && size !== NEIGHBOUR_ANNOUNCEMENT
    if (asked)
      return this.drop(size === NEIGHBOUR_UNKNOWN ? DROP_UNKNOWN_NEIGHBOUR : DROP_TRUNCATED)
    this.cells[ENGINE_CELLS.control]!++
  }

  /** A plain VTEP has no tables: it floods its questions to all nodes. Each answers for the
   * containers it has, so that the asker learns from the answer behind which VTEP they are.
   * Nodes of ours never ask. */
  private answerVtep(frame: Frame, network: NetworkState, peer: number, nowMs: number): void {
    if (network.encrypted) return this.drop(DROP_MULTICAST_OFF)
    const { view } = this.slab
    const { fdb, neighbours } = this.topology
    const at = this.transmitter.frameAt()
    const size = answerNeighbour(neighbours, network.vni, view, frame.at, frame.end(), at)
    if (size === NEIGHBOUR_UNKNOWN) return this.drop(DROP_UNKNOWN_NEIGHBOUR)
    const answer = this.copy
    answer.setWhole(at, size)
    const owner =
      size > 0
        ? fdb.lookup(network.vni, ethernetSourceHi(view, at), ethernetSourceLo(view, at))
        : -1
    if (owner < 0 || owner >= FDB_GATEWAY || this.topology.endpointPeer[owner]! >= 0) {
      // An announcement, or a question that another node answers.
      this.cells[ENGINE_CELLS.control]!++
      return
    }
    if (parseFrame(view, answer) !== DROP_NONE) return this.drop(DROP_TRUNCATED)
    const reason = this.transmitter.send(answer, peer, network.vni, false, nowMs)
    if (reason !== DROP_NONE) return this.drop(reason)
    this.cells[ENGINE_CELLS.answered]!++
  }

  private toVip(frame: Frame, local: LocalPort, nowMs: number): void {
    if (this.answers.isEchoRequest(frame)) return this.answerEcho(frame, local)
    const network = local.network
    const reason = this.balance.forward(frame, network.zone, -1, false, nowMs)
    if (reason !== DROP_NONE) return this.refuse(frame, reason, local, nowMs)
    const endpoint = this.balance.endpointOf(this.balance.connection)
    if (endpoint < 0) return this.refuse(frame, DROP_NO_BACKEND, local, nowMs)
    if (endpoint === local.endpoint) this.setVipSource(frame)
    this.setTarget(frame, endpoint)
    this.toEndpoint(frame, network, endpoint, local, nowMs)
  }

  /** Balanced to itself: the balancer gave the frame the VIP's address as source, it gets its MAC
   * as well. */
  private setVipSource(frame: Frame): void {
    const view = this.slab.view
    const hi = ethernetTargetHi(view, frame.at)
    setEthernetSource(view, frame.at, hi, ethernetTargetLo(view, frame.at))
  }

  /** To the gateway's MAC: the gateway itself (ping), or a reply on its way to a client of the
   * mesh. */
  private toGateway(frame: Frame, local: LocalPort, nowMs: number): void {
    const network = local.network
    if (this.answers.isEchoRequest(frame) && this.isOwnAddress(frame, network)) {
      return this.answerEcho(frame, local)
    }
    const gateway = network.gatewayPort
    if (gateway !== null && this.isOwnAddress(frame, network)) {
      // The IPv6 gateway has a MAC of its own; the interface has the first gateway's.
      setEthernetTarget(this.slab.view, frame.at, gateway.macHi, gateway.macLo)
      return this.toPort(frame, gateway)
    }
    if (!network.ingress) return this.drop(DROP_NO_ROUTE)
    this.balance.reply(frame, network.zone, nowMs)
    if (this.balance.retried) return this.resend(nowMs)
    const connection = this.balance.connection
    if (connection < 0) return this.refuse(frame, DROP_NO_ROUTE, local, nowMs)
    if (this.balance.director.serviceOf(connection) >= 0) return this.toMesh(frame, nowMs)
    this.toPeer(frame, network, this.balance.director.data(connection), local, nowMs)
  }

  /** What lives at the gateway addresses talks to the containers of this node alone: every node has
   * its own. */
  private fromGateway(frame: Frame, target: number): void {
    const local = target >= FDB_GATEWAY ? undefined : this.topology.endpointPort[target]
    if (local === null || local === undefined) return this.drop(DROP_NO_ROUTE)
    this.toPort(frame, local)
  }

  /** Whether the frame is for a gateway address of the network. */
  private isOwnAddress(frame: Frame, network: NetworkState): boolean {
    return this.ownerOfAddress(frame, network, true) === FDB_GATEWAY
  }

  // -- from a peer
  // ----------------------------------------------------------------------------------

  /** A frame, possibly merged from several datagrams, that was decapsulated on `network`. `peer`
   * is the sender's number. The frame has been parsed. */
  fromPeer(frame: Frame, network: NetworkState, peer: number, nowMs: number): void {
    const view = this.slab.view
    const fdb = this.topology.fdb
    const sourceLo = ethernetSourceLo(view, frame.at)
    const source = fdb.lookup(network.vni, ethernetSourceHi(view, frame.at), sourceLo)
    const fromMesh = source === FDB_GATEWAY && network.ingress
    if (!fromMesh) {
      if (source < 0 || source >= FDB_GATEWAY) return this.drop(DROP_SPOOFED_SOURCE)
      if (this.topology.endpointPeer[source] !== peer) return this.drop(DROP_SPOOFED_SOURCE)
    }
    if (frame.family === FAMILY_ARP || (!network.encrypted && this.isSolicitation(frame))) {
      return this.answerVtep(frame, network, peer, nowMs)
    }
    const targetHi = ethernetTargetHi(view, frame.at)
    if (isGroupMac(targetHi)) return this.broadcastHere(frame, network, null)
    const target = fdb.lookup(network.vni, targetHi, ethernetTargetLo(view, frame.at))
    if (target === FDB_GATEWAY && network.ingress && !fromMesh) {
      this.balance.reply(frame, network.zone, nowMs)
      if (this.balance.retried) return this.resend(nowMs)
      const connection = this.balance.connection
      if (connection < 0) return this.refusePeer(frame, network, peer, nowMs)
      if (this.balance.director.serviceOf(connection) < 0) return this.drop(DROP_NO_ROUTE)
      return this.toMesh(frame, nowMs)
    }
    if (target < 0 || target >= FDB_GATEWAY) return this.drop(DROP_UNKNOWN_DESTINATION)
    const local = this.topology.endpointPort[target]
    if (local === null || local === undefined) return this.drop(DROP_NO_PORT)
    if (fromMesh) {
      const reason = this.balance.track(frame, network.zone, peer, nowMs)
      if (reason !== DROP_NONE) return this.drop(reason)
    } else if (this.topology.endpointServes[source] === 1) {
      this.balance.reply(frame, network.zone, nowMs)
      if (this.balance.retried) return this.resend(nowMs)
    }
    this.toPort(frame, local)
  }

  // -- routing mesh
  // ---------------------------------------------------------------------------------

  /** A frame that readFrame() read from the mesh's TUN: an IP packet to a published port of this
   * node. */
  fromMesh(frame: Frame, tun: Port, nowMs: number): void {
    const view = this.slab.view
    this.cells[ENGINE_CELLS.framesIn]!++
    const ingress = this.topology.ingress
    this.asEthernet(frame)
    const parsed = parseFrame(view, frame)
    if (parsed !== DROP_NONE) return this.drop(parsed)
    const offload = readOffload(view, vnetAt(tun, frame), frame, tun.linkSize)
    if (offload !== DROP_NONE) return this.drop(offload)
    if (frame.isGso()) learnShape(view, tun, frame)
    else linearize(this.slab.bytes, frame)
    if (ingress === null) return this.drop(DROP_NOT_PUBLISHED)
    const service = this.publishedService(frame)
    const masquerade = isLoopback(view, frame)
    let reason =
      service === NOT_TRANSPORT
        ? DROP_NOT_PUBLISHED
        : this.balance.forward(frame, MESH_ZONE, service, masquerade, nowMs)
    if (reason === DROP_NO_BACKEND && service < 0) reason = DROP_NOT_PUBLISHED
    if (reason !== DROP_NONE) return this.refuseMesh(frame, reason, nowMs)
    const endpoint = this.balance.endpointOf(this.balance.connection)
    if (endpoint < 0) return this.refuseMesh(frame, DROP_NO_BACKEND, nowMs)
    const { headerDue } = this.balance
    if (headerDue !== PROXY_PASS) {
      this.sendProxyHeader(this.balance.connection, nowMs)
      if (headerDue === PROXY_INSTEAD) {
        this.cells[ENGINE_CELLS.control]!++
        return
      }
    }
    this.setGatewaySource(frame, ingress)
    this.setTarget(frame, endpoint)
    this.toEndpoint(frame, ingress, endpoint, null, nowMs)
  }

  /** An ICMP error from outside that is whole and sound (outside-errors.ts). */
  fromOutside(frame: Frame, nowMs: number): void {
    const { ingress } = this.topology
    const reason = ingress === null ? DROP_NO_FLOW : this.balance.outsideError(frame)
    if (ingress === null || reason !== DROP_NONE) return this.drop(reason)
    const endpoint = this.balance.endpointOf(this.balance.connection)
    if (endpoint < 0) return this.drop(DROP_NO_FLOW)
    this.cells[ENGINE_CELLS.outsideErrors]!++
    this.setGatewaySource(frame, ingress)
    this.setTarget(frame, endpoint)
    this.toEndpoint(frame, ingress, endpoint, null, nowMs)
  }

  /** Gives an IP packet from the TUN the type that an Ethernet frame would have. */
  asEthernet(frame: Frame): void {
    const view = this.slab.view
    const version = view.getUint8(frame.at + ETHERNET_HEADER_SIZE) >>> 4
    setEthernetType(view, frame.at, version === 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4)
  }

  /** Director's index of the service published on the frame's port, -1 when none is (a flow may
   * still be known), NOT_TRANSPORT for neither TCP nor UDP. */
  private publishedService(frame: Frame): number {
    const tcp = frame.protocol === PROTOCOL_TCP
    if (!tcp && frame.protocol !== PROTOCOL_UDP) return NOT_TRANSPORT
    if (frame.fragment === LATER_FRAGMENT) return -1
    const table = this.published[(frame.family === 6 ? 1 : 0) + (tcp ? 0 : 2)]!
    return table[tcpTargetPort(this.slab.view, frame.l4At)]!
  }

  private setGatewaySource(frame: Frame, ingress: NetworkState): void {
    const v6 = frame.family === 6
    const hi = v6 ? ingress.gatewayMacHi6 : ingress.gatewayMacHi4
    const lo = v6 ? ingress.gatewayMacLo6 : ingress.gatewayMacLo4
    setEthernetSource(this.slab.view, frame.at, hi, lo)
  }

  private toMesh(frame: Frame, nowMs: number): void {
    if (this.balance.headerDue !== PROXY_PASS) {
      this.sendProxyHeader(this.balance.connection, nowMs)
    }
    if (this.tun === null) return this.drop(DROP_NO_ROUTE)
    const reason = this.delivery.deliver(frame, this.tun)
    if (reason !== DROP_NONE) return this.drop(reason)
    this.cells[ENGINE_CELLS.forwarded]!++
  }

  // -- ways out
  // -------------------------------------------------------------------------------------

  /** `origin`: the port that an error about the frame goes back to, null = the mesh. */
  private toEndpoint(
    frame: Frame,
    network: NetworkState,
    endpoint: number,
    origin: LocalPort | null,
    nowMs: number,
  ): void {
    const peer = this.topology.endpointPeer[endpoint]!
    if (peer >= 0) return this.toPeer(frame, network, peer, origin, nowMs)
    const local = this.topology.endpointPort[endpoint]
    if (local === null || local === undefined) return this.drop(DROP_NO_PORT)
    this.toPort(frame, local)
  }

  private toPort(frame: Frame, local: LocalPort): void {
    const row = local.network.row
    const reason = this.delivery.deliver(frame, local.port)
    if (reason !== DROP_NONE) return this.drop(reason)
    this.cells[row + RX_PACKETS]! += frame.packets
    this.cells[row + RX_BYTES]! += frame.size
    this.cells[ENGINE_CELLS.forwarded]!++
  }

  private toPeer(
    frame: Frame,
    network: NetworkState,
    peer: number,
    origin: LocalPort | null,
    nowMs: number,
  ): void {
    if (frame.protocol === PROTOCOL_TCP) this.clampMss(frame, network, peer)
    const reason = this.transmitter.send(frame, peer, network.vni, network.encrypted, nowMs)
    if (reason === DROP_NONE) {
      this.cells[ENGINE_CELLS.forwarded]!++
    } else if (reason === STAGED) {
      this.staging.keep(frame, network, peer, origin)
    } else if (reason === DROP_TOO_BIG) {
      this.answerTooBig(frame, network, this.topology.peers.packetMax[peer]!, origin, nowMs)
    } else {
      this.drop(reason)
    }
  }

  /** A SYN tells the other end the largest segment to send: no more than fits the path (RFC
   * 6691). */
  private clampMss(frame: Frame, network: NetworkState, peer: number): void {
    const view = this.slab.view
    if (frame.fragment === LATER_FRAGMENT) return
    if ((tcpFlags(view, frame.l4At) & TCP_SYN) === 0) return
    const path = network.encrypted ? this.topology.peers.packetMax[peer]! : network.mtu
    const headers = frame.family === 4 ? 40 : 60
    clampTcpMss(view, frame.l4At, Math.min(path, network.mtu) - headers, frame.partial)
  }

  /** Sends what was kept for a peer. */
  sendStaged(peer: number, nowMs: number): void {
    const frame = this.copy
    for (const staged of this.staging.take(peer)) {
      if (this.transmitter.full()) this.transmitter.flush(nowMs)
      const at = this.transmitter.frameAt()
      this.slab.bytes.set(staged.bytes, at)
      frame.setWhole(at, staged.bytes.length)
      parseFrame(this.slab.view, frame)
      frame.partial = staged.partial
      this.toPeer(frame, staged.network, peer, staged.origin, nowMs)
    }
  }

  /** Sends a SYN that was refused to the backend that it goes to now, in place of the refusal. */
  private resend(nowMs: number): void {
    if (!this.sendHeld(nowMs)) this.cells[ENGINE_CELLS.control]!++
  }

  /** Sends the SYN of `balance.connection` to the backend that it goes to now. False when it is
   * not kept any more: its client will repeat it. */
  private sendHeld(nowMs: number): boolean {
    const { balance, transmitter } = this
    const frame = this.copy
    this.cells[ENGINE_CELLS.retries]!++
    this.makeRoom(nowMs)
    if (!balance.takeRefused(transmitter.frameAt(), frame)) return false
    this.routeHeld(frame, nowMs)
    return true
  }

  private routeHeld(frame: Frame, nowMs: number): void {
    const { balance } = this
    const zone = balance.director.zoneOf(balance.connection)
    const network = zone === MESH_ZONE ? this.topology.ingress : this.topology.networks[zone - 1]
    const endpoint = balance.endpointOf(balance.connection)
    if (network === null || network === undefined || endpoint < 0) return this.drop(DROP_NO_BACKEND)
    let origin: LocalPort | null = null
    if (zone === MESH_ZONE) this.setGatewaySource(frame, network)
    else {
      const client = this.endpointOfAddress(frame, network, false)
      origin = client < 0 ? null : (this.topology.endpointPort[client] ?? null)
      if (client === endpoint) this.setVipSource(frame)
    }
    balance.resend(frame, nowMs)
    this.setTarget(frame, endpoint)
    this.toEndpoint(frame, network, endpoint, origin, nowMs)
  }

  /** The flow's real server is gone. Where that had not answered yet, another is asked, and true
   * returned; otherwise both ends are told. Called by the balancer, before it forgets the flow: in
   * the middle of the look-up for a frame, or when it sweeps through many flows. */
  orphanFlow(connection: number, nowMs: number): boolean {
    const { balance } = this
    const { connection: inHand } = balance
    if (balance.move(connection, nowMs)) {
      // It takes the place of no frame.
      if (this.sendHeld(nowMs)) this.cells[ENGINE_CELLS.replicated]!++
      balance.connection = inHand
      return true
    }
    this.tellEnds(RESET, connection, nowMs)
    return false
  }

  /** The flow has been idle for its whole timeout: asks both ends for a sign of life. Called by
   * the balancer when it goes through the flows that are due. */
  probeFlow(connection: number, nowMs: number): void {
    this.cells[ENGINE_CELLS.probes]!++
    this.tellEnds(PROBE, connection, nowMs)
  }

  /** Sends the PROXY header of a flow of a published port to its real server. */
  private sendProxyHeader(connection: number, nowMs: number): void {
    const { slab, copy, topology } = this
    const { director } = this.balance
    const endpoint = director.data(connection)
    const { ingress } = topology
    if (ingress === null || endpoint < 0) return
    this.makeRoom(nowMs)
    const at = this.transmitter.frameAt()
    const size = director.proxyHeaders.write(connection, slab.view, at + ETHERNET_HEADER_SIZE)
    copy.setWhole(at, ETHERNET_HEADER_SIZE + size)
    this.asEthernet(copy)
    if (parseFrame(slab.view, copy) !== DROP_NONE) return
    this.setGatewaySource(copy, ingress)
    this.setTarget(copy, endpoint)
    this.cells[ENGINE_CELLS.replicated]!++
    this.cells[ENGINE_CELLS.proxyHeaders]!++
    this.toEndpoint(copy, ingress, endpoint, null, nowMs)
  }

  /** Sends the PROXY headers again that no server has acknowledged in time: a bounded number, the
   * others come with the next turn. */
  resendProxyHeaders(nowMs: number): void {
    const { proxyHeaders } = this.balance.director
    for (let i = 0; i < PROXY_HEADERS_PER_TURN && proxyHeaders.more(nowMs); i++) {
      const connection = proxyHeaders.due(nowMs)
      if (connection >= 0) this.sendProxyHeader(connection, nowMs)
    }
  }

  /** Makes room in the arena for a frame that takes the place of no other. The next free place may
   * be where the frame in hand lies, and behind it the tag of its seal. */
  private makeRoom(nowMs: number): void {
    const keep = this.inHand === null ? 0 : this.inHand.extentEnd() + ENVELOPE_TAG_SIZE
    if (this.transmitter.full()) this.transmitter.flush(nowMs, keep)
    this.transmitter.claim(keep)
  }

  private tellEnds(kind: number, connection: number, nowMs: number): void {
    const resets = kind === RESET ? 1 : 0
    const director = this.balance.director
    this.makeRoom(nowMs)
    const zone = director.zoneOf(connection)
    const network = zone === MESH_ZONE ? this.topology.ingress : this.topology.networks[zone - 1]
    if (network === null || network === undefined) return
    const frame = this.copy
    if (writeFlowFrame(kind, this.slab, director, connection, REPLY, this.answers.at, frame)) {
      this.cells[ENGINE_CELLS.resets]! += resets
      if (zone === MESH_ZONE) {
        if (this.tun !== null) this.delivery.deliver(frame, this.tun)
      } else {
        this.toClient(frame, network)
      }
    }
    const at = this.transmitter.frameAt()
    if (writeFlowFrame(kind, this.slab, director, connection, FORWARD, at, frame)) {
      const endpoint = director.data(connection)
      this.cells[ENGINE_CELLS.resets]! += resets
      this.cells[ENGINE_CELLS.replicated]!++
      this.setGatewaySource(frame, network)
      if (zone !== MESH_ZONE) this.setClientSource(frame, network)
      this.setTarget(frame, endpoint)
      this.toEndpoint(frame, network, endpoint, null, nowMs)
    }
  }

  /** To a client that is a container of this node: found by its address. */
  private toClient(frame: Frame, network: NetworkState): void {
    const endpoint = this.endpointOfAddress(frame, network, true)
    const local = endpoint < 0 ? null : this.topology.endpointPort[endpoint]
    if (local === null || local === undefined) return
    this.setGatewaySource(frame, network)
    this.setTarget(frame, endpoint)
    this.delivery.deliver(frame, local.port)
  }

  /** The far node checks that a frame's source is the sender's own: give it the client's MAC. */
  private setClientSource(frame: Frame, network: NetworkState): void {
    const client = this.endpointOfAddress(frame, network, false)
    if (client < 0) return
    const hi = this.topology.endpointMacHi[client]!
    setEthernetSource(this.slab.view, frame.at, hi, this.topology.endpointMacLo[client]!)
  }

  /** Endpoint with the frame's target (or source) address, -1 = none. */
  private endpointOfAddress(frame: Frame, network: NetworkState, target: boolean): number {
    const owner = this.ownerOfAddress(frame, network, target)
    return owner >= FDB_GATEWAY ? -1 : owner
  }

  /** What the forwarding database says of the frame's target (or source) address. */
  private ownerOfAddress(frame: Frame, network: NetworkState, target: boolean): number {
    const view = this.slab.view
    const { fdb, neighbours } = this.topology
    const ip = frame.l3At
    if (frame.family === 4) {
      const address = target ? ipv4Target(view, ip) : ipv4Source(view, ip)
      const place = neighbours.findV4(network.vni, address)
      if (place < 0) return -1
      return fdb.lookup(network.vni, neighbours.macHiV4(place), neighbours.macLoV4(place))
    }
    const at = target ? ipv6TargetAt(ip) : ipv6SourceAt(ip)
    const place = neighbours.findV6(network.vni, view, at)
    if (place < 0) return -1
    return fdb.lookup(network.vni, neighbours.macHiV6(place), neighbours.macLoV6(place))
  }

  // -- broadcast and multicast
  // ----------------------------------------------------------------------

  /** Head-end replication: one copy for each other port of the network here, one for each peer
   * on it. */
  private broadcast(frame: Frame, local: LocalPort, nowMs: number): void {
    const network = local.network
    if (!network.multicast) return this.drop(DROP_MULTICAST_OFF)
    linearize(this.slab.bytes, frame)
    const from = frame.at
    const end = frame.end()
    this.broadcastHere(frame, network, local)
    this.transmitter.claim(end)
    for (let i = 0; i < network.peers.length; i++) {
      if (this.transmitter.full()) this.transmitter.flush(nowMs, end)
      const at = this.transmitter.frameAt()
      this.slab.bytes.copyWithin(at, from, end)
      const copy = this.copy
      copy.setWhole(at, end - from)
      parseFrame(this.slab.view, copy)
      copy.partial = frame.partial
      copy.gsoType = frame.gsoType
      copy.gsoSize = frame.gsoSize
      copy.packets = frame.packets
      this.cells[ENGINE_CELLS.replicated]!++
      this.toPeer(copy, network, network.peers[i]!, local, nowMs)
    }
  }

  /** Copies for the ports of this node. The frame itself is thereby done with. */
  private broadcastHere(frame: Frame, network: NetworkState, except: LocalPort | null): void {
    if (!network.multicast) return this.drop(DROP_MULTICAST_OFF)
    for (let i = 0; i < network.ports.length; i++) {
      const local = network.ports[i]!
      if (local === except) continue
      this.cells[ENGINE_CELLS.replicated]!++
      this.toPort(frame, local)
    }
    this.cells[ENGINE_CELLS.control]!++
  }

  // -- answers
  // --------------------------------------------------------------------------------------

  private answerEcho(frame: Frame, local: LocalPort): void {
    this.answers.turnEcho(frame)
    const reason = this.delivery.deliver(frame, local.port)
    if (reason !== DROP_NONE) return this.drop(reason)
    this.cells[ENGINE_CELLS.answered]!++
  }

  /** Sends the answer of `size` bytes to a port. */
  private answerPort(size: number, local: LocalPort): void {
    this.answer.setWhole(this.answers.at, size)
    if (parseFrame(this.slab.view, this.answer) !== DROP_NONE) return this.drop(DROP_NOT_IP)
    const reason = this.delivery.deliver(this.answer, local.port)
    if (reason !== DROP_NONE) return this.drop(DROP_DEVICE_REFUSED)
    this.cells[ENGINE_CELLS.answered]!++
  }

  /** Tells the sender that no server took the packet: TCP gets a reset, others "port
   * unreachable". */
  private refuse(frame: Frame, reason: number, local: LocalPort, nowMs: number): void {
    if (reason !== DROP_NO_BACKEND && reason !== DROP_NOT_SYN && reason !== DROP_NO_ROUTE) {
      return this.drop(reason)
    }
    if (!this.answers.isAnswerable(frame)) return this.drop(reason)
    if (!this.answers.mayAnswer(frame, nowMs)) return this.drop(DROP_ANSWER_LIMITED)
    this.drop(reason)
    const size = this.writeRefusal(frame, reason)
    if (size > 0) this.sendAnswer(size, local.port)
  }

  private refuseMesh(frame: Frame, reason: number, nowMs: number): void {
    const answered =
      (reason === DROP_NO_BACKEND || reason === DROP_NOT_SYN || reason === DROP_NOT_PUBLISHED) &&
      this.tun !== null &&
      this.answers.mayAnswer(frame, nowMs)
    this.drop(reason)
    if (!answered) return
    const size = this.writeRefusal(frame, reason)
    if (size > 0) this.sendAnswer(size, this.tun!)
  }

  /** A reply of a flow through the mesh that this node does not know (any more): its backend, which
   * may have been out of reach when the flow was reset, is told with a reset. */
  private refusePeer(frame: Frame, ingress: NetworkState, peer: number, nowMs: number): void {
    this.drop(DROP_NO_ROUTE)
    if (frame.protocol !== PROTOCOL_TCP || !this.answers.mayAnswer(frame, nowMs)) return
    const size = this.answers.writeReset(frame)
    if (size === 0) return
    this.makeRoom(nowMs)
    const { answers, copy: reset, slab } = this
    const at = this.transmitter.frameAt()
    slab.bytes.copyWithin(at, answers.at, answers.at + size)
    reset.setWhole(at, size)
    if (parseFrame(slab.view, reset) !== DROP_NONE) return
    this.cells[ENGINE_CELLS.resets]!++
    this.cells[ENGINE_CELLS.replicated]!++
    this.toPeer(reset, ingress, peer, null, nowMs)
  }

  private writeRefusal(frame: Frame, reason: number): number {
    if (frame.protocol === PROTOCOL_TCP) {
      const size = this.answers.writeReset(frame)
      if (size > 0) this.cells[ENGINE_CELLS.resets]!++
      return size
    }
    const unreachable = reason === DROP_NO_BACKEND || reason === DROP_NOT_PUBLISHED
    return unreachable ? this.answers.writePortUnreachable(frame) : 0
  }

  private answerTooBig(
    frame: Frame,
    network: NetworkState,
    mtu: number,
    origin: LocalPort | null,
    nowMs: number,
  ): void {
    this.drop(DROP_TOO_BIG)
    const port = origin === null ? this.tun : origin.port
    // A broadcast of the subnet has the address of a host, as far as this node can tell.
    if (origin !== null && isGroupMac(ethernetTargetHi(this.slab.view, frame.at))) return
    if (port === null || !this.answers.mayAnswer(frame, nowMs)) return
    this.answer.setWhole(this.answers.at, this.answers.writeTooBig(frame, mtu))
    if (parseFrame(this.slab.view, this.answer) !== DROP_NONE) return
    // A frame that was balanced already: what its sender knows is the flow as it was before.
    if (this.balance.connection >= 0) this.balance.reply(this.answer, network.zone, nowMs)
    this.delivery.deliver(this.answer, port)
  }

  /** Sends the answer about a frame that has been counted already. */
  private sendAnswer(size: number, port: Port): void {
    this.answer.setWhole(this.answers.at, size)
    if (parseFrame(this.slab.view, this.answer) !== DROP_NONE) return
    this.delivery.deliver(this.answer, port)
  }

  private setTarget(frame: Frame, endpoint: number): void {
    const topology = this.topology
    setEthernetTarget(
      this.slab.view,
      frame.at,
      topology.endpointMacHi[endpoint]!,
      topology.endpointMacLo[endpoint]!,
    )
  }

  drop(reason: number): void {
    this.counters.drop(reason)
  }
}

/** publishedService() of a packet that is neither TCP nor UDP. */
const NOT_TRANSPORT = -2

/** Whether the source is a loopback address: it cannot leave the node as it is. */
function isLoopback(view: DataView, frame: Frame): boolean {
  if (frame.family === 4) return view.getUint8(frame.l3At + 12) === 127
  const at = ipv6SourceAt(frame.l3At)
  return (
    (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8)) === 0 &&
    view.getInt32(at + 12) === 1
  )
}
