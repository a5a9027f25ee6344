// A swarm in memory for tests of the CA: a store with a cluster object, and time that is real or
// stands still.

import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../../../base/clock.ts'
import type { Store } from '../../store/contract.ts'
import { localStore } from '../../store/local-store.ts'
import type { ClusterObject, NodeObject } from '../../store/objects.ts'
import { type Foundation, foundCluster } from '../cluster.ts'
import type { Sleep } from '../loop.ts'
import type { CaConfig } from '../rotation.ts'

export const CLUSTER_ID = 'c1uster00c1uster00c1uster'

export const NODE_CERT_EXPIRY = 7_776_000_000_000_000

/** Really sleeps. */
export const realSleep: Sleep = async (ms, signal) => {
  await wait(ms, undefined, { signal }).catch(() => {})
}

export const realClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }

export interface TestCluster {
  readonly store: Store
  readonly foundation: Foundation
  readonly cluster: () => ClusterObject
  readonly node: (id: string) => NodeObject | undefined
  readonly change: (f: (cluster: ClusterObject) => ClusterObject) => Promise<void>
  readonly changeNode: (id: string, f: (node: NodeObject) => NodeObject) => Promise<void>
}

export function clusterObject(
  foundation: Foundation,
  config: Partial<CaConfig> = {},
): Omit<ClusterObject, 'meta'> {
  return {
    id: CLUSTER_ID,
    spec: {
      Name: 'default',
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: 5 },
      Raft: {
        SnapshotInterval: 10_000,
        KeepOldSnapshots: 0,
        LogEntriesForSlowFollowers: 500,
        ElectionTick: 10,
        HeartbeatTick: 1,
      },
      Dispatcher: { HeartbeatPeriod: 1_000_000_000 },
      CAConfig: { NodeCertExpiry: NODE_CERT_EXPIRY, ...config },
      TaskDefaults: {},
      EncryptionConfig: { AutoLockManagers: false },
    },
    rootCa: foundation.rootCa,
    joinTokens: foundation.joinTokens,
    unlockKey: { key: null, version: 0 },
    defaultAddressPools: ['10.0.0.0/8'],
    subnetSize: 24,
    dataPathPort: 4789,
    tunnelKeys: [],
    removedNodes: {},
  }
}

export function nodeObject(
  id: string,
  certificate: NodeObject['certificate'],
): Omit<NodeObject, 'meta'> {
  return {
    id,
    spec: { Labels: {}, Role: certificate.role, Availability: 'active' },
    role: certificate.role,
    description: null,
    status: { state: 'ready', message: '', address: '127.0.0.1' },
    manager: null,
    certificate,
    tunnel: null,
  }
}

/** A founded cluster: its object and the founder's node. */
export async function testCluster(
  clock: Clock = realClock,
  config: Partial<CaConfig> = {},
): Promise<TestCluster> {
  const full = { NodeCertExpiry: NODE_CERT_EXPIRY, ...config }
  const foundation = foundCluster(CLUSTER_ID, full, clock.wallMs())
  const store = localStore(clock)
  await store.update((tx) => {
    tx.create('clusters', clusterObject(foundation, config))
    tx.create('nodes', nodeObject(foundation.nodeId, foundation.certificate))
  })
  const cluster = (): ClusterObject => store.view((tx) => tx.cluster()!)
  return {
    store,
    foundation,
    cluster,
    node: (id) => store.view((tx) => tx.get('nodes', id)),
    change: (f) => store.update((tx) => tx.update('clusters', f(tx.cluster()!))),
    changeNode: (id, f) => store.update((tx) => tx.update('nodes', f(tx.get('nodes', id)!))),
  }
}

/** Waits for a condition. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const endMs = Date.now() + 30_000
  while (!condition()) {
    if (Date.now() > endMs) throw new Error(`not in 30 s: ${what}`)
    await wait(5)
  }
}
