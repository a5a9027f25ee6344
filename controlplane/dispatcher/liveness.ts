// Which nodes are alive: by their heartbeats, and by what other nodes hear of them through the
// tunnels.
//
//   alive   it sends heartbeats
//   away    none for HEARTBEATS_AWAY periods, and most of the nodes that asked it for a sign of
// life
//           through the tunnel got none: its tasks are out of service until it is heard again
//   down    none for HEARTBEATS_MISSED periods: its tasks are followed elsewhere
//
// To be away is undone by the first heartbeat and costs open flows at most; to be down costs tasks.
// A silent tunnel alone does neither: who has a heartbeat is alive. A node that said that it is
// about to be started again is not away.
//
// A leader that itself stood still for a while (no processor, a suspended machine) has heard
// nobody, and that says nothing about the nodes: the time is not counted.
//
// When a manager becomes the leader it gives every node that was not down one normal timeout to
// come; one that the others do not hear either is away sooner. Nothing is written for that: a
// leader change leaves no mark on the nodes.

import type { Clock } from '../../base/clock.ts'
import type { Prng } from '../../base/prng.ts'
import {
  HEARTBEAT_JITTER,
  HEARTBEATS_AWAY,
  HEARTBEATS_AWAY_UNHEARD,
  HEARTBEATS_MISSED,
  LIVENESS_TICK_MS,
  REGISTRATION_WINDOW_MS,
  REGISTRATIONS_MAX,
  REPORT_PERIODS,
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
  isAway: boolean
  /** It ends, and will be back. */
  isReturning: boolean
  /** What others hear of it: reporter to (silent, when). */
  readonly reports: Map<string, { readonly silent: boolean; readonly atMs: number }>
}

export interface LivenessParts {
  readonly clock: Clock
  readonly random: Prng
  /** Milliseconds, without jitter. */
  readonly periodMs: () => number
  /** The node does not answer, or does so again. */
  readonly onAway: (nodeId: string, isAway: boolean) => void
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

  /** Those of them that are away. */
  get awayCount(): number {
    return [...this.#nodes.values()].filter(({ isAway }) => isAway).length
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
    this.#back(node)
    const jitter = 1 + HEARTBEAT_JITTER * (2 * this.#parts.random.float() - 1)
    return Math.max(1, Math.round(this.#parts.periodMs() * jitter))
  }

  /** The node ends in order, to be started again. */
  returning(nodeId: string): void {
    const node = this.#nodes.get(nodeId)
    if (node !== undefined) node.isReturning = true
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

  /** Finds the nodes that are away or have gone down. Called every LIVENESS_TICK_MS. */
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
      const isUnheard = node.sessionId === ''
      const overdue = isUnheard ? HEARTBEATS_AWAY_UNHEARD : HEARTBEATS_AWAY
      if (silentMs < periodMs * overdue) continue
      if (silentMs >= periodMs * HEARTBEATS_MISSED) this.#down(node)
      else this.#judge(node, nowMs - periodMs * REPORT_PERIODS)
    }
    for (const [id, times] of this.#registrations) {
      if (nowMs - (times.at(-1) ?? 0) >= REGISTRATION_WINDOW_MS) this.#registrations.delete(id)
    }
  }

  /** Of a node whose heartbeat is overdue: whether it is away, by the others' reports. */
  #judge(node: LiveNode, sinceMs: number): void {
    let silent = 0
    let heard = 0
    for (const [reporter, report] of node.reports) {
      if (report.atMs < sinceMs || !this.#nodes.has(reporter)) node.reports.delete(reporter)
      else if (report.silent) silent++
      else heard++
    }
    if (heard > 0 && heard >= silent) this.#back(node)
    else if (silent > 0 && !node.isAway && !node.isReturning) {
      node.isAway = true
      this.#parts.onAway(node.id, true)
    }
  }

  #back(node: LiveNode): void {
    if (!node.isAway) return
    node.isAway = false
    this.#parts.onAway(node.id, false)
  }

  #down({ id, isAway }: LiveNode): void {
    this.#nodes.delete(id)
    const silent = isAway ? ', and its tunnels are silent' : ''
    this.#parts.onDown(id, `heartbeat failure${silent}`)
  }

  #add(id: string, sessionId: string): void {
    const before = this.#nodes.get(id)
    if (before !== undefined) this.#back(before)
    const reports = before?.reports ?? new Map()
    const seenMs = this.#nowMs()
    const node = { id, sessionId, seenMs, applied: 0, isAway: false, isReturning: false, reports }
    this.#nodes.set(id, node)
  }

  #nowMs(): number {
    return this.#parts.clock.nowMs()
  }
}
