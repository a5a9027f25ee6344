// Goal: the estimator's numbers are the kernel's. Method: the kernel's integer arithmetic in BigInt
// as the twin; the known course of a step.

import fc from 'fast-check'
import t from 'tap'
import { Rates } from './rates.ts'
import { STATISTICS_COLUMNS, Statistics } from './statistics.ts'

t.test('as the kernel computes in 64-bit integers', async (t) => {
  let samples = 0
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(1e6), fc.nat(1e9)), { minLength: 10, maxLength: 60 }),
      (growth) => {
        const values = new Float64Array(STATISTICS_COLUMNS)
        const rates = new Rates({ values, rows: 1 })
        let packets = 0n
        let bytes = 0n
        for (const [morePackets, moreBytes] of growth) {
          values[1]! += morePackets
          values[3]! += moreBytes
          rates.estimate()
          samples++
          packets += ((BigInt(morePackets) << 9n) - packets) >> 2n
          bytes += ((BigInt(moreBytes) << 4n) - bytes) >> 2n
          if (BigInt(rates.get(0, 1)) !== (packets + 0x1ffn) >> 10n) return false
          if (BigInt(rates.get(0, 3)) !== (bytes + 0xfn) >> 5n) return false
        }
        return true
      },
    ),
    { seed: 3 },
  )
  t.ok(samples > 500)
})

t.test(
  'a steady rate is reached in quarters, and a row given away starts from nothing',
  async (t) => {
    const statistics = new Statistics(undefined)
    const row = statistics.allocate()
    const seen: number[] = []
    for (let i = 0; i < 20; i++) {
      statistics.add(row, 1, 2000)
      statistics.rates.estimate()
      seen.push(statistics.rates.get(row, 1))
    }
    t.same(seen.slice(0, 3), [250, 437, 578])
    t.ok(Math.abs(seen.at(-1)! - 1000) < 5)
    statistics.free(row)
    t.equal(statistics.allocate(), row)
    t.equal(statistics.rates.get(row, 1), 0)
    statistics.rates.estimate()
    t.equal(statistics.rates.get(row, 1), 0)
    statistics.add(row, 0, 5)
    statistics.add(row, 5, 1)
    statistics.zero(row)
    t.same([statistics.get(row, 0), statistics.get(row, 5)], [0, 1], 'gauges are not zeroed')
  },
)

t.test('private memory grows, shared memory has its limit', async (t) => {
  const grown = new Statistics(undefined)
  for (let i = 0; i < 1000; i++) grown.add(grown.allocate(), 0, i)
  t.equal(grown.get(1000, 0), 999)
  const shared = new Statistics(new Float64Array(new SharedArrayBuffer(8 * STATISTICS_COLUMNS * 3)))
  t.equal(shared.room, 2)
  shared.allocate()
  t.equal(shared.room, 1)
  t.throws(() => new Statistics(new Float64Array(1)), /no row fits/)
})
