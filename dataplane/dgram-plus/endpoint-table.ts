// Endpoints: (address, port) pairs interned to small integers, so that the packet path compares and
// copies them without an object or a string. Pure: bytes in, handle out.
//
// The table keeps each endpoint as the sockaddr that the socket's own family uses (layout.ts):
// NAME_WORDS words of 32 bits, zero beyond the structure. A chained hash finds them: `buckets`
// holds the first handle of a chain, `next` the following one, both -1 at the end. The hash is
// seeded, because the sources of datagrams are chosen by whoever sends them. Free handles form a
// queue, not a stack: a handle given back is reused as late as possible.
//
// Handles are reference counted: every intern() of the same endpoint must be matched by a
// release().

import { NAME_STRIDE, NAME_WORDS } from './layout.ts'

const AF_INET6 = 10
/** The bytes 00 00 ff ff of a v4-mapped address as a little-endian word. */
const V4_MAPPED_WORD = 0xffff0000 | 0

/** Distance in words between two sockaddrs. */
export const NAME_STRIDE_WORDS: number = NAME_STRIDE / 4

export class EndpointTable {
  readonly capacity: number
  /** The endpoints' sockaddrs, NAME_STRIDE_WORDS apart. */
  readonly names: Int32Array
  /** Endpoints in use. */
  count = 0
  private readonly seed: number
  private readonly mask: number
  private readonly buckets: Int32Array
  /** The rest of the hash chain for a handle in use, of the free queue for a free one. */
  private readonly next: Int32Array
  private readonly references: Uint32Array
  private readonly v6: Uint8Array
  private freeFirst = 0
  private freeLast: number

  constructor(capacity: number, seed: number) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 1 << 24) {
      throw new RangeError(`endpoints must be a whole number from 1 to ${1 << 24}, not ${capacity}`)
    }
    let buckets = 1
    while (buckets < capacity) buckets *= 2
    this.capacity = capacity
    this.names = new Int32Array(capacity * NAME_STRIDE_WORDS)
    this.seed = seed | 0
    this.mask = buckets - 1
    this.buckets = new Int32Array(buckets).fill(-1)
    this.next = new Int32Array(capacity)
    for (let i = 0; i < capacity; i++) this.next[i] = i + 1 < capacity ? i + 1 : -1
    this.references = new Uint32Array(capacity)
    this.v6 = new Uint8Array(capacity)
    this.freeLast = capacity - 1
  }

  /** Handle of the sockaddr at word `at` of `words`, with one reference more; -1 when the table is
   * full. */
  intern(words: Int32Array, at: number): number {
    const bucket = this.hash(words, at) & this.mask
    for (let i = this.buckets[bucket]!; i !== -1; i = this.next[i]!) {
      if (this.matches(i, words, at)) {
        this.references[i]!++
        return i
      }
    }
    const handle = this.freeFirst
    if (handle === -1) return -1
    this.freeFirst = this.next[handle]!
    if (this.freeFirst === -1) this.freeLast = -1
    const name = handle * NAME_STRIDE_WORDS
    for (let i = 0; i < NAME_WORDS; i++) this.names[name + i] = words[at + i]!
    this.references[handle] = 1
    this.v6[handle] = isV6Name(words, at) ? 1 : 0
    this.next[handle] = this.buckets[bucket]!
    this.buckets[bucket] = handle
    this.count++
    return handle
  }

  /** Takes one reference more. Returns false for a handle not in use. */
  retain(handle: number): boolean {
    if (!this.used(handle)) return false
    this.references[handle]!++
    return true
  }

  /** Takes one reference away; the last one frees the handle. Returns false for a handle not in
   * use. */
  release(handle: number): boolean {
    if (!this.used(handle)) return false
    if (--this.references[handle]! > 0) return true
    const bucket = this.hash(this.names, handle * NAME_STRIDE_WORDS) & this.mask
    const after = this.next[handle]!
    let i = this.buckets[bucket]!
    if (i === handle) {
      this.buckets[bucket] = after
    } else {
      while (this.next[i]! !== handle) i = this.next[i]!
      this.next[i] = after
    }
    this.next[handle] = -1
    if (this.freeLast === -1) this.freeFirst = handle
    else this.next[this.freeLast] = handle
    this.freeLast = handle
    this.count--
    return true
  }

  /** True while at least one reference to `handle` is held. */
  used(handle: number): boolean {
    return handle >= 0 && handle < this.capacity && this.references[handle]! > 0
  }

  /** True when endpoint `handle` is reached over IPv6: not sockaddr_in, not v4-mapped. */
  isV6(handle: number): boolean {
    return this.v6[handle] === 1
  }

  /** True when endpoint `handle` equals the sockaddr at word `at` of `words`. */
  matches(handle: number, words: Int32Array, at: number): boolean {
    const names = this.names
    const name = handle * NAME_STRIDE_WORDS
    // The port is in word 0 and the address from word 1 (IPv4) or in words 2 to 5 (IPv6): word 5 is
    // the one in which IPv6 neighbours and v4-mapped addresses differ. Word 6 is the scope.
    return (
      names[name]! === words[at]! &&
      names[name + 5]! === words[at + 5]! &&
      names[name + 1]! === words[at + 1]! &&
      names[name + 4]! === words[at + 4]! &&
      names[name + 3]! === words[at + 3]! &&
      names[name + 2]! === words[at + 2]! &&
      names[name + 6]! === words[at + 6]!
    )
  }

  private hash(words: Int32Array, at: number): number {
    let h = this.seed
    for (let i = 0; i < NAME_WORDS; i++) {
      h = Math.imul(h ^ words[at + i]!, 0x85ebca6b)
      h ^= h >>> 15
    }
    h = Math.imul(h, 0xc2b2ae35)
    return (h ^ (h >>> 16)) >>> 0
  }
}

function isV6Name(words: Int32Array, at: number): boolean {
  if ((words[at]! & 0xffff) !== AF_INET6) return false
  return !(words[at + 2] === 0 && words[at + 3] === 0 && words[at + 4] === V4_MAPPED_WORD)
}
