// Services added by hand as rows of CompiledTables, and the services of the tables as rules see
// them. Pure.

import { contains, familyOf, macText, parseAddress } from './address.ts'
import {
  type Address,
  type BalancingOptions,
  type CompiledBackend,
  type CompiledService,
  type CompiledTables,
  type CompiledVip,
  type NeighbourRow,
  NONE,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  type RealServer,
  type VirtualService,
} from './compiled.ts'
import { macFromAddress } from './mac-derive.ts'
import {
  keyText,
  type ManualProtocol,
  type ManualService,
  type TableClaims,
  type TableService,
} from './manual-services.ts'

/** What stands for a service's name in the metrics of those added by hand. No name of the tables
 * has brackets. */
export const MANUAL_NAME: string = '(ipvs)'

const PROTOCOLS: Readonly<Record<ManualProtocol, number>> = {
  tcp: PROTOCOL_TCP,
  udp: PROTOCOL_UDP,
  sctp: PROTOCOL_SCTP,
}
const PROTOCOL_NAMES: ReadonlyMap<number, ManualProtocol> = new Map(
  (Object.keys(PROTOCOLS) as ManualProtocol[]).map((name) => [PROTOCOLS[name], name]),
)
const FLAGS: readonly string[] = ['sh-fallback', 'sh-port', 'mh-fallback', 'mh-port']

/** The director's key of a service added by hand. */
export function manualKey(service: ManualService): string {
  return `${MANUAL_NAME}/${keyText(service)}`
}

/** The director's key of one of its real servers. */
export function manualServerKey(service: ManualService, address: string, port: number): string {
  return `${manualKey(service)}/${address}:${port}`
}

/** The tables with the services that can work; the same object when there are none. */
export function mergeManual(
  tables: CompiledTables,
  manual: readonly ManualService[],
): CompiledTables {
  if (manual.length === 0) return tables
  const merger = new Merger(tables)
  for (const service of manual) merger.add(service)
  return merger.result()
}

class Merger {
  private readonly tables: CompiledTables
  private readonly services: CompiledService[]
  private readonly vips: CompiledVip[]
  private readonly backends: CompiledBackend[]
  private readonly virtualServices: VirtualService[]
  private readonly neighbours: NeighbourRow[]
  /** Row of `vips` by network and address. */
  private readonly vipAt: Map<string, number> = new Map()
  /** Addresses that endpoints and gateways have. */
  private readonly taken: Set<string> = new Set()
  private readonly endpointAt: Map<string, number> = new Map()
  /** MAC addresses that endpoints and gateways have, by network. */
  private readonly macs: Set<string> = new Set()
  private readonly claimed: Set<string> = new Set()

  constructor(tables: CompiledTables) {
    this.tables = tables
    this.services = [...tables.services]
    this.vips = [...tables.vips]
    this.backends = [...tables.backends]
    this.virtualServices = [...tables.virtualServices]
    this.neighbours = [...tables.neighbours]
    tables.vips.forEach((vip, v) => {
      this.vipAt.set(`${vip.network}|${vip.address.text}`, v)
    })
    for (const row of tables.neighbours) {
      const place = `${row.network}|${row.address.text}`
      if (row.kind !== 'vip') {
        this.taken.add(place)
        this.macs.add(`${row.network}|${macText(row.mac)}`)
      }
      if (row.kind === 'endpoint') this.endpointAt.set(place, row.index)
    }
    for (const { protocol, address, portNumber } of tables.virtualServices) {
      if (address !== null) this.claimed.add(`${protocol}/${address.text}/${portNumber}`)
    }
  }

  result(): CompiledTables {
    if (this.virtualServices.length === this.tables.virtualServices.length) return this.tables
    const { services, vips, backends, virtualServices, neighbours } = this
    return { ...this.tables, services, vips, backends, virtualServices, neighbours }
  }

  /** Adds a service unless it has no place in these tables. */
  add(manual: ManualService): void {
    if (manual.mark !== 0) return
    const address = parseAddress(manual.address)
    if (address === null) return
    const network = this.tables.networks.findIndex(({ subnets }) =>
      subnets.some((subnet) => familyOf(subnet) === familyOf(address) && contains(subnet, address)),
    )
    const protocol = PROTOCOLS[manual.protocol]
    if (network < 0 || this.taken.has(`${network}|${address.text}`)) return
    if (this.macs.has(`${network}|${macText(macFromAddress(address.bytes))}`)) return
    if (this.claimed.has(`${protocol}/${address.text}/${manual.port}`)) return
    const service = this.services.length
    const options = optionsOf(manual)
    const name = manualKey(manual)
    const vip = this.vip(network, address, service)
    const realServers = this.realServers(manual, network, service)
    const { scheduler } = manual
    const backends = realServers.map(({ backend }) => backend)
    this.services.push({ name, network, scheduler, options, vips: [vip], backends })
    this.virtualServices.push({
      ...{ name, service, vip, publishedPort: NONE, network, family: familyOf(address), protocol },
      ...{ address, portNumber: manual.port, scheduler, options, realServers },
    })
  }

  private vip(network: number, address: Address, service: number): number {
    const place = `${network}|${address.text}`
    const known = this.vipAt.get(place)
    if (known !== undefined) return known
    const mac = macFromAddress(address.bytes)
    const index = this.vips.length
    const name = `${MANUAL_NAME}/${address.text}`
    this.vips.push({ name, service, network, address, mac })
    this.neighbours.push({ network, address, mac, kind: 'vip', index })
    this.vipAt.set(place, index)
    return index
  }

  private realServers(manual: ManualService, network: number, service: number): RealServer[] {
    const servers: RealServer[] = []
    for (const { address: text, port, weight, upperThreshold, lowerThreshold } of manual.servers) {
      const address = parseAddress(text)
      const endpoint = address === null ? undefined : this.endpointAt.get(`${network}|${text}`)
      if (address === null || endpoint === undefined) continue
      const name = manualServerKey(manual, text, port)
      const common = { endpoint, weight, upperThreshold, lowerThreshold, tier: 0 }
      const backend = this.backends.length
      this.backends.push({ name, service, ...common, slowStartSeconds: 0 })
      servers.push({ name, backend, address, portNumber: port, ...common, slowStartSeconds: 0 })
    }
    return servers
  }
}

function optionsOf(manual: ManualService): BalancingOptions {
  const flags = manual.schedulerFlags.filter((flag) => FLAGS.includes(flag))
  const { persistenceSeconds, persistencePrefix, onePacket, family } = manual
  return {
    schedulerFlags: flags as unknown as BalancingOptions['schedulerFlags'],
    mhSlots: 0,
    persistenceSeconds,
    persistencePrefix4: family === 4 ? persistencePrefix : 32,
    persistencePrefix6: family === 6 ? persistencePrefix : 128,
    onePacket,
    idleSeconds: 0,
    retryRefused: false,
  }
}

/** What the tables have that a change by hand must respect. */
export function tableClaims(tables: CompiledTables): TableClaims {
  const rows = tables.neighbours.filter(({ kind }) => kind !== 'vip')
  const taken = new Set(rows.map(({ address }) => address.text))
  return { services: tableServices(tables), taken }
}

/** The tables' own services by keyText(). A published port stands at the unspecified address. */
function tableServices(tables: CompiledTables): Map<string, TableService> {
  const found = new Map<string, TableService>()
  for (const {
    family,
    protocol,
    address,
    portNumber,
    scheduler,
    options,
    realServers,
  } of tables.virtualServices) {
    const service: TableService = {
      mark: 0,
      family,
      protocol: PROTOCOL_NAMES.get(protocol)!,
      address: address?.text ?? (family === 4 ? '0.0.0.0' : '::'),
      port: portNumber,
      scheduler,
      schedulerFlags: options.schedulerFlags,
      persistenceSeconds: options.persistenceSeconds,
      persistencePrefix: family === 4 ? options.persistencePrefix4 : options.persistencePrefix6,
      onePacket: options.onePacket && protocol === PROTOCOL_UDP,
      servers: realServers.map((server) => ({
        address: server.address.text,
        port: server.portNumber,
        method: 'masq',
        weight: server.weight,
        upperThreshold: server.upperThreshold,
        lowerThreshold: server.lowerThreshold,
      })),
    }
    found.set(keyText(service), service)
  }
  return found
}
