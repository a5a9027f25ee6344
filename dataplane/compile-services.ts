// The part of compile.ts that turns services and published ports into what the balancer is given:
// one virtual service per (VIP, protocol, port) and per (published port, family), each with the
// real servers that have an address of its family.

import type { ProxyProtocol, SchedulerFlag } from '../ipvs-emulator/config.ts'
import { familyOf } from './address.ts'
import {
  type Address,
  type BalancingOptions,
  type CompiledBackend,
  type CompiledEndpoint,
  type CompiledNetwork,
  type CompiledPublishedPort,
  type CompiledService,
  type CompiledTables,
  type CompiledVip,
  NONE,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  type RealServer,
  type VirtualService,
} from './compiled.ts'
import { SCHEDULER_DEFAULT, WEIGHT_DEFAULT } from './defaults.ts'
import { macFromAddress } from './mac-derive.ts'
import { address, found, indexOf } from './names.ts'
import type { ForwardingTables, Service, ServicePort } from './tables.ts'

type Services = Pick<
  CompiledTables,
  'services' | 'vips' | 'backends' | 'virtualServices' | 'publishedPorts'
>

const PROTOCOLS = { tcp: PROTOCOL_TCP, udp: PROTOCOL_UDP, sctp: PROTOCOL_SCTP } as const

/** A port of a VIP once defaults are filled in; 0 = every port, kept as it is. */
interface PlainPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly portNumber: number
  readonly targetPortNumber: number
}

const EVERY_PORT: readonly PlainPort[] = [
  { protocol: 'tcp', portNumber: 0, targetPortNumber: 0 },
  { protocol: 'udp', portNumber: 0, targetPortNumber: 0 },
]

function plainPorts(ports: readonly ServicePort[] | undefined): readonly PlainPort[] {
  if (ports === undefined || ports.length === 0) return EVERY_PORT
  return ports.map(({ protocol, port, targetPort }) => ({
    protocol,
    portNumber: port,
    targetPortNumber: targetPort ?? port,
  }))
}

/** Gathers the rows of all services; each method adds one kind. */
class ServiceCompiler {
  readonly services: CompiledService[] = []
  readonly vips: CompiledVip[] = []
  readonly backends: CompiledBackend[] = []
  readonly virtualServices: VirtualService[] = []
  readonly publishedPorts: CompiledPublishedPort[] = []
  private readonly tables: ForwardingTables
  private readonly networks: readonly CompiledNetwork[]
  private readonly endpoints: readonly CompiledEndpoint[]

  constructor(
    tables: ForwardingTables,
    networks: readonly CompiledNetwork[],
    endpoints: readonly CompiledEndpoint[],
  ) {
    this.tables = tables
    this.networks = networks
    this.endpoints = endpoints
  }

  addService(service: Service, network: number, endpointIndex: ReadonlyMap<string, number>): void {
    const s = this.services.length
    const backends = service.backends.map((backend) => {
      const endpoint = found(endpointIndex, backend.endpoint)
      this.backends.push({
        name: `${service.name}/${backend.endpoint}`,
        service: s,
        endpoint,
        weight: backend.weight ?? WEIGHT_DEFAULT,
        upperThreshold: backend.upperThreshold ?? 0,
        lowerThreshold: backend.lowerThreshold ?? 0,
        tier: this.tierOf(service.prefer, endpoint),
        slowStartSeconds: service.slowStartSeconds ?? 0,
      })
      return this.backends.length - 1
    })
    const vips = service.vips.map((text) => {
      const virtual = address(text)
      this.vips.push({
        name: `${service.name}/${virtual.text}`,
        service: s,
        network,
        address: virtual,
        mac: macFromAddress(virtual.bytes),
      })
      return this.vips.length - 1
    })
    const scheduler = service.scheduler ?? SCHEDULER_DEFAULT
    const options = optionsOf(service)
    this.services.push({ name: service.name, network, scheduler, options, vips, backends })
    const ports = plainPorts(service.ports)
    for (const vip of vips) for (const port of ports) this.addVirtualService(vip, port)
  }

  /** How far away an endpoint is for a service that prefers what is near. */
  private tierOf(prefer: Service['prefer'], endpoint: number): number {
    if (prefer === undefined) return 0
    const { peer } = this.endpoints[endpoint]!
    const here = peer === NONE
    const { node, peers } = this.tables
    const zone = here ? node.zone : peers[peer]!.zone
    const near = here || (zone !== undefined && zone === node.zone)
    if (prefer === 'node') return here ? 0 : 1
    if (prefer === 'zone') return near ? 0 : 1
    return here ? 0 : near ? 1 : 2
  }

  private addVirtualService(vip: number, port: PlainPort): void {
    const { name, service, network, address: virtual } = this.vips[vip]!
    const family = familyOf(virtual)
    this.virtualServices.push({
      name: `${name}/${port.protocol}/${port.portNumber}`,
      service,
      vip,
      publishedPort: NONE,
      network,
      family,
      protocol: PROTOCOLS[port.protocol],
      address: virtual,
      portNumber: port.portNumber,
      scheduler: this.services[service]!.scheduler,
      options: this.services[service]!.options,
      realServers: this.realServers(service, family, port.targetPortNumber),
    })
  }

  private realServers(service: number, family: 4 | 6, portNumber: number): RealServer[] {
    const servers: RealServer[] = []
    for (const backend of this.services[service]!.backends) {
      const { name, service: _, endpoint, ...rest } = this.backends[backend]!
      const inner = this.endpoints[endpoint]!.addresses.find(
        (candidate: Address) => familyOf(candidate) === family,
      )
      if (inner === undefined) continue
      servers.push({ name, backend, endpoint, address: inner, portNumber, ...rest })
    }
    return servers
  }

  addPublishedPort(port: PlainPort, service: number, proxyProtocol: ProxyProtocol | null): void {
    const name = `${port.protocol}/${port.portNumber}`
    this.publishedPorts.push({
      name,
      protocol: PROTOCOLS[port.protocol],
      portNumber: port.portNumber,
      targetPortNumber: port.targetPortNumber,
      service,
      proxyProtocol,
      virtualService4: this.addPublishedFamily(name, port, service, 4),
      virtualService6: this.addPublishedFamily(name, port, service, 6),
    })
  }

  /** The virtual service of a published port's family; NONE where the ingress network lacks it. */
  private addPublishedFamily(
    name: string,
    port: PlainPort,
    service: number,
    family: 4 | 6,
  ): number {
    const { network, scheduler, options } = this.services[service]!
    if (!this.networks[network]!.subnets.some((subnet) => familyOf(subnet) === family)) return NONE
    this.virtualServices.push({
      name: `published/${name}/ipv${family}`,
      service,
      vip: NONE,
      publishedPort: this.publishedPorts.length,
      network,
      family,
      protocol: PROTOCOLS[port.protocol],
      address: null,
      portNumber: port.portNumber,
      scheduler,
      options,
      realServers: this.realServers(service, family, port.targetPortNumber),
    })
    return this.virtualServices.length - 1
  }
}

function optionsOf(service: Service): BalancingOptions {
  return {
    schedulerFlags: (service.schedulerFlags ?? []) as readonly SchedulerFlag[],
    mhSlots: service.mhSlots ?? 0,
    persistenceSeconds: service.persistenceSeconds ?? 0,
    persistencePrefix4: service.persistencePrefix4 ?? 32,
    persistencePrefix6: service.persistencePrefix6 ?? 128,
    onePacket: service.onePacket ?? false,
    idleSeconds: service.idleSeconds ?? 0,
    retryRefused: service.retryRefused ?? false,
  }
}

/** Compiles the services and published ports of validated tables. */
export function compileServices(
  tables: ForwardingTables,
  networkIndex: ReadonlyMap<string, number>,
  networks: readonly CompiledNetwork[],
  endpoints: readonly CompiledEndpoint[],
): Services {
  const compiler = new ServiceCompiler(tables, networks, endpoints)
  const endpointIndex = indexOf(endpoints)
  for (const service of tables.services) {
    compiler.addService(service, found(networkIndex, service.network), endpointIndex)
  }
  const serviceIndex = indexOf(compiler.services)
  for (const published of tables.publishedPorts) {
    const port = {
      protocol: published.protocol,
      portNumber: published.port,
      targetPortNumber: published.targetPort ?? published.port,
    }
    const service = found(serviceIndex, published.service)
    compiler.addPublishedPort(port, service, published.proxyProtocol ?? null)
  }
  const { services, vips, backends, virtualServices, publishedPorts } = compiler
  return { services, vips, backends, virtualServices, publishedPorts }
}
