// The connection table of one address family: who talks to whom, as seen from both sides.
//
// A connection is one record of 32-bit words in one typed array, so that a lookup touches one cache
// line of it (IPv4: 16 words = 64 bytes). Beside it stand two link words for the timer wheel.
//
//   word 0  ports as the client sends them        source << 16 | target
//        1  ports as the real server replies      source << 16 | target
//        2  zones                                 forward << 16 | reply
//        3  protocol, state, flags, packets       one byte each (`bytes`)
//        4  real server
//        5  deadline, in ticks
//        6  a number that belongs to the engine
//        7  controlling template, 0 = none
//       8-11 TCP heads: what a RST needs (see tracker.ts)
//      12-   addresses: client, virtual, then as the real server sees them: client', server
//
// The index is open addressed with linear probing, without wrapping around: a slot holds 8 hash
// bits and the reference entry * 2 + direction; 0 is empty, entry 0 is never used. Each connection
// has two references, one per direction (a template or one-packet flow has one). Deletion shifts
// the cluster back, so there are no tombstones.
//
// It doubles in place. The home of a key is the top bits of its hash, so when one more bit counts,
// what was at home h is at 2h or 2h + 1, and a cluster moved from the top down always finds its new
// place free. Homes from `split` on have been moved, those below have not; the split sinks by a few
// slots at every insertion and advance(). Both parts are valid all the time, there is no second
// table, and no call pauses.
//
// Limits: records and index are reserved in full at the start; the operating system gives them
// memory page by page when they are first used (entries lowest first, the index only as far as it
// has grown), and it is not given back.

import { assert } from '../base/assert.ts'
import { hashTables, hashWord } from './hash.ts'
import {
  EXPECT_MAX,
  INDEX_MOVE_PER_INSERT,
  INDEX_SLOTS_MIN,
  LARGE_TABLE_ENTRIES,
} from './limits.ts'

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

/** glibc places blocks this large 16 bytes behind a page boundary; with this offset records start
 * on cache lines. Wrong elsewhere, it costs a second cache line and nothing else. */
const ALIGNMENT = 48

/** References per slot from which the index doubles. */
const LOAD_MAX = 0.6
/** Slots behind the last home, for the cluster that runs over the end. At this load clusters are
 * tens long. */
const OVERFLOW = 4096
/** Above every home. */
const NOT_DOUBLING = 0x7fffffff

/** Told of each block of memory of a table that has outgrown the processor's caches: on pages of
 * 2 MB an access to it at random costs one miss instead of several. */
export type OnLarge = (memory: ArrayBufferLike) => void

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
  readonly #slots: Int32Array
  /** Homes at the index's full size. */
  readonly #slotsMax: number
  /** Homes now; while it doubles, before doubling. */
  #slotCount: number
  /** A home is the hash shifted right by this. */
  #shift: number
  /** While the index doubles: homes from here on are homes of one more bit. Else above
   * all homes. */
  #split: number
  #references = 0
  /** A cluster being moved. */
  #run: Int32Array = new Int32Array(64)
  /** Where prefetch() is: index slots, then records. */
  readonly #places: Int32Array = new Int32Array(EXPECT_MAX)

  readonly #onLarge: OnLarge | undefined

  /** `capacity` entries of `words` (1 or 4) address words; `random` keys the hash; `onLarge` is
   * called when LARGE_TABLE_ENTRIES are in use for the first time. */
  constructor(capacity: number, words: number, random: () => number, onLarge?: OnLarge) {
    this.#onLarge = onLarge
    this.words = words
    this.stride = ADDRESSES + 4 * words
    this.capacity = capacity
    const size = (capacity + 1) * this.stride
    const buffer = new ArrayBuffer(ALIGNMENT + size * 4)
    this.records = new Int32Array(buffer, ALIGNMENT, size)
    this.bytes = new Uint8Array(buffer, ALIGNMENT, size * 4)
    this.links = new Int32Array((capacity + 1) * 2)
    this.#tables = hashTables(random)
    this.#slotCount = INDEX_SLOTS_MIN
    this.#shift = Math.clz32(INDEX_SLOTS_MIN) + 1
    this.#split = NOT_DOUBLING
    let slotsMax = INDEX_SLOTS_MIN
    while (slotsMax * LOAD_MAX < capacity * 2) slotsMax *= 2
    this.#slotsMax = slotsMax
    this.#slots = new Int32Array(slotsMax + OVERFLOW)
  }

  /** Bytes of index that can be in use at the present size. */
  get indexBytes(): number {
    const doubling = this.#split !== NOT_DOUBLING
    return (this.#slotCount * (doubling ? 2 : 1) + OVERFLOW) * 4
  }

  /** Where a search for `hash` begins. */
  #home(hash: number): number {
    const home = hash >>> this.#shift
    return home < this.#split ? home : hash >>> (this.#shift - 1)
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
      if (entry === LARGE_TABLE_ENTRIES) this.#tellLarge()
    }
    this.count++
    return entry
  }

  #tellLarge(): void {
    if (this.#onLarge === undefined) return
    for (const { buffer } of [this.records, this.#slots, this.links]) this.#onLarge(buffer)
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
    const slots = this.#slots
    const records = this.records
    for (let i = this.#home(hash); ; i++) {
      const slot = slots[i]!
      if (slot === 0) return -1
      if (slot >>> 24 !== (hash & 255)) continue
      const reference = slot & 0xffffff
      const at = (reference >>> 1) * 16
      if (this.bytes[at * 4 + PROTOCOL_BYTE] !== protocol) continue
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

  /** Loads what searches for the first `count` (at most EXPECT_MAX) of `hashes` will read: index
   * slots, then records. Loops that do nothing but load, without a branch that depends on what is
   * loaded, so that the processor has many loads under way at once: with the walk in the same loop
   * as the records a key cost 105 ns instead of 53 at 2 million connections. The result means
   * nothing; it keeps the loads from being optimized away. */
  prefetch(hashes: Int32Array, count: number): number {
    const slots = this.#slots
    const records = this.records
    const stride = this.stride
    const places = this.#places
    let sink = 0
    for (let k = 0; k < count; k++) {
      const home = this.#home(hashes[k]!)
      places[k] = home
      sink ^= slots[home]!
    }
    for (let k = 0; k < count; k++) {
      const tag = hashes[k]! & 255
      let i = places[k]!
      let slot = slots[i]!
      while (slot !== 0 && slot >>> 24 !== tag) slot = slots[++i]!
      places[k] = ((slot & 0xffffff) >>> 1) * stride
    }
    for (let k = 0; k < count; k++) sink ^= records[places[k]!]!
    return sink
  }

  /** Reference of an IPv6 flow as seen on the wire, or -1. `addresses`: four words of source, four
   * of target. */
  find6(zone: number, protocol: number, addresses: Int32Array, ports: number): number {
    const hash = this.hash6(zone, protocol, addresses, ports)
    const slots = this.#slots
    for (let i = this.#home(hash); ; i++) {
      const slot = slots[i]!
      if (slot === 0) return -1
      if (slot >>> 24 !== (hash & 255)) continue
      const reference = slot & 0xffffff
      if (!this.#matches6(reference, zone, protocol, ports)) continue
      const direction = reference & 1
      const at = (reference >>> 1) * this.stride + ADDRESSES
      if (
        this.#address6(direction === 0 ? at : at + 12, addresses, 0) &&
        this.#address6(direction === 0 ? at + 4 : at + 8, addresses, 4)
      )
        return reference
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

  #address6(at: number, addresses: Int32Array, from: number): boolean {
    const records = this.records
    return (
      records[at] === addresses[from] &&
      records[at + 1] === addresses[from + 1] &&
      records[at + 2] === addresses[from + 2] &&
      records[at + 3] === addresses[from + 3]
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

  /** `addresses` as for find6(). */
  hash6(zone: number, protocol: number, addresses: Int32Array, ports: number): number {
    const tables = this.#tables
    let hash = hashWord(tables, 0, (zone << 8) | protocol) ^ hashWord(tables, 1, ports)
    for (let i = 0; i < 8; i++) hash ^= hashWord(tables, 2 + i, addresses[i]!)
    return hash
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
    this.move(INDEX_MOVE_PER_INSERT)
    this.#place(reference)
    this.#references++
    if (this.#split === NOT_DOUBLING && this.#references > this.#slotCount * LOAD_MAX) {
      if (this.#slotCount < this.#slotsMax) this.#split = this.#slotCount
    }
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
    const value = (hash << 24) | reference
    const slots = this.#slots
    let gap = this.#home(hash)
    for (; slots[gap] !== value; gap++)
      assert(slots[gap] !== 0, 'a linked reference is in the index')
    // Close the gap: an entry further along the cluster moves back unless that would put it in
    // front of its home.
    for (let i = gap + 1; slots[i] !== 0; i++) {
      if (this.#home(this.hashOf(slots[i]! & 0xffffff)) > gap) continue
      slots[gap] = slots[i]!
      gap = i
    }
    slots[gap] = 0
    this.#references--
  }

  #place(reference: number): void {
    const hash = this.hashOf(reference)
    const slots = this.#slots
    let i = this.#home(hash)
    while (slots[i] !== 0) i++
    assert(i < slots.length - 1, 'no cluster is as long as the overflow area')
    slots[i] = (hash << 24) | reference
  }

  /** Goes on doubling, if that is under way, by about `slotCount` slots. */
  move(slotCount: number): void {
    if (this.#split === NOT_DOUBLING) return
    const slots = this.#slots
    let left = slotCount
    while (left > 0 && this.#split > 0) {
      const last = this.#split - 1
      if (slots[last] === 0) {
        // No entry has its home at an empty slot: nothing to move.
        this.#split = last
        left--
        continue
      }
      let start = last
      while (start > 0 && slots[start - 1] !== 0) start--
      let end = last + 1
      while (slots[end] !== 0) end++
      this.#moveRun(start, end)
      left -= end - start
    }
    if (this.#split > 0) return
    this.#split = NOT_DOUBLING
    this.#slotCount *= 2
    this.#shift--
  }

  /** Moves the cluster [start, end) to its new homes. It is lifted out whole first: near the bottom
   * its old and new places overlap. */
  #moveRun(start: number, end: number): void {
    const slots = this.#slots
    const count = end - start
    if (count > this.#run.length) this.#run = new Int32Array(count * 2)
    const run = this.#run
    for (let i = 0; i < count; i++) run[i] = slots[start + i]!
    slots.fill(0, start, end)
    this.#split = start
    for (let i = 0; i < count; i++) this.#place(run[i]! & 0xffffff)
  }
}
