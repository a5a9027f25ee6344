// wrr, weighted round robin: round robin among the servers whose weight reaches a level, which
// sinks from the greatest weight to the least in steps of the weights' greatest common divisor.
// Over one cycle every server gets connections in proportion to its weight, heavier ones earlier.
//
//   di   greatest common divisor of the weights above 0, 1 when there are none
//   mw   greatest weight - (di - 1): where a cycle starts; 0 = nothing to choose from
//   cw   the level; goes down by di at each pass, to mw again when it would pass 0

import { nothing } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

interface State {
  /** Position of the server used last, -1 = before the first. */
  last: number
  cw: number
  mw: number
  di: number
  /** Servers or weights changed since di and mw were computed. */
  stale: boolean
}

export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}

/** Greatest common divisor of the weights above 0, 1 when there are none. */
export function weightGcd(servers: readonly RealServer[]): number {
  let divisor = 0
  for (const server of servers) if (server.weight > 0) divisor = gcd(server.weight, divisor)
  return divisor === 0 ? 1 : divisor
}

function weightMax(servers: readonly RealServer[]): number {
  let most = 0
  for (const server of servers) most = Math.max(most, server.weight)
  return most
}

/** Changes of one configuration count as one. */
function changed(pool: Pool): void {
  ;(pool.state as State).stale = true
}

/** A change starts the walk anew at the head; the level stays where the new weights allow it. */
function refresh(pool: Pool, state: State): void {
  state.stale = false
  state.last = -1
  state.di = weightGcd(pool.servers)
  state.mw = Math.max(weightMax(pool.servers) - (state.di - 1), 0)
  if (state.cw > state.mw || state.cw === 0) state.cw = state.mw
  else if (state.di > 1) state.cw = Math.floor(state.cw / state.di) * state.di + 1
}

export const WRR: Scheduler = {
  name: 'wrr',
  init(pool) {
    pool.state = { last: -1, cw: 0, mw: 0, di: 1, stale: true } satisfies State
  },
  done: nothing,
  addServer: changed,
  removeServer: changed,
  updateServer: changed,
  schedule(pool: Pool): RealServer | null {
    const state = pool.state as State
    const servers = pool.servers
    if (state.stale) refresh(pool, state)
    if (state.mw === 0) return null
    const rest = firstAtLevel(servers, state.last + 1, state.cw)
    if (rest >= 0) {
      state.last = rest
      return servers[rest]!
    }
    const heaviest = heaviestEligible(servers)
    if (heaviest === 0) {
      // Where the kernel's walk, which goes on level by level, ends in the same case.
      if (state.last < 0 || state.cw > state.di) {
        state.last = -1
        state.cw = state.mw
      }
      return null
    }
    let level = state.cw - state.di
    if (level <= 0) level = state.mw
    // Passes above the heaviest server find nothing: skip them. Levels are 1 modulo di and weights
    // are multiples of di, so the result stays above 0.
    if (level > heaviest) level -= Math.ceil((level - heaviest) / state.di) * state.di
    state.cw = level
    state.last = firstAtLevel(servers, 0, level)
    return servers[state.last]!
  },
}

function firstAtLevel(servers: readonly RealServer[], from: number, level: number): number {
  for (let position = from; position < servers.length; position++) {
    const server = servers[position]!
    if (!server.overloaded && server.weight >= level) return position
  }
  return -1
}

function heaviestEligible(servers: readonly RealServer[]): number {
  let most = 0
  for (let i = 0; i < servers.length; i++) {
    const server = servers[i]!
    if (!server.overloaded && server.weight > most) most = server.weight
  }
  return most
}
