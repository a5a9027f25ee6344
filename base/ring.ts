// A ring of fixed capacity: first in, first out, never grows. When it is full, push() says so and
// the caller decides what is lost; a queue without a limit only moves that decision to the kernel's
// OOM killer.
//
//     head (next to leave)          tail = head + size (next free)
//       v                             v
//   | - | a | b | c | d | e | f | g | - | - |

export class Ring<T> {
  readonly capacity: number
  private readonly items: (T | undefined)[]
  private head: number = 0
  private used: number = 0

  /** `capacity` is an integer >= 1. */
  constructor(capacity: number) {
    if (!Number.isSafeInteger(capacity) || capacity < 1)
      throw new RangeError(`a ring holds 1 or more items, not ${capacity}`)
    this.capacity = capacity
    this.items = new Array<T | undefined>(capacity).fill(undefined)
  }

  get size(): number {
    return this.used
  }

  get full(): boolean {
    return this.used === this.capacity
  }

  /** Appends an item. Returns false, and changes nothing, when the ring is full. */
  push(item: T): boolean {
    if (this.used === this.capacity) return false
    let slot = this.head + this.used
    if (slot >= this.capacity) slot -= this.capacity
    this.items[slot] = item
    this.used++
    return true
  }

  /** Takes the oldest item out; undefined when the ring is empty. */
  shift(): T | undefined {
    if (this.used === 0) return undefined
    const item = this.items[this.head]
    this.items[this.head] = undefined // Let the collector have it.
    this.head = this.head + 1 === this.capacity ? 0 : this.head + 1
    this.used--
    return item
  }

  /** The i-th oldest item without taking it; undefined outside 0 .. size - 1. */
  peek(i: number = 0): T | undefined {
    if (!(i >= 0 && i < this.used)) return undefined
    const slot = this.head + i
    return this.items[slot >= this.capacity ? slot - this.capacity : slot]
  }

  clear(): void {
    this.items.fill(undefined)
    this.head = 0
    this.used = 0
  }
}
