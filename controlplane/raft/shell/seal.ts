// Sealing: AES-256-GCM under a member's data key, so that a stolen disk tells nothing and a changed
// one is noticed.
//
//   sealed    nonce(12) ciphertext tag(16)
//   nonce     prefix(8), drawn when the process starts; count(4), one per sealing
//
// A nonce never repeats under a key: two lives of a process share a prefix with probability 2^-64
// times the square of their number, and within a life the count goes up (a new prefix is drawn when
// it is used up). Random nonces would have to be rationed to 2^32 per key.
//
// What a piece is and where it belongs goes into the additional data: kind, cluster, Raft id and
// its place. A piece that was moved, or taken from another member, does not open.
//
// Not prevented: putting back a whole old directory. That takes a witness elsewhere; the other
// members are that witness, and a member that lost its promises is why Raft ids are never reused.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto'

export const KEY_BYTES: number = 32
const NONCE_BYTES = 12
const PREFIX_BYTES = 8
const TAG_BYTES = 16
const COUNT_END = 2 ** 32
const ALGORITHM = 'aes-256-gcm'

/** By this a key is known without being told: the first 8 bytes of its SHA-256. */
export function keyIdOf(key: Uint8Array): string {
  return createHash('sha256').update('weft raft data key').update(key).digest('hex').slice(0, 16)
}

export function newDataKey(): Uint8Array {
  return randomBytes(KEY_BYTES)
}

/** A key that seals. */
export class Sealer {
  readonly keyId: string
  /** From bytes, node would make one for every sealing, at four times the cost of the cipher. */
  readonly #key: KeyObject
  #prefix: Buffer = randomBytes(PREFIX_BYTES)
  #count = 0

  constructor(key: Uint8Array) {
    if (key.length !== KEY_BYTES) throw new RangeError(`a data key has ${KEY_BYTES} bytes`)
    this.#key = createSecretKey(key)
    this.keyId = keyIdOf(key)
  }

  seal(plain: Uint8Array, additional: string): Uint8Array {
    if (this.#count === COUNT_END) {
      this.#prefix = randomBytes(PREFIX_BYTES)
      this.#count = 0
    }
    const nonce = Buffer.allocUnsafe(NONCE_BYTES)
    this.#prefix.copy(nonce)
    nonce.writeUInt32BE(this.#count++, PREFIX_BYTES)
    const cipher = createCipheriv(ALGORITHM, this.#key, nonce)
    cipher.setAAD(Buffer.from(additional))
    return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  }
}

/** The plain bytes, or null when `sealed` is not what was sealed with this key and these data. */
export function open(key: Uint8Array, sealed: Uint8Array, additional: string): Uint8Array | null {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) return null
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(Buffer.from(additional))
  decipher.setAuthTag(sealed.subarray(end))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, end)), decipher.final()])
  } catch {
    return null
  }
}
