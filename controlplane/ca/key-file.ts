// The one file that makes a node who it is: its TLS key, its certificate chain and, on managers,
// the keys that seal the Raft log. They are in one file because they must change together: a new
// certificate belongs to a new key, and a manager that is being locked must not have its TLS key
// sealed and its data key in the clear. The file is replaced in one step (files.ts).
//
//   -----BEGIN PRIVATE KEY-----          or WEFT SEALED PRIVATE KEY
//   kek-version: 3                       which key encryption key; 0 = never locked
//   raft-dek: BASE64                     the data key; sealed like the private key
//   raft-dek-pending: BASE64             while the data key changes: it seals what is new
//
//   BASE64                               PKCS#8
//   -----END PRIVATE KEY-----
//   -----BEGIN CERTIFICATE-----          the chain, leaf first
//
// With a key encryption key (autolock) the three secrets are sealed (seal.ts), each under its name
// and the version. Without one they are in the clear, and only the file's mode, 0600, protects
// them.
//
// An open KeyFile holds its secrets in memory; `locked` ones can be asked for their certificate and
// nothing else until unlock().

import { type KeyObject, randomBytes } from 'node:crypto'
import { CaError } from './errors.ts'
import { readFile, replaceFile } from './files.ts'
import { pkcs8Of, privateKeyOf, spkiOf } from './keys.ts'
import { CHAIN_COUNT_MAX, KEK_SIZE, KEY_FILE_SIZE_MAX } from './limits.ts'
import { type PemBlock, readPem, writePem } from './pem.ts'
import { open, seal } from './seal.ts'
import { readCertificate } from './x509.ts'

const PLAIN = 'PRIVATE KEY'
const SEALED = 'WEFT SEALED PRIVATE KEY'
const KEK_VERSION = 'kek-version'
const DEK = 'raft-dek'
const DEK_PENDING = 'raft-dek-pending'

const DEK_SIZE = 32

export const LOCKED: string =
  'Swarm is encrypted and needs to be unlocked before it can be used. ' +
  'Please use "docker swarm unlock" to unlock it.'
export const WRONG_KEY = 'swarm could not be unlocked: invalid key provided'

/** The keys that seal a manager's Raft log, as its storage asks for them. */
export interface DataKeys {
  readonly current: Uint8Array
  readonly pending: Uint8Array | null
}

interface Secrets {
  readonly privateKey: KeyObject
  readonly dek: Buffer | null
  readonly dekPending: Buffer | null
  /** Null = not locked. */
  readonly kek: Buffer | null
}

export class KeyFile {
  readonly #path: string
  /** The key's block while locked. */
  #block: PemBlock | null
  #secrets: Secrets | null
  #kekVersion: number
  #chain: string

  private constructor(
    path: string,
    block: PemBlock | null,
    secrets: Secrets | null,
    kekVersion: number,
    chain: string,
  ) {
    this.#path = path
    this.#block = block
    this.#secrets = secrets
    this.#kekVersion = kekVersion
    this.#chain = chain
  }

  /** Makes or replaces the file of a node that got its first certificate. */
  static create(path: string, privateKey: KeyObject, chain: string): KeyFile {
    const secrets = { privateKey, dek: null, dekPending: null, kek: null }
    checkPair(privateKey, chain)
    const file = new KeyFile(path, null, secrets, 0, chain)
    file.#write(secrets, 0, chain)
    return file
  }

  /** Reads the file, or returns null when there is none. It is locked afterwards if it is sealed.
   * Throws CaError FAILED_PRECONDITION when the file is damaged or others can read it. */
  static read(path: string): KeyFile | null {
    const text = readFile(path, KEY_FILE_SIZE_MAX, true)
    if (text === null) return null
    try {
      return parse(path, text, (...parts) => new KeyFile(...parts))
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new CaError('FAILED_PRECONDITION', `${path} cannot be used: ${reason}`)
    }
  }

  get isLocked(): boolean {
    return this.#secrets === null
  }

  /** True when the file is sealed, whether or not it was unlocked. */
  get isSealed(): boolean {
    return this.#secrets === null || this.#secrets.kek !== null
  }

  /** Which key encryption key of the cluster it is sealed under, or was told last that there is
   * none. */
  get kekVersion(): number {
    return this.#kekVersion
  }

  /** PEM, leaf first. Also while locked. */
  get chain(): string {
    return this.#chain
  }

  /** Throws CaError FAILED_PRECONDITION while locked. */
  get privateKey(): KeyObject {
    return this.#open().privateKey
  }

  /** Opens a sealed file. Throws CaError UNAUTHENTICATED for a wrong key, in Swarm's words. */
  unlock(kek: Uint8Array): void {
    if (this.#block === null) throw new CaError('FAILED_PRECONDITION', 'swarm is not locked')
    const { bytes, headers } = this.#block
    const take = (name: string, sealed: Buffer): Buffer => {
      const secret = open(kek, label(name, this.#kekVersion), sealed)
      if (secret === null) throw new CaError('UNAUTHENTICATED', WRONG_KEY)
      return secret
    }
    const privateKey = privateKeyOf(take(PLAIN, bytes))
    checkPair(privateKey, this.#chain)
    const dek = (name: string): Buffer | null => {
      const text = headers.get(name)
      return text === undefined ? null : checkDek(take(name, Buffer.from(text, 'base64')))
    }
    this.#secrets = {
      privateKey,
      dek: dek(DEK),
      dekPending: dek(DEK_PENDING),
      kek: Buffer.from(kek),
    }
    this.#block = null
  }

  /** Puts a renewed key and its chain in the place of the old ones; all else stays. */
  replaceIdentity(privateKey: KeyObject, chain: string): void {
    checkPair(privateKey, chain)
    this.#write({ ...this.#open(), privateKey }, this.#kekVersion, chain)
  }

  /** Seals everything under another key encryption key, or under none. `version` is the cluster's
   * and rises. Does nothing when it is not newer. */
  rotateKek(kek: Uint8Array | null, version: number): void {
    const secrets = this.#open()
    if (version <= this.#kekVersion) return
    if (kek !== null && kek.length !== KEK_SIZE) {
      throw new CaError('INVALID_ARGUMENT', `a key encryption key has ${KEK_SIZE} bytes`)
    }
    this.#write({ ...secrets, kek: kek === null ? null : Buffer.from(kek) }, version, this.#chain)
  }

  /** The keys of the Raft log; made at the first call. Rejects while locked. */
  async unwrap(): Promise<DataKeys> {
    const secrets = this.#open()
    if (secrets.dek === null) {
      this.#write({ ...secrets, dek: randomBytes(DEK_SIZE) }, this.#kekVersion, this.#chain)
    }
    const { dek, dekPending } = this.#open()
    return { current: dek!, pending: dekPending }
  }

  /** Replaces the keys of the Raft log. */
  async replace(keys: DataKeys): Promise<void> {
    const dek = checkDek(Buffer.from(keys.current))
    const dekPending = keys.pending === null ? null : checkDek(Buffer.from(keys.pending))
    this.#write({ ...this.#open(), dek, dekPending }, this.#kekVersion, this.#chain)
  }

  /** What a manager does that became a worker: it has no log, and nothing to be locked for. */
  forgetDataKeys(): void {
    const { dek, dekPending, kek } = this.#open()
    if (dek === null && dekPending === null && kek === null) return
    const secrets = { ...this.#open(), dek: null, dekPending: null, kek: null }
    this.#write(secrets, 0, this.#chain)
  }

  #open(): Secrets {
    if (this.#secrets === null) throw new CaError('FAILED_PRECONDITION', LOCKED)
    return this.#secrets
  }

  /** Disk first: what is in memory is what is on disk, also after a failure. */
  #write(secrets: Secrets, kekVersion: number, chain: string): void {
    const { kek } = secrets
    const keep = (name: string, secret: Buffer): Buffer =>
      kek === null ? secret : seal(kek, label(name, kekVersion), secret)
    const headers: [string, string][] = [[KEK_VERSION, String(kekVersion)]]
    const { dek, dekPending } = secrets
    if (dek !== null) headers.push([DEK, keep(DEK, dek).toString('base64')])
    if (dekPending !== null) {
      headers.push([DEK_PENDING, keep(DEK_PENDING, dekPending).toString('base64')])
    }
    const body = keep(PLAIN, pkcs8Of(secrets.privateKey))
    const text = writePem(kek === null ? PLAIN : SEALED, body, headers) + chain
    replaceFile(this.#path, text, 0o600)
    this.#secrets = secrets
    this.#kekVersion = kekVersion
    this.#chain = chain
  }
}

type Parts = [string, PemBlock | null, Secrets | null, number, string]

function parse(path: string, text: string, make: (...parts: Parts) => KeyFile): KeyFile {
  const [block, ...certificates] = readPem(text, KEY_FILE_SIZE_MAX, 1 + CHAIN_COUNT_MAX)
  if (block === undefined || (block.label !== PLAIN && block.label !== SEALED)) {
    throw new CaError('INVALID_ARGUMENT', 'it does not begin with a private key')
  }
  const version = block.headers.get(KEK_VERSION) ?? '0'
  if (!/^\d{1,15}$/.test(version)) throw new CaError('INVALID_ARGUMENT', 'a header is damaged')
  if (certificates.length === 0 || certificates.some(({ label }) => label !== 'CERTIFICATE')) {
    throw new CaError('INVALID_ARGUMENT', 'the certificate of the key is missing')
  }
  const chain = certificates.map(({ bytes }) => writePem('CERTIFICATE', bytes)).join('')
  if (block.label === SEALED) return make(path, block, null, Number(version), chain)
  const privateKey = privateKeyOf(block.bytes)
  checkPair(privateKey, chain)
  const dek = (name: string): Buffer | null => {
    const value = block.headers.get(name)
    return value === undefined ? null : checkDek(Buffer.from(value, 'base64'))
  }
  const secrets = { privateKey, dek: dek(DEK), dekPending: dek(DEK_PENDING), kek: null }
  return make(path, null, secrets, Number(version), chain)
}

function label(name: string, kekVersion: number): string {
  return `weft key file ${name} ${kekVersion}`
}

function checkDek(dek: Buffer): Buffer {
  if (dek.length !== DEK_SIZE) {
    throw new CaError('INVALID_ARGUMENT', `a data key has ${DEK_SIZE} bytes`)
  }
  return dek
}

function checkPair(privateKey: KeyObject, chain: string): void {
  const [leaf] = readPem(chain, KEY_FILE_SIZE_MAX, CHAIN_COUNT_MAX)
  if (leaf === undefined || !readCertificate(leaf.bytes).spki.equals(spkiOf(privateKey))) {
    throw new CaError('INVALID_ARGUMENT', 'the private key does not belong to the certificate')
  }
}
