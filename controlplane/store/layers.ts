// Reading through layers: what is applied, under it in order of age what transactions changed that
// are not applied yet. A layer hides an object below it by its id, be it changed or removed. So a
// transaction is undone by forgetting its layer, and a search costs what it finds.

import type { AnyObject, TableName } from './contract.ts'
import { Table, type TableSet } from './table.ts'

export class Layer {
  /** Only of tables that it wrote to: most transactions touch one. */
  readonly #written = new Map<TableName, Table>()
  /** Ids per table that the layer removed; none of them is among the written. */
  readonly removed: Map<TableName, Set<string>> = new Map()

  written(table: TableName): Table | undefined {
    return this.#written.get(table)
  }

  set(table: TableName, object: AnyObject): void {
    this.removed.get(table)?.delete(object.id)
    let written = this.#written.get(table)
    if (written === undefined) {
      written = new Table(table)
      this.#written.set(table, written)
    }
    written.set(object)
  }

  remove(table: TableName, id: string): void {
    this.#written.get(table)?.delete(id)
    const ids = this.removed.get(table)
    if (ids === undefined) this.removed.set(table, new Set([id]))
    else ids.add(id)
  }

  hides(table: TableName, id: string): boolean {
    return (
      this.#written.get(table)?.get(id) !== undefined || this.removed.get(table)?.has(id) === true
    )
  }

  /** Takes over all that `newer` changed. */
  absorb(newer: Layer): void {
    for (const [table, ids] of newer.removed) for (const id of ids) this.remove(table, id)
    for (const [name, table] of newer.#written) {
      for (const object of table.values()) this.set(name, object)
    }
  }
}

/** `base` and the layers over it, the newest last. */
export class LayeredReader {
  readonly #base: TableSet
  readonly #layers: readonly Layer[]

  constructor(base: TableSet, layers: readonly Layer[] = []) {
    this.#base = base
    this.#layers = layers
  }

  get(table: TableName, id: string): AnyObject | undefined {
    for (let at = this.#layers.length - 1; at >= 0; at -= 1) {
      const layer = this.#layers[at]!
      if (layer.hides(table, id)) return layer.written(table)?.get(id)
    }
    return this.#base[table].get(id)
  }

  find(table: TableName, index: string, key: string): AnyObject[] {
    const found = [...this.#base[table].find(index, key)]
    return this.#layers.reduce(
      (below, layer) => this.#over(below, layer, table, layer.written(table)?.find(index, key)),
      found,
    )
  }

  all(table: TableName): AnyObject[] {
    return this.#layers.reduce(
      (below, layer) => this.#over(below, layer, table, layer.written(table)?.values()),
      [...this.#base[table].values()],
    )
  }

  #over(
    below: AnyObject[],
    layer: Layer,
    table: TableName,
    own: Iterable<AnyObject> | undefined,
  ): AnyObject[] {
    if (own === undefined && !layer.removed.has(table)) return below
    return [...below.filter(({ id }) => !layer.hides(table, id)), ...(own ?? [])]
  }
}
