// lblcr, lblc with replication: a target address has a set of servers, and the least loaded of the
// set serves. When that one is overloaded (as in lblc), or the set has none available, the least
// loaded of all joins the set. A set that has not changed for a day loses its most loaded member.

import type { Flow } from './flow.ts'
import { LBLCR_EXPIRATION_TICKS } from './limits.ts'
import { leastOverheadPerWeight, nothing, overhead, overloadedAgainst } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'
import { TargetCache } from './target-cache.ts'

interface ServerSet {
  /** Newest first: the order in which equals win. */
  readonly members: RealServer[]
  modifiedTick: number
}

function insert(set: ServerSet, server: RealServer, tick: number): void {
  if (set.members.includes(server)) return
  set.members.unshift(server)
  set.modifiedTick = tick
}

/** The member with the most overhead per weight among those of weight above 0. */
function mostLoaded(members: readonly RealServer[]): RealServer | null {
  let most: RealServer | null = null
  for (const server of members) {
    if (server.weight <= 0) continue
    if (most === null || overhead(most) * server.weight < overhead(server) * most.weight)
      most = server
  }
  return most
}

function shrink(set: ServerSet, tick: number): void {
  if (set.members.length < 2 || tick - set.modifiedTick <= LBLCR_EXPIRATION_TICKS) return
  const most = mostLoaded(set.members)
  if (most === null) return
  set.members.splice(set.members.indexOf(most), 1)
  set.modifiedTick = tick
}

export const LBLCR: Scheduler = {
  name: 'lblcr',
  init(pool) {
    pool.state = new TargetCache<ServerSet>()
  },
  done(pool) {
    pool.state = undefined
  },
  addServer: nothing,
  removeServer(pool, server) {
    // A server that is gone has weight 0 and would never be chosen again; here it also frees its
    // place.
    const cache = pool.state as TargetCache<ServerSet>
    cache.forEach((set) => {
      const position = set.members.indexOf(server)
      if (position >= 0) set.members.splice(position, 1)
    })
  },
  updateServer: nothing,
  schedule(pool: Pool, flow: Flow, _random: () => number, tick: number): RealServer | null {
    const cache = pool.state as TargetCache<ServerSet>
    const entry = cache.find(flow.target, tick)
    if (entry === null) {
      const server = leastOverheadPerWeight(pool.servers)
      if (server !== null) cache.add(flow.target, { members: [server], modifiedTick: tick }, tick)
      return server
    }
    const set = entry.value
    const member = leastOverheadPerWeight(set.members)
    shrink(set, tick)
    if (member !== null && !overloadedAgainst(member, pool.servers)) return member
    const server = leastOverheadPerWeight(pool.servers)
    if (server !== null) insert(set, server, tick)
    return server
  },
}
