// Bulk TCP in both directions at once, so that super-packets are split and merged on both hosts,
// over an underlay that loses, duplicates and reorders. Every byte is hashed at both ends.

import './enter.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'
import { dropsIn, unaccounted } from './overlay-scene.ts'
import type { Faults } from './relay.ts'
import { PORT, relayedPair } from './relayed-pair.ts'

const MEGABYTE = 1 << 20

const CASES: readonly { name: string; faults: Faults; megabytes: number }[] = [
  { name: 'nothing amiss', faults: {}, megabytes: 16 },
  { name: 'half a percent lost', faults: { loss: 0.005 }, megabytes: 4 },
  { name: 'two percent reordered', faults: { reordering: 0.02, reorderSpan: 5 }, megabytes: 4 },
  { name: 'two percent duplicated', faults: { duplication: 0.02 }, megabytes: 4 },
  {
    name: 'all of it, and bits flipped',
    faults: { loss: 0.002, reordering: 0.01, duplication: 0.01, bitFlip: 0.002 },
    megabytes: 3,
  },
]

labTest('bulk TCP over a bad underlay', async (t, lab) => {
  const pair = await relayedPair(lab)
  for (const [i, { name, faults, megabytes }] of CASES.entries()) {
    for (const family of [4, 6] as const) {
      await t.test(`${name}, IPv${family}`, async (t) => {
        await pair.relay.ask.faults({ seed: i + 1, ...faults })
        const size = megabytes * MEGABYTE
        const order = { up: size, down: size, seed: 100 * i + family }
        const result = await pair.a.ask.bulk(pair.addressB[family], PORT, order, 30_000)
        t.equal(result.whole, true, 'both streams arrived as they were sent')
        const counts = await pair.relay.ask.counts()
        t.comment(`${result.seconds.toFixed(2)} s, ${JSON.stringify(counts)}`)
        t.ok(counts.passed > (2 * size) / 1500, 'all of it went through the relay')
        if (faults.loss) t.ok(counts.lost > 0, `${counts.lost} lost`)
        if (faults.duplication) t.ok(counts.duplicated > 0, `${counts.duplicated} duplicated`)
        if (faults.reordering) t.ok(counts.reordered > 0, `${counts.reordered} reordered`)
        if (faults.bitFlip) t.ok(counts.flipped > 0, `${counts.flipped} flipped`)
      })
    }
  }
  await t.test(
    'the agents saw duplicates and damage, merged, and lost count of nothing',
    async (t) => {
      for (const agent of [pair.h1, pair.h2]) {
        let samples = await agent.metrics()
        const look = async (): Promise<boolean> => {
          samples = await agent.metrics()
          return unaccounted(samples) === 0
        }
        await waitFor(look, { what: `the books of ${agent.node} to balance` }).catch(() => {})
        t.equal(unaccounted(samples), 0, `books of ${agent.node}`)
        t.ok(dropsIn(samples, 'replayed') > 0, `${agent.node} saw duplicates`)
        t.ok(dropsIn(samples, 'bad_tag') > 0, `${agent.node} saw damage`)
        t.ok(sumOf(samples, 'weft_merged_total') > 1000, `${agent.node} merged datagrams`)
        const other = sumOf(samples, 'weft_drops_total') - dropsIn(samples, 'replayed')
        t.comment(`${agent.node}: ${other - dropsIn(samples, 'bad_tag')} other drops`)
      }
    },
  )
})
