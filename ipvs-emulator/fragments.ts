// Fragments behind the first carry no ports; they follow their datagram's first fragment.
//
// When a first fragment's connection is found, its (zone, addresses, protocol, identification) is
// noted with the connection; a later fragment is looked up by that. The table is 4-way set
// associative and of fixed size: when a set is full its oldest note gives way.
//
// Limits: a later fragment that overtakes its first one is not found (the sender's retransmission,
// if any, repairs it); that is the price of not holding packets. A note does not own its
// connection: the director checks that the connection still has the same addresses and ports.

import { ipv6FragmentIdentification, ipv6MoreFragments } from '../wire/ipv6.ts'
import { hashTables, hashWord } from './hash.ts'
import { FRAGMENT_TIMEOUT_MS, FRAGMENTS_MAX, TICK_MS } from './limits.ts'
import { fragmentHeader, isIpv4 } from './packet.ts'

const IPV4_MORE = 0x2000
const WAYS = 4
const SETS: number = FRAGMENTS_MAX / WAYS
/** Words of a note: zone and protocol, identification, 8 of addresses, connection, direction,
 * ports, tick. */
const NOTE = 14
const ADDRESS = 2
const CONNECTION = 10
const DIRECTION = 11
const PORTS = 12
const TICK = 13
const TIMEOUT_TICKS: number = FRAGMENT_TIMEOUT_MS / TICK_MS

export class Fragments {
  readonly #notes: Int32Array = new Int32Array(FRAGMENTS_MAX * NOTE)
  readonly #tables: Int32Array
  /** Direction and ports of the note that findLater() found. */
  direction = 0
  ports = 0

  constructor(random: () => number) {
    this.#tables = hashTables(random)
  }

  /** Notes the connection of the packet at `ipAt` when it is a first fragment; else
   * does nothing. */
  noteFirst(
    zone: number,
    protocol: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    connection: number,
    direction: number,
    tick: number,
  ): void {
    const ports = view.getInt32(l4At)
    if (isIpv4(view, ipAt)) {
      if ((view.getUint16(ipAt + 6) & IPV4_MORE) === 0) return
      const id = view.getUint16(ipAt + 4)
      this.#note(zone, protocol, id, view, ipAt + 12, 1, connection, direction, ports, tick)
      return
    }
    const header = fragmentHeader(view, ipAt, l4At)
    if (header < 0 || !ipv6MoreFragments(view, header)) return
    const id = ipv6FragmentIdentification(view, header)
    this.#note(zone, protocol, id, view, ipAt + 8, 4, connection, direction, ports, tick)
  }

  /** Connection of the later fragment at `ipAt`, or -1; sets `direction` and `ports`. */
  findLater(
    zone: number,
    protocol: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    tick: number,
  ): number {
    if (isIpv4(view, ipAt)) {
      return this.#find(zone, protocol, view.getUint16(ipAt + 4), view, ipAt + 12, 1, tick)
    }
    const id = ipv6FragmentIdentification(view, fragmentHeader(view, ipAt, l4At))
    return this.#find(zone, protocol, id, view, ipAt + 8, 4, tick)
  }

  #note(
    zone: number,
    protocol: number,
    identification: number,
    view: DataView,
    addressesAt: number,
    words: number,
    connection: number,
    direction: number,
    ports: number,
    tick: number,
  ): void {
    const first = this.#set(zone, protocol, identification, view, addressesAt, words)
    let at = first
    for (let way = 0; way < WAYS; way++) {
      const candidate = first + way * NOTE
      if (this.#same(candidate, zone, protocol, identification, view, addressesAt, words)) {
        at = candidate
        break
      }
      if (this.#notes[candidate + TICK]! < this.#notes[at + TICK]!) at = candidate
    }
    const notes = this.#notes
    notes[at] = (zone << 8) | protocol
    notes[at + 1] = identification
    for (let i = 0; i < 8; i++) {
      notes[at + ADDRESS + i] = i < 2 * words ? view.getInt32(addressesAt + 4 * i) : 0
    }
    notes[at + CONNECTION] = connection
    notes[at + DIRECTION] = direction
    notes[at + PORTS] = ports
    notes[at + TICK] = tick + 1
  }

  #find(
    zone: number,
    protocol: number,
    identification: number,
    view: DataView,
    addressesAt: number,
    words: number,
    tick: number,
  ): number {
    const first = this.#set(zone, protocol, identification, view, addressesAt, words)
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * NOTE
      if (!this.#same(at, zone, protocol, identification, view, addressesAt, words)) continue
      if (tick + 1 - this.#notes[at + TICK]! > TIMEOUT_TICKS) return -1
      this.direction = this.#notes[at + DIRECTION]!
      this.ports = this.#notes[at + PORTS]!
      return this.#notes[at + CONNECTION]!
    }
    return -1
  }

  #set(
    zone: number,
    protocol: number,
    identification: number,
    view: DataView,
    addressesAt: number,
    words: number,
  ): number {
    let hash =
      hashWord(this.#tables, 0, (zone << 8) | protocol) ^ hashWord(this.#tables, 1, identification)
    for (let i = 0; i < 2 * words; i++) {
      hash ^= hashWord(this.#tables, 2 + i, view.getInt32(addressesAt + 4 * i))
    }
    return (hash & (SETS - 1)) * WAYS * NOTE
  }

  #same(
    at: number,
    zone: number,
    protocol: number,
    identification: number,
    view: DataView,
    addressesAt: number,
    words: number,
  ): boolean {
    const notes = this.#notes
    // TICK is 0 in a note never used.
    if (notes[at + TICK] === 0) return false
    // The notes are signed words; an IPv6 identification has all 32 bits.
    if (notes[at] !== ((zone << 8) | protocol) || notes[at + 1] !== (identification | 0))
      return false
    for (let i = 0; i < 8; i++) {
      const word = i < 2 * words ? view.getInt32(addressesAt + 4 * i) : 0
      if (notes[at + ADDRESS + i] !== word) return false
    }
    return true
  }
}
