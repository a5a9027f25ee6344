// Items by topic. Nodes are interested in the same things for the same reason: everybody on a
// network wants all of it. So items belong to topics (one per network, one per node, one for the
// peers), and a node's assignment is the union of the topics it follows. A topic encodes an item
// once and knows the hash of its items, so that neither has to be computed again for each follower.

import { changeBytes } from '../proto/assignment-bytes.ts'
import type { ItemKind, Items } from '../store/assignment.ts'
import { emptySetHash, itemHash, toggle } from '../store/set-hash.ts'

interface Encoded {
  readonly hash: Uint8Array
  readonly json: Buffer
  /** As an entry of `changes`. */
  readonly change: Buffer
}

/** What nodes follow. */
export const PEERS_TOPIC = 'peers'
export function nodeTopic(nodeId: string): string {
  return `node/${nodeId}`
}
export function networkTopic(networkId: string): string {
  return `network/${networkId}`
}

export class Topic {
  readonly name: string
  readonly #items = new Map<string, Encoded>()
  readonly #hash = emptySetHash()
  /** Since the last take(), by item. */
  readonly #pending = new Map<string, Buffer>()

  constructor(name: string) {
    this.name = name
  }

  get hash(): Uint8Array {
    return this.#hash
  }

  get size(): number {
    return this.#items.size
  }

  /** False when nothing has changed. */
  set<K extends ItemKind>(kind: K, id: string, value: Items[K]): boolean {
    const key = `${kind}/${id}`
    const before = this.#items.get(key)
    const json = Buffer.from(JSON.stringify(value))
    if (before?.json.equals(json)) return false
    if (before !== undefined) toggle(this.#hash, before.hash)
    const hash = itemHash(kind, id, json)
    toggle(this.#hash, hash)
    const change = changeBytes(kind, id, json)
    this.#items.set(key, { hash, json, change })
    this.#pending.set(key, change)
    return true
  }

  delete(kind: ItemKind, id: string): boolean {
    const key = `${kind}/${id}`
    const before = this.#items.get(key)
    if (before === undefined) return false
    toggle(this.#hash, before.hash)
    this.#items.delete(key)
    this.#pending.set(key, changeBytes(kind, id, null))
    return true
  }

  /** The changes since the last time. */
  take(): Buffer[] {
    const changes = [...this.#pending.values()]
    this.#pending.clear()
    return changes
  }

  /** Every item, for who begins to follow. */
  all(): Buffer[] {
    return [...this.#items.values()].map(({ change }) => change)
  }

  /** The removal of every item, for who ends to follow. */
  none(): Buffer[] {
    return [...this.#items.keys()].map((key) => {
      const slash = key.indexOf('/')
      return changeBytes(key.slice(0, slash), key.slice(slash + 1), null)
    })
  }
}

export class Topics {
  readonly #topics = new Map<string, Topic>()
  readonly #dirty = new Set<Topic>()
  readonly #onChange: (urgent: boolean) => void

  /** `onChange` is called for every change; `urgent` = it takes something out of service. */
  constructor(onChange: (urgent: boolean) => void) {
    this.#onChange = onChange
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  set<K extends ItemKind>(
    name: string,
    kind: K,
    id: string,
    value: Items[K],
    urgent: boolean = false,
  ): void {
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = new Topic(name)
      this.#topics.set(name, topic)
    }
    if (topic.set(kind, id, value)) this.#changed(topic, urgent)
  }

  delete(name: string, kind: ItemKind, id: string, urgent: boolean = false): void {
    const topic = this.#topics.get(name)
    if (topic?.delete(kind, id)) this.#changed(topic, urgent)
  }

  /** Topics that have changed since the last time. Empty ones are forgotten after this. */
  takeDirty(): Topic[] {
    const dirty = [...this.#dirty]
    this.#dirty.clear()
    for (const topic of dirty) if (topic.size === 0) this.#topics.delete(topic.name)
    return dirty
  }

  #changed(topic: Topic, urgent: boolean): void {
    this.#dirty.add(topic)
    this.#onChange(urgent)
  }
}
