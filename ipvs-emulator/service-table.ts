// Services and real servers by number, and the difference between one configuration and the next.
//
// Numbers are small and stable while a key stays. A real server that is no longer configured keeps
// its number (as `gone`) until its last connection has ended, its service likewise; then both are
// reused. A real server that keeps its key but changes address or port is another server: the old
// one goes, the new one comes.

import { assert } from '../base/assert.ts'
import { parseAddress } from './address.ts'
import type { BalancerConfig, RealServerConfig, ServiceConfig } from './config.ts'
import { ConfigError } from './config.ts'
import { checkConfig } from './config-check.ts'
import { IPV4, IPV6, SCTP, sameAddress, TCP, UDP } from './flow.ts'
import { SCHEDULER_DEFAULT, SCHEDULERS } from './sched.ts'
import { Pool, RealServer, Service } from './service.ts'
import { SlowStart, settle, weigh } from './slow-start.ts'
import { Statistics } from './statistics.ts'
import { ticksOf } from './timeouts.ts'
import { Virtuals } from './virtuals.ts'

const PROTOCOL_NUMBERS = { tcp: TCP, udp: UDP, sctp: SCTP }

export class ServiceTable {
  /** By index; holes where a number is free. */
  readonly services: (Service | null)[] = []
  /** By index; 0 is never used. */
  readonly servers: (RealServer | null)[] = [null]
  readonly statistics: Statistics
  readonly virtuals: Virtuals
  readonly #byKey: Map<string, Service> = new Map()
  readonly #freeServices: number[] = []
  readonly #freeServers: number[] = []
  readonly #slowStart: SlowStart = new SlowStart()
  /** Pools whose scheduler has work to do. */
  readonly #busy: Pool[] = []
  /** Real servers that are gone and still have connections. */
  goneCount = 0

  constructor(statistics: Float64Array | undefined, random: () => number) {
    this.statistics = new Statistics(statistics)
    this.virtuals = new Virtuals(random)
  }

  /** Index of the service with key `key`, -1 when there is none. */
  indexOf(key: string): number {
    return this.#byKey.get(key)?.index ?? -1
  }

  /** Makes `config` the configuration. Throws ConfigError before anything is changed. */
  apply(config: BalancerConfig, tick: number): void {
    checkConfig(config)
    this.#checkRoom(config)
    const wanted = new Set(config.services.map((service) => service.key))
    for (const service of [...this.#byKey.values()]) {
      if (!wanted.has(service.key)) this.#removeService(service)
    }
    for (const next of config.services) {
      const service = this.#byKey.get(next.key)
      this.#updateService(service ?? this.#createService(next), next, tick)
    }
    this.#indexVirtuals(config)
  }

  #checkRoom(config: BalancerConfig): void {
    let rows = 0
    for (const service of config.services) {
      const known = this.#byKey.get(service.key)
      if (known === undefined) rows++
      const keys = new Map<string, RealServer>()
      for (const pool of known?.pools ?? []) {
        for (const server of pool.servers) keys.set(server.key, server)
      }
      for (const server of service.realServers) {
        const old = keys.get(server.key)
        if (old === undefined || !sameTarget(old, server)) rows++
      }
    }
    if (rows > this.statistics.room) {
      throw new ConfigError(
        'services',
        `the statistics have room for ${this.statistics.room} more rows`,
      )
    }
  }

  #createService(config: ServiceConfig): Service {
    const index = this.#freeServices.pop() ?? this.services.length
    const service = new Service(index, config.key, this.statistics.allocate(), config)
    this.services[index] = service
    this.#byKey.set(config.key, service)
    return service
  }

  #updateService(service: Service, config: ServiceConfig, tick: number): void {
    const before = service.config
    service.config = config
    service.idleTicks = ticksOf(config.idleSeconds ?? 0)
    service.masquerade[IPV4] = addressOf(config.masquerade4)
    service.masquerade[IPV6] = addressOf(config.masquerade6)
    this.#updateServers(service, config, tick)
    const same = schedulerOptions(before) === schedulerOptions(config)
    for (const pool of service.pools) {
      settle(pool, !same)
      if (pool.busy && !this.#busy.includes(pool)) this.#busy.push(pool)
    }
  }

  #updateServers(service: Service, config: ServiceConfig, tick: number): void {
    const wanted = new Map(config.realServers.map((server) => [server.key, server]))
    const kept = new Map<string, RealServer>()
    for (const pool of service.pools) {
      for (let position = pool.servers.length - 1; position >= 0; position--) {
        const server = pool.servers[position]!
        const next = wanted.get(server.key)
        if (next !== undefined && sameTarget(server, next)) kept.set(server.key, server)
        else this.#removeServer(pool, position)
      }
    }
    // The first servers of a service have nobody who could do their work meanwhile.
    const served = [...kept.values()].some((server) => server.fullWeight > 0)
    for (const next of config.realServers) {
      const server = kept.get(next.key)
      if (server !== undefined) this.#updateServer(server, next)
      else {
        const added = this.#addServer(service, next)
        if (served) this.#slowStart.begin(added, tick, ticksOf(next.slowStartSeconds ?? 0))
      }
    }
  }

  /** The pool of a family and tier; makes the tiers up to it. */
  #pool(service: Service, family: number, tier: number): Pool {
    const scheduler = SCHEDULERS.get(service.config.scheduler ?? SCHEDULER_DEFAULT)!
    while (service.pools.length <= tier * 2 + family) {
      const place = service.pools.length
      const pool = new Pool(service, place & 1, place >> 1, scheduler)
      service.pools.push(pool)
      scheduler.init(pool)
    }
    return service.pools[tier * 2 + family]!
  }

  #addServer(service: Service, config: RealServerConfig): RealServer {
    const address = new Int32Array(4)
    const family = parseAddress(config.address, address)
    const pool = this.#pool(service, family, config.tier ?? 0)
    const index = this.#freeServers.pop() ?? this.servers.length
    const row = this.statistics.allocate()
    const weight = config.weight ?? 1
    const server = new RealServer(index, config.key, pool, address, config.port, weight, row)
    server.upperThreshold = config.upperThreshold ?? 0
    server.lowerThreshold = config.lowerThreshold ?? 0
    server.text = config.address
    this.servers[index] = server
    service.serverCount++
    pool.servers.push(server)
    pool.scheduler.addServer(pool, server)
    return server
  }

  #updateServer(server: RealServer, config: RealServerConfig): void {
    const weight = config.weight ?? 1
    const upper = config.upperThreshold ?? 0
    const lower = config.lowerThreshold ?? 0
    const changed =
      weight !== server.fullWeight ||
      upper !== server.upperThreshold ||
      lower !== server.lowerThreshold
    if (!changed) return
    server.fullWeight = weight
    if (weight !== 0) server.lastWeight = weight
    // As __ip_vs_update_dest() has it, more room ends an overload at once; whatever else changes,
    // the lower threshold still says when it is over. Less room than is taken counts at once too.
    if (upper === 0 || upper > server.upperThreshold) server.overloaded = false
    server.upperThreshold = upper
    server.lowerThreshold = lower
    server.noteBound()
    const { pool, weight: before } = server
    weigh(server)
    if (server.weight === before) pool.scheduler.updateServer(pool, server)
  }

  #removeServer(pool: Pool, position: number): void {
    const server = pool.servers[position]!
    pool.servers.splice(position, 1)
    server.gone = true
    server.weight = 0
    pool.scheduler.removeServer(pool, server, position)
    if (server.active + server.inactive + server.templates > 0) this.goneCount++
    else this.#freeServer(server)
  }

  #removeService(service: Service): void {
    this.#byKey.delete(service.key)
    service.gone = true
    for (const pool of service.pools) {
      for (let i = pool.servers.length - 1; i >= 0; i--) this.#removeServer(pool, i)
      pool.scheduler.done(pool)
    }
    this.#freeServiceIfUnused(service)
  }

  /** Real servers in slow start. */
  get slowCount(): number {
    return this.#slowStart.count
  }

  /** To be called each second: raises the weights of servers in slow start. */
  second(tick: number): void {
    this.#slowStart.second(tick)
  }

  /** Does one slice of the schedulers' pending work. True when none is left. */
  work(): boolean {
    const pool = this.#busy[0]
    if (pool === undefined) return true
    if (pool.service.gone || pool.scheduler.work?.(pool) !== false) {
      pool.busy = false
      this.#busy.shift()
    }
    return this.#busy.length === 0
  }

  /** To be called when a connection of `server`, which is gone, has ended. */
  released(server: RealServer): void {
    assert(server.gone, 'only servers that are gone are given up')
    if (server.active + server.inactive + server.templates > 0) return
    this.goneCount--
    this.#freeServer(server)
    if (server.pool.service.gone) this.#freeServiceIfUnused(server.pool.service)
  }

  #freeServer(server: RealServer): void {
    this.servers[server.index] = null
    this.#freeServers.push(server.index)
    this.statistics.free(server.row)
    server.pool.service.serverCount--
  }

  #freeServiceIfUnused(service: Service): void {
    if (this.services[service.index] !== service || service.serverCount > 0) return
    this.services[service.index] = null
    this.#freeServices.push(service.index)
    this.statistics.free(service.row)
  }

  #indexVirtuals(config: BalancerConfig): void {
    const marks = new Map<number, number>()
    let keys = 0
    for (const service of config.services) keys += service.virtuals.length
    for (const service of config.services) {
      if ((service.mark ?? 0) !== 0) marks.set(service.mark!, this.indexOf(service.key))
    }
    this.virtuals.reset(keys, marks)
    const address = new Int32Array(4)
    for (const service of config.services) {
      const index = this.indexOf(service.key)
      for (const virtual of service.virtuals) {
        const family = parseAddress(virtual.address, address)
        const protocol = PROTOCOL_NUMBERS[virtual.protocol]
        const added = this.virtuals.add(
          service.zone,
          protocol,
          family,
          address,
          virtual.port,
          index,
        )
        assert(added, 'checkConfig() found no virtual address twice')
      }
    }
  }
}

function schedulerOptions(config: ServiceConfig): string {
  return `${(config.schedulerFlags ?? []).join()} ${config.mhSlots ?? 0}`
}

const scratch: Int32Array = new Int32Array(4)

/** True when `config` names the same address, port and tier as `server`. */
function sameTarget(server: RealServer, config: RealServerConfig): boolean {
  const { pool } = server
  if (server.port !== config.port || pool.tier !== (config.tier ?? 0)) return false
  // Mostly the text has not changed; if it has, it may still be another way to write the address.
  if (server.text === config.address) return true
  return (
    pool.family === parseAddress(config.address, scratch) && sameAddress(server.address, scratch)
  )
}

function addressOf(text: string | undefined): Int32Array | null {
  if (text === undefined) return null
  const address = new Int32Array(4)
  parseAddress(text, address)
  return address
}
