// The whole store as bytes, and back: lines of JSON, a head and then one object each, in order of
// table and id. So equal stores have equal bytes, and no string grows with the cluster.

import type { AnyObject, TableName } from './contract.ts'
import { newTables, TABLE_NAMES, type TableSet } from './table.ts'

const FORMAT = 1
const NEWLINE = 0x0a

export interface SnapshotHead {
  /** Raft index of the last applied transaction. */
  readonly index: number
  /** Id of its entry. */
  readonly entryId: string
}

export function encodeSnapshot(
  { index, entryId }: SnapshotHead,
  tables: TableSet,
): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder()
  const lines = [encoder.encode(`${JSON.stringify({ format: FORMAT, index, entryId })}\n`)]
  for (const table of TABLE_NAMES) {
    const objects = [...tables[table].values()].sort((a, b) => (a.id < b.id ? -1 : 1))
    for (const object of objects) lines.push(encoder.encode(`${JSON.stringify([table, object])}\n`))
  }
  const bytes = new Uint8Array(lines.reduce((size, line) => size + line.length, 0))
  let at = 0
  for (const line of lines) {
    bytes.set(line, at)
    at += line.length
  }
  return bytes
}

/** Throws for bytes that encodeSnapshot did not make. */
export function decodeSnapshot(bytes: Uint8Array): SnapshotHead & { readonly tables: TableSet } {
  const decoder = new TextDecoder()
  const tables = newTables()
  let head: (SnapshotHead & { readonly format: number }) | null = null
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, at)
    if (end < 0) throw new Error('store snapshot ends in the middle of a line')
    const line = JSON.parse(decoder.decode(bytes.subarray(at, end)))
    at = end + 1
    if (head === null) {
      head = line as SnapshotHead & { readonly format: number }
      if (head.format !== FORMAT) throw new Error(`store snapshot of unknown format ${head.format}`)
      continue
    }
    const [table, object] = line as [TableName, AnyObject]
    if (!TABLE_NAMES.includes(table)) throw new Error(`store snapshot with unknown table ${table}`)
    tables[table].set(object)
  }
  if (head === null) throw new Error('store snapshot is empty')
  return { index: head.index, entryId: head.entryId, tables }
}
