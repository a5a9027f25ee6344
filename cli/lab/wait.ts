// Waiting without sleeping blindly: look at a condition until it holds or a deadline passes.

import { WAIT_STEP_MS, WAIT_TIMEOUT_MS } from './limits.ts'

export interface WaitOptions {
  /** What is waited for, for the error's sentence. */
  readonly what: string
  /** Milliseconds until the wait is given up, default WAIT_TIMEOUT_MS. */
  readonly timeoutMs?: number
  /** Milliseconds between two looks, default WAIT_STEP_MS. */
  readonly stepMs?: number
}

/** Resolves after `ms` milliseconds. For pacing only; a test waits with waitFor(). */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Rejects after `ms`: a look that never comes back must not hold the wait. */
async function overdue(ms: number): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, ms).unref())
  throw new Error('the last look did not come back')
}

/** Calls `look` until it returns something other than undefined, null or false, and returns that.
 * A throw counts as "not yet". Throws at the deadline, naming what was waited for and the last
 * throw. */
export async function waitFor<T>(
  look: () => T | Promise<T>,
  options: WaitOptions,
): Promise<NonNullable<Exclude<T, false>>> {
  const timeoutMs = options.timeoutMs ?? WAIT_TIMEOUT_MS
  const deadline = performance.now() + timeoutMs
  const late = overdue(timeoutMs)
  late.catch(() => {})
  let last: unknown
  for (;;) {
    try {
      const seen = await Promise.race([look(), late])
      if (seen !== undefined && seen !== null && seen !== false) {
        return seen as NonNullable<Exclude<T, false>>
      }
    } catch (error) {
      last = error
    }
    if (performance.now() >= deadline) break
    await pause(options.stepMs ?? WAIT_STEP_MS)
  }
  const why = last instanceof Error ? `: ${last.message}` : ''
  throw new Error(`waited ${timeoutMs} ms in vain for ${options.what}${why}`)
}
