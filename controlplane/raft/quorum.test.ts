// Goal: quorum arithmetic is right for every configuration. Method: properties over random voters
// and acknowledgements, each against a plain count.

import fc from 'fast-check'
import t from 'tap'
import type { NodeId } from './messages.ts'
import { jointIndex, jointVote, majorityIndex, majoritySize, majorityVote } from './quorum.ts'

const RUNS = { numRuns: 2000 }
const ids = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 9 })
const acks = fc.dictionary(
  fc.integer({ min: 1, max: 12 }).map(String),
  fc.integer({ min: 0, max: 20 }),
)
const votes = fc.dictionary(fc.integer({ min: 1, max: 12 }).map(String), fc.boolean())

function indexer(given: Record<string, number>): { ackedIndex(id: NodeId): number | undefined } {
  return { ackedIndex: (id) => given[id] }
}

function voteMap(given: Record<string, boolean>): Map<NodeId, boolean> {
  return new Map(Object.entries(given).map(([id, vote]) => [Number(id), vote]))
}

t.test('any two majorities share a member', async (t) => {
  for (let count = 1; count < 20; count++) t.ok(2 * majoritySize(count) > count, String(count))
})

t.test('majorityIndex is the highest index that a majority has reached', async () => {
  fc.assert(
    fc.property(ids, acks, (voters, given) => {
      const index = majorityIndex(voters, indexer(given))
      if (voters.length === 0) return index === Number.POSITIVE_INFINITY
      const reached = (at: number): number => voters.filter((id) => (given[id] ?? 0) >= at).length
      const enough = majoritySize(voters.length)
      return reached(index) >= enough && reached(index + 1) < enough
    }),
    RUNS,
  )
})

t.test('a joint index is what both halves have reached, whichever comes first', async () => {
  fc.assert(
    fc.property(ids, ids, acks, (voters, votersOutgoing, given) => {
      const acked = indexer(given)
      const index = jointIndex({ voters, votersOutgoing }, acked)
      const swapped = jointIndex({ voters: votersOutgoing, votersOutgoing: voters }, acked)
      const halves = [majorityIndex(voters, acked), majorityIndex(votersOutgoing, acked)]
      return index === Math.min(...halves) && index === swapped
    }),
    RUNS,
  )
})

t.test('more acknowledgements never lower the index', async () => {
  fc.assert(
    fc.property(ids, acks, fc.integer({ min: 1, max: 12 }), (voters, given, id) => {
      const more = { ...given, [id]: (given[id] ?? 0) + 1 }
      return majorityIndex(voters, indexer(more)) >= majorityIndex(voters, indexer(given))
    }),
    RUNS,
  )
})

t.test('a vote is won or lost exactly when the missing ones cannot change it', async () => {
  fc.assert(
    fc.property(ids, ids, votes, (voters, votersOutgoing, given) => {
      const cast = voteMap(given)
      const everyone = [...voters, ...votersOutgoing]
      const filled = (rest: boolean): Map<NodeId, boolean> =>
        new Map(everyone.map((id) => [id, cast.get(id) ?? rest]))
      const config = { voters, votersOutgoing }
      const worst = jointVote(config, filled(false))
      const best = jointVote(config, filled(true))
      const expected = worst === 'won' ? 'won' : best === 'won' ? 'pending' : 'lost'
      return jointVote(config, cast) === expected
    }),
    RUNS,
  )
})

t.test('an empty half agrees with everything', async () => {
  fc.assert(
    fc.property(ids, acks, votes, (voters, given, ballots) => {
      const config = { voters, votersOutgoing: [] }
      const acked = indexer(given)
      return (
        jointIndex(config, acked) === majorityIndex(voters, acked) &&
        jointVote(config, voteMap(ballots)) === majorityVote(voters, voteMap(ballots))
      )
    }),
    RUNS,
  )
})
