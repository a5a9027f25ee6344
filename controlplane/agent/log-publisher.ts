// Publishes the logs of this node's tasks to those who asked for them (dispatcher/log-broker.ts):
// one call per subscription, whose batches carry the lines of every task concerned. With `follow`,
// tasks that come later are added; otherwise the call ends when each task has said all it has.
//
// The executor's streams are read only as fast as the call takes what they say.

import type { ClientWritableStream } from '@grpc/grpc-js'
import type { Timers } from '../../base/timers.ts'
import type { LogBatch, LogMessage, LogSubscription__Output } from '../proto/dispatcher.ts'
import type { AssignedTask } from '../store/assignment.ts'
import type { LogLine, TaskController } from './executor.ts'
import {
  LOG_BATCH_BYTES,
  LOG_BATCH_LINES,
  LOG_DELAY_MS,
  LOG_LINE_BYTES_MAX,
  LOG_SUBSCRIPTIONS_MAX,
} from './limits.ts'
import type { Session } from './session.ts'

export interface LogSource {
  readonly task: AssignedTask
  readonly controller: TaskController
}

export interface LogPublisherParts {
  /** Every task of this node. */
  readonly sources: () => Iterable<LogSource>
  readonly timers: Timers
}

export class LogPublisher {
  readonly #parts: LogPublisherParts
  readonly #publications = new Map<string, Publication>()

  constructor(parts: LogPublisherParts) {
    this.#parts = parts
  }

  get size(): number {
    return this.#publications.size
  }

  /** Takes what the manager says of a subscription. */
  take(message: LogSubscription__Output, session: Session): void {
    const { id } = message
    if (message.close) {
      this.#publications.get(id)?.stop()
      return
    }
    if (this.#publications.has(id) || this.#publications.size >= LOG_SUBSCRIPTIONS_MAX) return
    const publication = new Publication(message, session, this.#parts.timers)
    this.#publications.set(id, publication)
    publication.run(this.#parts.sources()).finally(() => this.#publications.delete(id))
  }

  /** Tasks have come. */
  changed(): void {
    for (const publication of this.#publications.values()) publication.add(this.#parts.sources())
  }

  close(): void {
    for (const publication of this.#publications.values()) publication.stop()
  }
}

class Publication {
  readonly #subscription: LogSubscription__Output
  readonly #session: Session
  readonly #timers: Timers
  readonly #call: ClientWritableStream<LogBatch>
  readonly #abort = new AbortController()
  /** Tasks that are, or were, read. */
  readonly #tasks = new Set<string>()
  readonly #reading = new Set<Promise<void>>()
  #batch: LogMessage[] = []
  #bytes = 0
  #error = ''
  #cancelFlush: (() => void) | null = null
  #room: Promise<void> | null = null

  constructor(subscription: LogSubscription__Output, session: Session, timers: Timers) {
    this.#subscription = subscription
    this.#session = session
    this.#timers = timers
    this.#call = session.client.PublishLogs((error) => {
      if (error !== null) this.stop()
    })
    this.#call.on('error', () => this.stop())
    session.ended().then(() => this.stop())
  }

  stop(): void {
    this.#abort.abort()
  }

  async run(sources: Iterable<LogSource>): Promise<void> {
    const { signal } = this.#abort
    this.add(sources)
    if (this.#subscription.follow) {
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        else signal.addEventListener('abort', () => resolve())
      })
    }
    while (this.#reading.size > 0) await Promise.all(this.#reading)
    this.#cancelFlush?.()
    if (signal.aborted) this.#call.cancel()
    else {
      this.#write(true)
      this.#call.end()
    }
  }

  /** Begins to read the tasks that are concerned and not read yet. */
  add(sources: Iterable<LogSource>): void {
    const { serviceIds, taskIds } = this.#subscription
    if (this.#abort.signal.aborted) return
    if (this.#tasks.size > 0 && !this.#subscription.follow) return
    for (const source of sources) {
      const { id, serviceId } = source.task
      if (this.#tasks.has(id)) continue
      if (!taskIds.includes(id) && !serviceIds.includes(serviceId)) continue
      this.#tasks.add(id)
      const reading = this.#read(source)
        .catch((error: Error) => {
          if (!this.#abort.signal.aborted) this.#error = error.message
        })
        .finally(() => this.#reading.delete(reading))
      this.#reading.add(reading)
    }
  }

  async #read({ task, controller }: LogSource): Promise<void> {
    const { follow, tail, sinceMs, stdout, stderr } = this.#subscription
    const { signal } = this.#abort
    const options = { follow, tail, sinceMs, stdout, stderr }
    for await (const line of controller.logs(options, signal)) {
      if (signal.aborted) return
      await this.#put(task, line)
    }
  }

  async #put(task: AssignedTask, line: LogLine): Promise<void> {
    const { stream, timestampNs, attributes } = line
    const data = Buffer.from(line.data.subarray(0, LOG_LINE_BYTES_MAX))
    this.#batch.push({
      serviceId: task.serviceId,
      taskId: task.id,
      stderr: stream === 'stderr',
      timestampNs,
      attributes,
      data,
    })
    this.#bytes += data.length
    if (this.#batch.length >= LOG_BATCH_LINES || this.#bytes >= LOG_BATCH_BYTES) {
      this.#write(false)
    } else {
      this.#cancelFlush ??= this.#timers.after(LOG_DELAY_MS, () => this.#write(false))
    }
    if (this.#room !== null) await this.#room
  }

  #write(close: boolean): void {
    this.#cancelFlush?.()
    this.#cancelFlush = null
    if (this.#abort.signal.aborted || (this.#batch.length === 0 && !close)) return
    const messages = this.#batch
    this.#batch = []
    this.#bytes = 0
    const sessionId = this.#session.id
    const subscriptionId = this.#subscription.id
    const error = close ? this.#error : ''
    const hasRoom = this.#call.write({ sessionId, subscriptionId, messages, close, error })
    if (hasRoom || this.#room !== null) return
    this.#room = new Promise((resolve) => {
      const free = (): void => {
        this.#room = null
        resolve()
      }
      this.#call.once('drain', free)
      this.#abort.signal.addEventListener('abort', free)
    })
  }
}
