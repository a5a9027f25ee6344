// A set of names that is replaced as a whole, and whoever waits for one of them to be in it: the
// container engine asks for an interface that the packet loop is about to make.

export class AwaitedNames {
  #names: ReadonlySet<string> = new Set()
  readonly #waiters = new Map<string, Set<() => void>>()

  /** These are there now, and no others. */
  replace(names: Iterable<string>): void {
    this.#names = new Set(names)
    for (const [name, waiters] of this.#waiters) {
      if (this.#names.has(name)) for (const wake of [...waiters]) wake()
    }
  }

  /** Resolves as soon as the name is there; with false after `limitMs`. */
  has(name: string, limitMs: number): Promise<boolean> {
    if (this.#names.has(name)) return Promise.resolve(true)
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(name) ?? new Set()
      this.#waiters.set(name, waiters)
      const end = (isThere: boolean): void => {
        clearTimeout(timer)
        waiters.delete(wake)
        if (waiters.size === 0 && this.#waiters.get(name) === waiters) this.#waiters.delete(name)
        resolve(isThere)
      }
      const wake = (): void => end(true)
      const timer = setTimeout(() => end(false), limitMs)
      waiters.add(wake)
    })
  }
}
