// When a certificate is renewed. Each node draws a point between 50 and 80 % of its certificate's
// life, so that nodes which joined together do not come back together, and there is a fifth of the
// life left for managers to be found. It renews at once when it is told to: the root is being
// changed, or the node has another role than its certificate says.

import type { Clock } from '../../base/clock.ts'
import { pauseMs } from './join.ts'
import { RENEW_FROM, RENEW_UNTIL } from './limits.ts'
import { Loop, type Sleep } from './loop.ts'

/** The wall clock may be set while a renewal is waited for: look again this often. */
const LOOK_MS = 600_000

export interface Life {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

export interface RenewerOptions {
  readonly clock: Clock
  readonly sleep: Sleep
  /** Uniform over [0, 1). */
  readonly random: () => number
  /** Of the certificate in use. */
  readonly life: () => Life
  /** Gets a new certificate and puts it to use. Rejects to be called again later. */
  readonly renew: () => Promise<void>
  readonly onError: (error: unknown, nextMs: number) => void
}

/** Wall time at which a certificate with this life is renewed; `draw` is from [0, 1). */
export function renewalMs({ notBeforeMs, notAfterMs }: Life, draw: number): number {
  const share = RENEW_FROM + (RENEW_UNTIL - RENEW_FROM) * draw
  return notBeforeMs + (notAfterMs - notBeforeMs) * share
}

export class Renewer {
  readonly #options: RenewerOptions
  readonly #loop: Loop
  #draw: number
  #isForced = false
  #failures = 0

  constructor(options: RenewerOptions) {
    this.#options = options
    this.#draw = options.random()
    this.#loop = new Loop({
      sleep: options.sleep,
      step: () => this.#step(),
      onError: () => {},
      retryMs: LOOK_MS,
    })
  }

  start(): void {
    this.#loop.start()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  /** Renews now, whatever the time. */
  force(): void {
    this.#isForced = true
    this.#loop.wake()
  }

  async #step(): Promise<number> {
    const { clock, random, life, renew, onError } = this.#options
    const leftMs = renewalMs(life(), this.#draw) - clock.wallMs()
    if (!this.#isForced && leftMs > 0) return Math.min(leftMs, LOOK_MS)
    this.#isForced = false
    try {
      await renew()
    } catch (error) {
      this.#isForced = true
      this.#failures += 1
      const nextMs = pauseMs(this.#failures, random)
      onError(error, nextMs)
      return nextMs
    }
    this.#failures = 0
    this.#draw = random()
    return Math.min(Math.max(1, renewalMs(life(), this.#draw) - clock.wallMs()), LOOK_MS)
  }
}
