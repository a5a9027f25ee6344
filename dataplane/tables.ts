// ForwardingTables: everything one node's data plane knows of the world, and the only contract
// between data plane and control plane. A value is complete, immutable and swapped whole: the
// engine never sees half of a change. `weft dataplane --config FILE` reads it from JSON; the
// control plane derives it from its store. Addresses are text (IPv4 or IPv6), prefixes are CIDR
// text, keys are base64 of 32 bytes. Names are unique within their list and are how one list refers
// to another.

export interface ForwardingTables {
  /** Rises with every change; the running version is a metric. */
  readonly version: number
  readonly node: LocalNode
  readonly peers: readonly Peer[]
  readonly networks: readonly Network[]
  readonly endpoints: readonly Endpoint[]
  readonly services: readonly Service[]
  readonly publishedPorts: readonly PublishedPort[]
}

export interface LocalNode {
  readonly name: string
  /** Underlay address to bind, default every address ("::"). */
  readonly listenAddress?: string
  /** UDP port of the underlay, default 4789; encrypted and plain networks share it. */
  readonly listenPort?: number
  /** Static X25519 private key: the file that `weft keygen` wrote, or the key itself. Needed when a
   * network is encrypted. */
  readonly privateKeyFile?: string
  readonly privateKey?: string
  /** Mixed into every handshake (Noise psk2), base64 of 32 bytes; default all zero. */
  readonly presharedKey?: string
  /** Addresses of this host on which published ports answer, loopback always included. */
  readonly addresses?: readonly string[]
}

export interface Peer {
  readonly name: string
  /** Static X25519 public key; absent for a plain RFC 7348 VTEP such as a kernel vxlan
   * interface. */
  readonly publicKey?: string
  /** Where to reach it, "address:port" or "[v6]:port"; absent when it calls first (behind NAT). */
  readonly endpoint?: string
  /** Keep-alive interval in seconds while idle, 0 = only when needed; default 0, at most 3600. */
  readonly keepaliveSeconds?: number
}

export interface Network {
  readonly name: string
  /** VXLAN network identifier, 1..2^24-1. */
  readonly vni: number
  readonly subnets: readonly string[]
  /** Gateway address per subnet, answered locally on every node; default the first host address. */
  readonly gateways?: readonly string[]
  /** Inner IP MTU, 1280..9000 (576 where the network has IPv4 only); default fits a 1500-byte
   * underlay. */
  readonly mtu?: number
  /** Default true. False = RFC 7348 in the clear. */
  readonly encrypted?: boolean
  /** Default false. True = broadcast and multicast are replicated head-end to every node that
   * has an endpoint on this network. */
  readonly multicast?: boolean
  /** True for the one network over which published ports reach their backends. */
  readonly ingress?: boolean
  /** An interface of this node that has the gateway addresses, for what answers there (a name
   * server). Reached by the containers of this node alone; default none. */
  readonly gatewayInterface?: LocalInterface
}

export interface Endpoint {
  readonly name: string
  readonly network: string
  /** Name of the node it runs on: node.name or a peer's name. */
  readonly node: string
  /** At most one address per subnet of the network. */
  readonly addresses: readonly string[]
  /** Default derives from the first address (mac.ts). */
  readonly mac?: string
  /** For endpoints of this node: where its interface is to be made. */
  readonly interface?: LocalInterface
}

export interface LocalInterface {
  /** A network namespace: a path such as /run/netns/web1, or a process id. Default: the agent's
   * own. */
  readonly netns?: string | number
  /** Device name, 1..15 bytes. */
  readonly name: string
  /** Route everything through this interface (the container has no other way out). Default
   * false. */
  readonly defaultRoute?: boolean
}

export interface Service {
  readonly name: string
  readonly network: string
  /** Virtual addresses; balanced on the client's own node. May be empty for one only published. */
  readonly vips: readonly string[]
  /** Ports of the VIP; absent or empty = every TCP and UDP port, kept as it is. */
  readonly ports?: readonly ServicePort[]
  /** Default "rr". */
  readonly scheduler?: string
  readonly backends: readonly Backend[]
}

export interface ServicePort {
  readonly protocol: 'tcp' | 'udp'
  readonly port: number
  /** Port on the backend, default `port`. */
  readonly targetPort?: number
}

export interface Backend {
  /** Name of an endpoint on the service's network. */
  readonly endpoint: string
  /** 0..65535; 0 quiesces: open flows go on, new ones go elsewhere. Default 1. */
  readonly weight?: number
}

export interface PublishedPort {
  readonly protocol: 'tcp' | 'udp'
  /** 1..65535 on every address of the node. */
  readonly port: number
  /** Name of a service on the ingress network. */
  readonly service: string
  /** Port on the backend, default `port`. */
  readonly targetPort?: number
}
