// CompiledTables: ForwardingTables (tables.ts) after every name has become an index, every text an
// address and every default a value. compile.ts makes it on the main thread from tables that
// validate.ts has passed; the engine receives it by postMessage and builds its own lookup
// structures.
//
// Rules that hold for every value of this type:
//   - Plain data only: objects, arrays, strings, numbers, booleans, null and Uint8Array. It
//     survives structured clone, and nothing in it is shared with the main thread.
//   - A field named after another list in the singular (`network`, `peer`, `endpoint`, `service`,
//     `vip`, `backend`, `port`) is an index into that list; NONE (-1) means "there is no such row".
//   - Indices belong to one version only. What lives on across a swap is `name`: unique within its
//     list and equal in two versions exactly when it is the same thing. The engine diffs by name.
//   - Lists stand in the order of the file, so that a file compiled twice gives equal values.
//   - Ports of transport protocols are `...Port` or `portNumber`; a lone `port` is a local
//     interface.

import type { ProxyProtocol, SchedulerFlag } from '../ipvs-emulator/config.ts'
import type { BalancerSettings } from './tables.ts'

/** Index that refers to nothing. */
export const NONE: number = -1

/** IP protocol numbers as the tables use them (IANA protocol-numbers). */
export const PROTOCOL_TCP: number = 6
export const PROTOCOL_UDP: number = 17
export const PROTOCOL_SCTP: number = 132

export interface Address {
  /** Canonical text (RFC 5952 for IPv6). */
  readonly text: string
  /** Network byte order, 4 bytes for IPv4 and 16 for IPv6; the length tells the family. */
  readonly bytes: Uint8Array
}

export interface Prefix extends Address {
  /** Bits of the prefix, 0..32 or 0..128. `bytes` is the network address: host bits are zero. */
  readonly length: number
}

export interface CompiledTables {
  readonly version: number
  readonly node: CompiledNode
  readonly peers: readonly CompiledPeer[]
  readonly networks: readonly CompiledNetwork[]
  readonly endpoints: readonly CompiledEndpoint[]
  /** Interfaces to be made on this node: the endpoints here that name one. */
  readonly ports: readonly CompiledPort[]
  /** Forwarding database: one row per endpoint, (network, mac) -> endpoint. */
  readonly fdb: readonly FdbRow[]
  /** Who answers ARP and neighbour solicitation: (network, address) -> mac. */
  readonly neighbours: readonly NeighbourRow[]
  readonly services: readonly CompiledService[]
  /** One row per (service, virtual address). */
  readonly vips: readonly CompiledVip[]
  /** One row per (service, endpoint that serves it). */
  readonly backends: readonly CompiledBackend[]
  /** What the balancer is given: one row per (VIP, protocol, port number) and, for published ports,
   * per (protocol, port number, family). */
  readonly virtualServices: readonly VirtualService[]
  readonly publishedPorts: readonly CompiledPublishedPort[]
  /** The ingress network, NONE when there is none. */
  readonly ingressNetwork: number
}

export interface CompiledNode {
  readonly name: string
  /** Underlay address to bind; "::" = every address. */
  readonly listenAddress: string
  readonly listenPort: number
  /** X25519 private key, 32 bytes; null where no network is encrypted and no key was given. */
  readonly privateKey: Uint8Array | null
  /** Noise psk2, 32 bytes each, newest first; one that is all zero when the file names none. */
  readonly presharedKeys: readonly Uint8Array[]
  /** Passes on datagrams between peers. */
  readonly relays: boolean
  /** The host forwards and masquerades the links of its processes. */
  readonly egress: boolean
  /** Addresses on which published ports answer, besides loopback. */
  readonly addresses: readonly Address[]
  /** Timeouts and defences, every default filled in. */
  readonly balancer: CompiledBalancer
}

/** BalancerSettings (tables.ts) with their defaults. */
export type CompiledBalancer = Required<BalancerSettings>

export interface CompiledPeer {
  readonly name: string
  /** X25519 public key, 32 bytes; null = a plain RFC 7348 VTEP. */
  readonly publicKey: Uint8Array | null
  /** Address and UDP port to begin with; null and 0 when the peer calls first. */
  readonly address: Address | null
  readonly udpPort: number
  /** The peer that relays for it; NONE = it is reached directly. */
  readonly relay: number
  readonly keepaliveMs: number
}

export interface CompiledNetwork {
  readonly name: string
  readonly vni: number
  readonly subnets: readonly Prefix[]
  /** gateways[i] and gatewayMacs[i] belong to subnets[i]. */
  readonly gateways: readonly Address[]
  readonly gatewayMacs: readonly Uint8Array[]
  /** Inner IP MTU in bytes. */
  readonly mtu: number
  readonly encrypted: boolean
  readonly multicast: boolean
  readonly ingress: boolean
  /** Peers with at least one endpoint here, ascending: where a broadcast is replicated to. On an
   * encrypted network only peers with a key are in it. */
  readonly peers: readonly number[]
  /** Local ports of endpoints on this network, ascending. */
  readonly ports: readonly number[]
  /** Local port that has the gateway addresses, NONE = the gateways only answer pings. */
  readonly gatewayPort: number
}

export interface CompiledEndpoint {
  readonly name: string
  readonly network: number
  /** At most one per subnet, in the file's order. */
  readonly addresses: readonly Address[]
  /** 6 bytes. */
  readonly mac: Uint8Array
  /** The peer it runs on; NONE = this node. */
  readonly peer: number
  /** Its local port; NONE when it runs elsewhere, or here without an interface as yet (frames to it
   * are then dropped and counted). */
  readonly port: number
  /** True for the gateway addresses of a network, where they have an interface here. */
  readonly isGateway: boolean
}

export interface CompiledPort {
  /** Name of its endpoint. */
  readonly name: string
  readonly endpoint: number
  readonly network: number
  /** Namespace path ("/run/netns/web1", "/proc/4711/ns/net"); null = the agent's own. */
  readonly netns: string | null
  /** Interface name inside that namespace. */
  readonly device: string
  readonly mac: Uint8Array
  readonly mtu: number
  /** addresses[i] with prefixLengths[i] belongs to the interface, gateways[i] is that subnet's. */
  readonly addresses: readonly Address[]
  readonly prefixLengths: readonly number[]
  readonly gateways: readonly Address[]
  readonly defaultRoute: boolean
  /** On the ingress network: replies from its address must return through it (policy rule). */
  readonly ingress: boolean
  /** Made bare, for a container engine to move, rename and configure. */
  readonly handedOver: boolean
  /** Where the engine moved it, null = it has not been, or never will be. */
  readonly movedTo: { readonly netns: string; readonly device: string } | null
}

export interface FdbRow {
  readonly network: number
  readonly mac: Uint8Array
  readonly endpoint: number
}

export type NeighbourKind = 'endpoint' | 'vip' | 'gateway'

export interface NeighbourRow {
  readonly network: number
  readonly address: Address
  readonly mac: Uint8Array
  readonly kind: NeighbourKind
  /** Index into endpoints or vips, or the number of the subnet for a gateway. */
  readonly index: number
}

export interface CompiledService {
  readonly name: string
  readonly network: number
  readonly scheduler: string
  readonly options: BalancingOptions
  /** Rows of `vips` and `backends` that belong to it. */
  readonly vips: readonly number[]
  readonly backends: readonly number[]
}

/** How a service's flows are given to its backends, besides the scheduler. */
export interface BalancingOptions {
  readonly schedulerFlags: readonly SchedulerFlag[]
  /** 0 = the scheduler's default. */
  readonly mhSlots: number
  /** 0 = no affinity. */
  readonly persistenceSeconds: number
  readonly persistencePrefix4: number
  readonly persistencePrefix6: number
  readonly onePacket: boolean
  /** 0 = the node's timeouts. */
  readonly idleSeconds: number
  readonly retryRefused: boolean
}

export interface CompiledVip {
  /** "service/address". */
  readonly name: string
  readonly service: number
  readonly network: number
  readonly address: Address
  /** Derived from the address; the frame for a VIP carries it as destination. */
  readonly mac: Uint8Array
}

export interface CompiledBackend {
  /** "service/endpoint". */
  readonly name: string
  readonly service: number
  readonly endpoint: number
  /** 0..65535, 0 = quiesced. */
  readonly weight: number
  /** In flows, 0 = none. */
  readonly upperThreshold: number
  readonly lowerThreshold: number
  /** Backends of a tier get flows only while no nearer one (lower number) takes any. */
  readonly tier: number
  readonly slowStartSeconds: number
}

export interface VirtualService {
  /** "service/address/tcp/80", "service/address/udp/0" or "published/tcp/80/ipv4". */
  readonly name: string
  readonly service: number
  /** NONE for a published port. */
  readonly vip: number
  /** Index into publishedPorts; NONE for a VIP. */
  readonly publishedPort: number
  /** The overlay network whose address space it lives in; for a published port the ingress network,
   * to which its real servers belong (the client side is the mesh's own zone). */
  readonly network: number
  readonly family: 4 | 6
  /** PROTOCOL_TCP, PROTOCOL_UDP or PROTOCOL_SCTP. */
  readonly protocol: number
  /** The virtual address; null for a published port: every address of the node. */
  readonly address: Address | null
  /** 1..65535; 0 = every port, kept as it is. */
  readonly portNumber: number
  readonly scheduler: string
  readonly options: BalancingOptions
  readonly realServers: readonly RealServer[]
}

export interface RealServer {
  /** Name of its backend row. */
  readonly name: string
  readonly backend: number
  readonly endpoint: number
  /** The endpoint's first address of the virtual service's family. An endpoint that has none is not
   * among its real servers. */
  readonly address: Address
  /** 1..65535; 0 = the port that the client asked for. */
  readonly portNumber: number
  /** This and the following as in its backend row. */
  readonly weight: number
  readonly upperThreshold: number
  readonly lowerThreshold: number
  readonly tier: number
  readonly slowStartSeconds: number
}

export interface CompiledPublishedPort {
  /** "tcp/80". */
  readonly name: string
  readonly protocol: number
  readonly portNumber: number
  readonly targetPortNumber: number
  readonly service: number
  /** Version of the PROXY header that its backends are sent; null = none. */
  readonly proxyProtocol: ProxyProtocol | null
  /** Its rows in virtualServices: IPv4 then IPv6, NONE where the ingress network lacks that family.
   */
  readonly virtualService4: number
  readonly virtualService6: number
}
