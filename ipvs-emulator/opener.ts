// Making connections: may this packet open one, which real server gets it, and what the two sides
// see.
//
// Persistence (ip_vs_sched_persist()): a template remembers which real server a client network has.
// It is an entry of the connection table that is no flow: its protocol byte is outside the
// protocols in use, so no packet finds it. Its key is (protocol, client network, virtual address,
// virtual port); for a port-0 service the port is 0, so that all ports of a client share one
// server; for a service by mark the protocol and the address are left out too. Connections made
// through it name it as their controller; it outlives them.
//
// One-packet scheduling (ipvsadm --ops, UDP only): the forward direction is not put in the index,
// so every packet of the client is scheduled by itself; the reply direction is, once per client and
// real server.

import { assert } from '../base/assert.ts'
import { PROXY_V1, PROXY_V2 } from '../wire/proxy-protocol.ts'
import { opensTcp, TCP_ACK, TCP_RST, TCP_SYN, tcpFlags } from '../wire/tcp.ts'
import type { ProxyProtocol } from './config.ts'
import {
  CONTROLLER,
  ONE_PACKET,
  PACKETS_BYTE,
  PORTS,
  SERVER,
  STATE_BYTE,
  TEMPLATE,
} from './conn-table.ts'
import { type Connections, HELD } from './connections.ts'
import { dropRate } from './defence.ts'
import {
  copyAddress,
  type Flow,
  IPV4,
  makeFlow,
  readFlow,
  SCTP,
  sameAddress,
  setAddress4,
  TCP,
  UDP,
} from './flow.ts'
import { RETRY_SYNS_MAX } from './limits.ts'
import { isLaterFragment } from './packet.ts'
import { CHUNK_INIT, SCTP_HEADER_SIZE } from './proto-sctp.ts'
import { TCP_CLOSE, TCP_SYN_RECV, TCP_TIME_WAIT } from './proto-tcp.ts'
import type { RealServer, Service } from './service.ts'
import type { ServiceTable } from './service-table.ts'
import type { Settings } from './settings.ts'
import { FIRST_TIMEOUT_TICKS, ticksOf } from './timeouts.ts'
import { isUnanswered } from './tracker.ts'
import {
  DEFENCE,
  DUPLICATE,
  LATER_FRAGMENT,
  MALFORMED,
  NO_DESTINATION,
  NO_PORT,
  NOT_BALANCED,
  NOT_SYN,
  TABLE_FULL,
} from './verdict.ts'

const TCP_SIZE_MIN = 20
const UDP_SIZE = 8

/** Protocol byte of a template for packets of `protocol`, 0 for one by mark. 192 and up are
 * unassigned as IP protocols but for a few that no service can have (253, 254 experimental, 255
 * reserved). */
function templateProtocol(protocol: number): number {
  return 192 + (protocol & 31)
}

/** Protocol of the packets that a template with protocol byte `byte` is for, 0 for one by mark. */
export function templatedProtocol(byte: number): number {
  const low = byte - 192
  // 132 (SCTP) and 6 (TCP) differ in their lower five bits: 4 and 6.
  return low === (SCTP & 31) ? SCTP : low
}

const PROXY_VERSIONS: Readonly<Record<ProxyProtocol, number>> = { v1: PROXY_V1, v2: PROXY_V2 }

export class Opener {
  readonly #connections: Connections
  readonly #services: ServiceTable
  readonly #settings: Settings
  readonly #random: () => number
  readonly #flow: Flow = makeFlow()
  readonly #template: Flow = makeFlow()
  /** New connections until drop_packet drops one. */
  #dropCountdown = 0

  constructor(
    connections: Connections,
    services: ServiceTable,
    settings: Settings,
    random: () => number,
  ) {
    this.#connections = connections
    this.#services = services
    this.#settings = settings
    this.#random = random
  }

  /** Director.schedule(). */
  schedule(
    zone: number,
    serviceIndex: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    tick: number,
    masquerade: boolean,
  ): number {
    const fault = this.#fault(view, ipAt, l4At, protocol, end)
    if (fault < 0) return fault
    const service = this.#services.services[serviceIndex]
    if (service === null || service === undefined) return NOT_BALANCED
    // The header can be put in front of a whole stream only, even with sloppyTcp.
    const isWhole = protocol !== TCP || (tcpFlags(view, l4At) & TCP_SYN) !== 0
    if (service.config.proxyProtocol !== undefined && !isWhole) return NOT_SYN
    const flow = this.#flow
    readFlow(flow, zone, view, ipAt, l4At, protocol)
    flow.replyZone = service.config.replyZone ?? zone
    if (this.#connections.findForward(flow) >= 0) return DUPLICATE
    if (this.#dropped()) return DEFENCE
    let template = 0
    let server: RealServer | null
    if ((service.config.persistenceSeconds ?? 0) > 0) {
      template = this.#persist(service, flow, tick)
      if (template < 0) return template
      const table = this.#connections.tables[flow.family]!
      server = this.#services.servers[table.records[template * table.stride + SERVER]!]!
      // So that it is not what makes room for the connection.
      this.#hold(flow.family, template, 1)
    } else server = this.#choose(service, flow, tick)
    if (server === null) return NO_DESTINATION
    const connection = this.#connect(service, flow, server, tick, masquerade)
    if (template !== 0) this.#control(flow.family, connection, template)
    return connection
  }

  /** Why a packet may not open a connection, 0 when it may. */
  #fault(view: DataView, ipAt: number, l4At: number, protocol: number, end: number): number {
    if (isLaterFragment(view, ipAt, l4At)) return LATER_FRAGMENT
    if (end - l4At < (protocol === TCP ? TCP_SIZE_MIN : UDP_SIZE)) return MALFORMED
    if (protocol === TCP) {
      const flags = tcpFlags(view, l4At)
      if ((flags & TCP_RST) !== 0) return NOT_SYN
      if (this.#settings.sloppyTcp) return 0
      return (flags & (TCP_SYN | TCP_ACK)) === TCP_SYN ? 0 : NOT_SYN
    }
    if (protocol === SCTP) {
      const chunk = l4At + SCTP_HEADER_SIZE
      if (chunk + 4 > end) return MALFORMED
      return view.getUint8(chunk) === CHUNK_INIT || this.#settings.sloppySctp ? 0 : NOT_SYN
    }
    return protocol === UDP ? 0 : NOT_BALANCED
  }

  /** True when the drop_packet defence claims this new connection. */
  #dropped(): boolean {
    const rate = dropRate(this.#settings, this.#connections)
    if (rate === 0) return false
    this.#dropCountdown--
    if (this.#dropCountdown > 0) return false
    this.#dropCountdown = rate
    return true
  }

  /** The scheduler's choice: of the nearest tier that has an available server. */
  #choose(service: Service, flow: Flow, tick: number): RealServer | null {
    const pools = service.pools
    for (let i = flow.family; i < pools.length; i += 2) {
      const pool = pools[i]!
      if (pool.servers.length === 0) continue
      const server = pool.scheduler.schedule(pool, flow, this.#random, tick)
      if (server !== null) return server
    }
    return null
  }

  /** Makes the connection of `flow` to `server`; the client's half of `flow` is filled in. */
  #connect(
    service: Service,
    flow: Flow,
    server: RealServer,
    tick: number,
    masquerade: boolean,
  ): number {
    aim(service, flow, server, masquerade)
    const onePacket = service.config.onePacket === true && flow.protocol === UDP
    if (onePacket) {
      const known = this.#connections.findReply(flow)
      if (known >= 0 && this.#connections.carries(flow, known >>> 1)) {
        this.#connections.countGiven(server, 1)
        return (known >>> 1) * 2 + flow.family
      }
    }
    if (!this.#connections.reserveReply(flow)) return NO_PORT
    return this.#insert(service, flow, server, tick, onePacket ? ONE_PACKET : 0)
  }

  #insert(service: Service, flow: Flow, server: RealServer, tick: number, flags: number): number {
    const connection = this.#connections.insert(flow, server, flags, tick + FIRST_TIMEOUT_TICKS)
    if (connection < 0) return TABLE_FULL
    const { proxyProtocol } = service.config
    if (proxyProtocol !== undefined && flow.protocol === TCP) {
      this.#connections.proxyHeaders.open(connection, PROXY_VERSIONS[proxyProtocol])
    }
    return connection
  }

  /** Entry of the template for a client of a persistent service: the one there is, else a new one.
   * Negative: a verdict. */
  #persist(service: Service, flow: Flow, tick: number): number {
    const connections = this.#connections
    const table = connections.tables[flow.family]!
    const template = this.#template
    this.#fillTemplate(template, service, flow)
    const deadline = tick + ticksOf(service.config.persistenceSeconds!) + 1
    const known = connections.findForward(template)
    if (known >= 0) {
      const entry = known >>> 1
      const at = entry * table.stride
      const server = this.#services.servers[table.records[at + SERVER]!]!
      const quiesced = this.#settings.expireQuiescentTemplate && server.weight === 0
      if (!server.gone && !quiesced && server.pool.service === service) {
        connections.refile(flow.family, entry, deadline)
        return entry
      }
      // No longer to be found, but kept until its connections are gone.
      table.unlink(known)
    }
    const server = this.#choose(service, flow, tick)
    if (server === null) return NO_DESTINATION
    const made = connections.insert(template, server, TEMPLATE, deadline)
    return made < 0 ? TABLE_FULL : made >>> 1
  }

  #fillTemplate(template: Flow, service: Service, flow: Flow): void {
    const config = service.config
    template.family = flow.family
    template.zone = flow.zone
    template.replyZone = flow.zone
    maskAddress(
      template.source,
      flow.source,
      flow.family === IPV4 ? (config.persistencePrefix4 ?? 32) : (config.persistencePrefix6 ?? 128),
      flow.family,
    )
    template.sourcePort = 0
    const mark = config.mark ?? 0
    if (mark !== 0) {
      template.protocol = templateProtocol(0)
      setAddress4(template.target, mark | 0)
      template.targetPort = 0
    } else {
      template.protocol = templateProtocol(flow.protocol)
      copyAddress(template.target, flow.target)
      template.targetPort = this.#hasOwnPort(service, flow) ? flow.targetPort : 0
    }
    copyAddress(template.newSource, template.source)
    copyAddress(template.newTarget, template.target)
    template.newSourcePort = 0
    template.newTargetPort = template.targetPort
  }

  /** False when the flow came to the service by a port-0 virtual address. */
  #hasOwnPort(service: Service, flow: Flow): boolean {
    const any = this.#services.virtuals.findFlow(flow, 0)
    return any !== service.index || this.#services.virtuals.findFlow(flow, flow.targetPort) >= 0
  }

  /** Gives a connection, a verdict below 0, to the template that is held for it. */
  #control(family: number, connection: number, template: number): void {
    const table = this.#connections.tables[family]!
    const controller = (connection >>> 1) * table.stride + CONTROLLER
    // A one-packet connection in use again is controlled already.
    if (connection < 0 || table.records[controller] !== 0) this.#hold(family, template, -1)
    else table.records[controller] = template
  }

  #hold(family: number, template: number, step: number): void {
    const table = this.#connections.tables[family]!
    const held = template * table.stride + HELD
    table.records[held] = table.records[held]! + step
  }

  /** Director.retry(). */
  retry(connection: number, tick: number): number {
    const family = connection & 1
    const entry = connection >>> 1
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    const server = this.#services.servers[table.records[at + SERVER]!]
    if (server === null || server === undefined) return -1
    const { service } = server.pool
    const refusable =
      service.config.retryRefused === true &&
      // A server that has spoken has taken the connection, and the client may know.
      isUnanswered(table, entry) &&
      // A persistent client belongs to its server.
      table.records[at + CONTROLLER] === 0 &&
      table.bytes[at * 4 + PACKETS_BYTE]! <= RETRY_SYNS_MAX
    if (!refusable) return -1
    const other = another(service, server, table.records[at + PORTS]! >>> 16)
    if (other === null) return -1
    const flow = this.#flow
    this.#connections.readFlow(flow, family, entry)
    // As the caller asked, not because the client was its own server.
    const masqueraded =
      !sameAddress(flow.source, flow.newSource) && !sameAddress(flow.source, server.address)
    const syns = table.bytes[at * 4 + PACKETS_BYTE]!
    copyAddress(flow.newSource, flow.source)
    flow.newSourcePort = flow.sourcePort
    flow.newTargetPort = flow.targetPort
    aim(service, flow, other, masqueraded)
    // The caller of a -1 still has its connection: nothing may be undone before all is certain. The
    // room that the old one leaves is enough for the new one.
    if (!this.#connections.reserveReply(flow)) return -1
    this.#connections.release(family, entry, true)
    const made = this.#insert(service, flow, other, tick, 0)
    assert(made >= 0, 'there is room for the connection that was moved')
    const madeAt = (made >>> 1) * table.stride * 4
    this.#connections.setState(family, made >>> 1, TCP_SYN_RECV)
    table.bytes[madeAt + PACKETS_BYTE] = syns
    return made
  }

  /** Director.insertTracked(). */
  track(
    zone: number,
    replyZone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    tick: number,
  ): number {
    if (isLaterFragment(view, ipAt, l4At)) return LATER_FRAGMENT
    if (end - l4At < (protocol === TCP ? TCP_SIZE_MIN : UDP_SIZE)) return MALFORMED
    const flow = this.#flow
    readFlow(flow, zone, view, ipAt, l4At, protocol)
    flow.replyZone = replyZone
    const known = this.#connections.findForward(flow)
    if (known >= 0) return (known >>> 1) * 2 + flow.family
    // Without rewriting, a reply can only be told apart by what the wire says.
    const rival = this.#connections.findReply(flow)
    if (rival >= 0) {
      const begins = protocol === TCP && opensTcp(view, l4At)
      if (protocol === UDP || (begins && this.#isOver(flow, rival >>> 1))) {
        this.#connections.release(flow.family, rival >>> 1, true)
      } else if (!begins || zone === replyZone || !this.#connections.reserveReply(flow))
        return NO_PORT
    }
    const connection = this.#connections.insert(flow, null, 0, tick + FIRST_TIMEOUT_TICKS)
    return connection < 0 ? TABLE_FULL : connection
  }

  /** True when the TCP flow `entry` is over for its client, which begins another from the same port
   * by another way. A UDP flow never says that it is over. */
  #isOver(flow: Flow, entry: number): boolean {
    const table = this.#connections.tables[flow.family]!
    const state = table.bytes[entry * table.stride * 4 + STATE_BYTE]!
    return state === TCP_TIME_WAIT || state === TCP_CLOSE
  }
}

/** Fills in the real server's half of `flow`. */
function aim(service: Service, flow: Flow, server: RealServer, masquerade: boolean): void {
  copyAddress(flow.newTarget, server.address)
  if (server.port !== 0) flow.newTargetPort = server.port
  const source = service.masquerade[flow.family]!
  if (source !== null && (masquerade || sameAddress(flow.source, server.address))) {
    copyAddress(flow.newSource, source)
  }
}

/** Another server than the one that refused, of the nearest tier that has one available. A number
 * that differs between clients says how far along the list it stands, so that one refused server's
 * clients spread over all others, and a client refused again walks on by the same distance. */
function another(service: Service, refused: RealServer, number: number): RealServer | null {
  for (const pool of service.pools) {
    if (pool.family !== refused.pool.family) continue
    const { servers } = pool
    const position = servers.indexOf(refused)
    const count = servers.length
    // One that is gone stands nowhere: nobody is to be left out.
    const others = position < 0 ? count : count - 1
    const first = position + 1 + (number % Math.max(others, 1))
    for (let i = 0; i < count; i++) {
      const server = servers[(first + i) % count]!
      if (server !== refused && server.eligible) return server
    }
  }
  return null
}

function maskAddress(to: Int32Array, from: Int32Array, prefix: number, family: number): void {
  for (let i = 0; i < 4; i++) {
    const bits = Math.min(Math.max(prefix - 32 * i, 0), 32)
    // A shift by 32 is a shift by 0 in JavaScript.
    const mask = bits === 0 ? 0 : -1 << (32 - bits)
    to[i] = family === IPV4 && i > 0 ? 0 : from[i]! & mask
  }
}
