// Certificates for tests: a swarm's root and nodes of it, with every part open to choice.

import type { KeyObject } from 'node:crypto'
import { generateKey, pemOfKey, spkiOf } from '../keys.ts'
import { NODE_LIFE_MS } from '../limits.ts'
import type { NodeSubject } from '../names.ts'
import {
  createRoot,
  issue,
  readRoot,
  readSigner,
  type SigningRoot,
  type TrustRoot,
} from '../root.ts'

/** 2026-03-01T12:00:00Z. */
export const NOW_MS = 1_772_366_400_000

export interface TestSwarm {
  readonly certificate: string
  readonly key: string
  readonly trust: TrustRoot
  readonly signing: SigningRoot
}

export interface TestNode {
  readonly key: KeyObject
  readonly keyPem: string
  readonly chain: string
}

export function testSwarm(wallMs: number = NOW_MS): TestSwarm {
  const { certificate, key } = createRoot(wallMs)
  const signing = { signer: readSigner(certificate, key), intermediate: '' }
  return { certificate, key, trust: readRoot(certificate), signing }
}

export const ALICE: NodeSubject = {
  nodeId: 'a1icea1icea1icea1icea1ice',
  role: 'manager',
  clusterId: 'c1uster00c1uster00c1uster',
}

export function testNode(
  swarm: TestSwarm,
  subject: Partial<NodeSubject> = {},
  wallMs: number = NOW_MS,
  lifeMs: number = NODE_LIFE_MS,
): TestNode {
  const key = generateKey()
  const full = { ...ALICE, ...subject }
  return {
    key,
    keyPem: pemOfKey(key),
    chain: issue(swarm.signing, spkiOf(key), full, wallMs, lifeMs),
  }
}
