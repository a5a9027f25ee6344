// Reading certificates: of peers, of files, of an administrator. OpenSSL (node:crypto) parses first
// and checks signatures; the strict reader (der.ts) then takes out what OpenSSL's binding does not
// give: names as bytes, key identifiers, the three parts of a node's name.
//
// A chain is verified the way TLS does it, plus what Swarm's names mean. Used where no TLS stack
// has done it: files on disk, answers of the CA, certificates of an external CA.

import { X509Certificate } from 'node:crypto'
import { type Element, elements, expect, only, TAG, text } from './der.ts'
import { encode, oid } from './encode.ts'
import { CaError } from './errors.ts'
import { CHAIN_COUNT_MAX, PEM_SIZE_MAX } from './limits.ts'
import { type NodeSubject, OID, ROLE_UNITS, type Role } from './names.ts'
import { readCertificates } from './pem.ts'

export interface Certificate {
  readonly der: Buffer
  readonly x509: X509Certificate
  readonly issuerDer: Buffer
  readonly subjectDer: Buffer
  /** SubjectPublicKeyInfo. */
  readonly spki: Buffer
  readonly subjectKeyId: Buffer | null
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** What of a name or of extensions the reader looks for: DER of the identifier, in hexadecimal. */
const hexOf = (dotted: string): string => encode(oid(dotted)).toString('hex')
const COMMON_NAME = hexOf(OID.commonName)
const ORGANIZATION = hexOf(OID.organization)
const UNIT = hexOf(OID.organizationalUnit)
const SUBJECT_KEY_ID = hexOf(OID.subjectKeyIdentifier)

const EXTENSIONS_MAX = 64
const NAME_PARTS_MAX = 16

/** Reads one certificate. Throws CaError INVALID_ARGUMENT. */
export function readCertificate(bytes: Uint8Array): Certificate {
  let x509: X509Certificate
  try {
    x509 = new X509Certificate(bytes)
  } catch {
    throw new CaError('INVALID_ARGUMENT', 'could not read the certificate')
  }
  // OpenSSL takes the first certificate and also PEM; from here on it is exactly these bytes.
  const der = x509.raw
  if (!der.equals(bytes)) throw new CaError('INVALID_ARGUMENT', 'bytes follow the certificate')
  const [tbs] = elements(only(der, TAG.sequence).content, 3)
  const fields = elements(expect(tbs, TAG.sequence).content, 10)
  if (fields[0]?.tag !== TAG.context0) {
    throw new CaError('INVALID_ARGUMENT', 'the certificate is not of version 3')
  }
  return {
    der,
    x509,
    issuerDer: Buffer.from(expect(fields[3], TAG.sequence).raw),
    subjectDer: Buffer.from(expect(fields[5], TAG.sequence).raw),
    spki: Buffer.from(expect(fields[6], TAG.sequence).raw),
    subjectKeyId: subjectKeyId(fields),
    notBeforeMs: x509.validFromDate.getTime(),
    notAfterMs: x509.validToDate.getTime(),
  }
}

function subjectKeyId(fields: readonly Element[]): Buffer | null {
  const holder = fields.find(({ tag }) => tag === TAG.context3)
  if (holder === undefined) return null
  const list = elements(only(holder.content, TAG.sequence).content, EXTENSIONS_MAX)
  for (const item of list) {
    const parts = elements(expect(item, TAG.sequence).content, 3)
    if (Buffer.from(parts[0]?.raw ?? []).toString('hex') !== SUBJECT_KEY_ID) continue
    const value = expect(parts.at(-1), TAG.octetString).content
    return Buffer.from(only(value, TAG.octetString).content)
  }
  return null
}

/** The certificates of a PEM bundle or chain, in order. */
export function readChain(pem: string, countMax: number = CHAIN_COUNT_MAX): Certificate[] {
  return readCertificates(pem, PEM_SIZE_MAX, countMax).map(readCertificate)
}

/** Node, role and cluster that a certificate names. Each part must be there exactly once, and the
 * unit must be a role. Throws CaError UNAUTHENTICATED. */
export function nodeSubject(certificate: Certificate): NodeSubject {
  const parts = new Map<string, string>()
  for (const relative of elements(only(certificate.subjectDer, TAG.sequence).content, 16)) {
    const pairs = elements(expect(relative, TAG.set).content, NAME_PARTS_MAX)
    for (const pair of pairs) {
      const [type, value] = elements(expect(pair, TAG.sequence).content, 2)
      const name = Buffer.from(expect(type, TAG.oid).raw).toString('hex')
      if (parts.has(name)) throw new CaError('UNAUTHENTICATED', 'a name has one part twice')
      if (value === undefined) throw new CaError('UNAUTHENTICATED', 'a part of a name is empty')
      parts.set(name, text(value))
    }
  }
  const nodeId = parts.get(COMMON_NAME) ?? ''
  const clusterId = parts.get(ORGANIZATION) ?? ''
  const role = roleOfUnit(parts.get(UNIT) ?? '')
  if (nodeId === '' || clusterId === '' || role === undefined) {
    throw new CaError('UNAUTHENTICATED', 'the certificate is not a node certificate of a swarm')
  }
  return { nodeId, role, clusterId }
}

function roleOfUnit(unit: string): Role | undefined {
  return (Object.keys(ROLE_UNITS) as Role[]).find((role) => ROLE_UNITS[role] === unit)
}

/** Throws CaError UNAUTHENTICATED unless `wallMs` lies within the certificate's life. */
export function checkLife(certificate: Certificate, wallMs: number, what: string): void {
  const { notBeforeMs, notAfterMs } = certificate
  const iso = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z')
  if (wallMs < notBeforeMs) {
    const message = `${what} is not valid before ${iso(notBeforeMs)}, and it is ${iso(wallMs)} here`
    throw new CaError('UNAUTHENTICATED', `${message}: check the clocks of both nodes`)
  }
  if (wallMs > notAfterMs) {
    const message = `${what} expired at ${iso(notAfterMs)}, and it is ${iso(wallMs)} here`
    throw new CaError('UNAUTHENTICATED', `${message}: check this node's clock`)
  }
}

function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  return (
    issuer.x509.ca &&
    certificate.issuerDer.equals(issuer.subjectDer) &&
    certificate.x509.checkIssued(issuer.x509) &&
    certificate.x509.verify(issuer.x509.publicKey)
  )
}

/** Verifies leaf and intermediates against trusted roots; every certificate on the way must be in
 * its life. Returns the path, leaf first, root last. Throws CaError UNAUTHENTICATED. */
export function verifyChain(
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  wallMs: number,
): Certificate[] {
  const [leaf, ...between] = chain
  if (leaf === undefined) throw new CaError('UNAUTHENTICATED', 'there is no certificate')
  checkLife(leaf, wallMs, 'the certificate')
  const path = [leaf]
  while (path.length <= CHAIN_COUNT_MAX) {
    const last = path.at(-1)!
    const root = roots.find((candidate) => isIssuedBy(last, candidate))
    if (root !== undefined) {
      checkLife(root, wallMs, 'the root certificate')
      return [...path, root]
    }
    const next = between.find(
      (candidate) => !path.includes(candidate) && isIssuedBy(last, candidate),
    )
    if (next === undefined) break
    checkLife(next, wallMs, 'an intermediate certificate')
    path.push(next)
  }
  throw new CaError('UNAUTHENTICATED', 'the certificate is not signed by the root of this swarm')
}
