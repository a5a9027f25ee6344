// What the load balancer is told to do: complete lists, swapped whole by Director.apply(). Keys are
// stable text chosen by the caller; what keeps its key keeps its connections, statistics and
// scheduler state.

export type Protocol = 'tcp' | 'udp' | 'sctp'

/** Versions of the PROXY protocol's header (wire/proxy-protocol.ts). */
export type ProxyProtocol = 'v1' | 'v2'

export interface BalancerConfig {
  readonly services: readonly ServiceConfig[]
}

export interface ServiceConfig {
  /** Stable and unique. */
  readonly key: string
  /** Zone in which packets to the virtual addresses are seen. */
  readonly zone: number
  /** Zone in which the real servers' replies are seen, default `zone`. */
  readonly replyZone?: number
  /** Where the service answers. A port of 0 means every port, kept as it is. Empty when only a mark
   * or an explicit schedule() call leads here. */
  readonly virtuals: readonly VirtualConfig[]
  /** Packets carrying this firewall mark come here before any address match (0 = none). */
  readonly mark?: number
  /** Default "rr". */
  readonly scheduler?: string
  readonly schedulerFlags?: readonly SchedulerFlag[]
  /** mh only: slots of its table, one of MH_PRIMES; default 4093. */
  readonly mhSlots?: number
  readonly realServers: readonly RealServerConfig[]
  /** Clients keep their real server for this many seconds after their last connection, 0 = off. */
  readonly persistenceSeconds?: number
  /** Prefix length that makes several client addresses one persistent client; default 32
   * and 128. */
  readonly persistencePrefix4?: number
  readonly persistencePrefix6?: number
  /** UDP only: schedule each packet by itself (ipvsadm --ops). */
  readonly onePacket?: boolean
  /** Idle timeout of established connections of this service in seconds; default the protocol's. */
  readonly idleSeconds?: number
  /** A SYN that its real server refuses may be tried on another (Director.retry()).
   * Default false. */
  readonly retryRefused?: boolean
  /** TCP only: the real servers are sent a header that names the client in front of what it sends
   * (proxy-headers.ts). Flows that are open keep what they began with. Default none. */
  readonly proxyProtocol?: ProxyProtocol
  /** Source address (per family) for flows whose replies would otherwise not come back here: a
   * client that is its own real server (hairpin), and callers that ask for it. */
  readonly masquerade4?: string
  readonly masquerade6?: string
}

export type SchedulerFlag = 'sh-fallback' | 'sh-port' | 'mh-fallback' | 'mh-port'

export interface VirtualConfig {
  readonly protocol: Protocol
  readonly address: string
  readonly port: number
}

export interface RealServerConfig {
  /** Stable, unique within its service. */
  readonly key: string
  readonly address: string
  /** 0 = keep the port the client asked for. */
  readonly port: number
  /** 0..65535; 0 quiesces. Default 1. */
  readonly weight?: number
  /** 0..3, default 0: servers of a tier are chosen only while no nearer tier has one available.
   * Tiers make "local first" and "same zone first". */
  readonly tier?: number
  /** A server that joins others reaches its share of new connections in this many seconds, default
   * 0 = at once. Of no effect under dh, sh and mh. */
  readonly slowStartSeconds?: number
  /** Overload thresholds in connections, 0 = none. */
  readonly upperThreshold?: number
  readonly lowerThreshold?: number
}

/** apply() throws this and changes nothing when the configuration is not usable. */
export class ConfigError extends Error {
  /** Where in the configuration, e.g. `services[2].realServers[0].weight`. */
  readonly path: string
  constructor(path: string, reason: string) {
    super(`${path}: ${reason}`)
    this.name = 'ConfigError'
    this.path = path
  }
}
