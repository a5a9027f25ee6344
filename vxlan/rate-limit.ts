// How many handshake messages we are willing to look at: token buckets, one per source and one for
// all. They stand behind mac1 and, under load, behind the cookie, so that sources are not easily
// forged.
//
// A bucket holds at most `burst` tokens and gains `perSecond`; one message takes one. Memory is
// bounded: at most SOURCES_MAX sources are remembered, and one that has been quiet long enough to
// be full again is forgotten when room is needed. When there is none left, a new source is refused:
// who floods from that many true addresses must not be able to push out the limits of others.

import {
  HANDSHAKES_BURST_MAX,
  HANDSHAKES_PER_SECOND_MAX,
  HANDSHAKES_PER_SOURCE_BURST,
  HANDSHAKES_PER_SOURCE_PER_SECOND,
  SOURCES_MAX,
  UNDER_LOAD_HANDSHAKES_PER_SECOND,
  UNDER_LOAD_MS,
} from './limits.ts'

/** Source of a datagram as the cookie and the limiter want it: 16 bytes of address (IPv4 mapped
 * into IPv6), 2 bytes of port, big-endian. */
export const SOURCE_SIZE = 18

export class TokenBucket {
  readonly #perMs: number
  readonly #burst: number
  #tokens: number
  #lastMs: number

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000
    this.#burst = burst
    this.#tokens = burst
    this.#lastMs = nowMs
  }

  /** Takes a token. False when there is none. */
  take(nowMs: number): boolean {
    this.#refill(nowMs)
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** True when the bucket says nothing that a new one would not say. */
  isFull(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#tokens >= this.#burst
  }

  #refill(nowMs: number): void {
    const gained = (nowMs - this.#lastMs) * this.#perMs
    if (gained > 0) this.#tokens = Math.min(this.#burst, this.#tokens + gained)
    this.#lastMs = nowMs
  }
}

/** What a source may share a bucket with: an IPv4 address stands alone, an IPv6 address stands for
 * its /64, because that is the least that one customer holds (RFC 6177). */
function bucketKey(source: Uint8Array): string {
  let mapped = source[10] === 0xff && source[11] === 0xff
  for (let i = 0; i < 10; i++) mapped &&= source[i] === 0
  return Buffer.from(source.subarray(0, mapped ? 16 : 8)).toString('latin1')
}

export class HandshakeLimiter {
  readonly #sources: Map<string, TokenBucket> = new Map()
  readonly #all: TokenBucket
  readonly #load: TokenBucket
  #underLoadUntilMs = Number.NEGATIVE_INFINITY
  #sweptMs = Number.NEGATIVE_INFINITY

  constructor(nowMs: number) {
    this.#all = new TokenBucket(HANDSHAKES_PER_SECOND_MAX, HANDSHAKES_BURST_MAX, nowMs)
    const load = UNDER_LOAD_HANDSHAKES_PER_SECOND
    this.#load = new TokenBucket(load, load, nowMs)
  }

  /** Counts a message whose mac1 was right; true while there are so many that a cookie is demanded.
   * */
  underLoad(nowMs: number): boolean {
    if (!this.#load.take(nowMs)) this.#underLoadUntilMs = nowMs + UNDER_LOAD_MS
    return nowMs < this.#underLoadUntilMs
  }

  /** True when one more message of `source` (SOURCE_SIZE bytes) may be looked at. */
  allow(source: Uint8Array, nowMs: number): boolean {
    const key = bucketKey(source)
    let bucket = this.#sources.get(key)
    if (bucket === undefined) {
      if (this.#sources.size >= SOURCES_MAX) this.#sweep(nowMs)
      if (this.#sources.size >= SOURCES_MAX) return false
      const perSecond = HANDSHAKES_PER_SOURCE_PER_SECOND
      bucket = new TokenBucket(perSecond, HANDSHAKES_PER_SOURCE_BURST, nowMs)
      this.#sources.set(key, bucket)
    }
    // The source first: one that is over its own limit takes nothing from the others.
    return bucket.take(nowMs) && this.#all.take(nowMs)
  }

  /** Sources remembered. */
  get size(): number {
    return this.#sources.size
  }

  #sweep(nowMs: number): void {
    // Once a second at most: a full table must not cost a walk per message.
    if (nowMs - this.#sweptMs < 1000) return
    this.#sweptMs = nowMs
    for (const [key, bucket] of this.#sources) if (bucket.isFull(nowMs)) this.#sources.delete(key)
  }
}
