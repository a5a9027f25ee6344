// dh, destination hashing: the target address picks one of 256 buckets, dealt to the servers in
// turn whatever their weights. Meant for proxies in front of many addresses. No fallback: when the
// bucket's server is not available, there is none.

import type { Flow } from './flow.ts'
import { nothing } from './sched-common.ts'
import { fold, hash32 } from './sched-hash.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

const BITS = 8

export const DH: Scheduler = {
  name: 'dh',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool, flow: Flow): RealServer | null {
    // Bucket b belongs to server b modulo their number: the table need not be kept.
    const servers = pool.servers
    if (servers.length === 0) return null
    const server = servers[hash32(fold(flow.target), BITS) % servers.length]!
    return server.eligible ? server : null
  },
}
