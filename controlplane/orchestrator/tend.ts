// The care of one slot: a task that ended or lost its node is followed by another, a task that was
// made ahead is told to run when its time has come, and of two that run the older is stopped.
//
//   ended             the old one is to shut down, a new one is made, to be prepared at once but to
//                     run only after the restart delay
//   node down, gone   the same, without delay and without waiting for the old one
//   node draining     the same, without delay, once the old one has stopped; a service that updates
//                     start-first moves start-first here too
//
// A task that fails before its own delay is over is not followed until then: what cannot even be
// prepared is not tried in a busy loop.

import { stateRank, type TaskObject } from '../store/objects.ts'
import type { Action, Plan } from './plan.ts'
import { restartDelayMs, shouldRestart, stopWaitMs } from './restart-policy.ts'
import type { ServiceView } from './service-view.ts'
import { fitnessOf, isAlive, isWanted, type NodeFitness, type Slot } from './slots.ts'

/** "live": somebody is meant to run here. "finished": the last one ended and is not followed.
 * "dead": it should be filled if the service still wants it. */
export type SlotKind = 'live' | 'finished' | 'dead'

export function kindOf(slot: Slot, view: ServiceView): SlotKind {
  if (slot.tasks.some((task) => isWanted(task, view.goal))) return 'live'
  const [newest] = slot.tasks
  // A rollback brings a service to what it was, also where tasks of the other spec have ended for
  // good. That of a job is an iteration like any other.
  const isRollback =
    view.goal === 'running' &&
    view.service.updateStatus?.state === 'rollback_started' &&
    newest?.specVersion !== view.service.specVersion
  if (newest === undefined || newest.desiredState === 'remove' || isRollback) return 'dead'
  const { goal, wallMs } = view
  return shouldRestart(newest, slot.tasks, goal, wallMs) ? 'dead' : 'finished'
}

export function fitnessFor(task: TaskObject, view: ServiceView): NodeFitness {
  return task.nodeId === '' ? 'fit' : fitnessOf(view.node(task.nodeId))
}

/** Plans what a live slot needs. */
export function tend(slot: Slot, view: ServiceView, plan: Plan): void {
  const wanted = slot.tasks.filter((task) => isWanted(task, view.goal))
  const keeper = keeperOf(wanted, view)
  for (const task of wanted) {
    if (view.goal === 'complete' && task.status.state === 'complete') continue
    const fitness = fitnessFor(task, view)
    if (isAlive(task) && fitness === 'fit') {
      if (isSurplus(task, keeper, view)) plan.add(shutDown(task))
      else if (task.desiredState === 'ready') promote(task, slot, view, plan)
    } else replace(task, fitness, slot, wanted, view, plan)
  }
}

function shutDown({ id }: TaskObject): Action {
  return { kind: 'desire', taskId: id, state: 'shutdown' }
}

/** The newest task that runs as the service wants it, on a node where it may stay. */
function keeperOf(wanted: readonly TaskObject[], view: ServiceView): TaskObject | undefined {
  if (wanted.length < 2) return undefined
  return wanted.find(
    (task) =>
      task.status.state === 'running' && fitnessFor(task, view) === 'fit' && !view.isDirty(task),
  )
}

/** Older than the one that stays, or not what is wanted. A newer one may be about to replace it. */
function isSurplus(task: TaskObject, keeper: TaskObject | undefined, view: ServiceView): boolean {
  if (keeper === undefined || task === keeper) return false
  return view.isDirty(task) || task.meta.createdMs <= keeper.meta.createdMs
}

function replace(
  task: TaskObject,
  fitness: NodeFitness,
  slot: Slot,
  wanted: readonly TaskObject[],
  view: ServiceView,
  plan: Plan,
): void {
  const isLost = isAlive(task) && view.node(task.nodeId) === undefined
  const ends: Action[] = [shutDown(task)]
  if (isLost) ends.push({ kind: 'orphan', taskId: task.id })
  const others = wanted.filter(
    (other) => other !== task && isAlive(other) && fitnessFor(other, view) === 'fit',
  )
  if (isAlive(task) && fitness === 'draining' && movesStartFirst(view)) {
    if (others.some(({ status }) => status.state === 'running')) plan.add(...ends)
    else if (others.length === 0) plan.add(...fill(slot, view, view.goal))
    return
  }
  if (others.length > 0) {
    plan.add(...ends)
    return
  }
  if (!isAlive(task) && task.desiredState === 'ready' && fitness === 'fit') {
    const leftMs = restartDelayMs(task) - view.ageMs(task)
    if (leftMs > 0) {
      plan.wakeIn(leftMs)
      return
    }
  }
  const isFollowed = shouldRestart(task, slot.tasks, view.goal, view.wallMs)
  // Of several that ended in one slot, the newest is followed.
  const isNewest = wanted.every((other) => other === task || !isFirst(other, task, slot))
  if (isFollowed && isNewest) plan.add(...ends, ...fill(slot, view, 'ready'))
  else plan.add(...ends)
}

function isFirst(a: TaskObject, b: TaskObject, { tasks }: Slot): boolean {
  return tasks.indexOf(a) < tasks.indexOf(b)
}

function movesStartFirst({ service, goal }: ServiceView): boolean {
  return goal === 'running' && service.spec.UpdateConfig?.Order === 'start-first'
}

/** One more task in the slot. */
export function fill(
  slot: Slot,
  view: ServiceView,
  desiredState: 'ready' | 'running' | 'complete',
): readonly Action[] {
  const task = view.newTask(slot, desiredState)
  return [{ kind: 'create', task, slotSize: slot.tasks.length }]
}

/** Tells a prepared task to run once the old one has stopped and the delay is over. */
function promote(task: TaskObject, slot: Slot, view: ServiceView, plan: Plan): void {
  const ageMs = view.ageMs(task)
  const waitMs = Math.max(delayMs(task, slot, view), oldTaskWaitMs(task, slot, view))
  if (ageMs < waitMs) plan.wakeIn(waitMs - ageMs)
  else plan.add({ kind: 'desire', taskId: task.id, state: view.goal })
}

/** The restart delay, if the task before ended by itself on a node that is still good. An update's
 * tasks have another version than the ones before: they do not wait. */
function delayMs(task: TaskObject, slot: Slot, view: ServiceView): number {
  const before = slot.tasks[slot.tasks.indexOf(task) + 1]
  if (before === undefined || before.specVersion !== task.specVersion) return 0
  const hasEnded = ['complete', 'failed', 'rejected'].includes(before.status.state)
  return hasEnded && fitnessFor(before, view) === 'fit' ? restartDelayMs(task) : 0
}

/** As long as a task of the slot that was told to stop has not: until it would have to. A service
 * that updates start-first lets two run side by side. */
function oldTaskWaitMs(task: TaskObject, slot: Slot, view: ServiceView): number {
  if (movesStartFirst(view)) return 0
  const stopping = slot.tasks.filter(
    (other) =>
      other !== task &&
      !isWanted(other, view.goal) &&
      isAlive(other) &&
      stateRank(other.status.state) >= stateRank('assigned') &&
      fitnessFor(other, view) !== 'gone',
  )
  return Math.max(0, ...stopping.map(stopWaitMs))
}
