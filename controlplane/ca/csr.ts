// Certificate requests (PKCS#10, RFC 2986). A joining node sends one; it proves that the sender
// holds the private key of the public key inside, and that is all it is used for. Name, requested
// extensions and attributes are not looked at: who the node is and what it may do is decided by the
// token it shows and by the store, never by what it asks for. So whoever wants a certificate for
// another's name or a role above its own finds nothing here to put that wish into.

import { type KeyObject, verify } from 'node:crypto'
import { checkWellFormed, elements, expect, only, TAG } from './der.ts'
import * as der from './encode.ts'
import { CaError } from './errors.ts'
import { p256PublicKeyOf, signatureAlgorithm, signDer, spkiOf } from './keys.ts'
import { CSR_SIZE_MAX } from './limits.ts'
import { OID } from './names.ts'
import { readPem, writePem } from './pem.ts'

const LABEL = 'CERTIFICATE REQUEST'

/** AlgorithmIdentifier { ecdsa-with-SHA256 }: the one way requests are signed. */
const ECDSA_SHA256: Buffer = Buffer.from('300a06082a8648ce3d040302', 'hex')

/** A request for the key `key`, as PEM. `subject` is a name as DER; without it the name is one for
 * people who read it. */
export function makeCsr(key: KeyObject, subject?: Uint8Array): string {
  const attribute = der.sequence(der.oid(OID.commonName), der.utf8('weft-node'))
  const name = subject === undefined ? der.sequence(der.set(attribute)) : der.raw(subject)
  const info = der.sequence(
    der.integer(Buffer.from([0])),
    name,
    der.raw(spkiOf(key)),
    der.tagged(0), // No attributes.
  )
  const signed = der.encode(info)
  return writePem(
    LABEL,
    der.encode(
      der.sequence(der.raw(signed), signatureAlgorithm(key), der.bits(signDer(key, signed))),
    ),
  )
}

/** What a request proved: its sender holds the private half of this key. */
export interface ProvenKey {
  readonly publicKey: KeyObject
  /** SubjectPublicKeyInfo, as it goes into the certificate. */
  readonly spki: Buffer
}

/** Reads the PEM of an unknown sender and checks its signature. Throws CaError INVALID_ARGUMENT. */
export function readCsr(pem: string): ProvenKey {
  const [block, ...others] = readPem(pem, CSR_SIZE_MAX, 1)
  if (block === undefined || others.length > 0 || block.label !== LABEL || block.headers.size > 0) {
    throw new CaError('INVALID_ARGUMENT', 'a certificate request must be one PEM block')
  }
  const { info, spki, signature } = takeApart(block.bytes)
  const publicKey = p256PublicKeyOf(spki)
  if (!verify('sha256', info, publicKey, signature)) {
    throw new CaError('INVALID_ARGUMENT', 'the certificate request is not signed by its own key')
  }
  return { publicKey, spki: spkiOf(publicKey) }
}

interface Parts {
  readonly info: Uint8Array
  readonly spki: Uint8Array
  readonly signature: Uint8Array
}

function takeApart(bytes: Uint8Array): Parts {
  checkWellFormed(bytes)
  const [info, algorithm, signature, ...rest] = elements(only(bytes, TAG.sequence).content, 3)
  if (rest.length > 0 || !ECDSA_SHA256.equals(expect(algorithm, TAG.sequence).raw)) {
    throw new CaError('INVALID_ARGUMENT', 'a certificate request must be signed by ECDSA, SHA-256')
  }
  const bits = expect(signature, TAG.bitString).content
  if (bits[0] !== 0) throw new CaError('INVALID_ARGUMENT', 'a signature has whole bytes')
  const fields = elements(expect(info, TAG.sequence).content, 4)
  expect(fields[0], TAG.integer)
  expect(fields[1], TAG.sequence)
  return {
    info: info!.raw,
    spki: expect(fields[2], TAG.sequence).raw,
    signature: bits.subarray(1),
  }
}
