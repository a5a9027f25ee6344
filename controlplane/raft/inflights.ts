// The window of MsgApps on their way to one follower, in sending order. An acknowledgement of an
// index frees every message up to it.

interface Sent {
  /** Of the message's last entry. */
  readonly index: number
  readonly bytes: number
}

export class Inflights {
  readonly #maxMessages: number
  readonly #maxBytes: number
  #sent: Sent[] = []
  #bytes = 0

  /** `maxMessages` and `maxBytes` may be Infinity. */
  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages
    this.#maxBytes = maxBytes
  }

  get count(): number {
    return this.#sent.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** True when nothing more should be sent. The byte limit may be overshot by the last message. */
  get full(): boolean {
    return this.count >= this.#maxMessages || this.#bytes >= this.#maxBytes
  }

  /** Records a message whose last entry has `index`; indexes must rise. Must not be called when
   * full. */
  add(index: number, bytes: number): void {
    this.#sent.push({ index, bytes })
    this.#bytes += bytes
  }

  /** Forgets every message whose last entry is at or before `index`. */
  freeUpTo(index: number): void {
    const kept = this.#sent.findIndex((sent) => sent.index > index)
    const freed = this.#sent.splice(0, kept < 0 ? this.count : kept)
    for (const { bytes } of freed) this.#bytes -= bytes
  }

  reset(): void {
    this.#sent = []
    this.#bytes = 0
  }
}
