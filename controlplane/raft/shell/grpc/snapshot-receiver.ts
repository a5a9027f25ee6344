// One snapshot from one peer. Nothing is believed but what arrived: memory grows with the bytes,
// not with the size that the header claims, and the message is handed on only if size and digest
// are right.

import { createHash } from 'node:crypto'
import { type ServerDuplexStream, status } from '@grpc/grpc-js'
import type { SnapshotChunk__Output } from '../../../proto/generated/weft/raft/SnapshotChunk.ts'
import type { SnapshotHeader__Output } from '../../../proto/generated/weft/raft/SnapshotHeader.ts'
import type { SnapshotProgress } from '../../../proto/generated/weft/raft/SnapshotProgress.ts'
import type { CallRefusal } from '../../../proto/server.ts'
import type { Message, Snapshot } from '../../messages.ts'
import { malformed, messageOf } from './admission.ts'
import * as limits from './limits.ts'

export interface SnapshotReceiverOptions {
  readonly call: ServerDuplexStream<SnapshotChunk__Output, SnapshotProgress>
  /** Decides about the caller by the first chunk. */
  readonly admit: (header: SnapshotHeader__Output) => CallRefusal | null
  /** Whether the message is one that the caller may send, still. */
  readonly isAdmitted: (message: Message) => boolean
  readonly onMessage: (message: Message) => void
  readonly onEnd: () => void
  /** How long it may make no progress. */
  readonly stallMs: number
}

interface Expected {
  readonly message: Message
  readonly snapshot: Snapshot
  readonly sizeBytes: number
  readonly digest: Buffer
}

export class SnapshotReceiver {
  readonly #options: SnapshotReceiverOptions
  #expected: Expected | null = null
  #chunks: Buffer[] = []
  #receivedBytes = 0
  #ended = false
  #watchdog: NodeJS.Timeout

  constructor(options: SnapshotReceiverOptions) {
    this.#options = options
    this.#watchdog = this.#watch()
    const { call } = options
    call.on('data', (chunk: SnapshotChunk__Output) => {
      if (this.#ended) return
      const refusal = this.#take(chunk)
      if (refusal !== null) this.refuse(refusal)
    })
    call.on('end', () => {
      if (this.#ended) return
      const refusal = this.#finish()
      if (refusal !== null) this.refuse(refusal)
    })
    call.on('error', () => this.#end())
    call.on('cancelled', () => this.#end())
  }

  /** Ends the call with an error. */
  refuse(refusal: CallRefusal): void {
    if (this.#ended) return
    this.#end()
    this.#options.call.emit('error', refusal)
  }

  #take({ header, data }: SnapshotChunk__Output): CallRefusal | null {
    if (this.#expected === null) {
      if (header === null) return malformed('a snapshot begins with its header')
      const refusal = this.#options.admit(header)
      if (refusal !== null) return refusal
      this.#expected = expectation(header)
      if (this.#expected === null) return malformed('this header describes no snapshot')
    } else if (header !== null) {
      return malformed('a snapshot has one header')
    }
    this.#receivedBytes += data.length
    if (this.#receivedBytes > this.#expected.sizeBytes)
      return malformed('more bytes than announced')
    if (data.length > 0) this.#chunks.push(data)
    clearTimeout(this.#watchdog)
    this.#watchdog = this.#watch()
    this.#options.call.write({ receivedBytes: this.#receivedBytes })
    return null
  }

  #finish(): CallRefusal | null {
    const expected = this.#expected
    if (expected === null) return malformed('a snapshot begins with its header')
    if (this.#receivedBytes !== expected.sizeBytes) return malformed('fewer bytes than announced')
    if (!this.#options.isAdmitted(expected.message)) {
      return { code: status.PERMISSION_DENIED, details: 'a snapshot between other members' }
    }
    const data = Buffer.concat(this.#chunks)
    if (!createHash('sha256').update(data).digest().equals(expected.digest)) {
      return malformed('the digest is that of other bytes')
    }
    this.#end()
    this.#options.onMessage({ ...expected.message, snapshot: { ...expected.snapshot, data } })
    this.#options.call.write({ receivedBytes: this.#receivedBytes, done: true })
    this.#options.call.end()
    return null
  }

  #watch(): NodeJS.Timeout {
    return setTimeout(
      () => this.refuse({ code: status.DEADLINE_EXCEEDED, details: 'the snapshot stalled' }),
      this.#options.stallMs,
    )
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#chunks = []
    clearTimeout(this.#watchdog)
    this.#options.onEnd()
  }
}

function expectation(header: SnapshotHeader__Output): Expected | null {
  const { sizeBytes, digest } = header
  const sound =
    Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= limits.SNAPSHOT_BYTES_MAX
  if (!sound) return null
  const message = messageOf(header.message)
  if (message?.type !== 'MsgSnap' || message.snapshot === null) return null
  return { message, snapshot: message.snapshot, sizeBytes, digest }
}
