// nq, never queue: the first server without active connections; when all have some, as sed.

import type { Flow } from './flow.ts'
import { nothing } from './sched-common.ts'
import { SED } from './sched-sed.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const NQ: Scheduler = {
  name: 'nq',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool, flow: Flow, random: () => number, tick: number): RealServer | null {
    const servers = pool.servers
    for (let i = 0; i < servers.length; i++) {
      const server = servers[i]!
      if (server.active === 0 && server.eligible) return server
    }
    return SED.schedule(pool, flow, random, tick)
  },
}
