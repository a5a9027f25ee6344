// wlc, weighted least connection: the server with the least overhead / weight. ipvsadm's default.

import { leastOverheadPerWeight, nothing } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const WLC: Scheduler = {
  name: 'wlc',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool): RealServer | null {
    return leastOverheadPerWeight(pool.servers)
  },
}
