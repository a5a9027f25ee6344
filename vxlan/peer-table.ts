// The sessions of all peers of one node: WireGuard's protocol (whitepaper sections 5 and 6) with
// our ciphers, behind the contract of contract.ts.
//
// Work per packet is a few array reads; timers are only written to when they are off, and looked at
// in tick(). tick() walks all peers: with at most some thousands of them and deadlines that are
// seconds apart, a heap would cost more than it saves.
//
// Longer than 500 lines because it is the one place where table, keyring, timers and messages
// meet; the decisions themselves are in session.ts, keyring.ts and handshaker.ts.
//
// Not done: threads (one loop owns the table); persistence of timestamps (after a restart, a
// replayed initiation is answered once, and leads nowhere, as its sender cannot prove the session).

import { assert } from '../base/assert.ts'
import type { AeadFactory, AeadKey } from '../base/device.ts'
import { ENVELOPE_COOKIE, ENVELOPE_INITIATION } from '../wire/envelope.ts'
import {
  HANDSHAKE_ACCEPTED,
  HANDSHAKE_COOKIE_SENT,
  HANDSHAKE_COOKIE_TAKEN,
  HANDSHAKE_REFUSED,
  newSessionStats,
  type PeerHooks,
  type RefusalReason,
  type SessionStats,
  type SessionTable,
} from './contract.ts'
import {
  checkHandshake,
  compareTimestamps,
  cookieReceiverIndex,
  responseReceiverIndex,
  senderIndex,
} from './handshake.ts'
import { Handshaker } from './handshaker.ts'
import { isSmallerKey, type Keypair, Keyring, makeKeypair } from './keyring.ts'
import {
  DIRECT_TRY_MS,
  INITIATION_GAP_MS,
  KEEPALIVE_MS,
  PEERS_MAX,
  REJECT_AFTER_MS,
  REJECT_AFTER_PACKETS,
  REKEY_AFTER_MS,
  REKEY_AFTER_PACKETS,
  REKEY_ATTEMPT_MS,
  REKEY_JITTER_MS,
  REKEY_TIMEOUT_MS,
  RELAY_LATER_MS,
} from './limits.ts'
import type { HandshakeResult } from './noise.ts'
import {
  EXPIRY_TIMER,
  GIVE_UP_TIMER,
  PASSIVE_TIMER,
  PERSISTENT_TIMER,
  Peer,
  RELAY_TIMER,
  RETRY_TIMER,
  SILENCE_TIMER,
  TIMERS,
  type Timer,
} from './peer.ts'
import {
  ADOPT,
  ANSWER,
  CALL,
  GIVE_UP,
  INITIATION,
  isCalling,
  LOST,
  PROMOTE,
  PROOF,
  REFUSE,
  REKEY,
  RENEWING,
  RESPONSE,
  RETRY,
  type SessionEvent,
  STOP,
  sessionAction,
  sessionNext,
  UP,
  WAIT,
  WANT,
} from './session.ts'
import { SlotTable } from './slots.ts'

export interface PeerTableOptions {
  /** This node's static private key, 32 bytes; copied. */
  readonly privateKey: Uint8Array
  /** As setPresharedKeys() takes them. */
  readonly presharedKeys: readonly Uint8Array[]
  /** A power of two; default PEERS_MAX. */
  readonly peersMax?: number
  readonly nowMs: number
}

export interface PeerTableDependencies {
  readonly hooks: PeerHooks
  /** Makes the keys; it must copy key material before it returns, which is then wiped. */
  readonly aead: AeadFactory
  readonly randomBytes: (size: number) => Uint8Array
  /** Uniform over [0, 1), for the jitter of retries. */
  readonly random: () => number
  /** Milliseconds since 1970 UTC, for the timestamps of initiations. */
  readonly wallMs: () => number
}

/** A keypair older than this may still be used when the peer rekeys late: time for one more
 * attempt. */
const LAST_CHANCE_MS: number = REJECT_AFTER_MS - KEEPALIVE_MS - REKEY_TIMEOUT_MS

export class PeerTable implements SessionTable {
  readonly stats: SessionStats = newSessionStats()

  readonly #hooks: PeerHooks
  readonly #aead: AeadFactory
  readonly #random: () => number
  readonly #handshaker: Handshaker
  readonly #slots: SlotTable

  // By peer number.
  readonly #peers: (Peer | null)[]
  readonly #sealers: (AeadKey | null)[]
  readonly #receiverIndexes: Uint32Array

  readonly #byKey: Map<string, Peer> = new Map()
  /** Not later than the first timer due; tick() makes it exact. */
  #deadlineMs: number = Number.POSITIVE_INFINITY

  /** Throws a RangeError when a key has not 32 bytes or peersMax is no power of two in 1 .. 2^16.
   * */
  constructor(options: PeerTableOptions, dependencies: PeerTableDependencies) {
    const peersMax = options.peersMax ?? PEERS_MAX
    if (!Number.isInteger(Math.log2(peersMax)) || peersMax < 1 || peersMax > 2 ** 16) {
      throw new RangeError(`peersMax is a power of two up to 65536, not ${peersMax}`)
    }
    this.#hooks = dependencies.hooks
    this.#aead = dependencies.aead
    this.#random = dependencies.random
    this.#handshaker = new Handshaker({ ...options, ...dependencies })
    this.#slots = new SlotTable(peersMax, dependencies.randomBytes)
    this.#peers = new Array(peersMax).fill(null)
    this.#sealers = new Array(peersMax).fill(null)
    this.#receiverIndexes = new Uint32Array(peersMax)
  }

  /** This node's static public key. */
  get publicKey(): Uint8Array {
    return this.#handshaker.publicKey
  }

  /** The keys mixed into handshakes from now on (Noise psk2), newest first, 32 bytes each; copied.
   * Sessions that are up stay up: a rotation drops nothing. */
  setPresharedKeys(keys: readonly Uint8Array[]): void {
    this.#handshaker.setPresharedKeys(keys)
  }

  // -- peers --------------------------------------------------------------------------------------

  addPeer(publicKey: Uint8Array, endpoint: number, keepaliveMs: number, nowMs: number): number {
    const remote = this.#handshaker.identify(publicKey)
    const name = keyName(publicKey)
    if (name === keyName(this.publicKey)) throw new RangeError('the public key is our own')
    if (this.#byKey.has(name)) throw new RangeError('the public key belongs to another peer')
    const number = this.#peers.indexOf(null)
    if (number < 0) return -1
    const drop = (keypair: Keypair): void => this.#slots.drop(keypair)
    const ring = new Keyring(isSmallerKey(this.publicKey, publicKey), drop)
    const peer = new Peer(number, remote, ring, endpoint, keepaliveMs)
    this.#peers[number] = peer
    this.#byKey.set(name, peer)
    this.#beginPersistent(peer, nowMs)
    return number
  }

  removePeer(number: number): void {
    const peer = this.#peer(number)
    this.#endCall(peer)
    peer.ring.dropAll()
    peer.remote.staticStatic.fill(0)
    this.#showKey(peer)
    this.#byKey.delete(keyName(peer.remote.publicKey))
    this.#peers[number] = null
  }

  peerByKey(publicKey: Uint8Array): number {
    return this.#byKey.get(keyName(publicKey))?.number ?? -1
  }

  setEndpoint(number: number, endpoint: number): void {
    const peer = this.#peer(number)
    peer.endpoint = endpoint
    peer.home = endpoint
  }

  /** Names the endpoint of a node that relays for this peer, -1 = none. Calls go both ways; where
   * the first answer comes from is where the peer is then, until the next call. */
  setRelay(number: number, relay: number): void {
    this.#peer(number).relay = relay
  }

  /** The tables name another place of a peer that a relay serves. Whether it can be reached there
   * nobody knows: the way in use stays until a call has tried both. -1 = they name none. */
  tryEndpoint(number: number, endpoint: number, nowMs: number): void {
    const peer = this.#peer(number)
    peer.home = endpoint
    if (endpoint >= 0) this.#step(peer, REKEY, nowMs)
  }

  hasRelay(number: number): boolean {
    return this.#peer(number).relay >= 0
  }

  /** The peer with a session whose endpoint `matches`, -1 = none. */
  find(matches: (endpoint: number) => boolean): number {
    for (const peer of this.#peers) {
      if (peer === null || peer.endpoint < 0 || peer.ring.current === null) continue
      if (matches(peer.endpoint)) return peer.number
    }
    return -1
  }

  /** The peer with a session, other than `sender`, that an initiation is for; -1 = none of them. */
  addressee(initiation: Uint8Array, sender: number): number {
    if (checkHandshake(initiation) !== ENVELOPE_INITIATION) return -1
    for (const peer of this.#peers) {
      if (peer === null || peer.number === sender) continue
      if (peer.endpoint < 0 || peer.ring.current === null) continue
      if (peer.remote.macs.fits(initiation)) return peer.number
    }
    return -1
  }

  setKeepalive(number: number, keepaliveMs: number, nowMs: number): void {
    const peer = this.#peer(number)
    // Tables change more often than keep-alives are due: what is said again changes nothing.
    if (peer.keepaliveMs === keepaliveMs) return
    peer.keepaliveMs = keepaliveMs
    this.#beginPersistent(peer, nowMs)
  }

  // -- inside -> outside --------------------------------------------------------------------------

  sealerOf(peer: number): AeadKey | null {
    return this.#sealers[peer]!
  }

  receiverIndexOf(peer: number): number {
    return this.#receiverIndexes[peer]!
  }

  endpointOf(peer: number): number {
    return this.#peer(peer).endpoint
  }

  canCall(number: number): boolean {
    const { endpoint, relay } = this.#peer(number)
    return endpoint >= 0 || relay >= 0
  }

  wantSession(number: number, nowMs: number): void {
    this.#step(this.#peer(number), WANT, nowMs)
  }

  /** Calls the peer for another session: it may have lost the keys of this one. */
  renew(number: number, nowMs: number): void {
    const peer = this.#peer(number)
    this.#step(peer, this.#sealers[number] === null ? WANT : REKEY, nowMs)
  }

  onSealed(number: number, datagrams: number, data: boolean, nowMs: number): void {
    const peer = this.#peer(number)
    const keypair = peer.ring.current
    if (keypair === null) return
    keypair.sealed += datagrams
    peer.stop(PASSIVE_TIMER)
    if (peer.keepaliveMs > 0) this.#arm(peer, PERSISTENT_TIMER, nowMs + peer.keepaliveMs)
    if (data && peer.isOff(SILENCE_TIMER)) {
      this.#arm(peer, SILENCE_TIMER, nowMs + KEEPALIVE_MS + REKEY_TIMEOUT_MS + this.#jitterMs())
    }
    // A batch may overshoot the limit by its own size, which the bound behind the limit does not
    // notice.
    if (keypair.sealed >= REJECT_AFTER_PACKETS) {
      peer.ring.dropCurrent()
      this.#lost(peer, nowMs)
    } else if (keypair.sealed >= REKEY_AFTER_PACKETS) {
      // Both ends watch their own counter: the responder must not depend on what the initiator
      // sends.
      this.#step(peer, REKEY, nowMs)
    } else if (keypair.initiator && nowMs - keypair.createdMs >= REKEY_AFTER_MS) {
      this.#step(peer, REKEY, nowMs)
    }
  }

  // -- outside -> inside --------------------------------------------------------------------------

  openerAt(receiverIndex: number): number {
    return this.#slots.find(receiverIndex)
  }

  opener(slot: number): AeadKey {
    return this.#slots.at(slot)!.opener
  }

  peerAt(slot: number): number {
    return this.#slots.peerOf(slot)
  }

  windowCheck(slot: number, counter: number): boolean {
    return this.#slots.at(slot)!.window.check(counter)
  }

  commit(slot: number, counter: number): boolean {
    return this.#slots.at(slot)!.window.commit(counter)
  }

  onOpened(slot: number, data: boolean, nowMs: number): void {
    const keypair = this.#slots.at(slot)
    // A batch may hold datagrams of two keypairs, and the first may have pushed out the second.
    if (keypair === null) return
    const peer = this.#peer(this.peerAt(slot))
    if (keypair === peer.ring.next) this.#step(peer, PROOF, nowMs)
    if (keypair === peer.ring.current) {
      // Only what comes under the key that we use proves that the peer still has it.
      peer.stop(SILENCE_TIMER)
      if (keypair.initiator && nowMs - keypair.createdMs >= LAST_CHANCE_MS) {
        this.#step(peer, REKEY, nowMs)
      }
    }
    if (data && peer.isOff(PASSIVE_TIMER)) this.#arm(peer, PASSIVE_TIMER, nowMs + KEEPALIVE_MS)
  }

  roam(slot: number, endpoint: number): void {
    const peer = this.#peer(this.peerAt(slot))
    // The direct way was found by a handshake, and only a handshake gives it up: what else comes by
    // the relay was on its way, or two ends would take turns in following each other.
    if (endpoint === peer.relay && peer.endpoint >= 0) return
    this.#moveTo(peer, endpoint)
  }

  // -- handshakes ---------------------------------------------------------------------------------

  receiveHandshake(
    message: Uint8Array,
    source: Uint8Array,
    endpoint: number,
    nowMs: number,
  ): number {
    const admission = this.#handshaker.admit(message, source, nowMs)
    if (admission.kind === 'refused') return this.#refuse(admission.reason)
    if (admission.kind === 'cookie') {
      this.stats.cookiesSent++
      this.#hooks.sendHandshake(endpoint, admission.reply)
      return HANDSHAKE_COOKIE_SENT
    }
    if (admission.type === ENVELOPE_INITIATION) {
      return this.#receiveInitiation(message, endpoint, nowMs)
    }
    if (admission.type === ENVELOPE_COOKIE) return this.#receiveCookie(message, nowMs)
    return this.#receiveResponse(message, endpoint, nowMs)
  }

  #receiveInitiation(message: Uint8Array, endpoint: number, nowMs: number): number {
    this.stats.initiationsReceived++
    const opened = this.#handshaker.open(
      message,
      (publicKey) => this.#byKey.get(keyName(publicKey))?.remote ?? null,
    )
    if (opened.kind === 'refused') return this.#refuse(opened.reason)
    const peer = this.#byKey.get(keyName(opened.remoteStatic))!
    const replayed = compareTimestamps(opened.timestamp, peer.timestamp) <= 0
    if (replayed || nowMs - peer.initiationMs < INITIATION_GAP_MS) {
      opened.responder.wipe()
      return this.#refuse(replayed ? 'replayed' : 'flood')
    }
    peer.timestamp = opened.timestamp
    peer.initiationMs = nowMs
    assert(sessionAction(peer.state, INITIATION) === ANSWER, 'a good initiation is answered')
    peer.ring.dropNext()
    const slot = this.#slots.free(peer.number, peer.call?.slot ?? -1)
    const localIndex = this.#slots.newIndex(slot)
    const answer = this.#handshaker.answer(
      peer.remote,
      opened.responder,
      message,
      localIndex,
      peer.unusedAnswers++,
      nowMs,
    )
    assert(answer !== null, 'both points of the initiator have been through a DH')
    const keypair = this.#makeKeypair(answer.result, {
      slot,
      localIndex,
      remoteIndex: senderIndex(message),
      initiator: false,
      crossed: isCalling(peer.state),
      createdMs: nowMs,
    })
    peer.ring.offer(keypair)
    peer.state = sessionNext(peer.state, INITIATION)
    this.#armExpiry(peer)
    this.#moveTo(peer, endpoint)
    peer.handshakeMs = nowMs
    this.stats.responsesSent++
    this.#hooks.sendHandshake(endpoint, answer.message)
    return HANDSHAKE_ACCEPTED
  }

  #receiveResponse(message: Uint8Array, endpoint: number, nowMs: number): number {
    this.stats.responsesReceived++
    const peer = this.#calling(responseReceiverIndex(message))
    if (peer === null || sessionAction(peer.state, RESPONSE) === REFUSE) {
      return this.#refuse('no-handshake')
    }
    const call = peer.call!
    const result = this.#handshaker.complete(call.initiator, message)
    if (result === null) return this.#refuse('noise')
    assert(sessionAction(peer.state, RESPONSE) === ADOPT, 'an awaited response is adopted')
    const keypair = this.#makeKeypair(result, {
      slot: call.slot,
      localIndex: call.index,
      remoteIndex: senderIndex(message),
      initiator: true,
      crossed: false,
      createdMs: nowMs,
    })
    const renewed = peer.ring.current !== null
    this.#endCall(peer)
    peer.ring.adopt(keypair)
    peer.state = sessionNext(peer.state, RESPONSE)
    this.#moveTo(peer, endpoint)
    this.#sessionUp(peer, renewed, nowMs)
    // The responder may not seal before it has seen this key in use (keyring.ts).
    if (keypair.sealed === 0 && peer.ring.current === keypair) this.#keepalive(peer, nowMs)
    this.#seekDirect(peer, nowMs)
    return HANDSHAKE_ACCEPTED
  }

  #receiveCookie(message: Uint8Array, nowMs: number): number {
    const index = cookieReceiverIndex(message)
    const peer = this.#peers[this.#slots.peerOfIndex(index)]
    // It may answer our initiation or our response, whichever was the last to carry this index.
    const known = peer?.call?.index === index || peer?.ring.next?.localIndex === index
    if (!peer || !known) return this.#refuse('no-handshake')
    if (!peer.remote.macs.take(message, nowMs)) return this.#refuse('noise')
    this.stats.cookiesReceived++
    // Once per call, the next try need not wait for the timeout: now it will be let in.
    if (peer.call !== null && !peer.hurried) {
      peer.hurried = true
      this.#arm(peer, RETRY_TIMER, nowMs + this.#jitterMs())
    }
    return HANDSHAKE_COOKIE_TAKEN
  }

  // -- time ---------------------------------------------------------------------------------------

  nextDeadline(): number {
    return this.#deadlineMs
  }

  tick(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return
    // Timers armed while we walk lower it again.
    this.#deadlineMs = Number.POSITIVE_INFINITY
    for (const peer of this.#peers) {
      if (peer === null) continue
      for (let timer = 0; timer < TIMERS; timer++) {
        if (peer.timers[timer]! > nowMs) continue
        peer.stop(timer as Timer)
        this.#fire(peer, timer as Timer, nowMs)
      }
      const due = peer.dueMs()
      if (due < this.#deadlineMs) this.#deadlineMs = due
    }
  }

  #fire(peer: Peer, timer: Timer, nowMs: number): void {
    if (timer === RETRY_TIMER) this.#step(peer, RETRY, nowMs)
    else if (timer === GIVE_UP_TIMER) this.#step(peer, GIVE_UP, nowMs)
    else if (timer === SILENCE_TIMER) this.#step(peer, REKEY, nowMs)
    else if (timer === PASSIVE_TIMER) this.#keepalive(peer, nowMs)
    else if (timer === PERSISTENT_TIMER) this.#persist(peer, nowMs)
    else if (timer === EXPIRY_TIMER) this.#expire(peer, nowMs)
    else if (timer === RELAY_TIMER) this.#callByRelay(peer)
  }

  /** A keep-alive keeps a NAT's mapping open, so it also brings a session up where there is none.
   * */
  #persist(peer: Peer, nowMs: number): void {
    this.#armPersistent(peer, nowMs)
    if (this.#sealers[peer.number] === null) this.#step(peer, WANT, nowMs)
    else this.#keepalive(peer, nowMs)
  }

  #expire(peer: Peer, nowMs: number): void {
    this.stats.expired += peer.ring.expire(nowMs)
    this.#lost(peer, nowMs)
    this.#armExpiry(peer)
  }

  /** Keys may have gone: is there still one to seal with, or one that may become so? */
  #lost(peer: Peer, nowMs: number): void {
    this.#showKey(peer)
    if (peer.ring.current !== null) return
    const sealing = peer.state === UP || peer.state === RENEWING
    if (sealing || peer.ring.next === null) this.#step(peer, LOST, nowMs)
  }

  // -- the machine's actions ----------------------------------------------------------------------

  #step(peer: Peer, event: SessionEvent, nowMs: number): void {
    const action = sessionAction(peer.state, event)
    const wasCalling = isCalling(peer.state)
    peer.state = sessionNext(peer.state, event)
    if (action === CALL) this.#call(peer, wasCalling, nowMs)
    else if (action === PROMOTE) this.#promote(peer, nowMs)
    else if (action === STOP) this.#giveUp(peer, nowMs)
    else if (action === WAIT && peer.isOff(RETRY_TIMER)) {
      this.#arm(peer, RETRY_TIMER, peer.handshakeMs + REKEY_TIMEOUT_MS + this.#jitterMs())
    }
  }

  #call(peer: Peer, again: boolean, nowMs: number): void {
    this.#endInitiation(peer)
    if (!again) {
      peer.hurried = false
      peer.tries = 0
      this.#arm(peer, GIVE_UP_TIMER, nowMs + REKEY_ATTEMPT_MS)
    }
    if (!this.canCall(peer.number)) {
      // Nobody has told us where it is, and it has not called: trying again would not help.
      this.#step(peer, GIVE_UP, nowMs)
      return
    }
    this.#arm(peer, RETRY_TIMER, nowMs + REKEY_TIMEOUT_MS + this.#jitterMs())
    const slot = this.#slots.free(peer.number, peer.call?.slot ?? -1)
    const index = this.#slots.newIndex(slot)
    const { initiator, message } = this.#handshaker.initiate(peer.remote, index, nowMs)
    peer.call = { initiator, slot, index, message }
    peer.handshakeMs = nowMs
    this.stats.initiationsSent++
    const direct = directWays(peer)
    for (const endpoint of direct) this.#hooks.sendHandshake(endpoint, message)
    if (direct.has(peer.home)) peer.triedMs = nowMs
    if (peer.relay >= 0) {
      if (direct.size === 0) this.#hooks.sendHandshake(peer.relay, message)
      else this.#arm(peer, RELAY_TIMER, nowMs + RELAY_LATER_MS)
    }
    peer.tries++
  }

  #callByRelay({ call, relay }: Peer): void {
    if (call !== null && relay >= 0) this.#hooks.sendHandshake(relay, call.message)
  }

  #promote(peer: Peer, nowMs: number): void {
    const renewed = peer.ring.current !== null
    peer.unusedAnswers = 0
    this.#endCall(peer)
    if (peer.ring.promote()) this.#sessionUp(peer, renewed, nowMs)
    this.#seekDirect(peer, nowMs)
  }

  /** The session came up by the relay: if the direct way was not tried just now, it is. So who was
   * called calls back. Of two ends behind NAT the first to try is not let in by the other's NAT but
   * has opened its own, and the way back shows that it is open in both directions. */
  #seekDirect(peer: Peer, nowMs: number): void {
    const { home, endpoint, relay, triedMs } = peer
    if (relay < 0 || home < 0 || endpoint === home) return
    if (nowMs - triedMs >= DIRECT_TRY_MS) this.#step(peer, REKEY, nowMs)
  }

  #giveUp(peer: Peer, nowMs: number): void {
    this.#endCall(peer)
    this.stats.failed++
    if (this.#sealers[peer.number] === null) this.#hooks.sessionFailed(peer.number, nowMs)
  }

  #sessionUp(peer: Peer, renewed: boolean, nowMs: number): void {
    this.stats.sessions++
    if (renewed) this.stats.rekeys++
    peer.stop(SILENCE_TIMER)
    this.#armExpiry(peer)
    this.#showKey(peer)
    this.#hooks.sessionUp(peer.number, nowMs)
  }

  #keepalive(peer: Peer, nowMs: number): void {
    if (this.#sealers[peer.number] === null || peer.endpoint < 0) return
    this.stats.keepalivesSent++
    this.#hooks.sendKeepalive(peer.number, nowMs)
  }

  #moveTo(peer: Peer, endpoint: number): void {
    if (peer.endpoint === endpoint) return
    const previous = peer.endpoint
    peer.endpoint = endpoint
    this.stats.roamed++
    this.#hooks.endpointChanged(peer.number, previous, endpoint)
  }

  // -- keypairs and calls ----------------------------------------------------------------

  #makeKeypair(
    result: HandshakeResult,
    options: Omit<Keypair, 'sealer' | 'opener' | 'window' | 'sealed'>,
  ): Keypair {
    const keypair = makeKeypair(options, result, this.#aead)
    this.#slots.put(keypair)
    return keypair
  }

  /** Brings what sealerOf() and receiverIndexOf() return up to date. */
  #showKey(peer: Peer): void {
    const current = peer.ring.current
    this.#sealers[peer.number] = current === null ? null : current.sealer
    this.#receiverIndexes[peer.number] = current === null ? 0 : current.remoteIndex
  }

  /** The peer whose call carries `index`. */
  #calling(index: number): Peer | null {
    const peer = this.#peers[this.#slots.peerOfIndex(index)]
    return peer?.call?.index === index ? peer : null
  }

  #endInitiation(peer: Peer): void {
    peer.call?.initiator.wipe()
    peer.call = null
    peer.stop(RELAY_TIMER)
  }

  #endCall(peer: Peer): void {
    this.#endInitiation(peer)
    peer.stop(RETRY_TIMER)
    peer.stop(GIVE_UP_TIMER)
  }

  // -- small things -------------------------------------------------------------------------------

  #arm(peer: Peer, timer: Timer, dueMs: number): void {
    peer.timers[timer] = dueMs
    if (dueMs < this.#deadlineMs) this.#deadlineMs = dueMs
  }

  #armExpiry(peer: Peer): void {
    this.#arm(peer, EXPIRY_TIMER, peer.ring.expiryMs())
  }

  #armPersistent(peer: Peer, nowMs: number): void {
    if (peer.keepaliveMs > 0) this.#arm(peer, PERSISTENT_TIMER, nowMs + peer.keepaliveMs)
    else peer.stop(PERSISTENT_TIMER)
  }

  /** The first one comes at once: nobody reaches a node behind NAT before it has called. */
  #beginPersistent(peer: Peer, nowMs: number): void {
    if (peer.keepaliveMs > 0) this.#arm(peer, PERSISTENT_TIMER, nowMs + this.#jitterMs())
    else peer.stop(PERSISTENT_TIMER)
  }

  #jitterMs(): number {
    return this.#random() * REKEY_JITTER_MS
  }

  #refuse(reason: RefusalReason): number {
    this.stats.refused[reason]++
    return HANDSHAKE_REFUSED
  }

  #peer(number: number): Peer {
    const peer = this.#peers[number]
    assert(peer !== null && peer !== undefined, 'a peer number comes from addPeer()')
    return peer
  }
}

/** Where an initiation is sent before it goes by the relay, if there is one: the peer takes the
 * copy that comes first, and answers where that came from. Every second try goes by the relay
 * alone, for the case that the direct way is open in one direction only. */
function directWays({ endpoint, home, relay, tries }: Peer): ReadonlySet<number> {
  if (relay < 0) return new Set([endpoint])
  const ways = tries % 2 === 1 ? [] : [home, endpoint]
  return new Set(ways.filter((way) => way >= 0 && way !== relay))
}

function keyName(publicKey: Uint8Array): string {
  return Buffer.from(publicKey).toString('latin1')
}
