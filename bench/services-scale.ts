// How the control loops hold up at 1,000 nodes and 30,000 tasks: orchestrator, allocator, scheduler
// and store as a leader runs them, without Raft and network. Agents are played in the same process:
// every 100 ms all nodes report the tasks that they were given as running.
//
//   burst   30 services of 1,000 replicas, each on a network of its own, created at once
//   paced   300 services of 100 replicas, one every 100 ms: 1,000 tasks a second, for half a
// minute;
//           the delay is from a task's creation (new) to its node (assigned)

import process from 'node:process'
import { silentLogger } from '../base/log.ts'
import { prng } from '../base/prng.ts'
import type { Timers } from '../base/timers.ts'
import { Allocator } from '../controlplane/allocator/allocator.ts'
import { Orchestrator } from '../controlplane/orchestrator/orchestrator.ts'
import { Reaper } from '../controlplane/orchestrator/reaper.ts'
import { Scheduler } from '../controlplane/scheduler/scheduler.ts'
import type { ControlLoop, LoopContext } from '../controlplane/store/control-loop.ts'
import { newId } from '../controlplane/store/ids.ts'
import { counterBytes, localStore } from '../controlplane/store/local-store.ts'
import {
  clusterObject,
  networkObject,
  nodeObject,
  serviceObject,
  taskSpec,
} from '../controlplane/store/testing/objects.ts'
import type { Bench, Yield } from './harness.ts'

const NODES = 1_000
const TASKS = 30_000
const REPORT_MS = 100
const DEADLINE_MS = 120_000

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
const timers: Timers = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}

/** A leader with its nodes; counts tasks as they are placed and as they run. */
class Scene {
  readonly store = localStore(clock, counterBytes(), { freezes: false })
  readonly delaysMs: number[] = []
  running = 0
  private readonly loops: readonly ControlLoop[]
  private readonly assigned: string[] = []
  private readonly stopReports: () => void

  constructor() {
    const bytes = counterBytes()
    const context: LoopContext = {
      store: this.store,
      clock,
      timers,
      random: prng(1),
      log: silentLogger,
      newId: () => newId(bytes),
    }
    this.loops = [Orchestrator, Allocator, Scheduler, Reaper].map((Loop) => new Loop(context))
    this.store.watch((event) => {
      if (event.kind === 'reset') return
      for (const change of event.changes) {
        if (change.table !== 'tasks' || change.kind !== 'update') continue
        const { old, object } = change
        if (old.status.state === object.status.state) continue
        if (object.status.state === 'running') this.running++
        if (object.status.state !== 'assigned') continue
        this.assigned.push(object.id)
        this.delaysMs.push(Date.now() - object.meta.createdMs)
      }
    })
    const reports = setInterval(() => void this.report(), REPORT_MS)
    this.stopReports = () => clearInterval(reports)
  }

  async start(): Promise<void> {
    await this.store.update((tx) => {
      tx.create('clusters', clusterObject({ subnetSize: 20 }))
      for (let i = 0; i < NODES; i++) tx.create('nodes', nodeObject(`node${i}`))
    })
    for (const loop of this.loops) loop.start()
  }

  stop(): void {
    this.stopReports()
    for (const loop of this.loops) loop.stop()
  }

  async service(id: string, Replicas: number): Promise<void> {
    const TaskTemplate = taskSpec({
      Networks: [{ Target: `net-${id}` }],
      Resources: { Reservations: { NanoCPUs: 1e8, MemoryBytes: 2 ** 26 } },
      Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }] },
    })
    await this.store.update((tx) => {
      tx.create('networks', networkObject(`net-${id}`))
      tx.create('services', serviceObject(id, { TaskTemplate, Mode: { Replicated: { Replicas } } }))
    })
  }

  async until(tasks: number): Promise<void> {
    const endMs = clock.nowMs() + DEADLINE_MS
    while (this.running < tasks) {
      if (clock.nowMs() > endMs) throw new Error(`${this.running} of ${tasks} tasks run`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  private report(): Promise<void> {
    return this.store.batch(
      this.assigned.splice(0).map((id) => (tx) => {
        const task = tx.get('tasks', id)!
        const status = { ...task.status, state: 'running', atMs: Date.now() } as const
        tx.update('tasks', { ...task, status })
      }),
    )
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

async function burst(): Promise<Yield> {
  const scene = new Scene()
  await scene.start()
  const startMs = clock.nowMs()
  const cpu = process.cpuUsage()
  await Promise.all(Array.from({ length: 30 }, (_, i) => scene.service(`s${i}`, TASKS / 30)))
  await scene.until(TASKS)
  const seconds = (clock.nowMs() - startMs) / 1000
  const { user, system } = process.cpuUsage(cpu)
  scene.stop()
  return {
    'burst: all run after': seconds,
    'burst: processor time': (user + system) / 1e6,
    resident: process.memoryUsage().rss / 1e6,
  }
}

async function paced(): Promise<Yield> {
  const scene = new Scene()
  await scene.start()
  const startMs = clock.nowMs()
  const services = TASKS / 100
  for (let i = 0; i < services; i++) {
    const waitMs = startMs + i * 100 - clock.nowMs()
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    await scene.service(`s${i}`, TASKS / services)
  }
  await scene.until(TASKS)
  scene.stop()
  return {
    'paced: delay, median': percentile(scene.delaysMs, 0.5),
    'paced: delay, p99': percentile(scene.delaysMs, 0.99),
  }
}

export const bench: Bench = {
  name: 'services-scale',
  question: 'How soon do 30,000 tasks find their places on 1,000 nodes?',
  lab: false,
  metrics: [
    { name: 'burst: all run after', unit: 's' },
    { name: 'burst: processor time', unit: 's' },
    { name: 'resident', unit: 'MB' },
    { name: 'paced: delay, median', unit: 'ms' },
    { name: 'paced: delay, p99', unit: 'ms' },
  ],
  goals: [
    { metric: 'burst: all run after', atMost: 60 },
    { metric: 'paced: delay, p99', atMost: 400 },
    { metric: 'resident', atMost: 2000 },
  ],
  async contestants() {
    return [{ name: 'weft', measure: async () => ({ ...(await burst()), ...(await paced()) }) }]
  },
}
