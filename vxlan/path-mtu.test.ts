// Goal: the search ends just under what the path carries, notices when that changes, and never says
// a size that the interface cannot send. Method: a path of known width, on a virtual clock.

import fc from 'fast-check'
import t from 'tap'
import { CONFIRM_MS, PROBE_TIMEOUT_MS, PROBES_MAX, RAISE_MS, SEARCH_STEP_BYTES } from './limits.ts'
import { BASE_PAYLOAD, COMPLETE, ERROR, PathMtu, SEARCHING } from './path-mtu.ts'

/** Drives `machine` for `forMs` over a path that carries up to `width()`; one round trip takes 10
 * ms. */
function drive(
  machine: PathMtu,
  startMs: number,
  forMs: number,
  width: () => number,
  active = true,
): number {
  let nowMs = startMs
  let sent = 0
  while (machine.nextDeadline() <= startMs + forMs) {
    nowMs = Math.max(nowMs, machine.nextDeadline())
    const probe = machine.tick(nowMs, active)
    if (probe === 0) continue
    sent++
    if (probe <= width()) machine.onAck(probe, nowMs + 10)
  }
  return sent
}

const LOSS_MS = PROBE_TIMEOUT_MS * PROBES_MAX

t.test('a path as wide as the interface costs one probe', async (t) => {
  const machine = new PathMtu(1472, 0)
  t.equal(machine.size, 1472, 'assumed until proven otherwise')
  t.equal(
    drive(machine, 0, 1000, () => 1472),
    1,
  )
  t.equal(machine.state, COMPLETE)
  t.equal(machine.size, 1472)
})

t.test('the search finds any width', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: BASE_PAYLOAD, max: 9000 }),
      fc.integer({ min: BASE_PAYLOAD + 1, max: 9000 }),
      (width, ceiling) => {
        const machine = new PathMtu(ceiling, 0)
        drive(machine, 0, 60_000, () => width)
        const best = Math.min(width, ceiling)
        if (machine.state !== COMPLETE) return false
        return machine.size <= best && machine.size > best - SEARCH_STEP_BYTES
      },
    ),
    { numRuns: 300 },
  )
})

t.test('the assumption ends after the first lost size', async (t) => {
  const machine = new PathMtu(1472, 0)
  drive(machine, 0, LOSS_MS - 1, () => 1300)
  t.equal(machine.size, 1472)
  t.equal(machine.tick(LOSS_MS, true), 1336, 'halfway between the base and 1471')
  t.equal(machine.size, BASE_PAYLOAD)
  t.equal(machine.losses, 1)
})

t.test('a black hole is found by the next confirmation', async (t) => {
  let width = 1472
  const machine = new PathMtu(1472, 0)
  drive(machine, 0, 1000, () => width)
  width = 1350
  drive(machine, 1000, CONFIRM_MS + LOSS_MS + 100, () => width)
  t.ok(machine.size <= 1350)
  drive(machine, 70_000, 60_000, () => width)
  t.equal(machine.state, COMPLETE)
  t.ok(machine.size > 1350 - SEARCH_STEP_BYTES && machine.size <= 1350)
  width = 1472
  drive(machine, 130_000, RAISE_MS, () => width)
  t.equal(machine.size, 1472, 'raised when the path has become wide again')
})

t.test('a peer that was away for a while gets its size back', async (t) => {
  let width = 1472
  const machine = new PathMtu(1472, 0)
  drive(machine, 0, 1000, () => width)
  width = 0
  drive(machine, 1000, CONFIRM_MS + 2 * LOSS_MS + 100, () => width)
  t.equal(machine.state, ERROR)
  t.equal(machine.size, BASE_PAYLOAD)
  width = 1472
  drive(machine, 80_000, CONFIRM_MS, () => width)
  t.equal(machine.state, COMPLETE)
  t.equal(machine.size, 1472)
})

t.test('an idle peer is not probed', async (t) => {
  const machine = new PathMtu(1472, 0)
  drive(machine, 0, 1000, () => 1400)
  drive(machine, 1000, 30_000, () => 1400)
  t.equal(
    drive(machine, 31_000, 2 * RAISE_MS, () => 1400, false),
    0,
  )
  t.not(machine.nextDeadline(), Number.POSITIVE_INFINITY)
})

t.test('a refusal of our own kernel is believed at once', async (t) => {
  const machine = new PathMtu(9000, 0)
  t.equal(machine.tick(0, true), 9000)
  machine.onRefused(9000, 0)
  t.equal(machine.size, BASE_PAYLOAD)
  t.equal(machine.state, SEARCHING)
  t.equal(machine.tick(0, true), 8999)
  drive(machine, 0, 60_000, () => 1472)
  t.ok(machine.size <= 1472 && machine.size > 1472 - SEARCH_STEP_BYTES)
  const { size } = machine
  machine.onRefused(size, 70_000)
  t.equal(machine.size, BASE_PAYLOAD, 'even of the size in use')
  drive(machine, 70_000, 60_000, () => 1472)
  t.equal(machine.size, size - 1)
  machine.onRefused(BASE_PAYLOAD, 140_000)
  t.equal(machine.size, size - 1, 'nothing smaller than the base is tried')
})

t.test('acknowledgements of what was never sent are no news', async (t) => {
  const machine = new PathMtu(1472, 0)
  machine.tick(0, true)
  machine.onAck(65_000, 1)
  t.equal(machine.state, SEARCHING)
  machine.onAck(1250, 1)
  t.equal(machine.state, SEARCHING, 'smaller than what is being asked')
  machine.onAck(1472, 2)
  t.equal(machine.state, COMPLETE)
  machine.onAck(1472, 3)
  t.equal(machine.state, COMPLETE)
})

t.test('an interface below the base is taken at its word', async (t) => {
  const machine = new PathMtu(600, 0)
  t.equal(machine.size, 600)
  t.equal(machine.tick(0, true), 0)
})

t.test('sizes and deadlines stay sane whatever happens', async () => {
  const event = fc.oneof(
    fc.record({ kind: fc.constant('ack'), value: fc.integer({ min: 0, max: 2000 }) }),
    fc.record({ kind: fc.constant('refused'), value: fc.integer({ min: 0, max: 2000 }) }),
    fc.record({ kind: fc.constant('tick'), value: fc.integer({ min: 0, max: 100_000 }) }),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), (events) => {
      const machine = new PathMtu(1472, 0)
      let nowMs = 0
      for (const { kind, value } of events) {
        if (kind === 'ack') machine.onAck(value, nowMs)
        else if (kind === 'refused') machine.onRefused(value, nowMs)
        else {
          nowMs += value
          const probe = machine.tick(nowMs, true)
          if (probe !== 0 && (probe < BASE_PAYLOAD || probe > 1472)) return false
          if (machine.nextDeadline() <= nowMs) return false
        }
        if (machine.size < BASE_PAYLOAD || machine.size > 1472) return false
      }
      return true
    }),
    { numRuns: 500 },
  )
})
