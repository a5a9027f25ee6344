// Join tokens: SWMTKN-1-DIGEST-SECRET. DIGEST is SHA-256 of the root bundle, so that a joining
// node, which knows nothing yet, can tell the swarm's root from anybody else's; SECRET is what the
// swarm asks for, 16 random bytes, one per role. Both in base 36, padded to a fixed length, so a
// token has one spelling.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { CaError } from './errors.ts'
import { TOKEN_SECRET_SIZE } from './limits.ts'

const DIGEST_CHARACTERS = 50
const SECRET_CHARACTERS = 25
const TOKEN = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/

export interface JoinToken {
  /** SHA-256 of the root bundle. */
  readonly digest: Buffer
  readonly secret: Buffer
}

/** `bytes` as a big-endian number in base 36, padded with zeros to `characters`. */
export function base36(bytes: Uint8Array, characters: number): string {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
    .toString(36)
    .padStart(characters, '0')
}

/** The reverse; null when the number does not fit into `size` bytes. */
function bytesOf(digits: string, size: number): Buffer | null {
  let value = 0n
  for (const digit of digits) value = value * 36n + BigInt(Number.parseInt(digit, 36))
  const hex = value.toString(16).padStart(2 * size, '0')
  return hex.length > 2 * size ? null : Buffer.from(hex, 'hex')
}

/** A token for a root with this digest; a new secret each time. */
export function generateToken(digest: Uint8Array, secret: Buffer = newSecret()): string {
  return `SWMTKN-1-${base36(digest, DIGEST_CHARACTERS)}-${base36(secret, SECRET_CHARACTERS)}`
}

function newSecret(): Buffer {
  return randomBytes(TOKEN_SECRET_SIZE)
}

/** Takes a token apart. Throws CaError UNKNOWN, in Swarm's words, which say no more on purpose. */
export function parseToken(text: string): JoinToken {
  const match = text.length > 128 ? null : TOKEN.exec(text)
  const digest = match === null ? null : bytesOf(match[1]!, 32)
  const secret = match === null ? null : bytesOf(match[2]!, TOKEN_SECRET_SIZE)
  if (digest === null || secret === null) throw new CaError('UNKNOWN', 'invalid join token')
  return { digest, secret }
}

/** True when `given` is exactly `expected`, in a time that does not depend on where they differ:
 * both are hashed first, so neither length nor contents show. An empty token is never right. */
export function tokenEquals(given: string, expected: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest()
  return timingSafeEqual(hash(given), hash(expected)) && expected !== ''
}
