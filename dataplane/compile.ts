// Compilation: validated ForwardingTables become CompiledTables (compiled.ts). Names turn into
// indices, texts into bytes, and every default is filled in, so that the engine neither parses nor
// decides. Tables that validate.ts would refuse are a broken belief here, and asserted.
//
// Pure: no clock, no file. The private key comes in as an argument, because it usually stands in a
// file.

import { assert } from '../base/assert.ts'
import { contains, parseKey, parsePrefix, parseSocketAddress } from './address.ts'
import { compileServices } from './compile-services.ts'
import {
  type CompiledEndpoint,
  type CompiledNetwork,
  type CompiledNode,
  type CompiledPeer,
  type CompiledPort,
  type CompiledTables,
  type FdbRow,
  type NeighbourRow,
  NONE,
  type Prefix,
} from './compiled.ts'
import {
  BALANCER_DEFAULT,
  KEEPALIVE_SECONDS_DEFAULT,
  LISTEN_ADDRESS_DEFAULT,
  LISTEN_PORT_DEFAULT,
  MTU_DEFAULT_ENCRYPTED,
  MTU_DEFAULT_PLAIN,
} from './defaults.ts'
import { KEY_SIZE } from './limits.ts'
import { macFromAddress } from './mac-derive.ts'
import { address, found, indexOf } from './names.ts'
import type { ForwardingTables, LocalInterface, LocalNode, Network, Peer } from './tables.ts'
import { isEncrypted } from './validate-context.ts'
import { endpointMac } from './validate-endpoints.ts'
import { gatewaysOf } from './validate-networks.ts'

export interface CompileOptions {
  /** The private key read from node.privateKeyFile, 32 bytes; null when the tables name no file. */
  readonly privateKey: Uint8Array | null
}

/** Compiles tables that validateTables() passed. */
export function compileTables(tables: ForwardingTables, options: CompileOptions): CompiledTables {
  const networkIndex = indexOf(tables.networks)
  const peerIndex = indexOf(tables.peers)
  const networks = tables.networks.map(compileNetwork)
  const endpoints: CompiledEndpoint[] = []
  const ports: CompiledPort[] = []
  for (const endpoint of tables.endpoints) {
    const network = found(networkIndex, endpoint.network)
    const isLocal = endpoint.node === tables.node.name
    const hasPort = isLocal && endpoint.interface !== undefined
    const compiled: CompiledEndpoint = {
      name: endpoint.name,
      network,
      addresses: endpoint.addresses.map(address),
      mac: endpointMac(endpoint),
      peer: isLocal ? NONE : found(peerIndex, endpoint.node),
      port: hasPort ? ports.length : NONE,
      isGateway: false,
    }
    if (hasPort) {
      ports.push(compilePort(compiled, endpoint.interface!, endpoints.length, networks[network]!))
    }
    endpoints.push(compiled)
  }
  tables.networks.forEach(({ gatewayInterface }, n) => {
    if (gatewayInterface === undefined) return
    const gateway = gatewayEndpoint(networks[n]!, n, ports.length)
    ports.push(compilePort(gateway, gatewayInterface, endpoints.length, networks[n]!))
    endpoints.push(gateway)
  })
  const peers = tables.peers.map((peer) => compilePeer(peer, tables.peers))
  const services = compileServices(tables, networkIndex, networks, endpoints)
  return {
    version: tables.version,
    node: compileNode(tables.node, options),
    peers,
    networks: withMembers(networks, endpoints, peers),
    endpoints,
    ports,
    fdb: endpoints.flatMap(({ network, mac, isGateway }, endpoint): FdbRow[] =>
      isGateway ? [] : [{ network, mac, endpoint }],
    ),
    neighbours: compileNeighbours(networks, endpoints, services.vips),
    ...services,
    ingressNetwork: networks.findIndex((network) => network.ingress),
  }
}

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text)
  assert(parsed !== null, `validated tables hold "${text}" only as a prefix`)
  return parsed
}

function key(text: string): Uint8Array {
  const parsed = parseKey(text)
  assert(parsed !== null, 'validated tables hold keys only as base64 of 32 bytes')
  return parsed
}

function compileNode(node: LocalNode, options: CompileOptions): CompiledNode {
  return {
    name: node.name,
    listenAddress: address(node.listenAddress ?? LISTEN_ADDRESS_DEFAULT).text,
    listenPort: node.listenPort ?? LISTEN_PORT_DEFAULT,
    privateKey: node.privateKey === undefined ? options.privateKey : key(node.privateKey),
    presharedKeys: presharedKeys(node),
    relays: node.relays ?? false,
    egress: node.egress ?? false,
    addresses: (node.addresses ?? []).map(address),
    balancer: { ...BALANCER_DEFAULT, ...node.balancer },
  }
}

function presharedKeys({ presharedKey, presharedKeys }: LocalNode): Uint8Array[] {
  if (presharedKeys !== undefined) return presharedKeys.map(key)
  return [presharedKey === undefined ? new Uint8Array(KEY_SIZE) : key(presharedKey)]
}

function compilePeer(peer: Peer, peers: readonly Peer[]): CompiledPeer {
  const socket = peer.endpoint === undefined ? null : parseSocketAddress(peer.endpoint)
  return {
    name: peer.name,
    publicKey: peer.publicKey === undefined ? null : key(peer.publicKey),
    address: socket?.address ?? null,
    udpPort: socket?.port ?? 0,
    relay: peer.relay === undefined ? NONE : peers.findIndex(({ name }) => name === peer.relay),
    keepaliveMs: (peer.keepaliveSeconds ?? KEEPALIVE_SECONDS_DEFAULT) * 1000,
  }
}

function compileNetwork(network: Network): CompiledNetwork {
  const subnets = network.subnets.map(prefix)
  const gateways = gatewaysOf(network, subnets)
  const encrypted = isEncrypted(network)
  return {
    name: network.name,
    vni: network.vni,
    subnets,
    gateways,
    gatewayMacs: gateways.map((gateway) => macFromAddress(gateway.bytes)),
    mtu: network.mtu ?? (encrypted ? MTU_DEFAULT_ENCRYPTED : MTU_DEFAULT_PLAIN),
    encrypted,
    multicast: network.multicast ?? false,
    ingress: network.ingress ?? false,
    peers: [],
    ports: [],
    gatewayPort: NONE,
  }
}

/** The gateway of a network as an endpoint of this node. A slash keeps its name apart from those of
 * the tables. */
function gatewayEndpoint(network: CompiledNetwork, n: number, port: number): CompiledEndpoint {
  return {
    name: `gateway/${network.name}`,
    network: n,
    addresses: network.gateways,
    mac: network.gatewayMacs[0]!,
    peer: NONE,
    port,
    isGateway: true,
  }
}

/** The networks with the peers and local ports that have endpoints on them. */
function withMembers(
  networks: readonly CompiledNetwork[],
  endpoints: readonly CompiledEndpoint[],
  peers: readonly CompiledPeer[],
): CompiledNetwork[] {
  const members = networks.map(() => new Set<number>())
  const ports = networks.map((): number[] => [])
  const gatewayPorts = networks.map(() => NONE)
  for (const { network, port, peer, isGateway } of endpoints) {
    if (isGateway) gatewayPorts[network] = port
    else if (port !== NONE) ports[network]!.push(port)
    if (peer === NONE) continue
    assert(
      !networks[network]!.encrypted || peers[peer]!.publicKey !== null,
      'validated tables put no endpoint of an encrypted network on a peer without a key',
    )
    members[network]!.add(peer)
  }
  return networks.map((network, n) => ({
    ...network,
    peers: [...members[n]!].sort((a, b) => a - b),
    ports: ports[n]!,
    gatewayPort: gatewayPorts[n]!,
  }))
}

/** A namespace as a path: process ids have theirs in /proc. */
function netnsPath(netns: string | number): string {
  return typeof netns === 'number' ? `/proc/${netns}/ns/net` : netns
}

function compilePort(
  endpoint: CompiledEndpoint,
  local: LocalInterface,
  e: number,
  network: CompiledNetwork,
): CompiledPort {
  const subnets = endpoint.addresses.map((inner) =>
    network.subnets.findIndex((subnet) => contains(subnet, inner)),
  )
  return {
    name: endpoint.name,
    endpoint: e,
    network: endpoint.network,
    netns: local.netns === undefined ? null : netnsPath(local.netns),
    device: local.name,
    mac: endpoint.mac,
    mtu: network.mtu,
    addresses: endpoint.addresses,
    prefixLengths: subnets.map((s) => network.subnets[s]!.length),
    gateways: subnets.map((s) => network.gateways[s]!),
    defaultRoute: local.defaultRoute ?? false,
    ingress: network.ingress && !endpoint.isGateway,
    handedOver: local.handedOver ?? false,
    movedTo:
      local.movedTo === undefined
        ? null
        : { netns: netnsPath(local.movedTo.netns), device: local.movedTo.name },
  }
}

function compileNeighbours(
  networks: readonly CompiledNetwork[],
  endpoints: readonly CompiledEndpoint[],
  vips: CompiledTables['vips'],
): NeighbourRow[] {
  const rows: NeighbourRow[] = []
  networks.forEach(({ gateways, gatewayMacs }, network) => {
    gateways.forEach((gateway, index) => {
      const mac = gatewayMacs[index]!
      rows.push({ network, address: gateway, mac, kind: 'gateway', index })
    })
  })
  endpoints.forEach(({ network, addresses, mac, isGateway }, index) => {
    if (isGateway) return
    for (const inner of addresses) {
      rows.push({ network, address: inner, mac, kind: 'endpoint', index })
    }
  })
  vips.forEach(({ network, address: virtual, mac }, index) => {
    rows.push({ network, address: virtual, mac, kind: 'vip', index })
  })
  return rows
}
