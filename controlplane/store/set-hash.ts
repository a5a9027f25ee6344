// A hash of a set of items that follows single changes: the exclusive or of the items' own hashes,
// so that adding and removing are the same operation and order does not matter. Both ends of an
// assignment stream keep one; when they differ, a change was lost or misapplied, and the set is
// sent anew. It finds accidents. It is no defence against who can choose the items: those come from
// managers, over authenticated connections.

import { createHash } from 'node:crypto'

export const SET_HASH_SIZE = 16

/** Hash of one item. */
export function itemHash(kind: string, id: string, value: Uint8Array): Uint8Array {
  return createHash('sha256')
    .update(`${kind}\0${id}\0`)
    .update(value)
    .digest()
    .subarray(0, SET_HASH_SIZE)
}

export function emptySetHash(): Uint8Array {
  return new Uint8Array(SET_HASH_SIZE)
}

/** Adds an item to the set's hash, or takes it away again. */
export function toggle(set: Uint8Array, item: Uint8Array): void {
  for (let i = 0; i < SET_HASH_SIZE; i++) set[i]! ^= item[i]!
}
