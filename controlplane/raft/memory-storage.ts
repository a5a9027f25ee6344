// The durable log as the core reads it, kept in memory: the driver's cache in front of a disk, the
// whole storage of tests. And what the first members of a cluster begin with.

import {
  type ConfState,
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  NO_BYTES,
  type Snapshot,
} from './messages.ts'
import { limitBytes, type Missing, type Storage } from './storage.ts'

/** The log and hard state in memory: for tests, for the simulator, and as the cache before a
 * disk. A configuration given to the constructor suits tests without new members; else see
 * foundingState(). */
export class MemoryStorage implements Storage {
  hardState: HardState = EMPTY_HARD_STATE
  #confState: ConfState
  #snapshot: Snapshot | null = null
  // Index and term of the last entry compacted away; #entries follow it without a gap.
  #baseIndex = 0
  #baseTerm = 0
  #entries: Entry[] = []

  constructor(confState: ConfState = EMPTY_CONF_STATE) {
    this.#confState = confState
  }

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.hardState, confState: this.#confState }
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | Missing {
    const first = this.firstIndex()
    if (lo < first) return 'compacted'
    if (hi > this.lastIndex() + 1 || lo >= hi) return 'unavailable'
    return limitBytes(this.#entries, maxBytes, lo - first, hi - first)
  }

  term(index: number): number | Missing {
    if (index < this.#baseIndex) return 'compacted'
    if (index === this.#baseIndex) return this.#baseTerm
    return this.#entries[index - this.firstIndex()]?.term ?? 'unavailable'
  }

  firstIndex(): number {
    return this.#baseIndex + 1
  }

  lastIndex(): number {
    return this.#baseIndex + this.#entries.length
  }

  snapshot(): Snapshot | null {
    return this.#snapshot
  }

  /** Stores entries; whatever was stored at or behind the first of them is replaced. Entries
   * already compacted are skipped. Throws a RangeError if they would leave a gap. */
  append(entries: readonly Entry[]): void {
    const fresh = entries.filter((entry) => entry.index > this.#baseIndex)
    const head = fresh[0]
    if (head === undefined) return
    if (head.index > this.lastIndex() + 1) {
      throw new RangeError(`log gap: last index ${this.lastIndex()}, appending at ${head.index}`)
    }
    this.#entries.length = head.index - this.firstIndex()
    for (const entry of fresh) this.#entries.push(entry)
  }

  /** Replaces everything by a snapshot that came from the leader. An older one is ignored. */
  applySnapshot(snapshot: Snapshot): void {
    if (this.#snapshot !== null && snapshot.index <= this.#snapshot.index) return
    this.#snapshot = snapshot
    this.#confState = snapshot.confState
    this.#baseIndex = snapshot.index
    this.#baseTerm = snapshot.term
    this.#entries = []
  }

  /** Records a snapshot of the local state machine; `snapshot.index` must be stored. The log
   * stays as it is until compact(). */
  createSnapshot(snapshot: Snapshot): void {
    if (this.term(snapshot.index) !== snapshot.term) {
      throw new RangeError(`snapshot at ${snapshot.index} does not match the log`)
    }
    this.#snapshot = snapshot
    this.#confState = snapshot.confState
  }

  /** Drops the entries up to and including `index`, which must be stored. */
  compact(index: number): void {
    if (index <= this.#baseIndex) return
    const term = this.term(index)
    if (typeof term !== 'number') throw new RangeError(`cannot compact to ${index}: ${term}`)
    this.#entries.splice(0, index - this.#baseIndex)
    this.#baseIndex = index
    this.#baseTerm = term
  }
}

/** What the first members of a cluster start from, all alike: `snapshot` to be stored and
 * applied, and `hardState`. Their configuration stands in no log entry, so a later member could
 * not learn it from the log. Beginning with a snapshot makes that member need one, which tells
 * it. Only for the members that found the cluster: others start with nothing. */
export function foundingState(
  confState: ConfState,
  data: Uint8Array = NO_BYTES,
): { readonly snapshot: Snapshot; readonly hardState: HardState } {
  const index = 1
  const term = 1
  return { snapshot: { index, term, confState, data }, hardState: { term, vote: 0, commit: index } }
}
