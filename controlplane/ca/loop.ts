// A step that runs again and again: when it is woken, and otherwise when the time is over that its
// last run asked for. One run at a time; being woken during a run means one more run after it. Time
// comes from outside, as a function that sleeps.

/** Resolves after `ms`, or as soon as `signal` is aborted. Never rejects. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>

export interface LoopOptions {
  readonly sleep: Sleep
  /** One run; resolves to the milliseconds until the next, unless it is woken before. */
  readonly step: () => Promise<number>
  /** A run that failed. The next one comes after `retryMs`. */
  readonly onError: (error: unknown) => void
  readonly retryMs: number
}

export class Loop {
  readonly #options: LoopOptions
  #ended: Promise<void> | null = null
  #pause = new AbortController()
  #isWoken = false
  #isStopping = false

  constructor(options: LoopOptions) {
    this.#options = options
  }

  start(): void {
    if (this.#ended !== null) return
    this.#isStopping = false
    this.#ended = this.#run()
  }

  wake(): void {
    this.#isWoken = true
    this.#pause.abort()
  }

  /** Resolves when the last run has ended. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#pause.abort()
    await this.#ended
    this.#ended = null
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      this.#isWoken = false
      const delayMs = await this.#step()
      if (this.#isWoken || this.#isStopping) continue
      this.#pause = new AbortController()
      await this.#options.sleep(delayMs, this.#pause.signal)
    }
  }

  async #step(): Promise<number> {
    try {
      return await this.#options.step()
    } catch (error) {
      this.#options.onError(error)
      return this.#options.retryMs
    }
  }
}
