// Services and what belongs to them. A service has virtual addresses and, per address family, a
// pool of real servers with a scheduler; a real server is one address and port with its weight and
// its load. The four types know each other, so they share a file.

import type { ServiceConfig } from './config.ts'
import type { Flow } from './flow.ts'

export interface Scheduler {
  /** As ipvsadm names it. */
  readonly name: string
  /** Builds pool.state for the servers that are in the pool. */
  init(pool: Pool): void
  /** Gives pool.state up. */
  done(pool: Pool): void
  /** `server` was appended to the pool. */
  addServer(pool: Pool, server: RealServer): void
  /** `server` was taken from position `position` of the pool. */
  removeServer(pool: Pool, server: RealServer, position: number): void
  /** The weight or a threshold of `server` changed. */
  updateServer(pool: Pool, server: RealServer): void
  /** Does a bounded slice of what a change left to do while pool.busy is true. True when all is
   * done. */
  work?(pool: Pool): boolean
  /** `random` gives uniform 32-bit unsigned numbers, `tick` is the time in ticks. */
  schedule(pool: Pool, flow: Flow, random: () => number, tick: number): RealServer | null
}

export class RealServer {
  /** Number in the director's table, > 0: 0 in a connection means "none". */
  readonly index: number
  readonly key: string
  readonly pool: Pool
  readonly address: Int32Array
  /** The address as it was written. */
  text = ''
  /** 0 = the port the client asked for. */
  readonly port: number
  /** Row of its statistics. */
  readonly row: number
  /** What schedulers see; differs from the configured weight while slow start lasts. */
  weight: number
  /** The configured weight. */
  fullWeight: number
  /** When slow start began and how long it takes, in ticks; 0 = it is over. */
  slowSinceTick = 0
  slowTicks = 0
  /** How far it has come, 1 = it is over. */
  share = 1
  /** The last weight that was not 0: what mh builds its table from, so that quiescing a server
   * moves none of the other servers' clients. */
  lastWeight: number
  upperThreshold = 0
  lowerThreshold = 0
  /** The upper threshold was reached: not chosen until the count falls (unbind()). */
  overloaded = false
  /** No longer configured; kept until its last connection is gone. */
  gone = false
  active = 0
  inactive = 0
  /** Persistence templates that point here. */
  templates = 0

  constructor(
    index: number,
    key: string,
    pool: Pool,
    address: Int32Array,
    port: number,
    weight: number,
    row: number,
  ) {
    this.index = index
    this.key = key
    this.pool = pool
    this.address = address
    this.port = port
    this.weight = weight
    this.fullWeight = weight
    this.lastWeight = weight
    this.row = row
  }

  /** True when a scheduler may choose it. */
  get eligible(): boolean {
    return this.weight > 0 && !this.overloaded
  }

  /** To be called after a connection was added: ip_vs_bind_dest(). */
  noteBound(): void {
    const total = this.active + this.inactive
    if (this.upperThreshold !== 0 && total >= this.upperThreshold) this.overloaded = true
  }

  /** To be called after a connection went: ip_vs_unbind_dest(). Without a lower threshold, three
   * quarters of the upper one is where the server is taken back. */
  noteUnbound(): void {
    const total = this.active + this.inactive
    if (this.lowerThreshold !== 0) {
      if (total < this.lowerThreshold) this.overloaded = false
    } else if (this.upperThreshold !== 0) {
      if (total * 4 < this.upperThreshold * 3) this.overloaded = false
    } else this.overloaded = false
  }
}

/** The real servers of one service, address family and tier, in configured order: what a scheduler
 * sees. */
export class Pool {
  readonly service: Service
  /** IPV4 or IPV6. */
  readonly family: number
  readonly tier: number
  readonly servers: RealServer[] = []
  scheduler: Scheduler
  /** The scheduler's memory. */
  state: unknown = undefined
  /** The scheduler has work() to do. */
  busy = false
  /** Servers in slow start. */
  slow = 0

  constructor(service: Service, family: number, tier: number, scheduler: Scheduler) {
    this.service = service
    this.family = family
    this.tier = tier
    this.scheduler = scheduler
  }
}

export class Service {
  readonly index: number
  readonly key: string
  /** Row of its statistics. */
  readonly row: number
  config: ServiceConfig
  /** By tier * 2 + family; as many tiers as have been used. */
  readonly pools: Pool[] = []
  /** Masquerade address per family, null = none. */
  readonly masquerade: (Int32Array | null)[] = [null, null]
  /** Idle timeout of established connections in ticks, 0 = the protocol's. */
  idleTicks = 0
  /** Real servers, those included that are gone and still have connections. */
  serverCount = 0
  /** No longer configured; kept until its last connection is gone. */
  gone = false

  constructor(index: number, key: string, row: number, config: ServiceConfig) {
    this.index = index
    this.key = key
    this.row = row
    this.config = config
  }
}
