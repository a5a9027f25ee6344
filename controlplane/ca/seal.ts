// Sealing small secrets under a key encryption key (KEK): what a locked manager has on disk. It is
// AES-256-GCM with a random nonce; a label says what the secret is for, so that one sealed value
// cannot be put in the place of another. There are few values under one KEK, so random nonces of 96
// bits are far from colliding (NIST SP 800-38D section 8.3 allows 2^32).
//
// A KEK is shown to people as SWMKEY-1- and its base64 without padding, as Swarm's is.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { CaError } from './errors.ts'
import { KEK_SIZE } from './limits.ts'

const VERSION = 1
const NONCE_SIZE = 12
const TAG_SIZE = 16
const UNLOCK_KEY = /^SWMKEY-1-([A-Za-z0-9+/]{43})$/

export function newKek(): Buffer {
  return randomBytes(KEK_SIZE)
}

/** version (1 byte), nonce (12), sealed bytes, tag (16). */
export function seal(kek: Uint8Array, label: string, secret: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_SIZE)
  const cipher = createCipheriv('aes-256-gcm', kek, nonce, { authTagLength: TAG_SIZE })
  cipher.setAAD(Buffer.from(label, 'utf8'))
  const sealed = Buffer.concat([cipher.update(secret), cipher.final()])
  return Buffer.concat([Buffer.from([VERSION]), nonce, sealed, cipher.getAuthTag()])
}

/** What was sealed, or null when key, label or bytes are not those of seal(). */
export function open(kek: Uint8Array, label: string, bytes: Uint8Array): Buffer | null {
  if (kek.length !== KEK_SIZE || bytes[0] !== VERSION) return null
  const end = bytes.length - TAG_SIZE
  const start = 1 + NONCE_SIZE
  if (end < start) return null
  const decipher = createDecipheriv('aes-256-gcm', kek, bytes.subarray(1, start), {
    authTagLength: TAG_SIZE,
  })
  decipher.setAAD(Buffer.from(label, 'utf8'))
  decipher.setAuthTag(bytes.subarray(end))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(start, end)), decipher.final()])
  } catch {
    return null
  }
}

/** A KEK as people read and type it. */
export function unlockKeyText(kek: Uint8Array): string {
  return `SWMKEY-1-${Buffer.from(kek).toString('base64').replace('=', '')}`
}

/** Throws CaError INVALID_ARGUMENT, in Swarm's words, without quoting what was typed. */
export function parseUnlockKey(text: string): Buffer {
  const kek = Buffer.from(UNLOCK_KEY.exec(text)?.[1] ?? '', 'base64')
  if (kek.length !== KEK_SIZE || unlockKeyText(kek) !== text) {
    throw new CaError('INVALID_ARGUMENT', 'invalid key string')
  }
  return kek
}
