// TLS for gRPC, both sides, on top of an IdentityHolder.
//
// The server asks every caller for a certificate but lets callers without one in: a node that joins
// has none yet. Whether the certificate was believed is known only after the handshake, and grpc-js
// passes a certificate on even if nobody vouches for it; what a caller may do is decided per call
// by peer.ts and server.ts, never by the mere presence of a certificate.
//
// Sessions are not resumed. A resumed session repeats the verdict of the handshake it came from,
// and that may be older than a rotation of the roots.

import { constants, X509Certificate } from 'node:crypto'
import type { PeerCertificate, SecureContextOptions } from 'node:tls'
import {
  type ChannelCredentials,
  type ChannelOptions,
  experimental,
  ServerCredentials,
} from '@grpc/grpc-js'
import type { IdentityHolder } from './identity.ts'
import {
  FLOW_WINDOW_BYTES,
  KEEPALIVE_MS,
  KEEPALIVE_TIMEOUT_MS,
  MESSAGE_BYTES_MAX,
} from './limits.ts'
import { MANAGER_ROLE, type Peer, peerFromCertificate } from './peer.ts'

/** Lowest version of TLS that either side takes. All nodes are of this project. */
const TLS_VERSION_MIN = 'TLSv1.3'

export function serverCredentials(holder: IdentityHolder): ServerCredentials {
  return new HeldServerCredentials(holder)
}

/** What grpc-js offers for changing certificates demands a caller's certificate or believes it
 * unseen, and does not say which TLS version it takes; hence a class of our own. */
class HeldServerCredentials extends ServerCredentials {
  readonly #holder: IdentityHolder

  constructor(holder: IdentityHolder) {
    super({ requestCert: true, rejectUnauthorized: false }, contextOptions(holder))
    this.#holder = holder
    holder.onReplace(() => this.updateSecureContextOptions(contextOptions(holder)))
  }

  override _equals(other: ServerCredentials): boolean {
    return other instanceof HeldServerCredentials && other.#holder === this.#holder
  }
}

function contextOptions(holder: IdentityHolder): SecureContextOptions {
  const { certificate, privateKey, roots } = holder.identity
  return {
    cert: [certificate],
    key: [privateKey],
    ca: roots,
    minVersion: TLS_VERSION_MIN,
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}

/** Says what is wrong with a server, or null. The chain to a root was checked before. */
export type ServerCheck = (server: Peer) => string | null

/** A manager of the cluster; nothing else answers calls. */
export const mustBeManager: ServerCheck = ({ role }) =>
  role === MANAGER_ROLE ? null : 'the server is no manager'

/** For channels to managers. The certificate names a node, not a host: `check` takes the place of
 * the comparison of host names. */
export function channelCredentials(
  holder: IdentityHolder,
  check: ServerCheck = mustBeManager,
): ChannelCredentials {
  const provider = holder.provider()
  return experimental.createCertificateProviderChannelCredentials(provider, provider, {
    checkServerIdentity: (_host, certificate) => serverFault(certificate, check),
  })
}

function serverFault(certificate: PeerCertificate, check: ServerCheck): Error | undefined {
  const server = peerFromCertificate(new X509Certificate(certificate.raw))
  const fault = server === null ? 'the certificate names no node' : check(server)
  return fault === null ? undefined : new Error(fault)
}

/** Options of every channel between nodes. Each has connections of its own, so that closing it and
 * opening it again is a new attempt. */
export function channelOptions(): ChannelOptions {
  return {
    // Sent as the server's name: addresses are not allowed there, and certificates name roles.
    'grpc.ssl_target_name_override': MANAGER_ROLE,
    'grpc.default_authority': MANAGER_ROLE,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
    'grpc.enable_retries': 0,
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
    'grpc-node.flow_control_window': FLOW_WINDOW_BYTES,
  }
}
