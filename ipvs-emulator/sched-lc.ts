// lc, least connection: the server with the least overhead (256 * active + inactive), weights
// ignored.

import { nothing, overhead } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const LC: Scheduler = {
  name: 'lc',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool): RealServer | null {
    const servers = pool.servers
    let least: RealServer | null = null
    let leastOverhead = 0
    for (let i = 0; i < servers.length; i++) {
      const server = servers[i]!
      if (!server.eligible) continue
      const load = overhead(server)
      if (least === null || load < leastOverhead) {
        least = server
        leastOverhead = load
      }
    }
    return least
  },
}
