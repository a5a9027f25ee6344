// Which service answers at an address: mark first, then (zone, protocol, address, port), then the
// port-0 entry that takes every port (ip_vs_service_find()). Asked once per new flow, rebuilt whole
// by apply().

import type { Flow } from './flow.ts'
import { hashTables, hashWord } from './hash.ts'

/** Words of a key: zone and protocol, port and family, four of address; then the service. */
const KEY = 6
const ENTRY: number = KEY + 1

export class Virtuals {
  readonly #tables: Int32Array
  #entries: Int32Array = new Int32Array(0)
  #heads: Int32Array = new Int32Array(1)
  #next: Int32Array = new Int32Array(0)
  #count = 0
  #marks: ReadonlyMap<number, number> = new Map()

  constructor(random: () => number) {
    this.#tables = hashTables(random)
  }

  /** Empties the table and makes room for `keys` keys. */
  reset(keys: number, marks: ReadonlyMap<number, number>): void {
    let slots = 16
    while (slots < keys * 2) slots *= 2
    this.#entries = new Int32Array(keys * ENTRY)
    this.#heads = new Int32Array(slots).fill(-1)
    this.#next = new Int32Array(keys)
    this.#count = 0
    this.#marks = marks
  }

  /** Adds a key; false when it is there already. */
  add(
    zone: number,
    protocol: number,
    family: number,
    address: Int32Array,
    port: number,
    service: number,
  ): boolean {
    const [w0, w1, w2, w3] = address as unknown as [number, number, number, number]
    if (this.#find(zone, protocol, family, w0, w1, w2, w3, port) >= 0) return false
    const slot = this.#slot(zone, protocol, family, w0, w1, w2, w3, port)
    const entry = this.#count++
    const at = entry * ENTRY
    this.#entries[at] = (zone << 8) | protocol
    this.#entries[at + 1] = (port << 1) | family
    this.#entries.set(address, at + 2)
    this.#entries[at + KEY] = service
    this.#next[entry] = this.#heads[slot]!
    this.#heads[slot] = entry
    return true
  }

  byMark(mark: number): number {
    return mark === 0 ? -1 : (this.#marks.get(mark) ?? -1)
  }

  /** Service at an address, by port, else by port 0; -1 = none. */
  find(
    zone: number,
    protocol: number,
    family: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    port: number,
  ): number {
    const exact = this.#find(zone, protocol, family, w0, w1, w2, w3, port)
    return exact >= 0 ? exact : this.#find(zone, protocol, family, w0, w1, w2, w3, 0)
  }

  /** Service at the flow's target address and exactly `port`; -1 = none. */
  findFlow(flow: Flow, port: number): number {
    const t = flow.target
    return this.#find(flow.zone, flow.protocol, flow.family, t[0]!, t[1]!, t[2]!, t[3]!, port)
  }

  #slot(
    zone: number,
    protocol: number,
    family: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    port: number,
  ): number {
    const tables = this.#tables
    const hash =
      hashWord(tables, 0, (zone << 8) | protocol) ^
      hashWord(tables, 1, (port << 1) | family) ^
      hashWord(tables, 2, w0) ^
      hashWord(tables, 3, w1) ^
      hashWord(tables, 4, w2) ^
      hashWord(tables, 5, w3)
    return hash & (this.#heads.length - 1)
  }

  #find(
    zone: number,
    protocol: number,
    family: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    port: number,
  ): number {
    const entries = this.#entries
    if (this.#count === 0) return -1
    let entry = this.#heads[this.#slot(zone, protocol, family, w0, w1, w2, w3, port)]!
    for (; entry >= 0; entry = this.#next[entry]!) {
      const at = entry * ENTRY
      if (
        entries[at] === ((zone << 8) | protocol) &&
        entries[at + 1] === ((port << 1) | family) &&
        entries[at + 2] === w0 &&
        entries[at + 3] === w1 &&
        entries[at + 4] === w2 &&
        entries[at + 5] === w3
      )
        return entries[at + KEY]!
    }
    return -1
  }
}
