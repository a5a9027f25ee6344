// What an orchestrator wants written: steps, each of which happens whole or not at all. A plan is a
// value, made from what was read; whoever carries it out looks again whether it still fits.

import type { Unversioned, WriteTransaction } from '../store/contract.ts'
import { slotKey } from '../store/indices.ts'
import {
  isTerminal,
  type ServiceObject,
  stateRank,
  type TaskObject,
  type TaskState,
} from '../store/objects.ts'
import { STEPS_PER_PASS } from './limits.ts'

export type Action =
  /** `slotSize`: how many tasks the slot had when the plan was made. */
  | { readonly kind: 'create'; readonly task: Unversioned<TaskObject>; readonly slotSize: number }
  | { readonly kind: 'desire'; readonly taskId: string; readonly state: TaskState }
  /** The task's node was removed: nobody will tell how it ended. */
  | { readonly kind: 'orphan'; readonly taskId: string }
  /** Replaces what the orchestrator may change of a service that is still as it was. */
  | {
      readonly kind: 'service'
      readonly seen: ServiceObject
      readonly change: Partial<ServiceObject>
    }

export type Step = readonly Action[]

/** What was planned no longer fits; it is planned anew. */
export class StaleError extends Error {
  override readonly name: string = 'StaleError'
}

export class Plan {
  readonly steps: Step[] = []
  /** Milliseconds until something is due without any event; null = never. */
  wakeMs: number | null = null

  /** More than one pass writes: no use in planning on. The rest is planned when this is written. */
  get isFull(): boolean {
    return this.steps.length > STEPS_PER_PASS
  }

  add(...step: Step): void {
    this.steps.push(step)
  }

  wakeIn(ms: number): void {
    // A little late, so that what is due then is due by every clock.
    const late = Math.ceil(ms) + 1
    if (this.wakeMs === null || late < this.wakeMs) this.wakeMs = late
  }
}

/** Carries a step out. Throws StaleError. */
export function applyStep(tx: WriteTransaction, step: Step, nowMs: number): void {
  for (const action of step) {
    if (action.kind === 'create') create(tx, action.task, action.slotSize)
    else if (action.kind === 'desire') desire(tx, action.taskId, action.state)
    else if (action.kind === 'orphan') orphan(tx, action.taskId, nowMs)
    else changeService(tx, action.seen, action.change)
  }
}

function create(tx: WriteTransaction, task: Unversioned<TaskObject>, slotSize: number): void {
  const service = tx.get('services', task.serviceId)
  const isStale =
    service === undefined ||
    service.pendingDelete ||
    service.specVersion !== task.specVersion ||
    tx.find('tasks', 'slot', slotKey(task)).length !== slotSize
  if (isStale) throw new StaleError('the service or its slot changed')
  tx.create('tasks', task)
}

/** Desired states never go back. */
function desire(tx: WriteTransaction, taskId: string, state: TaskState): void {
  const task = tx.get('tasks', taskId)
  if (task === undefined || stateRank(state) <= stateRank(task.desiredState)) return
  tx.update('tasks', { ...task, desiredState: state })
}

function orphan(tx: WriteTransaction, taskId: string, nowMs: number): void {
  const task = tx.get('tasks', taskId)
  if (task === undefined || isTerminal(task.status.state)) return
  if (tx.get('nodes', task.nodeId) !== undefined) throw new StaleError('the node is back')
  const message = 'the node was removed'
  const status = { ...task.status, state: 'orphaned', atMs: nowMs, message } as const
  tx.update('tasks', { ...task, status: { ...status, isServing: false } })
}

function changeService(
  tx: WriteTransaction,
  seen: ServiceObject,
  change: Partial<ServiceObject>,
): void {
  const now = tx.get('services', seen.id)
  const isAsSeen =
    now !== undefined &&
    now.specVersion === seen.specVersion &&
    now.updateStatus?.state === seen.updateStatus?.state &&
    !now.pendingDelete
  if (!isAsSeen) throw new StaleError('the service changed')
  tx.update('services', { ...now, ...change })
}
