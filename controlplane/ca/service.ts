// The CA's two calls, without gRPC (ca-rpc.ts puts them on it). A request for a certificate is
// checked, written into the store as a pending certificate, and waits there until the signer
// (signer.ts) has dealt with it. Only the leader writes; another manager hands the request on.
//
// Asking again is harmless. A joining node's id is derived from its key, so the same request finds
// the same node; a renewal finds its own request by its text. Whoever lost an answer, or was told
// PENDING, sends the same again.

import { createHash } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import {
  type ReadTransaction,
  type Store,
  StoreError,
  type WriteTransaction,
} from '../store/contract.ts'
import type { NodeObject } from '../store/objects.ts'
import type { NodeAvailability } from '../store/specs.ts'
import { type CertificateHolder, kindOf, membershipOf } from './authorize.ts'
import { type ProvenKey, readCsr } from './csr.ts'
import { CaError, type CaErrorCode } from './errors.ts'
import * as limits from './limits.ts'
import type { Sleep } from './loop.ts'
import type { Role } from './names.ts'
import { RateLimiter } from './rate.ts'
import { base36, tokenEquals } from './token.ts'

export interface IssueRequest {
  readonly csr: string
  readonly token: string
  readonly availability: string
}

export interface IssueOutcome {
  readonly nodeId: string
  readonly state: 'PENDING' | 'ISSUED' | 'FAILED'
  readonly certificate: string
  readonly error: string
}

/** Who asks: by its verified certificate, or nobody; and from where. */
export interface Origin {
  readonly caller: CertificateHolder | null
  readonly source: string
}

export interface CaServiceOptions {
  readonly store: Store
  readonly clock: Clock
  readonly sleep: Sleep
  readonly isLeader: () => boolean
  /** Hands a request on to the leader. Rejects with CaError UNAVAILABLE when there is none. */
  readonly forward: (request: IssueRequest, origin: Origin) => Promise<IssueOutcome>
}

const AVAILABILITIES: readonly string[] = ['active', 'pause', 'drain']
const NO_CLUSTER = 'this node does not know the swarm yet; try again'

/** What becomes of the store's refusals: try again, here or at another manager. */
const STORE_CODES: Readonly<Record<StoreError['code'], CaErrorCode>> = {
  exists: 'ABORTED',
  'not-found': 'NOT_FOUND',
  'name-conflict': 'ABORTED',
  'out-of-sequence': 'ABORTED',
  'too-large': 'INVALID_ARGUMENT',
  'not-leader': 'UNAVAILABLE',
  'lost-leadership': 'UNAVAILABLE',
  overloaded: 'RESOURCE_EXHAUSTED',
  'shut-down': 'UNAVAILABLE',
}

export class CaService {
  readonly #options: CaServiceOptions
  readonly #joins: RateLimiter
  readonly #renewals: RateLimiter
  readonly #waiters = new Map<string, Set<AbortController>>()
  readonly #endWatch: () => void
  #waiting = 0

  constructor(options: CaServiceOptions) {
    this.#options = options
    const perSource = {
      burst: limits.REQUESTS_PER_SOURCE_BURST,
      perSecond: limits.REQUESTS_PER_SOURCE_PER_SECOND,
    }
    const together = { burst: limits.REQUESTS_BURST, perSecond: limits.REQUESTS_PER_SECOND }
    const { clock } = options
    this.#joins = new RateLimiter(clock, perSource, together, limits.SOURCES_MAX)
    this.#renewals = new RateLimiter(clock, perSource, together, limits.SOURCES_MAX)
    this.#endWatch = options.store.watch((event) => {
      if (event.kind === 'reset') {
        for (const set of this.#waiters.values()) for (const waiter of set) waiter.abort()
        return
      }
      for (const change of event.changes) {
        if (change.table !== 'nodes') continue
        for (const waiter of this.#waiters.get(change.object.id) ?? []) waiter.abort()
      }
    })
  }

  close(): void {
    this.#endWatch()
  }

  /** The bundle that nodes trust. */
  rootCertificate(): string {
    const cluster = this.#options.store.view((tx) => tx.cluster())
    if (cluster === undefined) throw new CaError('UNAVAILABLE', NO_CLUSTER)
    return cluster.rootCa.certificate
  }

  async issue(request: IssueRequest, origin: Origin): Promise<IssueOutcome> {
    if (this.#options.isLeader()) return this.issueHere(request, origin)
    return this.#options.forward(request, origin)
  }

  /** The leader's half of issue(), which forwarded requests come to: they go no further. */
  async issueHere(request: IssueRequest, origin: Origin): Promise<IssueOutcome> {
    if (!this.#options.isLeader()) throw new CaError('UNAVAILABLE', 'the leader has changed')
    const caller = this.#member(origin.caller)
    const limiter = caller === null ? this.#joins : this.#renewals
    if (!limiter.take(caller?.nodeId ?? origin.source)) {
      throw new CaError('RESOURCE_EXHAUSTED', 'too many certificate requests; try again later')
    }
    const nodeId = await this.#accept(request, caller)
    return this.#wait(nodeId, request.csr)
  }

  /** A caller whose certificate counts here. A root may serve two swarms, and the manager that
   * hands a request on may not know yet whom this one has removed. */
  #member(caller: CertificateHolder | null): CertificateHolder | null {
    const { store } = this.#options
    const clusterId = store.view((tx) => tx.cluster()?.id)
    if (clusterId === undefined) throw new CaError('UNAVAILABLE', NO_CLUSTER)
    const kind = kindOf(caller, membershipOf(store, clusterId))
    if (kind === 'removed') throw removed(caller!.nodeId)
    return kind === 'stranger' ? null : caller
  }

  async #accept(request: IssueRequest, caller: CertificateHolder | null): Promise<string> {
    const { store } = this.#options
    const role = store.view((tx) => (caller === null ? roleOfToken(tx, request.token) : null))
    const key = readCsr(request.csr)
    try {
      return await store.update((tx) => {
        if (caller !== null || role === null) return renew(tx, caller!, request.csr)
        const nodeId = nodeIdOf(key)
        const { csr, availability } = request
        if (!isKnown(tx, nodeId)) tx.create('nodes', newNode(nodeId, role, csr, availability))
        return nodeId
      })
    } catch (error) {
      if (error instanceof StoreError) throw new CaError(STORE_CODES[error.code], error.message)
      throw error
    }
  }

  /** Waits until the certificate for `csr` is there, or long enough. */
  async #wait(nodeId: string, csr: string): Promise<IssueOutcome> {
    const { store, sleep, clock } = this.#options
    const endMs = clock.nowMs() + limits.STATUS_WAIT_MS
    for (;;) {
      const outcome = store.view((tx) => outcomeOf(tx, nodeId, csr))
      const leftMs = endMs - clock.nowMs()
      if (outcome.state !== 'PENDING' || leftMs <= 0) return outcome
      if (this.#waiting >= limits.STATUS_WAITERS_MAX) return outcome
      const waiter = new AbortController()
      const set = this.#waiters.get(nodeId) ?? new Set()
      this.#waiters.set(nodeId, set.add(waiter))
      this.#waiting += 1
      await sleep(leftMs, waiter.signal)
      this.#waiting -= 1
      set.delete(waiter)
      if (set.size === 0) this.#waiters.delete(nodeId)
    }
  }
}

/** The role that a token gives. In Swarm's words. */
function roleOfToken(tx: ReadTransaction, token: string): Role {
  const cluster = tx.cluster()
  if (cluster === undefined) throw new CaError('UNAVAILABLE', NO_CLUSTER)
  const { worker, manager } = cluster.joinTokens
  // Both are compared, whichever fits: the time says nothing.
  const isWorker = tokenEquals(token, worker)
  const isManager = tokenEquals(token, manager)
  if (isManager) return 'manager'
  if (isWorker) return 'worker'
  throw new CaError('INVALID_ARGUMENT', 'A valid join token is necessary to join this cluster')
}

/** A joining node's id: 128 bits of its first key's hash, written as ids are. */
export function nodeIdOf({ spki }: ProvenKey): string {
  return base36(createHash('sha256').update(spki).digest().subarray(0, 16), 25)
}

function removed(nodeId: string): CaError {
  return new CaError('PERMISSION_DENIED', `node ${nodeId} was removed from this swarm`)
}

function isKnown(tx: ReadTransaction, nodeId: string): boolean {
  if (Object.hasOwn(tx.cluster()?.removedNodes ?? {}, nodeId)) throw removed(nodeId)
  return tx.get('nodes', nodeId) !== undefined
}

function newNode(
  id: string,
  role: Role,
  csr: string,
  availability: string,
): Omit<NodeObject, 'meta'> {
  if (availability !== '' && !AVAILABILITIES.includes(availability)) {
    const shown = JSON.stringify(availability.slice(0, 64))
    throw new CaError('INVALID_ARGUMENT', `invalid Availability: ${shown}`)
  }
  const Availability = availability === '' ? 'active' : (availability as NodeAvailability)
  return {
    id,
    spec: { Labels: {}, Role: role, Availability },
    role,
    description: null,
    status: { state: 'unknown', message: '', address: '' },
    manager: null,
    certificate: { state: 'pending', role, error: '', csr, certificate: '' },
    tunnel: null,
  }
}

function renew(tx: WriteTransaction, caller: CertificateHolder, csr: string): string {
  const node = tx.get('nodes', caller.nodeId)
  if (node === undefined) {
    const message = `node ${caller.nodeId} not found when attempting to renew certificate`
    throw new CaError('NOT_FOUND', message)
  }
  const { certificate, role } = node
  const isSame = certificate.csr === csr && certificate.state !== 'rotate'
  if (!isSame) {
    const renewed = { ...certificate, state: 'renew' as const, role, error: '', csr }
    tx.update('nodes', { ...node, certificate: renewed })
  }
  return node.id
}

function outcomeOf(tx: ReadTransaction, nodeId: string, csr: string): IssueOutcome {
  const node = tx.get('nodes', nodeId)
  const outcome = { nodeId, certificate: '', error: '' }
  if (node === undefined) return { ...outcome, state: 'FAILED', error: 'the node was removed' }
  const { certificate } = node
  if (certificate.csr !== csr) {
    return { ...outcome, state: 'FAILED', error: 'a newer request took the place of this one' }
  }
  if (certificate.state === 'failed') {
    return { ...outcome, state: 'FAILED', error: certificate.error }
  }
  return certificate.state === 'issued' || certificate.state === 'rotate'
    ? { ...outcome, state: 'ISSUED', certificate: certificate.certificate }
    : { ...outcome, state: 'PENDING' }
}
