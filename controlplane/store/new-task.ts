// A task as it is first written: made of its service, in state "new", for the allocator to find.

import type { Unversioned } from './contract.ts'
import type { ClusterObject, ServiceObject, TaskObject, TaskState, TaskStatus } from './objects.ts'

export interface Placed {
  readonly id: string
  /** Null for tasks of global services. */
  readonly slot: number | null
  /** '' for the scheduler to choose. */
  readonly nodeId: string
  readonly desiredState: TaskState
  readonly nowMs: number
}

/** What a task of a job aims at is its completion, any other task's is to run. */
export function goalOf({ spec: { Mode } }: Pick<ServiceObject, 'spec'>): 'running' | 'complete' {
  return Mode.ReplicatedJob !== undefined || Mode.GlobalJob !== undefined ? 'complete' : 'running'
}

/** How every task begins. */
export function newStatus(nowMs: number): TaskStatus {
  return {
    state: 'new',
    atMs: nowMs,
    message: 'created',
    error: '',
    container: null,
    hostPorts: [],
    isServing: false,
  }
}

/** A task of `service`; `cluster` has the log driver of tasks that name none. */
export function newTask(
  service: ServiceObject,
  cluster: ClusterObject | undefined,
  { id, slot, nodeId, desiredState, nowMs }: Placed,
): Unversioned<TaskObject> {
  const { TaskTemplate, Name, Labels, EndpointSpec } = service.spec
  return {
    id,
    serviceId: service.id,
    slot,
    nodeId,
    serviceAnnotations: { name: Name, labels: Labels },
    spec: TaskTemplate,
    specVersion: service.specVersion,
    endpoint: { spec: EndpointSpec ?? {}, ports: [], virtualIps: [] },
    networks: [],
    status: newStatus(nowMs),
    desiredState,
    jobIteration: goalOf(service) === 'complete' ? (service.jobStatus?.iteration ?? 0) : null,
    logDriver: TaskTemplate.LogDriver ?? cluster?.spec.TaskDefaults.LogDriver ?? null,
    assignedGenericResources: [],
  }
}
