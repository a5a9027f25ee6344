// The ingress network: what the routing mesh carries published ports over. A cluster begins with
// one; who removes it does not get it back by a change of leader, hence the mark in the cluster.

import type { Unversioned, WriteTransaction } from '../store/contract.ts'
import type { NetworkObject } from '../store/objects.ts'

/** The network as Swarm makes it: its subnet is the first of the pools, 10.0.0.0/24. Unlike Swarm's
 * it has an IPv6 subnet, too: a published port answers at every address of a node. */
export function ingressNetwork(id: string): Unversioned<NetworkObject> {
  return {
    id,
    spec: {
      Name: 'ingress',
      Labels: {},
      Driver: 'overlay',
      Ingress: true,
      EnableIPv6: true,
      IPAM: {},
    },
    allocation: null,
    pendingDelete: false,
  }
}

/** Makes the ingress network unless this cluster had one. */
export function ensureIngress(tx: WriteTransaction, newId: () => string): void {
  const cluster = tx.cluster()
  if (cluster === undefined || cluster.hadIngress === true) return
  if (!tx.all('networks').some(({ spec }) => spec.Ingress === true)) {
    tx.create('networks', ingressNetwork(newId()))
  }
  tx.update('clusters', { ...cluster, hadIngress: true })
}
