// A Raft entry of the store: JSON of the transactions that share it, as the actions they come down
// to. Binary values are base64 text inside the objects.
//
//   {"format":1,"id":"…","after":"…","atMs":…,
//    "actions":[["create","tasks",{…}],["remove","nodes","…"]]}
//
// `id` is random, `after` is the id of the entry whose state the transactions were computed on.
// An entry that is applied on top of another one is void on every member: that can only be when a
// new leader proposed before it had applied all that its predecessor left behind, and what it read
// was out of date then. `atMs` is the leader's wall clock: the one time that all members write.

import type { AnyObject, TableName } from './contract.ts'
import { TABLE_NAMES } from './table.ts'

const FORMAT = 1

/** An object as it travels: without its meta, which every member sets alike. */
export type BareObject = Omit<AnyObject, 'meta'>

export type Action =
  | readonly ['create' | 'update', TableName, BareObject]
  | readonly ['remove', TableName, string]

export interface Entry {
  readonly id: string
  /** '' = on an empty store. */
  readonly after: string
  readonly atMs: number
  readonly actions: readonly Action[]
}

/** `actions`: JSON of each. */
export function encodeEntry(
  entry: Omit<Entry, 'actions'>,
  actions: readonly string[],
): Uint8Array<ArrayBuffer> {
  const { id, after, atMs } = entry
  const head = JSON.stringify({ format: FORMAT, id, after, atMs })
  return new TextEncoder().encode(`${head.slice(0, -1)},"actions":[${actions.join(',')}]}`)
}

/** Throws for bytes that this version cannot apply: going on would part this member's state from
 * that of the others. */
export function decodeEntry(bytes: Uint8Array): Entry {
  const entry = JSON.parse(new TextDecoder().decode(bytes)) as Entry & { readonly format: number }
  if (entry.format !== FORMAT) throw new Error(`store entry of unknown format ${entry.format}`)
  for (const [verb, table] of entry.actions) {
    const isKnown = verb === 'create' || verb === 'update' || verb === 'remove'
    if (!isKnown) throw new Error(`store entry with unknown action ${String(verb)}`)
    if (!TABLE_NAMES.includes(table)) throw new Error(`store entry for unknown table ${table}`)
  }
  return entry
}
