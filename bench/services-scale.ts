// How the control loops hold up at 1,000 nodes and 30,000 tasks: orchestrator, allocator, scheduler
// and store as a leader runs them, without Raft and network. Agents are played in the same process:
// every 100 ms all nodes report the tasks that they were given as running.
//
//   burst   30 services of 1,000 replicas, each on a network of its own, created at once
//   paced   300 services of 100 replicas, one every 100 ms: 1,000 tasks a second, for half a
//           minute; the delay is from a task's creation (new) to its node (assigned)
//
// Time is the processor's: the clock that the loops see goes on by what this process computes, and
// jumps to the next timer when nothing is left to do. So figures are those of a core of one's own,
// whatever else the machine does; `wall` is what the same burst took by the clock on the wall.

import process from 'node:process'
import type { Clock } from '../base/clock.ts'
import { silentLogger } from '../base/log.ts'
import { prng } from '../base/prng.ts'
import type { Timers } from '../base/timers.ts'
import { Allocator } from '../controlplane/allocator/allocator.ts'
import { Orchestrator } from '../controlplane/orchestrator/orchestrator.ts'
import { Reaper } from '../controlplane/orchestrator/reaper.ts'
import { Scheduler } from '../controlplane/scheduler/scheduler.ts'
import type { WriteTransaction } from '../controlplane/store/contract.ts'
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

/** Clock and timers by processor time. */
class ProcessorTime implements Clock, Timers {
  private skippedMs = 0
  private readonly startMs = Date.now()
  private readonly waiting = new Set<{ readonly atMs: number; readonly run: () => void }>()

  nowMs(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000 + this.skippedMs
  }

  wallMs(): number {
    return this.startMs + this.nowMs()
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.nowMs() + delayMs, run }
    this.waiting.add(timer)
    return () => this.waiting.delete(timer)
  }

  /** Runs what is due, and time with it, until `isDone`. */
  async runUntil(isDone: () => boolean): Promise<void> {
    const endMs = this.nowMs() + DEADLINE_MS
    while (!isDone()) {
      // All that promises alone can do is done after that.
      await new Promise((resolve) => setImmediate(resolve))
      const nowMs = this.nowMs()
      if (nowMs > endMs) throw new Error(`not done after ${DEADLINE_MS} ms`)
      const next = [...this.waiting].sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined) throw new Error('nothing is left to wait for')
      if (next.atMs > nowMs) this.skippedMs += next.atMs - nowMs
      this.waiting.delete(next)
      next.run()
    }
  }
}

/** A leader with its nodes; counts tasks as they are placed and as they run. */
class Scene {
  readonly time = new ProcessorTime()
  readonly store = localStore(this.time, counterBytes(), { freezes: false })
  readonly delaysMs: number[] = []
  running = 0
  private readonly loops: readonly ControlLoop[]
  private readonly assigned: string[] = []

  constructor() {
    const bytes = counterBytes()
    const context: LoopContext = {
      store: this.store,
      clock: this.time,
      timers: this.time,
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
        this.delaysMs.push(this.time.wallMs() - object.meta.createdMs)
      }
    })
    this.report()
  }

  async start(): Promise<void> {
    await this.store.update((tx) => {
      tx.create('clusters', clusterObject({ subnetSize: 20 }))
      for (let i = 0; i < NODES; i++) tx.create('nodes', nodeObject(`node${i}`))
    })
    for (const loop of this.loops) loop.start()
  }

  stop(): void {
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

  until(tasks: number): Promise<void> {
    return this.time.runUntil(() => this.running >= tasks)
  }

  private report(): void {
    this.time.after(REPORT_MS, () => {
      const steps = this.assigned.splice(0).map((id) => (tx: WriteTransaction) => {
        const task = tx.get('tasks', id)!
        const status = { ...task.status, state: 'running', atMs: this.time.wallMs() } as const
        tx.update('tasks', { ...task, status })
      })
      void this.store.batch(steps)
      this.report()
    })
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

async function burst(): Promise<Yield> {
  const scene = new Scene()
  await scene.start()
  const [startMs, wallMs] = [scene.time.nowMs(), performance.now()]
  await Promise.all(Array.from({ length: 30 }, (_, i) => scene.service(`s${i}`, TASKS / 30)))
  await scene.until(TASKS)
  scene.stop()
  return {
    'burst: all run after': (scene.time.nowMs() - startMs) / 1000,
    'burst: wall': (performance.now() - wallMs) / 1000,
    resident: process.memoryUsage().rss / 1e6,
  }
}

async function paced(): Promise<Yield> {
  const scene = new Scene()
  await scene.start()
  const services = TASKS / 100
  for (let i = 0; i < services; i++) {
    scene.time.after(i * 100, () => void scene.service(`s${i}`, TASKS / services))
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
    { name: 'burst: wall', unit: 's' },
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
