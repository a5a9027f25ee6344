// Slow start: a server that joins a service which is being served already gets its share of new
// connections little by little, from one part in SLOW_START_STEPS to all of it, linearly with time:
// caches are cold, and under lc or wlc an empty server would get every new connection there is.
// IPVS has no such thing.
//
// Schedulers know integer weights and nothing else, and most services give every server weight 1.
// So while a pool has a server in slow start, all its weights are multiplied by SLOW_START_STEPS,
// and the newcomer's is cut down. What that means depends on the scheduler:
//
//   wrr wlc sed nq twos   only ratios of weights count: as said
//   rr lc                 know no weights: wrr and wlc stand in, with one weight for all
//   ovf fo lblc lblcr     weights are capacities: the newcomer's own is cut down, nothing else
//   dh sh mh              a change of weights would move clients about: no slow start

import { SLOW_START_STEPS } from './limits.ts'
import { SCHEDULER_DEFAULT, SCHEDULERS } from './sched.ts'
import type { Pool, RealServer } from './service.ts'

const STAND_INS: Readonly<Record<string, string>> = { rr: 'wrr', lc: 'wlc' }
const CAPACITIES: ReadonlySet<string> = new Set(['ovf', 'fo', 'lblc', 'lblcr'])
const HASHING: ReadonlySet<string> = new Set(['dh', 'sh', 'mh'])

export class SlowStart {
  /** Servers in slow start. */
  readonly #servers: RealServer[] = []

  get count(): number {
    return this.#servers.length
  }

  /** Begins for a server that has just been added; to be followed by settle() of its pool. */
  begin(server: RealServer, tick: number, ticks: number): void {
    if (ticks === 0 || server.fullWeight === 0) return
    server.slowSinceTick = tick
    server.slowTicks = ticks
    server.share = 0
    server.pool.slow++
    this.#servers.push(server)
  }

  /** To be called each second: raises the weights. */
  second(tick: number): void {
    for (let i = this.#servers.length - 1; i >= 0; i--) {
      const server = this.#servers[i]!
      const { pool } = server
      server.share = Math.min((tick - server.slowSinceTick) / server.slowTicks, 1)
      if (server.share < 1 && !server.gone) {
        weigh(server)
        continue
      }
      this.#servers.splice(i, 1)
      server.slowTicks = 0
      server.share = 1
      pool.slow--
      if (pool.service.gone) continue
      if (pool.slow === 0) settle(pool, false)
      else if (!server.gone) weigh(server)
    }
  }
}

/** Gives a pool the scheduler and the weights that its service's configuration and slow starts
 * ask for. `anew`: the scheduler's flags have changed. */
export function settle(pool: Pool, anew: boolean): void {
  const name = configured(pool)
  const wanted = SCHEDULERS.get(pool.slow > 0 ? (STAND_INS[name] ?? name) : name)!
  if (pool.scheduler !== wanted || anew) {
    pool.scheduler.done(pool)
    pool.scheduler = wanted
    for (const server of pool.servers) server.weight = weightOf(server)
    wanted.init(pool)
    return
  }
  for (const server of pool.servers) weigh(server)
}

/** Sets the weight that schedulers see, and tells the pool's when it has changed. */
export function weigh(server: RealServer): void {
  const weight = weightOf(server)
  if (weight === server.weight) return
  server.weight = weight
  server.pool.scheduler.updateServer(server.pool, server)
}

function weightOf(server: RealServer): number {
  const { pool, fullWeight, share } = server
  const name = configured(pool)
  if (fullWeight === 0 || pool.slow === 0 || HASHING.has(name)) return fullWeight
  if (CAPACITIES.has(name)) return Math.max(Math.floor(fullWeight * share), 1)
  const full = (STAND_INS[name] === undefined ? fullWeight : 1) * SLOW_START_STEPS
  return Math.max(Math.floor(full * share), 1)
}

function configured(pool: Pool): string {
  return pool.service.config.scheduler ?? SCHEDULER_DEFAULT
}
