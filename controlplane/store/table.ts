// One table: objects by id, and per index the objects of each key. Nothing here knows of
// transactions; the store has one set of tables for what is applied, a transaction one for what it
// changed (layers.ts).

import type { AnyObject, TableName } from './contract.ts'
import { INDICES } from './indices.ts'

type KeysOf = (object: AnyObject) => readonly string[]

const NONE: ReadonlySet<AnyObject> = new Set()

export class Table {
  readonly name: TableName
  readonly #objects = new Map<string, AnyObject>()
  readonly #indices: readonly {
    readonly name: string
    readonly keysOf: KeysOf
    readonly byKey: Map<string, Set<AnyObject>>
  }[]

  constructor(name: TableName) {
    this.name = name
    this.#indices = Object.entries(INDICES[name] as Record<string, KeysOf>).map(
      ([index, keysOf]) => ({ name: index, keysOf, byKey: new Map() }),
    )
  }

  get size(): number {
    return this.#objects.size
  }

  get(id: string): AnyObject | undefined {
    return this.#objects.get(id)
  }

  /** Puts `object` in the place of the one with its id, which it returns. */
  set(object: AnyObject): AnyObject | undefined {
    const old = this.delete(object.id)
    this.#objects.set(object.id, object)
    for (const { keysOf, byKey } of this.#indices) {
      for (const key of keysOf(object)) {
        const found = byKey.get(key)
        if (found === undefined) byKey.set(key, new Set([object]))
        else found.add(object)
      }
    }
    return old
  }

  /** Takes the object with this id out and returns it. */
  delete(id: string): AnyObject | undefined {
    const object = this.#objects.get(id)
    if (object === undefined) return undefined
    this.#objects.delete(id)
    for (const { keysOf, byKey } of this.#indices) {
      for (const key of keysOf(object)) {
        const found = byKey.get(key)
        found?.delete(object)
        if (found?.size === 0) byKey.delete(key)
      }
    }
    return object
  }

  /** Objects with `key` under `index`. Throws for an index that the table does not have. */
  find(index: string, key: string): ReadonlySet<AnyObject> {
    const found = this.#indices.find(({ name }) => name === index)
    if (found === undefined) throw new RangeError(`table ${this.name} has no index ${index}`)
    return found.byKey.get(key) ?? NONE
  }

  values(): IterableIterator<AnyObject> {
    return this.#objects.values()
  }
}

export type TableSet = { readonly [T in TableName]: Table }

export const TABLE_NAMES: readonly TableName[] = Object.keys(INDICES) as TableName[]

export function newTables(): TableSet {
  return Object.fromEntries(TABLE_NAMES.map((name) => [name, new Table(name)])) as TableSet
}
