// ovf, overflow: everything to the heaviest server until its active connections exceed its weight,
// then to the next. Counts active connections only, so it is of no use to UDP.

import { nothing } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const OVF: Scheduler = {
  name: 'ovf',
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
      if (!server.eligible || server.active > server.weight) continue
      if (heaviest === null || server.weight > heaviest.weight) heaviest = server
    }
    return heaviest
  },
}
