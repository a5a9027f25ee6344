// The two macs at the end of initiation and response, and the cookies behind the second
// (WireGuard whitepaper sections 5.3 and 5.4.4).
//
// mac1 proves that the sender knows our public key: a scanner of ports that does not gets no answer
// and costs us one HMAC. Under load, before any curve arithmetic, we also demand mac2, keyed with a
// cookie that we sent to the source address of an earlier message: a flood from forged addresses
// then costs us two HMACs and a small reply each, and one from true addresses meets the limiter
// (rate-limit.ts).
//
//     key1    = SHA-256("weft mac1"   || receiver's public key)
//     mac1    = HMAC-SHA256(key1, message up to mac1)[0..16]
//     cookie  = HMAC-SHA256(secret, source address and port)[0..16]      secret lives for 120 s
//     mac2    = HMAC-SHA256(cookie, message up to mac2)[0..16]           zero without a cookie
//     reply   = AES-256-GCM(SHA-256("weft cookie" || our public key), random nonce, cookie),
//               with the mac1 that it answers as associated data
//
// The responder stores nothing per source: the cookie can be computed again from the message at
// hand. The cookie is sealed with a key that is not secret: it binds the reply to a message that
// its sender saw, so that only whoever is on the path can plant a wrong cookie.

import { timingSafeEqual } from 'node:crypto'
import {
  buildCookieReply,
  COOKIE_NONCE_SIZE,
  COOKIE_SIZE,
  cookieNonce,
  cookieSealed,
  MAC_SIZE,
  senderIndex,
} from './handshake.ts'
import { COOKIE_LIFE_MS } from './limits.ts'
import { decryptAesGcm, encryptAesGcm, hmacSha256, sha256 } from './noise.ts'

const MAC1_LABEL: Uint8Array = Buffer.from('weft mac1')
const COOKIE_LABEL: Uint8Array = Buffer.from('weft cookie')
const SECRET_SIZE = 32

function mac(key: Uint8Array, message: Uint8Array, size: number): Uint8Array {
  return hmacSha256(key, message).subarray(0, size)
}

/** Everything before mac1, and before mac2. */
function beforeMac1(message: Uint8Array): Uint8Array {
  return message.subarray(0, message.length - 2 * MAC_SIZE)
}
function beforeMac2(message: Uint8Array): Uint8Array {
  return message.subarray(0, message.length - MAC_SIZE)
}
function mac1Of(message: Uint8Array): Uint8Array {
  return message.subarray(message.length - 2 * MAC_SIZE, message.length - MAC_SIZE)
}
function mac2Of(message: Uint8Array): Uint8Array {
  return message.subarray(message.length - MAC_SIZE)
}

/** Our side as the receiver of handshake messages; one per node. */
export class MacChecker {
  readonly #mac1Key: Uint8Array
  readonly #cookieKey: Uint8Array
  readonly #randomBytes: (size: number) => Uint8Array
  #secret: Uint8Array | null = null
  #previousSecret: Uint8Array | null = null
  #secretMs = 0

  constructor(ownPublicKey: Uint8Array, randomBytes: (size: number) => Uint8Array) {
    this.#mac1Key = sha256(MAC1_LABEL, ownPublicKey)
    this.#cookieKey = sha256(COOKIE_LABEL, ownPublicKey)
    this.#randomBytes = randomBytes
  }

  /** True when the sender knows our public key. */
  checkMac1(message: Uint8Array): boolean {
    return timingSafeEqual(mac(this.#mac1Key, beforeMac1(message), MAC_SIZE), mac1Of(message))
  }

  /** True when the sender has received a cookie at `source` within the last COOKIE_LIFE_MS or a
   * little longer: the secret before the present one still counts, so that no cookie dies young. */
  checkMac2(message: Uint8Array, source: Uint8Array, nowMs: number): boolean {
    this.#rotate(nowMs)
    const given = mac2Of(message)
    for (const secret of [this.#secret, this.#previousSecret]) {
      if (secret === null) continue
      const cookie = mac(secret, source, COOKIE_SIZE)
      if (timingSafeEqual(mac(cookie, beforeMac2(message), MAC_SIZE), given)) return true
    }
    return false
  }

  /** The cookie reply to `message`, whose mac1 was right. */
  reply(message: Uint8Array, source: Uint8Array, nowMs: number): Uint8Array {
    this.#rotate(nowMs)
    const cookie = mac(this.#secret!, source, COOKIE_SIZE)
    const nonce = this.#randomBytes(COOKIE_NONCE_SIZE)
    const sealed = encryptAesGcm(this.#cookieKey, nonce, mac1Of(message), cookie)
    return buildCookieReply(senderIndex(message), nonce, sealed)
  }

  #rotate(nowMs: number): void {
    const ageMs = nowMs - this.#secretMs
    if (this.#secret !== null && ageMs < COOKIE_LIFE_MS) return
    this.#previousSecret = ageMs < 2 * COOKIE_LIFE_MS ? this.#secret : null
    this.#secret = this.#randomBytes(SECRET_SIZE)
    this.#secretMs = nowMs
  }
}

/** Our side as the sender of handshake messages; one per peer. */
export class MacWriter {
  readonly #mac1Key: Uint8Array
  readonly #cookieKey: Uint8Array
  #cookie: Uint8Array | null = null
  #cookieMs = 0
  /** mac1 of the last message sent: what a cookie reply must answer. */
  #lastMac1: Uint8Array | null = null

  constructor(peerPublicKey: Uint8Array) {
    this.#mac1Key = sha256(MAC1_LABEL, peerPublicKey)
    this.#cookieKey = sha256(COOKIE_LABEL, peerPublicKey)
  }

  /** True when a handshake message is for this peer: its sender knew the peer's public key. */
  fits(message: Uint8Array): boolean {
    return timingSafeEqual(mac(this.#mac1Key, beforeMac1(message), MAC_SIZE), mac1Of(message))
  }

  /** Writes both macs at the end of `message`. */
  write(message: Uint8Array, nowMs: number): void {
    const mac1 = mac(this.#mac1Key, beforeMac1(message), MAC_SIZE)
    message.set(mac1, message.length - 2 * MAC_SIZE)
    this.#lastMac1 = mac1
    if (this.#cookie === null || nowMs - this.#cookieMs >= COOKIE_LIFE_MS) return
    message.set(mac(this.#cookie, beforeMac2(message), MAC_SIZE), message.length - MAC_SIZE)
  }

  /** Takes the cookie out of a reply to the last message. False when it is none. */
  take(reply: Uint8Array, nowMs: number): boolean {
    if (this.#lastMac1 === null) return false
    const sealed = cookieSealed(reply)
    const cookie = decryptAesGcm(this.#cookieKey, cookieNonce(reply), this.#lastMac1, sealed)
    if (cookie === null) return false
    this.#cookie = cookie
    this.#cookieMs = nowMs
    // One reply per message: a second one is a replay, or somebody playing.
    this.#lastMac1 = null
    return true
  }
}
