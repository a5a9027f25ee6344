// The checker against histories known good and bad, and against a search through all orders.

import fc from 'fast-check'
import t from 'tap'
import { findAnomaly, type Operation } from './linearizability.ts'

const NEVER = Number.POSITIVE_INFINITY

function write(value: number, called: number, returned: number, key = 0): Operation {
  return { kind: 'write', key, value, called, returned, client: 0 }
}

function read(value: number, called: number, returned: number, key = 0): Operation {
  return { kind: 'read', key, value, called, returned, client: 1 }
}

const GOOD: readonly (readonly [string, readonly Operation[]])[] = [
  ['nothing', []],
  ['a read of what was never written', [read(0, 1, 2)]],
  ['a write, then its read', [write(1, 1, 2), read(1, 3, 4)]],
  ['a read during the write sees it', [write(1, 1, 4), read(1, 2, 3)]],
  ['a read during the write does not see it', [write(1, 1, 4), read(0, 2, 3)]],
  ['two writes at once, in either order', [write(1, 1, 4), write(2, 2, 3), read(1, 5, 6)]],
  ['a write without an answer that happened', [write(1, 1, NEVER), read(0, 2, 3), read(1, 4, 5)]],
  ['a write without an answer that did not', [write(1, 1, NEVER), read(0, 2, 3)]],
  ['a read without an answer', [write(1, 1, 2), read(0, 3, NEVER)]],
  ['registers are independent', [write(1, 1, 2, 0), read(0, 3, 4, 1)]],
]

const BAD: readonly (readonly [string, readonly Operation[]])[] = [
  ['a stale read', [write(1, 1, 2), read(0, 3, 4)]],
  ['a stale read after a second write', [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]],
  ['a read from the future', [read(1, 1, 2), write(1, 3, 4)]],
  ['a value from nowhere', [read(7, 1, 2)]],
  ['old after new', [write(1, 1, 8), read(1, 2, 3), read(0, 4, 5)]],
  ['a lost write', [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6), read(1, 7, 8)]],
  [
    'two readers see two writes in different order',
    [write(1, 1, 20), write(2, 2, 19), read(1, 3, 4), read(2, 5, 6), read(1, 7, 8)],
  ],
]

t.test('known good', async (t) => {
  for (const [name, history] of GOOD) t.equal(findAnomaly(history), null, name)
})

t.test('known bad', async (t) => {
  for (const [name, history] of BAD) t.type(findAnomaly(history), 'string', name)
})

t.test('two writes of one value are refused', async (t) => {
  t.throws(() => findAnomaly([write(1, 1, 2), write(1, 3, 4)]), RangeError)
})

/** The plain twin: tries every order (Wing and Gong). */
function hasOrder(rest: readonly Operation[], value: number): boolean {
  if (rest.every(({ returned }) => returned === NEVER)) return true
  const firstReturn = Math.min(...rest.map(({ returned }) => returned))
  return rest.some((operation, at) => {
    if (operation.called > firstReturn) return false
    if (operation.kind === 'read' && operation.value !== value) return false
    const others = rest.filter((_, i) => i !== at)
    return hasOrder(others, operation.kind === 'write' ? operation.value : value)
  })
}

/** Histories of one register in which about half of the reads are plausible. */
const histories = fc
  .array(
    fc.record({
      isWrite: fc.boolean(),
      reads: fc.nat({ max: 6 }),
      open: fc.nat({ max: 5 }),
      from: fc.nat({ max: 1000 }),
      takes: fc.integer({ min: 1, max: 400 }),
    }),
    { maxLength: 7 },
  )
  .map((drawn) =>
    drawn.map(({ isWrite, reads, open, from, takes }, i): Operation => {
      // The fractions make all moments different.
      const called = from + i / 100
      const returned = open === 0 ? NEVER : from + takes + i / 100 + 0.5
      return isWrite ? write(i + 1, called, returned) : read(reads, called, returned)
    }),
  )

t.test('the same verdict as trying every order', async (t) => {
  let bad = 0
  let good = 0
  fc.assert(
    fc.property(histories, (history) => {
      const answered = history.filter(({ kind, returned }) => kind === 'write' || returned < NEVER)
      const expected = hasOrder(answered, 0)
      if (expected) good++
      else bad++
      return (findAnomaly(history) === null) === expected
    }),
    { numRuns: 20_000, seed: 1 },
  )
  t.ok(good > 1000 && bad > 1000, `${good} good and ${bad} bad histories`)
})
