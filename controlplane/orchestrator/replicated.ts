// Replicated services: as many slots as replicas, numbered from 1. More are added at the lowest
// free numbers; fewer: first go slots where nothing runs, then those on the nodes that have the
// most of them, so that what stays is spread.

import type { Plan } from './plan.ts'
import type { ServiceView } from './service-view.ts'
import { isAlive, isWanted, type Slot, slotsByNumber } from './slots.ts'
import { fill, kindOf, tend } from './tend.ts'
import { planUpdate } from './update.ts'

export function planReplicated(view: ServiceView, plan: Plan): void {
  const replicas = view.service.spec.Mode.Replicated?.Replicas ?? 0
  const slots = slotsByNumber(view.tasks)
  const active: Slot[] = []
  const dead: Slot[] = []
  for (const slot of slots.values()) (kindOf(slot, view) === 'dead' ? dead : active).push(slot)

  const dropped = new Set(slotsToDrop(active, active.length - replicas, view))
  for (const slot of dropped) clear(slot, plan)
  const kept = active.filter((slot) => !dropped.has(slot))
  for (const slot of kept) tend(slot, view, plan)
  planUpdate(kept, view, plan)

  const taken = new Set(active.map(({ number }) => number))
  const refilled = new Set<Slot>()
  for (let number = 1, missing = replicas - kept.length; missing > 0 && !plan.isFull; number++) {
    if (taken.has(number)) continue
    missing--
    const slot = slots.get(number) ?? { number, nodeId: '', tasks: [] }
    refilled.add(slot)
    plan.add(...fill(slot, view, slot.tasks.some(isAlive) ? 'ready' : 'running'))
  }
  for (const slot of dead) if (!refilled.has(slot)) clear(slot, plan)
}

/** Has every task of the slot stopped, and its history taken out. */
export function clear({ tasks }: Pick<Slot, 'tasks'>, plan: Plan): void {
  const left = tasks.filter(({ desiredState }) => desiredState !== 'remove')
  if (left.length === 0) return
  plan.add(...left.map(({ id }) => ({ kind: 'desire', taskId: id, state: 'remove' }) as const))
}

/** The `count` slots that service can best do without. */
function slotsToDrop(slots: readonly Slot[], count: number, view: ServiceView): readonly Slot[] {
  if (count <= 0) return []
  const ranked = slots.map((slot) => ({ slot, ...standing(slot, view) }))
  const perNode = new Map<string, number>()
  for (const { nodeId } of ranked) perNode.set(nodeId, (perNode.get(nodeId) ?? 0) + 1)
  const idle = ranked
    .filter(({ runs }) => !runs)
    .sort((a, b) => load(b) - load(a) || b.slot.number! - a.slot.number!)
  const dropped = idle.slice(0, count)
  for (const { nodeId } of dropped) perNode.set(nodeId, load({ nodeId }) - 1)

  // Slots that run, by node, the highest number last.
  const byNode = new Map<string, typeof ranked>()
  for (const one of ranked.filter(({ runs }) => runs)) {
    const there = byNode.get(one.nodeId)
    if (there === undefined) byNode.set(one.nodeId, [one])
    else there.push(one)
  }
  for (const there of byNode.values()) there.sort((a, b) => a.slot.number! - b.slot.number!)
  while (dropped.length < count) {
    const nodes = [...byNode].sort(
      ([a, inA], [b, inB]) =>
        load({ nodeId: b }) - load({ nodeId: a }) ||
        inB.at(-1)!.slot.number! - inA.at(-1)!.slot.number!,
    )
    const most = load({ nodeId: nodes[0]![0] })
    // All nodes that have the most lose one each.
    for (const [nodeId, there] of nodes) {
      if (load({ nodeId }) < most || dropped.length === count) break
      dropped.push(there.pop()!)
      perNode.set(nodeId, most - 1)
      if (there.length === 0) byNode.delete(nodeId)
    }
  }
  return dropped.map(({ slot }) => slot)

  function load({ nodeId }: { readonly nodeId: string }): number {
    // What has no node yet is the easiest to do without.
    return nodeId === '' ? Number.MAX_SAFE_INTEGER : (perNode.get(nodeId) ?? 0)
  }
}

function standing(
  { tasks }: Slot,
  { goal }: ServiceView,
): { readonly runs: boolean; readonly nodeId: string } {
  const wanted = tasks.filter((task) => isWanted(task, goal))
  const running = wanted.find(({ status }) => status.state === 'running')
  return { runs: running !== undefined, nodeId: (running ?? wanted[0])?.nodeId ?? '' }
}
