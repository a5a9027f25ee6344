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
  /** The same while it is being rotated: newest first, at most three, instead of presharedKey. A
   * node answers a handshake with the second newest and takes an answer made with any of them, so
   * each may be one rotation behind; sessions that are up stay up. */
  readonly presharedKeys?: readonly string[]
  /** Addresses of this host on which published ports answer, loopback always included. */
  readonly addresses?: readonly string[]
  /** Passes on sealed datagrams between peers that do not reach each other. Default false. */
  readonly relays?: boolean
  /** Processes of this node reach outside by links of their own (edge/egress.ts): the host forwards
   * and masquerades them. Default false. */
  readonly egress?: boolean
  /** Where the node stands, for services that prefer what is near: a rack, a room, a region. */
  readonly zone?: string
  /** Timeouts and defences of the balancer on this node. */
  readonly balancer?: BalancerSettings
}

/** By the names of IPVS (/proc/sys/net/ipv4/vs) where it has them; the defaults are its own. */
export interface BalancerSettings {
  /** Flows held at once per address family, 1024..8388607, default 1048576. Cannot change while
   * the agent runs. */
  readonly flowsMax?: number
  /** Seconds without a packet after which a flow is forgotten, 1..2678400. Established TCP is asked
   * for a sign of life first. Defaults 900, 120 and 300, as `ipvsadm --set`. */
  readonly tcpSeconds?: number
  readonly tcpFinSeconds?: number
  readonly udpSeconds?: number
  /** A SYN from the port of an ending flow: 0 = to the old backend, 1 (default) = chosen anew. */
  readonly connReuseMode?: number
  /** A SYN of a flow whose backend has weight 0 is given another one. Default false. */
  readonly expireNodestConn?: boolean
  /** Clients leave a backend of weight 0 although they are persistent. Default false. */
  readonly expireQuiescentTemplate?: boolean
  /** TCP flows may begin with something else than SYN. Default false. */
  readonly sloppyTcp?: boolean
  /** Defences: 0 = off (default), 1 = when the flow table is nearly full, 3 = always. */
  readonly dropEntry?: number
  readonly dropPacket?: number
  readonly secureTcp?: number
  /** With dropPacket 3: every how many-th new flow is dropped, 1..1000. Default 10. */
  readonly amDropRate?: number
}

export interface Peer {
  readonly name: string
  /** Static X25519 public key; absent for a plain RFC 7348 VTEP such as a kernel vxlan
   * interface. */
  readonly publicKey?: string
  /** Where it stands, see LocalNode.zone. */
  readonly zone?: string
  /** Where to reach it, "address:port" or "[v6]:port"; absent when it calls first (behind NAT). */
  readonly endpoint?: string
  /** Name of a peer that passes on what this node and the peer say to each other where they do not
   * reach each other; the relay cannot read it. It has a key and an endpoint, and `relays` in its
   * tables. */
  readonly relay?: string
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
  /** True for an interface that a container engine takes over: it is made without addresses and
   * down, and the engine moves it into the container, renames and configures it. Default false. */
  readonly handedOver?: boolean
  /** Where the engine has moved it: the rules that bring answers back into the mesh go there. Only
   * with `handedOver`; absent until it was moved. */
  readonly movedTo?: { readonly netns: string | number; readonly name: string }
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
  /** "sh-fallback", "sh-port", "mh-fallback", "mh-port": the scheduler's own. */
  readonly schedulerFlags?: readonly string[]
  /** Slots of an mh table, one of MH_PRIMES (ipvs-emulator/sched-mh.ts); default 4093. */
  readonly mhSlots?: number
  /** Client affinity: a client keeps its backend until it has had no flow for so many seconds,
   * 0 = no affinity (default), at most 31 days. */
  readonly persistenceSeconds?: number
  /** Prefix lengths that make a network of clients one persistent client; default 32 and 128. */
  readonly persistencePrefix4?: number
  readonly persistencePrefix6?: number
  /** UDP: each packet is balanced by itself. Default false. */
  readonly onePacket?: boolean
  /** Idle timeout of established flows in seconds, at most a year; default the node's, with a
   * sign of life asked from both ends of TCP flows before they are forgotten. */
  readonly idleSeconds?: number
  /** Backends that are tried first: those on the client's own "node", those of its "zone", or the
   * "nearest" (node, then zone, then all). Default: all are alike. */
  readonly prefer?: 'node' | 'zone' | 'nearest'
  /** A new backend reaches its weight in so many seconds, default 0 = at once, at most 3600. */
  readonly slowStartSeconds?: number
  /** A connection that its backend refuses is tried on another. Default false. */
  readonly retryRefused?: boolean
  readonly backends: readonly Backend[]
}

export interface ServicePort {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly port: number
  /** Port on the backend, default `port`. */
  readonly targetPort?: number
}

export interface Backend {
  /** Name of an endpoint on the service's network. */
  readonly endpoint: string
  /** 0..65535; 0 quiesces: open flows go on, new ones go elsewhere. Default 1. */
  readonly weight?: number
  /** At so many flows it gets no new ones, until there are fewer than `lowerThreshold` (default
   * three quarters). 0 = no limit (default), at most 65535. */
  readonly upperThreshold?: number
  readonly lowerThreshold?: number
}

export interface PublishedPort {
  readonly protocol: 'tcp' | 'udp'
  /** 1..65535 on every address of the node. */
  readonly port: number
  /** Name of a service on the ingress network. */
  readonly service: string
  /** Port on the backend, default `port`. */
  readonly targetPort?: number
  /** TCP only: the backend is sent a header of the PROXY protocol, of this version, in front of
   * what the client sends. Default none. */
  readonly proxyProtocol?: 'v1' | 'v2'
}
