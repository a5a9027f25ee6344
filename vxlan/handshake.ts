// The three handshake messages around Noise, in the shape that WireGuard gave them (whitepaper
// section 5.4), with our ciphers. All integers big-endian; each type has exactly one length.
//
// Initiation, 148 bytes                         Response, 92 bytes
//
//     0       1           4            8            0       1           4            8          12
//     | 1     | zero      | sender     |            | 2     | zero      | sender     | receiver |
//     8                               40            12                              44
//     | ephemeral                      |            | ephemeral                      |
//     40                              88            44                              60
//     | static, sealed                 |            | nothing, sealed                |
//     88                             116            60              76              92
//     | timestamp, sealed              |            | mac1          | mac2           |
//     116            132             148
//     | mac1          | mac2           |
//
// Cookie reply, 52 bytes
//
//     0       1           4            8             20                              52
//     | 3     | zero      | receiver   | nonce        | cookie, sealed                 |
//
// "sender" is the index under which the sender of this message will look up what is sent back to
// it; "receiver" repeats the index that the other end chose. They are not part of what Noise
// authenticates: a wrong one leads to a handshake that does not complete, which whoever can alter
// datagrams has for free.
//
// Not done: no padding (the lengths tell a handshake from data anyway), no identity hiding beyond
// Noise's.

import {
  ENVELOPE_COOKIE,
  ENVELOPE_INITIATION,
  ENVELOPE_RESPONSE,
  writeEnvelope,
} from '../wire/envelope.ts'
import { INITIATION_OVERHEAD, RESPONSE_OVERHEAD, TAG_SIZE } from './noise.ts'

export const TIMESTAMP_SIZE = 12
export const MAC_SIZE = 16
export const COOKIE_SIZE = 16
export const COOKIE_NONCE_SIZE = 12

const INDEX_SIZE = 4
const SENDER_INDEX = 4
const RESPONSE_RECEIVER_INDEX = 8
const COOKIE_RECEIVER_INDEX = 4
const INITIATION_NOISE = 8
const RESPONSE_NOISE = 12
const COOKIE_NONCE = 8
const COOKIE_SEALED = 20

export const INITIATION_SIZE: number =
  INITIATION_NOISE + INITIATION_OVERHEAD + TIMESTAMP_SIZE + 2 * MAC_SIZE
export const RESPONSE_SIZE: number = RESPONSE_NOISE + RESPONSE_OVERHEAD + 2 * MAC_SIZE
export const COOKIE_REPLY_SIZE: number = COOKIE_SEALED + COOKIE_SIZE + TAG_SIZE

/** The type of a message when that type may be handled and the length is exactly right, else 0. */
export function checkHandshake(message: Uint8Array): number {
  if (message.length < SENDER_INDEX + INDEX_SIZE) return 0
  if (message[1] !== 0 || message[2] !== 0 || message[3] !== 0) return 0
  const type = message[0]!
  if (type === ENVELOPE_INITIATION) return message.length === INITIATION_SIZE ? type : 0
  if (type === ENVELOPE_RESPONSE) return message.length === RESPONSE_SIZE ? type : 0
  if (type === ENVELOPE_COOKIE) return message.length === COOKIE_REPLY_SIZE ? type : 0
  return 0
}

function viewOf(message: Uint8Array): DataView {
  return new DataView(message.buffer, message.byteOffset, message.byteLength)
}

/** An initiation around Noise message 1; the macs are zero (cookie.ts writes them). */
export function buildInitiation(senderIndex: number, noise: Uint8Array): Uint8Array {
  const message = new Uint8Array(INITIATION_SIZE)
  writeEnvelope(viewOf(message), 0, ENVELOPE_INITIATION, senderIndex)
  message.set(noise, INITIATION_NOISE)
  return message
}

/** A response around Noise message 2; the macs are zero. */
export function buildResponse(
  senderIndex: number,
  receiverIndex: number,
  noise: Uint8Array,
): Uint8Array {
  const message = new Uint8Array(RESPONSE_SIZE)
  writeEnvelope(viewOf(message), 0, ENVELOPE_RESPONSE, senderIndex)
  viewOf(message).setUint32(RESPONSE_RECEIVER_INDEX, receiverIndex)
  message.set(noise, RESPONSE_NOISE)
  return message
}

/** A cookie reply; `sealed` is the encrypted cookie with its tag. */
export function buildCookieReply(
  receiverIndex: number,
  nonce: Uint8Array,
  sealed: Uint8Array,
): Uint8Array {
  const message = new Uint8Array(COOKIE_REPLY_SIZE)
  writeEnvelope(viewOf(message), 0, ENVELOPE_COOKIE, receiverIndex)
  message.set(nonce, COOKIE_NONCE)
  message.set(sealed, COOKIE_SEALED)
  return message
}

/** Sender index of an initiation or response. */
export function senderIndex(message: Uint8Array): number {
  return viewOf(message).getUint32(SENDER_INDEX)
}

/** Receiver index of a response. */
export function responseReceiverIndex(message: Uint8Array): number {
  return viewOf(message).getUint32(RESPONSE_RECEIVER_INDEX)
}

/** Receiver index of a cookie reply. */
export function cookieReceiverIndex(message: Uint8Array): number {
  return viewOf(message).getUint32(COOKIE_RECEIVER_INDEX)
}

/** Noise message 1 within an initiation. */
export function initiationNoise(message: Uint8Array): Uint8Array {
  return message.subarray(INITIATION_NOISE, INITIATION_NOISE + INITIATION_OVERHEAD + TIMESTAMP_SIZE)
}

/** Noise message 2 within a response. */
export function responseNoise(message: Uint8Array): Uint8Array {
  return message.subarray(RESPONSE_NOISE, RESPONSE_NOISE + RESPONSE_OVERHEAD)
}

export function cookieNonce(message: Uint8Array): Uint8Array {
  return message.subarray(COOKIE_NONCE, COOKIE_SEALED)
}

export function cookieSealed(message: Uint8Array): Uint8Array {
  return message.subarray(COOKIE_SEALED, COOKIE_REPLY_SIZE)
}

// TAI64N (cr.yp.to/libtai/tai64.html): seconds since 1970 TAI plus 2^62 in eight bytes, nanoseconds
// in four, big-endian, so that byte order is time order. TAI was ten seconds ahead of UTC in 1970;
// leap seconds since then are ignored, as only the order matters.
const TAI64_EPOCH_HI = 0x4000_0000
const TAI_UTC_SECONDS = 10

/** Times of handshakes: each later than the last, even when the wall clock stands still or jumps
 * back. */
export class TimestampSource {
  readonly #wallMs: () => number
  #lastUs = 0

  /** `wallMs`: milliseconds since 1970 UTC; must survive a restart, or peers refuse us until it has
   * caught up. */
  constructor(wallMs: () => number) {
    this.#wallMs = wallMs
  }

  /** TIMESTAMP_SIZE bytes, greater (compareTimestamps) than all before. Resolution one microsecond.
   * */
  next(): Uint8Array {
    this.#lastUs = Math.max(Math.floor(this.#wallMs() * 1000), this.#lastUs + 1)
    const seconds = Math.floor(this.#lastUs / 1e6) + TAI_UTC_SECONDS
    const stamp = new Uint8Array(TIMESTAMP_SIZE)
    const view = viewOf(stamp)
    view.setUint32(0, TAI64_EPOCH_HI + Math.floor(seconds / 2 ** 32))
    view.setUint32(4, seconds % 2 ** 32)
    view.setUint32(8, (this.#lastUs % 1e6) * 1000)
    return stamp
  }
}

/** < 0, 0 or > 0 as `a` is earlier than, equal to or later than `b`. Not constant-time: no secret.
 * */
export function compareTimestamps(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < TIMESTAMP_SIZE; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return 0
}

/** Zero: earlier than every timestamp that next() gives. */
export function earliestTimestamp(): Uint8Array {
  return new Uint8Array(TIMESTAMP_SIZE)
}
