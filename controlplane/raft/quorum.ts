// Quorum arithmetic: what a majority of voters has acknowledged, and how a vote stands. Pure
// functions over sorted lists of ids.
//
// A joint configuration (thesis, section 4.3) decides only what both its halves decide. An empty
// half agrees with everything, so that a configuration with an empty second half behaves as the
// first alone.

import type { ConfState, NodeId } from './messages.ts'

/** Who has acknowledged what. */
export interface AckedIndexer {
  /** Highest index acknowledged by `id`; undefined when nothing was ever heard. */
  ackedIndex(id: NodeId): number | undefined
}

export type VoteResult = 'won' | 'pending' | 'lost'

/** The two halves of a configuration as the arithmetic needs them. */
export type Voters = Pick<ConfState, 'voters' | 'votersOutgoing'>

/** Highest index that a majority of `voters` has acknowledged; Infinity when there are no
 * voters. */
export function majorityIndex(voters: readonly NodeId[], acked: AckedIndexer): number {
  const count = voters.length
  if (count === 0) return Number.POSITIVE_INFINITY
  const indexes = new Array<number>(count)
  for (let i = 0; i < count; i++) indexes[i] = acked.ackedIndex(voters[i]!) ?? 0
  indexes.sort(ascending)
  // Sorted ascending, the last floor(n/2) + 1 values are a majority; its lowest is what all of it
  // has.
  return indexes[count - majoritySize(count)]!
}

/** Highest index that both halves have acknowledged by majority. */
export function jointIndex(config: Voters, acked: AckedIndexer): number {
  return Math.min(majorityIndex(config.voters, acked), majorityIndex(config.votersOutgoing, acked))
}

/** How the vote stands among `voters`, true meaning granted, absence not heard from. */
export function majorityVote(
  voters: readonly NodeId[],
  votes: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  if (voters.length === 0) return 'won'
  let granted = 0
  let missing = 0
  for (const id of voters) {
    const vote = votes.get(id)
    if (vote === undefined) missing++
    else if (vote) granted++
  }
  const needed = majoritySize(voters.length)
  if (granted >= needed) return 'won'
  return granted + missing >= needed ? 'pending' : 'lost'
}

/** How the vote stands in both halves together: won in both, or lost in one. */
export function jointVote(config: Voters, votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  return allOf([majorityVote(config.voters, votes), majorityVote(config.votersOutgoing, votes)])
}

/** Several votes that must all be won: one that is lost decides. */
export function allOf(results: readonly VoteResult[]): VoteResult {
  if (results.includes('lost')) return 'lost'
  return results.includes('pending') ? 'pending' : 'won'
}

/** Least number of voters out of `count` such that any two such groups share a member. */
export function majoritySize(count: number): number {
  return Math.floor(count / 2) + 1
}

function ascending(a: number, b: number): number {
  return a - b
}
