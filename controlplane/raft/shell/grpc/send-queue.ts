// What waits to be sent to one peer: bounded by count and by bytes. When it is full the oldest
// message is dropped, but not one of those that decide elections: they are few and small, and a
// vote lost to a pile of old appends costs the cluster a second. Those are dropped only when
// nothing else is left to drop.
//
// Sizes are estimates until a message is taken; encoding what may be dropped would be work for
// nothing.

import { encodeMessage } from '../../codec.ts'
import { entryBytes } from '../../limits.ts'
import type { Message, MessageType } from '../../messages.ts'

const DECIDES_ELECTIONS: ReadonlySet<MessageType> = new Set<MessageType>([
  'MsgVote',
  'MsgVoteResp',
  'MsgPreVote',
  'MsgPreVoteResp',
  'MsgTimeoutNow',
])

/** Type, flags, eight numbers and three lengths, generously. */
const MESSAGE_OVERHEAD_BYTES = 64

export interface QueueLimits {
  readonly messages: number
  readonly bytes: number
}

interface Waiting {
  readonly message: Message
  readonly bytes: number
}

export class SendQueue {
  readonly #limits: QueueLimits
  #waiting: Waiting[] = []
  #bytes = 0
  dropped = 0

  constructor(limits: QueueLimits) {
    this.#limits = limits
  }

  get length(): number {
    return this.#waiting.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** False if something had to be dropped, be it the message itself. */
  push(message: Message): boolean {
    const bytes = sizeOf(message)
    this.#waiting.push({ message, bytes })
    this.#bytes += bytes
    const before = this.dropped
    while (this.#waiting.length > this.#limits.messages || this.#bytes > this.#limits.bytes) {
      const oldest = this.#waiting.findIndex(
        ({ message: { type } }) => !DECIDES_ELECTIONS.has(type),
      )
      this.#dropAt(Math.max(oldest, 0))
    }
    return this.dropped === before
  }

  /** Removes and encodes the oldest messages: as many as fit into `frameBytes`, at least one.
   * Messages of more than `messageBytesMax` are dropped. */
  take(frameBytes: number, messageBytesMax: number): Uint8Array[] {
    const taken: Uint8Array[] = []
    let total = 0
    let count = 0
    for (const { message, bytes } of this.#waiting) {
      if (total > 0 && total + bytes > frameBytes) break
      count++
      this.#bytes -= bytes
      const encoded = encodeMessage(message)
      if (encoded.length > messageBytesMax) {
        this.dropped++
        continue
      }
      taken.push(encoded)
      total += encoded.length
    }
    this.#waiting.splice(0, count)
    return taken
  }

  /** Nobody took the messages for a while: all but those that decide elections go. */
  dropStale(): void {
    const kept = this.#waiting.filter(({ message: { type } }) => DECIDES_ELECTIONS.has(type))
    this.dropped += this.#waiting.length - kept.length
    this.#waiting = kept
    this.#bytes = kept.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  #dropAt(index: number): void {
    const [removed] = this.#waiting.splice(index, 1)
    this.#bytes -= removed?.bytes ?? 0
    this.dropped++
  }
}

function sizeOf({ entries, context }: Message): number {
  let bytes = MESSAGE_OVERHEAD_BYTES + context.length
  for (const entry of entries) bytes += entryBytes(entry)
  return bytes
}
