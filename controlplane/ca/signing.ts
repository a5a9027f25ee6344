// Which key signs now, and how. The cluster's root has a key of its own, or an external CA has it;
// while the root changes, the new root signs and its cross certificate goes along.
//
//   rootCa.rotation   signs with          behind the leaf
//   null              rootCa.key          nothing
//   set               rotation.key        rotation.crossSigned
//   either, key null  the external CAs whose CACert is that root

import type { ClusterObject, RootCaState } from '../store/objects.ts'
import type { ExternalCa } from '../store/specs.ts'
import { NODE_LIFE_MS, NODE_LIFE_MS_MIN } from './limits.ts'
import { normalizePem, readRoot, readSigner, type SigningRoot, type TrustRoot } from './root.ts'

export type Signing =
  | { readonly kind: 'internal'; readonly root: SigningRoot; readonly trust: TrustRoot }
  | {
      readonly kind: 'external'
      readonly urls: readonly string[]
      readonly intermediate: string
      readonly trust: TrustRoot
    }

/** Keys are parsed once per state: states are values, and a new one is a new object. */
const parsed = new WeakMap<RootCaState, Signing>()

/** How node certificates are signed in this state of the cluster. */
export function signingOf(cluster: ClusterObject): Signing {
  const { rootCa, spec } = cluster
  const { certificate, key } = rootCa.rotation ?? rootCa
  if (key === null) {
    return {
      kind: 'external',
      urls: externalUrls(spec.CAConfig.ExternalCAs ?? [], certificate, rootCa.certificate),
      intermediate: rootCa.rotation?.crossSigned ?? '',
      trust: readRoot(certificate),
    }
  }
  let signing = parsed.get(rootCa)
  if (signing === undefined) {
    const intermediate = rootCa.rotation?.crossSigned ?? ''
    const root = { signer: readSigner(certificate, key), intermediate }
    signing = { kind: 'internal', root, trust: readRoot(certificate) }
    parsed.set(rootCa, signing)
  }
  return signing
}

/** The external CAs that sign for `root`. One that names no root is meant for the current one. */
export function externalUrls(
  list: readonly ExternalCa[],
  root: string,
  currentRoot: string,
): readonly string[] {
  const wanted = normalizePem(root)
  return list
    .filter(({ Protocol }) => Protocol === undefined || Protocol.toLowerCase() === 'cfssl')
    .filter(({ CACert }) => {
      const named = CACert === undefined || CACert.trim() === '' ? currentRoot : CACert
      return normalizePem(named) === wanted
    })
    .map(({ URL }) => URL)
}

/** True when both sign and are trusted alike. */
export function isSameRoot(a: RootCaState, b: RootCaState): boolean {
  return (
    a.certificate === b.certificate &&
    a.key === b.key &&
    a.rotation?.certificate === b.rotation?.certificate &&
    a.rotation?.key === b.rotation?.key
  )
}

/** How long certificates are issued for. */
export function nodeLifeMs(cluster: ClusterObject): number {
  const askedMs = cluster.spec.CAConfig.NodeCertExpiry / 1e6
  return Number.isFinite(askedMs) && askedMs >= NODE_LIFE_MS_MIN ? askedMs : NODE_LIFE_MS
}
