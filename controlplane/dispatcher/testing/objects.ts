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
import {
  clusterObject,
  networkObject,
  nodeObject,
  serviceObject,
  taskObject,
  taskSpec,
} from '../../store/testing/objects.ts'

export function cluster(changes: Partial<ClusterObject> = {}): Unversioned<ClusterObject> {
  const { rootCa } = clusterObject()
  return clusterObject({
    id: 'cluster',
    rootCa: { ...rootCa, certificate: 'PEM' },
    defaultAddressPools: ['10.0.0.0/8'],
    ...changes,
  })
}

/** A node that has not been heard of yet. */
export function node(id: string, changes: Partial<NodeObject> = {}): Unversioned<NodeObject> {
  const status = { state: 'unknown', message: '', address: '' } as const
  return nodeObject(id, { description: null, status, ...changes })
}

/** A network whose numbers are those in its id. */
export function network(
  id: string,
  changes: Partial<NetworkObject> = {},
): Unversioned<NetworkObject> {
  const number = Number(/\d+/.exec(id)?.[0] ?? 0)
  const subnets = [{ subnet: `10.0.${number}.0/24`, gateway: `10.0.${number}.1` }]
  return networkObject(id, {}, { allocation: { vni: 4096 + number, subnets }, ...changes })
}

export function service(
  id: string,
  changes: Partial<ServiceObject> = {},
): Unversioned<ServiceObject> {
  return serviceObject(id, { TaskTemplate: { ForceUpdate: 0, Runtime: 'container' } }, changes)
}

/** A task in a state, on a node, on networks. */
export function task(
  id: string,
  state: TaskState,
  nodeId: string,
  networks: TaskObject['networks'] = [],
  changes: Partial<TaskObject> = {},
): Unversioned<TaskObject> {
  const { status } = taskObject(id)
  return taskObject(id, {
    nodeId,
    networks,
    spec: taskSpec({ ContainerSpec: { Image: 'img' } }),
    endpoint: null,
    status: { ...status, state, isServing: state === 'running' },
    ...changes,
  })
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
