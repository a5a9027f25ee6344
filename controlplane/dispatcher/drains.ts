// Acknowledged drain: when may a task be stopped without anybody noticing?
//
// When a serving task is to be stopped, its endpoints are told to every node as `draining`: no new
// flow is given to it. That flush has a number. A node that has applied this flush gives it no new
// flows, and tells how many are still open. When all nodes of the task's networks that are alive
// have applied it, the task's node is told that the task is quiet; when none has flows left either,
// that it is idle. Its worker then sends the stop signal.
//
// The task's node does not wait for ever (agent/task-manager.ts): a flow that never ends, or a
// leader that is away, costs time, not correctness. All of this is in memory: a new leader begins
// anew, and counts the same acknowledgements.

export interface DrainsParts {
  /** Number of the last flush. */
  readonly flushed: () => number
  /** Nodes that are alive. */
  readonly alive: () => Iterable<string>
  /** The flush that a node forwards by. */
  readonly appliedBy: (nodeId: string) => number
  /** The node forwards for the network. */
  readonly isOn: (nodeId: string, networkId: string) => boolean
  /** Nobody gives the task new flows; `isIdle`: and none is open. */
  readonly onDrained: (taskId: string, nodeId: string, isIdle: boolean) => void
  readonly onUndrained: (taskId: string, nodeId: string) => void
}

interface Drain {
  readonly nodeId: string
  readonly networkIds: readonly string[]
  /** The flush that tells of it. */
  readonly flush: number
  /** Nodes that have flows open to it. */
  readonly busy: Set<string>
  stage: 'begun' | 'quiet' | 'idle'
}

export class Drains {
  readonly #parts: DrainsParts
  readonly #drains = new Map<string, Drain>()
  /** Node to the tasks it has flows open to. */
  readonly #busyWith = new Map<string, ReadonlySet<string>>()

  constructor(parts: DrainsParts) {
    this.#parts = parts
  }

  get size(): number {
    return this.#drains.size
  }

  begin(taskId: string, nodeId: string, networkIds: readonly string[]): void {
    if (this.#drains.has(taskId)) return
    // The change is not flushed yet: it will be in the next one.
    const flush = this.#parts.flushed() + 1
    this.#drains.set(taskId, { nodeId, networkIds, flush, busy: new Set(), stage: 'begun' })
  }

  end(taskId: string): void {
    const drain = this.#drains.get(taskId)
    if (drain === undefined) return
    this.#drains.delete(taskId)
    if (drain.stage !== 'begun') this.#parts.onUndrained(taskId, drain.nodeId)
  }

  /** Tasks that drain and to which the node has flows open: all of them, each time. */
  report(nodeId: string, taskIds: ReadonlySet<string>): void {
    for (const id of this.#busyWith.get(nodeId) ?? []) {
      if (!taskIds.has(id)) this.#drains.get(id)?.busy.delete(nodeId)
    }
    for (const id of taskIds) this.#drains.get(id)?.busy.add(nodeId)
    if (taskIds.size > 0) this.#busyWith.set(nodeId, taskIds)
    else this.#busyWith.delete(nodeId)
  }

  /** The node is gone, and its flows with it. */
  forget(nodeId: string): void {
    this.report(nodeId, new Set())
  }

  /** Looks which are done: after acknowledgements, flushes and deaths. */
  check(): void {
    for (const [taskId, drain] of this.#drains) {
      if (drain.stage === 'idle' || !this.#isQuiet(drain)) continue
      const stage = drain.busy.size === 0 ? 'idle' : 'quiet'
      if (stage === drain.stage) continue
      drain.stage = stage
      this.#parts.onDrained(taskId, drain.nodeId, stage === 'idle')
    }
  }

  #isQuiet({ flush, networkIds }: Drain): boolean {
    const { flushed, alive, appliedBy, isOn } = this.#parts
    if (flushed() < flush) return false
    for (const nodeId of alive()) {
      if (appliedBy(nodeId) >= flush) continue
      if (networkIds.some((networkId) => isOn(nodeId, networkId))) return false
    }
    return true
  }
}
