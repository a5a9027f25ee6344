// One session with the leader: the registration and the calls that hang on it (dispatcher.proto).
// It begins when the leader has answered the registration, and ends as a whole when any part of it
// fails or close() is called; session-loop.ts opens the next one.
//
//     Session      node, managers, keys: what comes is handed on
//     Assignments  kept in step (item-set.ts); called anew when it is not
//     Heartbeat    one stream; when the last answer said, and at once when there is something to
//                  acknowledge
//     Describe     every 20 s where the description has changed
//     UpdateTaskStatus, ListenLogs
//
// Edge: sockets by grpc-js, timers as handed in.

import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ServiceError,
  status as Status,
} from '@grpc/grpc-js'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type {
  AssignmentsMessage__Output,
  AttachRequest,
  AttachResponse__Output,
  Description,
  DispatcherClient,
  HeartbeatRequest,
  HeartbeatResponse__Output,
  LogSubscription__Output,
  SessionMessage__Output,
} from '../proto/dispatcher.ts'
import type { NetworkItem } from '../store/assignment.ts'
import { type ItemSet, type ItemsChange, OutOfStep } from './item-set.ts'
import * as limits from './limits.ts'
import type { StatusQueue } from './status-queue.ts'

/** What a session is made for. */
export interface SessionHost {
  /** The node as it describes itself now. */
  describe(): Promise<Description>
  /** What to say with a heartbeat, besides the session. */
  heartbeat(): HeartbeatRequest
  onMessage(message: SessionMessage__Output): void
  /** `items` has changed. */
  onItems(change: ItemsChange): void
  onLogs(message: LogSubscription__Output, session: Session): void
}

export interface SessionParts {
  readonly client: DispatcherClient
  readonly host: SessionHost
  readonly items: ItemSet
  readonly statuses: StatusQueue
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
}

export class Session {
  readonly client: DispatcherClient
  readonly #parts: SessionParts
  #id = ''
  #isOver = false
  #error: ServiceError | Error | null = null
  #end: () => void = () => {}
  readonly #ended: Promise<void>
  readonly #cancels = new Set<() => void>()
  #assignments: ClientReadableStream<AssignmentsMessage__Output> | null = null
  #periodMs = 1000
  #beats: ClientDuplexStream<HeartbeatRequest, HeartbeatResponse__Output> | null = null
  /** Heartbeats that wait for their answers. */
  #unanswered = 0
  #onAnswered: () => void = () => {}
  /** When the heartbeat under way was sent. */
  #beatMs = 0
  #isBeatWanted = false
  #cancelBeat: () => void = () => {}
  #description = ''
  #restarts = 0
  #isFlushing = false

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.client = parts.client
    this.#ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  get id(): string {
    return this.#id
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Registers. Resolves when the leader has taken the node in; rejects with the ServiceError. */
  async open(): Promise<void> {
    const description = await this.#parts.host.describe()
    this.#description = fingerprint(description)
    const deadlineMs = limits.CALL_TIMEOUT_MS
    const stream = this.client.Session({ description })
    this.#cancels.add(() => stream.cancel())
    const first = new Promise<void>((resolve) => {
      stream.on('data', (message: SessionMessage__Output) => {
        this.#id = message.sessionId
        if (message.heartbeatMs > 0) this.#periodMs = message.heartbeatMs
        if (!this.#isOver) this.#parts.host.onMessage(message)
        resolve()
      })
    })
    stream.on('error', (error) => this.close(error))
    stream.on('end', () => this.close(new Error('the manager ended the session')))
    const cancel = this.#after(deadlineMs, () => this.close(new Error('no answer')))
    await Promise.race([first, this.#ended])
    cancel()
    if (this.#isOver) throw this.#error ?? new Error('closed')
    this.#start()
  }

  /** Resolves when it is over; to the reason, null for a close() of ours. */
  async ended(): Promise<Error | null> {
    await this.#ended
    return this.#error
  }

  close(error: Error | null = null): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#error = error
    for (const cancel of [...this.#cancels]) cancel()
    this.#cancels.clear()
    this.#cancelBeat()
    this.#end()
  }

  /** There is something to acknowledge: the next heartbeat goes out now. */
  acknowledge(): void {
    if (this.#isOver || this.#id === '') return
    if (this.#unanswered > 0) this.#isBeatWanted = true
    else this.#beat()
  }

  /** The manager's own node does not answer through the tunnel. A heartbeat that it does not answer
   * either ends the session, sooner than by its time limit. To be called again while it is so. */
  doubt(): void {
    if (this.#isOver || this.#id === '') return
    const isLong = this.#parts.clock.nowMs() - this.#beatMs >= limits.DOUBT_MS
    if (this.#unanswered === 0) this.#beat()
    else if (isLong) this.close(new Error('the manager does not answer, nor does its tunnel'))
  }

  /** Tells the leader that the agent ends and is to be started again: it has that long for the
   * answer. */
  async farewell(limitMs: number): Promise<void> {
    if (this.#isOver || this.#id === '') return
    this.#send({ isReturning: true })
    const answered = new Promise<void>((resolve) => {
      this.#onAnswered = resolve
    })
    const late = new Promise<void>((resolve) => this.#after(limitMs, resolve))
    await Promise.race([answered, late, this.#ended])
  }

  /** Statuses wait in the queue. */
  flushStatuses(): void {
    if (this.#isOver || this.#isFlushing || this.#id === '') return
    this.#isFlushing = true
    this.#after(limits.STATUS_DELAY_MS, () => void this.#flush())
  }

  #start(): void {
    this.#openAssignments()
    this.#openLogs()
    this.#openBeats()
    this.#beat()
    this.flushStatuses()
    const describe = (): void => {
      this.#after(limits.DESCRIBE_MS, () => void this.redescribe().then(describe))
    }
    describe()
  }

  // -- attachments
  // ----------------------------------------------------------------------------------

  /** Rejects with the ServiceError. */
  async findNetwork(network: string): Promise<NetworkItem> {
    const response = await this.#ask<{ readonly network: Buffer }>((deadline, answer) => {
      this.client.FindNetwork({ sessionId: this.#id, network }, deadline, answer)
    })
    return JSON.parse(response.network.toString('utf8')) as NetworkItem
  }

  /** The id of the attachment's task. Rejects with the ServiceError. */
  async attach(request: Omit<AttachRequest, 'sessionId'>): Promise<string> {
    const response = await this.#ask<AttachResponse__Output>((deadline, answer) => {
      this.client.Attach({ ...request, sessionId: this.#id }, deadline, answer)
    })
    return response.taskId
  }

  async detach(taskId: string): Promise<void> {
    await this.#ask((deadline, answer) => {
      this.client.Detach({ sessionId: this.#id, taskId }, deadline, answer)
    })
  }

  #ask<Response>(
    call: (
      options: { deadline: number },
      answer: (error: ServiceError | null, response?: Response) => void,
    ) => void,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      call({ deadline: this.#deadline(limits.CALL_TIMEOUT_MS) }, (error, response) => {
        if (error === null) resolve(response!)
        else reject(error)
      })
    })
  }

  // -- assignments
  // ----------------------------------------------------------------------------------

  #openAssignments(): void {
    const { items, host, log } = this.#parts
    items.restart()
    const stream = this.client.Assignments({ sessionId: this.#id })
    this.#assignments = stream
    const cancel = (): void => stream.cancel()
    this.#cancels.add(cancel)
    stream.on('data', (message: AssignmentsMessage__Output) => {
      if (this.#isOver || this.#assignments !== stream) return
      try {
        const change = items.apply(message)
        if (change === null) return
        this.#restarts = 0
        host.onItems(change)
      } catch (error) {
        if (!(error instanceof OutOfStep)) throw error
        log.warn('the assignment is out of step; asking for all of it', { error: error.message })
        this.#assignments = null
        this.#cancels.delete(cancel)
        stream.cancel()
        const delayMs = Math.min(limits.RECONNECT_MS_MIN * 2 ** this.#restarts++, 8_000)
        this.#after(delayMs, () => this.#openAssignments())
      }
    })
    const fail = (error: Error): void => {
      if (this.#assignments === stream) this.close(error)
    }
    stream.on('error', fail)
    stream.on('end', () => fail(new Error('the manager ended the assignments')))
  }

  #openLogs(): void {
    const stream = this.client.ListenLogs({ sessionId: this.#id })
    this.#cancels.add(() => stream.cancel())
    stream.on('data', (message: LogSubscription__Output) => {
      if (!this.#isOver) this.#parts.host.onLogs(message, this)
    })
    // Logs are no reason to end a session; when it ends, this stream does.
    stream.on('error', () => {})
  }

  // -- heartbeats
  // -----------------------------------------------------------------------------------

  #openBeats(): void {
    const stream = this.client.Heartbeat()
    this.#beats = stream
    this.#cancels.add(() => stream.cancel())
    stream.on('data', ({ periodMs }: HeartbeatResponse__Output) => this.#answered(periodMs))
    stream.on('error', (error) => this.close(error))
    stream.on('end', () => this.close(new Error('the manager ended the heartbeats')))
  }

  #beat(): void {
    this.#cancelBeat()
    this.#beatMs = this.#parts.clock.nowMs()
    this.#isBeatWanted = false
    this.#send({})
    const waitMs = Math.min(Math.max(2 * this.#periodMs, 1000), limits.CALL_TIMEOUT_MS)
    this.#cancelBeat = this.#after(waitMs, () =>
      this.close(new Error('the manager did not answer a heartbeat')),
    )
  }

  #send(more: HeartbeatRequest): void {
    this.#unanswered++
    this.#beats!.write({ ...this.#parts.host.heartbeat(), ...more, sessionId: this.#id })
  }

  #answered(periodMs: number): void {
    this.#unanswered--
    if (this.#isOver || this.#unanswered > 0) return
    this.#cancelBeat()
    this.#onAnswered()
    if (periodMs > 0) this.#periodMs = periodMs
    const waitMs = this.#isBeatWanted ? limits.STATUS_DELAY_MS : this.#periodMs
    this.#cancelBeat = this.#parts.timers.after(waitMs, () => this.#beat())
  }

  // -- the node and its tasks
  // -----------------------------------------------------------------------

  /** Looks at the node again, and tells when it is not what it was. */
  async redescribe(): Promise<void> {
    if (this.#isOver) return
    const description = await this.#parts.host.describe()
    const text = fingerprint(description)
    if (this.#isOver || text === this.#description) return
    const request = { sessionId: this.#id, description }
    await new Promise<void>((resolve) => {
      const deadline = this.#deadline(limits.CALL_TIMEOUT_MS)
      this.client.Describe(request, { deadline }, (error) => {
        if (error === null) this.#description = text
        resolve()
      })
    })
  }

  async #flush(): Promise<void> {
    const { statuses, log } = this.#parts
    while (!this.#isOver && statuses.size > 0) {
      const updates = statuses.take(limits.STATUS_BATCH_MAX).map(({ taskId, status }) => ({
        taskId,
        status: Buffer.from(JSON.stringify(status)),
      }))
      const error = await this.#update(updates)
      if (error === null) {
        statuses.taken()
      } else if (error.code === Status.PERMISSION_DENIED) {
        log.error('the manager refused the status of a task', { error: error.details })
        statuses.taken()
      } else if (error.code === Status.RESOURCE_EXHAUSTED) {
        statuses.failed()
        await new Promise<void>((resolve) => this.#after(1000, resolve))
      } else {
        statuses.failed()
        this.close(error)
      }
    }
    this.#isFlushing = false
  }

  #update(updates: { taskId: string; status: Buffer }[]): Promise<ServiceError | null> {
    return new Promise((resolve) => {
      const deadline = this.#deadline(limits.CALL_TIMEOUT_MS)
      this.client.UpdateTaskStatus({ sessionId: this.#id, updates }, { deadline }, resolve)
    })
  }

  #deadline(waitMs: number): number {
    return this.#parts.clock.wallMs() + waitMs
  }

  /** A timer that ends with the session; then `run` is not called. */
  #after(delayMs: number, run: () => void): () => void {
    const stop = this.#parts.timers.after(delayMs, () => {
      this.#cancels.delete(stop)
      run()
    })
    this.#cancels.add(stop)
    return () => {
      stop()
      this.#cancels.delete(stop)
    }
  }
}

function fingerprint(description: Description): string {
  return JSON.stringify({ ...description, node: String(description.node) })
}
