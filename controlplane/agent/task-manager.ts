// Drives one task through its states: asks the table (task-machine.ts) what is next, has the
// executor do it, remembers and tells the outcome. There is one manager per task, and it does one
// thing at a time; what it does is aborted when something else is wanted.
//
// Before a running task is stopped it is drained, in two steps: the cluster takes it out of service
// on every node and says so (drained()), then the flows that are open end. Each step has a time
// limit of its own: QUIET_MS_MAX for the first, for managers may be away, and what the service
// grants (drain-timeout.ts) for the second. The second is never taken out of the first: a task that
// is stopped while a node still gives it flows fails them.

import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type { AssignedTask } from '../store/assignment.ts'
import { isTerminal, type TaskStatus } from '../store/objects.ts'
import { drainTimeoutMs } from './drain-timeout.ts'
import { type TaskController, TaskError } from './executor.ts'
import { DEPENDENCIES_MS_MAX, QUIET_MS_MAX, RETRY_MS_MAX, RETRY_MS_MIN } from './limits.ts'
import { failed, nextAction, retrying, succeeded, type TaskAction } from './task-machine.ts'

export interface TaskManagerParts {
  readonly controller: TaskController
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
  /** What is not there of the secrets and configs that the task refers to, as a sentence; null when
   * nothing is, '' as long as nobody knows. */
  readonly lacks: (task: AssignedTask) => string | null
  /** The status has changed: remember it and tell it. */
  readonly onStatus: (task: AssignedTask, status: TaskStatus) => void
  /** The task begins to drain, is over, or its interfaces have changed. */
  readonly onTables: () => void
}

export class TaskManager {
  #task: AssignedTask
  #status: TaskStatus
  readonly #parts: TaskManagerParts
  #isClosed = false
  #isDraining = false
  #drainStage: 'begun' | 'quiet' | 'idle' = 'begun'
  #doing: { action: TaskAction; abort: AbortController } | null = null
  readonly #waiters = new Set<() => void>()
  #retries = 0
  /** When it was first told what is not there. */
  #lackingSinceMs: number | null = null
  readonly #ended: Promise<void>

  constructor(task: AssignedTask, status: TaskStatus, parts: TaskManagerParts) {
    this.#task = task
    this.#status = status
    this.#parts = parts
    this.#ended = this.#run()
  }

  get task(): AssignedTask {
    return this.#task
  }

  get status(): TaskStatus {
    return this.#status
  }

  get controller(): TaskController {
    return this.#parts.controller
  }

  /** It runs, and new flows go elsewhere from now on. */
  get isDraining(): boolean {
    return this.#isDraining || this.#isSick
  }

  get #isSick(): boolean {
    return this.#parts.controller.isSick ?? false
  }

  /** A newer description. One that would run a task again that is to be stopped is not believed. */
  update(task: AssignedTask): void {
    const stopping = nextAction('running', this.#task.desiredState) === 'shutdown'
    const stops = nextAction('running', task.desiredState) === 'shutdown'
    if (stopping && !stops) task = { ...task, desiredState: this.#task.desiredState }
    this.#task = task
    this.#parts.controller.update(task)
    this.poke()
  }

  /** Looks again at what is to be done: something that was waited for may be there. */
  poke(): void {
    const doing = this.#doing
    if (doing !== null && doing.action !== this.#next()) doing.abort.abort()
    this.#notify()
  }

  /** The cluster has taken the task out of service; `isIdle`: and nobody uses it any more. */
  drained(isIdle: boolean): void {
    this.#drainStage = isIdle ? 'idle' : 'quiet'
    this.#notify()
  }

  /** What the executor says of the container has changed. */
  refresh(): void {
    if (isTerminal(this.#status.state)) return
    const status = this.#withContainer(this.#status)
    if (JSON.stringify(status) !== JSON.stringify(this.#status)) this.#set(status)
    this.#parts.onTables()
  }

  /** Lets go of the task as it is: the agent ends, the task goes on. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#doing?.abort.abort()
    this.#notify()
    await this.#ended
  }

  /** Stops the task and deletes what is left of it. Rejects when the executor cannot. */
  async remove(): Promise<void> {
    this.update({ ...this.#task, desiredState: 'remove' })
    while (!isTerminal(this.#status.state)) {
      if (this.#isClosed) throw new Error('the agent ends')
      await this.#sleep(null)
    }
    await this.close()
    await this.#parts.controller.remove()
  }

  #next(): TaskAction {
    return nextAction(this.#status.state, this.#task.desiredState)
  }

  async #run(): Promise<void> {
    await Promise.resolve()
    while (!this.#isClosed) {
      const action = this.#next()
      const lack = action === 'prepare' || action === 'start' ? this.#parts.lacks(this.#task) : null
      if (lack === null) this.#lackingSinceMs = null
      if (action === 'nothing') await this.#sleep(null)
      else if (lack !== null) await this.#awaitDependencies(lack)
      else await this.#perform(action)
    }
  }

  /** What the cluster has no more, as after a rollback to a removed secret, never comes. */
  async #awaitDependencies(lack: string): Promise<void> {
    if (lack === '') return this.#sleep(null)
    const nowMs = this.#parts.clock.nowMs()
    this.#lackingSinceMs ??= nowMs
    const leftMs = this.#lackingSinceMs + DEPENDENCIES_MS_MAX - nowMs
    if (leftMs > 0) return this.#sleep(leftMs)
    this.#parts.log.warn('a task failed', { task: this.#task.id, error: lack })
    this.#set(failed(this.#status, lack, this.#nowMs()))
  }

  async #perform(action: TaskAction): Promise<void> {
    const abort = new AbortController()
    this.#doing = { action, abort }
    try {
      if (action === 'shutdown') await this.#drain(abort.signal)
      await this.#call(action, abort.signal)
      if (abort.signal.aborted && action !== 'shutdown') return
      this.#retries = 0
      this.#set(succeeded(this.#withContainer(this.#status), action, this.#nowMs()))
    } catch (error) {
      if (!abort.signal.aborted) await this.#failed(action, error as Error)
    } finally {
      this.#doing = null
    }
  }

  #call(action: TaskAction, signal: AbortSignal): Promise<void> | undefined {
    const { controller } = this.#parts
    if (action === 'prepare') return controller.prepare(signal)
    if (action === 'start') return controller.start(signal)
    if (action === 'wait') return controller.wait(signal)
    if (action === 'shutdown') return controller.shutdown(signal)
    return undefined
  }

  async #failed(action: TaskAction, error: Error): Promise<void> {
    const { log, controller } = this.#parts
    const temporary = error instanceof TaskError && error.kind === 'temporary'
    // A task that cannot be stopped is not stopped: there is nothing else to say of it.
    if (temporary || action === 'shutdown') {
      this.#doing = null
      this.#set(retrying(this.#status, error.message, this.#nowMs()))
      await this.#sleep(Math.min(RETRY_MS_MIN * 2 ** this.#retries++, RETRY_MS_MAX))
      return
    }
    log.warn('a task failed', { task: this.#task.id, step: action, error: error.message })
    // It may run still (unhealthy, or half started): a failed task must not.
    if (action === 'start' || action === 'wait') await controller.terminate().catch(() => {})
    const status = this.#withContainer(this.#status)
    const exitCode = error instanceof TaskError ? error.exitCode : null
    const container =
      exitCode === null ? status.container : { id: '', pid: 0, ...status.container, exitCode }
    this.#set(failed({ ...status, container }, error.message, this.#nowMs()))
  }

  /** Waits until nobody uses the task any more. */
  async #drain(signal: AbortSignal): Promise<void> {
    const limitMs = this.#status.state === 'running' ? drainTimeoutMs(this.#task) : 0
    if (limitMs === 0) return
    if (!this.#isDraining) {
      this.#isDraining = true
      this.#set({ ...this.#status, isServing: false })
      this.#parts.onTables()
    }
    // Its process may end by itself meanwhile.
    const watch = new AbortController()
    let hasEnded = false
    const end = (): void => {
      hasEnded = true
      this.#notify()
    }
    const watching = this.#parts.controller.wait(watch.signal).then(end, end)
    const until = async (isEnough: () => boolean, waitMs: number): Promise<void> => {
      const untilMs = this.#parts.clock.nowMs() + waitMs
      while (!isEnough() && !hasEnded && !this.#isClosed && !signal.aborted) {
        const leftMs = untilMs - this.#parts.clock.nowMs()
        if (leftMs <= 0) break
        await this.#sleep(leftMs)
      }
    }
    await until(() => this.#drainStage !== 'begun', QUIET_MS_MAX)
    // Who has not heard that it is quiet will not hear that it is idle.
    const restMs = this.#drainStage === 'begun' ? limitMs - QUIET_MS_MAX : limitMs
    await until(() => this.#drainStage === 'idle', restMs)
    watch.abort()
    await watching
    if (this.#isClosed) throw new Error('the agent ends')
  }

  #withContainer(status: TaskStatus): TaskStatus {
    const { container, hostPorts } = this.#parts.controller.status()
    const isServing = status.isServing && !this.#isSick
    return { ...status, container: container ?? status.container, hostPorts, isServing }
  }

  #set(status: TaskStatus): void {
    const before = this.#status
    this.#status = status
    this.#parts.onStatus(this.#task, status)
    // Of a task's states the tables know only whether it is over; interfaces are told by refresh().
    if (isTerminal(before.state) !== isTerminal(status.state)) this.#parts.onTables()
    this.#notify()
  }

  /** Until something changes, at most `limitMs`. */
  #sleep(limitMs: number | null): Promise<void> {
    if (this.#isClosed) return Promise.resolve()
    return new Promise((resolve) => {
      let cancel = (): void => {}
      const wake = (): void => {
        cancel()
        this.#waiters.delete(wake)
        resolve()
      }
      this.#waiters.add(wake)
      if (limitMs !== null) cancel = this.#parts.timers.after(limitMs, wake)
    })
  }

  #notify(): void {
    for (const wake of [...this.#waiters]) wake()
  }

  #nowMs(): number {
    return this.#parts.clock.wallMs()
  }
}
