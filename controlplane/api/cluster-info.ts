// The cluster's JSON: /swarm, and the Swarm block of /info.

import type { Store } from '../store/contract.ts'
import type { ClusterObject } from '../store/objects.ts'
import type { SwarmSpec } from '../store/specs.ts'
import type { NodeControl } from './node-control.ts'
import { head } from './render.ts'
import { tlsInfo } from './tls-info.ts'

/** What no pools stand for. */
const DEFAULT_POOLS = ['10.0.0.0/8']

const TWO_MANAGERS =
  'WARNING: Running Swarm in a two-manager configuration. This configuration provides\n' +
  '         no fault tolerance, and poses a high risk to lose control over the cluster.\n' +
  '         Add a manager to configure the Swarm for fault-tolerance.'

/** swarm.ClusterInfo: what everybody on a manager may see. */
export function clusterInfo(cluster: ClusterObject): Record<string, unknown> {
  const { rootCa, defaultAddressPools, subnetSize, dataPathPort } = cluster
  const { rotation } = rootCa
  return {
    ...head(cluster),
    Spec: shownSpec(cluster.spec),
    TLSInfo: tlsInfo(rootCa.certificate, rotation?.certificate ?? rootCa.certificate),
    RootRotationInProgress: rotation !== null,
    DefaultAddrPool: defaultAddressPools.length === 0 ? DEFAULT_POOLS : defaultAddressPools,
    SubnetSize: subnetSize,
    DataPathPort: dataPathPort,
  }
}

/** swarm.Swarm: with the secrets that let a node join. */
export function swarmJson(cluster: ClusterObject): Record<string, unknown> {
  const { worker, manager } = cluster.joinTokens
  return { ...clusterInfo(cluster), JoinTokens: { Worker: worker, Manager: manager } }
}

/** Without the signing key, which is a secret, and without its certificate: who sends back what was
 * read would otherwise ask for a certificate without its key. */
function shownSpec(spec: SwarmSpec): SwarmSpec {
  const { SigningCACert: _cert, SigningCAKey: _key, ...CAConfig } = spec.CAConfig
  return { ...spec, CAConfig }
}

/** swarm.Info. Never waits: it is asked for when something is wrong. */
export function swarmInfo(node: NodeControl): Record<string, unknown> {
  const { state, nodeId, address, isManager, error, managers } = node.status()
  const access = isManager && state === 'active' ? node.cluster() : null
  const known = managers.map((manager) => ({ NodeID: manager.nodeId, Addr: manager.address }))
  return {
    NodeID: nodeId,
    NodeAddr: address,
    LocalNodeState: state,
    ControlAvailable: access !== null,
    Error: error,
    RemoteManagers: known.length === 0 ? null : known,
    ...(access === null ? {} : clusterPart(access.store)),
  }
}

function clusterPart(store: Store): Record<string, unknown> {
  return store.view((tx) => {
    const cluster = tx.cluster()
    if (cluster === undefined) return {}
    const nodes = tx.all('nodes')
    const managers = nodes.filter(({ spec }) => spec.Role === 'manager').length
    return {
      Nodes: nodes.length,
      Managers: managers,
      Cluster: clusterInfo(cluster),
      ...(managers === 2 ? { Warnings: [TWO_MANAGERS] } : {}),
    }
  })
}
