// How many requests are looked at: a token bucket per source and one for all sources together. A
// bucket holds `burst` tokens, gets `perSecond` of them back, and a request costs one. Sources are
// remembered in the order they came; when there are too many, the oldest is forgotten, and the
// bucket of all still holds.

import type { Clock } from '../../base/clock.ts'

export interface Rate {
  readonly burst: number
  readonly perSecond: number
}

interface Bucket {
  tokens: number
  atMs: number
}

export class RateLimiter {
  readonly #clock: Clock
  readonly #perSource: Rate
  readonly #together: Rate
  readonly #sourcesMax: number
  readonly #sources = new Map<string, Bucket>()
  readonly #all: Bucket

  constructor(clock: Clock, perSource: Rate, together: Rate, sourcesMax: number) {
    this.#clock = clock
    this.#perSource = perSource
    this.#together = together
    this.#sourcesMax = sourcesMax
    this.#all = { tokens: together.burst, atMs: clock.nowMs() }
  }

  /** True when a request of `source` may be looked at now; it is then paid for. */
  take(source: string): boolean {
    const own = this.#bucket(source)
    this.#fill(own, this.#perSource)
    this.#fill(this.#all, this.#together)
    if (own.tokens < 1 || this.#all.tokens < 1) return false
    own.tokens -= 1
    this.#all.tokens -= 1
    return true
  }

  #bucket(source: string): Bucket {
    const known = this.#sources.get(source)
    if (known !== undefined) return known
    if (this.#sources.size >= this.#sourcesMax) {
      this.#sources.delete(this.#sources.keys().next().value!)
    }
    const bucket = { tokens: this.#perSource.burst, atMs: this.#clock.nowMs() }
    this.#sources.set(source, bucket)
    return bucket
  }

  #fill(bucket: Bucket, rate: Rate): void {
    const nowMs = this.#clock.nowMs()
    const added = ((nowMs - bucket.atMs) / 1000) * rate.perSecond
    bucket.tokens = Math.min(rate.burst, bucket.tokens + added)
    bucket.atMs = nowMs
  }
}

/** What counts as one source in gRPC's name of a peer ("192.0.2.1:4711", "[2001:db8::1]:4711"): an
 * IPv4 address, or the /64 that an IPv6 host may choose its addresses from. */
export function sourceOf(peer: string): string {
  const address = peer.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  if (!address.includes(':')) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]!
  const [head = '', tail] = (address.split('%')[0] ?? '').split('::')
  const front = head === '' ? [] : head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length)
  const groups = [...front, ...Array<string>(zeros).fill('0'), ...back]
  return `${groups
    .slice(0, 4)
    .map((group) => group.toLowerCase())
    .join(':')}::/64`
}
