// A record: what one durable write adds to the log, as bytes. Records are replayed in order, and
// each entry replaces what stands at its index and drops what stands behind.
//
//   record   f64 term, f64 vote, f64 commit, u32 count, then the entries
//   entry    f64 term, f64 index, u8 type, u32 length, data                     (big-endian)
//
// Every record carries the whole hard state, so the last one tells it and older ones may go. The
// seal around a record finds damage; the checks here only keep a mistake of ours from spreading.

import type { Entry, EntryType, HardState } from '../messages.ts'

export interface LogRecord {
  readonly hardState: HardState
  readonly entries: readonly Entry[]
}

// The position of a name is its code, on disks.
const TYPES: readonly EntryType[] = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2']
const HEAD_BYTES = 28
const ENTRY_BYTES = 21

export function encodeRecord({ hardState, entries }: LogRecord): Uint8Array<ArrayBuffer> {
  let size = HEAD_BYTES
  for (const { data } of entries) size += ENTRY_BYTES + data.length
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  view.setFloat64(0, hardState.term)
  view.setFloat64(8, hardState.vote)
  view.setFloat64(16, hardState.commit)
  view.setUint32(24, entries.length)
  let at = HEAD_BYTES
  for (const { term, index, type, data } of entries) {
    view.setFloat64(at, term)
    view.setFloat64(at + 8, index)
    view.setUint8(at + 16, TYPES.indexOf(type))
    view.setUint32(at + 17, data.length)
    bytes.set(data, at + ENTRY_BYTES)
    at += ENTRY_BYTES + data.length
  }
  return bytes
}

/** Null for bytes that encodeRecord() does not make. Copies the data: the input may be dropped. */
export function decodeRecord(bytes: Uint8Array): LogRecord | null {
  if (bytes.length < HEAD_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const hardState = {
    term: view.getFloat64(0),
    vote: view.getFloat64(8),
    commit: view.getFloat64(16),
  }
  if (!Object.values(hardState).every(isCount)) return null
  const count = view.getUint32(24)
  const entries: Entry[] = []
  let at = HEAD_BYTES
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > bytes.length) return null
    const term = view.getFloat64(at)
    const index = view.getFloat64(at + 8)
    const type = TYPES[view.getUint8(at + 16)]
    const end = at + ENTRY_BYTES + view.getUint32(at + 17)
    if (type === undefined || end > bytes.length || !isCount(term) || !isCount(index)) return null
    entries.push({ term, index, type, data: bytes.slice(at + ENTRY_BYTES, end) })
    at = end
  }
  return at === bytes.length ? { hardState, entries } : null
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
