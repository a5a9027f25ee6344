// What a node does with handshake messages before and apart from any session: who may have its
// message looked at, and the Noise work for those who may. No state of a peer changes here.
//
// Order of the checks, cheapest first, so that a flood is shed before it costs curve arithmetic:
//
//     1. type and exact length     2. mac1 (one HMAC)     3. under load: mac2, else a cookie reply
//     4. token buckets             5. Noise (3 DH, about 1 ms)

import type { KeyObject } from 'node:crypto'
import { ENVELOPE_COOKIE } from '../wire/envelope.ts'
import type { RefusalReason } from './contract.ts'
import { MacChecker, MacWriter } from './cookie.ts'
import { KEY_SIZE, type KeyPair, keyPairOf, publicKeyOf, sharedSecret } from './curve.ts'
import {
  buildInitiation,
  buildResponse,
  checkHandshake,
  initiationNoise,
  responseNoise,
  senderIndex,
  TimestampSource,
} from './handshake.ts'
import { PROLOGUE } from './limits.ts'
import { type HandshakeResult, Initiator, Responder } from './noise.ts'
import { HandshakeLimiter } from './rate-limit.ts'

const PROLOGUE_BYTES: Uint8Array = Buffer.from(PROLOGUE)
const NOTHING: Uint8Array = new Uint8Array(0)

/** What is computed once per peer and serves all its handshakes. */
export interface RemoteIdentity {
  readonly publicKey: Uint8Array
  readonly key: KeyObject
  /** DH of both static keys. */
  readonly staticStatic: Uint8Array
  readonly macs: MacWriter
}

export type Admission =
  | { readonly kind: 'admitted'; readonly type: number }
  | { readonly kind: 'cookie'; readonly reply: Uint8Array }
  | { readonly kind: 'refused'; readonly reason: RefusalReason }

export type OpenedInitiation =
  | {
      readonly kind: 'opened'
      readonly responder: Responder
      readonly remoteStatic: Uint8Array
      readonly timestamp: Uint8Array
    }
  | { readonly kind: 'refused'; readonly reason: RefusalReason }

export interface HandshakerOptions {
  /** 32 bytes, copied. */
  readonly privateKey: Uint8Array
  /** See setPresharedKeys(). */
  readonly presharedKeys: readonly Uint8Array[]
  /** Random bytes fit for keys. */
  readonly randomBytes: (size: number) => Uint8Array
  /** Milliseconds since 1970 UTC. */
  readonly wallMs: () => number
  readonly nowMs: number
}

export class Handshaker {
  readonly publicKey: Uint8Array
  readonly #local: KeyPair
  #presharedKeys: readonly Uint8Array[] = []
  readonly #randomBytes: (size: number) => Uint8Array
  readonly #timestamps: TimestampSource
  readonly #checker: MacChecker
  readonly #limiter: HandshakeLimiter

  constructor(options: HandshakerOptions) {
    this.setPresharedKeys(options.presharedKeys)
    this.#local = keyPairOf(options.privateKey)
    this.publicKey = this.#local.publicKey
    this.#randomBytes = options.randomBytes
    this.#timestamps = new TimestampSource(options.wallMs)
    this.#checker = new MacChecker(this.publicKey, options.randomBytes)
    this.#limiter = new HandshakeLimiter(options.nowMs)
  }

  /** The keys mixed into handshakes from now on: newest first, 32 bytes each, copied; all zero
   * where there is none. Sessions that are up stay up. Throws a RangeError. */
  setPresharedKeys(keys: readonly Uint8Array[]): void {
    if (keys.length === 0 || keys.some(({ length }) => length !== KEY_SIZE)) {
      throw new RangeError('preshared keys have 32 bytes, and there is at least one')
    }
    this.#presharedKeys = keys.map((key) => Uint8Array.from(key))
  }

  /** The key for an answer: the second newest, because the newest may not have spread yet. A peer
   * that does not make use of an answer is answered with the others in turn; `unused` counts them.
   *  */
  #answerKey(unused: number): Uint8Array {
    const keys = this.#presharedKeys
    const order = keys.length > 1 ? [keys[1]!, keys[0]!, ...keys.slice(2)] : keys
    return order[unused % order.length]!
  }

  /** Prepares a peer. Throws a RangeError when its key cannot be used. */
  identify(publicKey: Uint8Array): RemoteIdentity {
    const key = publicKeyOf(publicKey)
    const staticStatic = sharedSecret(this.#local, key)
    if (staticStatic === null) throw new RangeError('the public key is a point of low order')
    const copy = Uint8Array.from(publicKey)
    return { publicKey: copy, key, staticStatic, macs: new MacWriter(copy) }
  }

  /** Decides whether `message` is worth the Noise work. */
  admit(message: Uint8Array, source: Uint8Array, nowMs: number): Admission {
    const type = checkHandshake(message)
    if (type === 0) return { kind: 'refused', reason: 'malformed' }
    // A cookie reply has no macs: what it answers is checked when it is opened, for the price of
    // one AES-GCM, and only by a peer with a handshake under way.
    if (type === ENVELOPE_COOKIE) return { kind: 'admitted', type }
    if (!this.#checker.checkMac1(message)) return { kind: 'refused', reason: 'mac1' }
    const underLoad = this.#limiter.underLoad(nowMs)
    if (underLoad && !this.#checker.checkMac2(message, source, nowMs)) {
      return { kind: 'cookie', reply: this.#checker.reply(message, source, nowMs) }
    }
    if (!this.#limiter.allow(source, nowMs)) return { kind: 'refused', reason: 'rate-limited' }
    return { kind: 'admitted', type }
  }

  /** Begins a handshake: the message to send, and the machine that awaits the response. */
  initiate(
    remote: RemoteIdentity,
    index: number,
    nowMs: number,
  ): { initiator: Initiator; message: Uint8Array } {
    const initiator = new Initiator({
      prologue: PROLOGUE_BYTES,
      local: this.#local,
      remoteStatic: remote.publicKey,
      remoteKey: remote.key,
      staticStatic: remote.staticStatic,
      presharedKeys: this.#presharedKeys,
      ephemeral: this.#ephemeral(),
    })
    // identify() refused the keys for which this is null.
    const noise = initiator.writeInitiation(this.#timestamps.next())!
    const message = buildInitiation(index, noise)
    remote.macs.write(message, nowMs)
    return { initiator, message }
  }

  /** Opens an admitted initiation. `remoteOf` finds the peer of a static key. */
  open(
    message: Uint8Array,
    remoteOf: (publicKey: Uint8Array) => RemoteIdentity | null,
  ): OpenedInitiation {
    const responder = new Responder({
      prologue: PROLOGUE_BYTES,
      local: this.#local,
      staticStatic: (publicKey) => remoteOf(publicKey)?.staticStatic ?? null,
    })
    const timestamp = responder.readInitiation(initiationNoise(message))
    if (timestamp === null) {
      const reason = responder.remoteStatic === null ? 'noise' : 'unknown-peer'
      responder.wipe()
      return { kind: 'refused', reason }
    }
    return { kind: 'opened', responder, remoteStatic: responder.remoteStatic!, timestamp }
  }

  /** Answers an opened initiation: the message to send, and the session. `unused`: how many answers
   * to this peer led to nothing. Null when a curve point of the initiator was of low order. */
  answer(
    remote: RemoteIdentity,
    responder: Responder,
    initiation: Uint8Array,
    index: number,
    unused: number,
    nowMs: number,
  ): { message: Uint8Array; result: HandshakeResult } | null {
    const key = this.#answerKey(unused)
    const written = responder.writeResponse(this.#ephemeral(), NOTHING, key)
    responder.wipe()
    if (written === null) return null
    const message = buildResponse(index, senderIndex(initiation), written.message)
    remote.macs.write(message, nowMs)
    return { message, result: written.result }
  }

  /** Takes an admitted response. Null when it is none to this handshake, which then goes on. */
  complete(initiator: Initiator, message: Uint8Array): HandshakeResult | null {
    return initiator.readResponse(responseNoise(message))?.result ?? null
  }

  #ephemeral(): KeyPair {
    const secret = this.#randomBytes(KEY_SIZE)
    const pair = keyPairOf(secret)
    secret.fill(0)
    return pair
  }
}
