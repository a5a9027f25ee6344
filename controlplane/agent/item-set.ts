// The node's copy of its assignment: a set of items by kind and id, kept by messages that replace
// it or change it (dispatcher.proto). A message in parts is applied when its last part is there, so
// nobody sees half of it. A message that does not follow the one before, or leads to a set with
// another hash than the manager's, is told by OutOfStep: the caller asks for a complete set.
//
// An item that cannot be read is counted and left out; it holds up none of the others.

import type { AssignmentsMessage__Output, Change__Output } from '../proto/dispatcher.ts'
import { ITEM_KINDS, type ItemKind, type Items } from '../store/assignment.ts'
import { TASK_STATES, type TaskState } from '../store/objects.ts'
import { emptySetHash, itemHash, toggle } from '../store/set-hash.ts'
import { ITEMS_MAX } from './limits.ts'

export class OutOfStep extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'OutOfStep'
  }
}

/** What a message has changed. */
export interface ItemsChange {
  readonly kinds: ReadonlySet<ItemKind>
  /** With a complete set: how far the cluster saw the node's tasks. */
  readonly observed: ReadonlyMap<string, TaskState> | null
}

type Maps = { readonly [K in ItemKind]: Map<string, Items[K]> }

export class ItemSet {
  #maps: Maps = emptyMaps()
  /** Hash of each item, by kind and id; also of those that were left out. */
  #hashes = new Map<string, Uint8Array>()
  #hash = emptySetHash()
  #version = 0
  #parts: AssignmentsMessage__Output[] = []
  #unreadable = 0

  /** `results_in` of the last message that was applied. */
  get version(): number {
    return this.#version
  }

  /** Items left out since the start. */
  get unreadable(): number {
    return this.#unreadable
  }

  get size(): number {
    return this.#hashes.size
  }

  all<K extends ItemKind>(kind: K): ReadonlyMap<string, Items[K]> {
    return this.#maps[kind]
  }

  /** Items that were known before there was a stream: they stand until a complete message comes. */
  restore<K extends ItemKind>(kind: K, items: ReadonlyMap<string, Items[K]>): void {
    for (const [id, item] of items) this.#maps[kind].set(id, item)
  }

  /** A new stream begins: parts of the old one are void. */
  restart(): void {
    this.#parts = []
  }

  /** Null while parts are missing. Throws OutOfStep; the set may be anything then, until a complete
   * message has come. */
  apply(message: AssignmentsMessage__Output): ItemsChange | null {
    const first = this.#parts[0] ?? message
    if (message.type !== first.type || message.resultsIn !== first.resultsIn) {
      throw new OutOfStep('the parts are of different messages')
    }
    this.#parts.push(message)
    if (message.more) return null
    const parts = this.#parts
    this.#parts = []
    const complete = message.type === 'COMPLETE'
    if (!complete && first.appliesTo !== this.#version) {
      throw new OutOfStep(`a change of ${first.appliesTo} does not apply to ${this.#version}`)
    }
    const kinds = complete ? this.#clear() : new Set<ItemKind>()
    for (const { changes } of parts) for (const change of changes) this.#change(change, kinds)
    if (!this.#hashEquals(message.hash)) throw new OutOfStep('the set is not what it should be')
    this.#version = message.resultsIn
    return { kinds, observed: complete ? observedStates(parts) : null }
  }

  #clear(): Set<ItemKind> {
    this.#maps = emptyMaps()
    this.#hashes = new Map()
    this.#hash = emptySetHash()
    return new Set(ITEM_KINDS)
  }

  #change({ kind, id, value, removed }: Change__Output, kinds: Set<ItemKind>): void {
    const key = `${kind}/${id}`
    const before = this.#hashes.get(key)
    if (before !== undefined) toggle(this.#hash, before)
    const map = (this.#maps as Readonly<Record<string, Map<string, unknown> | undefined>>)[kind]
    if (map !== undefined) kinds.add(kind as ItemKind)
    map?.delete(id)
    this.#hashes.delete(key)
    if (removed) return
    if (this.#hashes.size >= ITEMS_MAX) throw new OutOfStep('there are too many items')
    const hash = itemHash(kind, id, value)
    this.#hashes.set(key, hash)
    toggle(this.#hash, hash)
    // A kind that a later version brings is none of ours.
    if (map === undefined) return
    try {
      map.set(id, JSON.parse(value.toString('utf8')))
    } catch {
      this.#unreadable++
    }
  }

  #hashEquals(hash: Uint8Array): boolean {
    return Buffer.from(this.#hash).equals(hash)
  }
}

function emptyMaps(): Maps {
  return Object.assign(
    Object.create(null),
    Object.fromEntries(ITEM_KINDS.map((kind) => [kind, new Map()])),
  ) as Maps
}

function observedStates(parts: readonly AssignmentsMessage__Output[]): Map<string, TaskState> {
  const states = new Map<string, TaskState>()
  for (const { observed } of parts) {
    for (const { taskId, state } of observed) {
      if ((TASK_STATES as readonly string[]).includes(state)) states.set(taskId, state as TaskState)
    }
  }
  return states
}
