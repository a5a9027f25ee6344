// The stream of messages to one peer: kept open, opened again when it breaks.
//
//     connecting --accepted--> open --broken--> waiting --pause over, or knocked--> connecting
//          \--refused, no answer in time--------^
//
// Every attempt has a connection of its own, so that nothing of an old one delays or poisons the
// next. Pauses double up to a second. A peer that comes back calls us before our pause is over;
// that knock ends the pause, so that an election among members that just started is not held up by
// it.
//
// One frame is under way at a time; what gathers meanwhile leaves as the next. When a stream breaks
// what waits is dropped (Raft repeats it, in a fresher form) but for what decides elections.

import type { ClientWritableStream, ServiceError } from '@grpc/grpc-js'
import { type Logger, silentLogger } from '../../../../base/log.ts'
import type { Frame } from '../../../proto/generated/weft/raft/Frame.ts'
import type { Introduction } from '../../../proto/generated/weft/raft/Introduction.ts'
import type { RaftClient } from '../../../proto/generated/weft/raft/Raft.ts'
import type { Message } from '../../messages.ts'
import { saysRemoved } from './admission.ts'
import * as limits from './limits.ts'
import { SendQueue } from './send-queue.ts'

export interface PeerLinkOptions {
  /** A client on a new connection. */
  readonly dial: () => RaftClient
  readonly introduction: Introduction
  /** Messages did not get through. Not called from within send(). */
  readonly onUnreachable: () => void
  readonly onRemoved: () => void
  readonly logger?: Logger
}

interface Attempt {
  readonly client: RaftClient
  readonly call: ClientWritableStream<Frame>
  readonly timer: NodeJS.Timeout
  /** When the peer accepted; 0 until then. */
  openedMs: number
  writing: boolean
}

export class PeerLink {
  readonly queue: SendQueue = new SendQueue({
    messages: limits.QUEUE_MESSAGES_MAX,
    bytes: limits.QUEUE_BYTES_MAX,
  })
  readonly #options: PeerLinkOptions
  readonly #logger: Logger
  #attempt: Attempt | null = null
  #pause: NodeJS.Timeout | null = null
  #pauseMs = limits.BACKOFF_FIRST_MS
  #closed = false
  #flushQueued = false
  #reported = 0

  constructor(options: PeerLinkOptions) {
    this.#options = options
    this.#logger = options.logger ?? silentLogger
    this.#connect()
  }

  get connected(): boolean {
    return this.#attempt !== null && this.#attempt.openedMs > 0
  }

  send(message: Message): void {
    if (this.#closed) return
    this.queue.push(message)
    if (this.#flushQueued) return
    this.#flushQueued = true
    // What one turn of the caller sends leaves as one frame.
    queueMicrotask(() => {
      this.#flushQueued = false
      this.#flush()
      this.#reportDrops()
    })
  }

  /** The peer gave a sign of life: no reason to wait any longer. */
  knock(): void {
    if (this.#pause === null) return
    this.#pauseMs = limits.BACKOFF_FIRST_MS
    this.#connect()
  }

  /** Moves to a new connection, whose handshake shows the certificate of now. */
  renew(): void {
    const old = this.#attempt
    if (this.#closed || old === null) return
    this.#attempt = null
    clearTimeout(old.timer)
    this.#connect()
    if (old.openedMs > 0) old.call.end()
    else old.call.cancel()
  }

  close(): void {
    this.#closed = true
    if (this.#pause !== null) clearTimeout(this.#pause)
    this.#pause = null
    const attempt = this.#attempt
    this.#attempt = null
    if (attempt === null) return
    clearTimeout(attempt.timer)
    attempt.call.cancel()
    attempt.client.close()
  }

  #connect(): void {
    if (this.#pause !== null) clearTimeout(this.#pause)
    this.#pause = null
    const client = this.#options.dial()
    const call = client.converse((error) => {
      client.close()
      if (this.#attempt === attempt) this.#broken(attempt, error)
    })
    const timer = setTimeout(() => call.cancel(), limits.CONNECT_TIMEOUT_MS)
    const attempt: Attempt = { client, call, timer, openedMs: 0, writing: false }
    this.#attempt = attempt
    // A broken stream is reported above; here it would only end the process.
    call.on('error', () => {})
    call.on('metadata', () => {
      clearTimeout(timer)
      attempt.openedMs = performance.now()
      this.#flush()
    })
    call.write({ introduction: this.#options.introduction })
  }

  #flush(): void {
    const attempt = this.#attempt
    if (attempt === null || attempt.openedMs === 0 || attempt.writing) return
    if (this.queue.length === 0) return
    const messages = this.queue.take(limits.FRAME_BYTES, limits.MESSAGE_BYTES_MAX)
    if (messages.length === 0) return
    attempt.writing = true
    attempt.call.write({ messages }, () => {
      attempt.writing = false
      if (this.#attempt === attempt) this.#flush()
    })
  }

  #broken(attempt: Attempt, error: ServiceError | null): void {
    clearTimeout(attempt.timer)
    this.#attempt = null
    if (error !== null && saysRemoved(error)) this.#options.onRemoved()
    if (this.#closed) return
    const { openedMs } = attempt
    if (openedMs > 0) {
      this.#logger.info('lost the connection to a member', { reason: error?.details ?? 'ended' })
      this.#options.onUnreachable()
      const lasted = performance.now() - openedMs > limits.BACKOFF_LAST_MS
      if (lasted) this.#pauseMs = limits.BACKOFF_FIRST_MS
    } else {
      this.#logger.debug('cannot reach a member', { reason: error?.details ?? 'ended' })
    }
    this.queue.dropStale()
    this.#reportDrops()
    this.#pause = setTimeout(() => this.#connect(), this.#pauseMs)
    this.#pauseMs = Math.min(this.#pauseMs * 2, limits.BACKOFF_LAST_MS)
  }

  #reportDrops(): void {
    if (this.queue.dropped === this.#reported || this.#closed) return
    this.#reported = this.queue.dropped
    this.#options.onUnreachable()
  }
}
