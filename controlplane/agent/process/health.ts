// Health checks, as Docker's: a probe runs in the task's namespaces; `retries` failures in a row
// make it unhealthy, one success healthy. Within the start period failures do not count, until the
// first success.

import type { Healthcheck } from '../../store/specs.ts'
import {
  HEALTH_INTERVAL_MS,
  HEALTH_RETRIES,
  HEALTH_START_INTERVAL_MS,
  HEALTH_TIMEOUT_MS,
} from './limits.ts'
import type { Ended } from './shell.ts'

export interface HealthPlan {
  readonly command: readonly string[]
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly retries: number
  readonly startPeriodMs: number
  readonly startIntervalMs: number
}

/** Null when there is nothing to check. Durations of a spec are nanoseconds, 0 = the default. */
export function healthPlan(check: Healthcheck | undefined): HealthPlan | null {
  const [kind, ...words] = check?.Test ?? []
  if (kind === undefined || kind === 'NONE') return null
  const command = kind === 'CMD-SHELL' ? ['/bin/sh', '-c', words.join(' ')] : words
  if ((kind !== 'CMD' && kind !== 'CMD-SHELL') || command.length === 0) {
    throw new RangeError(`Unknown type '${kind}' in HEALTHCHECK (try CMD)`)
  }
  const ms = (ns: number | undefined, otherwise: number): number => (ns ? ns / 1e6 : otherwise)
  const intervalMs = ms(check?.Interval, HEALTH_INTERVAL_MS)
  return {
    command,
    intervalMs,
    timeoutMs: ms(check?.Timeout, HEALTH_TIMEOUT_MS),
    retries: check?.Retries || HEALTH_RETRIES,
    startPeriodMs: ms(check?.StartPeriod, 0),
    startIntervalMs: ms(check?.StartInterval, Math.min(intervalMs, HEALTH_START_INTERVAL_MS)),
  }
}

export type HealthState = 'starting' | 'healthy' | 'unhealthy'

/** What a run of probes means; one probe after another is told to it. */
export class HealthJudge {
  readonly #plan: HealthPlan
  readonly #startedMs: number
  state: HealthState = 'starting'
  failures = 0
  lastOutput = ''

  constructor(plan: HealthPlan, startedMs: number) {
    this.#plan = plan
    this.#startedMs = startedMs
  }

  /** Milliseconds from now until the next probe. */
  delayMs(nowMs: number): number {
    const { intervalMs, startIntervalMs } = this.#plan
    return this.#isStarting(nowMs) ? startIntervalMs : intervalMs
  }

  judge({ status, output }: Ended, nowMs: number): HealthState {
    this.lastOutput = output.trim().slice(0, 256)
    if (status === 0) {
      this.failures = 0
      this.state = 'healthy'
    } else if (!this.#isStarting(nowMs)) {
      this.failures++
      if (this.failures >= this.#plan.retries) this.state = 'unhealthy'
    }
    return this.state
  }

  #isStarting(nowMs: number): boolean {
    return this.state === 'starting' && nowMs - this.#startedMs < this.#plan.startPeriodMs
  }
}
