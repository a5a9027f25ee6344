// As many seeds as fit the time, always at least the first ones. More by hand: npm run sim.

import t from 'tap'
import { EMPTY_CONF_STATE } from '../../controlplane/raft/messages.ts'
import { EventQueue } from './event-queue.ts'
import { isQuorum, quorumsOverlap } from './invariants.ts'
import { simulate } from './simulate.ts'

/** They take 25 s of one core (80 runs a second); a machine with other work does fewer. */
const SEEDS_MAX = 2000
const SEEDS_LEAST = 200
const TIME_LIMIT_MS = 40_000

t.test('no run breaks a rule', { timeout: 110_000 }, async (t) => {
  const started = performance.now()
  const totals = new Map<string, number>()
  let seed = 1
  for (; seed <= SEEDS_MAX; seed++) {
    if (seed > SEEDS_LEAST && performance.now() - started > TIME_LIMIT_MS) break
    const { failure, counts, elections } = simulate(seed)
    for (const [name, count] of Object.entries({ ...counts, elections })) {
      totals.set(name, (totals.get(name) ?? 0) + count)
    }
    if (failure === null) continue
    t.fail(`${failure.rule}: replay with npm run sim -- --seed ${seed}`)
    return
  }
  t.ok(seed > SEEDS_LEAST, `${seed - 1} runs`)
  // What was to be survived did happen.
  for (const [name, count] of totals) t.ok(count > 0, `${name}: ${count}`)
})

t.test('a seed always means the same run', async (t) => {
  for (const seed of [3, 16, 42]) t.same(simulate(seed), simulate(seed), `seed ${seed}`)
})

t.test('quorums', async (t) => {
  const config = (voters: number[], votersOutgoing: number[] = []) => ({
    ...EMPTY_CONF_STATE,
    voters,
    votersOutgoing,
  })
  t.ok(isQuorum(config([1, 2, 3]), (id) => id < 3))
  t.notOk(
    isQuorum(config([1, 2, 3, 4]), (id) => id < 3),
    'half is no majority',
  )
  t.notOk(
    isQuorum(config([1, 2, 3], [4, 5, 6]), (id) => id < 4),
    'one half of a joint one',
  )
  t.ok(quorumsOverlap(config([1, 2, 3]), config([1, 2, 3, 4])))
  t.notOk(quorumsOverlap(config([1, 2, 3]), config([1, 4, 5])))
  t.ok(quorumsOverlap(config([1, 2, 3]), config([4, 5, 6], [1, 2, 3])))
  t.ok(quorumsOverlap(config([4, 5, 6], [1, 2, 3]), config([4, 5, 6])))
})

t.test('events come by time, then in order', async (t) => {
  const queue = new EventQueue<{ at: number; order: number; name: string }>()
  const names = ['c', 'a', 'd', 'b', 'e']
  const times = [2, 1, 2, 1, 3]
  for (const [i, name] of names.entries()) queue.push({ at: times[i]!, order: 0, name })
  const popped = names.map(() => queue.pop()?.name)
  t.same(popped, ['a', 'b', 'c', 'd', 'e'])
  t.equal(queue.pop(), undefined)
})
