// The keys mixed into every tunnel handshake (Noise psk2): a new one every 12 hours, the last three
// are kept, newest first. Sessions hand them to the nodes.
//
// A node answers a handshake with the second newest key, if there is one, and takes an answer made
// with any of them (dataplane/tables.ts, presharedKeys). So a key has been with every node for 12
// hours before anybody needs it, and a node may be one rotation behind without being cut off.
//
// Rotation limits what a stolen key is good for: it does not open recorded traffic, which takes
// both nodes' private keys as well.

import type { Logger } from '../../base/log.ts'
import type { Store } from '../store/contract.ts'
import type { ClusterObject, TunnelKey } from '../store/objects.ts'
import { KEY_LIFETIME_MS, KEYS_KEPT } from './limits.ts'

export interface KeyManagerParts {
  readonly store: Store
  readonly log: Logger
  readonly wallMs: () => number
  /** Bytes fit for keys. */
  readonly randomBytes: (size: number) => Uint8Array
}

/** The keys after a rotation that is due; null when none is. */
export function rotated(
  keys: readonly TunnelKey[],
  nowMs: number,
  newKey: () => string,
): readonly TunnelKey[] | null {
  const newest = keys[0]
  // A clock that was set back must not stop the rotation for good.
  const ageMs = newest === undefined ? Number.POSITIVE_INFINITY : nowMs - newest.createdMs
  if (Math.abs(ageMs) < KEY_LIFETIME_MS) return null
  return [{ key: newKey(), createdMs: nowMs }, ...keys].slice(0, KEYS_KEPT)
}

/** Makes the first key, or a new one where the newest is old. */
export async function rotateKeys({
  store,
  log,
  wallMs,
  randomBytes,
}: KeyManagerParts): Promise<void> {
  const next = (cluster: ClusterObject): readonly TunnelKey[] | null =>
    rotated(cluster.tunnelKeys, wallMs(), () => Buffer.from(randomBytes(32)).toString('base64'))
  const due = store.view((tx) => {
    const cluster = tx.cluster()
    return cluster !== undefined && next(cluster) !== null
  })
  if (!due) return
  await store.update((tx) => {
    const cluster = tx.cluster()
    const tunnelKeys = cluster === undefined ? null : next(cluster)
    if (cluster !== undefined && tunnelKeys !== null)
      tx.update('clusters', { ...cluster, tunnelKeys })
  })
  log.info('the tunnel key was rotated')
}
