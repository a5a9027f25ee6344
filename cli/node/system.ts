// Time and chance of a node that runs: the edge behind base/clock.ts, base/timers.ts, base/prng.ts.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { startTimer } from '../../base/long-timer.ts'
import { type Prng, prngOfState } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'

export const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }

export const systemTimers: Timers = {
  after: startTimer,
}

/** Resolves after `ms` or when `signal` is aborted; never rejects. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const end = (): void => {
      cancel()
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const cancel = startTimer(ms, end)
    signal?.addEventListener('abort', end)
  })
}

/** For jitter and choices; nobody's secrets come from it. */
export function newPrng(): Prng {
  const seed = randomBytes(16)
  const word = (at: number): number => seed.readUInt32LE(at)
  return prngOfState(word(0) | 1, word(4), word(8), word(12))
}
