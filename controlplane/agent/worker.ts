// The tasks of this node: one manager (task-manager.ts) for each, whatever the assignment says. The
// worker keeps what they need (secrets, configs), remembers them (task-db.ts), takes them over
// again after a restart, and deletes what is left of those that the cluster has forgotten.
//
// Without a manager in reach nothing is added or taken away, and every task goes on.

import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type { AssignedTask, DataItem, Items } from '../store/assignment.ts'
import type { TaskState, TaskStatus } from '../store/objects.ts'
import type { Executor, TaskHost } from './executor.ts'
import { RETRY_MS_MAX, RETRY_MS_MIN } from './limits.ts'
import type { TaskMemory } from './task-db.ts'
import { firstStatus } from './task-machine.ts'
import { TaskManager } from './task-manager.ts'

export interface WorkerParts {
  readonly executor: Executor
  readonly memory: TaskMemory
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
  readonly node: TaskHost['node']
  /** The status of a task has changed. */
  readonly onStatus: (taskId: string, status: TaskStatus) => void
  /** Tasks, their interfaces or their draining have changed: the tables must follow. */
  readonly onTables: () => void
  /** The tables in force have an interface for each of the task's networks. */
  readonly isNetworked: (task: AssignedTask) => boolean
}

/** What the worker reads of an assignment; item-set.ts has it. */
export interface Assigned {
  all<K extends 'task' | 'secret' | 'config' | 'drained'>(kind: K): ReadonlyMap<string, Items[K]>
}

export class Worker {
  readonly #parts: WorkerParts
  readonly #managers = new Map<string, TaskManager>()
  readonly #removals = new Map<string, Promise<void>>()
  /** Who waits for interfaces: looked at whenever tables have come into force. */
  readonly #unnetworked = new Set<() => void>()
  #assigned: Assigned | null = null
  #isLeaving = false
  #isClosed = false

  constructor(parts: WorkerParts) {
    this.#parts = parts
  }

  /** Takes over the tasks that this node remembers. */
  start(): void {
    for (const { task, status } of this.#parts.memory.load()) this.#manage(task, status)
    if (this.#managers.size > 0) {
      this.#parts.log.info('tasks taken over', { tasks: this.#managers.size })
    }
  }

  /** Every task of this node, also those that have ended. */
  get tasks(): ReadonlyMap<string, TaskManager> {
    return this.#managers
  }

  /** What every task is like now: for a manager that may have missed something. */
  statuses(): ReadonlyMap<string, TaskStatus> {
    return new Map([...this.#managers].map(([id, manager]) => [id, manager.status]))
  }

  /** Does what the assignment says. `observed`, with a complete one: how far the cluster saw tasks
   * of which this node may know nothing. */
  assign(assigned: Assigned, observed: ReadonlyMap<string, TaskState> | null): void {
    if (this.#isClosed) return
    this.#assigned = assigned
    if (!this.#isLeaving) this.#follow(assigned.all('task'), observed)
    for (const [id, { isIdle }] of assigned.all('drained')) {
      this.#managers.get(id)?.drained(isIdle)
    }
    for (const manager of this.#managers.values()) manager.poke()
  }

  /** Tables have come into force. */
  tablesApplied(): void {
    for (const look of [...this.#unnetworked]) look()
  }

  /** The agent ends; tasks go on. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#managers.values()].map((manager) => manager.close()))
    this.#parts.memory.close()
  }

  /** The node leaves the cluster: stops and deletes every task, drained where there are managers
   * that would take it out of service. What managers still assign, to replace these or because they
   * have not heard of it, is not begun. Resolves when it is done or `limitMs` is over. */
  async removeAll(limitMs: number, hasManagers: boolean): Promise<void> {
    this.#isLeaving = true
    if (!hasManagers) for (const manager of this.#managers.values()) manager.drained(true)
    for (const id of [...this.#managers.keys()]) this.#forget(id)
    const late = new Promise<void>((resolve) => this.#parts.timers.after(limitMs, resolve))
    await Promise.race([Promise.all(this.#removals.values()), late])
  }

  #follow(
    tasks: ReadonlyMap<string, AssignedTask>,
    observed: ReadonlyMap<string, TaskState> | null,
  ): void {
    for (const [id, task] of tasks) {
      const manager = this.#managers.get(id)
      if (manager !== undefined) {
        if (manager.task !== task) this.#update(manager, task)
      } else if (!this.#removals.has(id)) {
        this.#manage(task, firstStatus(observed?.get(id) ?? 'assigned', this.#wallMs()))
      }
    }
    for (const id of this.#managers.keys()) if (!tasks.has(id)) this.#forget(id)
    if (observed !== null) this.#sweep(tasks).catch(() => {})
  }

  #manage(task: AssignedTask, status: TaskStatus): void {
    const { executor, memory, clock, timers, log, onTables } = this.#parts
    const secrets = (): ReadonlyMap<string, DataItem> | undefined => this.#assigned?.all('secret')
    const configs = (): ReadonlyMap<string, DataItem> | undefined => this.#assigned?.all('config')
    const controller = executor.controller(task, {
      secret: (id) => secrets()?.get(id),
      config: (id) => configs()?.get(id),
      node: this.#parts.node,
      changed: () => this.#managers.get(task.id)?.refresh(),
      networked: (signal) => this.#networked(this.#managers.get(task.id)?.task ?? task, signal),
    })
    memory.put(task, status)
    const manager = new TaskManager(task, status, {
      controller,
      clock,
      timers,
      log,
      lacks: (wants) => this.#lacks(wants),
      onStatus: (of, next) => {
        memory.put(of, next)
        this.#parts.onStatus(of.id, next)
      },
      onTables,
    })
    this.#managers.set(task.id, manager)
    onTables()
  }

  #networked(task: AssignedTask, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#unnetworked.delete(look)
        signal.removeEventListener('abort', look)
      }
      const look = (): void => {
        if (signal.aborted) reject(signal.reason as Error)
        else if (this.#parts.isNetworked(task)) resolve()
        else return
        finish()
      }
      this.#unnetworked.add(look)
      signal.addEventListener('abort', look)
      look()
    })
  }

  #update(manager: TaskManager, task: AssignedTask): void {
    manager.update(task)
    this.#parts.memory.put(manager.task, manager.status)
  }

  #lacks({ spec }: AssignedTask): string | null {
    const { Secrets = [], Configs = [] } = spec.ContainerSpec ?? {}
    if (Secrets.length + Configs.length === 0) return null
    if (this.#assigned === null) return ''
    const secrets = this.#assigned.all('secret')
    const configs = this.#assigned.all('config')
    const secret = Secrets.find(({ SecretID }) => !secrets.has(SecretID))
    if (secret !== undefined) return `secret ${secret.SecretName} is not available`
    const config = Configs.find(({ ConfigID }) => !configs.has(ConfigID))
    return config === undefined ? null : `config ${config.ConfigName} is not available`
  }

  /** The cluster knows the task no more: stop it, and delete what is left of it. */
  #forget(id: string): void {
    if (this.#removals.has(id)) return
    const manager = this.#managers.get(id)!
    const removal = this.#removeWithRetries(id, () => manager.remove()).then(() => {
      this.#removals.delete(id)
      if (this.#isClosed) return
      this.#managers.delete(id)
      this.#parts.memory.delete(id)
      this.#parts.onTables()
    })
    this.#removals.set(id, removal)
  }

  async #removeWithRetries(id: string, remove: () => Promise<void>): Promise<void> {
    for (let delayMs = RETRY_MS_MIN; !this.#isClosed; delayMs *= 2) {
      try {
        return await remove()
      } catch (error) {
        if (this.#isClosed) return
        const text = (error as Error).message
        this.#parts.log.warn('what is left of a task cannot be removed', { task: id, error: text })
        const waitMs = Math.min(delayMs, RETRY_MS_MAX)
        await new Promise<void>((resolve) => this.#parts.timers.after(waitMs, resolve))
      }
    }
  }

  /** Deletes what is left of tasks that neither the cluster nor this node knows. */
  async #sweep(tasks: ReadonlyMap<string, AssignedTask>): Promise<void> {
    const { executor, log } = this.#parts
    for (const id of await executor.remains()) {
      if (this.#isClosed || tasks.has(id) || this.#managers.has(id)) continue
      log.info('removing what is left of a forgotten task', { task: id })
      await executor.removeRemains(id).catch((error: Error) => {
        log.warn('what is left of a task cannot be removed', { task: id, error: error.message })
      })
    }
  }

  #wallMs(): number {
    return this.#parts.clock.wallMs()
  }
}
