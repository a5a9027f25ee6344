// From the node's assignment and what it knows itself to the tables of its data plane. Pure.
//
// The assignment says what exists; the node adds where its own tasks' interfaces are made, and what
// it knows sooner than the managers: a task of its own that has ended is left out, one that drains
// has weight 0, and so has a backend on a node that does not answer, as long as there is another;
// all this also while no manager is in reach.
//
// An item that cannot be part of valid tables is left out and told, with everything that needs it;
// it holds up none of the others. What the data plane's own validation finds beyond that is taken
// out by tables-sync.ts.

import type {
  Backend,
  Endpoint,
  ForwardingTables,
  LocalInterface,
  LocalNode,
  Network,
  Peer,
  PublishedPort,
  Service,
} from '../../dataplane/tables.ts'
import type { EndpointItem, NetworkItem, PeerItem, ServiceItem } from '../store/assignment.ts'
import { proxyProtocolOf } from '../store/port-labels.ts'
import type { PortConfig } from '../store/specs.ts'
import { KEEPALIVE_SECONDS } from './limits.ts'
import { serviceOptions } from './service-options.ts'
import { endpointName, networkName, serviceName } from './table-names.ts'

export interface TablesInput {
  readonly version: number
  /** Its name is the node's id. */
  readonly node: LocalNode
  /** Other nodes cannot call this one: it keeps the way open. */
  readonly isBehindNat: boolean
  readonly peers: ReadonlyMap<string, PeerItem>
  readonly networks: ReadonlyMap<string, NetworkItem>
  readonly endpoints: ReadonlyMap<string, EndpointItem>
  readonly services: ReadonlyMap<string, ServiceItem>
  /** Nodes that do not answer through the tunnel. */
  readonly silent: ReadonlySet<string>
  /** A task of this node; undefined when the node does not have it. */
  readonly local: (taskId: string) => LocalTask | undefined
  /** Where the gateway addresses of a network are to be, for the name server. */
  readonly gatewayInterface: (networkId: string) => LocalInterface | null
  /** Names of the schedulers there are. */
  readonly schedulers: readonly string[]
}

export interface LocalTask {
  readonly isOver: boolean
  readonly isDraining: boolean
  interfaceOf(networkId: string): LocalInterface | null
  /** Ports of this node that lead to this task alone. */
  readonly hostPorts: readonly PortConfig[]
}

/** What was left out, and why. */
export interface Dropped {
  readonly item: string
  readonly reason: string
}

export interface BuiltTables {
  readonly tables: ForwardingTables
  readonly dropped: readonly Dropped[]
  /** Name of an endpoint in the tables to its task, for those that drain. */
  readonly draining: ReadonlyMap<string, string>
}

interface Placed {
  readonly item: EndpointItem
  readonly name: string
  /** Null: it is in no service. */
  readonly weight: number | null
  /** Its node does not answer. */
  readonly isSilent: boolean
}

export function buildTables(input: TablesInput): BuiltTables {
  const dropped: Dropped[] = []
  const drop = (item: string, reason: string): void => void dropped.push({ item, reason })
  const peers = buildPeers(input, drop)
  const networks = new Map([...input.networks].map(([id, item]) => [id, item] as const))
  const known = new Set([input.node.name, ...peers.map(({ name }) => name)])
  const placed = placeEndpoints(input, known, drop)
  const services: Service[] = []
  const publishedPorts: PublishedPort[] = []
  const members = byService(placed)
  for (const [id, item] of input.services) {
    const network = networks.get(item.networkId)
    if (network === undefined) continue
    const backends = members.get(id) ?? []
    const service = buildService(item, network, backends, input.schedulers, drop)
    const ports = network.ingress ? buildPorts(item, service.name, drop) : []
    if (service.vips.length === 0 && ports.length === 0) continue
    services.push(service)
    publishedPorts.push(...ports)
  }
  for (const one of placed) {
    const ports = hostPorts(one, input, publishedPorts, drop)
    if (ports.length === 0) continue
    const { name, item, weight } = one
    const backends = [{ endpoint: name, ...(weight === 1 ? {} : { weight: 0 }) }]
    const network = networkName(networks.get(item.networkId)!)
    services.push({ name, network, vips: [], backends })
    publishedPorts.push(...ports)
  }
  const tables = {
    version: input.version,
    node: input.peers.get(input.node.name)?.relays ? { ...input.node, relays: true } : input.node,
    peers,
    networks: [...networks.values()].map((network) => buildNetwork(network, input)),
    endpoints: placed.map((one) => buildEndpoint(one, input)),
    services,
    publishedPorts,
  }
  const draining = placed.filter(({ weight }) => weight === 0)
  return {
    tables,
    dropped,
    draining: new Map(draining.map(({ name, item }) => [name, item.taskId])),
  }
}

type Drop = (item: string, reason: string) => void

function buildPeers(input: TablesInput, drop: Drop): Peer[] {
  const keys = new Map<string, string>()
  const places = new Set<string>()
  const relays = [...input.peers.values()]
    .filter(({ nodeId, relays }) => relays && nodeId !== input.node.name)
    .map(({ nodeId }) => nodeId)
    .sort()
  const peers: Peer[] = []
  for (const [id, item] of input.peers) {
    if (id === input.node.name) continue
    const rival = keys.get(item.publicKey)
    if (rival !== undefined) {
      drop(`peer ${id}`, `has the key of ${rival}`)
      continue
    }
    keys.set(item.publicKey, id)
    // Two nodes behind one NAT may have been seen at the same place, one after the other.
    const asked = item.endpoint ?? item.seenAt ?? null
    const endpoint = asked === null || places.has(asked) ? null : asked
    if (endpoint !== null) places.add(endpoint)
    const isFar = input.isBehindNat || item.endpoint === null
    const relay = isFar ? relayFor(id, input.node.name, relays) : undefined
    peers.push({
      name: id,
      publicKey: item.publicKey,
      ...(endpoint === null ? {} : { endpoint }),
      ...(item.zone === undefined || item.zone === '' ? {} : { zone: item.zone }),
      ...(relay === undefined ? {} : { relay }),
      ...(isFar ? { keepaliveSeconds: KEEPALIVE_SECONDS } : {}),
    })
  }
  return peers
}

/** Of the managers that relay one other than the two themselves, so that each has its share. Both
 * ends choose the same: what comes from there is known to have come by the relay. */
function relayFor(id: string, own: string, relays: readonly string[]): string | undefined {
  const others = relays.filter((relay) => relay !== id)
  const sum = hashOf(id) + hashOf(own)
  return others[sum % Math.max(1, others.length)]
}

function hashOf(text: string): number {
  let sum = 0
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0
  return sum
}

function buildNetwork(item: NetworkItem, input: TablesInput): Network {
  const gateway = input.gatewayInterface(item.id)
  return {
    name: networkName(item),
    vni: item.vni,
    subnets: item.subnets.map(({ subnet }) => subnet),
    gateways: item.subnets.map(({ gateway }) => gateway).filter((text) => text !== ''),
    ...(item.mtu === null ? {} : { mtu: item.mtu }),
    ...(item.encrypted ? {} : { encrypted: false }),
    ...(item.multicast ? { multicast: true } : {}),
    ...(item.ingress ? { ingress: true } : {}),
    ...(gateway === null ? {} : { gatewayInterface: gateway }),
  }
}

function placeEndpoints(input: TablesInput, nodes: ReadonlySet<string>, drop: Drop): Placed[] {
  const placed: Placed[] = []
  for (const item of input.endpoints.values()) {
    const network = input.networks.get(item.networkId)
    // On its way out: the network's item goes with the last task.
    if (network === undefined) continue
    const name = endpointName(item)
    if (!nodes.has(item.nodeId)) {
      drop(`endpoint ${name}`, `its node ${item.nodeId} has no data plane`)
      continue
    }
    const local = item.nodeId === input.node.name ? input.local(item.taskId) : undefined
    if (local?.isOver) continue
    placed.push({
      item,
      name,
      weight: weightOf(item, local),
      isSilent: input.silent.has(item.nodeId),
    })
  }
  return placed
}

function weightOf({ state }: EndpointItem, local: LocalTask | undefined): number | null {
  if (state !== 'serving' && state !== 'draining') return null
  return state === 'draining' || local?.isDraining ? 0 : 1
}

/** Backends by the id of the service's item. */
function byService(placed: readonly Placed[]): Map<string, Placed[]> {
  const members = new Map<string, Placed[]>()
  for (const one of placed) {
    if (one.weight === null || one.item.serviceId === '') continue
    const id = `${one.item.serviceId}.${one.item.networkId}`
    const list = members.get(id)
    if (list === undefined) members.set(id, [one])
    else list.push(one)
  }
  return members
}

function buildEndpoint({ item, name }: Placed, input: TablesInput): Endpoint {
  const isHere = item.nodeId === input.node.name
  const place = isHere ? input.local(item.taskId)?.interfaceOf(item.networkId) : null
  return {
    name,
    network: networkName(input.networks.get(item.networkId)!),
    node: item.nodeId,
    addresses: item.addresses,
    ...(place === null || place === undefined ? {} : { interface: place }),
  }
}

function buildService(
  item: ServiceItem,
  network: NetworkItem,
  members: readonly Placed[],
  schedulers: readonly string[],
  drop: Drop,
): Service {
  const name = serviceName(item, network)
  const complain = (label: string): void => drop(`label ${label} of ${name}`, 'is not understood')
  // Where nobody answers, nobody is better than another.
  const hasChoice = members.some(({ weight, isSilent }) => weight === 1 && !isSilent)
  const backends = members.map(
    ({ name, weight, isSilent }): Backend => ({
      endpoint: name,
      ...(weight === 1 && !(isSilent && hasChoice) ? {} : { weight: 0 }),
    }),
  )
  return {
    name,
    network: networkName(network),
    vips: item.mode === 'dnsrr' ? [] : item.vips,
    ...serviceOptions(item.labels, schedulers, complain),
    backends,
  }
}

/** The ports of mode "host" of a task of this node: published as those of the mesh are, but in this
 * node's tables alone, by a service that has its name and no other backend. */
function hostPorts(
  { item, name, weight }: Placed,
  input: TablesInput,
  taken: readonly PublishedPort[],
  drop: Drop,
): PublishedPort[] {
  const isHere = item.nodeId === input.node.name && input.networks.get(item.networkId)?.ingress
  if (!isHere || weight === null) return []
  const ports = input.local(item.taskId)?.hostPorts ?? []
  return ports.flatMap(({ Protocol, PublishedPort: port, TargetPort }): PublishedPort[] => {
    if (port === undefined || port === 0 || Protocol === 'sctp') return []
    const rival = taken.find((other) => other.protocol === Protocol && other.port === port)
    if (rival !== undefined) {
      drop(`port ${port}/${Protocol} of ${name}`, `is published already by ${rival.service}`)
      return []
    }
    return [{ protocol: Protocol, port, service: name, targetPort: TargetPort }]
  })
}

function buildPorts(item: ServiceItem, service: string, drop: Drop): PublishedPort[] {
  return item.ports.flatMap(({ Protocol, PublishedPort: port, TargetPort }): PublishedPort[] => {
    if (port === undefined || port === 0) return []
    if (Protocol === 'sctp') {
      drop(`port ${port}/sctp of ${service}`, 'SCTP is not published by the routing mesh')
      return []
    }
    const published = { protocol: Protocol, port, service, targetPort: TargetPort }
    const proxyProtocol = Protocol === 'tcp' ? proxyProtocolOf(item.labels, port) : undefined
    return [{ ...published, ...(proxyProtocol === undefined ? {} : { proxyProtocol }) }]
  })
}
