// Objects of the store for tests of the dispatcher: the least that is valid.

import type { Unversioned } from '../../store/contract.ts'
import type {
  ClusterObject,
  NetworkObject,
  NodeObject,
  ServiceObject,
  TaskObject,
  TaskState,
} from '../../store/objects.ts'

export function cluster(changes: Partial<ClusterObject> = {}): Unversioned<ClusterObject> {
  return {
    id: 'cluster',
    spec: {
      Name: 'default',
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: 5 },
      Raft: {
        SnapshotInterval: 10000,
        KeepOldSnapshots: 0,
        LogEntriesForSlowFollowers: 500,
        ElectionTick: 10,
        HeartbeatTick: 1,
      },
      Dispatcher: { HeartbeatPeriod: 1e9 },
      CAConfig: { NodeCertExpiry: 7776e12 },
      TaskDefaults: {},
      EncryptionConfig: { AutoLockManagers: false },
    },
    rootCa: { certificate: 'PEM', key: null, digest: '', lastForcedRotation: 0, rotation: null },
    joinTokens: { worker: '', manager: '' },
    unlockKey: { key: null, version: 0 },
    defaultAddressPools: ['10.0.0.0/8'],
    subnetSize: 24,
    dataPathPort: 4789,
    tunnelKeys: [],
    removedNodes: {},
    ...changes,
  }
}

export function node(id: string, changes: Partial<NodeObject> = {}): Unversioned<NodeObject> {
  return {
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    role: 'worker',
    description: null,
    status: { state: 'unknown', message: '', address: '' },
    manager: null,
    certificate: { state: 'issued', role: 'worker', error: '', csr: '', certificate: '' },
    tunnel: null,
    ...changes,
  }
}

export function network(
  id: string,
  changes: Partial<NetworkObject> = {},
): Unversioned<NetworkObject> {
  const number = Number(/\d+/.exec(id)?.[0] ?? 0)
  return {
    id,
    spec: { Name: id, Labels: {}, Driver: 'overlay' },
    allocation: {
      vni: 4096 + number,
      subnets: [{ subnet: `10.0.${number}.0/24`, gateway: `10.0.${number}.1` }],
    },
    pendingDelete: false,
    ...changes,
  }
}

export function service(
  id: string,
  changes: Partial<ServiceObject> = {},
): Unversioned<ServiceObject> {
  return {
    id,
    spec: {
      Name: id,
      Labels: {},
      TaskTemplate: { ForceUpdate: 0, Runtime: 'container' },
      Mode: { Replicated: { Replicas: 1 } },
    },
    specVersion: 1,
    previousSpec: null,
    previousSpecVersion: null,
    endpoint: { spec: {}, ports: [], virtualIps: [] },
    updateStatus: null,
    jobStatus: null,
    pendingDelete: false,
    ...changes,
  }
}

/** A task in a state, on a node, on networks. */
export function task(
  id: string,
  state: TaskState,
  nodeId: string,
  networks: TaskObject['networks'] = [],
  changes: Partial<TaskObject> = {},
): Unversioned<TaskObject> {
  return {
    id,
    serviceId: 'web',
    slot: 1,
    nodeId,
    serviceAnnotations: { name: 'web', labels: {} },
    spec: { ContainerSpec: { Image: 'img' }, ForceUpdate: 0, Runtime: 'container' },
    specVersion: 1,
    endpoint: null,
    networks,
    status: {
      state,
      atMs: 0,
      message: '',
      error: '',
      container: null,
      hostPorts: [],
      isServing: state === 'running',
    },
    desiredState: 'running',
    jobIteration: null,
    logDriver: null,
    assignedGenericResources: [],
    ...changes,
  }
}

/** What an agent says of its node. */
export function description(hostname: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      hostname,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 1e9, memoryBytes: 2 ** 30 },
      genericResources: [],
      engine: { version: 'test', labels: {}, plugins: [] },
      tls: null,
      addresses: ['127.0.0.1'],
    }),
  )
}
