// /nodes: what the managers know of each node, and what an administrator wants of it.

import type { ReadTransaction, Store, WriteTransaction } from '../store/contract.ts'
import type { NodeDescription, NodeObject } from '../store/objects.ts'
import { withRemovedNode } from '../store/removed-nodes.ts'
import type { NodeAvailability, NodeRole, NodeSpec } from '../store/specs.ts'
import type { Call, Environment, Reply } from './call.ts'
import { inTime } from './cluster-access.ts'
import { ApiError, badRequest, failedPrecondition, notFound } from './errors.ts'
import {
  boolValue,
  type Filters,
  matchesLabels,
  matchesPrefix,
  readFilters,
  versionValue,
} from './query.ts'
import { canDoWithout } from './quorum.ts'
import { byId, head, omitEmpty } from './render.ts'
import { resolve } from './resolve.ts'
import { type Route, read, write } from './route.ts'
import { NODE_SPEC } from './types-swarm.ts'

const FILTER_KEYS = ['id', 'label', 'membership', 'name', 'node.label', 'role']
const MEMBERSHIPS = ['accepted', 'pending']
const ROLES = ['worker', 'manager']

export function nodeJson(node: NodeObject): Record<string, unknown> {
  const { spec, description, status, manager } = node
  const { Name, Labels, Role, Availability } = spec
  return {
    ...head(node),
    Spec: { ...omitEmpty({ Name }), Labels, Role, Availability },
    Description: description === null ? {} : descriptionJson(description),
    Status: {
      State: status.state,
      ...omitEmpty({ Message: status.message, Addr: status.address }),
    },
    ...(manager === null
      ? {}
      : {
          ManagerStatus: {
            ...omitEmpty({ Leader: manager.isLeader }),
            Reachability: manager.reachability,
            Addr: manager.address,
          },
        }),
  }
}

function descriptionJson(description: NodeDescription): Record<string, unknown> {
  const { hostname, platform, resources, genericResources, engine, tls } = description
  const { labels, plugins } = engine
  return {
    Hostname: hostname,
    Platform: { Architecture: platform.architecture, OS: platform.os },
    Resources: {
      NanoCPUs: resources.nanoCpus,
      MemoryBytes: resources.memoryBytes,
      ...(genericResources.length === 0 ? {} : { GenericResources: genericResources }),
    },
    Engine: {
      EngineVersion: engine.version,
      ...(Object.keys(labels).length === 0 ? {} : { Labels: labels }),
      Plugins: plugins.map(({ type, name }) => ({ Type: type, Name: name })),
    },
    TLSInfo:
      tls === null
        ? {}
        : {
            TrustRoot: tls.trustRoot,
            CertIssuerSubject: tls.issuerSubject,
            CertIssuerPublicKey: tls.issuerPublicKey,
          },
  }
}

function isWanted({ id, spec, description }: NodeObject, filters: Filters): boolean {
  return (
    matchesPrefix(filters, 'id', id) &&
    (matchesPrefix(filters, 'name', description?.hostname ?? '') ||
      (spec.Name !== undefined && matchesPrefix(filters, 'name', spec.Name))) &&
    matchesLabels(filters, 'label', description?.engine.labels) &&
    matchesLabels(filters, 'node.label', spec.Labels) &&
    matchesInAnyCase(filters, 'role', spec.Role) &&
    // Nobody waits for being accepted: the token is the acceptance.
    matchesInAnyCase(filters, 'membership', 'accepted')
  )
}

function matchesInAnyCase(filters: Filters, key: string, value: string): boolean {
  return filters.get(key)?.some((wanted) => wanted.toLowerCase() === value) ?? true
}

function checkValues(filters: Filters, key: string, known: readonly string[], noun: string): void {
  for (const value of filters.get(key) ?? []) {
    if (known.includes(value.toLowerCase())) continue
    throw new ApiError(500, `Invalid ${noun} filter: '${value}'`)
  }
}

function list(call: Call, _: Environment, store: Store): Reply {
  const filters = readFilters(call.query, FILTER_KEYS, call.minor)
  checkValues(filters, 'role', ROLES, 'role')
  checkValues(filters, 'membership', MEMBERSHIPS, 'membership')
  const nodes = store.view((tx) => tx.all('nodes')).filter((node) => isWanted(node, filters))
  return { status: 200, json: byId(nodes).map(nodeJson) }
}

function inspect({ params }: Call, _: Environment, store: Store): Reply {
  return { status: 200, json: nodeJson(store.view((tx) => resolve(tx, 'nodes', params[0]!))) }
}

async function update(call: Call, _: Environment, store: Store): Promise<Reply> {
  const given = await call.json<Partial<Record<keyof NodeSpec, unknown>>>(NODE_SPEC)
  const version = versionValue(
    call.query,
    (reason) => `invalid node version '${call.query.get('version') ?? ''}': ${reason}`,
  )
  const spec: NodeSpec = {
    ...(given as NodeSpec),
    Role: oneOf<NodeRole>('Role', given.Role, ['worker', 'manager']),
    Availability: oneOf<NodeAvailability>('Availability', given.Availability, [
      'active',
      'pause',
      'drain',
    ]),
  }
  const { id } = store.view((tx) => resolve(tx, 'nodes', call.params[0]!))
  await inTime(
    store.update((tx) => {
      const node = existing(tx, id)
      if (node.spec.Role === 'manager' && spec.Role === 'worker') checkDemotion(tx, node)
      tx.update('nodes', { ...node, meta: { ...node.meta, version }, spec })
    }),
  )
  return { status: 200 }
}

function oneOf<V extends string>(name: string, given: unknown, known: readonly V[]): V {
  const text = typeof given === 'string' ? given : ''
  const found = known.find((value) => value === text.toLowerCase())
  if (found === undefined) throw badRequest(`invalid ${name}: ${JSON.stringify(text)}`)
  return found
}

function checkDemotion(tx: WriteTransaction, node: NodeObject): void {
  const managers = tx.all('nodes').filter(({ spec }) => spec.Role === 'manager')
  if (managers.length === 1) {
    throw failedPrecondition('attempting to demote the last manager of the swarm')
  }
  // One that was promoted but has not joined yet can go without a vote.
  if (node.manager !== null && !canDoWithout(tx, node)) {
    throw failedPrecondition(
      "can't remove member from the raft: this would result in a loss of quorum",
    )
  }
}

async function remove(call: Call, { node: control }: Environment, store: Store): Promise<Reply> {
  const force = boolValue(call.query, 'force')
  const { id } = store.view((tx) => resolve(tx, 'nodes', call.params[0]!))
  const nowMs = control.clock.wallMs()
  await inTime(store.update((tx) => removeNode(tx, id, force, nowMs)))
  return { status: 200 }
}

function removeNode(tx: WriteTransaction, id: string, force: boolean, nowMs: number): void {
  const node = existing(tx, id)
  if (node.spec.Role === 'manager' || node.manager !== null) {
    throw failedPrecondition(
      `node ${id} is a cluster manager and is a member of the raft cluster. ` +
        'It must be demoted to worker before removal',
    )
  }
  if (!force && node.status.state === 'ready') {
    throw failedPrecondition(`node ${id} is not down and can't be removed`)
  }
  const cluster = tx.cluster()!
  tx.update('clusters', withRemovedNode(cluster, node, nowMs))
  // Attachments of containers have no service that would clear them away.
  for (const task of tx.find('tasks', 'node', id)) {
    if (task.serviceId === '') tx.remove('tasks', task.id)
  }
  tx.remove('nodes', id)
}

function existing(tx: ReadTransaction, id: string): NodeObject {
  const node = tx.get('nodes', id)
  if (node === undefined) throw notFound('node', id)
  return node
}

export const NODE_ROUTES: readonly Route[] = [
  read('/nodes', list),
  read('/nodes/{}', inspect),
  write('POST', '/nodes/{}/update', update),
  write('DELETE', '/nodes/{}', remove),
]
