// Goal: a row keeps its place and value as long as its thing lives, rows never overlap, and freed
// rows start at zero. Method: literal cases, then random row() and retain() against a plain Map.

import * as fc from 'fast-check'
import t from 'tap'
import {
  COUNTER_COLUMNS,
  type CounterKind,
  Counters,
  counterMemory,
  DROP_CELLS,
  ENGINE_CELLS,
  RX_BYTES,
  RX_PACKETS,
} from './counters.ts'
import { DROP_REASONS, DROP_TRUNCATED } from './drop-reasons.ts'

t.test('a row keeps its place and value across swaps', async (t) => {
  const counters = new Counters(counterMemory(8))
  const row = counters.row('peer', 'host2')
  counters.cells[row + RX_BYTES]! += 1400
  t.equal(counters.row('peer', 'host2'), row)
  t.not(counters.row('network', 'host2'), row, 'kinds do not share names')
  counters.retain('peer', new Set(['host2', 'host3']))
  counters.retain('network', new Set())
  t.equal(counters.cells[row + RX_BYTES], 1400)
  t.strictSame(counters.list(), [{ kind: 'peer', name: 'host2', row }])
})

t.test('a reader over the same memory sees what the loop writes', async (t) => {
  const memory = counterMemory(8)
  const writer = new Counters(memory)
  const reader = new Float64Array(memory)
  writer.drop(DROP_TRUNCATED)
  const row = writer.row('vip', 'web/10.1.0.2')
  writer.cells[row + RX_PACKETS]!++
  t.equal(reader[DROP_CELLS + DROP_TRUNCATED], 1)
  t.equal(reader[row + RX_PACKETS], 1)
})

t.test('freed rows are zeroed and reused last; full memory shares its last row', async (t) => {
  const counters = new Counters(counterMemory(3))
  const a = counters.row('peer', 'a')
  counters.cells[a + RX_BYTES] = 5
  counters.row('peer', 'b')
  counters.retain('peer', new Set(['b']))
  const c = counters.row('peer', 'c')
  t.not(c, a, 'a fresh row first')
  const d = counters.row('peer', 'd')
  t.equal(d, a)
  t.equal(counters.cells[d + RX_BYTES], 0)
  t.equal(counters.row('peer', 'e'), c)
})

t.test('engine cells, drop cells and rows do not overlap', async (t) => {
  const engine = Object.values(ENGINE_CELLS)
  t.equal(new Set(engine).size, engine.length)
  t.ok(Math.max(...engine) < DROP_CELLS)
  t.ok(new Counters(counterMemory(1)).row('peer', 'a') >= DROP_CELLS + DROP_REASONS.length)
})

t.test('random use agrees with a map', async (t) => {
  const kind = fc.constantFrom<CounterKind>('peer', 'network', 'vip')
  const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
  const action = fc.oneof(
    fc.record({ kind, name, add: fc.integer({ min: 1, max: 9 }) }),
    fc.record({ kind, kept: fc.uniqueArray(name) }),
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const counters = new Counters(counterMemory(18))
      const twin = new Map<string, number>()
      for (const step of actions) {
        if ('kept' in step) {
          counters.retain(step.kind, new Set(step.kept))
          for (const key of twin.keys()) {
            const [owner, held] = key.split('/') as [string, string]
            if (owner === step.kind && !(step.kept as string[]).includes(held)) twin.delete(key)
          }
          continue
        }
        const key = `${step.kind}/${step.name}`
        counters.cells[counters.row(step.kind, step.name) + RX_BYTES]! += step.add
        twin.set(key, (twin.get(key) ?? 0) + step.add)
      }
      const rows = counters.list()
      t.equal(rows.length, twin.size)
      t.equal(new Set(rows.map(({ row }) => row)).size, rows.length)
      for (const row of rows) {
        t.equal((row.row - DROP_CELLS - 64) % COUNTER_COLUMNS, 0)
        t.equal(counters.cells[row.row + RX_BYTES], twin.get(`${row.kind}/${row.name}`))
      }
    }),
    { numRuns: 100 },
  )
})
