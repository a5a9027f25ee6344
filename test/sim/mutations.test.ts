// Each way of breaking the core is found. The search begins at a seed that is known to find it, so
// that the test is quick, and goes on from there if the simulator has changed since.

import t from 'tap'
import { MUTATIONS } from './mutations.ts'
import { simulate } from './simulate.ts'

/** The first seed, counting from 1, that finds it: a measure of how hard it is to find. */
const FIRST_SEEDS: ReadonlyMap<string, number> = new Map([
  ['count-self-before-fsync', 1],
  ['answer-before-fsync', 1],
  ['commit-old-term', 7],
  ['vote-not-persisted', 7],
  ['term-not-persisted', 1],
  ['vote-for-old-log', 6],
  ['apply-before-durable', 1],
  ['cut-without-conflict', 2],
  ['ignore-previous-term', 7],
  ['commit-by-one-half', 3],
  ['elect-by-one-half', 3616],
  ['elect-by-applied-config', 3],
  ['count-learners', 3],
  ['read-without-quorum', 215],
  ['read-by-one-answer', 1383],
  ['read-before-applied', 2],
  ['forget-lease', 29],
  ['commit-beyond-match', 1],
  ['keep-old-votes', 8],
  ['lead-before-own-vote', 201],
  ['smaller-quorum', 3],
  ['acknowledge-any-term', 655],
])
const RUNS_MAX = 100

t.test('every mutation has a seed', async (t) => {
  t.same([...FIRST_SEEDS.keys()], [...MUTATIONS.keys()])
})

for (const [name, mutate] of MUTATIONS) {
  t.test(name, { timeout: 110_000 }, async (t) => {
    const first = FIRST_SEEDS.get(name) ?? 1
    t.equal(simulate(first).failure, null, `seed ${first} passes as it is`)
    const restore = mutate()
    t.teardown(restore)
    for (let seed = first; seed < first + RUNS_MAX; seed++) {
      const { failure } = simulate(seed)
      if (failure === null) continue
      t.pass(`seed ${seed} breaks ${failure.rule}`)
      return
    }
    t.fail(`not found in ${RUNS_MAX} runs from seed ${first}`)
  })
}

t.test('what a mutation replaced is put back', async (t) => {
  t.equal(simulate(1).failure, null)
})
