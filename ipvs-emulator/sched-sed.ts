// sed, shortest expected delay: the server with the least (active + 1) / weight. Inactive
// connections do not count.

import { nothing } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const SED: Scheduler = {
  name: 'sed',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool): RealServer | null {
    const servers = pool.servers
    let least: RealServer | null = null
    let leastDelay = 0
    for (let i = 0; i < servers.length; i++) {
      const server = servers[i]!
      if (!server.eligible) continue
      const delay = server.active + 1
      if (least === null || leastDelay * server.weight > delay * least.weight) {
        least = server
        leastDelay = delay
      }
    }
    return least
  },
}
