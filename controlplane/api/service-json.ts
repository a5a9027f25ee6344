// swarm.Service as JSON: the service without what is kept from everybody, and on request with the
// defaults that apply where the user said nothing (swarmkit, api/defaults/service.go).

import type { ReadTransaction } from '../store/contract.ts'
import { isTerminal, type ServiceObject, stateRank, type TaskObject } from '../store/objects.ts'
import type { ServiceSpec, TaskSpec, UpdateConfig } from '../store/specs.ts'
import { inOrder } from './decode.ts'
import { head, time, version } from './render.ts'
import { SERVICE_SPEC } from './types-service.ts'

const SECOND_NS = 1e9

const UPDATE_DEFAULT: UpdateConfig = {
  Parallelism: 1,
  FailureAction: 'pause',
  Monitor: 5 * SECOND_NS,
  MaxFailureRatio: 0,
  Order: 'stop-first',
}
const RESTART_DEFAULT = { Condition: 'any', Delay: 5 * SECOND_NS, MaxAttempts: 0 } as const

export interface ServiceJsonOptions {
  readonly withDefaults?: boolean
  readonly withStatus?: boolean
}

export function serviceJson(
  tx: ReadTransaction,
  service: ServiceObject,
  { withDefaults = false, withStatus = false }: ServiceJsonOptions = {},
): Record<string, unknown> {
  const { spec, previousSpec, updateStatus, jobStatus } = service
  return {
    ...head(service),
    Spec: shownSpec(withDefaults ? withDefaultsOf(spec) : spec),
    ...(previousSpec === null ? {} : { PreviousSpec: shownSpec(previousSpec) }),
    Endpoint: endpointJson(service),
    ...(updateStatus === null ? {} : { UpdateStatus: updateJson(updateStatus) }),
    ...(withStatus ? { ServiceStatus: statusJson(tx, service) } : {}),
    ...(jobStatus === null
      ? {}
      : {
          JobStatus: {
            JobIteration: version(jobStatus.iteration),
            LastExecution: time(jobStatus.lastExecutionMs),
          },
        }),
  }
}

/** Without the credentials for the registry; networks where they were given, and only there. */
function shownSpec(spec: ServiceSpec): ServiceSpec {
  const task = shownTask(spec.TaskTemplate)
  if (spec.Networks === undefined) return inOrder(SERVICE_SPEC, { ...spec, TaskTemplate: task })
  const { Networks: _, ...TaskTemplate } = task
  return inOrder(SERVICE_SPEC, { ...spec, TaskTemplate })
}

export function shownTask(task: TaskSpec): TaskSpec {
  if (task.ContainerSpec === undefined) return task
  const { PullOptions: _, Privileges, ...container } = task.ContainerSpec
  // Two members that Go's types never leave out.
  const privileges =
    Privileges === undefined
      ? {}
      : { Privileges: { CredentialSpec: null, SELinuxContext: null, ...Privileges } }
  return { ...task, ContainerSpec: { ...container, ...privileges } as typeof container }
}

function endpointJson({ endpoint: { spec, ports, virtualIps } }: ServiceObject) {
  return {
    Spec: spec,
    ...(ports.length === 0 ? {} : { Ports: ports }),
    ...(virtualIps.length === 0
      ? {}
      : {
          VirtualIPs: virtualIps.map(({ networkId, address }) => ({
            NetworkID: networkId,
            Addr: address,
          })),
        }),
  }
}

function updateJson(status: NonNullable<ServiceObject['updateStatus']>) {
  const { state, startedMs, completedMs, message } = status
  return {
    State: state,
    StartedAt: time(startedMs),
    ...(completedMs === null ? {} : { CompletedAt: time(completedMs) }),
    Message: message,
  }
}

/** What `docker service ls` counts (swarmkit, controlapi/service.go, ListServiceStatuses). */
function statusJson(tx: ReadTransaction, service: ServiceObject) {
  const tasks = tx.find('tasks', 'service', service.id)
  const { Replicated, ReplicatedJob } = service.spec.Mode
  const { jobStatus } = service
  const counted =
    jobStatus === null
      ? tasks
      : tasks.filter(({ jobIteration }) => jobIteration === jobStatus.iteration)
  const wanted = counted.filter(
    ({ desiredState, status }) =>
      desiredState === 'running' || (desiredState === 'complete' && !isTerminal(status.state)),
  )
  return {
    RunningTasks: counted.filter((task) => isRunning(tx, task)).length,
    DesiredTasks: Replicated?.Replicas ?? ReplicatedJob?.MaxConcurrent ?? wanted.length,
    CompletedTasks:
      jobStatus === null
        ? 0
        : counted.filter(({ status }) => stateRank(status.state) === stateRank('complete')).length,
  }
}

/** What a node that is down said last of its tasks counts no more: others run in their place. */
function isRunning(tx: ReadTransaction, { status, nodeId }: TaskObject): boolean {
  return status.state === 'running' && tx.get('nodes', nodeId)?.status.state !== 'down'
}

function withDefaultsOf(spec: ServiceSpec): ServiceSpec {
  const { TaskTemplate: task } = spec
  const { ContainerSpec: container } = task
  return {
    ...spec,
    TaskTemplate: {
      ...task,
      ...(container === undefined
        ? {}
        : { ContainerSpec: { StopGracePeriod: 10 * SECOND_NS, DNSConfig: {}, ...container } }),
      Resources: task.Resources ?? {},
      RestartPolicy: { ...RESTART_DEFAULT, ...task.RestartPolicy },
      Placement: task.Placement ?? {},
    },
    UpdateConfig: { ...UPDATE_DEFAULT, ...spec.UpdateConfig },
    RollbackConfig: { ...UPDATE_DEFAULT, ...spec.RollbackConfig },
  }
}
