// One snapshot to one peer, on a connection of its own so that it holds up no heartbeat. The
// receiver acknowledges what it has; no more than a window is under way, and a transfer that makes
// no progress for a while is given up. There is no deadline for the whole: a large state on a slow
// link may take its time.

import { createHash } from 'node:crypto'
import type { ServiceError } from '@grpc/grpc-js'
import type { Introduction } from '../../../proto/generated/weft/raft/Introduction.ts'
import type { RaftClient } from '../../../proto/generated/weft/raft/Raft.ts'
import type { SnapshotChunk } from '../../../proto/generated/weft/raft/SnapshotChunk.ts'
import { encodeMessage } from '../../codec.ts'
import { type Message, NO_BYTES, type Snapshot } from '../../messages.ts'
import { saysRemoved } from './admission.ts'
import * as limits from './limits.ts'

export interface SnapshotSenderOptions {
  readonly client: RaftClient
  readonly introduction: Introduction
  /** A MsgSnap. */
  readonly message: Message
  readonly snapshot: Snapshot
  /** Called once, not from within the constructor. */
  readonly onEnd: (delivered: boolean) => void
  readonly onRemoved: () => void
  /** How long it may make no progress. */
  readonly stallMs: number
}

/** A SnapshotProgress. */
interface Progress {
  readonly receivedBytes: number
  readonly done: boolean
}

export class SnapshotSender {
  readonly totalBytes: number
  acknowledgedBytes = 0
  readonly #options: SnapshotSenderOptions
  readonly #data: Uint8Array
  readonly #call: ReturnType<RaftClient['installSnapshot']>
  #sentBytes = 0
  #done = false
  #ended = false
  #watchdog: NodeJS.Timeout

  constructor(options: SnapshotSenderOptions) {
    this.#options = options
    this.#data = options.snapshot.data
    this.totalBytes = this.#data.length
    this.#call = options.client.installSnapshot()
    this.#watchdog = this.#watch()
    this.#call.on('error', (error: ServiceError) => {
      if (saysRemoved(error)) options.onRemoved()
      this.#end(false)
    })
    this.#call.on('end', () => this.#end(this.#done))
    this.#call.on('data', (progress: Progress) => this.#progress(progress))
    this.#call.write({ header: this.#header() })
    this.#sendChunks()
  }

  /** Ends the transfer; reported as not delivered. */
  cancel(): void {
    this.#call.cancel()
    queueMicrotask(() => this.#end(false))
  }

  #header(): NonNullable<SnapshotChunk['header']> {
    const { message, snapshot, introduction } = this.#options
    const bare = { ...message, snapshot: { ...snapshot, data: NO_BYTES } }
    return {
      introduction,
      message: encodeMessage(bare),
      sizeBytes: this.totalBytes,
      digest: createHash('sha256').update(this.#data).digest(),
    }
  }

  #sendChunks(): void {
    const limit = Math.min(this.acknowledgedBytes + limits.SNAPSHOT_WINDOW_BYTES, this.totalBytes)
    while (this.#sentBytes < limit) {
      const end = Math.min(this.#sentBytes + limits.SNAPSHOT_CHUNK_BYTES, this.totalBytes)
      this.#call.write({ data: this.#data.subarray(this.#sentBytes, end) })
      this.#sentBytes = end
      if (end === this.totalBytes) this.#call.end()
    }
    if (this.totalBytes === 0 && !this.#call.writableEnded) this.#call.end()
  }

  #progress({ receivedBytes, done }: Progress): void {
    if (this.#ended) return
    this.#done = done
    const advanced = receivedBytes > this.acknowledgedBytes && receivedBytes <= this.#sentBytes
    if (!advanced) return
    this.acknowledgedBytes = receivedBytes
    clearTimeout(this.#watchdog)
    this.#watchdog = this.#watch()
    this.#sendChunks()
  }

  #watch(): NodeJS.Timeout {
    return setTimeout(() => this.cancel(), this.#options.stallMs)
  }

  #end(delivered: boolean): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#watchdog)
    this.#options.client.close()
    this.#options.onEnd(delivered)
  }
}
