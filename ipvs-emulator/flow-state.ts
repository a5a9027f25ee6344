// Flow state as bytes, so that established flows survive a restart of the agent: saved on stop,
// loaded after the configuration has been applied. Every entry is checked on the way in; one whose
// real server is not configured any more, or at another address, is left out.
//
//   magic(4) "WFLO"  version(2)  0(2)
//   real servers(4), each: service key length(2) bytes, server key length(2) bytes
//   connections(4), templates first, each:
//     family(1) protocol(1) state(1) flags(1)
//     ports(4) reply ports(4) zones(4) real server(4) remaining ticks(4) engine's number(4)
//     controller(4): 0, or 1 + position of its template     packets(4)
//     TCP heads(16)     addresses(4 or 16 each): client, virtual, client', server
//   version 2 only: flows with a PROXY header(4), each:
//     position of the connection(4)     record(24): see proxy-headers.ts
//   CRC-32C(4) of everything before
//
// All numbers are big-endian. Version 2 is written where flows have PROXY headers, so that nobody
// goes on with such a flow who does not know of its shift. Tracked flows have NO_SERVER as real
// server; what the engine's numbers mean after a restart is the engine's to say.

import {
  ADDRESSES,
  CONTROLLER,
  type ConnTable,
  DATA,
  DEADLINE,
  FLAGS_BYTE,
  HAS_FORWARD,
  HEADS,
  NO_OUTPUT,
  ONE_PACKET,
  PACKETS_BYTE,
  PORTS,
  PROTOCOL_BYTE,
  REPLY_PORTS,
  SERVER,
  STATE_BYTE,
  TEMPLATE,
  ZONES,
} from './conn-table.ts'
import { HELD, TEMPLATE_ASSURED } from './connections.ts'
import { crc32c } from './crc32c.ts'
import type { Director } from './director.ts'
import { type Flow, IPV4, makeFlow, SCTP, TCP, UDP } from './flow.ts'
import { TICK_MS } from './limits.ts'
import { templatedProtocol } from './opener.ts'
import { SCTP_MACHINE } from './proto-sctp.ts'
import { TCP_MACHINE } from './proto-tcp.ts'
import { UDP_MACHINE } from './proto-udp.ts'
import { PROXY_SAVED_WORDS } from './proxy-headers.ts'
import type { RealServer } from './service.ts'

const MAGIC = 0x57464c4f
const VERSION = 1
const VERSION_PROXY = 2
const PROXY_SIZE: number = 4 + 4 * PROXY_SAVED_WORDS
const FIXED_SIZE = 52
const NO_SERVER = 0xffff_ffff
/** A year: no timeout is longer. */
const REMAINING_TICKS_MAX: number = (365 * 24 * 60 * 60 * 1000) / TICK_MS
/** Flags that are worth keeping; the others follow from the rest. */
const KEPT_FLAGS: number = TEMPLATE | ONE_PACKET | NO_OUTPUT

/** The bytes are not a whole, undamaged flow state of this version. Nothing was loaded. */
export class FlowStateError extends Error {
  override readonly name: string = 'FlowStateError'
}

/** Saves every connection, and the templates that are followed. */
export function saveFlows(director: Director): Uint8Array {
  const [templates, flows] = collect(director)
  const all = [...templates, ...flows]
  const servers = new Map<number, number>()
  for (const connection of all) {
    const index = director.realServerOf(connection)
    if (index >= 0 && !servers.has(index)) servers.set(index, servers.size)
  }
  const names = [...servers.keys()].map((index) => nameOf(director.services.servers[index]!))
  let size = 8 + 4 + 4 + 4
  for (const [service, server] of names) size += 4 + service.length + server.length
  for (const connection of all) size += FIXED_SIZE + ((connection & 1) === IPV4 ? 16 : 64)
  const headers = withHeaders(director, all)
  if (headers.length > 0) size += 4 + PROXY_SIZE * headers.length
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC)
  view.setUint16(4, headers.length > 0 ? VERSION_PROXY : VERSION)
  view.setUint32(8, names.length)
  let at = 12
  for (const part of names.flat()) {
    view.setUint16(at, part.length)
    bytes.set(part, at + 2)
    at += 2 + part.length
  }
  view.setUint32(at, all.length)
  at += 4
  const positions = new Map(templates.map((connection, i) => [connection, i]))
  for (const connection of all) at = saveOne(director, connection, servers, positions, view, at)
  if (headers.length > 0) {
    view.setUint32(at, headers.length)
    at += 4
    for (const [position, connection] of headers) {
      view.setUint32(at, position)
      director.proxyHeaders.save(connection, view, at + 4)
      at += PROXY_SIZE
    }
  }
  view.setUint32(at, crc32c(view, 0, at))
  return bytes
}

/** Those of `all` that have a PROXY header, and their positions. */
function withHeaders(
  { proxyHeaders }: Director,
  all: readonly number[],
): [position: number, connection: number][] {
  if (proxyHeaders.count === 0) return []
  return [...all.entries()].filter(([, connection]) => proxyHeaders.holds(connection))
}

function collect(director: Director): [templates: number[], flows: number[]] {
  const templates: number[] = []
  const flows: number[] = []
  for (let c = director.nextConnection(0); c >= 0; c = director.nextConnection(c + 1)) {
    const table = director.connections.tables[c & 1]!
    const flags = table.bytes[(c >>> 1) * table.stride * 4 + FLAGS_BYTE]!
    if ((flags & TEMPLATE) === 0) flows.push(c)
    // One that is not followed any more must not take the place of the one that is.
    else if ((flags & HAS_FORWARD) !== 0) templates.push(c)
  }
  return [templates, flows]
}

function nameOf(server: RealServer): [Uint8Array, Uint8Array] {
  const encoder = new TextEncoder()
  return [encoder.encode(server.pool.service.key), encoder.encode(server.key)]
}

function saveOne(
  director: Director,
  connection: number,
  servers: ReadonlyMap<number, number>,
  positions: ReadonlyMap<number, number>,
  view: DataView,
  at: number,
): number {
  const table = director.connections.tables[connection & 1] as ConnTable
  const { records, bytes } = table
  const record = (connection >>> 1) * table.stride
  const controller = records[record + CONTROLLER]!
  const position = controller === 0 ? -1 : (positions.get(controller * 2 + (connection & 1)) ?? -1)
  view.setUint8(at, connection & 1)
  view.setUint8(at + 1, bytes[record * 4 + PROTOCOL_BYTE]!)
  view.setUint8(at + 2, bytes[record * 4 + STATE_BYTE]!)
  view.setUint8(at + 3, bytes[record * 4 + FLAGS_BYTE]! & KEPT_FLAGS)
  view.setInt32(at + 4, records[record + PORTS]!)
  view.setInt32(at + 8, records[record + REPLY_PORTS]!)
  view.setInt32(at + 12, records[record + ZONES]!)
  view.setUint32(at + 16, servers.get(records[record + SERVER]!) ?? NO_SERVER)
  view.setInt32(at + 20, Math.max(director.ticksUntil(records[record + DEADLINE]!), 0))
  view.setInt32(at + 24, records[record + DATA]!)
  view.setUint32(at + 28, position + 1)
  view.setUint32(at + 32, bytes[record * 4 + PACKETS_BYTE]!)
  for (let i = 0; i < 4; i++) view.setInt32(at + 36 + 4 * i, records[record + HEADS + i]!)
  const words = 4 * table.words
  for (let i = 0; i < words; i++) {
    view.setInt32(at + FIXED_SIZE + 4 * i, records[record + ADDRESSES + i]!)
  }
  return at + FIXED_SIZE + 4 * words
}

/** Loads what saveFlows() wrote, `elapsedMs` after it did. The configuration must have been
 * applied. `zoneOf` tells what a zone's number is now, -1 when it is no more; default the same.
 * Returns how many connections were loaded and how many left out. Throws FlowStateError on damaged
 * bytes. */
export function loadFlows(
  director: Director,
  bytes: Uint8Array,
  elapsedMs: number,
  zoneOf: (zone: number) => number = (zone) => zone,
): { loaded: number; skipped: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = bytes.byteLength - 4
  if (end < 16 || view.getUint32(0) !== MAGIC) throw new FlowStateError('not a flow state')
  const version = view.getUint16(4)
  if (version !== VERSION && version !== VERSION_PROXY) {
    throw new FlowStateError(
      `version ${version}, but ${VERSION} and ${VERSION_PROXY} are understood`,
    )
  }
  if (crc32c(view, 0, end) !== view.getUint32(end)) throw new FlowStateError('damaged or cut short')
  const reader = new Reader(director, view, end, Math.floor(elapsedMs / TICK_MS), zoneOf)
  return reader.read(version === VERSION_PROXY)
}

class Reader {
  readonly #director: Director
  readonly #view: DataView
  readonly #end: number
  readonly #elapsedTicks: number
  readonly #zoneOf: (zone: number) => number
  readonly #flow: Flow = makeFlow()
  /** Handle of the template saved at each position, -1 when it was left out. */
  readonly #templates: number[] = []
  /** Templates whose time was over. */
  readonly #late: number[] = []
  #servers: (RealServer | null)[] = []
  #at = 8

  constructor(
    director: Director,
    view: DataView,
    end: number,
    elapsedTicks: number,
    zoneOf: (zone: number) => number,
  ) {
    this.#zoneOf = zoneOf
    this.#director = director
    this.#view = view
    this.#end = end
    this.#elapsedTicks = elapsedTicks
  }

  read(hasHeaders: boolean): { loaded: number; skipped: number } {
    this.#servers = this.#readServers()
    this.#need(4)
    const count = this.#view.getUint32(this.#at)
    this.#at += 4
    let loaded = 0
    const connections: number[] = []
    for (let i = 0; i < count; i++) {
      this.#need(FIXED_SIZE)
      const family = this.#view.getUint8(this.#at)
      if (family > 1) throw new FlowStateError(`connection ${i} has no address family`)
      const size = FIXED_SIZE + (family === IPV4 ? 16 : 64)
      this.#need(size)
      const connection = this.#load(family)
      if (connection >= 0) loaded++
      if (hasHeaders) connections.push(connection)
      if ((this.#view.getUint8(this.#at + 3) & TEMPLATE) !== 0) this.#templates.push(connection)
      this.#at += size
    }
    if (hasHeaders) loaded -= this.#readHeaders(connections)
    loaded -= this.#endLate()
    if (this.#at !== this.#end) throw new FlowStateError('bytes are left over')
    return { loaded, skipped: count - loaded }
  }

  /** Ends the templates whose time was over, unless they have flows: then they would have got
   * more. Returns how many. */
  #endLate(): number {
    let ended = 0
    for (const connection of this.#late) {
      const table = this.#director.connections.tables[connection & 1] as ConnTable
      if (table.records[(connection >>> 1) * table.stride + HELD] !== 0) continue
      this.#director.end(connection)
      ended++
    }
    return ended
  }

  /** Gives flows their PROXY headers. Returns how many were ended because theirs cannot be. */
  #readHeaders(connections: readonly number[]): number {
    const director = this.#director
    this.#need(4)
    const count = this.#view.getUint32(this.#at)
    this.#at += 4
    let ended = 0
    for (let i = 0; i < count; i++) {
      this.#need(PROXY_SIZE)
      const connection = connections[this.#view.getUint32(this.#at)] ?? -1
      const isKnown =
        connection < 0 ||
        director.proxyHeaders.restore(connection, this.#view, this.#at + 4, director.nowMs)
      if (!isKnown) {
        director.end(connection)
        ended++
      }
      this.#at += PROXY_SIZE
    }
    return ended
  }

  #need(size: number): void {
    if (this.#at + size > this.#end) throw new FlowStateError('cut short')
  }

  #readServers(): (RealServer | null)[] {
    const byName = new Map<string, RealServer>()
    for (const server of this.#director.services.servers) {
      if (server === null || server.gone) continue
      byName.set(JSON.stringify([server.pool.service.key, server.key]), server)
    }
    this.#need(4)
    const count = this.#view.getUint32(this.#at)
    this.#at += 4
    const servers: (RealServer | null)[] = []
    for (let i = 0; i < count; i++) {
      const name = JSON.stringify([this.#readText(), this.#readText()])
      servers.push(byName.get(name) ?? null)
    }
    return servers
  }

  #readText(): string {
    this.#need(2)
    const length = this.#view.getUint16(this.#at)
    this.#need(2 + length)
    const { buffer, byteOffset } = this.#view
    const text = new TextDecoder().decode(new Uint8Array(buffer, byteOffset + this.#at + 2, length))
    this.#at += 2 + length
    return text
  }

  /** Loads the connection at the present position. Returns its handle, -1 when it is left out. */
  #load(family: number): number {
    const view = this.#view
    const at = this.#at
    const flags = view.getUint8(at + 3)
    const protocol = view.getUint8(at + 1)
    const state = view.getUint8(at + 2)
    const index = view.getUint32(at + 16)
    const server = this.#servers[index] ?? null
    const remaining = view.getInt32(at + 20) - this.#elapsedTicks
    const template = (flags & TEMPLATE) !== 0
    if (server === null && (index !== NO_SERVER || template)) return -1
    if (server !== null && server.pool.family !== family) return -1
    if ((remaining <= 0 && !template) || remaining > REMAINING_TICKS_MAX) return -1
    if ((flags & ~KEPT_FLAGS) !== 0 || !known(template, protocol, state)) return -1
    this.#readFlow(family, protocol)
    const flow = this.#flow
    if (flow.zone < 0 || flow.replyZone < 0) return -1
    if (!template && !(server === null ? isTracked(flow) : fits(flow, server))) return -1
    const { connections } = this.#director
    // Nothing that was just loaded makes room for what comes behind it.
    const { count, capacity } = connections.tables[family] as ConnTable
    if (count >= capacity || connections.findForward(flow) >= 0) return -1
    if (!template && connections.findReply(flow) >= 0) return -1
    const deadline = this.#director.tickIn(Math.max(remaining, 1))
    const connection = connections.insert(flow, server, flags, deadline)
    this.#fill(connection, template, protocol, state)
    // It was counted when it began; the rates would show all of them as new.
    if (!template && server !== null) connections.countGiven(server, -1)
    if (remaining <= 0) this.#late.push(connection)
    return connection
  }

  #readFlow(family: number, protocol: number): void {
    const view = this.#view
    const at = this.#at
    const flow = this.#flow
    const words = family === IPV4 ? 1 : 4
    flow.family = family
    flow.protocol = protocol
    flow.zone = this.#zoneOf(view.getUint16(at + 12))
    flow.replyZone = this.#zoneOf(view.getUint16(at + 14))
    flow.sourcePort = view.getUint16(at + 4)
    flow.targetPort = view.getUint16(at + 6)
    flow.newTargetPort = view.getUint16(at + 8)
    flow.newSourcePort = view.getUint16(at + 10)
    const addresses = [flow.source, flow.target, flow.newSource, flow.newTarget]
    addresses.forEach((address, which) => {
      address.fill(0)
      for (let i = 0; i < words; i++) {
        address[i] = view.getInt32(at + FIXED_SIZE + 4 * (which * words + i))
      }
    })
  }

  #fill(connection: number, template: boolean, protocol: number, state: number): void {
    const view = this.#view
    const at = this.#at
    const { connections } = this.#director
    const family = connection & 1
    const entry = connection >>> 1
    const table = connections.tables[family] as ConnTable
    const record = entry * table.stride
    table.records[record + DATA] = view.getInt32(at + 24)
    if (template) {
      table.bytes[record * 4 + STATE_BYTE] = state
      return
    }
    connections.setState(family, entry, state)
    table.bytes[record * 4 + PACKETS_BYTE] = Math.min(view.getUint32(at + 32), 255)
    for (let i = 0; i < 4; i++) table.records[record + HEADS + i] = view.getInt32(at + 36 + 4 * i)
    const isEstablished = state === machine(protocol)!.established
    connections.setActive(family, entry, isEstablished)
    const controller = this.#templates[view.getUint32(at + 28) - 1] ?? -1
    if (controller < 0 || (controller & 1) !== family) return
    table.records[record + CONTROLLER] = controller >>> 1
    const held = (controller >>> 1) * table.stride + HELD
    table.records[held] = table.records[held]! + 1
    if (isEstablished) connections.assure(family, entry)
  }
}

function machine(protocol: number): typeof TCP_MACHINE | null {
  if (protocol === TCP) return TCP_MACHINE
  if (protocol === UDP) return UDP_MACHINE
  return protocol === SCTP ? SCTP_MACHINE : null
}

function known(template: boolean, protocol: number, state: number): boolean {
  if (template) {
    const isKnown = protocol === 192 || machine(templatedProtocol(protocol)) !== null
    return isKnown && state <= TEMPLATE_ASSURED
  }
  const of = machine(protocol)
  return of !== null && state < of.stateNames.length
}

/** True when nothing of the flow is rewritten but what insertTracked() may rewrite. */
function isTracked(flow: Flow): boolean {
  if (flow.newTargetPort !== flow.targetPort) return false
  if (flow.zone === flow.replyZone && flow.newSourcePort !== flow.sourcePort) return false
  return (
    flow.newSource.every((word, i) => word === flow.source[i]) &&
    flow.newTarget.every((word, i) => word === flow.target[i])
  )
}

/** True when the flow's translated target is where the real server is now. */
function fits(flow: Flow, server: RealServer): boolean {
  if (server.port !== 0 && flow.newTargetPort !== server.port) return false
  return flow.newTarget.every((word, i) => word === server.address[i])
}
