// Turns peers into contestants: sets each up and wraps a measurement around its pair of places.

import type { Lab } from '../../cli/lab/lab.ts'
import type { AbsentContestant, Contestant, Yield } from '../harness.ts'
import type { Pair, Peer } from './pair.ts'

/** Sets every peer up, one after the other; one that fails is absent, with the first line of why.
 * `prepare` starts what a measurement needs on a pair (servers); `measure` is one round. */
export async function contestantsOf(
  lab: Lab,
  peers: readonly Peer[],
  prepare: (pair: Pair) => Promise<void>,
  measure: (pair: Pair, seconds: number) => Promise<Yield>,
): Promise<(Contestant | AbsentContestant)[]> {
  const all: (Contestant | AbsentContestant)[] = []
  for (const peer of peers) {
    try {
      const pair = await peer.setup(lab)
      await prepare(pair)
      all.push({ name: peer.name, measure: (seconds) => measure(pair, seconds) })
    } catch (error) {
      all.push({ name: peer.name, absent: reasonOf(error as Error) })
    }
  }
  return all
}

/** Why a contestant is absent, on one line. */
export function reasonOf(error: Error): string {
  const lines = error.message.split('\n').filter((line) => line.trim() !== '')
  return lines.slice(0, 2).join(' ').slice(0, 200)
}
