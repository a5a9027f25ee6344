// A whole leader in memory: every control loop on one store, with agents that obey, and words for
// what tests do to services.

import type { Test } from 'tap'
import { Allocator } from '../../allocator/allocator.ts'
import { Scheduler } from '../../scheduler/scheduler.ts'
import type { NodeObject, ServiceObject, TaskObject } from '../../store/objects.ts'
import type { ServiceSpec } from '../../store/specs.ts'
import { LoopWorld } from '../../store/testing/loops.ts'
import { clusterObject, nodeObject, serviceObject } from '../../store/testing/objects.ts'
import { ConstraintEnforcer } from '../constraint-enforcer.ts'
import { Orchestrator } from '../orchestrator.ts'
import { Reaper } from '../reaper.ts'
import { FakeAgents } from './fake-agents.ts'

export class Leader {
  readonly world: LoopWorld
  readonly agents: FakeAgents
  orchestrator!: Orchestrator

  constructor(seed: number = 1) {
    this.world = new LoopWorld(seed)
    this.agents = new FakeAgents(this.world)
  }

  static async make(t: Test, nodes: number = 3, seed: number = 1): Promise<Leader> {
    const leader = new Leader(seed)
    await leader.world.add('clusters', clusterObject())
    for (let i = 1; i <= nodes; i++) await leader.world.add('nodes', nodeObject(`n${i}`))
    leader.lead()
    leader.agents.start()
    t.teardown(() => {
      leader.agents.stop()
      leader.world.stop()
    })
    return leader
  }

  /** Begins to lead; before that another one led. */
  lead(): void {
    this.world.stop()
    this.orchestrator = new Orchestrator(this.world.context)
    this.world.start(
      this.orchestrator,
      new Allocator(this.world.context),
      new Scheduler(this.world.context),
      new Reaper(this.world.context),
      new ConstraintEnforcer(this.world.context),
    )
  }

  run(ms: number): Promise<void> {
    return this.world.run(ms, 10)
  }

  async create(id: string, spec: Partial<ServiceSpec>, ms: number = 1_000): Promise<void> {
    const isJob = spec.Mode?.ReplicatedJob !== undefined || spec.Mode?.GlobalJob !== undefined
    const jobStatus = isJob ? { iteration: 0, lastExecutionMs: 0 } : null
    await this.world.add('services', serviceObject(id, spec, { jobStatus }))
    await this.run(ms)
  }

  /** What the API does to update a service. */
  async update(id: string, spec: Partial<ServiceSpec>, ms: number = 0): Promise<void> {
    await this.world.change('services', id, (service) => ({
      ...service,
      spec: { ...service.spec, ...spec },
      specVersion: service.meta.version,
      previousSpec: service.spec,
      previousSpecVersion: service.specVersion,
      updateStatus: null,
      jobStatus: nextIteration(service),
    }))
    await this.run(ms)
  }

  /** What the API does to roll a service back. */
  async rollback(id: string, ms: number = 0): Promise<void> {
    await this.world.change('services', id, (service) => ({
      ...service,
      spec: service.previousSpec!,
      specVersion: service.meta.version,
      previousSpec: service.spec,
      previousSpecVersion: service.specVersion,
      updateStatus: {
        state: 'rollback_started',
        startedMs: this.world.timers.clock.wallMs(),
        completedMs: null,
        message: 'manually requested rollback',
      },
      jobStatus: nextIteration(service),
    }))
    await this.run(ms)
  }

  async node(id: string, change: (node: NodeObject) => Partial<NodeObject>): Promise<void> {
    await this.world.change('nodes', id, (node) => ({ ...node, ...change(node) }))
  }

  availability(id: string, Availability: NodeObject['spec']['Availability']): Promise<void> {
    return this.node(id, ({ spec }) => ({ spec: { ...spec, Availability } }))
  }

  state(id: string, state: NodeObject['status']['state']): Promise<void> {
    return this.node(id, ({ status }) => ({ status: { ...status, state } }))
  }

  service(id: string): ServiceObject {
    return this.world.get('services', id)
  }

  /** Tasks of a service, oldest first. */
  tasks(id: string): readonly TaskObject[] {
    return this.world
      .all('tasks')
      .filter(({ serviceId }) => serviceId === id)
      .sort((a, b) => a.meta.createdMs - b.meta.createdMs || (a.id < b.id ? -1 : 1))
  }

  /** Those that run and are meant to. */
  running(id: string): readonly TaskObject[] {
    return this.tasks(id).filter(
      ({ status, desiredState }) => status.state === 'running' && desiredState === 'running',
    )
  }

  /** The agent's report of how a task ended. */
  async end(task: TaskObject, state: 'failed' | 'complete' | 'rejected' = 'failed'): Promise<void> {
    const atMs = this.world.timers.clock.wallMs()
    await this.world.change('tasks', task.id, (now) => ({
      ...now,
      status: { ...now.status, state, atMs },
    }))
  }
}

function nextIteration({ jobStatus }: ServiceObject): ServiceObject['jobStatus'] {
  return jobStatus === null ? null : { ...jobStatus, iteration: jobStatus.iteration + 1 }
}
