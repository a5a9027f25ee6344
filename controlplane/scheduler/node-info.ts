// What the scheduler knows of a node: its tasks, what they leave free, and which services failed on
// it lately. Kept up to date task by task. What a task holds counts from its assignment until it
// has ended; as one of its service's and its node's tasks it counts only until it is told to stop,
// as in Swarm: what drains keeps nobody from a place among the replicas.

import { type NodeObject, stateRank, type TaskObject } from '../store/objects.ts'
import type { GenericResource, Resources } from '../store/specs.ts'
import { GenericPool } from './generic-resources.ts'
import { FAILING_VERSIONS_MAX, FAILURE_WINDOW_MS, FAILURES_BAD } from './limits.ts'

const NOTHING: Resources = {}

export function reservationsOf(task: Pick<TaskObject, 'spec'>): Resources {
  return task.spec.Resources?.Reservations ?? NOTHING
}

/** "tcp/8080" of each port that the task's node is to open itself. */
export function hostPortsOf(task: Pick<TaskObject, 'endpoint'>): readonly string[] {
  return (task.endpoint?.spec.Ports ?? []).flatMap(({ PublishMode, Protocol, PublishedPort }) =>
    PublishMode === 'host' && PublishedPort ? [`${Protocol}/${PublishedPort}`] : [],
  )
}

/** Tasks of one version of a service: what fails is a version. */
export function versionKey(task: Pick<TaskObject, 'serviceId' | 'specVersion'>): string {
  return `${task.serviceId}.${task.specVersion}`
}

/** False for a task that is to stop. */
export function isWanted({ desiredState }: TaskObject): boolean {
  return stateRank(desiredState) <= stateRank('complete')
}

export class NodeInfo {
  node: NodeObject
  /** By task id, what the task holds. */
  private readonly tasks = new Map<string, TaskObject>()
  private readonly perService = new Map<string, number>()
  private wanted = 0
  private readonly hostPorts = new Map<string, number>()
  private readonly failures = new Map<string, number[]>()
  private nanoCpus = 0
  private memoryBytes = 0
  private generic = new GenericPool([])

  constructor(node: NodeObject) {
    this.node = node
    this.generic = new GenericPool(node.description?.genericResources ?? [])
  }

  /** Tasks that are not to stop. */
  get taskCount(): number {
    return this.wanted
  }

  /** Those of a service. */
  tasksOf(serviceId: string): number {
    return this.perService.get(serviceId) ?? 0
  }

  has(taskId: string): boolean {
    return this.tasks.has(taskId)
  }

  allTasks(): IterableIterator<TaskObject> {
    return this.tasks.values()
  }

  /** The node changed; its tasks stay. */
  setNode(node: NodeObject): void {
    const { node: old } = this
    this.node = node
    if (old.description?.genericResources === node.description?.genericResources) return
    this.generic = new GenericPool(node.description?.genericResources ?? [])
    for (const task of this.tasks.values()) {
      this.generic.takeAssigned(task.assignedGenericResources)
    }
  }

  /** Counts a task in; one that is known replaces what was known of it. */
  add(task: TaskObject): void {
    this.remove(task.id)
    this.tasks.set(task.id, task)
    this.count(task, 1)
    this.generic.takeAssigned(task.assignedGenericResources)
  }

  /** True when the task was counted. */
  remove(taskId: string): boolean {
    const task = this.tasks.get(taskId)
    if (task === undefined) return false
    this.tasks.delete(taskId)
    this.count(task, -1)
    if (task.assignedGenericResources.length > 0) {
      this.generic = new GenericPool(this.node.description?.genericResources ?? [])
      for (const other of this.tasks.values()) {
        this.generic.takeAssigned(other.assignedGenericResources)
      }
    }
    return true
  }

  /** Counts in a task that was placed here, and says which generic resources it gets. */
  place(task: TaskObject): TaskObject {
    const wanted = reservationsOf(task).GenericResources ?? []
    const given: readonly GenericResource[] = wanted.length === 0 ? [] : this.generic.take(wanted)
    const placed = { ...task, nodeId: this.node.id, assignedGenericResources: given }
    this.tasks.set(task.id, placed)
    this.count(placed, 1)
    return placed
  }

  fits(wanted: Resources): boolean {
    const total = this.node.description?.resources
    const nanoCpus = wanted.NanoCPUs ?? 0
    const memoryBytes = wanted.MemoryBytes ?? 0
    if (nanoCpus > 0 && nanoCpus > (total?.nanoCpus ?? 0) - this.nanoCpus) return false
    if (memoryBytes > 0 && memoryBytes > (total?.memoryBytes ?? 0) - this.memoryBytes) return false
    return this.generic.has(wanted.GenericResources ?? [])
  }

  hasHostPort(key: string): boolean {
    return this.hostPorts.has(key)
  }

  recordFailure(version: string, nowMs: number): void {
    const times = this.recentFailures(version, nowMs)
    times.push(nowMs)
    // More than counts is not kept, nor are versions that fail no more.
    this.failures.set(version, times.slice(-2 * FAILURES_BAD))
    if (this.failures.size <= FAILING_VERSIONS_MAX) return
    for (const known of [...this.failures.keys()]) this.recentFailures(known, nowMs)
    const [oldest] = this.failures.keys()
    if (this.failures.size > FAILING_VERSIONS_MAX) this.failures.delete(oldest!)
  }

  /** Failures of late, 0 while they are too few to matter. */
  badness(version: string, nowMs: number): number {
    if (!this.failures.has(version)) return 0
    const { length } = this.recentFailures(version, nowMs)
    return length >= FAILURES_BAD ? length : 0
  }

  private recentFailures(version: string, nowMs: number): number[] {
    const times = (this.failures.get(version) ?? []).filter(
      (atMs) => nowMs - atMs <= FAILURE_WINDOW_MS,
    )
    if (times.length === 0) this.failures.delete(version)
    else this.failures.set(version, times)
    return times
  }

  private count(task: TaskObject, by: 1 | -1): void {
    if (isWanted(task)) {
      this.wanted += by
      bump(this.perService, task.serviceId, by)
    }
    for (const key of hostPortsOf(task)) bump(this.hostPorts, key, by)
    const { NanoCPUs, MemoryBytes } = reservationsOf(task)
    this.nanoCpus += by * (NanoCPUs ?? 0)
    this.memoryBytes += by * (MemoryBytes ?? 0)
  }
}

function bump(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}
