// Tasks for tests of the agent.

import type { AssignedTask, Items } from '../../store/assignment.ts'
import type { Assigned } from '../worker.ts'

export function task(id: string, changes: Partial<AssignedTask> = {}): AssignedTask {
  return {
    id,
    serviceId: 'svc',
    slot: 1,
    nodeId: 'node1',
    serviceAnnotations: { name: 'web', labels: {} },
    spec: { ContainerSpec: { Image: 'img' }, ForceUpdate: 0, Runtime: 'container' },
    specVersion: 1,
    endpoint: null,
    networks: [],
    desiredState: 'running',
    jobIteration: null,
    logDriver: null,
    assignedGenericResources: [],
    ...changes,
  }
}

/** An assignment of these tasks and, by kind, other items. */
export function assignment(
  tasks: readonly AssignedTask[],
  others: {
    [K in 'secret' | 'config' | 'drained']?: readonly (readonly [string, Items[K]])[]
  } = {},
): Assigned {
  const maps: Readonly<Record<string, ReadonlyMap<string, unknown>>> = {
    task: new Map(tasks.map((one) => [one.id, one])),
    secret: new Map(others.secret),
    config: new Map(others.config),
    drained: new Map(others.drained),
  }
  return { all: (kind) => maps[kind] as never }
}

/** Waits, a turn of the event loop at a time, until `condition` holds. */
export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  const untilMs = Date.now() + 20_000
  while (!condition()) {
    if (Date.now() > untilMs) throw new Error(`${what} did not come true`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
