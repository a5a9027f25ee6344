// One stream of the engine's events for everybody here. It wakes whoever watches a container or the
// networks; what has happened is then read from the engine itself, so that an event that is missed
// (the engine was away) only costs time.

import type { Readable } from 'node:stream'
import type Docker from 'dockerode'
import type { Logger } from '../../../base/log.ts'
import { TASK_LABEL } from './container-spec.ts'
import { EVENT_BYTES_MAX, EVENTS_RETRY_MS } from './limits.ts'

interface EngineEvent {
  readonly Type?: string
  readonly Action?: string
  readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> }
}

/** What may change something here. "health_status" stands for all of its kind. */
const ACTIONS = ['start', 'die', 'oom', 'destroy', 'health_status', 'connect', 'disconnect']
/** Whoever has a task's container started looks at it anyway. */
const EXPECTED = 'start'

/** Watched like a task: anything that happens to networks. */
export const NETWORKS = 'networks'

export class EngineEvents {
  readonly #docker: Docker
  readonly #log: Logger
  readonly #watchers = new Map<string, Set<() => void>>()
  #stream: Readable | null = null
  #isClosed = false
  #wakeRetry = (): void => {}

  constructor(docker: Docker, log: Logger) {
    this.#docker = docker
    this.#log = log
  }

  open(): void {
    void this.#follow()
  }

  close(): void {
    this.#isClosed = true
    this.#stream?.destroy()
    this.#wakeRetry()
    this.#wakeAll()
  }

  /** Calls `wake` when something happens to the task's container, or may have. Returns what ends
   * it. */
  watch(taskId: string, wake: () => void): () => void {
    const set = this.#watchers.get(taskId) ?? new Set()
    this.#watchers.set(taskId, set.add(wake))
    return () => {
      set.delete(wake)
      if (set.size === 0) this.#watchers.delete(taskId)
    }
  }

  async #follow(): Promise<void> {
    while (!this.#isClosed) {
      try {
        const type: ('container' | 'network')[] = ['container', 'network']
        const filters = { type, event: ACTIONS }
        const stream = (await this.#docker.getEvents({ filters })) as unknown as Readable
        this.#stream = stream
        if (this.#isClosed) stream.destroy()
        // Whatever happened before the stream began.
        this.#wakeAll()
        await this.#read(stream)
      } catch (error) {
        this.#log.debug('no events of the engine', { error: (error as Error).message })
      }
      this.#stream = null
      if (this.#isClosed) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, EVENTS_RETRY_MS)
        this.#wakeRetry = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  async #read(stream: Readable): Promise<void> {
    let rest = ''
    stream.setEncoding('utf8')
    for await (const chunk of stream) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > EVENT_BYTES_MAX) throw new Error('an event is too long')
      for (const line of lines) this.#onLine(line)
    }
  }

  #onLine(line: string): void {
    if (line.trim() === '') return
    const event = JSON.parse(line) as EngineEvent
    const key = event.Type === 'network' ? NETWORKS : event.Actor?.Attributes?.[TASK_LABEL]
    const isNews = key !== undefined && (key === NETWORKS || event.Action !== EXPECTED)
    if (isNews) for (const wake of [...(this.#watchers.get(key) ?? [])]) wake()
    // A container that ends leaves its networks.
    if (event.Type === 'container') for (const wake of this.#watchers.get(NETWORKS) ?? []) wake()
  }

  #wakeAll(): void {
    for (const set of [...this.#watchers.values()]) for (const wake of [...set]) wake()
  }
}
