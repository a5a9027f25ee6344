// The signer: a loop on the leader that turns pending certificates in the store into issued ones.
// It knows what is pending from the store's watch, and looks through everything once when it
// starts and after a reset, so a new leader goes on where the last one stopped.
//
// With a key of the cluster's own, reading and writing are one transaction: the role in the
// certificate is the role in the store at that instant. An external CA takes its time; afterwards
// the request, the role and the root must still be the same, else the certificate is thrown away
// and asked for anew.

import type { Clock } from '../../base/clock.ts'
import { type Logger, silentLogger } from '../../base/log.ts'
import type { ReadTransaction, Store, StoreEvent, WriteTransaction } from '../store/contract.ts'
import type { ClusterObject, NodeObject } from '../store/objects.ts'
import { readCsr } from './csr.ts'
import { CaError, words } from './errors.ts'
import * as limits from './limits.ts'
import { Loop, type Sleep } from './loop.ts'
import type { NodeSubject } from './names.ts'
import { issue } from './root.ts'
import { isSameRoot, nodeLifeMs, type Signing, signingOf } from './signing.ts'

/** Asks an external CA for a node certificate and checks what it gets: PEM, leaf and intermediate.
 * Rejects with CaError UNAVAILABLE when it cannot be asked now, any other code when its answer is
 * no use. */
export type ExternalSign = (
  signing: Extract<Signing, { kind: 'external' }>,
  csr: string,
  subject: NodeSubject,
) => Promise<string>

export interface SignerOptions {
  readonly store: Store
  readonly clock: Clock
  readonly sleep: Sleep
  readonly external: ExternalSign
  readonly log?: Logger
}

/** A pause without anything to do: the watch ends it. */
const IDLE_MS = 60_000

export class Signer {
  readonly #options: SignerOptions
  readonly #log: Logger
  readonly #loop: Loop
  readonly #pending = new Set<string>()
  #endWatch: (() => void) | null = null

  constructor(options: SignerOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#loop = new Loop({
      sleep: options.sleep,
      step: () => this.#step(),
      onError: (error) => this.#log.warn('could not sign', { error: words(error) }),
      retryMs: limits.SIGN_RETRY_MS,
    })
  }

  /** To be called when this node becomes leader. */
  start(): void {
    this.#endWatch ??= this.#options.store.watch((event) => this.#see(event))
    this.#lookThrough()
    this.#loop.start()
  }

  async stop(): Promise<void> {
    this.#endWatch?.()
    this.#endWatch = null
    this.#pending.clear()
    await this.#loop.stop()
  }

  #see(event: StoreEvent): void {
    if (event.kind === 'reset') this.#lookThrough()
    else {
      for (const { table, kind, object } of event.changes) {
        if (table === 'nodes' && kind !== 'remove' && isPending(object))
          this.#pending.add(object.id)
        // A new root, or a new external CA: what could not be signed may be now.
        if (table === 'clusters') this.#loop.wake()
      }
    }
    if (this.#pending.size > 0) this.#loop.wake()
  }

  #lookThrough(): void {
    for (const node of this.#options.store.view((tx) => tx.all('nodes'))) {
      if (isPending(node)) this.#pending.add(node.id)
    }
    this.#loop.wake()
  }

  async #step(): Promise<number> {
    const ids = [...this.#pending].slice(0, limits.SIGN_BATCH)
    const cluster = this.#options.store.view((tx) => tx.cluster())
    if (ids.length === 0 || cluster === undefined) return IDLE_MS
    const signing = signingOf(cluster)
    if (signing.kind === 'internal') await this.#signOurselves(ids)
    else if (!(await this.#signOutside(ids, signing, cluster))) return limits.SIGN_RETRY_MS
    if (this.#pending.size === 0) return IDLE_MS
    return ids.some((id) => !this.#pending.has(id)) ? 0 : limits.SIGN_RETRY_MS
  }

  async #signOurselves(ids: readonly string[]): Promise<void> {
    const { store, clock } = this.#options
    await store.batch(
      ids.map((id) => (tx) => {
        const node = pendingNode(tx, id)
        const cluster = tx.cluster()
        if (node === null || cluster === undefined) return
        const signing = signingOf(cluster)
        if (signing.kind !== 'internal') return
        const spki = spkiOf(node.certificate.csr)
        if (spki instanceof CaError) return setFailed(tx, node, spki)
        const lifeMs = nodeLifeMs(cluster)
        const chain = issue(signing.root, spki, subjectOf(node, cluster), clock.wallMs(), lifeMs)
        setIssued(tx, node, chain)
      }),
      (step, error) => {
        this.#log.warn('a certificate was not signed', { node: ids[step]!, error: words(error) })
      },
    )
    this.#forgetDone(ids)
  }

  /** False when the external CA could not be asked. */
  async #signOutside(
    ids: readonly string[],
    signing: Extract<Signing, { kind: 'external' }>,
    cluster: ClusterObject,
  ): Promise<boolean> {
    const { store, external } = this.#options
    for (const id of ids) {
      const node = store.view((tx) => pendingNode(tx, id))
      if (node === null) continue
      const { csr } = node.certificate
      try {
        const chain = await external(signing, csr, subjectOf(node, cluster))
        await store.update((tx) => {
          const now = pendingNode(tx, id)
          const isSame = now?.certificate.csr === csr && now.role === node.role
          const current = tx.cluster()
          if (isSame && current !== undefined && isSameRoot(current.rootCa, cluster.rootCa)) {
            setIssued(tx, now, chain)
          }
        })
      } catch (error) {
        this.#log.warn('the external CA did not sign', { node: id, error: words(error) })
        if (!(error instanceof CaError) || error.code === 'UNAVAILABLE') return false
        await store.update((tx) => {
          const now = pendingNode(tx, id)
          if (now?.certificate.csr === csr) setFailed(tx, now, error)
        })
      }
    }
    this.#forgetDone(ids)
    return true
  }

  #forgetDone(ids: readonly string[]): void {
    this.#options.store.view((tx) => {
      for (const id of ids) if (pendingNode(tx, id) === null) this.#pending.delete(id)
    })
  }
}

function isPending({ certificate }: NodeObject): boolean {
  return certificate.state === 'pending' || certificate.state === 'renew'
}

function pendingNode(tx: ReadTransaction, id: string): NodeObject | null {
  const node = tx.get('nodes', id)
  return node !== undefined && isPending(node) ? node : null
}

function subjectOf(node: NodeObject, cluster: ClusterObject): NodeSubject {
  return { nodeId: node.id, role: node.role, clusterId: cluster.id }
}

/** The public key of a stored request, or why there is none: then it is the request's fault, and
 * trying again does not help. */
function spkiOf(csr: string): Buffer | CaError {
  try {
    return readCsr(csr).spki
  } catch (error) {
    if (error instanceof CaError) return error
    throw error
  }
}

function setFailed(tx: WriteTransaction, node: NodeObject, error: Error): void {
  const certificate = { ...node.certificate, state: 'failed' as const, error: error.message }
  tx.update('nodes', { ...node, certificate })
}

function setIssued(tx: WriteTransaction, node: NodeObject, chain: string): void {
  const { csr } = node.certificate
  const certificate = {
    state: 'issued' as const,
    role: node.role,
    error: '',
    csr,
    certificate: chain,
  }
  tx.update('nodes', { ...node, certificate })
}
