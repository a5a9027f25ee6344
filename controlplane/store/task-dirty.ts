// Whether a task is still what its service asks for. A dirty task is replaced by the updater; the
// API's "_up-to-date" filter leaves it out. After SwarmKit, manager/orchestrator.

import { ConstraintError, meetsConstraints, parseConstraints } from './constraint.ts'
import { equalJson } from './equal-json.ts'
import { type NodeObject, type ServiceObject, stateRank, type TaskObject } from './objects.ts'
import type { EndpointSpec, TaskSpec } from './specs.ts'

type Dated = Pick<ServiceObject, 'spec' | 'specVersion'>

/** True when `task` was made of a spec that differs from the service's where it matters to the
 * task: its template and its published ports. `node` is where it was assigned, if anywhere. */
export function isTaskDirty(
  service: Dated,
  task: TaskObject,
  node: NodeObject | undefined,
): boolean {
  if (task.specVersion !== null && task.specVersion === service.specVersion) return false
  const wanted = service.spec.TaskTemplate
  if (!isEndpointEqual(service.spec.EndpointSpec, task.endpoint?.spec)) return true
  if (equalJson(wanted, task.spec)) return false
  if (isPulled(task) && equalJson(withoutPull(wanted), withoutPull(task.spec))) return false
  // New constraints alone do not move a task from a node that meets them.
  const isSameElsewhere = equalJson(
    { ...wanted, Placement: { ...wanted.Placement, Constraints: [] } },
    { ...task.spec, Placement: { ...task.spec.Placement, Constraints: [] } },
  )
  return !(isSameElsewhere && node !== undefined && allows(wanted, node))
}

function isEndpointEqual(
  wanted: EndpointSpec | undefined,
  actual: EndpointSpec | undefined,
): boolean {
  return actual === undefined || equalJson(wanted ?? {}, actual)
}

/** Credentials for a pull do not matter to a task that has its image. */
function isPulled({ status }: TaskObject): boolean {
  const rank = stateRank(status.state)
  return rank >= stateRank('ready') && rank <= stateRank('running')
}

function withoutPull(spec: TaskSpec): TaskSpec {
  if (spec.ContainerSpec?.PullOptions === undefined) return spec
  const { PullOptions: _, ...container } = spec.ContainerSpec
  return { ...spec, ContainerSpec: container }
}

function allows(spec: TaskSpec, node: NodeObject): boolean {
  try {
    return meetsConstraints(node, parseConstraints(spec.Placement?.Constraints ?? []))
  } catch (error) {
    if (error instanceof ConstraintError) return false
    throw error
  }
}
