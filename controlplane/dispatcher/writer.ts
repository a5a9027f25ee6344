// What nodes report, on its way into the store: reports within WRITE_DELAY_MS share a transaction,
// and of several about the same thing only the last is written.
//
// A report that cannot be written because the leadership went is lost here and not missed: nodes
// tell everything again to the next leader.

import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type { Store, WriteTransaction } from '../store/contract.ts'
import { type NodeObject, stateRank, type TaskStatus } from '../store/objects.ts'
import { STATUSES_WAITING_MAX, WRITE_DELAY_MS } from './limits.ts'

export interface WriterParts {
  readonly store: Store
  readonly timers: Timers
  readonly log: Logger
}

type NodeChange = (node: NodeObject) => NodeObject

export class Writer {
  readonly #parts: WriterParts
  #statuses = new Map<string, { readonly nodeId: string; readonly status: TaskStatus }>()
  #nodes = new Map<string, NodeChange[]>()
  #cancel: (() => void) | null = null
  #writing: Promise<void> | null = null
  #isStopped = false

  constructor(parts: WriterParts) {
    this.#parts = parts
  }

  /** False: too many wait, come again. */
  taskStatus(nodeId: string, taskId: string, status: TaskStatus): boolean {
    if (this.#statuses.size >= STATUSES_WAITING_MAX && !this.#statuses.has(taskId)) return false
    const waiting = this.#statuses.get(taskId)
    // Two messages of one node may overtake each other.
    if (waiting !== undefined && waiting.nodeId === nodeId) {
      if (stateRank(waiting.status.state) > stateRank(status.state)) return true
    }
    this.#statuses.set(taskId, { nodeId, status })
    this.#schedule()
    return true
  }

  /** `change` gets the node as it is when the transaction runs. */
  node(nodeId: string, change: NodeChange): void {
    this.#nodes.set(nodeId, [...(this.#nodes.get(nodeId) ?? []), change])
    this.#schedule()
  }

  stop(): void {
    this.#isStopped = true
    this.#cancel?.()
    this.#statuses.clear()
    this.#nodes.clear()
  }

  /** Resolves when all that was reported before the call is written, or failed to be. */
  async settled(): Promise<void> {
    while (this.#writing !== null || this.#statuses.size + this.#nodes.size > 0) {
      if (this.#isStopped) return
      this.#begin()
      await this.#writing
    }
  }

  #schedule(): void {
    if (this.#cancel !== null || this.#writing !== null || this.#isStopped) return
    this.#cancel = this.#parts.timers.after(WRITE_DELAY_MS, () => this.#begin())
  }

  #begin(): void {
    this.#cancel?.()
    this.#cancel = null
    if (this.#writing !== null || this.#isStopped) return
    this.#writing = this.#write().finally(() => {
      this.#writing = null
      if (this.#statuses.size + this.#nodes.size > 0) this.#schedule()
    })
  }

  async #write(): Promise<void> {
    const statuses = this.#statuses
    const nodes = this.#nodes
    this.#statuses = new Map()
    this.#nodes = new Map()
    const steps: ((tx: WriteTransaction) => void)[] = []
    for (const [id, changes] of nodes) steps.push((tx) => changeNode(tx, id, changes))
    for (const [id, { nodeId, status }] of statuses) {
      steps.push((tx) => setStatus(tx, id, nodeId, status))
    }
    const { store, log } = this.#parts
    const complain = (error: Error): void =>
      log.warn('what nodes reported was not written', { error: error.message })
    await store.batch(steps, (_, error) => complain(error)).catch(complain)
  }
}

function changeNode(tx: WriteTransaction, id: string, changes: readonly NodeChange[]): void {
  const node = tx.get('nodes', id)
  if (node === undefined) return
  const next = changes.reduce((value, change) => change(value), node)
  if (JSON.stringify(next) !== JSON.stringify(node)) tx.update('nodes', next)
}

/** Only the task's own node tells its status, and a state never goes back. */
function setStatus(tx: WriteTransaction, id: string, nodeId: string, status: TaskStatus): void {
  const task = tx.get('tasks', id)
  if (task === undefined || task.nodeId !== nodeId) return
  if (stateRank(status.state) < stateRank(task.status.state)) return
  if (JSON.stringify(status) === JSON.stringify(task.status)) return
  tx.update('tasks', { ...task, status })
}
