// sh, source hashing: the client's address (with sh-port also its port) picks one of 256 buckets.
// Servers take buckets in turn, each as many in a row as its weight; one of weight 0 still takes
// one per turn and refuses its clients.
//
// sh-fallback: when the bucket's server is not available, the buckets from (offset + bucket) on are
// tried, offset = 0, 1, ...

import type { Flow } from './flow.ts'
import { nothing } from './sched-common.ts'
import { fold, hash32, portOf } from './sched-hash.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

const BITS = 8
const BUCKETS: number = 1 << BITS

interface State {
  readonly buckets: RealServer[]
  readonly fallback: boolean
  readonly usePort: boolean
  /** Servers or weights changed since the buckets were dealt. */
  stale: boolean
}

function changed(pool: Pool): void {
  ;(pool.state as State).stale = true
}

function deal(pool: Pool, state: State): void {
  state.stale = false
  state.buckets.length = 0
  const servers = pool.servers
  if (servers.length === 0) return
  let position = 0
  let taken = 0
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const server = servers[position]!
    state.buckets.push(server)
    taken++
    if (taken >= server.weight) {
      position = (position + 1) % servers.length
      taken = 0
    }
  }
}

export const SH: Scheduler = {
  name: 'sh',
  init(pool) {
    const flags = pool.service.config.schedulerFlags ?? []
    pool.state = {
      buckets: [],
      fallback: flags.includes('sh-fallback'),
      usePort: flags.includes('sh-port'),
      stale: true,
    } satisfies State
  },
  done: nothing,
  addServer: changed,
  removeServer: changed,
  updateServer: changed,
  schedule(pool: Pool, flow: Flow): RealServer | null {
    const state = pool.state as State
    if (state.stale) deal(pool, state)
    if (state.buckets.length === 0) return null
    const bucket = hash32(portOf(flow, state.usePort) + fold(flow.source), BITS)
    const server = state.buckets[bucket]!
    if (server.eligible) return server
    if (!state.fallback) return null
    for (let offset = 0; offset < BUCKETS; offset++) {
      const other = state.buckets[(offset + bucket + bucket) & (BUCKETS - 1)]!
      if (other.eligible) return other
    }
    return null
  },
}
