// The service-nat stage: asks ipvs-emulator about a frame, rewrites it, and keeps count. A frame is
// looked at while it is still (or already) a super-packet, so that one look-up serves up to 64 KB.

import type { Slab } from '../base/slab.ts'
import { type Director, FORWARD, REPLY } from '../ipvs-emulator/director.ts'
import { PROXY_BEFORE, PROXY_EARLY, PROXY_PASS } from '../ipvs-emulator/proxy-headers.ts'
import {
  DEFENCE,
  DUPLICATE,
  NO_DESTINATION,
  NO_PORT,
  NOT_SYN,
  LATER_FRAGMENT as ORPHAN,
  TABLE_FULL,
} from '../ipvs-emulator/verdict.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import { icmpType, isIcmpError } from '../wire/icmp.ts'
import { icmpv6Type, isIcmpv6Error } from '../wire/icmpv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts'
import { opensTcp } from '../wire/tcp.ts'
import { PROTOCOL_SCTP } from './compiled.ts'
import {
  type Counters,
  ENGINE_CELLS,
  FLOWS_NEW,
  RX_BYTES,
  RX_PACKETS,
  TX_BYTES,
  TX_PACKETS,
} from './counters.ts'
import {
  DROP_BAD_HEADER,
  DROP_DEFENCE,
  DROP_FLOW_CONFLICT,
  DROP_FLOWS_FULL,
  DROP_NO_BACKEND,
  DROP_NO_FLOW,
  DROP_NONE,
  DROP_NOT_SYN,
  DROP_ORPHAN_FRAGMENT,
  DROP_PROXY_EARLY,
} from './drop-reasons.ts'
import { ANNOUNCE_FLOWS_MIN, PEERS_MAX } from './engine-limits.ts'
import { type Frame, LATER_FRAGMENT, NOT_A_FRAGMENT } from './frame.ts'
import { Retries } from './retries.ts'

/** Zone of packets that clients of the routing mesh send to this node's own addresses. */
export const MESH_ZONE = 0

/** Zone of twins, one for each peer: flows that came by it and look like one that came another way.
 * Above those of all networks. */
export function twinZone(peer: number): number {
  return 0xffff - peer
}

/** The peer of a zone of twins, -1 for another zone. */
export function twinPeer(zone: number): number {
  return zone > 0xffff - PEERS_MAX ? 0xffff - zone : -1
}

export class Balance {
  readonly director: Director
  /** Connection that the last call found or made, -1 = none. */
  connection = -1
  /** After reply(): true = the frame refuses a SYN for which `connection` goes to another backend
   * now. It must not be passed on; resend() has what to send in its place. */
  retried = false
  /** After forward() and reply(): whether the PROXY header of `connection` is to be sent to its
   * real server, before the frame or in its place (ipvs-emulator/proxy-headers.ts). */
  headerDue: number = PROXY_PASS
  /** There have been twins since the start. */
  private hasTwins = false
  /** Flows from which on announce() pays. */
  announceFlowsMin: number = ANNOUNCE_FLOWS_MIN

  private readonly slab: Slab
  private readonly retries: Retries
  private readonly cells: Float64Array
  // Counter rows by the director's service and real-server index; -1 = not resolved since the swap.
  private serviceRow: Int32Array = new Int32Array(64).fill(-1)
  private serverRow: Int32Array = new Int32Array(64).fill(-1)
  private rowOfService: (key: string) => number = () => -1
  private rowOfServer: (key: string) => number = () => -1
  private endpointOfServer: (key: string) => number = () => -1

  constructor(director: Director, slab: Slab, counters: Counters) {
    this.director = director
    this.slab = slab
    this.retries = new Retries(director, slab)
    this.cells = counters.cells
  }

  /** After a swap: how the keys given to the director translate to counter rows and endpoints. */
  resolve(
    rowOfService: (key: string) => number,
    rowOfServer: (key: string) => number,
    endpointOfServer: (key: string) => number,
  ): void {
    this.rowOfService = rowOfService
    this.rowOfServer = rowOfServer
    this.endpointOfServer = endpointOfServer
    this.serviceRow.fill(-1)
    this.serverRow.fill(-1)
  }

  /** True while frames that are at hand together should be announced before each is looked at:
   * there are more flows than the cache holds. */
  get announces(): boolean {
    return this.director.connectionCount >= this.announceFlowsMin
  }

  /** Announces a frame that has been parsed, at most EXPECT_MAX before load(). */
  announce(frame: Frame, zone: number): void {
    if (!isBalanced(frame) || frame.fragment === LATER_FRAGMENT) return
    this.director.expect(zone, this.slab.view, frame.l3At, frame.l4At, frame.protocol)
  }

  /** Loads what the look-ups of the frames announced will read. */
  load(): void {
    this.director.load()
  }

  /** Gives flows of an earlier loop the numbers that their endpoints and peers have in this one.
   * `peerOf`: by the number that a peer had, -1 = it is gone, and its flows with it. Returns how
   * many those were. */
  adopt(peerOf: (peer: number) => number): number {
    const { director } = this
    let ended = 0
    for (let c = director.nextConnection(0); c >= 0; c = director.nextConnection(c + 1)) {
      const server = director.realServerOf(c)
      const was = director.data(c)
      const is = server >= 0 ? this.endpointOfServer(director.realServerKey(server)) : peerOf(was)
      if (server < 0 && is < 0) {
        director.end(c)
        ended++
      } else {
        director.setData(c, is)
        this.hasTwins ||= twinPeer(director.zoneOf(c)) >= 0
      }
    }
    return ended
  }

  /** A frame from a client to a virtual address (service < 0: found by address) or published
   * port. Rewrites it and sets `connection`, or returns why not. */
  forward(frame: Frame, zone: number, service: number, masquerade: boolean, nowMs: number): number {
    const view = this.slab.view
    const director = this.director
    const { l3At, l4At, protocol } = frame
    const end = frame.at + frame.headSize
    this.connection = -1
    this.headerDue = PROXY_PASS
    if (!isBalanced(frame)) return this.related(frame, zone)
    let connection = director.lookup(zone, view, l3At, l4At, protocol, end)
    if (connection < 0) {
      // Where ports would be, a later fragment has payload.
      if (frame.fragment === LATER_FRAGMENT) return DROP_ORPHAN_FRAGMENT
      const chosen =
        service >= 0 ? service : director.findService(zone, view, l3At, l4At, protocol, 0)
      if (chosen < 0) return DROP_NO_BACKEND
      connection = director.schedule(
        zone,
        chosen,
        view,
        l3At,
        l4At,
        protocol,
        end,
        nowMs,
        masquerade,
      )
      if (connection < 0) return reasonOf(connection)
      this.begin(connection)
      this.retries.keep(frame, connection, chosen)
      director.direction = FORWARD
    }
    if (director.proxyHeaders.count !== 0 && !this.passes(frame, connection, nowMs)) {
      return DROP_PROXY_EARLY
    }
    this.apply(frame, connection, director.direction, nowMs)
    this.connection = connection
    return DROP_NONE
  }

  /** A frame that may be a reply of a real server, or an ICMP error about a flow: rewrites it
   * when it is. Sets `connection` (-1: it is neither) and `retried`. */
  reply(frame: Frame, zone: number, nowMs: number): void {
    const director = this.director
    this.connection = -1
    this.retried = false
    this.headerDue = PROXY_PASS
    const { protocol } = frame
    if (!isBalanced(frame)) {
      if (this.related(frame, zone) === DROP_NONE) this.retry(frame, this.connection, nowMs)
      return
    }
    const view = this.slab.view
    const end = frame.at + frame.headSize
    const connection = director.lookup(zone, view, frame.l3At, frame.l4At, protocol, end)
    if (connection < 0) return
    if (this.retry(frame, connection, nowMs)) return
    this.apply(frame, connection, director.direction, nowMs)
    this.connection = connection
  }

  /** True when `frame` refuses a connection that another backend is given now. */
  private retry(frame: Frame, connection: number, nowMs: number): boolean {
    if (this.director.direction !== REPLY || !this.retries.isRefusal(frame)) return false
    const next = this.retries.attempt(connection, nowMs)
    if (next < 0) return false
    this.begin(next)
    this.connection = next
    this.retried = true
    return true
  }

  /** Gives a connection whose real server is gone to another, in `connection`: resend() has what to
   * send. False: its ends must be told. */
  move(connection: number, nowMs: number): boolean {
    const next = this.retries.attempt(connection, nowMs)
    if (next < 0) return false
    this.begin(next)
    this.connection = next
    return true
  }

  /** Lays the SYN that was refused at `at` and describes it by `frame`, not yet rewritten. False
   * when it is not kept any more: its client will repeat it. */
  takeRefused(at: number, frame: Frame): boolean {
    return this.retries.take(this.connection, at, frame)
  }

  /** Rewrites that SYN for the backend that it goes to now. */
  resend(frame: Frame, nowMs: number): void {
    this.apply(frame, this.connection, FORWARD, nowMs)
  }

  /** Remembers where the replies of a mesh flow go that another node balanced. Returns DROP_NONE
   * or why it cannot; sets `connection`. */
  track(frame: Frame, zone: number, peer: number, nowMs: number): number {
    const view = this.slab.view
    const director = this.director
    const { l3At, l4At, protocol } = frame
    const end = frame.at + frame.headSize
    this.connection = -1
    if (!isBalanced(frame)) return this.trackedError(frame, zone, peer)
    let connection = director.lookup(zone, view, l3At, l4At, protocol, end)
    if (
      connection >= 0 &&
      (director.direction !== FORWARD || director.serviceOf(connection) >= 0)
    ) {
      return DROP_FLOW_CONFLICT
    }
    if (connection < 0 || director.data(connection) !== peer) {
      connection = this.byAnotherWay(frame, zone, peer, connection, nowMs)
      if (connection < 0) return reasonOf(connection)
    }
    const bytes = frame.size - ETHERNET_HEADER_SIZE
    const whole = frame.end()
    director.track(connection, FORWARD, view, l3At, l4At, whole, frame.packets, bytes, nowMs)
    director.translate(connection, FORWARD, view, l3At, l4At, end, frame.partial)
    this.connection = connection
    return DROP_NONE
  }

  /** An ICMP error from outside about a flow of a published port: rewrites it for the real server
   * and sets `connection`. DROP_NO_FLOW: there is none. */
  outsideError(frame: Frame): number {
    const reason = this.related(frame, MESH_ZONE)
    return reason === DROP_NONE && this.director.direction === FORWARD ? DROP_NONE : DROP_NO_FLOW
  }

  /** The same on the real server's node: `peer` found the flow, and this node must know it as one
   * that came by that peer. */
  private trackedError(frame: Frame, zone: number, peer: number): number {
    const { director } = this
    const isTwin = this.hasTwins && this.related(frame, twinZone(peer)) === DROP_NONE
    if (!isTwin && this.related(frame, zone) !== DROP_NONE) return DROP_NO_FLOW
    const { connection } = this
    const isTracked = director.direction === FORWARD && director.serviceOf(connection) < 0
    return isTracked && director.data(connection) === peer ? DROP_NONE : DROP_NO_FLOW
  }

  /** Connection of a frame that `peer` balanced, when the one that it looks like, `other`, came
   * another way or is none (-1). Two connections of a client by two nodes may differ in nothing
   * that this node sees: the second one is a twin, with a zone and a port of its own. Without a SYN
   * it is the same connection, whose client has come back through another node: the newest way in
   * is the way out. Below 0: a verdict. */
  private byAnotherWay(
    frame: Frame,
    zone: number,
    peer: number,
    other: number,
    nowMs: number,
  ): number {
    const view = this.slab.view
    const director = this.director
    const { l3At, l4At, protocol } = frame
    const end = frame.at + frame.headSize
    const twins = twinZone(peer)
    if (this.hasTwins) {
      const own = director.lookup(twins, view, l3At, l4At, protocol, end)
      if (own >= 0) return own
    }
    if (frame.fragment === LATER_FRAGMENT) return other < 0 ? ORPHAN : other
    const begins = protocol === PROTOCOL_TCP && opensTcp(view, l4At)
    let made = other
    if (other < 0) {
      made = director.insertTracked(zone, zone, view, l3At, l4At, protocol, end, nowMs)
    }
    if (begins && (other >= 0 || made === NO_PORT)) {
      this.hasTwins = true
      made = director.insertTracked(twins, zone, view, l3At, l4At, protocol, end, nowMs)
    }
    if (made >= 0) director.setData(made, peer)
    return made
  }

  /** Endpoint number of the real server that `connection` goes to; -1 when the tables name none.
   * The flow carries it, so that a reset finds its way even after the tables have changed. */
  endpointOf(connection: number): number {
    return this.director.data(connection)
  }

  private related(frame: Frame, zone: number): number {
    const view = this.slab.view
    const error =
      (frame.protocol === PROTOCOL_ICMP && isIcmpError(icmpType(view, frame.l4At))) ||
      (frame.protocol === PROTOCOL_ICMPV6 && isIcmpv6Error(icmpv6Type(view, frame.l4At)))
    // Only a whole error can be rewritten: its checksum covers what it quotes. What a later
    // fragment begins with is no ICMP header.
    const isWhole = frame.headSize === frame.size && frame.fragment !== LATER_FRAGMENT
    if (!error || !isWhole) return DROP_NO_BACKEND
    const end = frame.end()
    const connection = this.director.relatedIcmp(zone, view, frame.l3At, frame.l4At, end)
    this.connection = connection
    const { proxyHeaders, direction } = this.director
    if (connection >= 0 && direction === REPLY && proxyHeaders.count !== 0) {
      if (proxyHeaders.holds(connection)) proxyHeaders.unquote(connection, view, frame.l4At, end)
    }
    return this.connection < 0 ? DROP_NO_BACKEND : DROP_NONE
  }

  private apply(frame: Frame, connection: number, direction: number, nowMs: number): void {
    const view = this.slab.view
    const director = this.director
    const end = frame.at + frame.headSize
    const bytes = frame.size - ETHERNET_HEADER_SIZE
    const { l3At, l4At, packets } = frame
    director.track(connection, direction, view, l3At, l4At, frame.end(), packets, bytes, nowMs)
    director.translate(connection, direction, view, l3At, l4At, end, frame.partial)
    const service = director.serviceOf(connection)
    if (service < 0) return
    this.count(service, director.realServerOf(connection), direction, packets, bytes)
    if (director.proxyHeaders.count !== 0) this.shift(frame, connection, direction, nowMs)
  }

  /** False when a segment of the client comes too early for its flow's PROXY header. Sets
   * `headerDue`. */
  private passes(frame: Frame, connection: number, nowMs: number): boolean {
    const { proxyHeaders, direction } = this.director
    if (direction !== FORWARD || frame.protocol !== PROTOCOL_TCP) return true
    if (frame.fragment === LATER_FRAGMENT || !proxyHeaders.holds(connection)) return true
    const view = this.slab.view
    const isPart = frame.fragment !== NOT_A_FRAGMENT
    const judged = proxyHeaders.judge(connection, view, frame.l4At, frame.end(), isPart, nowMs)
    if (judged === PROXY_EARLY) return false
    this.headerDue = judged
    return true
  }

  /** Gives a frame of a flow with a PROXY header the numbers of the side that it goes to. */
  private shift(frame: Frame, connection: number, direction: number, nowMs: number): void {
    const { proxyHeaders } = this.director
    if (frame.protocol !== PROTOCOL_TCP || frame.fragment === LATER_FRAGMENT) return
    if (!proxyHeaders.holds(connection)) return
    const view = this.slab.view
    const { l4At, partial } = frame
    if (direction === FORWARD) proxyHeaders.shiftForward(connection, view, l4At, partial)
    else if (proxyHeaders.shiftReply(connection, view, l4At, partial, nowMs)) {
      this.headerDue = PROXY_BEFORE
    }
  }

  private begin(connection: number): void {
    const server = this.director.realServerOf(connection)
    const serviceRow = this.rowFor(this.director.serviceOf(connection))
    const serverRow = this.serverRowFor(server)
    this.director.setData(connection, this.endpointOfServer(this.director.realServerKey(server)))
    this.cells[ENGINE_CELLS.flowsNew]!++
    this.cells[serviceRow + FLOWS_NEW]!++
    this.cells[serverRow + FLOWS_NEW]!++
  }

  private count(
    service: number,
    server: number,
    direction: number,
    packets: number,
    bytes: number,
  ): void {
    const cells = this.cells
    const packetsColumn = direction === REPLY ? TX_PACKETS : RX_PACKETS
    const bytesColumn = direction === REPLY ? TX_BYTES : RX_BYTES
    const serviceRow = this.rowFor(service)
    cells[serviceRow + packetsColumn]! += packets
    cells[serviceRow + bytesColumn]! += bytes
    const serverRow = this.serverRowFor(server)
    cells[serverRow + packetsColumn]! += packets
    cells[serverRow + bytesColumn]! += bytes
  }

  private rowFor(service: number): number {
    if (service >= this.serviceRow.length) this.serviceRow = grow(this.serviceRow, service)
    let row = this.serviceRow[service]!
    if (row < 0) {
      row = this.rowOfService(this.director.serviceKey(service))
      this.serviceRow[service] = row
    }
    return row
  }

  private serverRowFor(server: number): number {
    if (server >= this.serverRow.length) this.serverRow = grow(this.serverRow, server)
    let row = this.serverRow[server]!
    if (row < 0) {
      row = this.rowOfServer(this.director.realServerKey(server))
      this.serverRow[server] = row
    }
    return row
  }
}

/** TCP and UDP; SCTP only in one piece, because its checksum covers the whole packet. */
function isBalanced(frame: Frame): boolean {
  const { protocol } = frame
  if (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) return true
  if (protocol !== PROTOCOL_SCTP || frame.fragment !== NOT_A_FRAGMENT) return false
  return frame.headSize === frame.size
}

function grow(column: Int32Array, index: number): Int32Array {
  const larger = new Int32Array(2 ** Math.ceil(Math.log2(index + 1))).fill(-1)
  larger.set(column)
  return larger
}

/** The drop reason for a verdict of the director. */
function reasonOf(verdict: number): number {
  switch (verdict) {
    case NO_DESTINATION:
      return DROP_NO_BACKEND
    case DEFENCE:
      return DROP_DEFENCE
    case TABLE_FULL:
      return DROP_FLOWS_FULL
    case NOT_SYN:
      return DROP_NOT_SYN
    case NO_PORT:
    case DUPLICATE:
      return DROP_FLOW_CONFLICT
    case ORPHAN:
      return DROP_ORPHAN_FRAGMENT
    default:
      return DROP_BAD_HEADER
  }
}
