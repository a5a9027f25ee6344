// The constraint enforcer: when a node changes, its tasks must still be allowed there. A task whose
// service's constraints the node no longer meets, or for whose reservations it no longer has room,
// is rejected in the node's name; the orchestrator then puts another elsewhere, as after any other
// failure. Nodes that are drained or paused are left to their own rules.

import { ConstraintError, meetsConstraints, parseConstraints } from '../store/constraint.ts'
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { type ControlLoop, type LoopContext, type PassEnd, Passes } from '../store/control-loop.ts'
import { isTerminal, type NodeObject, stateRank, type TaskObject } from '../store/objects.ts'
import type { GenericResource } from '../store/specs.ts'
import { ENFORCE_QUIET_MS, ENFORCE_WAIT_MS_MAX } from './limits.ts'
import { newestFirst } from './slots.ts'

export class ConstraintEnforcer implements ControlLoop {
  readonly counters: { rejected: number } & Record<string, number> = { rejected: 0 }
  private readonly context: LoopContext
  private readonly passes: Passes
  private readonly due = new Set<string>()

  constructor(context: LoopContext) {
    this.context = context
    const pace = { quietMs: ENFORCE_QUIET_MS, maxMs: ENFORCE_WAIT_MS_MAX }
    this.passes = new Passes(context, 'constraint-enforcer', pace, () => this.pass())
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
    this.due.clear()
  }

  private readAll(tx: ReadTransaction): void {
    for (const { id } of tx.all('nodes')) this.due.add(id)
  }

  private see(event: StoreEvent): void {
    if (event.kind === 'reset') this.context.store.view((tx) => this.readAll(tx))
    else {
      for (const change of event.changes) {
        if (change.table === 'nodes' && change.kind === 'update') this.due.add(change.object.id)
      }
    }
    if (this.due.size > 0) this.passes.poke()
  }

  private async pass(): Promise<PassEnd> {
    const { store, clock } = this.context
    const nodes = [...this.due]
    this.due.clear()
    const ids = store.view((tx) => nodes.flatMap((id) => misplaced(tx, id)))
    let rejected = ids.length
    try {
      await store.batch(
        ids.map((id) => (tx) => reject(tx, id, clock.wallMs())),
        () => rejected--,
      )
    } catch (error) {
      for (const id of nodes) this.due.add(id)
      throw error
    }
    this.counters.rejected += rejected
    return 'done'
  }
}

/** Ids of tasks that may not stay on the node. */
function misplaced(tx: ReadTransaction, nodeId: string): string[] {
  const node = tx.get('nodes', nodeId)
  if (node === undefined || node.spec.Availability !== 'active') return []
  if (node.status.state !== 'ready') return []
  const held = tx
    .find('tasks', 'node', nodeId)
    .filter((task) => isPlaced(task) && task.serviceId !== '')
    .sort(newestFirst)
    .reverse()
  const allowed = held.filter((task) => allows(tx, node, task))
  const kept = new Set(withinResources(node, allowed))
  return held.filter((task) => !kept.has(task)).map(({ id }) => id)
}

function isPlaced({ status, desiredState }: TaskObject): boolean {
  const isMeant = stateRank(desiredState) <= stateRank('complete')
  const isThere = stateRank(status.state) >= stateRank('assigned')
  return isMeant && isThere && !isTerminal(status.state)
}

/** The service's constraints count, which an update may have changed without moving the task. */
function allows(tx: ReadTransaction, node: NodeObject, task: TaskObject): boolean {
  const spec = tx.get('services', task.serviceId)?.spec.TaskTemplate ?? task.spec
  try {
    return meetsConstraints(node, parseConstraints(spec.Placement?.Constraints ?? []))
  } catch (error) {
    if (error instanceof ConstraintError) return true
    throw error
  }
}

/** The oldest tasks that the node has room for. */
function withinResources(node: NodeObject, tasks: readonly TaskObject[]): readonly TaskObject[] {
  const total = node.description?.resources
  if (total === undefined) return tasks
  let { nanoCpus, memoryBytes } = total
  const generic = countsOf(node.description?.genericResources ?? [])
  return tasks.filter(({ spec, assignedGenericResources }) => {
    const { NanoCPUs = 0, MemoryBytes = 0 } = spec.Resources?.Reservations ?? {}
    if ((NanoCPUs > 0 && NanoCPUs > nanoCpus) || (MemoryBytes > 0 && MemoryBytes > memoryBytes)) {
      return false
    }
    const held = countsOf(assignedGenericResources)
    if ([...held].some(([key, count]) => count > (generic.get(key) ?? 0))) return false
    for (const [key, count] of held) generic.set(key, generic.get(key)! - count)
    nanoCpus -= NanoCPUs
    memoryBytes -= MemoryBytes
    return true
  })
}

/** How many there are of each number by its kind, and of each thing that has a name. */
function countsOf(resources: readonly GenericResource[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { NamedResourceSpec: named, DiscreteResourceSpec: discrete } of resources) {
    const key = named === undefined ? `${discrete?.Kind}` : `${named.Kind}=${named.Value}`
    counts.set(key, (counts.get(key) ?? 0) + (discrete?.Value ?? 1))
  }
  return counts
}

function reject(tx: WriteTransaction, id: string, nowMs: number): void {
  const task = tx.get('tasks', id)
  if (task === undefined || !isPlaced(task)) throw new Error('the task changed')
  tx.update('tasks', {
    ...task,
    status: {
      ...task.status,
      state: 'rejected',
      atMs: nowMs,
      message: 'task rejected by constraint enforcer',
      error: 'assigned node no longer meets constraints',
      isServing: false,
    },
  })
}
