// From tables to balancer: which services and real servers the director has, which counter row and
// endpoint each of its keys means, and the node's settings. Called at each swap of the tables.

import type { BalancerConfig, Protocol, ServiceConfig } from '../ipvs-emulator/config.ts'
import type { Director } from '../ipvs-emulator/director.ts'
import { type Balance, MESH_ZONE } from './balance.ts'
import {
  type CompiledBalancer,
  type CompiledTables,
  NONE,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  type VirtualService,
} from './compiled.ts'
import type { Counters } from './counters.ts'
import type { Topology } from './topology.ts'

/** Row in which the last packets of flows are counted whose service or backend is gone. */
const REMOVED = '(removed)'

/** What an endpoint is to the flows of this node. A backend of weight 0 is drained when it has no
 * flows left. */
export interface DrainState {
  /** Open flows to it over all services, established or not. */
  readonly flows: number
  /** Clients that would come back to it (persistence); they are not among the flows. */
  readonly clients: number
  /** Real servers that it is (one per virtual address and port), and how many have a weight. */
  readonly backends: number
  readonly taking: number
}

/** Rows of statistics by backend: the i-th of each list belong together. A backend has as many as
 * its service has virtual addresses and ports. */
export interface BalancerRows {
  /** "service/endpoint". */
  readonly backends: readonly string[]
  readonly rows: Int32Array
  /** As configured; 0 = it drains. */
  readonly weights: Int32Array
}

export class BalancedServices {
  private readonly director: Director
  private readonly balance: Balance
  private readonly topology: Topology
  /** The forwarder's table of published ports. */
  private readonly published: readonly Int32Array[]
  private readonly counters: Counters
  private balancerSettings: CompiledBalancer | null = null
  /** Service and real server by the director's keys, by the name of their endpoint. */
  private readonly serversOf: Map<string, [service: string, server: string][]> = new Map()

  constructor(
    director: Director,
    balance: Balance,
    topology: Topology,
    published: readonly Int32Array[],
    counters: Counters,
  ) {
    this.director = director
    this.balance = balance
    this.topology = topology
    this.published = published
    this.counters = counters
  }

  /** Rows of the statistics, for who reads them while the loop runs. */
  rows(): BalancerRows {
    const servers = this.director.services.services.flatMap((service) =>
      service === null || service.gone ? [] : service.pools.flatMap((pool) => pool.servers),
    )
    return {
      backends: servers.map((server) => server.key),
      rows: Int32Array.from(servers, (server) => server.row),
      weights: Int32Array.from(servers, (server) => server.fullWeight),
    }
  }

  /** The open flows of an endpoint. Unknown endpoints have none. */
  drainState(endpoint: string): DrainState {
    let [flows, clients, taking] = [0, 0, 0]
    const servers = this.serversOf.get(endpoint) ?? []
    for (const [service, key] of servers) {
      const index = this.director.serviceIndex(service)
      const pools = index < 0 ? [] : (this.director.services.services[index]?.pools ?? [])
      for (const pool of pools) {
        const server = pool.servers.find((one) => one.key === key)
        if (server === undefined) continue
        flows += server.active + server.inactive
        clients += server.templates
        if (server.fullWeight > 0) taking++
      }
    }
    return { flows, clients, backends: servers.length, taking }
  }

  /** Takes over the services of new tables. */
  swap(tables: CompiledTables, nowMs: number): void {
    const services = tables.virtualServices.map((service) => this.serviceConfig(tables, service))
    this.nameRows(tables)
    this.applySettings(tables.node.balancer)
    const config: BalancerConfig = { services }
    this.director.apply(config, nowMs)
    this.serversOf.clear()
    for (const { name, realServers } of tables.virtualServices) {
      for (const server of realServers) {
        const endpoint = tables.endpoints[server.endpoint]!.name
        const list = this.serversOf.get(endpoint) ?? []
        list.push([name, server.name])
        this.serversOf.set(endpoint, list)
      }
    }
    for (const table of this.published) table.fill(-1)
    for (const service of tables.virtualServices) {
      if (service.publishedPort === NONE) continue
      const index = (service.family === 6 ? 1 : 0) + (service.protocol === PROTOCOL_UDP ? 2 : 0)
      const table = this.published[index]!
      table[service.portNumber] = this.director.serviceIndex(service.name)
    }
  }

  /** Takes over the balancer's settings where the tables changed them: what was set by hand
   * otherwise stays, and so does the state of an automatic defence. */
  private applySettings(next: CompiledBalancer): void {
    const { timeouts, settings } = this.director
    const before = this.balancerSettings
    this.balancerSettings = next
    const changed = (field: keyof CompiledBalancer): boolean => before?.[field] !== next[field]
    timeouts.set(
      changed('tcpSeconds') ? next.tcpSeconds : 0,
      changed('tcpFinSeconds') ? next.tcpFinSeconds : 0,
      changed('udpSeconds') ? next.udpSeconds : 0,
    )
    const { flowsMax: _m, tcpSeconds: _t, tcpFinSeconds: _f, udpSeconds: _u, ...switches } = next
    for (const [field, value] of Object.entries(switches)) {
      if (changed(field as keyof CompiledBalancer)) Object.assign(settings, { [field]: value })
    }
  }

  /** Counter rows and endpoints for the director's keys. */
  private nameRows(tables: CompiledTables): void {
    const rows = new Map<string, number>()
    const vips = new Set(tables.vips.map((vip) => vip.name))
    const published = new Set(tables.publishedPorts.map((port) => port.name))
    const backends = new Set(tables.backends.map((backend) => backend.name))
    this.counters.retain('vip', vips)
    this.counters.retain('published', published)
    this.counters.retain('backend', backends)
    for (const service of tables.virtualServices) {
      const row =
        service.publishedPort === NONE
          ? this.counters.row('vip', tables.vips[service.vip]!.name)
          : this.counters.row('published', tables.publishedPorts[service.publishedPort]!.name)
      rows.set(service.name, row)
    }
    const endpoints = new Map<string, number>()
    for (const backend of tables.backends) {
      const name = tables.endpoints[backend.endpoint]!.name
      endpoints.set(backend.name, this.topology.endpointIds.find(name))
    }
    this.balance.resolve(
      (key) => rows.get(key) ?? this.counters.row('vip', REMOVED),
      (key) => this.counters.row('backend', backends.has(key) ? key : REMOVED),
      (key) => endpoints.get(key) ?? -1,
    )
  }

  private serviceConfig(tables: CompiledTables, service: VirtualService): ServiceConfig {
    const zone = this.topology.networkIds.find(tables.networks[service.network]!.name) + 1
    const published = service.publishedPort !== NONE
    const proxyProtocol = published
      ? tables.publishedPorts[service.publishedPort]!.proxyProtocol
      : null
    const own = published ? nodeAddress(tables, service.family) : service.address!.text
    const masquerade =
      own === null ? {} : service.family === 4 ? { masquerade4: own } : { masquerade6: own }
    return {
      key: service.name,
      zone: published ? MESH_ZONE : zone,
      replyZone: zone,
      ...balancing(service),
      ...(proxyProtocol === null ? {} : { proxyProtocol }),
      // A published port is reached by its name; the address is for those who list the services.
      virtuals: [
        {
          protocol: PROTOCOL_NAMES[service.protocol] ?? 'tcp',
          address: service.address?.text ?? (service.family === 4 ? '0.0.0.0' : '::'),
          port: service.portNumber,
        },
      ],
      realServers: service.realServers.map((server) => ({
        key: server.name,
        address: server.address.text,
        port: server.portNumber,
        weight: server.weight,
        tier: server.tier,
        slowStartSeconds: server.slowStartSeconds,
        upperThreshold: server.upperThreshold,
        lowerThreshold: server.lowerThreshold,
      })),
      ...masquerade,
    }
  }
}

const PROTOCOL_NAMES: Readonly<Record<number, Protocol>> = {
  [PROTOCOL_TCP]: 'tcp',
  [PROTOCOL_UDP]: 'udp',
  [PROTOCOL_SCTP]: 'sctp',
}

/** How a service's flows are given out, as the balancer takes it. */
function balancing({ scheduler, options, protocol }: VirtualService): Partial<ServiceConfig> {
  const { mhSlots, ...rest } = options
  const onePacket = rest.onePacket && protocol === PROTOCOL_UDP
  return { scheduler, ...rest, onePacket, ...(mhSlots === 0 ? {} : { mhSlots }) }
}

/** Address that loopback clients of a published port appear with; null when the node has none. */
function nodeAddress(tables: CompiledTables, family: 4 | 6): string | null {
  const size = family === 4 ? 4 : 16
  return tables.node.addresses.find((address) => address.bytes.length === size)?.text ?? null
}
