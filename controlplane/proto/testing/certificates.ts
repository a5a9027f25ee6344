// Certificates for tests of connections: a root and nodes under it, written as DER by hand and
// signed by node:crypto. Nothing here is the product's CA; that is what makes it a judge of the
// product's.

import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import type { TlsIdentity } from '../identity.ts'

const OID_COMMON_NAME = [0x55, 4, 3]
const OID_ORGANIZATION = [0x55, 4, 10]
const OID_UNIT = [0x55, 4, 11]
const OID_ECDSA_SHA256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]
const OID_BASIC_CONSTRAINTS = [0x55, 0x1d, 19]
const OID_ALTERNATIVE_NAMES = [0x55, 0x1d, 17]
const OID_SUBJECT_KEY = [0x55, 0x1d, 14]
const OID_AUTHORITY_KEY = [0x55, 0x1d, 35]
const DAY_MS = 86_400_000

const SEQUENCE = 0x30
const SET = 0x31
const INTEGER = 2
const BIT_STRING = 3
const OCTET_STRING = 4
const OID = 6
const UTF8 = 12
const GENERALIZED_TIME = 24
const BOOLEAN = 1
const explicit = (tag: number): number => 0xa0 | tag
const implicit = (tag: number): number => 0x80 | tag

function der(tag: number, ...parts: readonly (Uint8Array | readonly number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  if (body.length < 128) return Buffer.concat([Buffer.from([tag, body.length]), body])
  const length = Buffer.from([0x82, body.length >> 8, body.length & 0xff])
  return Buffer.concat([Buffer.from([tag]), length, body])
}

export interface Names {
  readonly nodeId: string
  readonly role: string
  readonly clusterId: string
}

export interface Validity {
  readonly fromMs: number
  readonly toMs: number
}

function name({ nodeId, role, clusterId }: Names): Buffer {
  const part = (oid: number[], text: string): Buffer =>
    der(SET, der(SEQUENCE, der(OID, oid), der(UTF8, Buffer.from(text))))
  return der(
    SEQUENCE,
    ...(clusterId === '' ? [] : [part(OID_ORGANIZATION, clusterId)]),
    ...(role === '' ? [] : [part(OID_UNIT, role)]),
    ...(nodeId === '' ? [] : [part(OID_COMMON_NAME, nodeId)]),
  )
}

function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\.\d+|[-:T]/g, '')
  return der(GENERALIZED_TIME, Buffer.from(digits))
}

function extension(oid: number[], value: Buffer, critical = false): Buffer {
  const flag = critical ? [der(BOOLEAN, [0xff])] : []
  return der(SEQUENCE, der(OID, oid), ...flag, der(OCTET_STRING, value))
}

const keyId = (key: KeyObject): Buffer =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()

function pem(label: string, body: Buffer): Buffer {
  const lines = body.toString('base64').replace(/.{1,64}/g, '$&\n')
  return Buffer.from(`-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`)
}

/** A root that issues. */
export class TestAuthority {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #names: Names
  readonly root: Buffer

  constructor(clusterId = 'test-cluster') {
    this.#names = { nodeId: 'swarm-ca', role: '', clusterId }
    const now = Date.now()
    const validity = { fromMs: now - DAY_MS, toMs: now + 365 * DAY_MS }
    this.root = this.#certificate(this.#names, this.#keys.publicKey, validity, true)
  }

  /** The identity of a node under this root. `roots` are those that it believes itself. */
  issue(names: Partial<Names> = {}, validity: Partial<Validity> = {}): TlsIdentity {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const subject = {
      nodeId: names.nodeId ?? 'node-1',
      role: names.role ?? 'swarm-manager',
      clusterId: names.clusterId ?? this.#names.clusterId,
    }
    const now = Date.now()
    const from = { fromMs: now - 3_600_000, toMs: now + DAY_MS, ...validity }
    return {
      certificate: this.#certificate(subject, publicKey, from, false),
      privateKey: Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' })),
      roots: this.root,
    }
  }

  #certificate(subject: Names, key: KeyObject, { fromMs, toMs }: Validity, ca: boolean): Buffer {
    const algorithm = der(SEQUENCE, der(OID, OID_ECDSA_SHA256))
    const authority = der(SEQUENCE, der(implicit(0), keyId(this.#keys.publicKey)))
    const extensions = der(
      SEQUENCE,
      extension(OID_BASIC_CONSTRAINTS, der(SEQUENCE, ...(ca ? [der(BOOLEAN, [0xff])] : [])), true),
      extension(OID_SUBJECT_KEY, der(OCTET_STRING, keyId(key))),
      extension(OID_AUTHORITY_KEY, authority),
      extension(
        OID_ALTERNATIVE_NAMES,
        der(SEQUENCE, der(implicit(2), Buffer.from(subject.role || subject.nodeId))),
      ),
    )
    const body = der(
      SEQUENCE,
      der(explicit(0), der(INTEGER, [2])),
      der(INTEGER, [0x01, ...randomBytes(8)]),
      algorithm,
      name(this.#names),
      der(SEQUENCE, time(fromMs), time(toMs)),
      name(subject),
      key.export({ type: 'spki', format: 'der' }),
      der(explicit(3), extensions),
    )
    const signature = sign('sha256', body, this.#keys.privateKey)
    return pem('CERTIFICATE', der(SEQUENCE, body, algorithm, der(BIT_STRING, [0], signature)))
  }
}
