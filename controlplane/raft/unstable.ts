// The part of the log that is not known to be durable yet: entries, and perhaps a snapshot before
// them.
//
//      durable          being written        not handed out yet
//   ...--------------|--------------------|--------------------|
//                    ^ offset             ^ inProgressEnd      ^ end
//
// Entries stay here until stableTo() says they are durable, so that the log reads the same whatever
// the disk is doing. `offset` may lie before the end of the durable log: then the durable entries
// from `offset` on were overruled by a new leader and will be overwritten.

import { assert } from '../../base/assert.ts'
import type { Entry, Snapshot } from './messages.ts'
import { limitBytes } from './storage.ts'

export class Unstable {
  #entries: Entry[] = []
  #inProgressEnd: number
  #snapshotInProgress = false
  // These change by the methods below only.
  /** Index of the first entry kept here. */
  offset: number
  /** The snapshot that is not applied yet, in progress or not. */
  snapshot: Snapshot | null = null

  /** `offset` is the index after the last durable entry. */
  constructor(offset: number) {
    this.offset = offset
    this.#inProgressEnd = offset
  }

  get entryCount(): number {
    return this.#entries.length
  }

  /** The last index known here, undefined when there is neither entry nor snapshot. */
  lastIndex(): number | undefined {
    if (this.#entries.length > 0) return this.offset + this.#entries.length - 1
    return this.snapshot?.index
  }

  term(index: number): number | undefined {
    if (index >= this.offset) return this.#entries[index - this.offset]?.term
    return this.snapshot?.index === index ? this.snapshot.term : undefined
  }

  /** Entries [lo, hi), all of which must be here, cut short at `maxBytes` but at least one. */
  slice(lo: number, hi: number, maxBytes: number): readonly Entry[] {
    const end = this.offset + this.#entries.length
    assert(
      lo >= this.offset && lo <= hi && hi <= end,
      `unstable slice [${lo}, ${hi}) out of bounds`,
    )
    return limitBytes(this.#entries, maxBytes, lo - this.offset, hi - this.offset)
  }

  hasNextEntries(): boolean {
    return this.#inProgressEnd - this.offset < this.#entries.length
  }

  /** Entries not handed out yet. */
  nextEntries(): Entry[] {
    return this.#entries.slice(this.#inProgressEnd - this.offset)
  }

  /** The snapshot if it was not handed out yet. */
  nextSnapshot(): Snapshot | null {
    return this.#snapshotInProgress ? null : this.snapshot
  }

  /** Everything here was handed out for writing. */
  acceptInProgress(): void {
    this.#inProgressEnd = this.offset + this.#entries.length
    this.#snapshotInProgress = this.snapshot !== null
  }

  /** The entries up to `index` are durable, the last of them with `term`. Without effect when
   * the entry is no longer here or was replaced meanwhile. */
  stableTo(index: number, term: number): void {
    if (index < this.offset || this.term(index) !== term) return
    this.#entries = this.#entries.slice(index + 1 - this.offset)
    this.offset = index + 1
    this.#inProgressEnd = Math.max(this.#inProgressEnd, this.offset)
  }

  /** The snapshot at `index` is durable and applied. */
  stableSnapshotTo(index: number): void {
    if (this.snapshot?.index !== index) return
    this.snapshot = null
    this.#snapshotInProgress = false
  }

  /** Replaces everything by a snapshot from the leader. */
  restore(snapshot: Snapshot): void {
    this.#entries = []
    this.offset = snapshot.index + 1
    this.#inProgressEnd = this.offset
    this.snapshot = snapshot
    this.#snapshotInProgress = false
  }

  /** Appends `entries`, dropping what is at or behind the index of the first. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]!.index
    assert(from <= this.offset + this.#entries.length, `unstable log: gap before ${from}`)
    if (from < this.offset) {
      this.#entries = []
      this.offset = from
    } else if (from - this.offset < this.#entries.length) {
      this.#entries = this.#entries.slice(0, from - this.offset)
    }
    for (const entry of entries) this.#entries.push(entry)
    // Entries that were being written but are now replaced must be handed out again.
    this.#inProgressEnd = Math.min(this.#inProgressEnd, from)
    this.#inProgressEnd = Math.max(this.#inProgressEnd, this.offset)
  }
}
