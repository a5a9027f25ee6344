// Forwarding database: which endpoint has this MAC on this network?
//
// Built whole from the tables and swapped; nothing is learnt from traffic, so that no frame can
// move an address (RFC 7348 section 7 names that attack) and nothing ages. An endpoint is a number
// of the caller's, for instance its place in the tables.
//
// Open addressing with linear probing over one Int32Array, four words per entry, at most half full:
// a lookup touches one cache line most of the time.
//
//     | MAC, last 32 bits | MAC, first 16 bits | VNI | endpoint + 1, zero = free |

import { formatMac } from './mac.ts'

export interface FdbEntry {
  readonly vni: number
  readonly macHi: number
  readonly macLo: number
  readonly endpoint: number
}

const WORDS = 4
const LO = 0
const HI = 1
const VNI = 2
const VALUE = 3

const ENTRIES_MIN = 8

function hashOf(vni: number, hi: number, lo: number): number {
  let hash = Math.imul(lo ^ Math.imul(hi ^ (vni << 8), 0x9e3779b1), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35)
  return hash ^ (hash >>> 13)
}

export class Fdb {
  /** Entries in it. */
  readonly size: number
  readonly #mask: number
  readonly #words: Int32Array

  /** Throws an Error naming the MAC when two entries of one network share it. */
  constructor(entries: readonly FdbEntry[]) {
    let capacity = ENTRIES_MIN
    while (capacity < entries.length * 2) capacity *= 2
    this.size = entries.length
    this.#mask = capacity - 1
    this.#words = new Int32Array(capacity * WORDS)
    for (const entry of entries) this.#insert(entry)
  }

  /** Endpoint behind a MAC, -1 = unknown. */
  lookup(vni: number, macHi: number, macLo: number): number {
    const words = this.#words
    let at = (hashOf(vni, macHi, macLo) & this.#mask) * WORDS
    for (;;) {
      const value = words[at + VALUE]!
      if (value === 0) return -1
      if (words[at + LO] === (macLo | 0) && words[at + HI] === macHi && words[at + VNI] === vni) {
        return value - 1
      }
      at = (at + WORDS) & (words.length - 1)
    }
  }

  #insert({ vni, macHi, macLo, endpoint }: FdbEntry): void {
    if (this.lookup(vni, macHi, macLo) >= 0) {
      throw new Error(`two endpoints of network ${vni} have the MAC ${formatMac(macHi, macLo)}`)
    }
    let at = (hashOf(vni, macHi, macLo) & this.#mask) * WORDS
    while (this.#words[at + VALUE] !== 0) at = (at + WORDS) & (this.#words.length - 1)
    this.#words[at + LO] = macLo
    this.#words[at + HI] = macHi
    this.#words[at + VNI] = vni
    this.#words[at + VALUE] = endpoint + 1
  }
}
