// Nodes that were removed are refused although their certificates are valid: the cluster object
// remembers them until the certificates have been out of date for a week. To be written in the same
// transaction that removes the node.

import { X509Certificate } from 'node:crypto'
import { REMOVED_KEPT_MS, REMOVED_NODES_MAX } from './limits.ts'
import type { ClusterObject, NodeObject } from './objects.ts'

/** The cluster after `node` was removed. */
export function withRemovedNode(
  cluster: ClusterObject,
  node: NodeObject,
  nowMs: number,
): ClusterObject {
  const forgetMs = endOfCertificate(cluster, node, nowMs) + REMOVED_KEPT_MS
  const all = [...Object.entries(cluster.removedNodes), [node.id, { forgetMs }] as const]
  // Beyond the limit the one that would be forgotten first is forgotten now.
  const kept = all.sort(([, a], [, b]) => b.forgetMs - a.forgetMs).slice(0, REMOVED_NODES_MAX)
  return { ...cluster, removedNodes: Object.fromEntries(kept) }
}

/** When the last certificate that the node may hold runs out. One that is being issued right now
 * has at most the life that the cluster gives. */
function endOfCertificate(cluster: ClusterObject, node: NodeObject, nowMs: number): number {
  const newestMs = nowMs + cluster.spec.CAConfig.NodeCertExpiry / 1e6
  try {
    const { validToDate } = new X509Certificate(node.certificate.certificate)
    return Math.max(newestMs, validToDate.getTime())
  } catch {
    return newestMs
  }
}
