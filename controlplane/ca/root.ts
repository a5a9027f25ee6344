// The swarm's root: the bundle of certificates that nodes trust, and, where this node may sign, the
// key to sign with. A bundle is normalised text (each certificate as PEM, nothing else), so that
// its SHA-256, which stands in the join tokens, is the same on every node.

import { createHash, timingSafeEqual } from 'node:crypto'
import { crossSign, makeNodeCertificate, makeRoot, type Signer } from './certificate.ts'
import { CaError } from './errors.ts'
import { checkSigningKey, generateKey, pemOfKey, privateKeyOf, spkiOf } from './keys.ts'
import { BACKDATE_MS, BUNDLE_COUNT_MAX, ROOT_LIFE_MS } from './limits.ts'
import type { NodeSubject } from './names.ts'
import { writePem } from './pem.ts'
import { type Certificate, readChain } from './x509.ts'

/** What a node trusts. */
export interface TrustRoot {
  /** Normalised PEM. */
  readonly pem: string
  readonly certificates: readonly Certificate[]
  /** SHA-256 of `pem`. */
  readonly digest: Buffer
}

/** What a manager signs with. `intermediate` goes behind each certificate it issues: the signer's
 * cross certificate while the root changes, else nothing. */
export interface SigningRoot {
  readonly signer: Signer
  readonly intermediate: string
}

/** Certificates as PEM and nothing else, in the order given. */
export function normalizePem(pem: string): string {
  return readChain(pem, BUNDLE_COUNT_MAX)
    .map(({ der }) => writePem('CERTIFICATE', der))
    .join('')
}

/** Reads a bundle of roots: each must be a CA and, as a bundle is trusted whole, sign itself. */
export function readRoot(bundle: string): TrustRoot {
  const certificates = readChain(bundle, BUNDLE_COUNT_MAX)
  for (const { x509 } of certificates) {
    if (!x509.ca) throw new CaError('INVALID_ARGUMENT', 'the root certificate is not a CA')
    if (!x509.checkIssued(x509) || !x509.verify(x509.publicKey)) {
      throw new CaError('INVALID_ARGUMENT', 'the root certificate is not signed by itself')
    }
  }
  const pem = certificates.map(({ der }) => writePem('CERTIFICATE', der)).join('')
  return { pem, certificates, digest: createHash('sha256').update(pem).digest() }
}

/** The digest as objects and files show it. */
export function digestText(root: TrustRoot): string {
  return `sha256:${root.digest.toString('hex')}`
}

/** Throws unless `root` is the one that a token names. In Swarm's words. */
export function checkDigest(root: TrustRoot, digest: Buffer): void {
  if (root.digest.length !== digest.length || !timingSafeEqual(root.digest, digest)) {
    const expected = digest.toString('hex')
    throw new CaError('UNKNOWN', `remote CA does not match fingerprint. Expected: ${expected}`)
  }
}

/** A new root of our own: certificate and key as PEM. */
export function createRoot(wallMs: number): { certificate: string; key: string } {
  const key = generateKey()
  const validity = { notBeforeMs: wallMs - BACKDATE_MS, notAfterMs: wallMs + ROOT_LIFE_MS }
  return { certificate: makeRoot(key, validity), key: pemOfKey(key) }
}

/** A signer from the PEM of certificate and key, which must belong together. */
export function readSigner(certificate: string, keyPem: string): Signer {
  const [first] = readChain(certificate, BUNDLE_COUNT_MAX)
  const key = privateKeyOf(keyPem)
  checkSigningKey(key)
  if (!first!.x509.ca) throw new CaError('INVALID_ARGUMENT', 'the root certificate is not a CA')
  if (!spkiOf(key).equals(first!.spki)) {
    throw new CaError('INVALID_ARGUMENT', 'the CA key does not belong to the CA certificate')
  }
  return { certificate: first!, key }
}

/** Leaf and, if any, intermediate: the chain that a node shows to others, as PEM. */
export function issue(
  root: SigningRoot,
  spki: Buffer,
  subject: NodeSubject,
  wallMs: number,
  lifeMs: number,
): string {
  const validity = { notBeforeMs: wallMs - BACKDATE_MS, notAfterMs: wallMs + lifeMs }
  return makeNodeCertificate(root.signer, spki, subject, validity) + root.intermediate
}

/** The certificate that lets who trusts `from` verify what `to` signs, as PEM. */
export function crossSignRoot(from: Signer, to: TrustRoot): string {
  return crossSign(from, to.certificates[0]!)
}
