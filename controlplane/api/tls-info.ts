// Who signs the cluster's certificates, as `docker swarm ca --rotate` compares it: the issuer's
// name and public key, DER in base64. The certificates are the cluster's own, from the store; still
// nothing is read beyond its end.

import { X509Certificate } from 'node:crypto'

export interface TlsInfo {
  readonly TrustRoot: string
  readonly CertIssuerSubject: string
  readonly CertIssuerPublicKey: string
}

/** `issuer`: PEM; of several certificates the first. Empty text where it cannot be read. */
export function tlsInfo(trustRoot: string, issuer: string): TlsInfo {
  try {
    const certificate = new X509Certificate(issuer)
    return {
      TrustRoot: trustRoot,
      CertIssuerSubject: subjectOf(certificate.raw).toString('base64'),
      CertIssuerPublicKey: certificate.publicKey
        .export({ type: 'spki', format: 'der' })
        .toString('base64'),
    }
  } catch {
    return { TrustRoot: trustRoot, CertIssuerSubject: '', CertIssuerPublicKey: '' }
  }
}

const SEQUENCE = 0x30
const VERSION = 0xa0

interface Element {
  readonly tag: number
  /** Of the content. */
  readonly from: number
  readonly end: number
}

/** RFC 5280 section 4.1: version?, serial, signature, issuer, validity, subject. */
function subjectOf(der: Buffer): Buffer {
  const certificate = element(der, 0, SEQUENCE)
  const body = element(der, certificate.from, SEQUENCE)
  let at = body.from
  if (der[at] === VERSION) at = element(der, at).end
  for (const _ of ['serial', 'signature', 'issuer', 'validity']) at = element(der, at).end
  return der.subarray(at, element(der, at, SEQUENCE).end)
}

/** The element at `at`. Throws for what is no DER, or not of the tag that is asked for. */
function element(der: Buffer, at: number, wanted?: number): Element {
  const tag = der.readUInt8(at)
  const short = der.readUInt8(at + 1)
  const lengthBytes = short < 0x80 ? 0 : short & 0x7f
  if (lengthBytes > 3) throw new RangeError('a length of more than 3 bytes')
  const length = lengthBytes === 0 ? short : der.readUIntBE(at + 2, lengthBytes)
  const from = at + 2 + lengthBytes
  if (from + length > der.length) throw new RangeError('an element ends behind the certificate')
  if (wanted !== undefined && tag !== wanted) throw new RangeError(`tag ${tag}, not ${wanted}`)
  return { tag, from, end: from + length }
}
