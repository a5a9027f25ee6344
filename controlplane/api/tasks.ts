// /tasks: what became of services, slot by slot.

import type { ReadTransaction, Store } from '../store/contract.ts'
import { TASK_STATES, type TaskObject } from '../store/objects.ts'
import { isTaskDirty } from '../store/task-dirty.ts'
import type { Call, Environment, Reply } from './call.ts'
import { ApiError } from './errors.ts'
import { type Filters, matchesLabels, matchesOne, matchesPrefix, readFilters } from './query.ts'
import { byId } from './render.ts'
import { resolve } from './resolve.ts'
import { type Route, read } from './route.ts'
import { taskJson } from './task-json.ts'

/** `_up-to-date` is the docker CLI's, for its progress bars. */
const FILTER_KEYS = [
  'id',
  'label',
  'name',
  'node',
  'service',
  'desired-state',
  'runtime',
  '_up-to-date',
]
/** Attachments of containers are shown to those who ask for them. */
const RUNTIMES_SHOWN = ['container', 'plugin']

/** "web.1.ID"; "web.NODE.ID" of global services. */
export function taskName({ id, slot, nodeId, serviceAnnotations: { name } }: TaskObject): string {
  return `${name}.${slot ?? nodeId}.${id}`
}

function list(call: Call, _: Environment, store: Store): Reply {
  const given = readFilters(call.query, FILTER_KEYS, call.minor)
  for (const state of given.get('desired-state') ?? []) {
    if (!(TASK_STATES as readonly string[]).includes(state.toLowerCase())) {
      throw new ApiError(500, `Invalid desired-state filter: '${state}'`)
    }
  }
  const json = store.view((tx) => {
    const filters = withIds(tx, given)
    return byId(candidates(tx, filters).filter((task) => isWanted(tx, task, filters))).map((task) =>
      taskJson(tx, task, call.minor),
    )
  })
  return { status: 200, json }
}

/** Services and nodes by id, whatever they were called. Throws 404 for those that are not. */
function withIds(tx: ReadTransaction, given: Filters): Filters {
  const filters = new Map(given)
  const services = given.get('service')
  const nodes = given.get('node')
  if (services !== undefined) {
    filters.set(
      'service',
      services.map((name) => serviceId(tx, name)),
    )
  }
  if (nodes !== undefined) {
    filters.set(
      'node',
      nodes.map((name) => resolve(tx, 'nodes', name).id),
    )
  }
  return filters
}

/** A service that is about to go still has tasks: by its id they can be seen. */
function serviceId(tx: ReadTransaction, name: string): string {
  const byName = (service: { pendingDelete: boolean; id: string }): boolean =>
    !service.pendingDelete || service.id === name
  return resolve(tx, 'services', name, byName).id
}

/** Tasks by the narrowest index that a filter allows: the CLI asks five times a second. */
function candidates(tx: ReadTransaction, filters: Filters): readonly TaskObject[] {
  const services = filters.get('service')
  if (services !== undefined) {
    return [...new Set(services)].flatMap((id) => tx.find('tasks', 'service', id))
  }
  const nodes = filters.get('node')
  if (nodes !== undefined) return [...new Set(nodes)].flatMap((id) => tx.find('tasks', 'node', id))
  return tx.all('tasks')
}

function isWanted(tx: ReadTransaction, task: TaskObject, filters: Filters): boolean {
  const runtime = task.spec.Runtime
  return (
    matchesPrefix(filters, 'id', task.id) &&
    matchesOne(filters, 'service', [task.serviceId]) &&
    matchesOne(filters, 'node', [task.nodeId]) &&
    matchesPrefix(filters, 'name', taskName(task)) &&
    matchesLabels(filters, 'label', task.serviceAnnotations.labels) &&
    (filters.get('desired-state') ?? [task.desiredState]).some(
      (state) => state.toLowerCase() === task.desiredState,
    ) &&
    (filters.get('runtime') ?? RUNTIMES_SHOWN).includes(runtime) &&
    (!filters.has('_up-to-date') || isUpToDate(tx, task))
  )
}

function isUpToDate(tx: ReadTransaction, task: TaskObject): boolean {
  const service = tx.get('services', task.serviceId)
  if (service === undefined) return false
  return !isTaskDirty(service, task, tx.get('nodes', task.nodeId))
}

function inspect(call: Call, _: Environment, store: Store): Reply {
  const json = store.view((tx) => taskJson(tx, resolve(tx, 'tasks', call.params[0]!), call.minor))
  return { status: 200, json }
}

export const TASK_ROUTES: readonly Route[] = [read('/tasks', list), read('/tasks/{}', inspect)]
