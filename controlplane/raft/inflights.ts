// The window of MsgApps on their way to one follower: a ring of (last index, bytes) in sending
// order. An acknowledgement of an index frees every message up to it. The ring grows on demand up
// to the limit, since most followers never have more than a few messages outstanding.

const FIRST_CAPACITY = 16

export class Inflights {
  readonly #maxMessages: number
  readonly #maxBytes: number
  #indexes: number[] = []
  #sizes: number[] = []
  #start = 0
  #count = 0
  #bytes = 0

  /** `maxMessages` and `maxBytes` may be Infinity. */
  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages
    this.#maxBytes = maxBytes
  }

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** True when nothing more should be sent. The byte limit may be overshot by the last message. */
  get full(): boolean {
    return this.#count >= this.#maxMessages || this.#bytes >= this.#maxBytes
  }

  /** Records a message whose last entry has `index`; indexes must rise. Must not be called when
   * full. */
  add(index: number, bytes: number): void {
    if (this.#count === this.#indexes.length) this.#grow()
    const slot = (this.#start + this.#count) % this.#indexes.length
    this.#indexes[slot] = index
    this.#sizes[slot] = bytes
    this.#count++
    this.#bytes += bytes
  }

  /** Forgets every message whose last entry is at or before `index`. */
  freeUpTo(index: number): void {
    while (this.#count > 0 && this.#indexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!
      this.#start = (this.#start + 1) % this.#indexes.length
      this.#count--
    }
  }

  reset(): void {
    this.#start = 0
    this.#count = 0
    this.#bytes = 0
  }

  #grow(): void {
    const capacity = Math.max(FIRST_CAPACITY, this.#indexes.length * 2)
    const indexes = new Array<number>(capacity).fill(0)
    const sizes = new Array<number>(capacity).fill(0)
    for (let i = 0; i < this.#count; i++) {
      const slot = (this.#start + i) % this.#indexes.length
      indexes[i] = this.#indexes[slot]!
      sizes[i] = this.#sizes[slot]!
    }
    this.#indexes = indexes
    this.#sizes = sizes
    this.#start = 0
  }
}
