// A node's identity on disk, in the layout that Swarm has:
//
//   certificates/swarm-root-ca.crt   whom the node trusts
//   certificates/swarm-node.key      0600: key, chain, data keys (key-file.ts); what counts
//   certificates/swarm-node.crt      the chain again, for people and tools
//
// The order of writing is root, then key file, then the copy: a node that was killed in between
// finds a root without a key (it never joined: join again) or a complete identity.

import type { KeyObject } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { CaError } from './errors.ts'
import { readFile, removeFile, replaceFile } from './files.ts'
import { KeyFile } from './key-file.ts'
import { PEM_SIZE_MAX } from './limits.ts'
import type { NodeSubject } from './names.ts'
import { readRoot, type TrustRoot } from './root.ts'
import { type Certificate, nodeSubject, readChain, verifyChain } from './x509.ts'

export const EXPIRED =
  'Swarm certificates have expired. To replace them, leave the swarm and join again.'

/** Paths below the data folder. */
export interface IdentityPaths {
  readonly folder: string
  readonly root: string
  readonly key: string
  readonly certificate: string
}

export interface NodeIdentity {
  readonly subject: NodeSubject
  readonly root: TrustRoot
  readonly keyFile: KeyFile
}

export function identityPaths(dataDir: string): IdentityPaths {
  const folder = join(dataDir, 'certificates')
  return {
    folder,
    root: join(folder, 'swarm-root-ca.crt'),
    key: join(folder, 'swarm-node.key'),
    certificate: join(folder, 'swarm-node.crt'),
  }
}

/** Reads what is on disk, or returns null when this node is not in a swarm. The key may be locked:
 * `keyFile.unlock()`. Throws CaError FAILED_PRECONDITION when the files cannot be used together,
 * and UNAUTHENTICATED when the certificate is not (or not any more) one of this root at `wallMs`.
 * */
export function readIdentity(paths: IdentityPaths, wallMs: number): NodeIdentity | null {
  const keyFile = KeyFile.read(paths.key)
  if (keyFile === null) return null
  const bundle = readFile(paths.root, PEM_SIZE_MAX)
  if (bundle === null) throw new CaError('FAILED_PRECONDITION', `${paths.root} is missing`)
  const root = readRoot(bundle)
  const chain = readChain(keyFile.chain)
  verifyOwn(chain, root, wallMs)
  if (readFile(paths.certificate, PEM_SIZE_MAX) !== keyFile.chain) {
    replaceFile(paths.certificate, keyFile.chain, 0o644)
  }
  return { subject: nodeSubject(chain[0]!), root, keyFile }
}

function verifyOwn(chain: readonly Certificate[], root: TrustRoot, wallMs: number): void {
  try {
    verifyChain(chain, root.certificates, wallMs)
  } catch (error) {
    if (wallMs <= chain[0]!.notAfterMs) throw error
    throw new CaError('UNAUTHENTICATED', EXPIRED, error)
  }
}

/** Writes the first identity of a node: the root it verified and the pair it was given. */
export function createIdentity(
  paths: IdentityPaths,
  root: TrustRoot,
  pair: { readonly privateKey: KeyObject; readonly chain: string },
): NodeIdentity {
  mkdirSync(paths.folder, { recursive: true, mode: 0o700 })
  replaceFile(paths.root, root.pem, 0o644)
  const keyFile = KeyFile.create(paths.key, pair.privateKey, pair.chain)
  replaceFile(paths.certificate, pair.chain, 0o644)
  return { subject: nodeSubject(readChain(pair.chain)[0]!), root, keyFile }
}

/** Puts a renewed pair in the place of the old one. */
export function replacePair(
  paths: IdentityPaths,
  identity: NodeIdentity,
  pair: { readonly privateKey: KeyObject; readonly chain: string },
): NodeIdentity {
  identity.keyFile.replaceIdentity(pair.privateKey, pair.chain)
  replaceFile(paths.certificate, pair.chain, 0o644)
  return { ...identity, subject: nodeSubject(readChain(pair.chain)[0]!) }
}

/** Puts a new root in the place of the old one; the pair is renewed separately. */
export function replaceRoot(
  paths: IdentityPaths,
  identity: NodeIdentity,
  root: TrustRoot,
): NodeIdentity {
  replaceFile(paths.root, root.pem, 0o644)
  return { ...identity, root }
}

/** What leaving a swarm does: the key first, as without it the rest is nobody's. */
export function removeIdentity(paths: IdentityPaths): void {
  removeFile(paths.key)
  removeFile(paths.certificate)
  removeFile(paths.root)
}
