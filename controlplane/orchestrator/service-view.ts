// What the planners see of a service: everything that their decisions rest on, at one moment, and
// the little that a leader remembers between them.

import type { ReadTransaction, Unversioned } from '../store/contract.ts'
import { goalOf, newTask } from '../store/new-task.ts'
import type {
  ClusterObject,
  NodeObject,
  ServiceObject,
  TaskObject,
  TaskState,
} from '../store/objects.ts'
import { isTaskDirty } from '../store/task-dirty.ts'
import type { Goal, Slot } from './slots.ts'
import type { UpdateRun } from './update-run.ts'

/** Lost with leadership: the next leader begins anew. */
export class ServiceMemory {
  run: UpdateRun | null = null
  /** When tasks that wait were first seen, by the monotonic clock. */
  private seen = new Map<string, number>()

  /** Milliseconds since the task was made: by the wall clock of whoever made it, or since it was
   * first seen, should that clock have been set back. Ask of tasks that wait only. */
  ageMs(task: TaskObject, nowMs: number, wallMs: number): number {
    const sinceMs = this.seen.get(task.id) ?? nowMs
    this.seen.set(task.id, sinceMs)
    return Math.max(nowMs - sinceMs, wallMs - task.meta.createdMs)
  }

  /** Forgets tasks that are not there any more. */
  prune(tasks: readonly TaskObject[]): void {
    if (this.seen.size === 0) return
    const ids = new Set(tasks.map(({ id }) => id))
    for (const id of this.seen.keys()) if (!ids.has(id)) this.seen.delete(id)
  }
}

interface Moment {
  readonly nowMs: number
  readonly wallMs: number
  readonly newId: () => string
}

/** Results of isTaskDirty: specs are values, and the same ones are compared pass after pass. */
const DIRT = new WeakMap<TaskObject, { readonly spec: unknown; readonly isDirty: boolean }>()

export class ServiceView {
  readonly service: ServiceObject
  readonly tasks: readonly TaskObject[]
  readonly memory: ServiceMemory
  readonly goal: Goal
  readonly nowMs: number
  readonly wallMs: number
  readonly newId: () => string
  private readonly tx: ReadTransaction
  private readonly cluster: ClusterObject | undefined

  constructor(tx: ReadTransaction, service: ServiceObject, memory: ServiceMemory, now: Moment) {
    this.tx = tx
    this.service = service
    this.tasks = tx.find('tasks', 'service', service.id)
    this.memory = memory
    this.goal = goalOf(service)
    this.cluster = tx.cluster()
    this.nowMs = now.nowMs
    this.wallMs = now.wallMs
    this.newId = now.newId
  }

  node(id: string): NodeObject | undefined {
    return this.tx.get('nodes', id)
  }

  nodes(): readonly NodeObject[] {
    return this.tx.all('nodes')
  }

  ageMs(task: TaskObject): number {
    return this.memory.ageMs(task, this.nowMs, this.wallMs)
  }

  isDirty(task: TaskObject): boolean {
    if (task.specVersion === this.service.specVersion) return false
    const known = DIRT.get(task)
    if (known !== undefined && known.spec === this.service.spec) return known.isDirty
    const isDirty = isTaskDirty(this.service, task, this.node(task.nodeId))
    DIRT.set(task, { spec: this.service.spec, isDirty })
    return isDirty
  }

  newTask(slot: Omit<Slot, 'tasks'>, desiredState: TaskState): Unversioned<TaskObject> {
    return newTask(this.service, this.cluster, {
      id: this.newId(),
      slot: slot.number,
      nodeId: slot.nodeId,
      desiredState,
      nowMs: this.wallMs,
    })
  }
}
