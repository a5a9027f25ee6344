// twos, power of two choices: two servers are drawn at random, in proportion to their weights, and
// the one with less overhead per weight is taken (Mitzenmacher, "The Power of Two Choices in
// Randomized Load Balancing", 2001). As in IPVS the draw is from 0 to the sum of weights inclusive,
// which favours the first server by one part in the sum.

import type { Flow } from './flow.ts'
import { nothing, overhead } from './sched-common.ts'
import type { Pool, RealServer, Scheduler } from './service.ts'

export const TWOS: Scheduler = {
  name: 'twos',
  init: nothing,
  done: nothing,
  addServer: nothing,
  removeServer: nothing,
  updateServer: nothing,
  schedule(pool: Pool, _flow: Flow, random: () => number): RealServer | null {
    const servers = pool.servers
    let total = 0
    for (let i = 0; i < servers.length; i++) {
      if (servers[i]!.eligible) total += servers[i]!.weight
    }
    if (total === 0) return null
    let first = random() % (total + 1)
    let second = random() % (total + 1)
    let one: RealServer | null = null
    let two: RealServer | null = null
    for (let i = 0; i < servers.length && (one === null || two === null); i++) {
      const server = servers[i]!
      if (!server.eligible) continue
      first -= server.weight
      second -= server.weight
      if (first <= 0 && one === null) one = server
      if (second <= 0 && two === null) two = server
    }
    if (one === null || two === null) return one
    return two.weight * overhead(one) > one.weight * overhead(two) ? two : one
  },
}
