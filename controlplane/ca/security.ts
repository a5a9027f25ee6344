// A node's identity while it runs: what is on disk (identity.ts), what TLS shows and believes
// (proto/identity.ts), and the renewer that keeps both current. Everything else of the node is
// given this and asks it who the node is; when that changes, it is told.

import type { Clock } from '../../base/clock.ts'
import { type Logger, silentLogger } from '../../base/log.ts'
import { IdentityHolder, type TlsIdentity } from '../proto/identity.ts'
import { requestRenewal } from './ca-client.ts'
import { makeCsr } from './csr.ts'
import { CaError, words } from './errors.ts'
import { type IdentityPaths, type NodeIdentity, replacePair, replaceRoot } from './identity.ts'
import { checkIssued } from './join.ts'
import { generateKey, pemOfKey } from './keys.ts'
import type { Sleep } from './loop.ts'
import type { NodeSubject, Role } from './names.ts'
import { Renewer } from './renewer.ts'
import { readRoot } from './root.ts'
import { issuerOfChain } from './rotation.ts'
import type { IssueOutcome } from './service.ts'
import { type Certificate, readChain, verifyChain } from './x509.ts'

export interface NodeSecurityOptions {
  readonly paths: IdentityPaths
  /** Unlocked. */
  readonly identity: NodeIdentity
  readonly clock: Clock
  readonly sleep: Sleep
  /** Uniform over [0, 1). */
  readonly random: () => number
  /** Managers to ask for a renewal, "address:port", best first; a manager may be its own. */
  readonly managers: () => readonly string[]
  /** On a manager that leads, or to hand a renewal to one's own service; default: ask managers().
   * */
  readonly renewLocally?: (csr: string, subject: NodeSubject) => Promise<IssueOutcome | null>
  readonly log?: Logger
}

/** What a node reports of its certificate; NodeDescription.tls. */
export interface TlsInfo {
  readonly trustRoot: string
  readonly issuerSubject: string
  readonly issuerPublicKey: string
}

export class NodeSecurity {
  /** For every server and channel of this node. */
  readonly holder: IdentityHolder
  readonly #options: NodeSecurityOptions
  readonly #log: Logger
  readonly #renewer: Renewer
  readonly #listeners = new Set<() => void>()
  #identity: NodeIdentity
  #chain: readonly Certificate[]

  constructor(options: NodeSecurityOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#identity = options.identity
    this.#chain = readChain(options.identity.keyFile.chain)
    this.holder = new IdentityHolder(tlsIdentity(options.identity))
    const { clock, sleep, random } = options
    this.#renewer = new Renewer({
      clock,
      sleep,
      random,
      life: () => this.#chain[0]!,
      renew: () => this.#renew(),
      onError: (error, nextMs) =>
        this.#log.warn('the certificate was not renewed', {
          error: words(error),
          retryMs: Math.round(nextMs),
        }),
    })
  }

  /** Node, role and swarm, as the certificate in use says. */
  get subject(): NodeSubject {
    return this.#identity.subject
  }

  /** As it is in use, with its key file open. */
  get identity(): NodeIdentity {
    return this.#identity
  }

  get keyFile(): NodeIdentity['keyFile'] {
    return this.#identity.keyFile
  }

  get tlsInfo(): TlsInfo {
    const { root } = this.#identity
    const issuer = issuerOfChain(this.#chain, root)
    return {
      trustRoot: root.pem,
      issuerSubject: issuer.subject,
      issuerPublicKey: issuer.publicKey,
    }
  }

  /** Until when the certificate in use is valid. */
  get notAfterMs(): number {
    return this.#chain[0]!.notAfterMs
  }

  start(): void {
    this.#renewer.start()
  }

  stop(): Promise<void> {
    return this.#renewer.stop()
  }

  /** Calls `listener` after certificate, role or root have changed, until the returned function is
   * called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** To be told what the cluster says of this node, as often as it says it. */
  follow(node: { readonly role: Role; readonly certificateState: string }): void {
    if (node.certificateState === 'rotate' || node.role !== this.subject.role) {
      this.#renewer.force()
    }
  }

  /** Trusts another root from now on, as a verified manager says. False, and nothing has changed,
   * when this node's own certificate does not lead to it: it renews first, and the root comes
   * again. */
  followRoot(bundle: string): boolean {
    const root = readRoot(bundle)
    if (root.pem === this.#identity.root.pem) return true
    try {
      verifyChain(this.#chain, root.certificates, this.#options.clock.wallMs())
    } catch (error) {
      this.#log.warn('a new root does not fit the certificate', { error: words(error) })
      this.#renewer.force()
      return false
    }
    this.#use(replaceRoot(this.#options.paths, this.#identity, root))
    return true
  }

  async #renew(): Promise<void> {
    const privateKey = generateKey()
    const { subject, root } = this.#identity
    const outcome = await this.#request(makeCsr(privateKey))
    const issued = checkIssued(outcome, root, privateKey, this.#options.clock.wallMs())
    const isOurs =
      issued.subject.nodeId === subject.nodeId && issued.subject.clusterId === subject.clusterId
    if (!isOurs) throw new CaError('INTERNAL', 'the renewed certificate names another node')
    const pair = { privateKey, chain: issued.chain }
    this.#use(replacePair(this.#options.paths, this.#identity, pair))
    this.#log.info('the certificate was renewed', { role: issued.subject.role })
  }

  async #request(csr: string): Promise<IssueOutcome> {
    const { managers } = this.#options
    const { clusterId } = this.subject
    let last: unknown = new CaError('UNAVAILABLE', 'no manager is known')
    for (const address of managers()) {
      try {
        const outcome = await requestRenewal(address, this.holder, clusterId, csr)
        if (outcome.state !== 'PENDING') return outcome
        last = new CaError('UNAVAILABLE', 'the certificate was not issued in time')
      } catch (error) {
        last = error
      }
    }
    throw last
  }

  #use(identity: NodeIdentity): void {
    this.#identity = identity
    this.#chain = readChain(identity.keyFile.chain)
    this.holder.replace(tlsIdentity(identity))
    for (const listener of [...this.#listeners]) listener()
  }
}

function tlsIdentity({ keyFile, root }: NodeIdentity): TlsIdentity {
  return {
    certificate: Buffer.from(keyFile.chain),
    privateKey: Buffer.from(pemOfKey(keyFile.privateKey)),
    roots: Buffer.from(root.pem),
  }
}
