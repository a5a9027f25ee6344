// The tables as the packet loop reads them: columns indexed by stable numbers (stable-ids.ts),
// built from CompiledTables at each swap. Networks, endpoints and peers keep their number as long
// as they keep their name, so that flows and half-built bursts survive; the forwarding database and
// the neighbour table are built whole and exchanged.

import { Fdb, type FdbEntry } from '../vxlan/fdb.ts'
import { type NeighbourEntryV4, type NeighbourEntryV6, NeighbourTable } from '../vxlan/neighbour.ts'
import { type CompiledNetwork, type CompiledTables, NONE } from './compiled.ts'
import type { Counters } from './counters.ts'
import { ENDPOINTS_MAX, NETWORKS_MAX, PEERS_MAX } from './engine-limits.ts'
import { Peers } from './peers.ts'
import type { Port } from './ports.ts'
import { StableIds } from './stable-ids.ts'

/** What the forwarding database says of MAC addresses that no endpoint has. Endpoint numbers are
 * smaller. */
export const FDB_GATEWAY: number = 2 ** 30
export const FDB_VIP: number = 2 ** 30 + 1

/** One network as the loop sees it; the object lives as long as the name. */
export class NetworkState {
  readonly id: number
  readonly name: string
  vni = 0
  encrypted = true
  multicast = false
  ingress = false
  mtu = 0
  /** Zone of the balancer: address spaces of networks are apart. 0 is the routing mesh's. */
  zone = 0
  row = 0
  gatewayMacHi4 = 0
  gatewayMacLo4 = 0
  gatewayMacHi6 = 0
  gatewayMacLo6 = 0
  /** Where a broadcast goes. */
  peers: number[] = []
  ports: LocalPort[] = []
  /** Where packets to the gateway itself go; null = nowhere. */
  gatewayPort: LocalPort | null = null

  constructor(id: number, name: string) {
    this.id = id
    this.name = name
    this.zone = id + 1
  }
}

/** One local container interface. */
export class LocalPort {
  readonly name: string
  readonly port: Port
  network: NetworkState
  endpoint: number
  /** Has the gateway addresses of its network. */
  readonly isGateway: boolean
  macHi: number
  macLo: number
  /** The only sources it may send from: IPv4 as numbers, IPv6 as 16 bytes each. */
  addresses4: number[] = []
  addresses6: DataView[] = []

  constructor(
    name: string,
    port: Port,
    network: NetworkState,
    endpoint: number,
    isGateway: boolean,
  ) {
    this.name = name
    this.port = port
    this.network = network
    this.endpoint = endpoint
    this.isGateway = isGateway
    this.macHi = 0
    this.macLo = 0
  }
}

export class Topology {
  version = -1
  readonly peers: Peers = new Peers()
  /** Networks by stable number, and by VNI for what comes in. */
  readonly networks: (NetworkState | undefined)[] = []
  readonly networkByVni: Map<number, NetworkState> = new Map()
  ingress: NetworkState | null = null

  // Endpoints, by stable number: which peer (-1: here), which local port (null: none), MAC.
  endpointPeer: Int32Array = new Int32Array(0)
  endpointPort: (LocalPort | null)[] = []
  endpointMacHi: Uint16Array = new Uint16Array(0)
  endpointMacLo: Uint32Array = new Uint32Array(0)
  /** 1 where it is a backend of some service: its packets may be replies to translate. */
  endpointServes: Uint8Array = new Uint8Array(0)

  fdb: Fdb = new Fdb([])
  neighbours: NeighbourTable = new NeighbourTable([], [])
  ports: Map<string, LocalPort> = new Map()

  readonly networkIds: StableIds = new StableIds(NETWORKS_MAX)
  readonly endpointIds: StableIds = new StableIds(ENDPOINTS_MAX)
  readonly peerIds: StableIds = new StableIds(PEERS_MAX)

  private readonly counters: Counters

  constructor(counters: Counters) {
    this.counters = counters
  }

  /** Takes over new tables. Peers have been given their numbers and sessions by the caller;
   * `portOf` finds the open device of a port by its endpoint's name. */
  swap(
    tables: CompiledTables,
    portOf: (name: string) => Port | null,
    peerNumbers: readonly number[],
    nowMs: number,
  ): void {
    const networks = this.swapNetworks(tables, peerNumbers, nowMs)
    const endpoints = this.swapEndpoints(tables, peerNumbers, nowMs)
    this.swapPorts(tables, networks, endpoints, portOf)
    this.swapForwarding(tables, networks, endpoints)
    this.ingress = tables.ingressNetwork === NONE ? null : networks[tables.ingressNetwork]!
    this.version = tables.version
  }

  private swapNetworks(
    tables: CompiledTables,
    peerNumbers: readonly number[],
    nowMs: number,
  ): NetworkState[] {
    const names = new Set(tables.networks.map((network) => network.name))
    this.networkIds.retain(names, nowMs, (id) => {
      this.networks[id] = undefined
    })
    this.counters.retain('network', names)
    this.networkByVni.clear()
    return tables.networks.map((compiled) => {
      const id = this.networkIds.intern(compiled.name, nowMs)
      const network = this.networks[id] ?? new NetworkState(id, compiled.name)
      this.networks[id] = network
      network.vni = compiled.vni
      network.encrypted = compiled.encrypted
      network.multicast = compiled.multicast
      network.ingress = compiled.ingress
      network.mtu = compiled.mtu
      network.row = this.counters.row('network', compiled.name)
      network.peers = compiled.peers.map((peer) => peerNumbers[peer]!)
      network.ports = []
      network.gatewayPort = null
      setGateways(network, compiled)
      this.networkByVni.set(compiled.vni, network)
      return network
    })
  }

  private swapEndpoints(
    tables: CompiledTables,
    peerNumbers: readonly number[],
    nowMs: number,
  ): number[] {
    const names = new Set(tables.endpoints.map((endpoint) => endpoint.name))
    // Peer and MAC stay: resets of the endpoint's flows are still on their way.
    this.endpointIds.retain(names, nowMs, (id) => {
      this.endpointPort[id] = null
    })
    const ids = tables.endpoints.map((endpoint) => this.endpointIds.intern(endpoint.name, nowMs))
    this.growEndpoints(ids.reduce((most, id) => Math.max(most, id + 1), 0))
    this.endpointServes.fill(0)
    for (const backend of tables.backends) this.endpointServes[ids[backend.endpoint]!] = 1
    tables.endpoints.forEach((endpoint, i) => {
      const id = ids[i]!
      this.endpointPeer[id] = endpoint.peer === NONE ? -1 : peerNumbers[endpoint.peer]!
      this.endpointPort[id] = null
      const [macHi, macLo] = macWords(endpoint.mac)
      this.endpointMacHi[id] = macHi
      this.endpointMacLo[id] = macLo
    })
    return ids
  }

  private growEndpoints(count: number): void {
    if (count <= this.endpointPeer.length) return
    const size = Math.max(64, 2 ** Math.ceil(Math.log2(count)))
    const peer = new Int32Array(size).fill(-1)
    peer.set(this.endpointPeer)
    const macHi = new Uint16Array(size)
    macHi.set(this.endpointMacHi)
    const macLo = new Uint32Array(size)
    macLo.set(this.endpointMacLo)
    this.endpointPeer = peer
    this.endpointMacHi = macHi
    this.endpointMacLo = macLo
    this.endpointServes = new Uint8Array(size)
  }

  private swapPorts(
    tables: CompiledTables,
    networks: readonly NetworkState[],
    endpoints: readonly number[],
    portOf: (name: string) => Port | null,
  ): void {
    const before = this.ports
    this.ports = new Map()
    for (const compiled of tables.ports) {
      const port = portOf(compiled.name)
      if (port === null) continue
      const network = networks[compiled.network]!
      const endpoint = endpoints[compiled.endpoint]!
      const { isGateway } = tables.endpoints[compiled.endpoint]!
      const known = before.get(compiled.name)
      const local =
        known !== undefined && known.port === port
          ? known
          : new LocalPort(compiled.name, port, network, endpoint, isGateway)
      local.network = network
      local.endpoint = endpoint
      local.macHi = this.endpointMacHi[endpoint]!
      local.macLo = this.endpointMacLo[endpoint]!
      local.addresses4 = []
      local.addresses6 = []
      for (const address of compiled.addresses) {
        const view = viewOf(address.bytes)
        if (view.byteLength === 4) local.addresses4.push(view.getUint32(0))
        else local.addresses6.push(view)
      }
      this.endpointPort[endpoint] = local
      if (isGateway) network.gatewayPort = local
      else network.ports.push(local)
      this.ports.set(compiled.name, local)
    }
  }

  private swapForwarding(
    tables: CompiledTables,
    networks: readonly NetworkState[],
    endpoints: readonly number[],
  ): void {
    const macs: FdbEntry[] = []
    const v4: NeighbourEntryV4[] = []
    const v6: NeighbourEntryV6[] = []
    for (const row of tables.fdb) {
      macs.push(fdbEntry(networks[row.network]!.vni, row.mac, endpoints[row.endpoint]!))
    }
    for (const row of tables.neighbours) {
      const network = networks[row.network]!.vni
      const { bytes } = row.address
      const [macHi, macLo] = macWords(row.mac)
      if (bytes.length === 4)
        v4.push({ network, address: viewOf(bytes).getUint32(0), macHi, macLo })
      else v6.push({ network, address: bytes, macHi, macLo })
      if (row.kind === 'endpoint') continue
      macs.push(fdbEntry(network, row.mac, row.kind === 'gateway' ? FDB_GATEWAY : FDB_VIP))
    }
    this.fdb = new Fdb(macs)
    this.neighbours = new NeighbourTable(v4, v6)
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A MAC as its first 16 and last 32 bits. */
function macWords(mac: Uint8Array): [number, number] {
  const view = viewOf(mac)
  return [view.getUint16(0), view.getUint32(2)]
}

function fdbEntry(vni: number, mac: Uint8Array, endpoint: number): FdbEntry {
  const [macHi, macLo] = macWords(mac)
  return { vni, macHi, macLo, endpoint }
}

function setGateways(network: NetworkState, compiled: CompiledNetwork): void {
  compiled.gateways.forEach((gateway, i) => {
    const [hi, lo] = macWords(compiled.gatewayMacs[i]!)
    if (gateway.bytes.length === 4) {
      network.gatewayMacHi4 = hi
      network.gatewayMacLo4 = lo
    } else {
      network.gatewayMacHi6 = hi
      network.gatewayMacLo6 = lo
    }
  })
}
