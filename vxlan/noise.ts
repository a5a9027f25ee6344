// Noise_IKpsk2_25519_AESGCM_SHA256 (Noise Protocol Framework, revision 34), the one pattern we use,
// as a pure machine: keys, ephemerals and payloads come in, messages and two transport keys come
// out.
//
//     <- s                          the initiator knows the responder's static key beforehand
//     ...
//     -> e, es, s, ss               message 1: who I am, sealed to you
//     <- e, ee, se, psk             message 2: and who I am, bound to all that was said
//
// After message 2 both ends share a chaining key that needs both static keys, both ephemerals and
// the preshared key to compute. Message 1 can be replayed and has no forward secrecy: its payload
// is only a timestamp, and the responder proves nothing to itself until the first transport message
// arrives.
//
// Nothing here throws on what a peer sent: a message that does not decrypt yields null. A failed
// readResponse() leaves the initiator as it was, so that a forged response cannot end a handshake;
// a failed readInitiation() leaves a responder that is to be thrown away.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  type KeyObject,
} from 'node:crypto'
import { KEY_SIZE, type KeyPair, publicKeyOf, sharedSecret } from './curve.ts'

export const PROTOCOL_NAME = 'Noise_IKpsk2_25519_AESGCM_SHA256'
export const TAG_SIZE = 16
export const HASH_SIZE = 32

/** Bytes that message 1 and 2 add to their payload: e, sealed s, tag; and e, tag. */
export const INITIATION_OVERHEAD: number = KEY_SIZE + KEY_SIZE + TAG_SIZE + TAG_SIZE
export const RESPONSE_OVERHEAD: number = KEY_SIZE + TAG_SIZE

const EMPTY: Uint8Array = new Uint8Array(0)

/** What both ends hold when the handshake is over. Directions are named by who sends. */
export interface HandshakeResult {
  /** k1 of Split: initiator to responder, 32 bytes. */
  readonly fromInitiator: Uint8Array
  /** k2 of Split: responder to initiator, 32 bytes. */
  readonly fromResponder: Uint8Array
}

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key)
  for (const part of parts) hmac.update(part)
  return hmac.digest()
}

/** HKDF of Noise section 4.3: RFC 5869 with the chaining key as salt and an empty info. Returns
 * `count` outputs of HASH_SIZE bytes. */
export function noiseHkdf(chainingKey: Uint8Array, input: Uint8Array, count: 2 | 3): Uint8Array[] {
  const secret = hmacSha256(chainingKey, input)
  const outputs: Uint8Array[] = []
  let last = EMPTY
  for (let i = 1; i <= count; i++) {
    last = hmacSha256(secret, last, Uint8Array.of(i))
    outputs.push(last)
  }
  secret.fill(0)
  return outputs
}

/** 32 zero bits, then n as a 64-bit big-endian number (section 12.4; ChaChaPoly has it
 * little-endian). */
export function noiseNonce(n: number): Uint8Array {
  const nonce = new Uint8Array(12)
  const view = new DataView(nonce.buffer)
  view.setUint32(4, Math.floor(n / 2 ** 32))
  view.setUint32(8, n % 2 ** 32)
  return nonce
}

/** ENCRYPT of section 4.2: ciphertext with the tag behind it. */
export function encryptAesGcm(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(associated)
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** DECRYPT of section 4.2: the plaintext, or null when the tag is wrong or missing. */
export function decryptAesGcm(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array | null {
  const size = ciphertext.length - TAG_SIZE
  if (size < 0) return null
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_SIZE })
  decipher.setAAD(associated)
  decipher.setAuthTag(ciphertext.subarray(size))
  try {
    return Buffer.concat([decipher.update(ciphertext.subarray(0, size)), decipher.final()])
  } catch {
    return null
  }
}

/** SymmetricState with its CipherState (sections 5.1 and 5.2). */
class Transcript {
  #chainingKey: Uint8Array
  #hash: Uint8Array
  #key: Uint8Array | null = null
  #nonce = 0

  constructor() {
    // InitializeSymmetric: a name of exactly HASHLEN bytes is used as it is; ours has 32.
    this.#hash = Uint8Array.from(Buffer.from(PROTOCOL_NAME, 'ascii'))
    this.#chainingKey = this.#hash
  }

  copy(): Transcript {
    const twin = new Transcript()
    twin.#chainingKey = Uint8Array.from(this.#chainingKey)
    twin.#hash = this.#hash
    twin.#key = this.#key && Uint8Array.from(this.#key)
    twin.#nonce = this.#nonce
    return twin
  }

  mixHash(data: Uint8Array): void {
    this.#hash = sha256(this.#hash, data)
  }

  mixKey(input: Uint8Array): void {
    const [chainingKey, key] = noiseHkdf(this.#chainingKey, input, 2)
    this.#replaceKeys(chainingKey!, key!)
  }

  /** Section 5.2, used by the psk token only (section 9.2). */
  mixKeyAndHash(input: Uint8Array): void {
    const [chainingKey, hash, key] = noiseHkdf(this.#chainingKey, input, 3)
    this.mixHash(hash!)
    this.#replaceKeys(chainingKey!, key!)
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = encryptAesGcm(this.#key!, noiseNonce(this.#nonce++), this.#hash, plaintext)
    this.mixHash(ciphertext)
    return ciphertext
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array | null {
    const plaintext = decryptAesGcm(this.#key!, noiseNonce(this.#nonce), this.#hash, ciphertext)
    if (plaintext === null) return null
    this.#nonce++
    this.mixHash(ciphertext)
    return plaintext
  }

  split(): HandshakeResult {
    const [fromInitiator, fromResponder] = noiseHkdf(this.#chainingKey, EMPTY, 2)
    return { fromInitiator: fromInitiator!, fromResponder: fromResponder! }
  }

  wipe(): void {
    this.#chainingKey.fill(0)
    this.#key?.fill(0)
    this.#key = null
  }

  #replaceKeys(chainingKey: Uint8Array, key: Uint8Array): void {
    // The first chaining key is the protocol name and shares its bytes with the hash: nothing to
    // hide.
    if (this.#key !== null) this.wipe()
    this.#chainingKey = chainingKey
    this.#key = key
    this.#nonce = 0
  }
}

/** The prologue and the pre-message `<- s` (section 5.3, Initialize). */
function beginTranscript(prologue: Uint8Array, responderStatic: Uint8Array): Transcript {
  const transcript = new Transcript()
  transcript.mixHash(prologue)
  transcript.mixHash(responderStatic)
  return transcript
}

/** Token "e" of either message. With a psk pattern the ephemeral also goes into the key (section
 * 9.2), so that its randomness protects what is encrypted under the psk. */
function mixEphemeral(transcript: Transcript, ephemeral: Uint8Array): void {
  transcript.mixHash(ephemeral)
  transcript.mixKey(ephemeral)
}

/** Mixes a DH result and wipes it. False when the DH met a point of low order. */
function mixSecret(transcript: Transcript, secret: Uint8Array | null): boolean {
  if (secret === null) return false
  transcript.mixKey(secret)
  secret.fill(0)
  return true
}

export interface InitiatorOptions {
  readonly prologue: Uint8Array
  readonly local: KeyPair
  readonly remoteStatic: Uint8Array
  readonly remoteKey: KeyObject
  /** DH of both static keys, which is the same in every handshake with this peer. */
  readonly staticStatic: Uint8Array
  /** Any of them may have been used by the responder; at least one. */
  readonly presharedKeys: readonly Uint8Array[]
  readonly ephemeral: KeyPair
}

/** The end that speaks first. */
export class Initiator {
  readonly #options: InitiatorOptions
  readonly #transcript: Transcript

  constructor(options: InitiatorOptions) {
    this.#options = options
    this.#transcript = beginTranscript(options.prologue, options.remoteStatic)
  }

  /** Message 1: e (32) | sealed s (48) | sealed payload. Null when the responder's key is of low
   * order. */
  writeInitiation(payload: Uint8Array): Uint8Array | null {
    const { ephemeral, local, remoteKey, staticStatic } = this.#options
    const transcript = this.#transcript
    mixEphemeral(transcript, ephemeral.publicKey) // e
    if (!mixSecret(transcript, sharedSecret(ephemeral, remoteKey))) return null // es
    const sealedStatic = transcript.encryptAndHash(local.publicKey) // s
    transcript.mixKey(staticStatic) // ss
    return Buffer.concat([ephemeral.publicKey, sealedStatic, transcript.encryptAndHash(payload)])
  }

  /** Message 2. Returns its payload and the keys, or null; after null another message may be tried.
   * */
  readResponse(message: Uint8Array): { payload: Uint8Array; result: HandshakeResult } | null {
    if (message.length < RESPONSE_OVERHEAD) return null
    const transcript = this.#transcript.copy()
    const remoteEphemeral = message.subarray(0, KEY_SIZE)
    const remoteKey = publicKeyOf(remoteEphemeral)
    mixEphemeral(transcript, remoteEphemeral) // e
    const { ephemeral, local, presharedKeys } = this.#options
    const isAgreed =
      mixSecret(transcript, sharedSecret(ephemeral, remoteKey)) && // ee
      mixSecret(transcript, sharedSecret(local, remoteKey)) // se
    for (const presharedKey of isAgreed ? presharedKeys : []) {
      const attempt = transcript.copy()
      attempt.mixKeyAndHash(presharedKey) // psk
      const payload = attempt.decryptAndHash(message.subarray(KEY_SIZE))
      const result = payload && attempt.split()
      attempt.wipe()
      if (payload === null || result === null) continue
      transcript.wipe()
      return { payload, result }
    }
    transcript.wipe()
    return null
  }

  wipe(): void {
    this.#transcript.wipe()
  }
}

export interface ResponderOptions {
  readonly prologue: Uint8Array
  readonly local: KeyPair
  /** DH of both static keys, or null when the initiator is not known: then nothing more is
   * computed. */
  readonly staticStatic: (remoteStatic: Uint8Array) => Uint8Array | null
}

/** The end that is spoken to; one object per message 1. */
export class Responder {
  /** The initiator's static key once message 1 named it, known to us or not. */
  remoteStatic: Uint8Array | null = null
  readonly #options: ResponderOptions
  readonly #transcript: Transcript
  #remoteEphemeral: KeyObject | null = null

  constructor(options: ResponderOptions) {
    this.#options = options
    this.#transcript = beginTranscript(options.prologue, options.local.publicKey)
  }

  /** Message 1. Returns its payload, or null; then `remoteStatic` tells an unknown initiator (set)
   * from a message that did not decrypt (null). */
  readInitiation(message: Uint8Array): Uint8Array | null {
    if (message.length < INITIATION_OVERHEAD) return null
    const { local, staticStatic } = this.#options
    const transcript = this.#transcript
    const ephemeral = message.subarray(0, KEY_SIZE)
    const ephemeralKey = publicKeyOf(ephemeral)
    mixEphemeral(transcript, ephemeral) // e
    if (!mixSecret(transcript, sharedSecret(local, ephemeralKey))) return null // es
    const sealedEnd = KEY_SIZE + KEY_SIZE + TAG_SIZE
    const remoteStatic = transcript.decryptAndHash(message.subarray(KEY_SIZE, sealedEnd)) // s
    if (remoteStatic === null) return null
    const secret = staticStatic(remoteStatic)
    if (secret === null) {
      this.remoteStatic = remoteStatic
      return null
    }
    transcript.mixKey(secret) // ss
    const payload = transcript.decryptAndHash(message.subarray(sealedEnd))
    if (payload === null) return null
    this.remoteStatic = remoteStatic
    this.#remoteEphemeral = ephemeralKey
    return payload
  }

  /** Message 2: e (32) | sealed payload, and the keys. Null when the initiator's static key is of
   * low order. Call after a readInitiation() that succeeded, once. */
  writeResponse(
    ephemeral: KeyPair,
    payload: Uint8Array,
    presharedKey: Uint8Array,
  ): { message: Uint8Array; result: HandshakeResult } | null {
    const transcript = this.#transcript
    mixEphemeral(transcript, ephemeral.publicKey) // e
    const remoteStatic = publicKeyOf(this.remoteStatic!)
    if (!mixSecret(transcript, sharedSecret(ephemeral, this.#remoteEphemeral!))) return null // ee
    if (!mixSecret(transcript, sharedSecret(ephemeral, remoteStatic))) return null // se
    transcript.mixKeyAndHash(presharedKey) // psk
    const sealed = transcript.encryptAndHash(payload)
    const result = transcript.split()
    transcript.wipe()
    return { message: Buffer.concat([ephemeral.publicKey, sealed]), result }
  }

  wipe(): void {
    this.#transcript.wipe()
  }
}
