// Statuses on their way to the managers: of each task only the last one, and it stays in the queue
// until a manager has taken it. With a new session everything is told anew (refill()), because
// nobody knows what the leader before took to its grave.

import type { TaskStatus } from '../store/objects.ts'

export interface StatusUpdate {
  readonly taskId: string
  readonly status: TaskStatus
}

export class StatusQueue {
  readonly #waiting = new Map<string, TaskStatus>()
  /** On their way; not answered yet. */
  #sent: ReadonlyMap<string, TaskStatus> = new Map()

  get size(): number {
    return this.#waiting.size
  }

  get isSending(): boolean {
    return this.#sent.size > 0
  }

  put(taskId: string, status: TaskStatus): void {
    this.#waiting.set(taskId, status)
  }

  refill(statuses: ReadonlyMap<string, TaskStatus>): void {
    this.#sent = new Map()
    for (const [taskId, status] of statuses) this.#waiting.set(taskId, status)
  }

  /** The next updates to send, at most `max`, oldest first. */
  take(max: number): StatusUpdate[] {
    const batch = [...this.#waiting].slice(0, max)
    for (const [taskId] of batch) this.#waiting.delete(taskId)
    this.#sent = new Map(batch)
    return batch.map(([taskId, status]) => ({ taskId, status }))
  }

  /** A manager has them. */
  taken(): void {
    this.#sent = new Map()
  }

  /** They did not arrive: they go first next time, but for those that are out of date. */
  failed(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const [taskId, status] of this.#sent) this.#waiting.set(taskId, status)
    for (const [taskId, status] of waiting) this.#waiting.set(taskId, status)
    this.#sent = new Map()
  }
}
