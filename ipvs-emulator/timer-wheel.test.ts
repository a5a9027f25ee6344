// Goal: every entry comes out once, never before its deadline, and soon after it; refreshed ones
// later. Method: random histories with virtual time against a plain list.

import fc from 'fast-check'
import t from 'tap'
import { ConnTable, DEADLINE } from './conn-table.ts'
import { WHEEL_SLOTS } from './limits.ts'
import { TimerWheel } from './timer-wheel.ts'

const STEP = fc.record({
  do: fc.constantFrom('add', 'add', 'refresh', 'nearer', 'remove', 'wait', 'wait'),
  at: fc.nat(1000),
  ticks: fc.oneof(fc.nat(40), fc.nat(3 * WHEEL_SLOTS)),
})

t.test('as a list that is searched each time', async (t) => {
  let due = 0
  fc.assert(
    fc.property(
      fc.array(STEP, { minLength: 20, maxLength: 300 }),
      fc.integer({ min: 1, max: 50 }),
      (steps, budget) => {
        const table = new ConnTable(1000, 1, () => 1)
        const wheel = new TimerWheel(table)
        const twin = new Map<number, number>()
        let now = 0
        const setDeadline = (entry: number, deadline: number): void => {
          table.records[entry * table.stride + DEADLINE] = deadline
          twin.set(entry, deadline)
        }
        for (const step of steps) {
          const entry = [...twin.keys()][step.at % Math.max(twin.size, 1)]
          if (step.do === 'add') {
            const fresh = table.allocate()
            setDeadline(fresh, now + step.ticks)
            wheel.file(fresh)
          } else if (step.do === 'wait') {
            now += step.ticks
            for (let calls = 0; ; calls++) {
              if (calls > 100_000) throw new Error('take() does not come to an end')
              const out = wheel.take(now, budget)
              if (out === 0) {
                if (wheel.left > 0) break
                continue
              }
              if (!twin.has(out)) throw new Error('came out twice or unasked')
              if (twin.get(out)! > now) throw new Error('came out early')
              twin.delete(out)
              table.free(out)
              due++
            }
            for (const deadline of twin.values())
              if (deadline <= now) throw new Error('came out late')
          } else if (entry !== undefined) {
            if (step.do === 'refresh') setDeadline(entry, twin.get(entry)! + step.ticks)
            else if (step.do === 'nearer') {
              wheel.remove(entry)
              setDeadline(entry, Math.max(now, twin.get(entry)! - step.ticks))
              wheel.file(entry)
            } else {
              wheel.remove(entry)
              twin.delete(entry)
              table.free(entry)
            }
          }
          const next = wheel.next()
          if (twin.size === 0 ? next !== -1 : next < 0 || next > Math.max(...twin.values())) {
            throw new Error(`next() says ${next}`)
          }
        }
      },
    ),
    { numRuns: 300, seed: 11 },
  )
  t.ok(due > 1000, `${due} entries came due`)
})

t.test('refreshing does not touch the wheel', async (t) => {
  const table = new ConnTable(10, 1, () => 1)
  const wheel = new TimerWheel(table)
  const entry = table.allocate()
  table.records[entry * table.stride + DEADLINE] = 10
  wheel.file(entry)
  table.records[entry * table.stride + DEADLINE] = 25
  t.equal(wheel.take(24, 100), 0)
  t.equal(wheel.left, 99, 'one visit, at tick 10')
  t.equal(wheel.next(), 25)
  t.equal(wheel.take(25, 100), entry)
  t.equal(wheel.next(), -1)
})
