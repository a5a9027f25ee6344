// The keypairs of one peer: previous, current, next (WireGuard whitepaper section 6.3).
//
//     initiator   response arrives       -> current, what was current becomes previous
//     responder   initiation arrives     -> next, opens only
//                 first datagram under it -> current, what was current becomes previous
//
// The responder may not seal under a new keypair before it has seen the initiator use it: its
// response may be lost, and then the initiator would not have the key. The previous keypair opens
// what was on the way, until it is too old.
//
// When both ends call at once, two sessions come up: the one we initiated is current here and next
// there, and the other way round. If each end followed the other's first datagram they would swap,
// and neither would be the initiator of what it uses, so that nobody would rekey. Therefore both
// prefer the session initiated by the end with the smaller static public key; the other becomes
// previous, and is opened only.

import type { AeadFactory, AeadKey } from '../base/device.ts'
import { ENVELOPE_TRANSPORT, writeEnvelope } from '../wire/envelope.ts'
import { REJECT_AFTER_MS } from './limits.ts'
import { type HandshakeResult, hmacSha256 } from './noise.ts'
import { ReplayWindow } from './replay.ts'

/** Fixed part of the associated data: the first 8 bytes of the envelope, then zeros. */
const AAD_SIZE = 11
const SALT_SIZE = 4
const KEY_LABEL: Uint8Array = Buffer.from('weft key')
const SALT_LABEL: Uint8Array = Buffer.from('weft salt')

/** One block of HKDF-Expand (RFC 5869 section 2.3), `secret` being uniform already (Split's
 * output). */
function expand(secret: Uint8Array, label: Uint8Array): Uint8Array {
  return hmacSha256(secret, label, Uint8Array.of(1))
}

/** The AAD of every datagram to the holder of `receiverIndex`. */
export function transportAad(receiverIndex: number): Uint8Array {
  const aad = new Uint8Array(AAD_SIZE)
  writeEnvelope(new DataView(aad.buffer), 0, ENVELOPE_TRANSPORT, receiverIndex)
  return aad
}

export interface Keypair {
  readonly slot: number
  /** Index by which the peer addresses this keypair, and by which we address the peer's. */
  readonly localIndex: number
  readonly remoteIndex: number
  /** True when our initiation led to it. */
  readonly initiator: boolean
  /** Answered while an initiation of ours was out. */
  readonly crossed: boolean
  readonly createdMs: number
  readonly sealer: AeadKey
  readonly opener: AeadKey
  readonly window: ReplayWindow
  /** Datagrams sealed. */
  sealed: number
}

export interface KeypairOptions {
  readonly slot: number
  readonly localIndex: number
  readonly remoteIndex: number
  readonly initiator: boolean
  readonly crossed: boolean
  readonly createdMs: number
}

/** Makes the transport keys of a finished handshake and wipes what they came from. */
export function makeKeypair(
  options: KeypairOptions,
  result: HandshakeResult,
  factory: AeadFactory,
): Keypair {
  const [outward, inward] = options.initiator
    ? [result.fromInitiator, result.fromResponder]
    : [result.fromResponder, result.fromInitiator]
  const outKey = expand(outward, KEY_LABEL)
  const outSalt = expand(outward, SALT_LABEL)
  const inKey = expand(inward, KEY_LABEL)
  const inSalt = expand(inward, SALT_LABEL)
  const outAad = transportAad(options.remoteIndex)
  const inAad = transportAad(options.localIndex)
  const sealer = factory.sealer(outKey, outSalt.subarray(0, SALT_SIZE), outAad, 0)
  const opener = factory.opener(inKey, inSalt.subarray(0, SALT_SIZE), inAad)
  for (const secret of [outKey, outSalt, inKey, inSalt, outward, inward]) secret.fill(0)
  return { ...options, sealer, opener, window: new ReplayWindow(), sealed: 0 }
}

/** True when `a` comes before `b` byte by byte. */
export function isSmallerKey(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) < 0
}

export class Keyring {
  previous: Keypair | null = null
  current: Keypair | null = null
  next: Keypair | null = null
  readonly #preferOurs: boolean
  readonly #drop: (keypair: Keypair) => void

  /** `preferOurs`: our static key is the smaller one. `drop` is told of every keypair that leaves.
   * */
  constructor(preferOurs: boolean, drop: (keypair: Keypair) => void) {
    this.#preferOurs = preferOurs
    this.#drop = drop
  }

  /** We initiated, and the response is here. */
  adopt(keypair: Keypair): void {
    this.#setPrevious(this.current)
    this.current = keypair
  }

  /** We answered: opens only, until promote(). An older one without proof is dropped. */
  offer(keypair: Keypair): void {
    this.dropNext()
    this.next = keypair
  }

  /** The initiator has used the next keypair. Returns false when ours is preferred and stays
   * current. */
  promote(): boolean {
    const proven = this.next
    if (proven === null) return false
    this.next = null
    const ours = this.current
    // "crossed" and made later: our initiation was out when theirs was answered, so both ends hold
    // both.
    if (
      this.#preferOurs &&
      proven.crossed &&
      ours?.initiator === true &&
      ours.createdMs >= proven.createdMs
    ) {
      this.#setPrevious(proven)
      return false
    }
    this.#setPrevious(ours)
    this.current = proven
    return true
  }

  dropNext(): void {
    if (this.next !== null) this.#drop(this.next)
    this.next = null
  }

  dropCurrent(): void {
    if (this.current !== null) this.#drop(this.current)
    this.current = null
  }

  /** Drops every keypair that has reached REJECT_AFTER_MS. Returns how many. */
  expire(nowMs: number): number {
    let count = 0
    if (isExpired(this.previous, nowMs)) {
      this.#setPrevious(null)
      count++
    }
    if (isExpired(this.current, nowMs)) {
      this.dropCurrent()
      count++
    }
    if (isExpired(this.next, nowMs)) {
      this.dropNext()
      count++
    }
    return count
  }

  /** When expire() has something to do; Infinity = there is no keypair. */
  expiryMs(): number {
    return Math.min(expiryMs(this.previous), expiryMs(this.current), expiryMs(this.next))
  }

  dropAll(): void {
    this.#setPrevious(null)
    this.dropCurrent()
    this.dropNext()
  }

  #setPrevious(keypair: Keypair | null): void {
    if (this.previous !== null) this.#drop(this.previous)
    this.previous = keypair
  }
}

// One expression for both questions: with fractions of milliseconds, a + b <= c and a <= c - b
// differ.
function expiryMs(keypair: Keypair | null): number {
  return keypair === null ? Number.POSITIVE_INFINITY : keypair.createdMs + REJECT_AFTER_MS
}

function isExpired(keypair: Keypair | null, nowMs: number): boolean {
  return expiryMs(keypair) <= nowMs
}
