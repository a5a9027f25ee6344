// The memory of lblc and lblcr: target address -> value, with the kernel's limits and ageing (1024
// buckets, 16 entries each on average; an entry idle for six minutes may go when the cache is full,
// one idle for a day goes at the half-hourly check). The kernel ages by timer, this cache when it
// is used.

import { sameAddress } from './flow.ts'
import {
  TARGET_CACHE_CHECK_TICKS,
  TARGET_CACHE_EXPIRATION_TICKS,
  TARGET_CACHE_IDLE_TICKS,
  TARGET_CACHE_MAX,
} from './limits.ts'
import { fold, hash32 } from './sched-hash.ts'

const BITS = 10
const BUCKETS: number = 1 << BITS

export interface CacheEntry<T> {
  readonly address: Int32Array
  value: T
  usedTick: number
}

export class TargetCache<T> {
  readonly #buckets: CacheEntry<T>[][] = Array.from({ length: BUCKETS }, () => [])
  #count = 0
  #checkedTick = 0
  #rover = 0

  get count(): number {
    return this.#count
  }

  /** The entry of `address`, marked as used now, or null. */
  find(address: Int32Array, tick: number): CacheEntry<T> | null {
    const bucket = this.#buckets[hash32(fold(address), BITS)]!
    for (const entry of bucket) {
      if (!sameAddress(entry.address, address)) continue
      entry.usedTick = tick
      return entry
    }
    return null
  }

  /** Adds an entry for an address that has none; when the cache is full of entries in use, does
   * not. */
  add(address: Int32Array, value: T, tick: number): void {
    if (tick - this.#checkedTick >= TARGET_CACHE_CHECK_TICKS) {
      this.#checkedTick = tick
      this.#dropIdle(tick, TARGET_CACHE_EXPIRATION_TICKS, this.#count)
    }
    if (this.#count >= TARGET_CACHE_MAX) {
      this.#dropIdle(tick, TARGET_CACHE_IDLE_TICKS, TARGET_CACHE_MAX / 2)
      if (this.#count >= TARGET_CACHE_MAX) return
    }
    const entry = { address: Int32Array.from(address), value, usedTick: tick }
    this.#buckets[hash32(fold(address), BITS)]!.unshift(entry)
    this.#count++
  }

  forEach(visit: (value: T) => void): void {
    for (const bucket of this.#buckets) for (const entry of bucket) visit(entry.value)
  }

  /** Drops about `goal` entries idle for `idleTicks` or longer, going on where the last call
   * stopped. */
  #dropIdle(tick: number, idleTicks: number, goal: number): void {
    let left = goal
    for (let i = 0; i < BUCKETS && left > 0; i++) {
      this.#rover = (this.#rover + 1) & (BUCKETS - 1)
      const bucket = this.#buckets[this.#rover]!
      for (let k = bucket.length - 1; k >= 0; k--) {
        if (tick - bucket[k]!.usedTick < idleTicks) continue
        bucket.splice(k, 1)
        this.#count--
        left--
      }
    }
  }
}
