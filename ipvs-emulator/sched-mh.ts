// mh, Maglev hashing (Eisenbud et al., "Maglev", NSDI 2016, section 3.4; the kernel's ip_vs_mh.c):
// the client's address (with mh-port also its port) picks a slot of a table of prime size. Every
// server has a permutation of the slots, given by (offset + k * skip) modulo the size; the servers
// take free slots in turn, each `turns` in a row in proportion to its weight. When a server goes,
// few slots change owner but its own.
//
// The table is built from the last weight that was not 0, so quiescing a server moves nobody else's
// clients. mh-fallback: when the slot's server is not available, slots hashed with offset 1, 2, ...
// are tried.
//
// Building is done in slices (work()): a table of 65,521 slots for 1,000 servers takes tens of
// milliseconds, and packets must not wait for it. Until it is done the old table serves, and a
// server it names that has gone meanwhile is passed over as with mh-fallback.

import type { Flow } from './flow.ts'
import { MH_SLOTS_DEFAULT, MH_STEPS_PER_WORK } from './limits.ts'
import { nothing } from './sched-common.ts'
import { fold, isEligible, portOf } from './sched-hash.ts'
import { gcd } from './sched-wrr.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'
import { siphash13 } from './siphash.ts'

/** Sizes the kernel can be configured with. */
export const MH_PRIMES: readonly number[] = [
  251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071,
]

const KEY_OFFSET = 2654435761
const KEY_SKIP = 2654446892

/** A permutation costs about as much as looking at this many slots. */
const MH_STEPS_PER_SERVER = 20

/** A table under construction. */
interface Build {
  readonly servers: readonly RealServer[]
  readonly perm: Int32Array
  readonly skip: Int32Array
  readonly turns: Int32Array
  /** Owner of each slot by position in `servers`, -1 = free. */
  readonly owner: Int32Array
  /** Weights are divided by this and shifted right by that. */
  readonly divisor: number
  readonly shift: number
  /** Servers that have their permutation. */
  prepared: number
  filled: number
  position: number
  taken: number
}

interface State {
  readonly size: number
  readonly fallback: boolean
  readonly usePort: boolean
  /** The table in force: owner of each slot; empty before the first is built. */
  table: Int32Array
  owners: readonly RealServer[]
  build: Build | null
  /** The weights that the table, or the one under construction, was made from. */
  weights: Map<RealServer, number>
  stale: boolean
}

function changed(pool: Pool): void {
  ;(pool.state as State).stale = true
  pool.busy = true
}

function hash(address: Int32Array, port: number, key: number, offset: number): number {
  return siphash13((offset + port + fold(address)) | 0, key)
}

function begin(pool: Pool, size: number): Build {
  // More servers than slots: the last ones would own none.
  const servers = pool.servers.slice(0, size)
  let divisor = 0
  let most = 0
  for (const server of servers) {
    divisor = gcd(server.lastWeight, divisor)
    most = Math.max(most, server.lastWeight)
  }
  // Weights so far apart that the heaviest would fill the table by itself are scaled down: half the
  // table's bits are left for turns.
  const bits = (MH_PRIMES.indexOf(size) + 8) >> 1
  const shift = divisor === 0 ? 0 : Math.max(32 - Math.clz32(most / divisor) - bits, 0)
  const build: Build = {
    servers,
    perm: new Int32Array(servers.length),
    skip: new Int32Array(servers.length),
    turns: new Int32Array(servers.length),
    owner: new Int32Array(size).fill(-1),
    divisor,
    shift,
    prepared: 0,
    filled: 0,
    position: 0,
    taken: 0,
  }
  return build
}

/** Gives the next server its permutation and its share of turns. */
function prepare(build: Build): void {
  const i = build.prepared++
  const size = build.owner.length
  const { address, port, lastWeight } = build.servers[i]!
  build.perm[i] = hash(address, port, KEY_OFFSET, 0) % size
  build.skip[i] = (hash(address, port, KEY_SKIP, 0) % (size - 1)) + 1
  if (lastWeight > 0) {
    build.turns[i] = Math.max(Math.floor(lastWeight / build.divisor) >> build.shift, 1)
  }
}

/** Fills slots until the table is full or about `steps` slots have been looked at. True when it is
 * full. */
function fill(build: Build, steps: number): boolean {
  const { owner, perm, skip, turns } = build
  const size = owner.length
  const count = build.servers.length
  let left = steps
  while (build.prepared < count) {
    if (left <= 0) return false
    prepare(build)
    left -= MH_STEPS_PER_SERVER
  }
  while (build.filled < size) {
    if (left <= 0) return false
    const i = build.position
    if (turns[i] === 0) {
      build.position = i + 1 === count ? 0 : i + 1
      left--
      continue
    }
    let slot = perm[i]!
    while (owner[slot] !== -1) {
      slot += skip[i]!
      if (slot >= size) slot -= size
      left--
    }
    perm[i] = slot
    owner[slot] = i
    build.filled++
    left--
    build.taken++
    if (build.taken >= turns[i]!) {
      build.taken = 0
      build.position = i + 1 === count ? 0 : i + 1
    }
  }
  return true
}

/** One slice of building. True when the table in force is up to date. */
function work(pool: Pool, steps: number): boolean {
  const state = pool.state as State
  if (state.stale) {
    state.stale = false
    state.build = null
    state.weights = new Map(pool.servers.map((server) => [server, server.lastWeight]))
    if (!pool.servers.some((server) => server.lastWeight > 0)) {
      state.table = new Int32Array(0)
      state.owners = []
      return true
    }
    state.build = begin(pool, state.size)
  }
  if (state.build === null) return true
  if (!fill(state.build, steps)) return false
  state.table = state.build.owner
  state.owners = state.build.servers
  state.build = null
  return true
}

export const MH: Scheduler = {
  name: 'mh',
  init(pool) {
    const config = pool.service.config
    const flags = config.schedulerFlags ?? []
    pool.state = {
      size: config.mhSlots ?? MH_SLOTS_DEFAULT,
      fallback: flags.includes('mh-fallback'),
      usePort: flags.includes('mh-port'),
      table: new Int32Array(0),
      owners: [],
      build: null,
      weights: new Map(),
      stale: true,
    } satisfies State
    pool.busy = true
  },
  done: nothing,
  addServer: changed,
  removeServer: changed,
  updateServer(pool, server) {
    // Weight 0, thresholds and slow start do not change the table.
    if ((pool.state as State).weights.get(server) !== server.lastWeight) changed(pool)
  },
  work(pool: Pool): boolean {
    return work(pool, MH_STEPS_PER_WORK)
  },
  schedule(pool: Pool, flow: Flow): RealServer | null {
    const state = pool.state as State
    // The first table cannot be waited for.
    if (state.table.length === 0) work(pool, Number.POSITIVE_INFINITY)
    if (state.table.length === 0) return null
    const port = portOf(flow, state.usePort)
    const slot = hash(flow.source, port, KEY_OFFSET, 0) % state.size
    const server = state.owners[state.table[slot]!]!
    if (server.eligible) return server
    if (!state.fallback && !server.gone) return null
    // Looking at every slot for a server that is not there would take milliseconds.
    if (!pool.servers.some(isEligible)) return null
    for (let offset = 0; offset < state.size; offset++) {
      const turned = (offset + slot) % state.size
      const other = hash(flow.source, port, KEY_OFFSET, turned) % state.size
      const candidate = state.owners[state.table[other]!]!
      if (candidate.eligible) return candidate
    }
    return null
  },
}
