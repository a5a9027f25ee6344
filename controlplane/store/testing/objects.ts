// Objects for tests: complete, plausible, and changed where a test says so.

import type { Unversioned } from '../contract.ts'
import type {
  ClusterObject,
  NetworkObject,
  NodeObject,
  ServiceObject,
  TaskObject,
} from '../objects.ts'
import type { NetworkSpec, ServiceSpec, TaskSpec } from '../specs.ts'

export function clusterObject(
  changes: Partial<Unversioned<ClusterObject>> = {},
): Unversioned<ClusterObject> {
  return {
    id: 'cluster0cluster0cluster01',
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
      Dispatcher: { HeartbeatPeriod: 1e9 },
      CAConfig: { NodeCertExpiry: 7776e12 },
      TaskDefaults: {},
      EncryptionConfig: { AutoLockManagers: false },
    },
    rootCa: { certificate: '', key: null, digest: '', lastForcedRotation: 0, rotation: null },
    joinTokens: { worker: '', manager: '' },
    unlockKey: { key: null, version: 0 },
    defaultAddressPools: [],
    subnetSize: 24,
    dataPathPort: 4789,
    tunnelKeys: [],
    removedNodes: {},
    ...changes,
  }
}

export function nodeObject(
  id: string,
  changes: Partial<Unversioned<NodeObject>> = {},
): Unversioned<NodeObject> {
  return {
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    role: 'worker',
    description: {
      hostname: `host-${id}`,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 4e9, memoryBytes: 8 * 2 ** 30 },
      genericResources: [],
      engine: { version: '28.0.0', labels: {}, plugins: [] },
      tls: null,
      addresses: [],
    },
    status: { state: 'ready', message: '', address: '192.0.2.1' },
    manager: null,
    certificate: { state: 'issued', role: 'worker', error: '', csr: '', certificate: '' },
    tunnel: null,
    ...changes,
  }
}

export function taskSpec(changes: Partial<TaskSpec> = {}): TaskSpec {
  return {
    ContainerSpec: { Image: 'web:1' },
    ForceUpdate: 0,
    Runtime: 'container',
    ...changes,
  }
}

export function serviceSpec(name: string, changes: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    Name: name,
    Labels: {},
    TaskTemplate: taskSpec(),
    Mode: { Replicated: { Replicas: 1 } },
    ...changes,
  }
}

export function serviceObject(
  id: string,
  spec: Partial<ServiceSpec> = {},
  changes: Partial<Unversioned<ServiceObject>> = {},
): Unversioned<ServiceObject> {
  return {
    id,
    spec: serviceSpec(id, spec),
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

export function taskObject(
  id: string,
  changes: Partial<Unversioned<TaskObject>> = {},
): Unversioned<TaskObject> {
  return {
    id,
    serviceId: 'web',
    slot: 1,
    nodeId: '',
    serviceAnnotations: { name: 'web', labels: {} },
    spec: taskSpec(),
    specVersion: 1,
    endpoint: { spec: {}, ports: [], virtualIps: [] },
    networks: [],
    status: {
      state: 'pending',
      atMs: 0,
      message: '',
      error: '',
      container: null,
      hostPorts: [],
      isServing: false,
    },
    desiredState: 'running',
    jobIteration: null,
    logDriver: null,
    assignedGenericResources: [],
    ...changes,
  }
}

export function networkObject(
  id: string,
  spec: Partial<NetworkSpec> = {},
  changes: Partial<Unversioned<NetworkObject>> = {},
): Unversioned<NetworkObject> {
  return {
    id,
    spec: { Name: id, Labels: {}, Driver: 'overlay', ...spec },
    allocation: null,
    pendingDelete: false,
    ...changes,
  }
}

/** What the store adds when it writes: for code that takes stored objects. */
export function stored<O>(object: O, version: number = 1): O & { readonly meta: Meta } {
  return { ...object, meta: { version, createdMs: version, updatedMs: version } }
}

interface Meta {
  readonly version: number
  readonly createdMs: number
  readonly updatedMs: number
}
