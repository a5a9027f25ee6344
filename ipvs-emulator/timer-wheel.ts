// Expiry of connections: one bucket per tick, each a doubly linked list through ConnTable.links.
//
// A packet refreshes its connection by writing a later deadline into the record and nothing else;
// the entry stays in its bucket, and when that bucket comes up the deadline is looked at and the
// entry filed again. So a flow costs the wheel one visit per timeout, not one per packet. Only a
// deadline that moves nearer must be filed anew at once (file()).

import { type ConnTable, DEADLINE } from './conn-table.ts'
import { WHEEL_SLOTS } from './limits.ts'

const MASK: number = WHEEL_SLOTS - 1

export class TimerWheel {
  readonly #table: ConnTable
  readonly #heads: Int32Array = new Int32Array(WHEEL_SLOTS)
  /** One bit per bucket that is not empty. */
  readonly #filled: Int32Array = new Int32Array(WHEEL_SLOTS / 32)
  /** Buckets before this tick have been emptied. */
  #cursor = 0
  #count = 0

  constructor(table: ConnTable) {
    this.#table = table
  }

  /** Files `entry` under its record's deadline; it must not be filed already. */
  file(entry: number): void {
    const table = this.#table
    const deadline = table.records[entry * table.stride + DEADLINE]!
    const ahead = Math.min(Math.max(deadline - this.#cursor, 0), WHEEL_SLOTS - 1)
    const slot = (this.#cursor + ahead) & MASK
    const head = this.#heads[slot]!
    table.links[entry * 2] = head
    table.links[entry * 2 + 1] = ~slot
    if (head !== 0) table.links[head * 2 + 1] = entry
    this.#heads[slot] = entry
    this.#filled[slot >>> 5] = this.#filled[slot >>> 5]! | (1 << (slot & 31))
    this.#count++
  }

  /** Takes `entry`, which is filed, out of its bucket. */
  remove(entry: number): void {
    const links = this.#table.links
    const next = links[entry * 2]!
    const previous = links[entry * 2 + 1]!
    if (next !== 0) links[next * 2 + 1] = previous
    if (previous < 0) {
      const slot = ~previous
      this.#heads[slot] = next
      if (next === 0) this.#filled[slot >>> 5] = this.#filled[slot >>> 5]! & ~(1 << (slot & 31))
    } else links[previous * 2] = next
    links[entry * 2] = 0
    links[entry * 2 + 1] = 0
    this.#count--
  }

  /** Next entry whose deadline is at or before `tick`, 0 when there is none or `visits` entries
   * have been looked at. The entry is no longer filed. `left` tells how many visits remain. */
  take(tick: number, visits: number): number {
    const table = this.#table
    this.left = visits
    for (;;) {
      const slotTick = this.#next()
      if (slotTick < 0 || slotTick > tick) {
        if (tick >= this.#cursor) this.#cursor = tick
        return 0
      }
      this.#cursor = slotTick
      if (this.left <= 0) return 0
      this.left--
      const entry = this.#heads[slotTick & MASK]!
      this.remove(entry)
      if (table.records[entry * table.stride + DEADLINE]! <= tick) return entry
      this.file(entry)
    }
  }

  /** Visits left over by the last take(). */
  left = 0

  /** Tick of the first bucket that is not empty, -1 when all are. */
  next(): number {
    return this.#next()
  }

  #next(): number {
    if (this.#count === 0) return -1
    const start = this.#cursor & MASK
    let word = start >>> 5
    let bits = this.#filled[word]! & (-1 << (start & 31))
    // One word more than there are: the first word's low bits come last.
    for (let i = 0; i <= this.#filled.length; i++) {
      if (bits !== 0) {
        const slot = (word << 5) | (31 - Math.clz32(bits & -bits))
        return this.#cursor + ((slot - start) & MASK)
      }
      word = (word + 1) & (this.#filled.length - 1)
      bits = this.#filled[word]!
    }
    return -1
  }
}
