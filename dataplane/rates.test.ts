// Goal: the estimator's mean is IPVS's. Method: steps and steady loads against values worked out by
// hand.

import t from 'tap'
import { RATE_SAMPLE_MS, RateEstimator } from './rates.ts'

t.test('a steady load is its own rate from the second sample on', async (t) => {
  const cells = new Float64Array(4)
  const rates = new RateEstimator(cells)
  rates.sample([1], 0)
  t.equal(rates.perSecond(1), 0)
  for (let i = 1; i < 5; i++) {
    cells[1]! += 500
    rates.sample([1], i * RATE_SAMPLE_MS)
    t.equal(rates.perSecond(1), 250)
  }
})

t.test('a change comes in by quarters', async (t) => {
  const cells = new Float64Array(1)
  const rates = new RateEstimator(cells)
  rates.sample([0], 0)
  rates.sample([0], 2000)
  for (const wanted of [250, 437.5, 578.125]) {
    cells[0]! += 2000
    rates.sample([0], rates.perSecond(0) === 0 ? 4000 : wanted === 437.5 ? 6000 : 8000)
    t.equal(rates.perSecond(0), wanted)
  }
})

t.test('a cell given to something new begins anew, one not wanted is forgotten', async (t) => {
  const cells = new Float64Array([1000, 0])
  const rates = new RateEstimator(cells)
  rates.sample([0, 1], 0)
  cells[0] = 3000
  rates.sample([0, 1], 2000)
  t.equal(rates.perSecond(0), 1000)
  cells[0] = 10
  rates.sample([0, 1], 4000)
  t.equal(rates.perSecond(0), 0)
  cells[0] = 30
  rates.sample([1], 6000)
  rates.sample([0, 1], 8000)
  t.equal(rates.perSecond(0), 0)
})

t.test('two samples at one time change nothing', async (t) => {
  const cells = new Float64Array([0])
  const rates = new RateEstimator(cells)
  rates.sample([0], 0)
  cells[0] = 200
  rates.sample([0], 2000)
  rates.sample([0], 2000)
  t.equal(rates.perSecond(0), 100)
})
