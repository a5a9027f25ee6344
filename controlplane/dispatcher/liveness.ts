// Which nodes are alive: by their heartbeats, and by what other nodes hear of them through the
// tunnels.
//
// A node is down when HEARTBEATS_MISSED periods have passed without a heartbeat; sooner when most
// of the nodes that asked it for a sign of life through the tunnel got none. A silent tunnel alone
// takes nobody down: who has a heartbeat is alive.
//
// A leader that itself stood still for a while (no processor, a suspended machine) has heard
// nobody, and that says nothing about the nodes: the time is not counted.
//
// When a manager becomes the leader it gives every node that was not down one normal timeout to
// come. Nothing is written for that: a leader change leaves no mark on the nodes.

import type { Clock } from '../../base/clock.ts'
import type { Prng } from '../../base/prng.ts'
import {
  HEARTBEAT_JITTER,
  HEARTBEATS_MISSED,
  LIVENESS_TICK_MS,
  REGISTRATION_WINDOW_MS,
  REGISTRATIONS_MAX,
  REPORT_PERIODS,
  SILENT_HEARTBEATS_MISSED,
  STANDSTILL_MS,
} from './limits.ts'

interface LiveNode {
  readonly id: string
  /** '' until it has registered with this leader. */
  sessionId: string
  /** Of the last heartbeat; of the leader's start before there was one. */
  seenMs: number
  /** Flush that its data plane has applied. */
  applied: number
  /** What others hear of it: reporter to (silent, when). */
  readonly reports: Map<string, { readonly silent: boolean; readonly atMs: number }>
}

export interface LivenessParts {
  readonly clock: Clock
  readonly random: Prng
  /** Milliseconds, without jitter. */
  readonly periodMs: () => number
  /** The node has gone down. It is forgotten until it registers again. */
  readonly onDown: (nodeId: string, reason: string) => void
}

export class Liveness {
  readonly #parts: LivenessParts
  readonly #nodes = new Map<string, LiveNode>()
  /** Times of registrations, also of nodes that went down. */
  readonly #registrations = new Map<string, number[]>()
  #tickMs: number | null = null

  constructor(parts: LivenessParts) {
    this.#parts = parts
  }

  /** Nodes that are held to be alive. */
  get size(): number {
    return this.#nodes.size
  }

  /** A node that was alive under the leader before. */
  expect(nodeId: string): void {
    if (!this.#nodes.has(nodeId)) this.#add(nodeId, '')
  }

  /** False when the node registers too often. */
  register(nodeId: string, sessionId: string): boolean {
    const nowMs = this.#nowMs()
    const times = (this.#registrations.get(nodeId) ?? []).filter(
      (atMs) => nowMs - atMs < REGISTRATION_WINDOW_MS,
    )
    this.#registrations.set(nodeId, times)
    if (times.length >= REGISTRATIONS_MAX) return false
    times.push(nowMs)
    this.#add(nodeId, sessionId)
    return true
  }

  sessionOf(nodeId: string): string | undefined {
    return this.#nodes.get(nodeId)?.sessionId
  }

  /** Returns when the next heartbeat is due, in milliseconds; null for a session that is over. */
  beat(nodeId: string, sessionId: string): number | null {
    const node = this.#nodes.get(nodeId)
    if (node === undefined || node.sessionId !== sessionId || sessionId === '') return null
    node.seenMs = this.#nowMs()
    const jitter = 1 + HEARTBEAT_JITTER * (2 * this.#parts.random.float() - 1)
    return Math.max(1, Math.round(this.#parts.periodMs() * jitter))
  }

  /** What `reporter` hears through its tunnels. */
  hear(reporter: string, silent: readonly string[], heard: readonly string[]): void {
    const atMs = this.#nowMs()
    for (const id of silent) this.#nodes.get(id)?.reports.set(reporter, { silent: true, atMs })
    for (const id of heard) this.#nodes.get(id)?.reports.set(reporter, { silent: false, atMs })
  }

  /** Its data plane forwards by this flush. */
  applied(nodeId: string, flush: number): void {
    const node = this.#nodes.get(nodeId)
    if (node !== undefined && flush > node.applied) node.applied = flush
  }

  /** Flush that the node forwards by; Infinity for one that is not alive and so in nobody's way. */
  appliedBy(nodeId: string): number {
    return this.#nodes.get(nodeId)?.applied ?? Number.POSITIVE_INFINITY
  }

  /** Ids of the nodes held to be alive. */
  alive(): Iterable<string> {
    return this.#nodes.keys()
  }

  /** The node was removed from the cluster. */
  forget(nodeId: string): void {
    this.#nodes.delete(nodeId)
    this.#registrations.delete(nodeId)
  }

  /** Finds the nodes that have gone down. Called every LIVENESS_TICK_MS. */
  tick(): void {
    const nowMs = this.#nowMs()
    const lateMs = nowMs - (this.#tickMs ?? nowMs) - LIVENESS_TICK_MS
    this.#tickMs = nowMs
    if (lateMs > STANDSTILL_MS) {
      for (const node of this.#nodes.values()) node.seenMs = Math.min(nowMs, node.seenMs + lateMs)
      return
    }
    const periodMs = this.#parts.periodMs()
    for (const node of [...this.#nodes.values()]) {
      const silentMs = nowMs - node.seenMs
      if (silentMs < periodMs * SILENT_HEARTBEATS_MISSED) continue
      if (silentMs >= periodMs * HEARTBEATS_MISSED) this.#down(node, 'heartbeat failure')
      else if (this.#isSilent(node, nowMs - periodMs * REPORT_PERIODS)) {
        this.#down(node, 'heartbeat failure, and its tunnels are silent')
      }
    }
    for (const [id, times] of this.#registrations) {
      if (nowMs - (times.at(-1) ?? 0) >= REGISTRATION_WINDOW_MS) this.#registrations.delete(id)
    }
  }

  #isSilent(node: LiveNode, sinceMs: number): boolean {
    let silent = 0
    let heard = 0
    for (const [reporter, report] of node.reports) {
      if (report.atMs < sinceMs || !this.#nodes.has(reporter)) node.reports.delete(reporter)
      else if (report.silent) silent++
      else heard++
    }
    return silent > heard
  }

  #down(node: LiveNode, reason: string): void {
    this.#nodes.delete(node.id)
    this.#parts.onDown(node.id, reason)
  }

  #add(id: string, sessionId: string): void {
    const reports = this.#nodes.get(id)?.reports ?? new Map()
    this.#nodes.set(id, { id, sessionId, seenMs: this.#nowMs(), applied: 0, reports })
  }

  #nowMs(): number {
    return this.#parts.clock.nowMs()
  }
}
