// What the core reads of the durable log.
//
// The core never writes: it hands entries out in a Ready and reads them back through this interface
// once the caller made them durable. All reads are synchronous, so a caller with a disk keeps the
// tail of the log in memory (the core asks again only for what slow followers need and for what is
// to be applied).
//
//        compacted            stored
//   ...............|--------------------------|
//                  ^ snapshot.index           ^ lastIndex
//                   ^ firstIndex = snapshot.index + 1
//
// The term at firstIndex - 1 must stay known: the first MsgApp after a compaction needs it.

import { entryBytes } from './limits.ts'
import type { ConfState, Entry, HardState, Snapshot } from './messages.ts'

/** Why a read gave nothing: the entries were compacted away, or do not exist (yet). */
export type Missing = 'compacted' | 'unavailable'

export interface Storage {
  /** The hard state and configuration as of the last restart. Called once, at construction. */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState }
  /** Entries [lo, hi), cut short when they exceed `maxBytes` by entryBytes(), but at least one. */
  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] | Missing
  /** Term of the entry at `index`, which may also be firstIndex() - 1. */
  term(index: number): number | Missing
  /** Index of the first entry still stored; lastIndex() + 1 when there is none. */
  firstIndex(): number
  /** Index of the last stored entry, or of the snapshot when no entry follows it. */
  lastIndex(): number
  /** The newest snapshot; null when one cannot be had just now (the core asks again later). */
  snapshot(): Snapshot | null
}

/** The longest part of entries[from, to) that begins at `from` and stays within `maxBytes`, but
 * never less than one entry. */
export function limitBytes(
  entries: readonly Entry[],
  maxBytes: number,
  from: number = 0,
  to: number = entries.length,
): readonly Entry[] {
  let bytes = 0
  let end = from
  for (; end < to; end++) {
    bytes += entryBytes(entries[end]!)
    if (bytes > maxBytes && end > from) break
  }
  return entries.slice(from, end)
}
