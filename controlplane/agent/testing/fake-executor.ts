// An executor of tasks that exist only in memory. It survives a restart of the agent: what "runs"
// on this "node" is here, controllers are only views of it. Every call is noted; any step can be
// held up or made to fail.

import type { AssignedTask } from '../../store/assignment.ts'
import type { NodeDescription } from '../../store/objects.ts'
import {
  type Executor,
  type LogLine,
  type LogOptions,
  type TaskController,
  TaskError,
  type TaskHost,
} from '../executor.ts'

export type Step = 'prepare' | 'start' | 'wait' | 'shutdown' | 'remove'

interface Body {
  state: 'prepared' | 'running' | 'exited'
  exit: TaskError | null
}

export class FakeExecutor implements Executor {
  readonly calls: string[] = []
  /** What runs here, by task id. */
  readonly bodies: Map<string, Body> = new Map()
  /** `step` or `step taskId` to what it rejects with, once. */
  readonly failures: Map<string, Error> = new Map()
  /** Steps (`step` or `step taskId`) that do not settle until taken out and kicked. */
  readonly held: Set<string> = new Set()
  /** Tasks that were found unhealthy. */
  readonly sick: Set<string> = new Set()
  description: Omit<NodeDescription, 'tls'>
  lines: LogLine[] = []
  readonly #waiting = new Set<() => void>()

  constructor(hostname = 'node') {
    this.description = {
      hostname,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 2e9, memoryBytes: 4 * 2 ** 30 },
      genericResources: [],
      engine: { version: 'fake', labels: {}, plugins: [{ type: 'Network', name: 'overlay' }] },
      addresses: ['127.0.0.1'],
    }
  }

  describe(): Promise<Omit<NodeDescription, 'tls'>> {
    return Promise.resolve(this.description)
  }

  controller(task: AssignedTask, host: TaskHost): TaskController {
    return new FakeController(this, task, host)
  }

  remains(): Promise<readonly string[]> {
    return Promise.resolve([...this.bodies.keys()])
  }

  async removeRemains(taskId: string): Promise<void> {
    await this.step('remove', taskId)
    this.bodies.delete(taskId)
  }

  async close(): Promise<void> {}

  /** The task's process ends: by itself, or because of `error`. */
  exit(taskId: string, error: TaskError | null = null): void {
    const body = this.bodies.get(taskId)!
    body.state = 'exited'
    body.exit = error
    this.kick()
  }

  /** Lets everybody who waits look again. */
  kick(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  async until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    while (!condition()) {
      if (signal?.aborted) throw new Error('aborted')
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake)
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        this.#waiting.add(wake)
        signal?.addEventListener('abort', wake)
      })
    }
  }

  async step(step: Step, taskId: string, signal?: AbortSignal): Promise<void> {
    this.calls.push(`${step} ${taskId}`)
    await this.until(() => !this.held.has(step) && !this.held.has(`${step} ${taskId}`), signal)
    for (const key of [step, `${step} ${taskId}`]) {
      const error = this.failures.get(key)
      if (error === undefined) continue
      this.failures.delete(key)
      throw error
    }
  }
}

class FakeController implements TaskController {
  readonly #executor: FakeExecutor
  readonly #id: string
  readonly #host: TaskHost

  constructor(executor: FakeExecutor, task: AssignedTask, host: TaskHost) {
    this.#executor = executor
    this.#id = task.id
    this.#host = host
  }

  update(): void {}

  get isSick(): boolean {
    return this.#executor.sick.has(this.#id)
  }

  async prepare(signal: AbortSignal): Promise<void> {
    await this.#executor.step('prepare', this.#id, signal)
    if (this.#body === undefined)
      this.#executor.bodies.set(this.#id, { state: 'prepared', exit: null })
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#executor.step('start', this.#id, signal)
    const body = this.#body
    if (body === undefined) throw new TaskError('task: not prepared')
    if (body.state === 'prepared') {
      await this.#host.networked(signal)
      this.#executor.calls.push(`run ${this.#id}`)
      body.state = 'running'
    }
    this.#host.changed()
  }

  async wait(signal: AbortSignal): Promise<void> {
    await this.#executor.step('wait', this.#id, signal)
    await this.#executor.until(() => this.#body?.state !== 'running', signal)
    const body = this.#body
    if (body === undefined) throw new TaskError('task: gone')
    if (body.exit !== null) throw body.exit
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    await this.#executor.step('shutdown', this.#id, signal)
    this.#stop()
  }

  async terminate(): Promise<void> {
    this.#executor.calls.push(`terminate ${this.#id}`)
    this.#stop()
  }

  async remove(): Promise<void> {
    await this.#executor.step('remove', this.#id)
    this.#executor.bodies.delete(this.#id)
  }

  status(): ReturnType<TaskController['status']> {
    const body = this.#body
    if (body === undefined || body.state === 'prepared') return { container: null, hostPorts: [] }
    const pid = body.state === 'running' ? 4242 : 0
    return {
      container: { id: `c-${this.#id}`, pid, exitCode: body.exit?.exitCode ?? 0 },
      hostPorts: [],
    }
  }

  interfaceOf(networkId: string): ReturnType<TaskController['interfaceOf']> {
    if (this.#body === undefined) return null
    return { netns: `/run/netns/${this.#id}`, name: `eth-${networkId.slice(0, 8)}` }
  }

  async *logs(options: LogOptions, signal: AbortSignal): AsyncIterable<LogLine> {
    const all = this.#executor.lines.filter((line) => options[line.stream])
    yield* options.tail < 0 ? all : all.slice(Math.max(0, all.length - options.tail))
    if (options.follow) await this.#executor.until(() => false, signal).catch(() => {})
  }

  get #body(): Body | undefined {
    return this.#executor.bodies.get(this.#id)
  }

  #stop(): void {
    const body = this.#body
    if (body !== undefined) body.state = 'exited'
    this.#executor.kick()
  }
}
