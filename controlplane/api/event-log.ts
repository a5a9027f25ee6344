// `docker events` for the objects of the cluster. Every manager watches its own store, turns what
// was applied into events (events-of.ts), keeps the last EVENTS_KEPT for `since` and hands new ones
// to those who listen. A snapshot from the leader leaves a gap that nobody can fill: it is told as
// nothing.

import type { Clock } from '../../base/clock.ts'
import type { Store } from '../store/contract.ts'
import { eventsOf, type SwarmEvent } from './events-of.ts'
import { EVENTS_KEPT } from './limits.ts'

/** An event and what filters ask about it beside its attributes. */
export interface LoggedEvent {
  readonly event: SwarmEvent
  readonly atMs: number
  readonly labels: Readonly<Record<string, string>>
}

export class EventLog {
  readonly #clock: Clock
  readonly #kept: LoggedEvent[] = []
  readonly #listeners = new Set<(logged: LoggedEvent) => void>()
  #watched: Store | null = null
  #unwatch: () => void = () => {}

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Listens to this store instead of the one before; null = to none. Call it as often as you
   * like. */
  follow(store: Store | null): void {
    if (store === this.#watched) return
    this.#unwatch()
    this.#watched = store
    this.#unwatch =
      store?.watch((told) => {
        if (told.kind !== 'changes') return
        const atMs = this.#clock.wallMs()
        for (const change of told.changes) {
          for (const { event, labels } of eventsOf(change, atMs)) this.#add({ event, atMs, labels })
        }
      }) ?? (() => {})
  }

  kept(): readonly LoggedEvent[] {
    return this.#kept
  }

  listen(listener: (logged: LoggedEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #add(logged: LoggedEvent): void {
    this.#kept.push(logged)
    if (this.#kept.length > EVENTS_KEPT) this.#kept.shift()
    for (const listener of [...this.#listeners]) listener(logged)
  }
}
