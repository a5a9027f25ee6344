// Slots: the places of a service that are to be filled, by number, or by node for global services.
// A task is never started again; a new one takes its slot, and the old ones are its history.

import { isTerminal, type NodeObject, stateRank, type TaskObject } from '../store/objects.ts'

export interface Slot {
  /** Null for a slot that is a node. */
  readonly number: number | null
  /** '' for a numbered slot. */
  readonly nodeId: string
  /** Newest first. */
  readonly tasks: readonly TaskObject[]
}

/** What tasks of a service aim at. */
export type Goal = 'running' | 'complete'

/** True while the task is meant to run, whether or not it does. */
export function isWanted(task: TaskObject, goal: Goal): boolean {
  return stateRank(task.desiredState) <= stateRank(goal)
}

/** True when it may run, now or later, as far as is known. */
export function isAlive(task: TaskObject): boolean {
  return !isTerminal(task.status.state)
}

export function slotsByNumber(tasks: readonly TaskObject[]): Map<number, Slot> {
  const slots = new Map<number, TaskObject[]>()
  for (const task of tasks) {
    if (task.slot === null) continue
    const slot = slots.get(task.slot)
    if (slot === undefined) slots.set(task.slot, [task])
    else slot.push(task)
  }
  return new Map(
    [...slots].map(([number, tasks]) => [
      number,
      { number, nodeId: '', tasks: tasks.sort(newestFirst) },
    ]),
  )
}

export function slotsByNode(tasks: readonly TaskObject[]): Map<string, Slot> {
  const slots = new Map<string, TaskObject[]>()
  for (const task of tasks) {
    const slot = slots.get(task.nodeId)
    if (slot === undefined) slots.set(task.nodeId, [task])
    else slot.push(task)
  }
  return new Map(
    [...slots].map(([nodeId, tasks]) => [
      nodeId,
      { number: null, nodeId, tasks: tasks.sort(newestFirst) },
    ]),
  )
}

/** By age; those of one moment in a fixed order. */
export function newestFirst(a: TaskObject, b: TaskObject): number {
  return b.meta.createdMs - a.meta.createdMs || (a.id < b.id ? 1 : -1)
}

/** What a node does to the tasks on it: "gone" nodes cannot be waited for. */
export type NodeFitness = 'fit' | 'draining' | 'gone'

export function fitnessOf(node: NodeObject | undefined): NodeFitness {
  if (node === undefined || node.status.state === 'down') return 'gone'
  return node.spec.Availability === 'drain' ? 'draining' : 'fit'
}
