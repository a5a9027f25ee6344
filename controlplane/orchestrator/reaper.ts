// The task reaper: takes tasks out of the store that are of no use any more.
//
//   to be removed    once it has stopped, or if it never reached a node
//   without service  once it has stopped
//   history          a slot keeps the newest few tasks, its running one included: as many as the
//                    cluster's TaskHistoryRetentionLimit says (below 0: all), or what its restart
//                    policy needs to count its attempts, if that is more

import type { ReadTransaction, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { type ControlLoop, type LoopContext, type PassEnd, Passes } from '../store/control-loop.ts'
import { slotKey } from '../store/indices.ts'
import { isTerminal, stateRank, type TaskObject } from '../store/objects.ts'
import { REAP_QUIET_MS, REAP_WAIT_MS_MAX, REAPED_PER_PASS, TASK_HISTORY } from './limits.ts'
import { newestFirst } from './slots.ts'

export class Reaper implements ControlLoop {
  readonly counters: { reaped: number } & Record<string, number> = { reaped: 0 }
  private readonly context: LoopContext
  private readonly passes: Passes
  /** Keys of slots in which a task ended, came or is to go. */
  private readonly slots = new Set<string>()
  private readonly tasks = new Set<string>()

  constructor(context: LoopContext) {
    this.context = context
    const pace = { quietMs: REAP_QUIET_MS, maxMs: REAP_WAIT_MS_MAX }
    this.passes = new Passes(context, 'reaper', pace, () => this.pass())
  }

  start(): void {
    this.stop()
    this.passes.follow(
      (event) => this.see(event),
      (tx) => this.readAll(tx),
    )
  }

  stop(): void {
    this.passes.stop()
    this.slots.clear()
    this.tasks.clear()
  }

  private readAll(tx: ReadTransaction): void {
    for (const task of tx.all('tasks')) this.seeTask(task)
  }

  private see(event: StoreEvent): void {
    if (event.kind === 'reset') this.context.store.view((tx) => this.readAll(tx))
    else {
      for (const change of event.changes) {
        if (change.table === 'clusters') this.context.store.view((tx) => this.readAll(tx))
        if (change.kind === 'remove') {
          if (change.table === 'services') this.seeServiceGone(change.object.id)
        } else if (change.table === 'tasks') this.seeTask(change.object)
      }
    }
    if (this.slots.size + this.tasks.size > 0) this.passes.poke()
  }

  private seeTask(task: TaskObject): void {
    if (isStopped(task)) this.tasks.add(task.id)
    // A new task makes one of its slot superfluous.
    if (isTerminal(task.status.state) || task.status.state === 'new') {
      if (task.serviceId !== '') this.slots.add(slotKey(task))
    }
  }

  private seeServiceGone(serviceId: string): void {
    this.context.store.view((tx) => {
      for (const task of tx.find('tasks', 'service', serviceId)) this.seeTask(task)
    })
  }

  private async pass(): Promise<PassEnd> {
    const { store } = this.context
    const ids = store.view((tx) => this.superfluous(tx))
    let reaped = ids.length
    try {
      await store.batch(
        ids.map((id) => (tx) => reap(tx, id)),
        () => reaped--,
      )
    } catch (error) {
      store.view((tx) => this.readAll(tx))
      throw error
    }
    this.counters.reaped += reaped
    return this.slots.size + this.tasks.size > 0 ? 'more' : 'done'
  }

  private superfluous(tx: ReadTransaction): string[] {
    const ids = new Set<string>()
    for (const id of this.tasks) {
      if (ids.size >= REAPED_PER_PASS) break
      this.tasks.delete(id)
      const task = tx.get('tasks', id)
      if (task !== undefined && isUseless(tx, task)) ids.add(id)
    }
    for (const key of this.slots) {
      if (ids.size >= REAPED_PER_PASS) break
      this.slots.delete(key)
      for (const id of tooOld(tx, tx.find('tasks', 'slot', key))) ids.add(id)
    }
    return [...ids]
  }
}

/** It runs nowhere, and will not. */
function isStopped({ status, desiredState }: TaskObject): boolean {
  if (isTerminal(status.state)) return true
  const isOnNoNode = stateRank(status.state) < stateRank('assigned')
  return isOnNoNode && stateRank(desiredState) > stateRank('complete')
}

function isUseless(tx: ReadTransaction, task: TaskObject): boolean {
  if (!isStopped(task)) return false
  if (task.desiredState === 'remove' || !isTerminal(task.status.state)) return true
  const isDetached = task.serviceId === '' && stateRank(task.desiredState) > stateRank('complete')
  return isDetached || (task.serviceId !== '' && tx.get('services', task.serviceId) === undefined)
}

/** Ids of the oldest tasks of a slot, beyond what it keeps. */
function tooOld(tx: ReadTransaction, slot: readonly TaskObject[]): string[] {
  const keeps = retention(tx, slot)
  if (slot.length <= keeps) return []
  const ids: string[] = []
  for (const task of [...slot].sort(newestFirst).reverse()) {
    if (slot.length - ids.length <= keeps) break
    // One that the orchestrator has not dealt with yet is not history, nor is a job's result.
    const isDealtWith = stateRank(task.desiredState) > stateRank('complete')
    if (isTerminal(task.status.state) && isDealtWith) ids.push(task.id)
  }
  return ids
}

function retention(tx: ReadTransaction, slot: readonly TaskObject[]): number {
  const limit = tx.cluster()?.spec.Orchestration.TaskHistoryRetentionLimit ?? TASK_HISTORY
  if (limit < 0) return Number.POSITIVE_INFINITY
  const attempts = slot.map(({ spec }) => spec.RestartPolicy?.MaxAttempts ?? 0)
  const most = Math.max(0, ...attempts)
  // The newest task stays in any case: it says that a slot is finished.
  return Math.max(1, limit, most === 0 ? 0 : most + 1)
}

function reap(tx: WriteTransaction, id: string): void {
  const task = tx.get('tasks', id)
  if (task === undefined || !isStopped(task)) throw new Error('the task changed')
  tx.remove('tasks', id)
}
