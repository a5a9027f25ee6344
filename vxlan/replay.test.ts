// Goal: the window never accepts a counter twice and never refuses a fresh one within its reach.
// Method: the same sequences into a twin that remembers every counter in a Set.

import fc from 'fast-check'
import t from 'tap'
import { REPLAY_WINDOW_BITS } from './limits.ts'
import { REPLAY_REACH, ReplayWindow } from './replay.ts'

class PlainWindow {
  seen: Set<number> = new Set()
  newest = -1
  check(counter: number): boolean {
    return this.newest - counter < REPLAY_REACH && !this.seen.has(counter)
  }
  commit(counter: number): boolean {
    this.seen.add(counter)
    const newer = counter > this.newest
    if (newer) this.newest = counter
    return newer
  }
}

function agree(counters: readonly number[]): void {
  const window = new ReplayWindow()
  const plain = new PlainWindow()
  for (const counter of counters) {
    const expected = plain.check(counter)
    if (window.check(counter) !== expected) throw new Error(`check(${counter}) is not ${expected}`)
    if (!expected) continue
    const newest = plain.commit(counter)
    if (window.commit(counter) !== newest) throw new Error(`commit(${counter}) is not ${newest}`)
  }
}

t.test('agrees with a Set', async () => {
  const steps = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: -40, max: 40 }) },
    { weight: 2, arbitrary: fc.integer({ min: -2 * REPLAY_WINDOW_BITS, max: 64 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 2 * REPLAY_WINDOW_BITS }) },
    { weight: 1, arbitrary: fc.constantFrom(-REPLAY_REACH, -REPLAY_REACH + 1, 32, -32, 2 ** 33) },
  )
  const starts = fc.constantFrom(0, 1, 31, 32, REPLAY_REACH, 2 ** 31 - 2, 2 ** 32 - 3, 2 ** 45)
  fc.assert(
    fc.property(starts, fc.array(steps, { maxLength: 300 }), (start, deltas) => {
      let newest = start
      const counters = [start]
      for (const delta of deltas) {
        const counter = Math.max(0, newest + delta)
        counters.push(counter)
        newest = Math.max(newest, counter)
      }
      agree(counters)
    }),
    { numRuns: 500 },
  )
})

t.test('edges', async (t) => {
  const window = new ReplayWindow()
  t.ok(window.check(0))
  t.equal(window.commit(0), true)
  t.notOk(window.check(0), 'the first counter counts too')
  window.commit(REPLAY_REACH)
  t.notOk(window.check(0), 'just out of reach')
  t.ok(window.check(1), 'just within reach')
  window.commit(1)
  t.notOk(window.check(1))
  t.equal(window.commit(2 ** 53 - 1), true)
  t.notOk(window.check(2 ** 53 - 1))
  t.ok(window.check(2 ** 53 - 2))
  window.reset()
  t.ok(window.check(0))
})

t.test('in order, in reverse, and every second one twice', async () => {
  const count = 3 * REPLAY_WINDOW_BITS
  const order = Array.from({ length: count }, (_, i) => i)
  agree(order)
  agree(order.toReversed())
  agree(order.flatMap((i) => (i % 2 === 0 ? [i, i] : [i])))
  // Odd counters arrive late, several times around the ring: no bit of an earlier lap may be left.
  agree(order.flatMap((i) => [2 * i, Math.max(0, 2 * i - 401)]))
})
