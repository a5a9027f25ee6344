// The connection table of one address family: who talks to whom, as seen from both sides.
//
// A connection is one record of 32-bit words in one typed array, so that a lookup touches one cache line
// of it (IPv4: 16 words = 64 bytes). Beside it stand two link words for the timer wheel.
//
//   word 0  ports as the client sends them        source << 16 | target
//        1  ports as the real server replies      source << 16 | target
//        2  zones                                 forward << 16 | reply
//        3  protocol, state, flags, packets       one byte each (`bytes`)
//        4  real server
//        5  deadline, in ticks
//        6  a number that belongs to the engine
//        7  controlling template, 0 = none
//       8-11 TCP heads: what a RST needs (see track() in director.ts)
//      12-   addresses: client, virtual, then as the real server sees them: client', server
//
// The index is open addressed with linear probing: a slot holds 8 hash bits and the reference entry * 2 +
// direction; 0 is empty, entry 0 is never used. Each connection has two references, one per direction (a
// template or one-packet flow has one). Deletion shifts the cluster back, so there are no tombstones.
// Growing moves whole clusters from the old index to the new one, a few at each insertion: both stay
// valid tables all the time, and no call pauses for a rehash.
//
// Limits: the record array is reserved in full at the start; the operating system gives it memory page by
// page when entries are first used (lowest first), and it is not given back. The index does shrink.

import { hashTables, hashWord } from './hash.ts'
import { INDEX_MOVE_PER_INSERT, INDEX_SLOTS_MIN } from './limits.ts'

export const PORTS = 0
export const REPLY_PORTS = 1
export const ZONES = 2
export const META = 3
export const SERVER = 4
export const DEADLINE = 5
export const DATA = 6
export const CONTROLLER = 7
export const HEADS = 8
export const ADDRESSES = 12

/** Byte offsets within a record's word META. */
export const PROTOCOL_BYTE = 12
export const STATE_BYTE = 13
export const FLAGS_BYTE = 14
export const PACKETS_BYTE = 15

/** The forward direction is in the index. */
export const HAS_FORWARD = 1
/** The reply direction is in the index. */
export const HAS_REPLY = 2
/** Counted as active (established) at its real server. */
export const ACTIVE = 4
/** Addresses or ports differ between the two sides. */
export const REWRITES = 8
/** A persistence template: not a flow, only remembers a real server. */
export const TEMPLATE = 16
/** Only packets of the client have been seen. */
export const NO_OUTPUT = 32
/** Waiting for an answer to a keep-alive probe. */
export const PROBING = 64
/** Only the reply direction is in the index: packets of the client are scheduled one by one. */
export const ONE_PACKET = 128

/** glibc places blocks this large 16 bytes behind a page boundary; with this offset records start on
 * cache lines. Wrong elsewhere, it costs a second cache line and nothing else. */
const ALIGNMENT = 48

const LOAD_MAX = 0.6
const LOAD_MIN = 0.1

export class ConnTable {
  /** Words per address: 1 or 4. */
  readonly words: number
  /** Words per record. */
  readonly stride: number
  readonly capacity: number
  readonly records: Int32Array
  readonly bytes: Uint8Array
  /** Two words per entry: next and previous in a timer bucket; next also links free entries. */
  readonly links: Int32Array
  /** Entries in use. */
  count = 0
  /** Entries below this have been used at some time. */
  high = 1
  #free = 0
  readonly #tables: Int32Array
  #slots: Int32Array
  #mask: number
  #references = 0
  #old: Int32Array
  #oldMask = -1
  #moveAt = 0
  #moveLeft = 0

  /** `capacity` entries of `words` (1 or 4) address words; `random` keys the hash. */
  constructor(capacity: number, words: number, random: () => number) {
    this.words = words
    this.stride = ADDRESSES + 4 * words
    this.capacity = capacity
    const size = (capacity + 1) * this.stride
    const buffer = new ArrayBuffer(ALIGNMENT + size * 4)
    this.records = new Int32Array(buffer, ALIGNMENT, size)
    this.bytes = new Uint8Array(buffer, ALIGNMENT, size * 4)
    this.links = new Int32Array((capacity + 1) * 2)
    this.#tables = hashTables(random)
    this.#slots = new Int32Array(INDEX_SLOTS_MIN)
    this.#mask = INDEX_SLOTS_MIN - 1
    this.#old = this.#slots
  }

  /** Bytes of index in use now, the old one included while it is being moved. */
  get indexBytes(): number {
    return (this.#slots.length + (this.#oldMask >= 0 ? this.#old.length : 0)) * 4
  }

  /** Takes a zeroed entry that is in no index and no timer bucket. 0 = the table is full. */
  allocate(): number {
    let entry = this.#free
    if (entry !== 0) {
      this.#free = this.links[entry * 2]!
      this.links[entry * 2] = 0
      this.records.fill(0, entry * this.stride, (entry + 1) * this.stride)
    } else {
      if (this.high > this.capacity) return 0
      entry = this.high++
    }
    this.count++
    return entry
  }

  /** Gives an entry back; it must be in no timer bucket and not indexed. */
  free(entry: number): void {
    this.bytes[entry * this.stride * 4 + FLAGS_BYTE] = 0
    this.bytes[entry * this.stride * 4 + PROTOCOL_BYTE] = 0
    this.links[entry * 2] = this.#free
    this.links[entry * 2 + 1] = 0
    this.#free = entry
    this.count--
  }

  /** Reference (entry * 2 + direction) of an IPv4 flow as seen on the wire, or -1. */
  find4(zone: number, protocol: number, source: number, target: number, ports: number): number {
    const hash = this.hash4(zone, protocol, source, target, ports)
    const found = this.#probe4(this.#slots, this.#mask, hash, zone, protocol, source, target, ports)
    if (found >= 0 || this.#oldMask < 0) return found
    return this.#probe4(this.#old, this.#oldMask, hash, zone, protocol, source, target, ports)
  }

  /** Loads what searches for the first `count` of `hashes` will read: index slots, then records. Two tight
   * loops, so that the processor has many loads under way at once. The result means nothing; it keeps the
   * loads from being optimized away. */
  prefetch(hashes: Int32Array, count: number): number {
    const slots = this.#slots
    const mask = this.#mask
    const records = this.records
    const stride = this.stride
    let sink = 0
    for (let k = 0; k < count; k++) sink ^= slots[hashes[k]! & mask]!
    for (let k = 0; k < count; k++) {
      const hash = hashes[k]!
      let i = hash & mask
      let slot = slots[i]!
      while (slot !== 0 && (slot ^ hash) >>> 24 !== 0) {
        i = (i + 1) & mask
        slot = slots[i]!
      }
      sink ^= records[((slot & 0xffffff) >>> 1) * stride]!
    }
    return sink
  }

  #probe4(
    slots: Int32Array,
    mask: number,
    hash: number,
    zone: number,
    protocol: number,
    source: number,
    target: number,
    ports: number,
  ): number {
    const records = this.records
    const tag = hash >>> 24
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const slot = slots[i]!
      if (slot === 0) return -1
      if (slot >>> 24 !== tag) continue
      const reference = slot & 0xffffff
      const at = (reference >>> 1) * 16
      if ((this.bytes[at * 4 + PROTOCOL_BYTE] as number) !== protocol) continue
      if ((reference & 1) === 0) {
        if (
          records[at + PORTS] === ports &&
          records[at + ADDRESSES] === source &&
          records[at + ADDRESSES + 1] === target &&
          records[at + ZONES]! >>> 16 === zone
        )
          return reference
      } else if (
        records[at + REPLY_PORTS] === ports &&
        records[at + ADDRESSES + 3] === source &&
        records[at + ADDRESSES + 2] === target &&
        (records[at + ZONES]! & 0xffff) === zone
      )
        return reference
    }
  }

  /** Reference of an IPv6 flow as seen on the wire, or -1. */
  find6(
    zone: number,
    protocol: number,
    s0: number,
    s1: number,
    s2: number,
    s3: number,
    t0: number,
    t1: number,
    t2: number,
    t3: number,
    ports: number,
  ): number {
    const hash = this.hash6(zone, protocol, s0, s1, s2, s3, t0, t1, t2, t3, ports)
    let slots = this.#slots
    let mask = this.#mask
    const tag = hash >>> 24
    for (;;) {
      for (let i = hash & mask; ; i = (i + 1) & mask) {
        const slot = slots[i]!
        if (slot === 0) break
        if (slot >>> 24 !== tag) continue
        const reference = slot & 0xffffff
        if (!this.#matches6(reference, zone, protocol, ports)) continue
        const direction = reference & 1
        const at = (reference >>> 1) * this.stride + ADDRESSES
        if (
          this.#address6(direction === 0 ? at : at + 12, s0, s1, s2, s3) &&
          this.#address6(direction === 0 ? at + 4 : at + 8, t0, t1, t2, t3)
        )
          return reference
      }
      if (slots === this.#old || this.#oldMask < 0) return -1
      slots = this.#old
      mask = this.#oldMask
    }
  }

  #matches6(reference: number, zone: number, protocol: number, ports: number): boolean {
    const at = (reference >>> 1) * this.stride
    if (this.bytes[at * 4 + PROTOCOL_BYTE] !== protocol) return false
    const zones = this.records[at + ZONES]!
    return (reference & 1) === 0
      ? this.records[at + PORTS] === ports && zones >>> 16 === zone
      : this.records[at + REPLY_PORTS] === ports && (zones & 0xffff) === zone
  }

  #address6(at: number, w0: number, w1: number, w2: number, w3: number): boolean {
    const records = this.records
    return (
      records[at] === w0 &&
      records[at + 1] === w1 &&
      records[at + 2] === w2 &&
      records[at + 3] === w3
    )
  }

  hash4(zone: number, protocol: number, source: number, target: number, ports: number): number {
    const tables = this.#tables
    return (
      hashWord(tables, 0, (zone << 8) | protocol) ^
      hashWord(tables, 1, ports) ^
      hashWord(tables, 2, source) ^
      hashWord(tables, 3, target)
    )
  }

  hash6(
    zone: number,
    protocol: number,
    s0: number,
    s1: number,
    s2: number,
    s3: number,
    t0: number,
    t1: number,
    t2: number,
    t3: number,
    ports: number,
  ): number {
    const tables = this.#tables
    return (
      hashWord(tables, 0, (zone << 8) | protocol) ^
      hashWord(tables, 1, ports) ^
      hashWord(tables, 2, s0) ^
      hashWord(tables, 3, s1) ^
      hashWord(tables, 4, s2) ^
      hashWord(tables, 5, s3) ^
      hashWord(tables, 6, t0) ^
      hashWord(tables, 7, t1) ^
      hashWord(tables, 8, t2) ^
      hashWord(tables, 9, t3)
    )
  }

  /** Hash of the key that `reference` stands for, from its record. */
  hashOf(reference: number): number {
    const tables = this.#tables
    const records = this.records
    const at = (reference >>> 1) * this.stride
    const forward = (reference & 1) === 0
    const zones = records[at + ZONES]!
    const zone = forward ? zones >>> 16 : zones & 0xffff
    const protocol = this.bytes[at * 4 + PROTOCOL_BYTE]!
    const words = this.words
    const source = at + ADDRESSES + (forward ? 0 : 3 * words)
    const target = at + ADDRESSES + (forward ? words : 2 * words)
    let hash =
      hashWord(tables, 0, (zone << 8) | protocol) ^
      hashWord(tables, 1, records[at + (forward ? PORTS : REPLY_PORTS)]!)
    for (let i = 0; i < words; i++) {
      hash ^= hashWord(tables, 2 + i, records[source + i]!)
      hash ^= hashWord(tables, 2 + words + i, records[target + i]!)
    }
    return hash
  }

  /** Indexes one direction of an entry; the caller has made sure that the key is not there yet. */
  link(reference: number): void {
    if (this.#oldMask >= 0) this.move(INDEX_MOVE_PER_INSERT)
    else if (this.#references + 1 > this.#slots.length * LOAD_MAX) {
      this.#resize(this.#slots.length * 2)
    }
    this.#place(reference)
    this.#references++
    const direction = reference & 1
    const at = (reference >>> 1) * this.stride * 4 + FLAGS_BYTE
    this.bytes[at] = this.bytes[at]! | (direction === 0 ? HAS_FORWARD : HAS_REPLY)
  }

  /** Takes one direction of an entry out of the index; nothing happens when it is not in it. */
  unlink(reference: number): void {
    const flag = (reference & 1) === 0 ? HAS_FORWARD : HAS_REPLY
    const flagsAt = (reference >>> 1) * this.stride * 4 + FLAGS_BYTE
    if ((this.bytes[flagsAt]! & flag) === 0) return
    this.bytes[flagsAt] = this.bytes[flagsAt]! & ~flag
    const hash = this.hashOf(reference)
    const value = (hash & 0xff000000) | reference
    if (!this.#remove(this.#slots, this.#mask, hash, value)) {
      this.#remove(this.#old, this.#oldMask, hash, value)
    }
    this.#references--
    if (this.#oldMask >= 0) this.move(INDEX_MOVE_PER_INSERT)
    else this.#shrinkIfEmpty()
  }

  #place(reference: number): void {
    const hash = this.hashOf(reference)
    const slots = this.#slots
    const mask = this.#mask
    let i = hash & mask
    while (slots[i] !== 0) i = (i + 1) & mask
    slots[i] = (hash & 0xff000000) | reference
  }

  /** Removes `value` and closes the gap: an entry further along its cluster moves back unless that would
   * put it in front of its home slot. */
  #remove(slots: Int32Array, mask: number, hash: number, value: number): boolean {
    let gap = hash & mask
    for (; slots[gap] !== value; gap = (gap + 1) & mask) if (slots[gap] === 0) return false
    for (let i = (gap + 1) & mask; slots[i] !== 0; i = (i + 1) & mask) {
      const home = this.hashOf(slots[i]! & 0xffffff) & mask
      if (((i - home) & mask) >= ((i - gap) & mask)) {
        slots[gap] = slots[i]!
        gap = i
      }
    }
    slots[gap] = 0
    return true
  }

  #resize(slotCount: number): void {
    this.#old = this.#slots
    this.#oldMask = this.#mask
    this.#slots = new Int32Array(slotCount)
    this.#mask = slotCount - 1
    // Start behind an empty slot, so that no cluster straddles the starting point.
    let start = 0
    while (this.#old[start] !== 0) start++
    this.#moveAt = start
    this.#moveLeft = this.#old.length
  }

  /** Moves at least `slotCount` slots of the old index, if there is one, to the end of a cluster. */
  move(slotCount: number): void {
    if (this.#oldMask < 0) return
    const old = this.#old
    let left = slotCount
    while (this.#moveLeft > 0) {
      const slot = old[this.#moveAt]!
      if (slot === 0) {
        if (left <= 0) return
      } else {
        old[this.#moveAt] = 0
        this.#place(slot & 0xffffff)
      }
      this.#moveAt = (this.#moveAt + 1) & this.#oldMask
      this.#moveLeft--
      left--
    }
    this.#oldMask = -1
    this.#old = this.#slots
    this.#shrinkIfEmpty()
  }

  #shrinkIfEmpty(): void {
    const slots = this.#slots.length
    if (slots > INDEX_SLOTS_MIN && this.#references < slots * LOAD_MIN) this.#resize(slots / 2)
  }
}
