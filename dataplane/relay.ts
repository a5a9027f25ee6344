// A node as the way between two others that do not reach each other: both behind NAT, say. What
// they say to each other is sealed end to end; the relay passes datagrams on as they are and can
// read none.
//
// Nobody has to be told: a datagram that is for somebody else is known by what it carries. An
// initiation proves by its first mac whom it is for (vxlan/cookie.ts) and names the index under
// which its sender takes answers; a response names that index and one of its own; sealed datagrams
// and cookies name one of the two. So the relay learns its routes from the handshakes, and a route
// is a receiver index.
//
//     A --initiation, sender 7--> relay --> B          7 leads to A, and only B may use it
//     A <-- relay <--response, receiver 7, sender 9-- B    9 leads to B, and only A
//     A <--> relay <--> B                               receiver 9, receiver 7
//
// It relays only between peers with which it has sessions itself, from and to where these say they
// are: it is of no use to strangers, and sends nobody anything that he could not have been sent
// directly.
//
// Not done: batches. A relayed datagram costs two system calls' share more than a forwarded one;
// who needs speed opens a direct path.

import type { UnderlaySocket } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import type { PeerTable } from '../vxlan/peer-table.ts'
import {
  ENVELOPE_COOKIE,
  ENVELOPE_INITIATION,
  ENVELOPE_RESPONSE,
  envelopeReceiverIndex,
} from '../wire/envelope.ts'
import { type Counters, ENGINE_CELLS } from './counters.ts'
import {
  RELAY_INITIATIONS_PER_SECOND,
  RELAY_ROUTE_IDLE_MS,
  RELAY_ROUTES_MAX,
} from './engine-limits.ts'
import type { Transmitter } from './transmitter.ts'

/** Offset of the receiver index in a response; in cookies and sealed datagrams it is the envelope's
 * own, where initiation and response have the sender's. */
const RESPONSE_RECEIVER_INDEX = 8

interface Route {
  /** Session numbers: who takes what comes under the index, and who sends it. */
  readonly to: number
  readonly from: number
  usedMs: number
}

export class Relay {
  /** Whether this node relays at all. */
  isOn = false

  private readonly slab: Slab
  private readonly socket: UnderlaySocket
  private readonly sessions: PeerTable
  private readonly transmitter: Transmitter
  private readonly cells: Float64Array
  private readonly routes: Map<number, Route> = new Map()
  private allowance = RELAY_INITIATIONS_PER_SECOND
  private allowanceMs = 0

  constructor(
    slab: Slab,
    socket: UnderlaySocket,
    sessions: PeerTable,
    transmitter: Transmitter,
    counters: Counters,
  ) {
    this.slab = slab
    this.socket = socket
    this.sessions = sessions
    this.transmitter = transmitter
    this.cells = counters.cells
  }

  /** A handshake message that this node had no use for. True when it was sent on. */
  handshake(message: number, type: number, at: number, end: number, nowMs: number): boolean {
    if (!this.isOn) return false
    if (type === ENVELOPE_INITIATION) return this.initiation(message, at, end, nowMs)
    if (type === ENVELOPE_COOKIE) return this.datagram(message, at, end, nowMs)
    if (type !== ENVELOPE_RESPONSE) return false
    const { view } = this.slab
    const route = this.route(message, view.getUint32(at + RESPONSE_RECEIVER_INDEX), nowMs)
    if (route === undefined) return false
    const back = { to: route.from, from: route.to, usedMs: nowMs }
    if (!this.learn(envelopeReceiverIndex(view, at), back, nowMs)) return false
    return this.send(route, at, end, nowMs)
  }

  /** A datagram under a receiver index that is not this node's. True when it was sent on. */
  datagram(message: number, at: number, end: number, nowMs: number): boolean {
    if (!this.isOn) return false
    const route = this.route(message, envelopeReceiverIndex(this.slab.view, at), nowMs)
    return route !== undefined && this.send(route, at, end, nowMs)
  }

  /** A peer is gone: so are its routes, before its number is given out again. */
  forget(session: number): void {
    for (const [index, { to, from }] of this.routes) {
      if (to === session || from === session) this.routes.delete(index)
    }
  }

  private initiation(message: number, at: number, end: number, nowMs: number): boolean {
    // To find the addressee takes a hash per peer.
    this.allowance += ((nowMs - this.allowanceMs) * RELAY_INITIATIONS_PER_SECOND) / 1000
    this.allowance = Math.min(this.allowance, RELAY_INITIATIONS_PER_SECOND)
    this.allowanceMs = nowMs
    if (this.allowance < 1) return false
    this.allowance--
    const from = this.sessions.find((endpoint) => this.socket.receiving.from(message, endpoint))
    if (from < 0) return false
    const to = this.sessions.addressee(this.slab.bytes.subarray(at, end), from)
    if (to < 0) return false
    const back = { to: from, from: to, usedMs: nowMs }
    if (!this.learn(envelopeReceiverIndex(this.slab.view, at), back, nowMs)) return false
    return this.send({ to, from, usedMs: nowMs }, at, end, nowMs)
  }

  /** The route of an index, if the message comes from who may use it. */
  private route(message: number, index: number, nowMs: number): Route | undefined {
    const route = this.routes.get(index)
    if (route === undefined || nowMs - route.usedMs > RELAY_ROUTE_IDLE_MS) return undefined
    const source = this.sessions.endpointOf(route.from)
    if (source < 0 || !this.socket.receiving.from(message, source)) return undefined
    route.usedMs = nowMs
    return route
  }

  /** False when the index leads elsewhere already, or there are too many: the handshake fails, and
   * the next one has another index. */
  private learn(index: number, route: Route, nowMs: number): boolean {
    const known = this.routes.get(index)
    if (known !== undefined && nowMs - known.usedMs <= RELAY_ROUTE_IDLE_MS) {
      if (known.to !== route.to || known.from !== route.from) return false
    }
    if (known === undefined && this.routes.size >= RELAY_ROUTES_MAX) {
      for (const [old, { usedMs }] of this.routes) {
        if (nowMs - usedMs > RELAY_ROUTE_IDLE_MS) this.routes.delete(old)
      }
      if (this.routes.size >= RELAY_ROUTES_MAX) return false
    }
    this.routes.set(index, route)
    return true
  }

  private send({ to }: Route, at: number, end: number, nowMs: number): boolean {
    const endpoint = this.sessions.endpointOf(to)
    if (endpoint < 0) return false
    this.transmitter.sendOn(endpoint, at, end - at, nowMs)
    this.cells[ENGINE_CELLS.relayed]!++
    return true
  }
}
