// Joining: from a token and the addresses of managers to a verified root and a first certificate.
//
//   1. Fetch the root over an unverified connection; its digest must be the token's.
//   2. Make a key, and ask with the token over a connection verified by that root, until the
//      certificate is there. Each attempt may go to another manager; the request stays the same, so
//      that no attempt makes a second node.
//   3. Check what came: the root's signature, the own key, a node's name, and that it is valid by
//      this node's clock.
//
// Whoever sits between and answers step 1 learns that somebody wants to join, and no more.

import type { KeyObject } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { type Logger, silentLogger } from '../../base/log.ts'
import { fetchRootCertificate, requestByToken } from './ca-client.ts'
import { makeCsr } from './csr.ts'
import { CaError, type CaErrorCode, words } from './errors.ts'
import { generateKey, spkiOf } from './keys.ts'
import * as limits from './limits.ts'
import type { Sleep } from './loop.ts'
import type { NodeSubject } from './names.ts'
import { checkDigest, readRoot, type TrustRoot } from './root.ts'
import type { IssueOutcome, IssueRequest } from './service.ts'
import { parseToken } from './token.ts'
import { checkLife, nodeSubject, readChain, verifyChain } from './x509.ts'

export interface JoinOptions {
  /** Managers, "address:port"; asked in turn. */
  readonly addresses: readonly string[]
  readonly token: string
  /** '' = active. */
  readonly availability: string
  readonly clock: Clock
  readonly sleep: Sleep
  /** Uniform over [0, 1). */
  readonly random: () => number
  /** Ends the attempts. */
  readonly signal: AbortSignal
  readonly log?: Logger
}

export interface Joined {
  readonly root: TrustRoot
  readonly privateKey: KeyObject
  /** PEM, leaf first. */
  readonly chain: string
  readonly subject: NodeSubject
}

/** Answers that no further attempt will change. */
const FINAL: ReadonlySet<CaErrorCode> = new Set<CaErrorCode>([
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'PERMISSION_DENIED',
  'FAILED_PRECONDITION',
  'UNIMPLEMENTED',
])

/** Rejects with CaError: UNKNOWN `invalid join token` for a malformed one, INVALID_ARGUMENT for one
 * that the swarm does not know, UNKNOWN for a root that is not the token's, UNAUTHENTICATED when
 * the clocks are too far apart, and the last attempt's error when `signal` is aborted. */
export async function join(options: JoinOptions): Promise<Joined> {
  const { digest } = parseToken(options.token)
  const root = await trustedRoot(options, digest)
  const privateKey = generateKey()
  const { token, availability } = options
  const request = { csr: makeCsr(privateKey), token, availability }
  const outcome = await requestUntilIssued(options, root, request)
  return { root, privateKey, ...checkIssued(outcome, root, privateKey, options.clock.wallMs()) }
}

async function trustedRoot(options: JoinOptions, digest: Buffer): Promise<TrustRoot> {
  const { addresses, clock, log = silentLogger } = options
  let last: unknown = new CaError('INVALID_ARGUMENT', 'at least one manager address is needed')
  for (let attempt = 1; attempt <= limits.ROOT_ATTEMPTS; attempt++) {
    let forged = 0
    for (const address of addresses) {
      try {
        const root = readRoot(await fetchRootCertificate(address))
        forged += 1
        checkDigest(root, digest)
        for (const one of root.certificates) {
          checkLife(one, clock.wallMs(), "the swarm's root certificate")
        }
        return root
      } catch (error) {
        last = error
        log.warn('no root certificate from a manager', { address, error: words(error) })
        if (options.signal.aborted) throw error
      }
    }
    // Whoever answered and was not believed will not be believed the next time either.
    if (forged === addresses.length || attempt === limits.ROOT_ATTEMPTS) break
    await options.sleep(pauseMs(attempt, options.random), options.signal)
    if (options.signal.aborted) break
  }
  throw last
}

async function requestUntilIssued(
  options: JoinOptions,
  root: TrustRoot,
  request: IssueRequest,
): Promise<IssueOutcome> {
  const { addresses, signal, log = silentLogger } = options
  let last: unknown = new CaError('UNAVAILABLE', 'the certificate was not issued in time')
  for (let attempt = 1, at = 0; !signal.aborted; at++) {
    const address = addresses[at % addresses.length]!
    try {
      const outcome = await requestByToken(address, root, request)
      if (outcome.state !== 'PENDING') return outcome
      attempt = 1
      continue
    } catch (error) {
      last = withClockHint(error)
      if (error instanceof CaError && FINAL.has(error.code)) throw error
      log.warn('no certificate from a manager', { address, error: words(error) })
    }
    await options.sleep(pauseMs(attempt, options.random), signal)
    attempt += 1
  }
  throw last
}

/** TLS only says that the server's certificate is out of date; mostly it is the clock here. */
function withClockHint(error: unknown): unknown {
  if (!(error instanceof CaError) || !/expired|not yet valid/i.test(error.message)) return error
  const message = `${error.message}: check the clocks of this node and of the manager`
  return new CaError('UNAUTHENTICATED', message, error)
}

/** Doubles from RETRY_MS_MIN to RETRY_MS_MAX, of which a random half is waited at least. */
export function pauseMs(attempt: number, random: () => number): number {
  const full = Math.min(limits.RETRY_MS_MAX, limits.RETRY_MS_MIN * 2 ** Math.min(attempt - 1, 16))
  return full * (0.5 + random() / 2)
}

/** What an issued certificate must be before a node uses it. Throws CaError. */
export function checkIssued(
  outcome: IssueOutcome,
  root: TrustRoot,
  privateKey: KeyObject,
  wallMs: number,
): { readonly chain: string; readonly subject: NodeSubject } {
  if (outcome.state === 'FAILED') {
    throw new CaError('FAILED_PRECONDITION', `the certificate was not issued: ${outcome.error}`)
  }
  const chain = readChain(outcome.certificate)
  verifyChain(chain, root.certificates, wallMs)
  if (!chain[0]!.spki.equals(spkiOf(privateKey))) {
    throw new CaError('INTERNAL', 'the issued certificate is for another key')
  }
  const subject = nodeSubject(chain[0]!)
  if (subject.nodeId !== outcome.nodeId) {
    throw new CaError('INTERNAL', 'the issued certificate names another node')
  }
  return { chain: outcome.certificate, subject }
}
