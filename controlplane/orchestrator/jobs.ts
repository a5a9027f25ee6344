// Jobs: tasks that are to complete, not to stay. Each update of a job's spec, a forced one too, is
// a new iteration that begins from nothing; tasks of earlier ones are taken out.
//
//   replicated-job   TotalCompletions slots from 0, at most MaxConcurrent of them at work
//   global-job       one on each node that is active and meets the constraints, also on nodes that
//                    come later
//
// A task that fails is followed by another as its restart policy says; a slot that is not followed
// any more has failed, and the job stays short of it.

import { empty, nodeTest } from './global.ts'
import type { Plan } from './plan.ts'
import { clear } from './replicated.ts'
import type { ServiceView } from './service-view.ts'
import { isAlive, type Slot, slotsByNode, slotsByNumber } from './slots.ts'
import { fill, kindOf, tend } from './tend.ts'
import { complete } from './update.ts'

export function planReplicatedJob(view: ServiceView, plan: Plan): void {
  complete(view, plan)
  const { TotalCompletions, MaxConcurrent } = view.service.spec.Mode.ReplicatedJob!
  const slots = slotsByNumber(dropEarlier(view, plan))
  let done = 0
  let live = 0
  const dead = new Set<number>()
  for (const [number, slot] of slots) {
    const kind = kindOf(slot, view)
    if (isComplete(slot) || kind === 'finished') done++
    else if (kind === 'live') {
      live++
      tend(slot, view, plan)
    } else dead.add(number)
  }
  const concurrent = MaxConcurrent === 0 ? TotalCompletions : MaxConcurrent
  let missing = Math.min(concurrent - live, TotalCompletions - done - live)
  for (let number = 0; missing > 0 && !plan.isFull; number++) {
    const slot = slots.get(number)
    if (slot !== undefined && !dead.has(number)) continue
    missing--
    addTo(slot ?? { number, nodeId: '', tasks: [] }, view, plan)
  }
}

export function planGlobalJob(view: ServiceView, plan: Plan): void {
  complete(view, plan)
  const slots = slotsByNode(dropEarlier(view, plan))
  const suits = nodeTest(view)
  for (const slot of slots.values()) {
    const node = view.node(slot.nodeId)
    if (node === undefined || !suits(node)) empty(slot, view, plan)
  }
  for (const node of view.nodes()) {
    const isReady = node.status.state === 'ready' && node.spec.Availability === 'active'
    if (!isReady || !suits(node)) continue
    const slot = slots.get(node.id) ?? { number: null, nodeId: node.id, tasks: [] }
    if (isComplete(slot)) continue
    const kind = kindOf(slot, view)
    if (kind === 'live') tend(slot, view, plan)
    else if (kind === 'dead') addTo(slot, view, plan)
  }
}

function addTo(slot: Slot, view: ServiceView, plan: Plan): void {
  plan.add(...fill(slot, view, slot.tasks.some(isAlive) ? 'ready' : 'complete'))
}

function isComplete({ tasks }: Slot): boolean {
  return tasks.some(({ status }) => status.state === 'complete')
}

/** Has tasks of earlier iterations taken out; returns the others. */
function dropEarlier(view: ServiceView, plan: Plan): ServiceView['tasks'] {
  const iteration = view.service.jobStatus?.iteration ?? 0
  const isCurrent = (task: (typeof view.tasks)[number]): boolean =>
    (task.jobIteration ?? 0) === iteration
  clear({ tasks: view.tasks.filter((task) => !isCurrent(task)) }, plan)
  return view.tasks.filter(isCurrent)
}
