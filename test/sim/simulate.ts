// One run: a world with faults, then the calm, then the check of what the clients saw.

import { Clients } from './clients.ts'
import { Faults } from './faults.ts'
import { Violation } from './invariants.ts'
import { findAnomaly } from './linearizability.ts'
import { optionsOf } from './options.ts'
import { type Counts, type Member, World } from './world.ts'

/** In the calm there must be a leader that takes a write, and all members must have caught up,
 * within this much virtual time (ten of the longest election timeouts), or have got on. */
export const CALM_LIMIT_MS = 20_000
/** How often that time is given, as long as somebody gets on. */
const CALM_ROUNDS_MAX = 3
const PROBE_EVERY_MS = 300

export interface Outcome {
  readonly seed: number
  /** The rule that was broken and how; null when all is well. */
  readonly failure: { readonly rule: string; readonly what: string } | null
  readonly trace: readonly string[]
  readonly counts: Counts
  readonly virtualMs: number
  readonly calmMs: number
  readonly elections: number
  readonly committed: number
}

/** `seconds`: virtual time with faults; drawn from the seed if absent. */
export function simulate(seed: number, seconds?: number): Outcome {
  const options = optionsOf(seed, seconds)
  const world = new World(options)
  let failure: Outcome['failure'] = null
  let calmFrom = 0
  try {
    const clients = new Clients(world)
    const faults = new Faults(world)
    world.run(options.faultMs)
    calmFrom = world.now
    clients.end()
    faults.end()
    world.note('the calm begins')
    settle(world, clients, faults)
    const anomaly = findAnomaly(clients.history)
    if (anomaly !== null) throw new Violation('linearizability', anomaly)
  } catch (error) {
    // Anything thrown is a finding: a broken rule, a failed assertion of the core, or a bug in
    // here.
    const rule = error instanceof Violation ? error.rule : 'assertion'
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
    failure = { rule, what }
  }
  return {
    seed,
    failure,
    trace: failure === null ? [] : world.trace(),
    counts: world.counts,
    virtualMs: world.now,
    calmMs: calmFrom === 0 ? 0 : world.now - calmFrom,
    elections: world.checker.elections,
    committed: world.checker.committedCount,
  }
}

/** The liveness phase. */
function settle(world: World, clients: Clients, faults: Faults): void {
  let answered = false
  let nextProbe = world.now
  const isSettled = (): boolean => {
    if (world.now >= nextProbe) {
      nextProbe = world.now + PROBE_EVERY_MS
      faults.leaveJoint()
      const leader = world.leader()
      if (leader !== null && !answered) {
        clients.probe(leader, () => {
          answered = true
        })
        leader.look()
      }
    }
    const leader = world.leader()
    return answered && leader !== null && hasCaughtUp(world, leader)
  }
  // A slow member with a long way to go is not a standstill: who gets on is given more time.
  for (let round = 0; round < CALM_ROUNDS_MAX; round++) {
    const before = distance(world)
    if (world.run(world.now + CALM_LIMIT_MS, isSettled)) return
    if (distance(world) <= before) break
  }
  throw new Violation('liveness', `no progress within ${CALM_LIMIT_MS} ms: ${standing(world)}`)
}

/** How far all members have come together. */
function distance(world: World): number {
  return world.members.reduce((sum, { driver }) => sum + (driver?.appliedIndex ?? 0), 0)
}

function hasCaughtUp(world: World, leader: Member): boolean {
  const config = leader.driver!.confState
  if (config.votersOutgoing.length > 0) return false
  const end = leader.status.lastIndex
  for (const id of [...config.voters, ...config.learners]) {
    const member = world.member(id)!
    if (!member.lost && member.driver?.appliedIndex !== end) return false
  }
  return true
}

function standing(world: World): string {
  return world.members
    .map(({ id, lost, driver, status }) => {
      if (lost) return `${id} lost`
      if (driver === null) return `${id} down`
      const { role, term, commit, applied, lastIndex } = status
      const { voters, votersOutgoing } = driver.confState
      const indexes = `applied ${applied} commit ${commit} last ${lastIndex}`
      return `${id} ${role} term ${term} ${indexes} (${voters})(${votersOutgoing})`
    })
    .join('; ')
}
