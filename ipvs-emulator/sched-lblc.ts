// lblc, locality-based least connection: all connections to one target address go to the same
// server, chosen as by wlc, until that server is gone, of weight 0, or overloaded: more active
// connections than its weight while another has less than half of its own.
//
// As in the kernel, a server over its upper threshold keeps the targets it has (ip_vs_lblc.c).

import type { Flow } from './flow.ts'
import { leastOverheadPerWeight, nothing, overloadedAgainst } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'
import { TargetCache } from './target-cache.ts'

export const LBLC: Scheduler = {
  name: 'lblc',
  init(pool) {
    pool.state = new TargetCache<RealServer>()
  },
  done(pool) {
    pool.state = undefined
  },
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool, flow: Flow, _random: () => number, tick: number): RealServer | null {
    const cache = pool.state as TargetCache<RealServer>
    const entry = cache.find(flow.target, tick)
    if (entry !== null) {
      const server = entry.value
      if (!server.gone && server.weight > 0 && !overloadedAgainst(server, pool.servers)) {
        return server
      }
    }
    const server = leastOverheadPerWeight(pool.servers)
    if (server === null) return null
    if (entry !== null) entry.value = server
    else cache.add(flow.target, server, tick)
    return server
  },
}
