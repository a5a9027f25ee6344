// Timers as an interface, beside the clock: a control loop asks to be called again, and a test
// moves the time by hand. The edge that composes a process backs it by setTimeout.

import { type ManualClock, manualClock } from './clock.ts'

export interface Timers {
  /** Calls `run` once, `delayMs` (>= 0) from now at the earliest. Returns its cancellation. */
  after(delayMs: number, run: () => void): () => void
}

/** A clock and timers that move only when told to. */
export interface ManualTimers extends Timers {
  readonly clock: ManualClock
  /** Moves the time forward and runs what is due, in order of time, then of asking. */
  advance(deltaMs: number): void
  /** How many timers wait. */
  readonly size: number
}

interface Waiting {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

/** Timers that stand still; `startMs` and `wallMs` are the first readings of its clock. */
export function manualTimers(startMs = 0, wallMs = 0): ManualTimers {
  const clock = manualClock(startMs, wallMs)
  const waiting = new Set<Waiting>()
  let orders = 0
  const nextDue = (untilMs: number): Waiting | undefined => {
    let first: Waiting | undefined
    for (const timer of waiting) {
      if (timer.atMs > untilMs) continue
      if (first === undefined || timer.atMs < first.atMs) first = timer
      else if (timer.atMs === first.atMs && timer.order < first.order) first = timer
    }
    return first
  }
  return {
    clock,
    after(delayMs, run) {
      if (!(delayMs >= 0)) throw new RangeError(`a timer cannot be due ${delayMs} ms from now`)
      const timer = { atMs: clock.nowMs() + delayMs, order: orders++, run }
      waiting.add(timer)
      return () => waiting.delete(timer)
    },
    advance(deltaMs) {
      const untilMs = clock.nowMs() + deltaMs
      for (let timer = nextDue(untilMs); timer !== undefined; timer = nextDue(untilMs)) {
        waiting.delete(timer)
        clock.advance(Math.max(0, timer.atMs - clock.nowMs()))
        timer.run()
      }
      clock.advance(untilMs - clock.nowMs())
    },
    get size() {
      return waiting.size
    },
  }
}
