// Rebalancing: moves running tasks to nodes that came later. Off unless asked for, by the label
// weft.rebalance=true of a service, or of the cluster for all services that do not say "false":
// a task that runs well is otherwise never disturbed.
//
// It looks when a node becomes able to take tasks, and goes on until nothing is left to gain. A
// move is worth it when the place that the scheduler would choose now has at least two tasks of the
// service fewer than the place where the task is: at the first level of the placement preferences
// at which the two differ, else between the two nodes. So each move makes the spread better, and
// there is an end.
//
// One task at a time in the whole cluster, with a pause behind each, and only of services all of
// whose tasks run. A move is a new task in the slot, start-first or stop-first as the service's
// updates are; the orchestrator stops the old one as in any replacement (orchestrator/tend.ts).

import type { ReadTransaction, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { type ControlLoop, type LoopContext, type PassEnd, Passes } from '../store/control-loop.ts'
import { newTask } from '../store/new-task.ts'
import {
  isTerminal,
  type NodeObject,
  type ServiceObject,
  stateRank,
  type TaskObject,
} from '../store/objects.ts'
import type { Labels } from '../store/specs.ts'
import { REBALANCE_LOOK_MS, REBALANCE_PAUSE_MS, SOURCES_MAX } from './limits.ts'
import { isWanted, NodeInfo } from './node-info.ts'
import { preferenceReaders, Spread } from './spread.ts'

const LABEL = 'weft.rebalance'

export class Rebalancer implements ControlLoop {
  readonly counters: { moves: number } & Record<string, number> = { moves: 0 }
  private readonly context: LoopContext
  private readonly passes: Passes
  private unwatch: (() => void) | null = null
  private cancelTimer: (() => void) | null = null
  /** A node came since everything was last found in balance. */
  private isDue = false
  /** Id of the task that is about to take another's place. */
  private moving: string | null = null
  private restUntilMs = 0

  constructor(context: LoopContext) {
    this.context = context
    const pace = { quietMs: REBALANCE_LOOK_MS, maxMs: REBALANCE_LOOK_MS }
    this.passes = new Passes(context, 'rebalancer', pace, () => this.pass())
  }

  start(): void {
    this.stop()
    this.isDue = true
    this.unwatch = this.context.store.watch((event) => this.see(event))
    this.passes.start()
  }

  stop(): void {
    this.unwatch?.()
    this.unwatch = null
    this.cancelTimer?.()
    this.cancelTimer = null
    this.moving = null
    this.passes.stop()
  }

  private see(event: StoreEvent): void {
    if (event.kind === 'reset') this.isDue = true
    else {
      for (const change of event.changes) {
        if (change.table !== 'nodes' || change.kind === 'remove') continue
        const was = change.kind === 'update' && isOpen(change.old)
        if (isOpen(change.object) && !was) this.isDue = true
      }
    }
    if (this.isDue && this.cancelTimer === null) this.passes.poke()
  }

  private async pass(): Promise<PassEnd> {
    if (!this.isDue) return 'done'
    const { store, clock } = this.context
    const isBusy = store.view((tx) => this.isMoving(tx)) || clock.nowMs() < this.restUntilMs
    const step = isBusy ? null : store.view((tx) => this.findMove(tx))
    if (step !== null) {
      this.moving = step.id
      this.restUntilMs = clock.nowMs() + REBALANCE_PAUSE_MS
      await store.update(step.write)
      this.counters.moves++
    } else if (!isBusy) this.isDue = store.view((tx) => hasUnsettled(tx))
    if (this.isDue) this.lookAgain()
    return 'done'
  }

  private lookAgain(): void {
    this.cancelTimer?.()
    this.cancelTimer = this.context.timers.after(REBALANCE_LOOK_MS, () => {
      this.cancelTimer = null
      this.passes.poke()
    })
  }

  private isMoving(tx: ReadTransaction): boolean {
    const task = this.moving === null ? undefined : tx.get('tasks', this.moving)
    const isUnder = task !== undefined && stateRank(task.status.state) < stateRank('running')
    if (!isUnder) this.moving = null
    return isUnder
  }

  private findMove(
    tx: ReadTransaction,
  ): { readonly id: string; readonly write: (tx: WriteTransaction) => void } | null {
    const services = tx.all('services').filter((service) => isAsked(tx, service))
    if (services.length === 0) return null
    const infos = readNodes(tx)
    for (const service of services) {
      const tasks = tx.find('tasks', 'service', service.id)
      if (!isSettled(service, tasks)) continue
      const task = this.worstPlaced(tasks.filter(isWanted), infos)
      if (task === null) continue
      const id = this.context.newId()
      const nowMs = this.context.clock.wallMs()
      return { id, write: (tx) => move(tx, task, id, nowMs) }
    }
    return null
  }

  /** A task that would go to a better place now. */
  private worstPlaced(
    tasks: readonly TaskObject[],
    infos: ReadonlyMap<string, NodeInfo>,
  ): TaskObject | null {
    const { random, clock } = this.context
    const byNode = Map.groupBy(tasks, ({ nodeId }) => nodeId)
    const fullest = [...byNode.values()].sort((a, b) => b.length - a.length)
    for (const there of fullest.slice(0, SOURCES_MAX)) {
      const task = there[0]!
      const from = infos.get(task.nodeId)
      if (from === undefined) continue
      const to = new Spread(task, infos.values(), random, clock.nowMs()).next(() => {})
      if (to !== null && to !== from && isWorthIt(task, from, to, infos)) return task
    }
    return null
  }
}

function isOpen({ status, spec }: NodeObject): boolean {
  return status.state === 'ready' && spec.Availability === 'active'
}

function isAsked(tx: ReadTransaction, { spec, pendingDelete }: ServiceObject): boolean {
  if (pendingDelete || spec.Mode.Replicated === undefined) return false
  const wish = (labels: Labels | undefined): string | undefined => labels?.[LABEL]?.toLowerCase()
  return (wish(spec.Labels) ?? wish(tx.cluster()?.spec.Labels)) === 'true'
}

const UPDATING = new Set(['updating', 'rollback_started'])

/** All its tasks run, and nothing is about to change that. */
function isSettled(service: ServiceObject, tasks: readonly TaskObject[]): boolean {
  const replicas = service.spec.Mode.Replicated?.Replicas ?? 0
  const wanted = tasks.filter(isWanted)
  return (
    !UPDATING.has(service.updateStatus?.state ?? '') &&
    wanted.length === replicas &&
    wanted.every(({ status }) => status.state === 'running')
  )
}

/** True when a service that is to be balanced is not at rest yet. */
function hasUnsettled(tx: ReadTransaction): boolean {
  return tx
    .all('services')
    .some(
      (service) =>
        isAsked(tx, service) && !isSettled(service, tx.find('tasks', 'service', service.id)),
    )
}

function readNodes(tx: ReadTransaction): ReadonlyMap<string, NodeInfo> {
  const infos = new Map(tx.all('nodes').map((node) => [node.id, new NodeInfo(node)]))
  for (const task of tx.all('tasks'))
    if (!isTerminal(task.status.state)) infos.get(task.nodeId)?.add(task)
  return infos
}

/** Compares where the branches of the two nodes part. */
function isWorthIt(
  task: TaskObject,
  from: NodeInfo,
  to: NodeInfo,
  infos: ReadonlyMap<string, NodeInfo>,
): boolean {
  let peers = [...infos.values()]
  for (const read of preferenceReaders(task)) {
    const [here, there] = [read(from), read(to)]
    if (here !== there) {
      const sum = (value: string): number =>
        peers.reduce((n, info) => n + (read(info) === value ? info.tasksOf(task.serviceId) : 0), 0)
      return sum(here) - sum(there) >= 2
    }
    peers = peers.filter((info) => read(info) === here)
  }
  return from.tasksOf(task.serviceId) - to.tasksOf(task.serviceId) >= 2
}

function move(tx: WriteTransaction, { id: oldId }: TaskObject, id: string, nowMs: number): void {
  const old = tx.get('tasks', oldId)
  const service = old === undefined ? undefined : tx.get('services', old.serviceId)
  if (old === undefined || service === undefined || service.pendingDelete) return
  if (!isWanted(old) || old.status.state !== 'running') return
  const isStartFirst = service.spec.UpdateConfig?.Order === 'start-first'
  const desiredState = isStartFirst ? 'running' : 'ready'
  const { slot } = old
  tx.create('tasks', newTask(service, tx.cluster(), { id, slot, nodeId: '', desiredState, nowMs }))
  if (!isStartFirst) tx.update('tasks', { ...old, desiredState: 'shutdown' })
}
