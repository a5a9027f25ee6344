// Who is at the other end of a call, by its certificate.
//
// A caller is a Peer only if its certificate led to one of our roots when the connection began, has
// the three names of a node and is within its time now; otherwise it is nobody, as if it had shown
// no certificate. What a Peer may do is not decided here.

import { X509Certificate } from 'node:crypto'
import type { PeerCertificate } from 'node:tls'
import { PEERS_REMEMBERED_MAX } from './limits.ts'

/** The organizational unit of a manager's certificate, and of a worker's. */
export const MANAGER_ROLE = 'swarm-manager'
export const WORKER_ROLE = 'swarm-worker'

/** Layers of interceptors around a call. */
const DEPTH_MAX = 16

export interface Peer {
  /** Common name. */
  readonly nodeId: string
  /** Organizational unit: MANAGER_ROLE, WORKER_ROLE or something a later version issues. */
  readonly role: string
  /** Organization. */
  readonly clusterId: string
  /** SHA-256 of the certificate, in hexadecimal with colons. */
  readonly fingerprint: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly certificate: X509Certificate
}

/** Any call that a handler is given. */
export interface Callee {
  getAuthContext(): { sslPeerCertificate?: PeerCertificate } | null
}

const remembered = new Map<string, Peer>()
/** A connection has one certificate, and to look at it costs as much as the rest of a short call: a
 * thousand nodes with a heartbeat each second ask here. By connection, or by call where grpc-js
 * does not show the connection. */
const ofConnections = new WeakMap<object, Peer | null>()

/** The verified caller, or null. `nowMs` is wall time. */
export function peerOf(call: Callee, nowMs: number): Peer | null {
  const connection = connectionOf(call) ?? call
  let peer = ofConnections.get(connection)
  if (peer === undefined) {
    peer = certified(call)
    ofConnections.set(connection, peer)
  }
  return peer !== null && isCurrent(peer, nowMs) ? peer : null
}

/** What of grpc-js's objects leads to the connection; none of it is promised. */
interface Inside {
  readonly stream?: { readonly session?: object }
  readonly call?: Inside
  readonly nextCall?: Inside
}

/** The HTTP/2 session behind a call; null where it cannot be seen. */
export function connectionOf(call: Callee): object | null {
  let inside = call as Inside | undefined
  for (let depth = 0; inside !== undefined && depth < DEPTH_MAX; depth++) {
    const session = inside.stream?.session
    if (typeof session === 'object') return session
    inside = inside.nextCall ?? inside.call
  }
  return null
}

function certified(call: Callee): Peer | null {
  // grpc-js fills in the certificate only if the handshake found it trustworthy.
  const certificate = call.getAuthContext()?.sslPeerCertificate
  if (certificate?.raw === undefined) return null
  let peer = remembered.get(certificate.fingerprint256)
  if (peer === undefined) {
    const parsed = peerFromCertificate(new X509Certificate(certificate.raw))
    if (parsed === null) return null
    peer = parsed
    if (remembered.size >= PEERS_REMEMBERED_MAX) remembered.clear()
    remembered.set(certificate.fingerprint256, peer)
  }
  return peer
}

/** Long calls outlive certificates: ask again. */
export function isCurrent(peer: Peer, nowMs: number): boolean {
  return nowMs >= peer.notBeforeMs && nowMs < peer.notAfterMs
}

/** Null if a name is missing, empty or there twice. */
export function peerFromCertificate(certificate: X509Certificate): Peer | null {
  // Node gives a field that occurs twice as an array, and one that is missing not at all.
  const subject: Readonly<Record<string, unknown>> = { ...certificate.toLegacyObject().subject }
  const { CN: nodeId, OU: role, O: clusterId } = subject
  if (!isName(nodeId) || !isName(role) || !isName(clusterId)) return null
  return {
    nodeId,
    role,
    clusterId,
    fingerprint: certificate.fingerprint256,
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
    certificate,
  }
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0
}
