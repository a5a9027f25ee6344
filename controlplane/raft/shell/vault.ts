// The keys of one database: seals with the newest, opens with whichever a row names.

import { StorageError } from './errors.ts'
import type { DataKeys } from './keys.ts'
import { keyIdOf, open, Sealer } from './seal.ts'

/** As it lies in a row. */
export interface SealedRow {
  readonly key: string
  readonly sealed: Uint8Array
}

export class Vault {
  readonly #keys = new Map<string, Uint8Array>()
  #sealer: Sealer

  constructor(keys: DataKeys) {
    this.#sealer = this.#use(keys)
  }

  /** Of the key that seals. */
  get keyId(): string {
    return this.#sealer.keyId
  }

  seal(plain: Uint8Array, place: string): SealedRow {
    return { key: this.#sealer.keyId, sealed: this.#sealer.seal(plain, place) }
  }

  /** `what` is the subject of the complaint when it does not open. */
  open({ key: keyId, sealed }: SealedRow, place: string, what: string): Uint8Array {
    const key = this.#keys.get(keyId)
    if (key === undefined) {
      const known = [...this.#keys.keys()].join(' and ')
      const reason = `${what} is sealed under the key ${keyId}; this process has ${known}.`
      throw new StorageError('wrong-key', reason)
    }
    const plain = open(key, sealed, place)
    if (plain === null) throw new StorageError('corrupt-entry', `${what} fails its seal.`)
    return plain
  }

  /** Seals with the pending key from now on, and opens with either. */
  change(keys: DataKeys): void {
    this.#sealer = this.#use(keys)
  }

  /** Nothing is sealed under another key any more. */
  forgetOthers(): void {
    for (const keyId of [...this.#keys.keys()]) if (keyId !== this.keyId) this.#keys.delete(keyId)
  }

  #use(keys: DataKeys): Sealer {
    for (const key of [keys.current, keys.pending]) {
      if (key !== null) this.#keys.set(keyIdOf(key), key)
    }
    return new Sealer(keys.pending ?? keys.current)
  }
}
