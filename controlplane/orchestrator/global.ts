// Global services: one task on each node that meets the constraints, bound to it from the start.
//
//   active           has one
//   paused           keeps what it has; nothing is added, updated or started again
//   drained, down    has none; what was there is shut down, also when constraints are met no more
//   removed          leaves nothing behind: nobody else would ever take its history away
//
// Nodes come and go without the pace of updates.

import { ConstraintError, meetsConstraints, parseConstraints } from '../store/constraint.ts'
import type { NodeObject } from '../store/objects.ts'
import type { Plan } from './plan.ts'
import { clear } from './replicated.ts'
import type { ServiceView } from './service-view.ts'
import { fitnessOf, isAlive, isWanted, type Slot, slotsByNode } from './slots.ts'
import { fill, kindOf, tend } from './tend.ts'
import { planUpdate } from './update.ts'

export function planGlobal(view: ServiceView, plan: Plan): void {
  const slots = slotsByNode(view.tasks)
  const suits = nodeTest(view)
  for (const slot of slots.values()) {
    const node = view.node(slot.nodeId)
    if (node === undefined) clear(slot, plan)
    else if (!suits(node)) empty(slot, view, plan)
  }
  const tended: Slot[] = []
  for (const node of view.nodes()) {
    if (!suits(node) || node.spec.Availability !== 'active') continue
    const slot = slots.get(node.id) ?? { number: null, nodeId: node.id, tasks: [] }
    const kind = kindOf(slot, view)
    if (kind === 'dead')
      plan.add(...fill(slot, view, slot.tasks.some(isAlive) ? 'ready' : view.goal))
    else {
      tend(slot, view, plan)
      tended.push(slot)
    }
  }
  planUpdate(tended, view, plan)
}

/** Whether tasks of the service may be on a node. */
export function nodeTest({ service }: ServiceView): (node: NodeObject) => boolean {
  let constraints: ReturnType<typeof parseConstraints>
  try {
    constraints = parseConstraints(service.spec.TaskTemplate.Placement?.Constraints ?? [])
  } catch (error) {
    if (error instanceof ConstraintError) return () => false
    throw error
  }
  return (node) => fitnessOf(node) === 'fit' && meetsConstraints(node, constraints)
}

/** Shuts down what is meant to run. */
export function empty(slot: Pick<Slot, 'tasks'>, view: ServiceView, plan: Plan): void {
  for (const task of slot.tasks) {
    if (!isWanted(task, view.goal) || task.status.state === 'complete') continue
    plan.add({ kind: 'desire', taskId: task.id, state: 'shutdown' })
  }
}
