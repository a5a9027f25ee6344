// Keys and signatures, all by node:crypto (OpenSSL). Our own keys are ECDSA P-256; a root that an
// administrator brings may also be P-384, P-521 or RSA, so a signing key knows how its signatures
// are named in a certificate.

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto'
import { elements, expect, only, TAG } from './der.ts'
import * as der from './encode.ts'
import { CaError } from './errors.ts'

/** SubjectPublicKeyInfo of a P-256 key up to the point's 65 bytes: id-ecPublicKey, prime256v1, a
 * bit string that begins with an uncompressed point (RFC 5480). Constant for every key. */
const P256_SPKI_HEAD: Buffer = Buffer.from(
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004',
  'hex',
)
const P256_SPKI_SIZE = 91

const RSA_BITS_MIN = 2048

/** AlgorithmIdentifier for ECDSA with SHA-256 (RFC 5758 section 3.2): no parameters. */
const ECDSA_SHA256 = '1.2.840.10045.4.3.2'

/** How a kind of key signs: hash, and the name of that in a certificate. */
interface Scheme {
  readonly hash: string
  readonly oid: string
  /** RSA's identifiers carry a NULL (RFC 4055 section 5), ECDSA's carry nothing. */
  readonly nullParameters: boolean
}

const SCHEMES: Readonly<Record<string, Scheme>> = {
  prime256v1: { hash: 'sha256', oid: ECDSA_SHA256, nullParameters: false },
  secp384r1: { hash: 'sha384', oid: '1.2.840.10045.4.3.3', nullParameters: false },
  secp521r1: { hash: 'sha512', oid: '1.2.840.10045.4.3.4', nullParameters: false },
  rsa: { hash: 'sha256', oid: '1.2.840.113549.1.1.11', nullParameters: true },
}

function schemeOf(key: KeyObject): Scheme {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  const scheme = SCHEMES[type === 'ec' ? (details?.namedCurve ?? '') : (type ?? '')]
  if (scheme === undefined) {
    throw new CaError('INVALID_ARGUMENT', 'a CA key must be ECDSA P-256, P-384, P-521 or RSA')
  }
  if (type === 'rsa' && (details?.modulusLength ?? 0) < RSA_BITS_MIN) {
    throw new CaError('INVALID_ARGUMENT', `an RSA key of a CA needs ${RSA_BITS_MIN} bits or more`)
  }
  return scheme
}

/** A new P-256 key. */
export function generateKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
}

/** The public half, as SubjectPublicKeyInfo. */
export function spkiOf(key: KeyObject): Buffer {
  const half = key.type === 'private' ? createPublicKey(key) : key
  return half.export({ format: 'der', type: 'spki' })
}

export function pkcs8Of(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'pkcs8' })
}

export function pemOfKey(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString()
}

/** A private key from PEM or DER of ours or of an administrator. The error quotes nothing. */
export function privateKeyOf(material: string | Buffer): KeyObject {
  try {
    return typeof material === 'string'
      ? createPrivateKey(material)
      : createPrivateKey({ key: material, format: 'der', type: 'pkcs8' })
  } catch {
    throw new CaError('INVALID_ARGUMENT', 'could not read the private key')
  }
}

/** A P-256 public key from a SubjectPublicKeyInfo of somebody else. Anything but the one encoding
 * of P-256 is refused before OpenSSL sees it; OpenSSL then checks that the point is on the curve.
 * */
export function p256PublicKeyOf(spki: Uint8Array): KeyObject {
  const bytes = Buffer.from(spki)
  const headFits = bytes.subarray(0, P256_SPKI_HEAD.length).equals(P256_SPKI_HEAD)
  if (bytes.length !== P256_SPKI_SIZE || !headFits) {
    throw new CaError('INVALID_ARGUMENT', 'the key of a certificate request must be ECDSA P-256')
  }
  try {
    return createPublicKey({ key: bytes, format: 'der', type: 'spki' })
  } catch {
    throw new CaError('INVALID_ARGUMENT', 'the public key is not a point of the curve')
  }
}

/** Key identifier of a SubjectPublicKeyInfo: the leftmost 160 bits of SHA-256 of its key bits
 * (RFC 7093 section 2). */
export function keyIdOfSpki(spki: Uint8Array): Buffer {
  const [, bits] = elements(only(spki, TAG.sequence).content, 2)
  const keyBits = expect(bits, TAG.bitString).content.subarray(1)
  return createHash('sha256').update(keyBits).digest().subarray(0, 20)
}

/** AlgorithmIdentifier of the signatures that `key` makes. */
export function signatureAlgorithm(key: KeyObject): der.Node {
  const scheme = schemeOf(key)
  const name = der.oid(scheme.oid)
  return scheme.nullParameters ? der.sequence(name, der.nothing()) : der.sequence(name)
}

/** Signature over `bytes`, as it stands in a certificate. */
export function signDer(key: KeyObject, bytes: Uint8Array): Buffer {
  return sign(schemeOf(key).hash, bytes, { key, dsaEncoding: 'der' })
}

/** Throws CaError INVALID_ARGUMENT when certificates cannot be signed with this key. */
export function checkSigningKey(key: KeyObject): void {
  schemeOf(key)
}
