// Every number that bounds the core. Byte counts are what the memory and the wire feel, not exact
// encodings: the core never needs the exact size of an encoded message.

import type { Entry } from './messages.ts'

/** Bytes an entry costs besides its data: term, index, type and lengths. */
export const ENTRY_OVERHEAD_BYTES: number = 24

/** Terms, indexes and ids stay below this, where every integer is exact. */
export const INTEGER_END: number = Number.MAX_SAFE_INTEGER

/** Bytes of an entry as the limits count them. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES
}

/** Reads that wait for confirmation at the leader; more are refused. */
export const MAX_HELD_READS: number = 65_536

/** Bytes of log read at a time when it is searched for membership changes. */
export const SCAN_PAGE_BYTES: number = 1 << 20
