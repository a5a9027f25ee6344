// The store as everybody else sees it: tables of objects, transactions, and a watch.
//
//   - `view` reads a consistent state. `update` runs `write` on a consistent state plus its own
//     changes and makes them all visible at once, everywhere and durably, or none of them.
//   - One transaction is one Raft entry (a follower refuses with `not-leader`). `update` resolves
//     when it is applied here. When leadership goes while it is under way it rejects with
//     `lost-leadership`, and nobody knows whether it happened: read again.
//   - `watch` tells of every transaction after it was applied, in order, without a gap, on leaders
//     and followers alike. A snapshot from the leader is told as `reset`: read everything again.
//   - Control loops meet here and never call each other.

import type {
  ClusterObject,
  ConfigObject,
  NetworkObject,
  NodeObject,
  SecretObject,
  ServiceObject,
  TaskObject,
} from './objects.ts'

export interface Tables {
  readonly clusters: ClusterObject
  readonly nodes: NodeObject
  readonly services: ServiceObject
  readonly tasks: TaskObject
  readonly networks: NetworkObject
  readonly secrets: SecretObject
  readonly configs: ConfigObject
}
export type TableName = keyof Tables
export type AnyObject = Tables[TableName]

/** What objects can be found by, besides their id. A key is text; an object may have several. */
export interface Indices {
  readonly clusters: never
  /** `name`: hostname and spec.Name, lower case. `raft`: decimal Raft id. */
  readonly nodes: 'name' | 'role' | 'raft'
  /** `network`, `secret`, `config`: ids that its spec refers to. */
  readonly services: 'name' | 'network' | 'secret' | 'config'
  /** `slot`: `${serviceId}.${slot}`, or `${serviceId}.${nodeId}` of global services. */
  readonly tasks: 'service' | 'node' | 'slot' | 'network' | 'secret' | 'config' | 'desired'
  readonly networks: 'name'
  readonly secrets: 'name'
  readonly configs: 'name'
}

export interface ReadTransaction {
  get<T extends TableName>(table: T, id: string): Tables[T] | undefined
  /** Every object with `key` under the index; in no order. */
  find<T extends TableName>(table: T, index: Indices[T], key: string): readonly Tables[T][]
  /** Every object; in no order. */
  all<T extends TableName>(table: T): readonly Tables[T][]
  /** The one cluster object; undefined before the cluster is made. */
  cluster(): ClusterObject | undefined
}

/** Meta is the store's: what the object carries of it counts only as the version that was read. */
export interface WriteTransaction extends ReadTransaction {
  /** Throws `exists` for an id, `name-conflict` for a name that is taken (case-insensitive). */
  create<T extends TableName>(table: T, object: Unversioned<Tables[T]>): void
  /** Throws `not-found`, `name-conflict`, and `out-of-sequence` when meta.version is not the stored
   * one. */
  update<T extends TableName>(table: T, object: Tables[T]): void
  /** Throws `not-found`. */
  remove<T extends TableName>(table: T, id: string): void
}

/** An object about to be created: the store gives it its meta. */
export type Unversioned<O> = Omit<O, 'meta'>

export type Change<T extends TableName = TableName> = T extends TableName
  ?
      | { readonly kind: 'create'; readonly table: T; readonly object: Tables[T] }
      | {
          readonly kind: 'update'
          readonly table: T
          readonly object: Tables[T]
          readonly old: Tables[T]
        }
      | { readonly kind: 'remove'; readonly table: T; readonly object: Tables[T] }
  : never

export type StoreEvent =
  | { readonly kind: 'changes'; readonly index: number; readonly changes: readonly Change[] }
  | { readonly kind: 'reset'; readonly index: number }

export interface Store {
  view<R>(read: (tx: ReadTransaction) => R): R
  /** Rejects with what `write` throws (nothing is changed then) or with a StoreError. `write` runs
   * once, at once or later, and must not await. */
  update<R>(write: (tx: WriteTransaction) => R): Promise<R>
  /** Splits a loop of many independent changes over as few transactions as their limits allow; each
   * `step` is atomic. A step that throws is left out and reported by `onError`. */
  batch(
    steps: readonly ((tx: WriteTransaction) => void)[],
    onError?: (step: number, error: Error) => void,
  ): Promise<void>
  /** Calls `listener` after every applied transaction. Returns a function that ends it. */
  watch(listener: (event: StoreEvent) => void): () => void
  /** Raft index of the last applied transaction. */
  readonly index: number
}

export type StoreErrorCode =
  | 'exists'
  | 'not-found'
  | 'name-conflict'
  | 'out-of-sequence'
  | 'too-large'
  | 'not-leader'
  | 'lost-leadership'
  | 'overloaded'
  | 'shut-down'

export class StoreError extends Error {
  readonly code: StoreErrorCode

  constructor(code: StoreErrorCode, message: string) {
    super(message)
    this.name = 'StoreError'
    this.code = code
  }
}

/** How the store's bytes become durable and ordered: Raft, or a double in tests. */
export interface Proposer {
  /** Resolves once `bytes` was handed to `apply` here. Rejects with a StoreError of the last five
   * codes. */
  propose(bytes: Uint8Array): Promise<void>
}
