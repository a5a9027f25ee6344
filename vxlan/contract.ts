// What the packet loop needs to know of its peers' sessions. PeerTable (peer-table.ts) is the real
// one.
//
// A *peer* is a small integer given by addPeer(). A *slot* is a small integer naming one keypair of
// one peer. An *endpoint* is an integer of the caller's (UnderlaySocket.endpoint), -1 = not known.
// Times are milliseconds of one monotonic clock, handed in by the caller; the table has no clock of
// its own.
//
// Outside -> inside, per datagram of type DATA whose envelope names `receiverIndex` and `counter`:
//
//     slot = openerAt(receiverIndex)            -1: no such session, drop
//     windowCheck(slot, counter)                false: replayed or too old, drop
//     opener(slot).open(...)                    < 0: forged, drop
//     newest = commit(slot, counter)            only now: a forgery must not move the window
//     if newest and the source is not endpointOf(peerAt(slot)): roam(slot, endpoint)
//
// then, once per batch and slot, onOpened(slot, data, nowMs), where `data` says that at least one
// of the datagrams held a frame (and not only a keep-alive or a probe).
//
// Inside -> outside: sealerOf(peer) null means that no session is up: call wantSession(peer,
// nowMs), keep the frame (at most STAGED_FRAMES_MAX per peer) and send it when
// hooks.sessionUp(peer) is called; drop it when hooks.sessionFailed(peer) is. Otherwise write
// receiverIndexOf(peer) to the envelope, seal, send to endpointOf(peer), and call onSealed(peer,
// datagrams, data, nowMs) once per batch.
//
// tick(nowMs) runs when nextDeadline() has come. It is cheap to call too early.

import type { AeadKey } from '../base/device.ts'

/** What the table asks of the packet loop. Called from within the table's methods: a hook may call
 * sealerOf, receiverIndexOf, endpointOf, onSealed and wantSession, nothing else. */
export interface PeerHooks {
  /** Sends one handshake message as a datagram of its own. `bytes` is only lent. */
  sendHandshake(endpoint: number, bytes: Uint8Array): void
  /** Seals and sends an empty control message of kind KEEPALIVE (control.ts). */
  sendKeepalive(peer: number, nowMs: number): void
  /** A key to seal with is there (again): send the frames that were kept. */
  sessionUp(peer: number, nowMs: number): void
  /** Calling was given up: drop the frames that were kept. */
  sessionFailed(peer: number, nowMs: number): void
  /** The peer is at another place now. Endpoint handles are the caller's: take a reference to
   * `endpoint`, give `previous` back (it may be -1). */
  endpointChanged(peer: number, previous: number, endpoint: number): void
}

/** What became of a handshake message; REFUSED reasons are counters of their own (stats). */
export const HANDSHAKE_ACCEPTED = 0
export const HANDSHAKE_COOKIE_SENT = 1
export const HANDSHAKE_COOKIE_TAKEN = 2
export const HANDSHAKE_REFUSED: number = -1

/** Monotonic counters, one plain number each. */
export interface SessionStats {
  initiationsSent: number
  initiationsReceived: number
  responsesSent: number
  responsesReceived: number
  cookiesSent: number
  cookiesReceived: number
  /** Sessions made, first and later ones. */
  sessions: number
  /** Of these, the ones that replaced a session still up. */
  rekeys: number
  /** Calls that ended without a session. */
  failed: number
  keepalivesSent: number
  roamed: number
  /** Keypairs dropped because of age. */
  expired: number
  /** Handshake messages refused, by reason. */
  readonly refused: Record<RefusalReason, number>
}

export const REFUSAL_REASONS = [
  'malformed', // wrong type or length
  'mac1', // not addressed to this node's static key
  'rate-limited', // too many from this source, or from all
  'noise', // a decryption failed: wrong key, wrong preshared key, or tampered with
  'unknown-peer', // a static key that no table names
  'replayed', // timestamp not newer than the last
  'flood', // initiations from one peer too close together
  'no-handshake', // a response or cookie to nothing that was asked
] as const

export type RefusalReason = (typeof REFUSAL_REASONS)[number]

export function newSessionStats(): SessionStats {
  const refused = Object.fromEntries(REFUSAL_REASONS.map((reason) => [reason, 0]))
  return {
    initiationsSent: 0,
    initiationsReceived: 0,
    responsesSent: 0,
    responsesReceived: 0,
    cookiesSent: 0,
    cookiesReceived: 0,
    sessions: 0,
    rekeys: 0,
    failed: 0,
    keepalivesSent: 0,
    roamed: 0,
    expired: 0,
    refused: refused as Record<RefusalReason, number>,
  }
}

export interface SessionTable {
  // -- peers: cold path ---------------------------------------------------------------------------

  /** Registers a peer by its static public key (32 bytes). Returns its number, -1 when the table is
   * full. Throws when the key is malformed, of low order, this node's own, or already registered.
   * */
  addPeer(publicKey: Uint8Array, endpoint: number, keepaliveMs: number, nowMs: number): number
  /** Forgets a peer and wipes its keys. Its number may be given out again. */
  removePeer(peer: number): void
  /** Number of the peer with this static public key, -1 when there is none. */
  peerByKey(publicKey: Uint8Array): number
  /** Configured endpoint or keep-alive changed. No endpointChanged hook: the caller did it. */
  setEndpoint(peer: number, endpoint: number): void
  setKeepalive(peer: number, keepaliveMs: number, nowMs: number): void

  // -- inside -> outside --------------------------------------------------------------------------

  /** Key to seal with; null = no session. The same object until the session changes. */
  sealerOf(peer: number): AeadKey | null
  /** Index that the peer expects in the envelope under that key; meaningless without one. */
  receiverIndexOf(peer: number): number
  /** Where the peer is, -1 = unknown. */
  endpointOf(peer: number): number
  /** False when nobody knows where the peer is, and no other node relays for it. */
  canCall(peer: number): boolean
  /** Starts a handshake unless one is under way. */
  wantSession(peer: number, nowMs: number): void
  /** `datagrams` were sealed and sent; `data` = at least one held a frame. */
  onSealed(peer: number, datagrams: number, data: boolean, nowMs: number): void

  // -- outside -> inside --------------------------------------------------------------------------

  /** Slot of the keypair that `receiverIndex` names, -1 = none. */
  openerAt(receiverIndex: number): number
  /** Key of a slot that openerAt() returned. */
  opener(slot: number): AeadKey
  peerAt(slot: number): number
  /** False when `counter` was seen before or is older than the window. */
  windowCheck(slot: number, counter: number): boolean
  /** Marks `counter` as seen. True when it is the newest of its keypair. */
  commit(slot: number, counter: number): boolean
  /** Authenticated datagrams came in under `slot`. */
  onOpened(slot: number, data: boolean, nowMs: number): void
  /** The newest authenticated datagram came from `endpoint`. */
  roam(slot: number, endpoint: number): void

  // -- handshakes and time ------------------------------------------------------------------------

  /** Takes a datagram of type INITIATION, RESPONSE or COOKIE_REPLY. `source` is what the cookie
   * binds: 16 bytes of address (IPv4 mapped) and 2 of port, big-endian; `endpoint` the same as a
   * handle, kept only if endpointChanged says so. Returns one of the HANDSHAKE_ constants; never
   * throws. */
  receiveHandshake(message: Uint8Array, source: Uint8Array, endpoint: number, nowMs: number): number
  /** Runs every timer that is due. */
  tick(nowMs: number): void
  /** When tick() is needed next; Infinity = not before something happens. */
  nextDeadline(): number

  readonly stats: SessionStats
}
