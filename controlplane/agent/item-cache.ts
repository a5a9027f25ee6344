// What the node last knew of the cluster's network, on its disk: so that an agent that starts while
// no manager is in reach forwards for the tasks it takes over as it did before. The first complete
// assignment replaces it.
//
// Tunnel keys are in it, secrets and configs are not; the file is the agent's alone (0600), and is
// replaced whole by a rename. It is a convenience: one that is missing or unreadable is as good as
// none.

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type { ItemKind, Items } from '../store/assignment.ts'
import type { ItemSet } from './item-set.ts'
import { CACHE_DELAY_MS } from './limits.ts'

const KINDS = ['peer', 'network', 'endpoint', 'service'] as const satisfies readonly ItemKind[]
const FORMAT = 1

export interface ClusterFacts {
  /** Addresses of the managers. */
  readonly managers: readonly string[]
  /** Base64, newest first. */
  readonly tunnelKeys: readonly string[]
  readonly dataPathPort: number
}

export class ItemCache {
  readonly #file: string
  readonly #items: ItemSet
  readonly #facts: () => ClusterFacts
  readonly #timers: Timers
  readonly #log: Logger
  #cancel: (() => void) | null = null

  constructor(
    file: string,
    items: ItemSet,
    facts: () => ClusterFacts,
    { timers, log }: { readonly timers: Timers; readonly log: Logger },
  ) {
    this.#file = file
    this.#items = items
    this.#facts = facts
    this.#timers = timers
    this.#log = log
  }

  /** Fills the set with what was saved; null when there is nothing. */
  load(): ClusterFacts | null {
    try {
      const saved = JSON.parse(readFileSync(this.#file, 'utf8')) as Record<string, unknown>
      if (saved.format !== FORMAT) return null
      const items = saved.items as Record<string, [string, never][]>
      for (const kind of KINDS) this.#items.restore(kind, new Map(items[kind]))
      return saved.facts as ClusterFacts
    } catch {
      return null
    }
  }

  /** Something has changed: it is saved soon. */
  changed(): void {
    this.#cancel ??= this.#timers.after(CACHE_DELAY_MS, () => this.save())
  }

  /** Saves what waits to be. */
  close(): void {
    if (this.#cancel !== null) this.save()
  }

  save(): void {
    this.#cancel?.()
    this.#cancel = null
    const items: { [K in ItemKind]?: [string, Items[K]][] } = {}
    for (const kind of KINDS) items[kind] = [...this.#items.all(kind)] as never
    const text = JSON.stringify({ format: FORMAT, facts: this.#facts(), items })
    try {
      writeFileSync(`${this.#file}.new`, text, { mode: 0o600 })
      renameSync(`${this.#file}.new`, this.#file)
    } catch (error) {
      this.#log.warn('what is known of the cluster was not saved', {
        file: this.#file,
        error: (error as Error).message,
      })
    }
  }
}
