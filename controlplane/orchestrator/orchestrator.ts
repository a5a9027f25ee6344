// The orchestrator of services: keeps, of every service, the tasks that its spec asks for. One loop
// for all modes; what a mode means is a planner (replicated.ts, global.ts, jobs.ts), what is done
// about the tasks of one place is tend.ts, how a new spec spreads is update.ts.
//
// A planner reads a service with its tasks and nodes as they are and says what to write. It is
// level- triggered: whatever happened, also while nobody led, the same state leads to the same
// plan, so that a new leader just plans every service once. A service is planned again when
// something that matters to it changed, and when a delay in its last plan is over.

import { AssertionError } from '../../base/assert.ts'
import type { Change, ReadTransaction, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { type ControlLoop, type LoopContext, type PassEnd, Passes } from '../store/control-loop.ts'
import { equalJson } from '../store/equal-json.ts'
import { slotKey } from '../store/indices.ts'
import {
  isTerminal,
  type NodeObject,
  type ServiceObject,
  type TaskObject,
} from '../store/objects.ts'
import { planGlobal } from './global.ts'
import { planGlobalJob, planReplicatedJob } from './jobs.ts'
import { ORCHESTRATE_QUIET_MS, ORCHESTRATE_WAIT_MS_MAX, STEPS_PER_PASS } from './limits.ts'
import { applyStep, Plan, StaleError, type Step } from './plan.ts'
import { clear, planReplicated } from './replicated.ts'
import { ServiceMemory, ServiceView } from './service-view.ts'
import { isAlive } from './slots.ts'

interface Counters extends Record<string, number> {
  /** Tasks made, and those of them that follow one that was told to shut down with it. */
  created: number
  replaced: number
  /** Plans that were out of date when they were written. */
  stale: number
  /** Services that a planner could not read: a defect. */
  unplannable: number
  updatesCompleted: number
  updatesPaused: number
  updatesRolledBack: number
}

type Mode = keyof ServiceObject['spec']['Mode']

const PLANNERS: Readonly<Record<Mode, (view: ServiceView, plan: Plan) => void>> = {
  Replicated: planReplicated,
  Global: planGlobal,
  ReplicatedJob: planReplicatedJob,
  GlobalJob: planGlobalJob,
}

export class Orchestrator implements ControlLoop {
  readonly counters: Counters = {
    created: 0,
    replaced: 0,
    stale: 0,
    unplannable: 0,
    updatesCompleted: 0,
    updatesPaused: 0,
    updatesRolledBack: 0,
  }
  private readonly context: LoopContext
  private readonly passes: Passes
  /** Ids of services to plan, oldest first. */
  private readonly due = new Set<string>()
  private readonly memories = new Map<string, ServiceMemory>()
  private readonly wakes = new Map<string, () => void>()
  /** Services that care for every node. */
  private readonly onEveryNode = new Set<string>()

  constructor(context: LoopContext) {
    this.context = context
    const pace = { quietMs: ORCHESTRATE_QUIET_MS, maxMs: ORCHESTRATE_WAIT_MS_MAX }
    this.passes = new Passes(context, 'orchestrator', pace, () => this.pass())
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
    for (const cancel of this.wakes.values()) cancel()
    this.wakes.clear()
    this.memories.clear()
    this.due.clear()
  }

  // --- what changes ----------------------------------------------------------------------------

  private readAll(tx: ReadTransaction): void {
    this.onEveryNode.clear()
    for (const service of tx.all('services')) this.seeService(service)
    // What was left when a service went.
    for (const { serviceId } of tx.all('tasks')) if (serviceId !== '') this.due.add(serviceId)
  }

  private see(event: StoreEvent): void {
    const { store } = this.context
    if (event.kind === 'reset') store.view((tx) => this.readAll(tx))
    else store.view((tx) => event.changes.forEach((change) => void this.seeChange(change, tx)))
    if (this.due.size > 0) this.passes.poke()
  }

  private seeChange(change: Change, tx: ReadTransaction): void {
    if (change.table === 'services') {
      if (change.kind === 'remove') this.forget(change.object.id)
      else this.seeService(change.object)
    } else if (change.table === 'tasks') {
      if (change.object.serviceId !== '' && this.matters(change, tx)) {
        this.due.add(change.object.serviceId)
      }
    } else if (change.table === 'nodes') {
      const isNews = change.kind !== 'update' || differs(change.old, change.object)
      if (isNews) this.seeNode(change.object, tx)
    }
  }

  private seeService({ id, spec }: ServiceObject): void {
    this.due.add(id)
    if (spec.Mode.Global !== undefined || spec.Mode.GlobalJob !== undefined)
      this.onEveryNode.add(id)
  }

  private forget(serviceId: string): void {
    this.memories.delete(serviceId)
    this.onEveryNode.delete(serviceId)
    this.wakes.get(serviceId)?.()
    this.wakes.delete(serviceId)
    this.due.add(serviceId)
  }

  private seeNode({ id }: NodeObject, tx: ReadTransaction): void {
    for (const serviceId of this.onEveryNode) this.due.add(serviceId)
    for (const { serviceId } of tx.find('tasks', 'node', id)) {
      if (serviceId !== '') this.due.add(serviceId)
    }
  }

  /** Of the many changes to tasks, those that can change a plan. */
  private matters(change: Change<'tasks'>, tx: ReadTransaction): boolean {
    const { object: task } = change
    if (change.kind === 'remove') return true
    if (change.kind === 'create') return !this.isAlone(task, tx)
    const { old } = change
    if (old.desiredState !== task.desiredState) return true
    if (old.status.state === task.status.state) return false
    if (isTerminal(task.status.state)) return true
    if (task.status.state !== 'running') return false
    return this.memories.get(task.serviceId)?.run != null || !this.isAlone(task, tx)
  }

  private isAlone(task: TaskObject, tx: ReadTransaction): boolean {
    return tx.find('tasks', 'slot', slotKey(task)).length === 1
  }

  // --- passes ----------------------------------------------------------------------------------

  private async pass(): Promise<PassEnd> {
    const { store, clock } = this.context
    const steps = store.view((tx) => this.planDue(tx))
    const isCut = this.due.size > 0
    const failed = new Set<number>()
    const writes = steps.map(
      ({ step }) =>
        (tx: WriteTransaction) =>
          applyStep(tx, step, clock.wallMs()),
    )
    try {
      await store.batch(writes, (at, error) => {
        failed.add(at)
        this.giveBack(steps[at]!.serviceId, error)
      })
    } catch (error) {
      // Nobody knows how much of it was written: all of it is planned anew.
      for (const { serviceId } of steps) this.due.add(serviceId)
      throw error
    }
    for (const [at, { step }] of steps.entries()) if (!failed.has(at)) this.count(step)
    this.counters.stale += failed.size
    if (failed.size > 0) this.passes.poke()
    return isCut ? 'more' : 'done'
  }

  private planDue(tx: ReadTransaction): { readonly serviceId: string; readonly step: Step }[] {
    const steps: { readonly serviceId: string; readonly step: Step }[] = []
    for (const serviceId of this.due) {
      if (steps.length >= STEPS_PER_PASS) break
      this.due.delete(serviceId)
      for (const step of this.planSafely(tx, serviceId)) {
        if (steps.length < STEPS_PER_PASS) steps.push({ serviceId, step })
        else {
          this.due.add(serviceId)
          break
        }
      }
    }
    return steps
  }

  /** A service that cannot be planned must not keep the others from it. */
  private planSafely(tx: ReadTransaction, serviceId: string): readonly Step[] {
    try {
      return this.plan(tx, serviceId).steps
    } catch (error) {
      if (error instanceof AssertionError) throw error
      this.counters.unplannable++
      this.context.log.error('a service cannot be planned', {
        service: serviceId,
        error: (error as Error).message,
      })
      return []
    }
  }

  private giveBack(serviceId: string, error: Error): void {
    this.due.add(serviceId)
    if (error instanceof StaleError) return
    this.context.log.warn('a step failed', { service: serviceId, error: error.message })
  }

  /** Plans one service; there is nothing to plan for one that is as it should be. */
  private plan(tx: ReadTransaction, serviceId: string): Plan {
    const plan = new Plan()
    this.wakes.get(serviceId)?.()
    this.wakes.delete(serviceId)
    const service = tx.get('services', serviceId)
    const tasks = tx.find('tasks', 'service', serviceId)
    orphanLost(tasks, tx, plan)
    if (service === undefined || service.pendingDelete) {
      for (const task of tasks) clear({ tasks: [task] }, plan)
      return plan
    }
    const memory = this.memories.get(serviceId) ?? new ServiceMemory()
    this.memories.set(serviceId, memory)
    memory.prune(tasks)
    const { clock, newId } = this.context
    const now = { nowMs: clock.nowMs(), wallMs: clock.wallMs(), newId }
    const view = new ServiceView(tx, service, memory, now)
    for (const mode of Object.keys(PLANNERS) as Mode[]) {
      if (service.spec.Mode[mode] !== undefined) PLANNERS[mode](view, plan)
    }
    if (plan.wakeMs !== null) this.wake(serviceId, plan.wakeMs)
    return plan
  }

  private wake(serviceId: string, delayMs: number): void {
    const cancel = this.context.timers.after(delayMs, () => {
      this.wakes.delete(serviceId)
      this.due.add(serviceId)
      this.passes.poke()
    })
    this.wakes.set(serviceId, cancel)
  }

  private count(step: Step): void {
    const isEnd = step.some(({ kind }) => kind === 'desire')
    for (const action of step) {
      if (action.kind === 'create') {
        this.counters.created++
        if (isEnd) this.counters.replaced++
      }
      if (action.kind !== 'service') continue
      const state = action.change.updateStatus?.state ?? ''
      if (state.endsWith('completed')) this.counters.updatesCompleted++
      if (state.endsWith('paused')) this.counters.updatesPaused++
      if (state === 'rollback_started') this.counters.updatesRolledBack++
    }
  }
}

/** Tasks that were to stop on a node that is no more. Those that are to run are replaced first. */
function orphanLost(tasks: readonly TaskObject[], tx: ReadTransaction, plan: Plan): void {
  for (const task of tasks) {
    if (task.nodeId === '' || !isAlive(task) || tx.get('nodes', task.nodeId) !== undefined) continue
    plan.add({ kind: 'orphan', taskId: task.id })
  }
}

/** What of a node matters to services. */
function differs(a: NodeObject, b: NodeObject): boolean {
  return (
    a.status.state !== b.status.state ||
    a.role !== b.role ||
    a.status.address !== b.status.address ||
    !equalJson(a.spec, b.spec) ||
    !equalJson(a.description, b.description)
  )
}
