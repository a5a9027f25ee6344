// A write transaction: reads through its own layer, checks each write, and comes down to a list of
// actions. It lives only while the caller's function runs.
//
// What it wrote carries a provisional version, below zero and used once: Raft gives the real one.
// Who needs the version of what was just written reads again after `update` has resolved.

import {
  type AnyObject,
  type ReadTransaction,
  StoreError,
  type TableName,
  type Tables,
  type Unversioned,
  type WriteTransaction,
} from './contract.ts'
import type { Action } from './entry.ts'
import { UNIQUE_NAMES } from './indices.ts'
import { Layer, LayeredReader } from './layers.ts'
import { TABLE_NAMES, type TableSet } from './table.ts'

export class Reader implements ReadTransaction {
  readonly #reader: LayeredReader

  constructor(reader: LayeredReader) {
    this.#reader = reader
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    return this.#reader.get(table, id) as Tables[T] | undefined
  }

  find<T extends TableName>(table: T, index: string, key: string): readonly Tables[T][] {
    return this.#reader.find(table, index, key) as unknown as readonly Tables[T][]
  }

  all<T extends TableName>(table: T): readonly Tables[T][] {
    return this.#reader.all(table) as unknown as readonly Tables[T][]
  }

  cluster(): Tables['clusters'] | undefined {
    return this.all('clusters')[0]
  }
}

export class Transaction extends Reader implements WriteTransaction {
  readonly layer: Layer
  readonly #base: LayeredReader
  readonly #atMs: number
  readonly #provisional: () => number
  #isOver = false

  /** `below`: what transactions changed that will be applied before this one. `provisional` gives
   * versions below zero, none of them twice. */
  constructor(tables: TableSet, below: readonly Layer[], atMs: number, provisional: () => number) {
    const layer = new Layer()
    super(new LayeredReader(tables, [...below, layer]))
    this.layer = layer
    this.#base = new LayeredReader(tables, below)
    this.#atMs = atMs
    this.#provisional = provisional
  }

  create<T extends TableName>(table: T, object: Unversioned<Tables[T]>): void {
    this.#open()
    const bare = object as unknown as AnyObject
    if (this.get(table, bare.id) !== undefined) {
      throw new StoreError('exists', `${noun(table)} ${bare.id} already exists`)
    }
    this.#write(table, bare, this.#atMs)
  }

  update<T extends TableName>(table: T, object: Tables[T]): void {
    this.#open()
    const current = this.#existing(table, object.id)
    if (current.meta.version !== object.meta.version) {
      throw new StoreError('out-of-sequence', 'update out of sequence')
    }
    this.#write(table, object, current.meta.createdMs)
  }

  remove<T extends TableName>(table: T, id: string): void {
    this.#open()
    this.#existing(table, id)
    this.layer.remove(table, id)
  }

  /** What the transaction comes down to; it takes no more writes. Removals come first, so that a
   * name which moved from one object to another is free. */
  finish(): Action[] {
    this.#isOver = true
    const actions: Action[] = []
    for (const [table, ids] of this.layer.removed) {
      for (const id of ids) {
        if (this.#base.get(table, id) !== undefined) actions.push(['remove', table, id])
      }
    }
    for (const table of TABLE_NAMES) {
      for (const object of this.layer.written(table)?.values() ?? []) {
        const { meta: _, ...bare } = object
        const isNew = this.#base.get(table, object.id) === undefined
        actions.push([isNew ? 'create' : 'update', table, bare as AnyObject])
      }
    }
    return actions
  }

  #existing(table: TableName, id: string): AnyObject {
    const current = this.get(table, id)
    if (current === undefined) throw new StoreError('not-found', `${noun(table)} ${id} not found`)
    return current
  }

  #write(table: TableName, object: AnyObject, createdMs: number): void {
    const meta = { version: this.#provisional(), createdMs, updatedMs: this.#atMs }
    this.#checkName(table, object)
    this.layer.set(table, { ...object, meta } as AnyObject)
  }

  #checkName(table: TableName, object: AnyObject): void {
    if (!UNIQUE_NAMES.has(table)) return
    // It has given its name back.
    if ('pendingDelete' in object && object.pendingDelete) return
    const { Name } = object.spec as { readonly Name: string }
    const others = this.find(table, 'name', Name.toLowerCase())
    if (others.every(({ id }) => id === object.id)) return
    throw new StoreError('name-conflict', `name conflicts with an existing object: ${Name}`)
  }

  #open(): void {
    if (this.#isOver) throw new Error('a transaction is over when the function that got it returns')
  }
}

/** "tasks" -> "task". */
function noun(table: TableName): string {
  return table.slice(0, -1)
}
