// The store of one member: everything in memory, made durable and ordered by Raft.
//
//   update -> queue -> run on what is applied -> entry -> Raft -> apply -> watchers, then update
//                                                          ^ every member, alike
//
// - One entry is under way at a time. What gathers meanwhile runs next, one transaction on top of
//   the other, and shares an entry (entry.ts): the slower the disks, the more share. Nothing of it
//   is visible before it is applied, and an entry that fails fails for all of them.
// - `apply` is the only place where tables change, here as on followers, and all it uses is the
//   entry. Objects are frozen by agreement; `freezes` enforces it, for tests.
// - A batch takes its turn step by step: between its entries others get theirs.

import type { Clock } from '../../base/clock.ts'
import {
  type AnyObject,
  type Change,
  type Proposer,
  type ReadTransaction,
  type Store,
  StoreError,
  type StoreEvent,
  type WriteTransaction,
} from './contract.ts'
import { type Action, type BareObject, decodeEntry, encodeEntry } from './entry.ts'
import { newId, type RandomBytes } from './ids.ts'
import { Layer, LayeredReader } from './layers.ts'
import {
  ENTRY_BYTES_FULL,
  ENTRY_STEPS_MAX,
  TRANSACTION_BYTES_MAX,
  UPDATES_WAITING_MAX,
} from './limits.ts'
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts'
import { newTables, type TableSet } from './table.ts'
import { Reader, Transaction } from './transaction.ts'

export interface MemoryStoreOptions {
  /** Deep-freezes every object, so that a reader that changes one throws. */
  readonly freezes?: boolean
}

/** A call of `update` (one step) or `batch`. */
interface Job {
  readonly steps: readonly ((tx: WriteTransaction) => unknown)[]
  next: number
  /** Steps whose entries are under way. */
  failed(step: number, error: Error): void
  /** All steps are applied, or left out. */
  done(): void
  /** The entry of its last steps was not applied: none of the following is tried. */
  lost(error: unknown): void
}

interface Group {
  readonly layer: Layer
  readonly jobs: Set<Job>
  /** JSON of actions, entry by entry. */
  readonly entries: string[][]
  bytes: number
  steps: number
}

export class MemoryStore implements Store {
  readonly #proposer: Proposer
  readonly #clock: Clock
  readonly #random: RandomBytes
  readonly #freezes: boolean
  #tables: TableSet = newTables()
  #index = 0
  #entryId = ''
  /** Of the last entry of ours that `apply` found void. */
  #voidId = ''
  #provisional = 0
  #queue: Job[] = []
  #isPumping = false
  readonly #listeners = new Set<(event: StoreEvent) => void>()

  constructor(options: MemoryStoreOptions, proposer: Proposer, clock: Clock, random: RandomBytes) {
    this.#freezes = options.freezes ?? false
    this.#proposer = proposer
    this.#clock = clock
    this.#random = random
  }

  get index(): number {
    return this.#index
  }

  view<R>(read: (tx: ReadTransaction) => R): R {
    return read(new Reader(new LayeredReader(this.#tables)))
  }

  update<R>(write: (tx: WriteTransaction) => R): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      let result: R
      let error: Error | null = null
      this.#enqueue({
        steps: [
          (tx) => {
            result = write(tx)
            return result
          },
        ],
        next: 0,
        failed: (_, reason) => {
          error = reason
        },
        done: () => (error === null ? resolve(result) : reject(error)),
        lost: (reason) => reject(error ?? reason),
      })
    })
  }

  batch(
    steps: readonly ((tx: WriteTransaction) => void)[],
    onError: (step: number, error: Error) => void = () => {},
  ): Promise<void> {
    if (steps.length === 0) return Promise.resolve()
    return new Promise((done, lost) => {
      this.#enqueue({ steps, next: 0, failed: onError, done, lost })
    })
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    // Wrapped, so that one function may watch twice.
    const own = (event: StoreEvent): void => listener(event)
    this.#listeners.add(own)
    return () => this.#listeners.delete(own)
  }

  /** Applies a committed entry. Raft calls it in order of `index`, on every member. */
  apply(bytes: Uint8Array, index: number): void {
    const entry = decodeEntry(bytes)
    if (entry.after !== this.#entryId) {
      this.#voidId = entry.id
      return
    }
    const changes = entry.actions.flatMap((action) => this.#act(action, index, entry.atMs))
    this.#index = index
    this.#entryId = entry.id
    this.#tell({ kind: 'changes', index, changes })
  }

  snapshot(): Uint8Array<ArrayBuffer> {
    return encodeSnapshot({ index: this.#index, entryId: this.#entryId }, this.#tables)
  }

  /** Replaces everything by what `snapshot` returned, here or on another member. */
  restore(bytes: Uint8Array): void {
    const { index, entryId, tables } = decodeSnapshot(bytes)
    if (this.#freezes) {
      for (const table of Object.values(tables)) for (const o of table.values()) deepFreeze(o)
    }
    this.#tables = tables
    this.#index = index
    this.#entryId = entryId
    this.#tell({ kind: 'reset', index })
  }

  #act(action: Action, index: number, atMs: number): Change[] {
    const [verb, table, what] = action
    if (verb === 'remove') {
      const object = this.#tables[table].delete(what)
      return object === undefined ? [] : [{ kind: 'remove', table, object } as Change]
    }
    const current = this.#tables[table].get((what as BareObject).id)
    const meta = {
      version: index,
      createdMs: current?.meta.createdMs ?? atMs,
      updatedMs: atMs,
    }
    const object = { ...(what as BareObject), meta } as AnyObject
    if (this.#freezes) deepFreeze(object)
    const old = this.#tables[table].set(object)
    if (old === undefined) return [{ kind: 'create', table, object } as Change]
    return [{ kind: 'update', table, object, old } as Change]
  }

  #tell(event: StoreEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event)
      } catch (error) {
        // A fault of the listener, which must neither stop the others nor stay unseen.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  #enqueue(job: Job): void {
    if (this.#queue.length >= UPDATES_WAITING_MAX) {
      job.lost(new StoreError('overloaded', 'too many updates wait for the store'))
      return
    }
    this.#queue.push(job)
    if (this.#isPumping) return
    this.#isPumping = true
    queueMicrotask(() => this.#pump())
  }

  async #pump(): Promise<void> {
    while (this.#queue.length > 0) {
      const group = this.#runGroup()
      const error = await this.#propose(group.entries)
      for (const job of group.jobs) {
        if (error !== null) job.lost(error)
        else if (job.next === job.steps.length) job.done()
        else this.#queue.push(job)
      }
    }
    this.#isPumping = false
  }

  /** Takes jobs from the queue until an entry is full. */
  #runGroup(): Group {
    const group: Group = { layer: new Layer(), jobs: new Set(), entries: [], bytes: 0, steps: 0 }
    const isFull = (): boolean =>
      group.bytes >= ENTRY_BYTES_FULL || group.steps >= ENTRY_STEPS_MAX || group.entries.length > 1
    let taken = 0
    while (taken < this.#queue.length && !isFull()) {
      const job = this.#queue[taken]!
      taken += 1
      group.jobs.add(job)
      while (job.next < job.steps.length && !isFull()) this.#runStep(group, job)
    }
    this.#queue = this.#queue.slice(taken)
    return group
  }

  #runStep(group: Group, job: Job): void {
    const step = job.next
    job.next += 1
    group.steps += 1
    const tx = new Transaction(this.#tables, [group.layer], this.#clock.wallMs(), () => {
      this.#provisional -= 1
      return this.#provisional
    })
    try {
      const result = job.steps[step]!(tx)
      if (result instanceof Promise) throw new Error('a transaction must not await')
      const actions = tx.finish().map((action) => JSON.stringify(action))
      const bytes = actions.reduce((sum, action) => sum + Buffer.byteLength(action) + 1, 0)
      if (bytes > TRANSACTION_BYTES_MAX) {
        throw new StoreError('too-large', 'the transaction is larger than 1.5 MiB')
      }
      if (actions.length === 0) return
      const isOverfull = group.bytes + bytes > TRANSACTION_BYTES_MAX
      if (group.entries.length === 0 || isOverfull) group.entries.push([])
      group.entries.at(-1)!.push(...actions)
      group.bytes = isOverfull ? bytes : group.bytes + bytes
      group.layer.absorb(tx.layer)
    } catch (error) {
      tx.finish()
      job.failed(step, error as Error)
    }
  }

  /** Null once all is applied. */
  async #propose(entries: readonly string[][]): Promise<unknown> {
    let after = this.#entryId
    for (const actions of entries) {
      const id = newId(this.#random)
      const head = { id, after, atMs: Math.trunc(this.#clock.wallMs()) }
      after = id
      try {
        await this.#proposer.propose(encodeEntry(head, actions))
      } catch (error) {
        return error
      }
      if (this.#voidId === id) {
        return new StoreError('lost-leadership', 'leadership changed while the update was computed')
      }
    }
    return null
  }
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return
  Object.freeze(value)
  for (const part of Object.values(value)) deepFreeze(part)
}
