// Who wants to hear of something, and who waits for it with a deadline. No timers: whoever owns the
// list says what time it is.

interface Waiter<T> {
  readonly wanted: (value: T) => boolean
  readonly untilMs: number
  readonly late: () => Error
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

export class Listeners<T> {
  readonly #listeners = new Set<(value: T) => void>()
  #waiters: Waiter<T>[] = []

  /** Calls `listener` with all that comes. Call the answer to stop. */
  on(listener: (value: T) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Resolves with the first value that is `wanted`; rejects with `late` once expire() is told of
   * `untilMs`. */
  until(wanted: (value: T) => boolean, untilMs: number, late: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ wanted, untilMs, late, resolve, reject })
    })
  }

  emit(value: T): void {
    for (const listener of this.#listeners) listener(value)
    if (this.#waiters.length === 0) return
    const done = this.#waiters.filter(({ wanted }) => wanted(value))
    if (done.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => !done.includes(waiter))
    for (const { resolve } of done) resolve(value)
  }

  expire(nowMs: number): void {
    if (this.#waiters.length === 0) return
    const late = this.#waiters.filter(({ untilMs }) => untilMs <= nowMs)
    this.#waiters = this.#waiters.filter(({ untilMs }) => untilMs > nowMs)
    for (const waiter of late) waiter.reject(waiter.late())
  }

  rejectAll(error: () => Error): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const { reject } of waiters) reject(error())
  }
}
