// Where keypairs live, and the receiver indexes by which the peers name them.
//
// A peer owns SLOTS_PER_PEER consecutive slots: previous, current, next, and a call that is out. A
// receiver index is a slot in its low bits and random above:
//
//     31                     12 11        2 1   0
//     | random, never all zero  | peer      | k |        (for 1024 peers)
//
// so that finding the key is one array access, and a datagram with a guessed index fails before any
// cryptography. The random bits are no secret: an observer sees them.

import { assert } from '../base/assert.ts'
import type { Keypair } from './keyring.ts'
import { SLOTS_PER_PEER } from './limits.ts'

export class SlotTable {
  readonly #mask: number
  readonly #bits: number
  readonly #keypairs: (Keypair | null)[]
  /** Receiver index of the keypair in each slot, 0 = none. */
  readonly #indexes: Uint32Array
  readonly #randomBytes: (size: number) => Uint8Array

  /** `peersMax` is a power of two, at most 2^16. */
  constructor(peersMax: number, randomBytes: (size: number) => Uint8Array) {
    const count = peersMax * SLOTS_PER_PEER
    this.#mask = count - 1
    this.#bits = Math.log2(count)
    this.#keypairs = new Array(count).fill(null)
    this.#indexes = new Uint32Array(count)
    this.#randomBytes = randomBytes
  }

  /** Slot of the keypair that `receiverIndex` names, -1 = none. */
  find(receiverIndex: number): number {
    const slot = receiverIndex & this.#mask
    return this.#indexes[slot] === receiverIndex && receiverIndex !== 0 ? slot : -1
  }

  /** Keypair in a slot, null = empty. */
  at(slot: number): Keypair | null {
    return this.#keypairs[slot]!
  }

  /** The peer that owns a slot. */
  peerOf(slot: number): number {
    return Math.floor(slot / SLOTS_PER_PEER)
  }

  /** The peer that an index points to, whether or not it is in use. */
  peerOfIndex(receiverIndex: number): number {
    return this.peerOf(receiverIndex & this.#mask)
  }

  /** A slot of `peer` that is empty and not `taken`. There always is one: see above. */
  free(peer: number, taken: number): number {
    const first = peer * SLOTS_PER_PEER
    for (let slot = first; slot < first + SLOTS_PER_PEER; slot++) {
      if (this.#keypairs[slot] === null && slot !== taken) return slot
    }
    assert(false, 'a peer never holds more than previous, current, next and a call')
  }

  /** A fresh receiver index for a slot. */
  newIndex(slot: number): number {
    const random = this.#randomBytes(4)
    const high = new DataView(random.buffer, random.byteOffset, 4).getUint32(0) >>> this.#bits
    // Zero means "none"; one index in a million is not missed.
    return (((high === 0 ? 1 : high) << this.#bits) | slot) >>> 0
  }

  put(keypair: Keypair): void {
    assert(this.#keypairs[keypair.slot] === null, 'a slot is emptied before it is filled')
    this.#keypairs[keypair.slot] = keypair
    this.#indexes[keypair.slot] = keypair.localIndex
  }

  /** Empties the slot of a keypair and wipes its keys. */
  drop(keypair: Keypair): void {
    this.#keypairs[keypair.slot] = null
    this.#indexes[keypair.slot] = 0
    keypair.sealer.free()
    keypair.opener.free()
  }
}
