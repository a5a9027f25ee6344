// Founding a swarm: root, tokens and the first manager's certificate; and what follows for a
// manager from the cluster object later. Pure: whoever calls writes the results into store and
// files.

import type { KeyObject } from 'node:crypto'
import type { ClusterObject, NodeCertificate, RootCaState } from '../store/objects.ts'
import { makeCsr, readCsr } from './csr.ts'
import { CaError } from './errors.ts'
import type { KeyFile } from './key-file.ts'
import { generateKey } from './keys.ts'
import { NODE_LIFE_MS, NODE_LIFE_MS_MIN } from './limits.ts'
import {
  createRoot,
  digestText,
  issue,
  normalizePem,
  readRoot,
  readSigner,
  type TrustRoot,
} from './root.ts'
import { type CaConfig, checkExternalCas } from './rotation.ts'
import { nodeIdOf } from './service.ts'
import { generateToken } from './token.ts'

/** What a founder needs for its first certificate and for the cluster object. */
export interface Foundation {
  readonly rootCa: RootCaState
  readonly joinTokens: ClusterObject['joinTokens']
  readonly root: TrustRoot
  readonly nodeId: string
  readonly privateKey: KeyObject
  /** For NodeObject.certificate; its chain is the founder's. */
  readonly certificate: NodeCertificate
}

/** A new root (or the one that the CAConfig brings, with its key), tokens, and the certificate of
 * the first manager. External CAs are remembered and not asked: the root that is founded has its
 * key here, and goes over to them by a rotation. Throws CaError INVALID_ARGUMENT. */
export function foundCluster(clusterId: string, config: CaConfig, wallMs: number): Foundation {
  checkExternalCas(config.ExternalCAs ?? [])
  const given = config.SigningCACert?.trim() ? normalizePem(config.SigningCACert) : null
  const givenKey = config.SigningCAKey?.trim() ? config.SigningCAKey : null
  if ((given === null) !== (givenKey === null)) {
    throw new CaError('INVALID_ARGUMENT', 'a signing CA cert and its key must be given together')
  }
  const own = given === null ? createRoot(wallMs) : { certificate: given, key: givenKey! }
  const root = readRoot(own.certificate)
  const signer = readSigner(own.certificate, own.key)
  const privateKey = generateKey()
  const csr = makeCsr(privateKey)
  const proven = readCsr(csr)
  const nodeId = nodeIdOf(proven)
  const askedMs = config.NodeCertExpiry / 1e6
  const lifeMs = askedMs >= NODE_LIFE_MS_MIN ? askedMs : NODE_LIFE_MS
  const subject = { nodeId, role: 'manager' as const, clusterId }
  const chain = issue({ signer, intermediate: '' }, proven.spki, subject, wallMs, lifeMs)
  return {
    rootCa: {
      certificate: root.pem,
      key: own.key,
      digest: digestText(root),
      lastForcedRotation: config.ForceRotate ?? 0,
      rotation: null,
    },
    joinTokens: { worker: newToken(root.pem), manager: newToken(root.pem) },
    root,
    nodeId,
    privateKey,
    certificate: { state: 'issued', role: 'manager', error: '', csr, certificate: chain },
  }
}

/** A token for this root with a new secret: `docker swarm join-token --rotate`. */
export function newToken(rootPem: string): string {
  return generateToken(readRoot(rootPem).digest)
}

/** Seals a manager's key file as the cluster says; to be called whenever the cluster changed. */
export function followUnlockKey(
  keyFile: Pick<KeyFile, 'rotateKek'>,
  { key, version }: ClusterObject['unlockKey'],
): void {
  keyFile.rotateKek(key === null ? null : Buffer.from(key, 'base64'), version)
}
