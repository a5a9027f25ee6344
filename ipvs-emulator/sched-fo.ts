// fo, fail over: everything to the heaviest server that is available.

import { nothing } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const FO: Scheduler = {
  name: 'fo',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool): RealServer | null {
    const servers = pool.servers
    let heaviest: RealServer | null = null
    for (let i = 0; i < servers.length; i++) {
      const server = servers[i]!
      if (!server.eligible) continue
      if (heaviest === null || server.weight > heaviest.weight) heaviest = server
    }
    return heaviest
  },
}
