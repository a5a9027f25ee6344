// Logs of services and tasks: a request is told to the nodes that run the tasks in question, these
// publish what they have, and who asked reads it all as one sequence. SwarmKit's manager/logbroker.
//
// Without `follow` the sequence ends when every node concerned has said all it has, or is gone.
// With it, it goes on until the reader stops; nodes that get such a task later are told later.
// Lines of one task are in order; those of different tasks come as they come.
//
// Who publishes faster than the reader reads is held up: no more than LOG_LINES_WAITING_MAX lines
// and what is in flight are kept.

import type { LogBatch__Output, LogSubscription } from '../proto/dispatcher.ts'
import type { Change, Store } from '../store/contract.ts'
import type { TaskObject } from '../store/objects.ts'
import { DispatchError } from './errors.ts'
import { LOG_LINES_WAITING_MAX, LOG_SUBSCRIPTIONS_MAX } from './limits.ts'

export interface LogRequest {
  readonly serviceIds: readonly string[]
  readonly taskIds: readonly string[]
  readonly follow: boolean
  /** Lines from the end of each task; -1 = all. */
  readonly tail: number
  /** Milliseconds since 1970, 0 = from the beginning. */
  readonly sinceMs: number
  readonly stdout: boolean
  readonly stderr: boolean
}

export interface LogEntry {
  readonly nodeId: string
  readonly serviceId: string
  readonly taskId: string
  readonly stream: 'stdout' | 'stderr'
  /** Nanoseconds since 1970, decimal. */
  readonly timestampNs: string
  readonly attributes: Readonly<Record<string, string>>
  readonly data: Uint8Array
}

/** The way to a node that listens. */
export interface Listener {
  write(message: LogSubscription): void
}

interface Subscription {
  readonly id: string
  readonly request: LogRequest
  /** Nodes that were told and have not said all. */
  readonly awaited: Set<string>
  readonly told: Set<string>
  readonly queue: LogEntry[]
  error: string
  /** The reader waits. */
  wake: () => void
  /** Publishers that were held up. */
  readonly heldUp: Set<() => void>
  isOver: boolean
}

export class LogBroker {
  readonly #store: Store
  readonly #newId: () => string
  readonly #listeners = new Map<string, Listener>()
  readonly #subscriptions = new Map<string, Subscription>()

  constructor(parts: { readonly store: Store; readonly newId: () => string }) {
    this.#store = parts.store
    this.#newId = parts.newId
  }

  get size(): number {
    return this.#subscriptions.size
  }

  /** Reads logs; ends when all was read, when `signal` aborts or the leadership goes. Throws at the
   * first read when there are too many readers. */
  async *subscribe(request: LogRequest, signal: AbortSignal): AsyncGenerator<LogEntry> {
    if (this.#subscriptions.size >= LOG_SUBSCRIPTIONS_MAX) {
      throw new DispatchError('resource-exhausted', 'too many logs are being read')
    }
    const subscription = this.#open(request)
    const stop = (): void => {
      subscription.isOver = true
      subscription.wake()
    }
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
    try {
      for (;;) {
        const entry = subscription.queue.shift()
        if (entry !== undefined) {
          if (subscription.queue.length < LOG_LINES_WAITING_MAX / 2) release(subscription)
          yield entry
        } else if (subscription.isOver || isComplete(subscription)) {
          break
        } else {
          await new Promise<void>((resolve) => {
            subscription.wake = resolve
          })
        }
      }
      if (subscription.error !== '' && !signal.aborted) {
        throw new DispatchError('unavailable', subscription.error)
      }
    } finally {
      signal.removeEventListener('abort', stop)
      this.#close(subscription)
    }
  }

  /** A node listens for subscriptions. Returns what to call when it does so no more. */
  listen(nodeId: string, listener: Listener): () => void {
    this.#listeners.set(nodeId, listener)
    for (const subscription of this.#subscriptions.values()) this.#tell(subscription)
    return () => {
      if (this.#listeners.get(nodeId) !== listener) return
      this.#listeners.delete(nodeId)
      for (const subscription of this.#subscriptions.values()) {
        subscription.told.delete(nodeId)
        if (subscription.awaited.delete(nodeId)) subscription.wake()
      }
    }
  }

  /** Takes a batch. Returns true when more may come at once; otherwise `resume` is called when
   * there is room. Throws `not-found` when nobody reads any more. */
  publish(nodeId: string, batch: LogBatch__Output, resume: () => void): boolean {
    const subscription = this.#subscriptions.get(batch.subscriptionId)
    if (subscription === undefined || !subscription.told.has(nodeId)) {
      throw new DispatchError('not-found', 'nobody reads these logs any more')
    }
    for (const message of batch.messages) {
      const { serviceId, taskId, timestampNs, attributes, data } = message
      const stream = message.stderr ? 'stderr' : 'stdout'
      subscription.queue.push({
        nodeId,
        serviceId,
        taskId,
        stream,
        timestampNs,
        attributes,
        data,
      })
    }
    if (batch.close) {
      subscription.awaited.delete(nodeId)
      if (batch.error !== '') subscription.error = `node ${nodeId}: ${batch.error}`
    }
    subscription.wake()
    if (subscription.queue.length < LOG_LINES_WAITING_MAX) return true
    subscription.heldUp.add(resume)
    return false
  }

  /** Tasks may have come to nodes that do not know of a subscription yet. */
  changed(changes: readonly Change[]): void {
    if (this.#subscriptions.size === 0) return
    if (!changes.some(({ table }) => table === 'tasks')) return
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.request.follow) this.#tell(subscription)
    }
  }

  /** The leadership has gone. */
  close(): void {
    for (const subscription of this.#subscriptions.values()) {
      subscription.isOver = true
      subscription.error = 'this manager does not lead any more'
      subscription.wake()
    }
    this.#listeners.clear()
  }

  #open(request: LogRequest): Subscription {
    const subscription: Subscription = {
      id: this.#newId(),
      request,
      awaited: new Set(),
      told: new Set(),
      queue: [],
      error: '',
      wake: () => {},
      heldUp: new Set(),
      isOver: false,
    }
    this.#subscriptions.set(subscription.id, subscription)
    this.#tell(subscription)
    return subscription
  }

  #close(subscription: Subscription): void {
    this.#subscriptions.delete(subscription.id)
    release(subscription)
    for (const nodeId of subscription.told) {
      this.#listeners.get(nodeId)?.write({ id: subscription.id, close: true })
    }
  }

  /** Tells the nodes that have such tasks and do not know yet. */
  #tell(subscription: Subscription): void {
    const { request, told, awaited, id } = subscription
    for (const { nodeId } of this.#tasks(request)) {
      const listener = this.#listeners.get(nodeId)
      if (listener === undefined || told.has(nodeId)) continue
      told.add(nodeId)
      awaited.add(nodeId)
      listener.write({
        id,
        close: false,
        serviceIds: [...request.serviceIds],
        taskIds: [...request.taskIds],
        follow: request.follow,
        tail: request.tail,
        sinceMs: request.sinceMs,
        stdout: request.stdout,
        stderr: request.stderr,
      })
    }
  }

  #tasks({ serviceIds, taskIds }: LogRequest): TaskObject[] {
    return this.#store.view((tx) => [
      ...serviceIds.flatMap((id) => tx.find('tasks', 'service', id)),
      ...taskIds.flatMap((id) => tx.get('tasks', id) ?? []),
    ])
  }
}

function isComplete({ request, awaited }: Subscription): boolean {
  return !request.follow && awaited.size === 0
}

function release(subscription: Subscription): void {
  const heldUp = [...subscription.heldUp]
  subscription.heldUp.clear()
  for (const resume of heldUp) resume()
}
