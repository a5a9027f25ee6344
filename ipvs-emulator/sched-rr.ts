// rr, round robin: the server after the one used last, whatever its weight (but not 0).

import { nothing } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

interface State {
  /** Position of the server used last, -1 before the first. */
  last: number
}

export const RR: Scheduler = {
  name: 'rr',
  init(pool) {
    pool.state = { last: -1 } satisfies State
  },
  done: nothing,
  addServer: nothing,
  removeServer(pool, _server, position) {
    const state = pool.state as State
    if (position <= state.last) state.last--
  },
  updateServer: nothing,
  schedule(pool: Pool): RealServer | null {
    const state = pool.state as State
    const servers = pool.servers
    const count = servers.length
    for (let step = 1; step <= count; step++) {
      let position = state.last + step
      if (position >= count) position -= count
      if (servers[position]!.eligible) {
        state.last = position
        return servers[position]!
      }
    }
    return null
  },
}
