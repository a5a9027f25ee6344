// AES-256-GCM over node:crypto in the layout of base/device.ts: the plain twin of the fast keys
// that the edge builds on OpenSSL's TLS-record mode, byte for byte the same. It serves the tests
// and any platform without that mode; it allocates per call and is about twenty times slower.
//
//     in the slab     at          at+8                    at+8+length
//                     | counter   | payload               | tag (16)   |
//     nonce           salt (4) || counter (8)
//     associated      aad (11) || length (2, big-endian)
//
// The length is that of the payload, also when opening: OpenSSL is told the length of the whole
// record and takes explicit nonce and tag off before it computes (RFC 5288 section 3, RFC 5246
// section 6.2.3.3, where it is TLSCompressed.length).

import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { AeadFactory, AeadKey } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'

const NONCE_SIZE = 12
const COUNTER_SIZE = 8
const AAD_SIZE = 11
const TAG_SIZE = 16
const LENGTH_MAX = 0xffff

class PlainKey implements AeadKey {
  readonly #slab: Slab
  readonly #key: Uint8Array
  readonly #nonce: Uint8Array = new Uint8Array(NONCE_SIZE)
  readonly #associated: Uint8Array = new Uint8Array(AAD_SIZE + 2)
  #counter: number
  #freed = false

  constructor(
    slab: Slab,
    key: Uint8Array,
    salt: Uint8Array,
    aad: Uint8Array,
    firstCounter: number,
  ) {
    if (key.length !== 32) throw new RangeError('an AES-256 key has 32 bytes')
    if (salt.length !== 4) throw new RangeError('a salt has 4 bytes')
    if (aad.length !== AAD_SIZE) throw new RangeError('the fixed part of the AAD has 11 bytes')
    this.#slab = slab
    this.#key = Uint8Array.from(key)
    this.#nonce.set(salt)
    this.#associated.set(aad)
    this.#counter = firstCounter
  }

  seal(at: number, length: number): number {
    if (this.#freed || length < 0 || length > LENGTH_MAX) return -1
    const { bytes, view } = this.#slab
    view.setUint32(at, Math.floor(this.#counter / 2 ** 32))
    view.setUint32(at + 4, this.#counter % 2 ** 32)
    this.#counter++
    const payload = at + COUNTER_SIZE
    const end = payload + length
    this.#prepare(at, length)
    const cipher = createCipheriv('aes-256-gcm', this.#key, this.#nonce)
    cipher.setAAD(this.#associated)
    bytes.set(cipher.update(bytes.subarray(payload, end)), payload)
    cipher.final()
    bytes.set(cipher.getAuthTag(), end)
    return 0
  }

  open(at: number, length: number): number {
    if (this.#freed || length < 0 || length > LENGTH_MAX) return -1
    const { bytes } = this.#slab
    const payload = at + COUNTER_SIZE
    const end = payload + length
    this.#prepare(at, length)
    const decipher = createDecipheriv('aes-256-gcm', this.#key, this.#nonce, {
      authTagLength: TAG_SIZE,
    })
    decipher.setAAD(this.#associated)
    decipher.setAuthTag(bytes.subarray(end, end + TAG_SIZE))
    bytes.set(decipher.update(bytes.subarray(payload, end)), payload)
    try {
      decipher.final()
    } catch {
      return -1
    }
    return 0
  }

  free(): void {
    this.#key.fill(0)
    this.#nonce.fill(0)
    this.#freed = true
  }

  #prepare(at: number, length: number): void {
    this.#nonce.set(this.#slab.bytes.subarray(at, at + COUNTER_SIZE), 4)
    this.#associated[AAD_SIZE] = length >>> 8
    this.#associated[AAD_SIZE + 1] = length & 0xff
  }
}

/** Keys of node:crypto over `slab`. Making one throws a RangeError when key (32), salt (4) or aad
 * (11) have another size. */
export class PlainAeadFactory implements AeadFactory {
  readonly #slab: Slab

  constructor(slab: Slab) {
    this.#slab = slab
  }

  sealer(key: Uint8Array, salt: Uint8Array, aad: Uint8Array, firstCounter: number): AeadKey {
    return new PlainKey(this.#slab, key, salt, aad, firstCounter)
  }

  opener(key: Uint8Array, salt: Uint8Array, aad: Uint8Array): AeadKey {
    return new PlainKey(this.#slab, key, salt, aad, 0)
  }
}
