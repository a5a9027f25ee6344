// Changing the root of a swarm that runs. `docker swarm ca --rotate` gives the cluster's CAConfig a
// new ForceRotate, a signing certificate with or without its key, or external CAs; planRoot() says
// what that makes of the root's state, or refuses it in Swarm's words. Nothing is lost on the way:
//
//   1. The new root is cross-signed by the old one and stored as `rotation`. From now on it signs;
//      each node still trusts the old root alone, and the cross certificate makes that enough.
//   2. Nodes are told to renew, a few at a time (rotationStep). A node has arrived when it reports
//      the new root as the issuer of its certificate.
//   3. When all have, the new root becomes the root, and the join tokens, which name it, change.
//
// Asking again on the way puts another new root in the place of the first, signed by the same old
// one. Going back to the old root ends the rotation.

import type {
  CertificateState,
  ClusterObject,
  NodeObject,
  RootCaState,
  RootRotation,
} from '../store/objects.ts'
import type { ExternalCa, SwarmSpec } from '../store/specs.ts'
import type { Signer } from './certificate.ts'
import { CaError, words } from './errors.ts'
import { checkUrl } from './external.ts'
import { EXTERNAL_CAS_MAX, GIVEN_ROOT_LIFE_MS_MIN, ROTATE_BATCH } from './limits.ts'
import {
  createRoot,
  crossSignRoot,
  digestText,
  normalizePem,
  readRoot,
  readSigner,
  type TrustRoot,
} from './root.ts'
import { externalUrls } from './signing.ts'
import { generateToken } from './token.ts'
import { type Certificate, readChain } from './x509.ts'

export type CaConfig = SwarmSpec['CAConfig']

/** What planning needs of external CAs. */
export interface ExternalPlanner {
  isReachable(urls: readonly string[]): Promise<boolean>
  crossSign(urls: readonly string[], current: TrustRoot, next: Signer): Promise<string>
}

const bad = (message: string): CaError => new CaError('INVALID_ARGUMENT', message)

/** The root's state under a new CAConfig. Throws CaError INVALID_ARGUMENT for what Swarm refuses;
 * nothing has changed then. */
export async function planRoot(
  current: RootCaState,
  config: CaConfig,
  external: ExternalPlanner,
  wallMs: number,
): Promise<RootCaState> {
  const wanted = normalized(config.SigningCACert)
  const wantedKey = config.SigningCAKey?.trim() ? config.SigningCAKey : null
  const lastForcedRotation = config.ForceRotate ?? 0
  if (wantedKey !== null && wanted === null) {
    throw bad('if a signing CA key is provided, the signing CA cert must also be provided')
  }
  const plan = new Plan(current, config, external)
  if (current.key === null) {
    // The external CA's key is handed over: from now on the cluster signs, with the same root.
    if (wanted === current.certificate && wantedKey !== null) {
      readSigner(wanted, wantedKey)
      return { ...current, key: wantedKey, rotation: null, lastForcedRotation }
    }
    await plan.needExternal(current.certificate, 'current')
  }
  if (wanted === null) {
    if (current.lastForcedRotation !== lastForcedRotation) {
      const own = createRoot(wallMs)
      return plan.rotateTo(own.certificate, own.key, lastForcedRotation)
    }
    const { rotation } = current
    if (rotation !== null && rotation.key === null) {
      await plan.needExternal(rotation.certificate, 'next')
    }
    return current
  }
  checkWanted(wanted, wantedKey, wallMs)
  if (wantedKey === null) await plan.needExternal(wanted, 'desired')
  if (wanted === current.certificate) {
    return { ...current, key: wantedKey, rotation: null, lastForcedRotation }
  }
  if (current.rotation?.certificate === wanted) {
    const rotation = { ...current.rotation, key: wantedKey }
    return { ...current, rotation, lastForcedRotation }
  }
  return plan.rotateTo(wanted, wantedKey, lastForcedRotation)
}

/** Throws CaError INVALID_ARGUMENT for external CAs that could never be asked. */
export function checkExternalCas(list: readonly ExternalCa[]): void {
  if (list.length > EXTERNAL_CAS_MAX) throw bad(`more than ${EXTERNAL_CAS_MAX} external CAs`)
  for (const { URL, CACert } of list) {
    checkUrl(URL)
    normalized(CACert)
  }
}

class Plan {
  readonly #current: RootCaState
  readonly #config: CaConfig
  readonly #external: ExternalPlanner

  constructor(current: RootCaState, config: CaConfig, external: ExternalPlanner) {
    this.#current = current
    this.#config = config
    this.#external = external
    checkExternalCas(config.ExternalCAs ?? [])
  }

  #urls(root: string): readonly string[] {
    return externalUrls(this.#config.ExternalCAs ?? [], root, this.#current.certificate)
  }

  async needExternal(root: string, which: string): Promise<void> {
    if (await this.#external.isReachable(this.#urls(root))) return
    throw bad(
      'there must be at least one valid, reachable external CA corresponding to the ' +
        `${which} CA certificate`,
    )
  }

  async rotateTo(
    certificate: string,
    key: string | null,
    lastForcedRotation: number,
  ): Promise<RootCaState> {
    const crossSigned = await this.#crossSigned(certificate, key)
    const rotation: RootRotation = { certificate, key, crossSigned }
    return { ...this.#current, rotation, lastForcedRotation }
  }

  async #crossSigned(certificate: string, key: string | null): Promise<string> {
    const { certificate: old, key: oldKey } = this.#current
    if (oldKey !== null) return crossSignRoot(readSigner(old, oldKey), readRoot(certificate))
    if (key === null) {
      throw bad('rotating from one external CA to a different external CA is not supported')
    }
    const next = readSigner(certificate, key)
    try {
      return await this.#external.crossSign(this.#urls(old), readRoot(old), next)
    } catch (error) {
      const message = `unable to generate a cross-signed certificate for root rotation: `
      throw new CaError('INTERNAL', message + words(error), error)
    }
  }
}

function normalized(pem: string | undefined): string | null {
  return pem === undefined || pem.trim() === '' ? null : normalizePem(pem)
}

function checkWanted(wanted: string, key: string | null, wallMs: number): void {
  const { certificates } = readRoot(wanted)
  if (certificates.length !== 1) {
    throw bad('the desired CA certificate cannot contain multiple certificates')
  }
  if (certificates[0]!.notAfterMs < wallMs + GIVEN_ROOT_LIFE_MS_MIN) {
    throw bad('CA certificate expires too soon')
  }
  if (certificates[0]!.notBeforeMs > wallMs) throw bad('CA certificate is not valid yet')
  if (key !== null) readSigner(wanted, key)
}

// --- carrying it out ---------------------------------------------------------------------------

export interface RotationStep {
  /** Nodes to be told to renew now. */
  readonly rotate: readonly string[]
  /** Nodes whose certificates are not yet of the new root. */
  readonly waiting: number
}

/** Who issues the certificates of a state: what a node that has arrived reports. */
export interface Issuer {
  /** Base64 of DER, as in NodeDescription.tls. */
  readonly subject: string
  readonly publicKey: string
}

export function issuerOf(rootPem: string): Issuer {
  const [root] = readChain(rootPem)
  return { subject: base64(root!.subjectDer), publicKey: base64(root!.spki) }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

/** What a node reports of its own certificate: the issuer is the first that is no leaf of the path
 * to the root it trusts, or, with a cross certificate behind the leaf, the key in that. */
export function issuerOfChain(chain: readonly Certificate[], trust: TrustRoot): Issuer {
  const [leaf, ...between] = chain
  const issuer = [...between, ...trust.certificates].find(
    ({ x509 }) => leaf!.x509.checkIssued(x509) && leaf!.x509.verify(x509.publicKey),
  )
  return {
    subject: base64(leaf!.issuerDer),
    publicKey: issuer === undefined ? '' : base64(issuer.spki),
  }
}

/** True when this node reports a certificate by `issuer`. */
export function hasArrived({ description }: NodeObject, issuer: Issuer): boolean {
  const tls = description?.tls ?? null
  return tls?.issuerSubject === issuer.subject && tls.issuerPublicKey === issuer.publicKey
}

/** Nodes in the other states have been told, or their request is being dealt with. */
export function mayTell(state: CertificateState): boolean {
  return state === 'issued' || state === 'failed'
}

/** What to do in this tick. `recently` holds nodes that were given a certificate of the new root a
 * short while ago and may not have reported it yet. */
export function rotationStep(
  rotation: RootRotation,
  nodes: readonly NodeObject[],
  recently: ReadonlySet<string>,
): RotationStep {
  const issuer = issuerOf(rotation.certificate)
  const waiting = nodes.filter((node) => !hasArrived(node, issuer))
  const rotate = waiting
    .filter(({ id, certificate }) => mayTell(certificate.state) && !recently.has(id))
    .map(({ id }) => id)
    .sort()
    .slice(0, ROTATE_BATCH)
  return { rotate, waiting: waiting.length }
}

/** The cluster after its rotation: new root, new tokens. */
export function finishRotation(cluster: ClusterObject, rotation: RootRotation): ClusterObject {
  const root = readRoot(rotation.certificate)
  return {
    ...cluster,
    rootCa: {
      certificate: root.pem,
      key: rotation.key,
      digest: digestText(root),
      lastForcedRotation: cluster.rootCa.lastForcedRotation,
      rotation: null,
    },
    joinTokens: { worker: generateToken(root.digest), manager: generateToken(root.digest) },
  }
}
