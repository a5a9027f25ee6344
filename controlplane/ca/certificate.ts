// Making certificates (X.509 version 3, RFC 5280). Three kinds, Swarm's:
//
//   root    CN swarm-ca, self-signed, 20 years
//   node    CN node id, OU swarm-manager | swarm-worker, O cluster id; what a node shows to others
//   cross   the new root's name and key, signed by the old root: while the root changes, a node
//           shows leaf and cross certificate, and both who trusts the old root and who trusts the
//           new one can verify it
//
// The signer's subject goes into the issuer field byte for byte, and authority key identifiers are
// always there: old and new root have the same name, and only the identifier tells a verifier which
// of them signed.

import { type KeyObject, randomBytes } from 'node:crypto'
import * as der from './encode.ts'
import { keyIdOfSpki, signatureAlgorithm, signDer, spkiOf } from './keys.ts'
import { CA_UNIT, type NodeSubject, OID, ROLE_UNITS, ROOT_NAME } from './names.ts'
import { writePem } from './pem.ts'
import type { Certificate } from './x509.ts'

const KEY_USAGE_DIGITAL_SIGNATURE = 0x80
/** keyCertSign and cRLSign: bits 5 and 6. */
const KEY_USAGE_SIGN = 0x06

const SERIAL_SIZE = 16

/** Who signs: a certificate and the private key that belongs to it. */
export interface Signer {
  readonly certificate: Certificate
  readonly key: KeyObject
}

export interface Validity {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** A self-signed root, as PEM. */
export function makeRoot(key: KeyObject, validity: Validity, name: string = ROOT_NAME): string {
  const subject = der.sequence(attribute(OID.commonName, name))
  const spki = spkiOf(key)
  const keyId = keyIdOfSpki(spki)
  const extensions = caExtensions(keyId, keyId)
  return certificate({ issuer: subject, subject, spki, validity, extensions, key })
}

/** A node's certificate for a key whose possession was proven, as PEM. */
export function makeNodeCertificate(
  signer: Signer,
  spki: Buffer,
  subject: NodeSubject,
  validity: Validity,
): string {
  const unit = ROLE_UNITS[subject.role]
  const names = [unit, subject.nodeId, ...(subject.role === 'manager' ? [CA_UNIT] : [])]
  const extensions = [
    extension(OID.keyUsage, true, der.bits(Buffer.from([KEY_USAGE_DIGITAL_SIGNATURE]), 7)),
    extension(
      OID.extendedKeyUsage,
      false,
      der.sequence(der.oid(OID.serverAuth), der.oid(OID.clientAuth)),
    ),
    extension(OID.basicConstraints, true, der.sequence()),
    ...keyIdentifiers(keyIdOfSpki(spki), signer.certificate.subjectKeyId),
    extension(
      OID.subjectAltName,
      false,
      der.sequence(...names.map((name) => der.taggedBytes(2, Buffer.from(name, 'ascii')))),
    ),
  ]
  return certificate({
    issuer: der.raw(signer.certificate.subjectDer),
    subject: der.sequence(
      attribute(OID.organization, subject.clusterId),
      attribute(OID.organizationalUnit, unit),
      attribute(OID.commonName, subject.nodeId),
    ),
    spki,
    // A verifier that walks the chain refuses the leaf once its issuer is out of date anyway.
    validity: {
      notBeforeMs: validity.notBeforeMs,
      notAfterMs: Math.min(validity.notAfterMs, signer.certificate.notAfterMs),
    },
    extensions,
    key: signer.key,
  })
}

/** `target`'s name, key, key identifier and life, signed by `signer`, as PEM. */
export function crossSign(signer: Signer, target: Certificate): string {
  const keyId = target.subjectKeyId ?? keyIdOfSpki(target.spki)
  return certificate({
    issuer: der.raw(signer.certificate.subjectDer),
    subject: der.raw(target.subjectDer),
    spki: target.spki,
    validity: target,
    extensions: caExtensions(keyId, signer.certificate.subjectKeyId),
    key: signer.key,
  })
}

interface Contents {
  readonly issuer: der.Node
  readonly subject: der.Node
  readonly spki: Uint8Array
  readonly validity: Validity
  readonly extensions: readonly der.Node[]
  readonly key: KeyObject
}

function certificate(contents: Contents): string {
  const algorithm = signatureAlgorithm(contents.key)
  const tbs = der.encode(
    der.sequence(
      der.tagged(0, der.integer(Buffer.from([2]))), // Version 3.
      der.integer(serial()),
      algorithm,
      contents.issuer,
      der.sequence(der.time(contents.validity.notBeforeMs), der.time(contents.validity.notAfterMs)),
      contents.subject,
      der.raw(contents.spki),
      der.tagged(3, der.sequence(...contents.extensions)),
    ),
  )
  const signature = der.bits(signDer(contents.key, tbs))
  return writePem('CERTIFICATE', der.encode(der.sequence(der.raw(tbs), algorithm, signature)))
}

/** A positive random number of 127 bits or less (RFC 5280 section 4.1.2.2). */
function serial(): Buffer {
  const bytes = randomBytes(SERIAL_SIZE)
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return bytes
}

function attribute(type: string, value: string): der.Node {
  return der.set(der.sequence(der.oid(type), der.utf8(value)))
}

function extension(type: string, critical: boolean, value: der.Node): der.Node {
  const content = der.octets(der.encode(value))
  return critical
    ? der.sequence(der.oid(type), der.boolean(true), content)
    : der.sequence(der.oid(type), content)
}

function keyIdentifiers(own: Uint8Array, authority: Uint8Array | null): der.Node[] {
  const list = [extension(OID.subjectKeyIdentifier, false, der.octets(own))]
  if (authority !== null) {
    const value = der.sequence(der.taggedBytes(0, authority))
    list.push(extension(OID.authorityKeyIdentifier, false, value))
  }
  return list
}

function caExtensions(own: Uint8Array, authority: Uint8Array | null): der.Node[] {
  return [
    extension(OID.keyUsage, true, der.bits(Buffer.from([KEY_USAGE_SIGN]), 1)),
    extension(OID.basicConstraints, true, der.sequence(der.boolean(true))),
    ...keyIdentifiers(own, authority),
  ]
}
