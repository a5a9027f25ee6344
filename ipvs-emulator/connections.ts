// Connections of both address families: making them, ending them, and what depends on that
// (counters of the real server, the timer, a controlling template, the source port that keeps
// replies apart).
//
// A connection handle is entry * 2 + family.

import {
  ACTIVE,
  ADDRESSES,
  CONTROLLER,
  ConnTable,
  DEADLINE,
  FLAGS_BYTE,
  ONE_PACKET,
  type OnLarge,
  PORTS,
  PROTOCOL_BYTE,
  REPLY_PORTS,
  REWRITES,
  SERVER,
  STATE_BYTE,
  TEMPLATE,
  ZONES,
} from './conn-table.ts'
import { type Flow, IPV4, sameAddress, TCP } from './flow.ts'
import { EVICT_HALF_OPEN, EVICT_SAMPLES, PORT_ATTEMPTS, PORT_FIRST, PORT_LAST } from './limits.ts'
import { TCP_SYN_RECV, TCP_SYNACK } from './proto-tcp.ts'
import { ProxyHeaders } from './proxy-headers.ts'
import type { RealServer } from './service.ts'
import type { ServiceTable } from './service-table.ts'
import { STATE_COUNT_CELLS, stateCell } from './state-counts.ts'
import {
  ACTIVE_CONNECTIONS,
  CONNECTIONS,
  INACTIVE_CONNECTIONS,
  PERSISTENT_CONNECTIONS,
  TOTAL_ROW,
} from './statistics.ts'
import { TimerWheel } from './timer-wheel.ts'

export class Connections {
  readonly tables: readonly [ConnTable, ConnTable]
  readonly wheels: readonly [TimerWheel, TimerWheel]
  readonly proxyHeaders: ProxyHeaders
  /** Connections by state (state-counts.ts). */
  readonly #states: Float64Array
  readonly #services: ServiceTable
  readonly #random: () => number
  readonly #addresses: Int32Array = new Int32Array(8)
  /** Connections ended to make room. */
  evicted = 0

  constructor(
    capacity: number,
    services: ServiceTable,
    random: () => number,
    states: Float64Array = new Float64Array(STATE_COUNT_CELLS),
    onLarge?: OnLarge,
  ) {
    this.#states = states
    const make = (words: number) => new ConnTable(capacity, words, random, onLarge)
    this.tables = [make(1), make(4)]
    this.wheels = [new TimerWheel(this.tables[0]), new TimerWheel(this.tables[1])]
    this.proxyHeaders = new ProxyHeaders(this.tables)
    this.#services = services
    this.#random = random
  }

  get count(): number {
    return this.tables[0].count + this.tables[1].count
  }

  /** Reference of the flow as the client sends it, or -1. */
  findForward(flow: Flow): number {
    return this.#find(
      flow.family,
      flow.zone,
      flow.protocol,
      flow.source,
      flow.target,
      (flow.sourcePort << 16) | flow.targetPort,
    )
  }

  /** Reference that the real server's replies to the flow would find, or -1. */
  findReply(flow: Flow): number {
    return this.#find(
      flow.family,
      flow.replyZone,
      flow.protocol,
      flow.newTarget,
      flow.newSource,
      (flow.newTargetPort << 16) | flow.newSourcePort,
    )
  }

  #find(
    family: number,
    zone: number,
    protocol: number,
    s: Int32Array,
    t: Int32Array,
    ports: number,
  ): number {
    if (family === IPV4) return this.tables[0].find4(zone, protocol, s[0]!, t[0]!, ports)
    this.#addresses.set(s)
    this.#addresses.set(t, 4)
    return this.tables[1].find6(zone, protocol, this.#addresses, ports)
  }

  /** Makes sure that replies to the flow can be told from those of all other flows: keeps the
   * client's port where it is free, else takes another. False when none was found. */
  reserveReply(flow: Flow): boolean {
    if (this.findReply(flow) < 0) return true
    const start = this.#random()
    const range = PORT_LAST - PORT_FIRST + 1
    for (let i = 0; i < PORT_ATTEMPTS; i++) {
      flow.newSourcePort = PORT_FIRST + ((start + i) % range)
      if (this.findReply(flow) < 0) return true
    }
    return false
  }

  /** Makes a connection of the flow, which is in no index, due at `deadline` ticks; `flags` may
   * hold TEMPLATE or ONE_PACKET. Returns the handle or -1 when the table is full. */
  insert(flow: Flow, server: RealServer | null, flags: number, deadline: number): number {
    const table = this.tables[flow.family]!
    let entry = table.allocate()
    if (entry === 0) {
      if (!this.#evict(flow.family)) return -1
      entry = table.allocate()
    }
    const at = entry * table.stride
    const records = table.records
    records[at + PORTS] = (flow.sourcePort << 16) | flow.targetPort
    records[at + REPLY_PORTS] = (flow.newTargetPort << 16) | flow.newSourcePort
    records[at + ZONES] = (flow.zone << 16) | flow.replyZone
    records[at + SERVER] = server === null ? 0 : server.index
    records[at + DEADLINE] = deadline
    table.bytes[at * 4 + PROTOCOL_BYTE] = flow.protocol
    const words = table.words
    for (let i = 0; i < words; i++) {
      records[at + ADDRESSES + i] = flow.source[i]!
      records[at + ADDRESSES + words + i] = flow.target[i]!
      records[at + ADDRESSES + 2 * words + i] = flow.newSource[i]!
      records[at + ADDRESSES + 3 * words + i] = flow.newTarget[i]!
    }
    table.bytes[at * 4 + FLAGS_BYTE] = flags | (rewrites(flow) ? REWRITES : 0)
    if ((flags & ONE_PACKET) === 0) table.link(entry * 2)
    if ((flags & TEMPLATE) === 0) table.link(entry * 2 + 1)
    this.wheels[flow.family]!.file(entry)
    if ((flags & TEMPLATE) === 0) this.#countState(flow.protocol, 0, 1)
    if (server !== null) this.#bind(server, (flags & TEMPLATE) !== 0)
    return entry * 2 + flow.family
  }

  #countState(protocol: number, state: number, step: number): void {
    const cell = stateCell(protocol, state)
    this.#states[cell] = this.#states[cell]! + step
  }

  /** Gives a connection, no template, another state. */
  setState(family: number, entry: number, state: number): void {
    const { bytes, stride } = this.tables[family]!
    const byteAt = entry * stride * 4
    const protocol = bytes[byteAt + PROTOCOL_BYTE]!
    this.#countState(protocol, bytes[byteAt + STATE_BYTE]!, -1)
    this.#countState(protocol, state, 1)
    bytes[byteAt + STATE_BYTE] = state
  }

  #bind(server: RealServer, template: boolean): void {
    const statistics = this.#services.statistics
    const serviceRow = server.pool.service.row
    if (template) {
      server.templates++
      statistics.add(server.row, PERSISTENT_CONNECTIONS, 1)
      statistics.add(serviceRow, PERSISTENT_CONNECTIONS, 1)
      statistics.add(TOTAL_ROW, PERSISTENT_CONNECTIONS, 1)
      return
    }
    server.inactive++
    server.noteBound()
    for (let i = 0; i < 3; i++) {
      const row = i === 0 ? TOTAL_ROW : i === 1 ? serviceRow : server.row
      statistics.add(row, CONNECTIONS, 1)
      statistics.add(row, INACTIVE_CONNECTIONS, 1)
    }
  }

  /** Adds to the number of connections that `server` was given. */
  countGiven(server: RealServer, amount: number): void {
    const statistics = this.#services.statistics
    statistics.add(TOTAL_ROW, CONNECTIONS, amount)
    statistics.add(server.pool.service.row, CONNECTIONS, amount)
    statistics.add(server.row, CONNECTIONS, amount)
  }

  /** Fills `flow` with both halves of a connection. */
  readFlow(flow: Flow, family: number, entry: number): void {
    const table = this.tables[family]!
    const { records, words } = table
    const at = entry * table.stride
    flow.family = family
    flow.protocol = table.bytes[at * 4 + PROTOCOL_BYTE]!
    flow.zone = records[at + ZONES]! >>> 16
    flow.replyZone = records[at + ZONES]! & 0xffff
    flow.sourcePort = records[at + PORTS]! >>> 16
    flow.targetPort = records[at + PORTS]! & 0xffff
    flow.newTargetPort = records[at + REPLY_PORTS]! >>> 16
    flow.newSourcePort = records[at + REPLY_PORTS]! & 0xffff
    for (let i = 0; i < 4; i++) {
      const used = i < words
      flow.source[i] = used ? records[at + ADDRESSES + i]! : 0
      flow.target[i] = used ? records[at + ADDRESSES + words + i]! : 0
      flow.newSource[i] = used ? records[at + ADDRESSES + 2 * words + i]! : 0
      flow.newTarget[i] = used ? records[at + ADDRESSES + 3 * words + i]! : 0
    }
  }

  /** True when entry `entry` is of the client, ports and virtual address of `flow`. */
  carries(flow: Flow, entry: number): boolean {
    const table = this.tables[flow.family]!
    const at = entry * table.stride
    if (table.records[at + PORTS] !== ((flow.sourcePort << 16) | flow.targetPort)) return false
    for (let i = 0; i < table.words; i++) {
      if (table.records[at + ADDRESSES + i] !== flow.source[i]) return false
      if (table.records[at + ADDRESSES + table.words + i] !== flow.target[i]) return false
    }
    return true
  }

  /** Gives a filed connection another deadline, nearer or later. */
  refile(family: number, entry: number, deadline: number): void {
    const table = this.tables[family]!
    const wheel = this.wheels[family]!
    wheel.remove(entry)
    table.records[entry * table.stride + DEADLINE] = deadline
    wheel.file(entry)
  }

  /** Notes that the controlling template, if there is one, has a client that is no forgery: its
   * connection was established, or answered. */
  assure(family: number, entry: number): void {
    const { records, bytes, stride } = this.tables[family]!
    const controller = records[entry * stride + CONTROLLER]!
    if (controller !== 0) bytes[controller * stride * 4 + STATE_BYTE] = TEMPLATE_ASSURED
  }

  /** True for a template without connections whose client has never been seen to live: what a
   * flood from forged addresses leaves behind. */
  isLooseTemplate(family: number, entry: number): boolean {
    return isLooseTemplate(this.tables[family]!, entry * this.tables[family]!.stride)
  }

  /** Moves a connection between active and inactive when `active` differs from what it
   * counts as. */
  setActive(family: number, entry: number, active: boolean): void {
    const table = this.tables[family]!
    const at = entry * table.stride
    const flagsAt = at * 4 + FLAGS_BYTE
    const flags = table.bytes[flagsAt]!
    if (((flags & ACTIVE) !== 0) === active) return
    const server = this.#services.servers[table.records[at + SERVER]!]
    // A tracked flow has no server whose load it could be.
    if (server === null || server === undefined) return
    table.bytes[flagsAt] = flags ^ ACTIVE
    const step = active ? 1 : -1
    server.active += step
    server.inactive -= step
    const statistics = this.#services.statistics
    for (let i = 0; i < 3; i++) {
      const row = i === 0 ? TOTAL_ROW : i === 1 ? server.pool.service.row : server.row
      statistics.add(row, ACTIVE_CONNECTIONS, step)
      statistics.add(row, INACTIVE_CONNECTIONS, -step)
    }
  }

  /** Ends a connection. `filed`: it is still in its timer bucket. */
  release(family: number, entry: number, filed: boolean): void {
    const table = this.tables[family]!
    if (filed) this.wheels[family]!.remove(entry)
    if (this.proxyHeaders.count !== 0) this.proxyHeaders.forget(entry * 2 + family)
    const at = entry * table.stride
    const flags = table.bytes[at * 4 + FLAGS_BYTE]!
    table.unlink(entry * 2)
    table.unlink(entry * 2 + 1)
    const server = this.#services.servers[table.records[at + SERVER]!] ?? null
    const controller = table.records[at + CONTROLLER]!
    if ((flags & TEMPLATE) === 0) {
      const protocol = table.bytes[at * 4 + PROTOCOL_BYTE]!
      this.#countState(protocol, table.bytes[at * 4 + STATE_BYTE]!, -1)
    }
    table.free(entry)
    if (controller !== 0) table.records[controller * table.stride + HELD]!--
    if (server !== null) this.#unbind(server, flags)
  }

  #unbind(server: RealServer, flags: number): void {
    const statistics = this.#services.statistics
    const serviceRow = server.pool.service.row
    const template = (flags & TEMPLATE) !== 0
    const active = (flags & ACTIVE) !== 0
    const column = template
      ? PERSISTENT_CONNECTIONS
      : active
        ? ACTIVE_CONNECTIONS
        : INACTIVE_CONNECTIONS
    if (template) server.templates--
    else if (active) server.active--
    else server.inactive--
    if (!template) server.noteUnbound()
    statistics.add(TOTAL_ROW, column, -1)
    statistics.add(serviceRow, column, -1)
    statistics.add(server.row, column, -1)
    if (server.gone) this.#services.released(server)
  }

  /** Ends one connection that matters least, so that a full table takes a new one. Of EVICT_SAMPLES
   * random entries, or the first EVICT_HALF_OPEN half-open ones among them, the half-open TCP one
   * nearest its deadline goes; without a half-open one, one that has ended its transfer or is not
   * TCP. Templates that nobody stands behind count as half-open, and go with their last connection.
   * Established connections and other templates are never chosen. */
  #evict(family: number): boolean {
    const table = this.tables[family]!
    let choice = 0
    let choiceRank = 0
    let choiceDeadline = 0
    let halfOpen = 0
    for (let i = 0; i < EVICT_SAMPLES && halfOpen < EVICT_HALF_OPEN; i++) {
      const entry = 1 + (this.#random() % (table.high - 1))
      const at = entry * table.stride
      const rank = evictionRank(table, at)
      if (rank === HALF_OPEN) halfOpen++
      if (rank === 0 || rank < choiceRank) continue
      const deadline = table.records[at + DEADLINE]!
      if (rank > choiceRank || deadline < choiceDeadline) {
        choice = entry
        choiceRank = rank
        choiceDeadline = deadline
      }
    }
    if (choice === 0) return false
    const controller = table.records[choice * table.stride + CONTROLLER]!
    this.release(family, choice, true)
    this.evicted++
    if (controller !== 0 && this.isLooseTemplate(family, controller)) {
      this.release(family, controller, true)
      this.evicted++
    }
    return true
  }
}

/** Word of a template's record that counts the connections it controls (a TCP head in other
 * entries). */
export const HELD = 8

/** State of a template whose client is known to live (IP_VS_CTPL_S_ASSURED); 0 = not yet. */
export const TEMPLATE_ASSURED = 1

function isLooseTemplate({ bytes, records }: ConnTable, at: number): boolean {
  return (
    (bytes[at * 4 + FLAGS_BYTE]! & TEMPLATE) !== 0 &&
    bytes[at * 4 + STATE_BYTE] !== TEMPLATE_ASSURED &&
    records[at + HELD] === 0
  )
}

function rewrites(flow: Flow): boolean {
  return !(
    flow.sourcePort === flow.newSourcePort &&
    flow.targetPort === flow.newTargetPort &&
    sameAddress(flow.source, flow.newSource) &&
    sameAddress(flow.target, flow.newTarget)
  )
}

/** Rank of a half-open connection, the highest. */
const HALF_OPEN = 3

/** 0 = keep; higher goes first. */
function evictionRank(table: ConnTable, at: number): number {
  const flags = table.bytes[at * 4 + FLAGS_BYTE]!
  const protocol = table.bytes[at * 4 + PROTOCOL_BYTE]!
  if (protocol === 0 || (flags & ACTIVE) !== 0) return 0
  if ((flags & TEMPLATE) !== 0) return isLooseTemplate(table, at) ? HALF_OPEN : 0
  if (protocol !== TCP) return 1
  const state = table.bytes[at * 4 + STATE_BYTE]!
  if (state === 0 || state === TCP_SYN_RECV || state === TCP_SYNACK) return HALF_OPEN
  return state === 1 ? 0 : 2
}
