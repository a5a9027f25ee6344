// What this node shows on every TLS connection, and whom it believes: one holder for the whole
// process. `replace()` changes it at any time; connections that stand keep what they began with,
// each later handshake, as server or as client, uses the new one. Nothing has to be closed or
// opened.

import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import type { experimental } from '@grpc/grpc-js'

type CertificateProvider = experimental.CertificateProvider
type CaListener = experimental.CaCertificateUpdateListener
type OwnListener = experimental.IdentityCertificateUpdateListener

/** All PEM. */
export interface TlsIdentity {
  /** This node's certificate, and behind it what leads to a root that others may still believe. */
  readonly certificate: Buffer
  readonly privateKey: Buffer
  /** Every root that a peer's certificate may lead to. */
  readonly roots: Buffer
}

export class IdentityHolder {
  #identity: TlsIdentity
  readonly #listeners = new Set<() => void>()

  /** Throws what node:tls throws when the parts are no certificates or do not fit each other. */
  constructor(identity: TlsIdentity) {
    checkIdentity(identity)
    this.#identity = identity
  }

  get identity(): TlsIdentity {
    return this.#identity
  }

  /** Throws, and keeps the old identity, when the new one's parts do not fit each other. */
  replace(identity: TlsIdentity): void {
    checkIdentity(identity)
    this.#identity = identity
    for (const listener of [...this.#listeners]) listener()
  }

  /** Calls `listener` after each replacement, until the returned function is called. */
  onReplace(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The same as grpc-js asks for it: it is told at once and after each replacement. */
  provider(): CertificateProvider {
    const ca = new Map<CaListener, () => void>()
    const own = new Map<OwnListener, () => void>()
    const add = <L>(map: Map<L, () => void>, listener: L, tell: () => void): void => {
      map.set(listener, this.onReplace(tell))
      tell()
    }
    return {
      addCaCertificateListener: (listener) =>
        add(ca, listener, () => listener({ caCertificate: this.#identity.roots })),
      addIdentityCertificateListener: (listener) =>
        add(own, listener, () => {
          const { certificate, privateKey } = this.#identity
          listener({ certificate, privateKey })
        }),
      removeCaCertificateListener: (listener) => {
        ca.get(listener)?.()
        ca.delete(listener)
      },
      removeIdentityCertificateListener: (listener) => {
        own.get(listener)?.()
        own.delete(listener)
      },
    }
  }
}

function checkIdentity({ certificate, privateKey, roots }: TlsIdentity): void {
  // A context takes roots that are none and believes nobody; that is never meant.
  new X509Certificate(roots)
  createSecureContext({ cert: certificate, key: privateKey, ca: roots })
}
