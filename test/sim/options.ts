// What kind of world a seed means. Every run draws its own probabilities, and leaves out some
// faults altogether: a mixture of everything, always, hides what only a quiet disk or a fast
// network would show (swarm testing: Groce et al., 2012).

import { type Prng, prng } from '../../base/prng.ts'
import type { NetworkOptions } from './network.ts'

export type FaultKind =
  | 'crash'
  | 'pause'
  | 'partition'
  | 'full-disk'
  | 'slow-disk'
  | 'rot'
  | 'membership'
  | 'transfer'

export interface SimOptions {
  readonly seed: number
  readonly founders: number
  readonly clients: number
  readonly keys: number
  /** How long faults last; the calm comes after. */
  readonly faultMs: number
  readonly network: NetworkOptions
  readonly diskMeanMs: number
  readonly applyMeanMs: number
  readonly thinkMeanMs: number
  /** When a client gives up. */
  readonly timeoutMs: number
  /** The disk keeps the commit index, as a convenience. */
  readonly keepsCommit: boolean
  /** Clocks run by up to this share (of 1000) too fast or too slow. */
  readonly drift: number
  readonly preVote: boolean
  readonly checkQuorum: boolean
  readonly maxInflightMessages: number
  readonly maxMessageBytes: number
  readonly maxUncommittedBytes: number
  readonly checkpointEntries: number
  readonly keptEntries: number
  /** Mean virtual milliseconds between two faults of the kind; absent = never. */
  readonly faults: ReadonlyMap<FaultKind, number>
}

export const TICK_MS = 100
export const ELECTION_TICKS = 10
export const HEARTBEAT_TICKS = 1

/** Mean time between faults when the kind is on, and of 10 the runs that have it. */
const FAULTS: readonly (readonly [FaultKind, number, number])[] = [
  ['crash', 1500, 6],
  ['pause', 1500, 4],
  ['partition', 2000, 7],
  ['full-disk', 4000, 3],
  ['slow-disk', 3000, 3],
  ['rot', 5000, 3],
  ['membership', 400, 6],
  ['transfer', 2000, 4],
]

/** One generator for each concern, so that a draw more in one does not change the others. */
export function stream(seed: number, concern: number): Prng {
  return prng(Math.imul(seed, 0x9e3779b1) ^ Math.imul(concern + 1, 0x85ebca6b))
}

/** Exponential, in milliseconds. */
export function exponential(random: Prng, meanMs: number): number {
  return -Math.log(1 - random.float()) * meanMs
}

export function pick<T>(random: Prng, list: readonly T[]): T {
  const item = list[random.below(list.length)]
  if (item === undefined) throw new RangeError('nothing to pick from')
  return item
}

/** `seconds` of virtual time with faults; drawn from the seed if absent. */
export function optionsOf(seed: number, seconds?: number): SimOptions {
  const random = stream(seed, 0)
  const faults = new Map<FaultKind, number>()
  // With preVote off a member that was removed and does not know it deposes leaders for ever, so
  // these runs keep their members.
  const preVote = random.below(10) > 0
  for (const [kind, meanMs, share] of FAULTS) {
    const on = random.below(10) < share
    const mean = meanMs * pick(random, [0.5, 1, 2, 4])
    if (on && (preVote || (kind !== 'membership' && kind !== 'rot'))) faults.set(kind, mean)
  }
  const lossy = random.below(2) === 0
  return {
    seed,
    founders: pick(random, [1, 3, 3, 3, 5, 5, 5]),
    clients: 2 + random.below(4),
    keys: 1 + random.below(2),
    faultMs: seconds === undefined ? 6_000 + random.below(10_000) : seconds * 1000,
    network: {
      loss: lossy ? random.below(200) : 0,
      duplication: random.below(2) === 0 ? random.below(100) : 0,
      straggling: random.below(2) === 0 ? random.below(100) : 0,
      leastDelayMs: 0.1,
      meanDelayMs: pick(random, [0.5, 2, 10, 30]),
    },
    diskMeanMs: pick(random, [0.2, 2, 10, 40]),
    applyMeanMs: pick(random, [0.01, 0.5, 10, 100]),
    thinkMeanMs: pick(random, [2, 10, 50]),
    timeoutMs: pick(random, [300, 1000, 4000]),
    keepsCommit: random.below(3) > 0,
    drift: pick(random, [0, 50, 200]),
    preVote,
    checkQuorum: random.below(3) > 0,
    maxInflightMessages: pick(random, [1, 2, 8, 256]),
    maxMessageBytes: pick(random, [50, 200, 10_000]),
    maxUncommittedBytes: pick(random, [200, 100_000]),
    checkpointEntries: pick(random, [5, 20, 100, 1000]),
    keptEntries: pick(random, [0, 3, 20]),
    faults,
  }
}
