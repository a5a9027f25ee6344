// What a director holds, as plain values for listings: read-only, allocated freely, for the control
// side.

import { formatAddress, parseAddress } from './address.ts'
import type { Protocol } from './config.ts'
import {
  ADDRESSES,
  type ConnTable,
  DEADLINE,
  FLAGS_BYTE,
  PORTS,
  PROTOCOL_BYTE,
  REPLY_PORTS,
  STATE_BYTE,
  TEMPLATE,
} from './conn-table.ts'
import { TEMPLATE_ASSURED } from './connections.ts'
import type { Director } from './director.ts'
import { IPV4, IPV6, SCTP, TCP, UDP } from './flow.ts'
import { TICK_MS } from './limits.ts'
import { templatedProtocol } from './opener.ts'
import { SCTP_MACHINE } from './proto-sctp.ts'
import { TCP_MACHINE } from './proto-tcp.ts'
import { UDP_MACHINE } from './proto-udp.ts'
import { RATE_COLUMNS } from './rates.ts'
import { SCHEDULER_DEFAULT } from './sched.ts'
import type { RealServer, Service } from './service.ts'
import type { Statistics } from './statistics.ts'

/** Connections, packets in and out, bytes in and out. */
export type Five = readonly [number, number, number, number, number]

/** Forwarding methods of IPVS. */
export type Method = 'masq' | 'route' | 'tunnel'

export interface ListedServer {
  readonly key: string
  readonly family: number
  readonly address: string
  readonly port: number
  /** As configured: slow start does not show. */
  readonly weight: number
  /** What a listing calls the way to it; absent = masq, which it always is. */
  readonly method?: Method
  readonly upperThreshold: number
  readonly lowerThreshold: number
  readonly active: number
  readonly inactive: number
  readonly persistent: number
  readonly counters: Five
  readonly rates: Five
}

/** A service as ipvsadm knows it: one virtual address or one mark. */
export interface ListedService {
  readonly key: string
  readonly zone: number
  readonly family: number
  /** 0 = by address. */
  readonly mark: number
  readonly protocol: Protocol
  readonly address: string
  readonly port: number
  readonly scheduler: string
  readonly schedulerFlags: readonly string[]
  /** 0 = not persistent. */
  readonly persistenceSeconds: number
  readonly persistencePrefix: number
  readonly onePacket: boolean
  readonly counters: Five
  readonly rates: Five
  readonly servers: readonly ListedServer[]
}

export interface ListedConnection {
  /** "TCP", "UDP", "SCTP", or "IP" for a template by mark. */
  readonly protocol: string
  readonly expiresSeconds: number
  readonly state: string
  readonly family: number
  readonly client: string
  readonly clientPort: number
  readonly virtual: string
  readonly virtualPort: number
  readonly server: string
  readonly serverPort: number
}

/** Where a page of services begins: index of a service, and of its real server. */
export interface ServicePlace {
  readonly service: number
  readonly server: number
}

/** Some of the services; a service whose servers do not fit goes on in the next page. */
export interface ServicePage {
  readonly services: readonly ListedService[]
  /** Null = that was all. */
  readonly next: ServicePlace | null
}

/** All services, one per virtual address and per mark, with their real servers of that address
 * family. A service without either is listed by nobody: it is reached by name only. */
export function listServices(director: Director): ListedService[] {
  const everything = Number.POSITIVE_INFINITY
  return director.services.services.flatMap((service) =>
    service === null || service.gone ? [] : listService(director, service, 0, everything),
  )
}

/** The services from `from` on, about `rows` lines of them: a bounded piece of work. */
export function listServicePage(director: Director, from: ServicePlace, rows: number): ServicePage {
  const { services } = director.services
  const listed: ListedService[] = []
  let left = rows
  let { service: index, server: first } = from
  while (index < services.length && left > 0) {
    const service = services[index]
    left--
    if (service !== null && service !== undefined && !service.gone) {
      const last = first + left
      const part = listService(director, service, first, last)
      listed.push(...part)
      left -= part.reduce((most, { servers }) => Math.max(most, servers.length), 0)
      if (left <= 0 && service.pools.some((pool) => pool.servers.length > 0)) {
        const count = Math.max(serversOf(service, IPV4).length, serversOf(service, IPV6).length)
        if (last < count) return { services: listed, next: { service: index, server: last } }
      }
    }
    index++
    first = 0
  }
  return {
    services: listed,
    next: index < services.length ? { service: index, server: 0 } : null,
  }
}

/** A service as often as it has addresses, with its real servers `first` to `last` (excluded). */
function listService(
  director: Director,
  service: Service,
  first: number,
  last: number,
): ListedService[] {
  const listed: ListedService[] = []
  const { config } = service
  const statistics = director.services.statistics
  const common = {
    key: service.key,
    zone: config.zone,
    scheduler: config.scheduler ?? SCHEDULER_DEFAULT,
    schedulerFlags: config.schedulerFlags ?? [],
    persistenceSeconds: config.persistenceSeconds ?? 0,
    onePacket: config.onePacket ?? false,
    counters: counters(statistics, service.row),
    rates: rates(statistics, service.row),
  }
  const of = (family: number): Pick<ListedService, 'family' | 'persistencePrefix' | 'servers'> => ({
    family,
    persistencePrefix:
      family === IPV4 ? (config.persistencePrefix4 ?? 32) : (config.persistencePrefix6 ?? 128),
    servers: serversOf(service, family)
      .slice(first, last)
      .map((server) => listServer(server, statistics)),
  })
  for (const { protocol, address, port } of config.virtuals) {
    const family = parseAddress(address, new Int32Array(4))
    listed.push({ ...common, ...of(family), mark: 0, protocol, address, port })
  }
  if ((config.mark ?? 0) === 0) return listed
  for (const family of [0, 1]) {
    const view = of(family)
    if (view.servers.length === 0) continue
    listed.push({
      ...common,
      ...view,
      mark: config.mark!,
      protocol: 'tcp',
      address: family === IPV4 ? '0.0.0.0' : '::',
      port: 0,
    })
  }
  return listed
}

function serversOf(service: Service, family: number): RealServer[] {
  return service.pools.filter((pool) => pool.family === family).flatMap((pool) => pool.servers)
}

function listServer(server: RealServer, statistics: Statistics): ListedServer {
  return {
    key: server.key,
    family: server.pool.family,
    address: formatAddress(server.pool.family, server.address),
    port: server.port,
    weight: server.fullWeight,
    upperThreshold: server.upperThreshold,
    lowerThreshold: server.lowerThreshold,
    active: server.active,
    inactive: server.inactive,
    persistent: server.templates,
    counters: counters(statistics, server.row),
    rates: rates(statistics, server.row),
  }
}

function counters(statistics: Statistics, row: number): Five {
  return Array.from({ length: RATE_COLUMNS }, (_, i) => statistics.get(row, i)) as unknown as Five
}

function rates(statistics: Statistics, row: number): Five {
  return Array.from({ length: RATE_COLUMNS }, (_, i) =>
    statistics.rates.get(row, i),
  ) as unknown as Five
}

/** Some of the connections. */
export interface ConnectionPage {
  readonly connections: readonly ListedConnection[]
  /** Where the next page begins, -1 = that was all. */
  readonly next: number
}

/** The connections of real servers from number `from` on: at most `rows` of them, after looking at
 * no more than `looks` entries. A page may be empty and not the last. */
export function listConnectionPage(
  director: Director,
  from: number,
  rows: number,
  looks: number,
): ConnectionPage {
  const [four, six] = director.connections.tables
  const end = 2 * Math.max(four.high, six.high)
  const connections: ListedConnection[] = []
  let at = Math.max(from, 2)
  for (let i = 0; i < looks && at < end && connections.length < rows; i++, at++) {
    if (director.holds(at) && director.realServerOf(at) >= 0) {
      connections.push(listConnection(director, at))
    }
  }
  return { connections, next: at < end ? at : -1 }
}

/** Connections of real servers, templates included, up to `limit` of them. */
export function listConnections(director: Director, limit: number): ListedConnection[] {
  const listed: ListedConnection[] = []
  for (
    let connection = director.nextConnection(0);
    connection >= 0 && listed.length < limit;
    connection = director.nextConnection(connection + 1)
  ) {
    if (director.realServerOf(connection) >= 0) listed.push(listConnection(director, connection))
  }
  return listed
}

function listConnection(director: Director, connection: number): ListedConnection {
  const family = connection & 1
  const table = director.connections.tables[family] as ConnTable
  const at = (connection >>> 1) * table.stride
  const byteAt = at * 4
  const address = (which: number): string =>
    formatAddress(family, table.records, at + ADDRESSES + which * table.words)
  const template = (table.bytes[byteAt + FLAGS_BYTE]! & TEMPLATE) !== 0
  const byte = table.bytes[byteAt + PROTOCOL_BYTE]!
  const protocol = template ? templatedProtocol(byte) : byte
  const ports = table.records[at + PORTS]!
  const server = director.services.servers[director.realServerOf(connection)]!
  return {
    protocol:
      protocol === TCP ? 'TCP' : protocol === UDP ? 'UDP' : protocol === SCTP ? 'SCTP' : 'IP',
    expiresSeconds: Math.max(
      Math.floor((director.ticksUntil(table.records[at + DEADLINE]!) * TICK_MS) / 1000),
      0,
    ),
    state: template
      ? templateStateName(table.bytes[byteAt + STATE_BYTE]!)
      : stateName(protocol, table.bytes[byteAt + STATE_BYTE]!),
    family,
    client: address(0),
    clientPort: ports >>> 16,
    virtual: address(1),
    virtualPort: ports & 0xffff,
    server: formatAddress(family, server.address),
    serverPort: template ? server.port : table.records[at + REPLY_PORTS]! >>> 16,
  }
}

function templateStateName(state: number): string {
  return state === TEMPLATE_ASSURED ? 'ASSURED' : 'NONE'
}

function stateName(protocol: number, state: number): string {
  const machine = protocol === TCP ? TCP_MACHINE : protocol === UDP ? UDP_MACHINE : SCTP_MACHINE
  return machine.stateNames[state]!
}
