// Goal: a process that stands still for 200 ms now and then (a garbage collection, a machine that
// gives its core to others) and a disk that does (another tenant's flush) cost no election. Method:
// an hour of virtual time in a cluster where each member and each disk stalls every two seconds or
// so, at random, with clocks that differ; the number of elections after the first is counted.
//
// The same with stalls longer than the election timeout shows that elections would be seen.

import t from 'tap'
import { Clients } from './clients.ts'
import { exponential, optionsOf, type SimOptions, stream } from './options.ts'
import { World } from './world.ts'

const HOUR_MS = 3_600_000
const SETTLED_MS = 10_000
const BETWEEN_STALLS_MS = 2_000
const DISK_MS = 2

function worldOf(seed: number, founders: number): World {
  const options: SimOptions = {
    ...optionsOf(seed, 1),
    founders,
    clients: 2,
    network: { loss: 0, duplication: 0, straggling: 0, leastDelayMs: 0.1, meanDelayMs: 1 },
    diskMeanMs: DISK_MS,
    applyMeanMs: 0.1,
    thinkMeanMs: 500,
    timeoutMs: 1_000,
    keepsCommit: true,
    drift: 20,
    preVote: true,
    checkQuorum: true,
    maxInflightMessages: 256,
    maxMessageBytes: 10_000,
    maxUncommittedBytes: 100_000,
    checkpointEntries: 1_000,
    keptEntries: 20,
    faults: new Map(),
  }
  return new World(options)
}

/** Elections from when the cluster has settled until `untilMs`, every member and disk stalling for
 * `stallMs` again and again. */
function electionsWith(world: World, stallMs: number, untilMs: number): number {
  const clients = new Clients(world)
  const random = stream(world.options.seed, 7)
  world.run(SETTLED_MS)
  const before = world.checker.elections
  const again = (stall: () => void): void => {
    world.schedule(exponential(random, BETWEEN_STALLS_MS), 'stall', () => {
      stall()
      again(stall)
    })
  }
  for (const member of world.members) {
    again(() => {
      member.pausedUntil = world.now + stallMs
    })
    again(() => {
      member.diskSlowness = stallMs / DISK_MS
      world.schedule(stallMs, 'disk quick again', () => {
        member.diskSlowness = 1
      })
    })
  }
  world.run(untilMs)
  clients.end()
  return world.checker.elections - before
}

t.test('an hour of stalls of 200 ms, without an election', { timeout: 110_000 }, async (t) => {
  for (const founders of [3, 5]) {
    const world = worldOf(founders, founders)
    t.equal(electionsWith(world, 200, HOUR_MS), 0, `${founders} members`)
    t.ok(world.checker.committedCount > 1_000, `${world.checker.committedCount} committed`)
    t.ok(world.now >= HOUR_MS)
  }
})

t.test('stalls of three seconds do cost elections', async (t) => {
  t.ok(electionsWith(worldOf(3, 3), 3_000, 60_000) > 0)
})
