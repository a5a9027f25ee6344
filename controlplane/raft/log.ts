// The replicated log as one piece: durable entries from Storage, the newer ones from Unstable, and
// the three marks that move along it.
//
//   compacted | ......... applied ......... applying ......... committed ......... last
//
// applied <= applying <= committed <= last. Entries in (applied, applying] were handed out for
// applying and not reported back yet.

import { assert } from '../../base/assert.ts'
import { entryBytes, SCAN_PAGE_BYTES } from './limits.ts'
import type { Entry, Snapshot } from './messages.ts'
import { limitBytes, type Missing, type Storage } from './storage.ts'
import { Unstable } from './unstable.ts'

export class RaftLog {
  readonly #storage: Storage
  readonly #maxApplyingBytes: number
  readonly unstable: Unstable
  // These move by the methods below only.
  committed: number
  applied: number
  #applying: number
  #applyingBytes = 0
  #applyingPaused = false

  /** `maxApplyingBytes` bounds the entries handed out for applying and not yet applied. */
  constructor(storage: Storage, maxApplyingBytes: number) {
    this.#storage = storage
    this.#maxApplyingBytes = maxApplyingBytes
    this.unstable = new Unstable(storage.lastIndex() + 1)
    // Everything compacted is in a snapshot, and only applied entries get there.
    this.committed = storage.firstIndex() - 1
    this.#applying = this.committed
    this.applied = this.committed
  }

  /** True while entries are handed out for applying and not reported back. */
  get isApplying(): boolean {
    return this.#applying > this.applied
  }

  firstIndex(): number {
    const snapshot = this.unstable.snapshot
    return snapshot === null ? this.#storage.firstIndex() : snapshot.index + 1
  }

  lastIndex(): number {
    return this.unstable.lastIndex() ?? this.#storage.lastIndex()
  }

  lastTerm(): number {
    const term = this.term(this.lastIndex())
    assert(typeof term === 'number', 'the last entry must have a term')
    return term
  }

  term(index: number): number | Missing {
    const unstable = this.unstable.term(index)
    if (unstable !== undefined) return unstable
    if (index < this.firstIndex() - 1) return 'compacted'
    if (index > this.lastIndex()) return 'unavailable'
    return this.#storage.term(index)
  }

  /** True when the entry at `index` exists and has `term`. Equal index and term mean equal logs
   * up to there (paper, section 5.3, Log Matching). */
  matches(index: number, term: number): boolean {
    return this.term(index) === term
  }

  /** True when a log ending in (`index`, `term`) is at least as new as this one up to `last`
   * (paper, section 5.4.1). */
  isUpToDate(index: number, term: number, last: number = this.lastIndex()): boolean {
    const lastTerm = this.term(last)
    assert(typeof lastTerm === 'number', 'the entry to compare with must have a term')
    return term > lastTerm || (term === lastTerm && index >= last)
  }

  /** Entries from `lo` to the end, cut short at `maxBytes` but at least one if there is any. */
  entriesFrom(lo: number, maxBytes: number): readonly Entry[] | Missing {
    return lo > this.lastIndex() ? [] : this.slice(lo, this.lastIndex() + 1, maxBytes)
  }

  /** Entries [lo, hi), cut short at `maxBytes` but at least one. `hi` must not lie behind the
   * end. */
  slice(lo: number, hi: number, maxBytes: number): readonly Entry[] | Missing {
    assert(lo <= hi && hi <= this.lastIndex() + 1, `log slice [${lo}, ${hi}) out of bounds`)
    if (lo < this.firstIndex()) return 'compacted'
    if (lo === hi) return []
    const offset = this.unstable.offset
    if (lo >= offset) return this.unstable.slice(lo, hi, maxBytes)
    const durableEnd = Math.min(hi, offset)
    const durable = this.#storage.entries(lo, durableEnd, maxBytes)
    if (durable === 'compacted') return durable
    assert(durable !== 'unavailable', `entries [${lo}, ${durableEnd}) are missing from storage`)
    if (durable.length < durableEnd - lo || hi <= offset) return durable
    return limitBytes([...durable, ...this.unstable.slice(offset, hi, maxBytes)], maxBytes)
  }

  /** The leader's own new entries. */
  append(entries: readonly Entry[]): void {
    const first = entries[0]
    if (first === undefined) return
    assert(
      first.index > this.committed,
      `append at ${first.index} would overwrite a committed entry`,
    )
    this.unstable.truncateAndAppend(entries)
  }

  /** Takes entries from the leader that follow (`index`, `term`). False, and no change, when
   * this log does not have that entry; else what conflicts is replaced and what is new
   * appended. */
  maybeAppend(index: number, term: number, entries: readonly Entry[]): boolean {
    if (!this.matches(index, term)) return false
    const firstNew = entries.findIndex((entry) => !this.matches(entry.index, entry.term))
    if (firstNew >= 0) this.append(entries.slice(firstNew))
    return true
  }

  /** The last index up to `index` whose term is at most `term`, and its term (0 if unknown):
   * where two logs may agree, given that at `index` and `term` they did not. Compacted entries
   * may agree. */
  findConflictByTerm(index: number, term: number): { index: number; term: number } {
    for (let guess = index; guess > 0; guess--) {
      const ours = this.term(guess)
      if (typeof ours !== 'number') return { index: guess, term: 0 }
      if (ours <= term) return { index: guess, term: ours }
    }
    return { index: 0, term: 0 }
  }

  /** Raises the commit index; never lowers it. */
  commitTo(index: number): void {
    if (index <= this.committed) return
    assert(
      index <= this.lastIndex(),
      `commit index ${index} is beyond the last entry ${this.lastIndex()}: the log was lost`,
    )
    this.committed = index
  }

  /** Replaces the log by a snapshot from the leader. */
  restore(snapshot: Snapshot): void {
    this.committed = snapshot.index
    this.unstable.restore(snapshot)
  }

  /** Sets the commit index from disk, after a restart. What a snapshot covers is committed even
   * if the stored index is older than the snapshot. */
  restoreCommitted(index: number): void {
    assert(
      index <= this.lastIndex(),
      `stored commit index ${index} is beyond the last entry ${this.lastIndex()}`,
    )
    this.committed = Math.max(this.committed, index)
  }

  hasNextCommitted(allowUnstable: boolean): boolean {
    // A snapshot goes before entries, alone, so that their order needs no thought.
    if (this.#applyingPaused || this.unstable.snapshot !== null) return false
    return this.#applying < this.#maxAppliable(allowUnstable)
  }

  /** Committed entries to apply next, within the byte limit. With `allowUnstable` they may be
   * ones that are made durable in the same step. */
  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return []
    const room = this.#maxApplyingBytes - this.#applyingBytes
    const entries = this.slice(this.#applying + 1, this.#maxAppliable(allowUnstable) + 1, room)
    assert(typeof entries !== 'string', 'committed entries must not be compacted before applied')
    return entries
  }

  /** `entries` from nextCommitted() were handed out. */
  acceptApplying(entries: readonly Entry[], allowUnstable: boolean): void {
    const last = entries.at(-1)
    if (last === undefined) return
    this.#applying = last.index
    this.#applyingBytes += totalBytes(entries)
    // Paused also when the limit cut the list short: the next entry would not fit.
    this.#applyingPaused =
      this.#applyingBytes >= this.#maxApplyingBytes ||
      last.index < this.#maxAppliable(allowUnstable)
  }

  /** Everything up to `index` is applied; `bytes` of it were counted by acceptApplying(). */
  appliedTo(index: number, bytes: number): void {
    assert(
      index >= this.applied && index <= this.committed,
      `applied index ${index} is outside [${this.applied}, ${this.committed}]`,
    )
    this.applied = index
    this.#applying = Math.max(this.#applying, index)
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes)
    this.#applyingPaused = this.#applyingBytes >= this.#maxApplyingBytes
  }

  snapshot(): Snapshot | null {
    return this.unstable.snapshot ?? this.#storage.snapshot()
  }

  /** Entries behind `index` up to and including `last`, in portions. */
  *entriesAfter(index: number, last: number): Generator<Entry> {
    for (let lo = index + 1; lo <= last; ) {
      const page = this.slice(lo, last + 1, SCAN_PAGE_BYTES)
      assert(typeof page !== 'string', 'entries that are not applied must not be compacted')
      yield* page
      lo += page.length
    }
  }

  #maxAppliable(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1)
  }
}

/** Bytes of entries as the limits count them. */
export function totalBytes(entries: readonly Entry[]): number {
  return entries.reduce((bytes, entry) => bytes + entryBytes(entry), 0)
}

/** Bytes of data alone: an empty entry (a new leader's, or the one leaving a joint
 * configuration) weighs nothing, so no limit on data can ever refuse it. */
export function payloadBytes(entries: readonly Entry[]): number {
  return entries.reduce((bytes, { data }) => bytes + data.length, 0)
}
