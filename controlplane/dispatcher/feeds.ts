// The streams of assignments: each node's share of the topics it follows, first whole, then in
// deltas.
//
// Everybody is flushed at the same moments, which have numbers: `results_in` of a message is the
// number of the flush, `applies_to` that of the flush before it that concerned this node. So "node
// A has applied flush 17" can be asked of any node (drains.ts).
//
// A change after a quiet time goes out after FLUSH_SOON_MS, and so does every one that takes
// something out of service; in a storm there is a flush each FLUSH_MS, or at FLUSH_CHANGES changes.
//
// A stream that does not take what is written is not written to any more; when it does again it
// gets a complete set. So a slow node costs no memory.

import type { Clock } from '../../base/clock.ts'
import type { Timers } from '../../base/timers.ts'
import { assignmentsBytes, observedBytes } from '../proto/assignment-bytes.ts'
import { emptySetHash, toggle } from '../store/set-hash.ts'
import { FLUSH_CHANGES, FLUSH_MS, FLUSH_SOON_MS, MESSAGE_BYTES } from './limits.ts'
import { Topics } from './topics.ts'

/** Changes of one topic are joined to buffers of this size. */
const CHUNK_BYTES: number = 64 * 1024

/** The outgoing half of a call. */
export interface FeedStream {
  /** False: full; `onDrain` of open() is called when there is room again. */
  write(message: Buffer): boolean
}

interface Feed {
  readonly nodeId: string
  readonly stream: FeedStream
  /** Topics whose items the node has. */
  following: ReadonlySet<string>
  /** Flush of the last message, 0 = none yet. */
  sent: number
  /** The next message is a complete one. */
  isFresh: boolean
  isFull: boolean
}

export interface FeedsParts {
  readonly clock: Clock
  readonly timers: Timers
  /** Topics that a node follows now. */
  readonly followed: (nodeId: string) => readonly string[]
  /** The node's tasks and their states, as the cluster saw them. */
  readonly observed: (nodeId: string) => readonly (readonly [string, string])[]
  /** After each flush. */
  readonly onFlushed: () => void
}

export class Feeds {
  readonly topics: Topics
  readonly #parts: FeedsParts
  readonly #feeds = new Map<string, Feed>()
  /** Nodes that need a message whatever topics have changed. */
  readonly #due = new Set<string>()
  #flush = 0
  #changes = 0
  #lastMs = Number.NEGATIVE_INFINITY
  #dueMs = Number.POSITIVE_INFINITY
  #cancel: () => void = () => {}

  constructor(parts: FeedsParts) {
    this.#parts = parts
    this.topics = new Topics((urgent) => {
      this.#changes++
      this.#schedule(urgent || this.#changes >= FLUSH_CHANGES)
    })
  }

  /** Number of the last flush; a change made now is in the next one. */
  get flushed(): number {
    return this.#flush
  }

  get size(): number {
    return this.#feeds.size
  }

  /** Opens the node's stream, in place of an earlier one. */
  open(nodeId: string, stream: FeedStream): { close(): void; onDrain(): void } {
    const feed: Feed = {
      nodeId,
      stream,
      following: new Set(),
      sent: 0,
      isFresh: true,
      isFull: false,
    }
    this.#feeds.set(nodeId, feed)
    this.#due.add(nodeId)
    this.#schedule(true)
    return {
      close: () => {
        if (this.#feeds.get(nodeId) === feed) this.#feeds.delete(nodeId)
      },
      onDrain: () => {
        if (!feed.isFull) return
        feed.isFull = false
        this.#due.add(nodeId)
        this.#schedule(true)
      },
    }
  }

  /** The topics that a node follows have changed; '' = those of all nodes. */
  refollow(nodeId: string): void {
    if (nodeId === '') for (const id of this.#feeds.keys()) this.#due.add(id)
    else this.#due.add(nodeId)
    this.#schedule(false)
  }

  /** Sends a complete set again: what the node has is not what it should have. */
  resync(nodeId: string): void {
    const feed = this.#feeds.get(nodeId)
    if (feed === undefined) return
    feed.isFresh = true
    this.#due.add(nodeId)
    this.#schedule(true)
  }

  stop(): void {
    this.#cancel()
    this.#dueMs = Number.POSITIVE_INFINITY
    this.#feeds.clear()
  }

  #schedule(soon: boolean): void {
    const nowMs = this.#parts.clock.nowMs()
    const dueMs = soon
      ? nowMs + FLUSH_SOON_MS
      : Math.max(nowMs + FLUSH_SOON_MS, this.#lastMs + FLUSH_MS)
    if (dueMs >= this.#dueMs) return
    this.#cancel()
    this.#dueMs = dueMs
    this.#cancel = this.#parts.timers.after(dueMs - nowMs, () => this.#send())
  }

  #send(): void {
    this.#dueMs = Number.POSITIVE_INFINITY
    this.#lastMs = this.#parts.clock.nowMs()
    this.#changes = 0
    this.#flush++
    const changed = new Map<string, readonly Buffer[]>()
    for (const topic of this.topics.takeDirty()) changed.set(topic.name, joined(topic.take()))
    const due = new Set(this.#due)
    this.#due.clear()
    for (const feed of this.#feeds.values()) {
      if (feed.isFull) feed.isFresh ||= due.has(feed.nodeId) || meets(feed.following, changed)
      else if (feed.isFresh) this.#sendComplete(feed)
      else this.#sendChanges(feed, changed, due.has(feed.nodeId))
    }
    this.#parts.onFlushed()
  }

  #sendComplete(feed: Feed): void {
    feed.following = new Set(this.#parts.followed(feed.nodeId))
    feed.isFresh = false
    const entries: Buffer[] = []
    for (const name of feed.following) {
      for (const change of this.topics.get(name)?.all() ?? []) entries.push(change)
    }
    for (const [id, state] of this.#parts.observed(feed.nodeId)) {
      entries.push(observedBytes(id, state))
    }
    this.#write(feed, true, entries)
  }

  #sendChanges(feed: Feed, changed: ReadonlyMap<string, readonly Buffer[]>, isDue: boolean): void {
    const entries: Buffer[] = []
    const before = feed.following
    const now = isDue ? new Set(this.#parts.followed(feed.nodeId)) : before
    if (now !== before) {
      for (const name of before) {
        if (now.has(name)) continue
        entries.push(...(changed.get(name) ?? []))
        entries.push(...(this.topics.get(name)?.none() ?? []))
      }
    }
    for (const name of now) {
      if (before.has(name)) entries.push(...(changed.get(name) ?? []))
      else entries.push(...(this.topics.get(name)?.all() ?? []))
    }
    feed.following = now
    if (entries.length > 0) this.#write(feed, false, entries)
  }

  /** Writes one message, in parts where it is long. */
  #write(feed: Feed, complete: boolean, entries: readonly Buffer[]): void {
    const hash = emptySetHash()
    for (const name of feed.following) {
      const topic = this.topics.get(name)
      if (topic !== undefined) toggle(hash, topic.hash)
    }
    let part: Buffer[] = []
    let bytes = 0
    const head = { complete, appliesTo: complete ? 0 : feed.sent, resultsIn: this.#flush }
    const send = (more: boolean): void => {
      const message = assignmentsBytes(
        { ...head, hash: more ? new Uint8Array(0) : hash, more },
        part,
      )
      if (!feed.stream.write(message)) feed.isFull = true
      part = []
      bytes = 0
    }
    for (const entry of entries) {
      if (bytes > 0 && bytes + entry.length > MESSAGE_BYTES) send(true)
      part.push(entry)
      bytes += entry.length
    }
    send(false)
    feed.sent = this.#flush
  }
}

/** The same entries in fewer, larger buffers. */
function joined(entries: readonly Buffer[]): readonly Buffer[] {
  const chunks: Buffer[] = []
  let chunk: Buffer[] = []
  let bytes = 0
  for (const entry of entries) {
    if (bytes > 0 && bytes + entry.length > CHUNK_BYTES) {
      chunks.push(Buffer.concat(chunk))
      chunk = []
      bytes = 0
    }
    chunk.push(entry)
    bytes += entry.length
  }
  if (bytes > 0) chunks.push(Buffer.concat(chunk))
  return chunks
}

function meets(names: ReadonlySet<string>, changed: ReadonlyMap<string, unknown>): boolean {
  for (const name of changed.keys()) if (names.has(name)) return true
  return false
}
