// X25519 keys (RFC 7748) in the two shapes we need: 32 raw bytes for the wire and the tables, and
// node:crypto's KeyObject for the arithmetic. Making a KeyObject costs more than a hash, so a key
// that lives long (a peer's static key) is converted once.
//
// What is not done: a KeyObject's secret sits in OpenSSL's memory and cannot be wiped from here;
// raw private keys and shared secrets are wiped by whoever made them.

import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto'

export const KEY_SIZE = 32

/** A key pair of ours. */
export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: Uint8Array
}

// DER around the 32 bytes: PrivateKeyInfo and SubjectPublicKeyInfo with id-X25519 (RFC 8410
// sections 4 and 7). Both are constant because nothing in them depends on the key.
const PKCS8_HEAD: Buffer = Buffer.from('302e020100300506032b656e04220420', 'hex')
const SPKI_HEAD: Buffer = Buffer.from('302a300506032b656e032100', 'hex')

/** Key pair from a raw private key. Clamping (RFC 7748 section 5) is part of the DH, not of the
 * key. Throws a RangeError when the length is not KEY_SIZE. */
export function keyPairOf(privateKey: Uint8Array): KeyPair {
  if (privateKey.length !== KEY_SIZE) throw new RangeError('a private key has 32 bytes')
  const der = Buffer.concat([PKCS8_HEAD, privateKey])
  const object = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  const spki = createPublicKey(object).export({ format: 'der', type: 'spki' })
  return { privateKey: object, publicKey: new Uint8Array(spki.subarray(SPKI_HEAD.length)) }
}

/** Public key from its raw bytes. Throws a RangeError when the length is not KEY_SIZE; whether the
 * point is of use shows only in sharedSecret(). */
export function publicKeyOf(publicKey: Uint8Array): KeyObject {
  if (publicKey.length !== KEY_SIZE) throw new RangeError('a public key has 32 bytes')
  const der = Buffer.concat([SPKI_HEAD, publicKey])
  return createPublicKey({ key: der, format: 'der', type: 'spki' })
}

/** DH(ours, theirs), 32 bytes, or null when `theirs` is a point of low order: the result would then
 * be zero whatever our key is (RFC 7748 section 6.1; Noise section 12.1 leaves the check to us).
 * OpenSSL makes the check and reports it as an error; the comparison here does not rely on that. */
export function sharedSecret(ours: KeyPair, theirs: KeyObject): Uint8Array | null {
  let secret: Buffer
  try {
    secret = diffieHellman({ privateKey: ours.privateKey, publicKey: theirs })
  } catch {
    return null
  }
  let bits = 0
  for (const byte of secret) bits |= byte
  return bits === 0 ? null : secret
}
