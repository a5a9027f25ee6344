// Goal: the primitives that everything else leans on do what their headers say.

import fc from 'fast-check'
import t from 'tap'
import { AssertionError, assert, unreachable } from './assert.ts'
import { manualClock } from './clock.ts'
import { type LogFields, type LogLevel, silentLogger, sinkLogger } from './log.ts'
import { prng, prngOfState } from './prng.ts'
import { Ring } from './ring.ts'

t.test('assert throws its own error and only when the belief is false', async (t) => {
  assert(true, 'never seen')
  t.throws(() => assert(false, 'one is two'), { name: 'AssertionError', message: 'one is two' })
  t.throws(() => unreachable('x' as never, 'no such state'), AssertionError)
})

t.test('a manual clock moves when told, and only forward', async (t) => {
  const clock = manualClock(5, 1000)
  t.equal(clock.nowMs(), 5)
  clock.advance(2.5)
  t.equal(clock.nowMs(), 7.5)
  t.equal(clock.wallMs(), 1002.5)
  clock.setWall(0)
  t.equal(clock.wallMs(), 0)
  t.equal(clock.nowMs(), 7.5, 'the wall clock does not move the monotonic one')
  t.throws(() => clock.advance(-1), RangeError)
  t.throws(() => clock.advance(Number.NaN), RangeError)
})

t.test('the generator is xoshiro128**', async (t) => {
  // The first draws from state 1, 2, 3, 4, by the reference algorithm in another language.
  const random = prngOfState(1, 2, 3, 4)
  const draws = Array.from({ length: 8 }, () => random.nextU32())
  t.same(draws, [11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849])
  t.throws(() => prngOfState(0, 0, 0, 0), RangeError)
})

t.test('one seed, one future; another seed, another', async (t) => {
  const draw = (seed: number): number[] => {
    const random = prng(seed)
    return Array.from({ length: 20 }, () => random.nextU32())
  }
  t.same(draw(42), draw(42))
  const firsts = new Set(Array.from({ length: 1000 }, (_, seed) => draw(seed)[0]))
  t.ok(firsts.size > 995, `${firsts.size} different first draws of 1000 seeds`)
})

t.test('draws stay in range and reach all of it', async (t) => {
  const random = prng(7)
  for (const n of [1, 2, 3, 10, 1000]) {
    const seen = new Set<number>()
    for (let i = 0; i < n * 20; i++) seen.add(random.below(n))
    if ([...seen].some((x) => x < 0 || x >= n)) t.fail(`below(${n}) left its range`)
    t.equal(seen.size, n, `below(${n})`)
  }
  let top = 0
  for (let i = 0; i < 100; i++) top = Math.max(top, random.below(4294967296))
  t.ok(top > 0xf0000000)
  for (const n of [0, -1, 4294967297, Number.NaN]) t.throws(() => random.below(n), RangeError)
  let sum = 0
  for (let i = 0; i < 10000; i++) {
    const x = random.float()
    if (!(x >= 0 && x < 1)) t.fail(`float() gave ${x}`)
    sum += x
  }
  // The mean of 10,000 draws has a standard deviation of 0.0029.
  t.ok(Math.abs(sum / 10000 - 0.5) < 0.015, `mean ${sum / 10000}`)
})

t.test('a ring is a bounded array, whatever is done to it', async (t) => {
  const command = fc.oneof(fc.constant('shift'), fc.constant('clear'), fc.nat())
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(command), (capacity, commands) => {
      const ring = new Ring<number>(capacity)
      const model: number[] = []
      for (const c of commands) {
        if (c === 'shift') {
          if (ring.shift() !== model.shift()) return false
        } else if (c === 'clear') {
          ring.clear()
          model.length = 0
        } else {
          const room = model.length < capacity
          if (ring.push(Number(c)) !== room) return false
          if (room) model.push(Number(c))
        }
        if (ring.size !== model.length || ring.full !== (model.length === capacity)) return false
        for (let i = -1; i <= capacity; i++) if (ring.peek(i) !== model[i]) return false
      }
      return true
    }),
  )
  for (const capacity of [0, -1, 1.5, Number.NaN]) t.throws(() => new Ring(capacity), RangeError)
})

t.test('a logger hands on what is loud enough, with all its fields', async (t) => {
  const lines: [LogLevel, string, LogFields][] = []
  const log = sinkLogger((...line) => lines.push(line), 'info', { node: 'a' })
  log.debug('unheard')
  log.info('heard')
  log.with({ peer: 'b' }).warn('louder', { count: 2 })
  log.error('loudest', { node: 'c' })
  t.same(lines, [
    ['info', 'heard', { node: 'a' }],
    ['warn', 'louder', { node: 'a', peer: 'b', count: 2 }],
    ['error', 'loudest', { node: 'c' }],
  ])
  t.notOk(log.enabled('debug'))
  t.ok(log.enabled('info'))
  t.notOk(silentLogger.enabled('error'))
  t.equal(silentLogger.with({ a: 1 }), silentLogger)
})
