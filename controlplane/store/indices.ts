// What each table can be searched by (contract.ts, Indices), as data: an object to its keys.

import type { Indices, TableName, Tables } from './contract.ts'
import type { NetworkObject, ServiceObject, TaskObject } from './objects.ts'

type IndexTable = {
  readonly [T in TableName]: Readonly<
    Record<Indices[T] & string, (object: Tables[T]) => readonly string[]>
  >
}

function networksOf({ spec }: ServiceObject): readonly string[] {
  return (spec.TaskTemplate.Networks ?? spec.Networks ?? []).map(({ Target }) => Target)
}

/** The name is free for others while a removed object still waits for its tasks to end. */
function nameUnlessRemoved(object: ServiceObject | NetworkObject): readonly string[] {
  return object.pendingDelete ? [] : [object.spec.Name.toLowerCase()]
}

/** The slot of a task: tasks of one slot replace each other. */
export function slotKey(task: Pick<TaskObject, 'serviceId' | 'slot' | 'nodeId'>): string {
  return `${task.serviceId}.${task.slot ?? task.nodeId}`
}

export const INDICES: IndexTable = {
  clusters: {},
  nodes: {
    name: ({ spec, description }) =>
      [spec.Name ?? '', description?.hostname ?? ''].flatMap((name) =>
        name === '' ? [] : [name.toLowerCase()],
      ),
    role: ({ role }) => [role],
    raft: ({ manager }) => (manager === null ? [] : [String(manager.raftId)]),
  },
  services: {
    name: nameUnlessRemoved,
    network: networksOf,
    secret: ({ spec }) =>
      (spec.TaskTemplate.ContainerSpec?.Secrets ?? []).map(({ SecretID }) => SecretID),
    config: ({ spec }) =>
      (spec.TaskTemplate.ContainerSpec?.Configs ?? []).map(({ ConfigID }) => ConfigID),
  },
  tasks: {
    service: ({ serviceId }) => [serviceId],
    node: ({ nodeId }) => [nodeId],
    slot: (task) => [slotKey(task)],
    network: ({ networks }) => networks.map(({ networkId }) => networkId),
    secret: ({ spec }) => (spec.ContainerSpec?.Secrets ?? []).map(({ SecretID }) => SecretID),
    config: ({ spec }) => (spec.ContainerSpec?.Configs ?? []).map(({ ConfigID }) => ConfigID),
    desired: ({ desiredState }) => [desiredState],
  },
  networks: { name: nameUnlessRemoved },
  secrets: { name: ({ spec }) => [spec.Name.toLowerCase()] },
  configs: { name: ({ spec }) => [spec.Name.toLowerCase()] },
}

/** Tables whose names are unique, whatever their case (SwarmKit, manager/state/store). The names of
 * nodes are not. */
export const UNIQUE_NAMES: ReadonlySet<TableName> = new Set<TableName>([
  'services',
  'networks',
  'secrets',
  'configs',
])
