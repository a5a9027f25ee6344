// The harness: medians, ratios, goals, and contestants that are absent or fail.

import t from 'tap'
import { type Bench, describeMachine, measure, rowsOf, table } from './harness.ts'
import { median, quantile } from './statistics.ts'

const BENCH: Bench = {
  name: 'test',
  question: 'How fast?',
  metrics: [{ name: 'speed', unit: '1/s' }],
  goals: [{ metric: 'speed', peer: 'slow', atLeast: 2 }],
  contestants: async () => [],
}

/** A contestant that yields these figures, one per round; an Error is thrown. */
function yields(name: string, ...values: (number | Error)[]) {
  let round = 0
  return {
    name,
    measure: async () => {
      const value = values[round++]!
      if (value instanceof Error) throw value
      return { speed: value }
    },
  }
}

t.test('median and quantile', async (t) => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 2, 3]), 2.5)
  t.equal(quantile([0, 10], 0.99), 9.9)
  t.equal(quantile([5], 0.99), 5)
  t.ok(Number.isNaN(median([])))
})

t.test('contestants take turns, ratios are of medians', async (t) => {
  const said: string[] = []
  const all = await measure(
    [yields('weft', 10, 30, 20), yields('slow', 10, 5, 8), yields('fast', 40, 40, 40)],
    3,
    1,
    (line) => said.push(line),
  )
  t.match(said[1], /round 1\/3 slow/)
  t.match(said[3], /round 2\/3 weft/)
  const [slow, fast] = rowsOf(BENCH, all)
  t.match(slow, { weft: 20, peerValue: 8, ratio: 2.5, min: 1, max: 6, goal: '>= 2', met: true })
  t.match(fast, { peer: 'fast', ratio: 0.5, goal: null, met: null })
})

t.test('a goal that is missed is said to be missed', async (t) => {
  const all = await measure([yields('weft', 10), yields('slow', 9)], 1, 1, () => {})
  t.match(rowsOf(BENCH, all), [{ met: false }])
})

t.test('an absent peer keeps its row and its reason; so does weft', async (t) => {
  const gone = { name: 'slow', absent: 'slow is not installed' }
  const one = rowsOf(BENCH, await measure([yields('weft', 10), gone], 1, 1, () => {}))
  t.match(one, [{ weft: 10, peerValue: null, peerReason: 'slow is not installed', met: null }])
  const broken = yields('weft', new Error('it broke\nat once'))
  const two = rowsOf(BENCH, await measure([broken, yields('slow', 1)], 1, 1, () => {}))
  t.match(two, [{ weft: null, weftReason: 'it broke', peerValue: 1, ratio: null, met: null }])
})

t.test('a round that failed does not spoil the others', async (t) => {
  const all = await measure(
    [yields('weft', 10, new Error('once'), 30), yields('slow', 1, 1, 1)],
    3,
    1,
    () => {},
  )
  t.match(rowsOf(BENCH, all), [{ weft: 20, ratio: 20, min: 10, max: 30 }])
})

t.test('a goal without a peer bounds the figure itself', async (t) => {
  const bench = { ...BENCH, goals: [{ metric: 'speed', atMost: 15 }] }
  const all = await measure([yields('weft', 10, 20)], 2, 1, () => {})
  const [row] = rowsOf(bench, all)
  t.match(row, { peer: null, weft: 15, min: 10, max: 20, goal: '<= 15', met: true })
})

t.test('the table names what was not measured', async (t) => {
  const gone = { name: 'slow', absent: 'slow is not installed' }
  const rows = rowsOf(BENCH, await measure([yields('weft', 1234.5), gone], 1, 1, () => {}))
  const machine = describeMachine()
  const text = table({ bench: 'test', question: 'q', machine, rounds: 1, seconds: 1, rows })
  t.match(text, /speed +1\/s +1,235 +slow +- +- +- +- +>= 2\n/)
  t.match(text, /not measured: slow: slow is not installed/)
})
