// The allocator: gives networks their VNI and subnets, services their VIPs and published ports,
// tasks their addresses, and then lets tasks go on to the scheduler (new -> pending). It alone
// gives these out, so that none is ever given twice.
//
//   network  before  service  before  task
//
// each when the ones before it are written: a task waits for its service, a service for its
// networks. What cannot be allocated is set aside with a sentence, which stands in the tasks that
// wait for it, and is tried again when something is given back, changed or added.
//
// A leader begins with what the store says is given out (state.ts), then looks at what has nothing.
// It also ends what was removed: a service when none of its tasks can run any more, a network when
// nobody is on it.

import { AssertionError } from '../../base/assert.ts'
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { type ControlLoop, type LoopContext, type PassEnd, Passes } from '../store/control-loop.ts'
import {
  isTerminal,
  type NetworkObject,
  type ServiceObject,
  type TaskObject,
} from '../store/objects.ts'
import { isEndpointDone } from './endpoints.ts'
import { endNetwork, endService, isNetworkOver, isServiceOver } from './ends.ts'
import { AllocationError } from './errors.ts'
import { ensureIngress } from './ingress.ts'
import {
  ALLOCATE_QUIET_MS,
  ALLOCATE_WAIT_MS_MAX,
  LOOKS_PER_PASS,
  TASKS_PER_PASS,
} from './limits.ts'
import { AllocatorState, isOver } from './state.ts'
import { explanationStep, networkStep, type Step, serviceStep, taskStep } from './steps.ts'

interface Counters extends Record<string, number> {
  networks: number
  services: number
  tasks: number
  /** Attempts that failed because nothing was left or two wanted the same. */
  refused: number
  /** Networks, services and tasks that wait, now. */
  waiting: number
  /** Addresses left on the network that has the fewest. */
  addressesFreeMin: number
}

type Kind = 'networks' | 'services' | 'tasks'

export class Allocator implements ControlLoop {
  readonly counters: Counters = {
    networks: 0,
    services: 0,
    tasks: 0,
    refused: 0,
    waiting: 0,
    addressesFreeMin: 0,
  }
  private readonly context: LoopContext
  private readonly passes: Passes
  private unwatch: (() => void) | null = null
  /** Null until there is a cluster, and after a reset. */
  private state: AllocatorState | null = null
  /** Ids to look at, oldest first. */
  private readonly due: Readonly<Record<Kind, Set<string>>> = newSets()
  /** Ids that wait, and what for. */
  private readonly refused: Readonly<Record<Kind, Map<string, string>>> = {
    networks: new Map(),
    services: new Map(),
    tasks: new Map(),
  }
  /** Removed networks and services that are still there. */
  private readonly ending = { networks: new Set<string>(), services: new Set<string>() }

  constructor(context: LoopContext) {
    this.context = context
    const pace = { quietMs: ALLOCATE_QUIET_MS, maxMs: ALLOCATE_WAIT_MS_MAX }
    this.passes = new Passes(context, 'allocator', pace, () => this.pass())
  }

  start(): void {
    this.unwatch?.()
    this.state = null
    this.unwatch = this.context.store.watch((event) => this.see(event))
    this.passes.start()
  }

  stop(): void {
    this.unwatch?.()
    this.unwatch = null
    this.state = null
    this.passes.stop()
  }

  /** Addresses left, by network: for metrics. */
  freeAddresses(): readonly { readonly network: string; readonly free: number }[] {
    if (this.state === null) return []
    return [...this.state.free()].map(([{ spec }, free]) => ({ network: spec.Name, free }))
  }

  // --- what changes ----------------------------------------------------------------------------

  private see(event: StoreEvent): void {
    if (event.kind === 'reset') {
      this.state = null
      this.passes.poke()
      return
    }
    const { state } = this
    let isNews = false
    for (const change of event.changes) {
      const isGone = change.kind === 'remove'
      if (change.table === 'tasks') isNews = this.seeTask(state, change.object, isGone) || isNews
      else if (change.table === 'services') this.seeService(state, change.object, isGone)
      else if (change.table === 'networks') this.seeNetwork(state, change.object, isGone)
      else if (change.table === 'nodes') isNews = this.hasEnding() || isNews
      if (change.table !== 'tasks' && change.table !== 'nodes') isNews = true
    }
    if (isNews) this.passes.poke()
  }

  private seeTask(state: AllocatorState | null, task: TaskObject, isGone: boolean): boolean {
    if (task.status.state === 'new' && !isGone) {
      this.due.tasks.add(task.id)
      return true
    }
    const mayEnd = isGone || isTerminal(task.status.state) || task.desiredState === 'remove'
    if (!isGone && !isOver(task)) {
      state?.holdForTask(task)
      return mayEnd && this.hasEnding()
    }
    this.due.tasks.delete(task.id)
    this.refused.tasks.delete(task.id)
    if (state?.drop(task.id) === true) this.retryRefused()
    return this.hasEnding() || this.hasRefused()
  }

  private seeService(state: AllocatorState | null, service: ServiceObject, isGone: boolean): void {
    const freed = isGone ? state?.removeService(service) : state?.setService(service)
    if (freed === true) this.retryRefused()
    if (isGone) {
      this.refused.services.delete(service.id)
      this.ending.services.delete(service.id)
      for (const id of this.refused.tasks.keys()) this.due.tasks.add(id)
      return
    }
    if (service.pendingDelete) this.ending.services.add(service.id)
    this.due.services.add(service.id)
  }

  private seeNetwork(state: AllocatorState | null, network: NetworkObject, isGone: boolean): void {
    if (isGone) {
      state?.removeNetwork(network)
      this.refused.networks.delete(network.id)
      this.ending.networks.delete(network.id)
    } else {
      state?.setNetwork(network)
      if (network.pendingDelete) this.ending.networks.add(network.id)
      if (network.allocation === null) this.due.networks.add(network.id)
    }
    this.retryRefused()
  }

  private hasEnding(): boolean {
    return this.ending.networks.size + this.ending.services.size > 0
  }

  private hasRefused(): boolean {
    const { networks, services, tasks } = this.refused
    return networks.size + services.size + tasks.size > 0
  }

  private retryRefused(): void {
    for (const kind of ['networks', 'services', 'tasks'] as const) {
      for (const id of this.refused[kind].keys()) this.due[kind].add(id)
    }
  }

  // --- passes ----------------------------------------------------------------------------------

  private async pass(): Promise<PassEnd> {
    const { store, newId } = this.context
    if (this.state === null) {
      await store.update((tx) => ensureIngress(tx, newId))
      if (!this.takeOver()) return 'done'
    }
    const steps = store.view((tx) => [
      ...this.planNetworks(tx),
      ...this.planServices(tx),
      ...this.planTasks(tx),
    ])
    const ends = store.view((tx) => this.planEnds(tx))
    const failed = new Set<number>()
    try {
      await store.batch(
        [...steps.map(({ write }) => write), ...ends],
        (at) => at < steps.length && failed.add(at),
      )
    } catch (error) {
      // Some of it may have been written: begin again with what the store says.
      this.state = null
      throw error
    }
    for (const at of failed) {
      const { undo, kind, id } = steps[at]!
      undo()
      this.due[kind].add(id)
    }
    for (const [at, { kind, isExplanation }] of steps.entries()) {
      if (!failed.has(at) && isExplanation !== true) this.counters[kind]++
    }
    this.count()
    // What was out of date is not tried again at once, lest a lasting fault become a busy loop.
    if (failed.size > 0) {
      this.passes.poke()
      return 'done'
    }
    const { networks, services, tasks } = this.due
    return networks.size + services.size + tasks.size > 0 ? 'more' : 'done'
  }

  /** Reads everything. False while there is no cluster. */
  private takeOver(): boolean {
    return this.context.store.view((tx) => {
      const cluster = tx.cluster()
      if (cluster === undefined) return false
      this.state = new AllocatorState(tx, cluster, this.context.log)
      for (const kind of ['networks', 'services', 'tasks'] as const) {
        this.due[kind].clear()
        this.refused[kind].clear()
      }
      for (const network of tx.all('networks')) this.seeNetwork(this.state, network, false)
      for (const service of tx.all('services')) this.seeService(this.state, service, false)
      for (const { id, status } of tx.all('tasks')) {
        if (status.state === 'new') this.due.tasks.add(id)
      }
      return true
    })
  }

  private count(): void {
    const { networks, services, tasks } = this.refused
    this.counters.waiting = networks.size + services.size + tasks.size
    const free = this.freeAddresses().map((one) => one.free)
    this.counters.addressesFreeMin = free.length === 0 ? 0 : Math.min(...free)
  }

  /** Runs `plan`; a refusal is remembered under `id`, for its tasks and for the next attempt. What
   * cannot be planned for another reason, a defect, is set aside too: it must not keep others. */
  private attempt(kind: Kind, id: string, plan: () => Step | null): Step[] {
    try {
      const step = plan()
      this.refused[kind].delete(id)
      return step === null ? [] : [step]
    } catch (error) {
      if (error instanceof AssertionError) throw error
      const isRefusal = error instanceof AllocationError
      const { message } = error as Error
      const why = isRefusal ? message : `internal error: ${message}`
      if (why !== '' && this.refused[kind].get(id) !== why) {
        this.context.log.warn('an allocation was refused', { id, error: why })
      }
      if (why !== '') this.counters.refused++
      this.refused[kind].set(id, why)
      return []
    }
  }

  private planNetworks(tx: ReadTransaction): Step[] {
    return takeAll(this.due.networks).flatMap((id) =>
      this.attempt('networks', id, () => networkStep(this.state!, tx.get('networks', id))),
    )
  }

  private planServices(tx: ReadTransaction): Step[] {
    return takeAll(this.due.services).flatMap((id) =>
      this.attempt('services', id, () => {
        const service = tx.get('services', id)
        if (service === undefined || service.pendingDelete) return null
        if (!isEndpointDone(service, this.state!.ingress())) {
          return serviceStep(this.state!, service, this.refused.networks)
        }
        if (this.refused.tasks.size > 0) this.wakeTasksOf(tx, id)
        return null
      }),
    )
  }

  private wakeTasksOf(tx: ReadTransaction, serviceId: string): void {
    for (const { id } of tx.find('tasks', 'service', serviceId)) {
      if (this.refused.tasks.has(id)) this.due.tasks.add(id)
    }
  }

  private planTasks(tx: ReadTransaction): Step[] {
    const steps: Step[] = []
    const nowMs = this.context.clock.wallMs()
    let looks = 0
    for (const id of this.due.tasks) {
      if (steps.length >= TASKS_PER_PASS || looks++ >= LOOKS_PER_PASS) break
      this.due.tasks.delete(id)
      const task = tx.get('tasks', id)
      if (task === undefined) continue
      if (this.waitsForService(tx, task)) continue
      const plan = (): Step | null => taskStep(this.state!, tx, task, this.refused, nowMs)
      steps.push(...this.attempt('tasks', id, plan))
      const why = this.refused.tasks.get(id) ?? ''
      if (why !== '' && task.status.error !== why) steps.push(explanationStep(id, why))
    }
    return steps
  }

  // --- ends ------------------------------------------------------------------------------------

  /** Most tasks are made before their service is allocated: cheaper than a refusal of each. */
  private waitsForService(tx: ReadTransaction, { id, serviceId }: TaskObject): boolean {
    const service = tx.get('services', serviceId)
    if (service === undefined || service.pendingDelete) return false
    if (isEndpointDone(service, this.state!.ingress())) return false
    if (this.refused.services.has(serviceId)) return false
    this.refused.tasks.set(id, '')
    return true
  }

  private planEnds(tx: ReadTransaction): ((tx: WriteTransaction) => void)[] {
    const { services, networks } = this.ending
    const overServices = [...services].filter((id) => isServiceOver(tx, id))
    const overNetworks = [...networks].filter((id) => isNetworkOver(tx, id))
    return [
      ...overServices.map((id) => (tx: WriteTransaction) => endService(tx, id)),
      ...overNetworks.map((id) => (tx: WriteTransaction) => endNetwork(tx, id)),
    ]
  }
}

function newSets(): Record<Kind, Set<string>> {
  return { networks: new Set(), services: new Set(), tasks: new Set() }
}

function takeAll(ids: Set<string>): string[] {
  const all = [...ids]
  ids.clear()
  return all
}
