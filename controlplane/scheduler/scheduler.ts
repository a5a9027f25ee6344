// The scheduler: gives each task that the allocator is done with a node.
//
//   pending, without node   one is chosen (spread.ts); nobody suits: why is written into the task,
//                           and it is tried again when something changes on the nodes
//   pending, with node      tasks of global services: the node is only checked
//
// Tasks are placed in groups of one version of a service, all of which want the same. The scheduler
// keeps its own picture of the nodes (node-info.ts), follows the store with it, and counts a task
// in when it decides. A decision is looked at again within its transaction: if the task or the node
// is not what was seen any more it is dropped, and the task waits for the next pass.
//
// The order of tasks is the order in which they became pending. Nothing is preempted; placement
// does not look at how busy a node really is.

import { AssertionError } from '../../base/assert.ts'
import { Histogram } from '../../base/histogram.ts'
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { type ControlLoop, type LoopContext, type PassEnd, Passes } from '../store/control-loop.ts'
import { isTerminal, type NodeObject, stateRank, type TaskObject } from '../store/objects.ts'
import { Pipeline } from './filters.ts'
import {
  EXPLANATIONS_PER_PASS,
  SCHEDULE_QUIET_MS,
  SCHEDULE_WAIT_MS_MAX,
  TASKS_PER_PASS,
} from './limits.ts'
import { NodeInfo, versionKey } from './node-info.ts'
import { Spread } from './spread.ts'

interface Counters extends Record<string, number> {
  /** Tasks given a node. */
  assigned: number
  /** Decisions that were out of date when they were written. */
  stale: number
  /** Tasks that wait because no node suits, now. */
  waiting: number
  /** Sum over assigned tasks of the time since they became pending, and the longest. */
  delayMsSum: number
  delayMsMax: number
}

interface Decision {
  readonly task: TaskObject
  readonly info: NodeInfo
  readonly isPreassigned: boolean
}

/** What a pass is going to write. */
interface Plan {
  readonly decisions: Decision[]
  readonly explanations: { readonly task: TaskObject; readonly error: string }[]
  /** Some tasks were left for the next pass. */
  isCut: boolean
}

export class Scheduler implements ControlLoop {
  readonly counters: Counters = {
    assigned: 0,
    stale: 0,
    waiting: 0,
    delayMsSum: 0,
    delayMsMax: 0,
  }
  /** From a task's becoming pending to its having a node. */
  readonly delays: Histogram = new Histogram()
  private readonly context: LoopContext
  private readonly passes: Passes
  private readonly nodes = new Map<string, NodeInfo>()
  /** Where a task is counted in. */
  private readonly placed = new Map<string, NodeInfo>()
  private readonly pending = new Map<string, TaskObject>()

  constructor(context: LoopContext) {
    this.context = context
    const pace = { quietMs: SCHEDULE_QUIET_MS, maxMs: SCHEDULE_WAIT_MS_MAX }
    this.passes = new Passes(context, 'scheduler', pace, () => this.pass())
  }

  start(): void {
    this.passes.follow(
      (event) => this.see(event),
      (tx) => this.readAll(tx),
    )
  }

  stop(): void {
    this.passes.stop()
  }

  private readAll(tx: ReadTransaction): void {
    this.nodes.clear()
    this.placed.clear()
    this.pending.clear()
    for (const node of tx.all('nodes')) this.nodes.set(node.id, new NodeInfo(node))
    for (const task of tx.all('tasks')) this.seeTask(task)
  }

  private see(event: StoreEvent): void {
    if (event.kind === 'reset') {
      this.context.store.view((tx) => this.readAll(tx))
      this.passes.poke()
      return
    }
    let isNews = false
    for (const change of event.changes) {
      if (change.table === 'tasks') {
        if (change.kind === 'remove') isNews = this.forget(change.object.id) || isNews
        else isNews = this.seeTask(change.object) || isNews
      }
      if (change.table === 'nodes') {
        if (change.kind === 'remove') this.nodes.delete(change.object.id)
        else isNews = this.seeNode(change.object) || isNews
      }
    }
    if (isNews) this.passes.poke()
  }

  /** True when a task may find a place now that did not before. */
  private seeNode(node: NodeObject): boolean {
    const known = this.nodes.get(node.id)
    if (known !== undefined) known.setNode(node)
    else this.nodes.set(node.id, new NodeInfo(node))
    return this.pending.size > 0
  }

  private seeTask(task: TaskObject): boolean {
    const { state } = task.status
    if (isTerminal(state)) {
      const info = this.placed.get(task.id)
      const isFailure = state === 'failed' || state === 'rejected'
      if (isFailure) info?.recordFailure(versionKey(task), this.context.clock.nowMs())
      return this.forget(task.id)
    }
    if (stateRank(state) >= stateRank('assigned')) {
      this.pending.delete(task.id)
      return this.countIn(task) && this.pending.size > 0
    }
    // What is to stop before it ran takes no place.
    if (state !== 'pending' || stateRank(task.desiredState) > stateRank('complete')) {
      this.forget(task.id)
      return false
    }
    this.pending.set(task.id, task)
    return true
  }

  /** True when there is a place more among the service's replicas: the task is to stop now. */
  private countIn(task: TaskObject): boolean {
    const info = this.nodes.get(task.nodeId)
    const before = this.placed.get(task.id)
    if (before !== info) before?.remove(task.id)
    if (info === undefined) this.placed.delete(task.id)
    else {
      const count = info.tasksOf(task.serviceId)
      info.add(task)
      this.placed.set(task.id, info)
      return info.tasksOf(task.serviceId) < count
    }
    return false
  }

  /** True when the task's leaving made room. */
  private forget(taskId: string): boolean {
    this.pending.delete(taskId)
    const wasCounted = this.placed.get(taskId)?.remove(taskId) ?? false
    this.placed.delete(taskId)
    return wasCounted && this.pending.size > 0
  }

  private async pass(): Promise<PassEnd> {
    const plan = this.plan()
    const { decisions, explanations } = plan
    const steps = [
      ...decisions.map((decision) => (tx: WriteTransaction) => this.assign(tx, decision)),
      ...explanations.map(
        ({ task, error }) =>
          (tx: WriteTransaction) =>
            explain(tx, task, error),
      ),
    ]
    const failed = new Set<number>()
    try {
      await this.context.store.batch(steps, (step) => failed.add(step))
    } catch (error) {
      // What came through is told by the watch; what did not must not stay counted.
      this.context.store.view((tx) => this.readAll(tx))
      throw error
    }
    for (const [i, decision] of decisions.entries()) {
      if (failed.has(i)) this.takeBack(decision)
      else this.measure(decision.task)
    }
    this.counters.waiting = this.pending.size
    // What was out of date is not tried again at once, lest a lasting fault become a busy loop.
    if (failed.size > 0) this.passes.poke()
    return plan.isCut ? 'more' : 'done'
  }

  private plan(): Plan {
    const plan: Plan = { decisions: [], explanations: [], isCut: false }
    const groups = new Map<string, TaskObject[]>()
    for (const task of this.pending.values()) {
      if (task.nodeId !== '') {
        if (plan.decisions.length < TASKS_PER_PASS) this.planPreassigned(task, plan)
        else plan.isCut = true
        continue
      }
      const group = groups.get(versionKey(task))
      if (group === undefined) groups.set(versionKey(task), [task])
      else group.push(task)
    }
    for (const group of groups.values()) {
      if (plan.decisions.length < TASKS_PER_PASS) this.planSafely(group, plan)
      else plan.isCut = true
    }
    return plan
  }

  /** Tasks that cannot be planned, for a defect, must not keep the others from it. */
  private planSafely(group: readonly TaskObject[], plan: Plan): void {
    try {
      this.planGroup(group, plan)
    } catch (error) {
      if (error instanceof AssertionError) throw error
      const { serviceId } = group[0]!
      const { message } = error as Error
      this.context.log.error('tasks cannot be placed', { service: serviceId, error: message })
    }
  }

  private planPreassigned(task: TaskObject, plan: Plan): void {
    const info = this.nodes.get(task.nodeId)
    if (info === undefined) return
    const pipeline = new Pipeline(task)
    if (pipeline.accepts(info)) this.decide(task, info, true, plan)
    else this.planExplanation(task, pipeline.explain([info]), plan)
  }

  private planGroup(group: readonly TaskObject[], plan: Plan): void {
    const { random, clock } = this.context
    const spread = new Spread(group[0]!, this.nodes.values(), random, clock.nowMs())
    for (const [i, task] of group.entries()) {
      if (plan.decisions.length >= TASKS_PER_PASS) {
        plan.isCut = true
        return
      }
      const info = spread.next((info) => this.decide(task, info, false, plan))
      if (info !== null) continue
      const why = spread.explain(this.nodes.values())
      const error = why === '' ? 'no suitable node' : `no suitable node (${why})`
      for (const left of group.slice(i)) this.planExplanation(left, error, plan)
      return
    }
  }

  private decide(task: TaskObject, info: NodeInfo, isPreassigned: boolean, plan: Plan): void {
    const placed = info.place(task)
    this.placed.set(task.id, info)
    this.pending.delete(task.id)
    plan.decisions.push({ task: placed, info, isPreassigned })
  }

  private planExplanation(task: TaskObject, error: string, plan: Plan): void {
    if (task.status.error === error) return
    if (plan.explanations.length < EXPLANATIONS_PER_PASS) plan.explanations.push({ task, error })
    else plan.isCut = true
  }

  private assign(tx: WriteTransaction, { task, info, isPreassigned }: Decision): void {
    const now = tx.get('tasks', task.id)
    const node = tx.get('nodes', info.node.id)
    if (now === undefined || node === undefined) throw new Error('the task or its node is gone')
    const isAsSeen =
      now.status.state === 'pending' &&
      now.nodeId === (isPreassigned ? info.node.id : '') &&
      stateRank(now.desiredState) <= stateRank('complete') &&
      node.status.state === 'ready' &&
      node.spec.Availability === 'active'
    if (!isAsSeen) throw new Error('the task or its node changed')
    tx.update('tasks', {
      ...now,
      nodeId: node.id,
      assignedGenericResources: task.assignedGenericResources,
      status: {
        ...now.status,
        state: 'assigned',
        atMs: this.context.clock.wallMs(),
        error: '',
        message: isPreassigned
          ? 'scheduler confirmed task can run on preassigned node'
          : 'scheduler assigned task to node',
      },
    })
  }

  /** A decision that was not written. What the store has of the task counts. */
  private takeBack({ task }: Decision): void {
    this.counters.stale++
    this.forget(task.id)
    const now = this.context.store.view((tx) => tx.get('tasks', task.id))
    if (now !== undefined) this.seeTask(now)
  }

  private measure(task: TaskObject): void {
    const delayMs = Math.max(0, this.context.clock.wallMs() - task.status.atMs)
    this.counters.assigned++
    this.delays.add(delayMs)
    this.counters.delayMsSum += delayMs
    this.counters.delayMsMax = Math.max(this.counters.delayMsMax, delayMs)
  }
}

function explain(tx: WriteTransaction, { id }: TaskObject, error: string): void {
  const now = tx.get('tasks', id)
  if (now?.status.state !== 'pending') return
  // Not a new state: the time since which it waits stays.
  tx.update('tasks', { ...now, status: { ...now.status, error } })
}
