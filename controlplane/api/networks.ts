// /networks: the cluster's overlays and the local engine's networks behind one path. Lists show the
// cluster's first, and not the engine's twins of them (ENGINE_NETWORK_LABEL). Names and ids are
// looked up in the cluster first; what is not there is the engine's.

import type { ReadTransaction, Store, WriteTransaction } from '../store/contract.ts'
import { newId } from '../store/ids.ts'
import { ENGINE_NETWORK_LABEL } from '../store/labels.ts'
import { isTerminal, type NetworkObject } from '../store/objects.ts'
import { isPredefined } from '../store/predefined-networks.ts'
import type { Call, Environment, Reply } from './call.ts'
import { clusterStore, inTime, onLeader, requireManager } from './cluster-access.ts'
import { type EngineClient, passToEngine } from './engine-client.ts'
import { ApiError, badRequest, failedPrecondition, notFound, rpcError } from './errors.ts'
import { networkDetails, networkJson, predefinedJson } from './network-json.ts'
import { type GivenNetwork, networkSpec } from './network-spec.ts'
import type { ApiResponse } from './node-control.ts'
import {
  type Filters,
  matchesLabels,
  matchesOne,
  readFilters,
  strictBoolValue,
  untilFilter,
} from './query.ts'
import { byId } from './render.ts'
import { resolve } from './resolve.ts'
import { here, type Route } from './route.ts'
import { once } from './target.ts'
import { NETWORK_CREATE } from './types-resource.ts'

const FILTER_KEYS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type']
const ON_WORKER =
  'Cannot create a multi-host network from a worker node. Please create the network from a ' +
  'manager node.'

type Answer = Reply | ApiResponse

const isShown = ({ pendingDelete }: NetworkObject): boolean => !pendingDelete

/** The cluster's networks, where this node can see them: workers and others have none. */
async function clusterOf(env: Environment): Promise<Store | null> {
  const { state, isManager } = env.node.status()
  if (state !== 'active' || !isManager || env.node.cluster() === null) return null
  return clusterStore(env)
}

function find(store: Store | null, given: string): NetworkObject | null {
  if (store === null) return null
  try {
    return store.view((tx) => resolve(tx, 'networks', given, isShown))
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null
    throw error
  }
}

async function list(call: Call, env: Environment): Promise<Reply> {
  const filters = readFilters(call.query, FILTER_KEYS, call.minor)
  checkFilters(filters, call.minor)
  const store = await clusterOf(env)
  const own =
    store?.view((tx) =>
      byId(
        tx.all('networks').filter((network) => isShown(network) && isWanted(tx, network, filters)),
      ),
    ) ?? []
  const local = await engineNetworks(call.query.get('filters'), env)
  return {
    status: 200,
    json: [...own.map((network) => networkJson(network, call.minor)), ...local],
  }
}

function checkFilters(filters: Filters, minor: number): void {
  const type = filters.get('type')?.find((value) => value !== 'custom' && value !== 'builtin')
  if (type !== undefined) {
    throw new ApiError(minor <= 41 ? 500 : 400, `invalid filter: 'type'='${type}'`)
  }
  const dangling = filters.get('dangling')
  if (dangling !== undefined && new Set(dangling).size > 1) {
    throw new ApiError(400, 'got more than one value for filter key "dangling"')
  }
  if (dangling?.every((value) => ['1', 'true', '0', 'false'].includes(value)) === false) {
    throw new ApiError(
      400,
      'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")',
    )
  }
}

function isWanted(tx: ReadTransaction, network: NetworkObject, filters: Filters): boolean {
  const { id, spec } = network
  const isUsed = (): boolean => [...usersOf(tx, id), ...tx.find('tasks', 'network', id)].length > 0
  const dangling = filters.get('dangling')?.[0]
  return (
    matchesOne(filters, 'driver', ['overlay']) &&
    matchesOne(filters, 'scope', ['swarm']) &&
    // The built-in ones are the engine's own; the ingress network is not among them.
    matchesOne(filters, 'type', ['custom']) &&
    contains(filters, 'id', id) &&
    contains(filters, 'name', spec.Name) &&
    matchesLabels(filters, 'label', spec.Labels) &&
    (dangling === undefined || ['1', 'true'].includes(dangling) !== isUsed())
  )
}

/** Names and ids of networks match in any part (moby, daemon/network/filter.go). */
function contains(filters: Filters, key: string, value: string): boolean {
  return filters.get(key)?.some((part) => value.includes(part)) ?? true
}

/** The engine filters its own; without it the list is the cluster's. */
async function engineNetworks(
  filters: string | null,
  { engine }: Environment,
): Promise<readonly { readonly Name?: string }[]> {
  if (engine === null) return []
  const path = filters === null ? '/networks' : `/networks?filters=${encodeURIComponent(filters)}`
  const { status, body } = await engine.call('GET', path)
  if (status !== 200 || !Array.isArray(body)) return []
  return body.filter((network) => network?.Labels?.[ENGINE_NETWORK_LABEL] === undefined)
}

/** A name that the cluster and the engine both know means neither: the wrong one could go. */
async function checkUnique({ id }: NetworkObject, given: string, env: Environment): Promise<void> {
  if (given === id) return
  const byName = JSON.stringify({ name: { [given]: true } })
  // An engine that is down does not stand in the cluster's way.
  const local = await engineNetworks(byName, env).catch(() => [])
  const count = local.filter(({ Name }) => Name === given).length
  if (count === 0) return
  throw badRequest(`network ${given} is ambiguous (${count + 1} matches found based on name)`)
}

async function inspect(call: Call, env: Environment): Promise<Answer> {
  const given = call.params[0]!
  const scope = call.query.get('scope') ?? ''
  const verbose = strictBoolValue(call.query, 'verbose')
  const store = scope === '' || scope === 'swarm' ? await clusterOf(env) : null
  const network = find(store, given)
  if (network !== null) {
    if (scope === '') await checkUnique(network, given, env)
    const options = {
      nodeId: env.node.status().nodeId,
      minor: call.minor,
      verbose,
    }
    return { status: 200, json: store!.view((tx) => networkDetails(tx, network, options)) }
  }
  if (scope !== 'swarm' && env.engine !== null) return passToEngine(env, call.request)
  // Clients look a service's networks up before they create it.
  if (!isPredefined(given)) throw notFound('network', given)
  return { status: 200, json: predefinedJson(given, call.minor) }
}

async function create(call: Call, env: Environment): Promise<Answer> {
  const given = await call.json<GivenNetwork>(NETWORK_CREATE)
  const isOurs = given.Driver === 'overlay' || given.Scope === 'swarm'
  if (!isOurs) {
    checkNotOurs(given.Name, env)
    return passToEngine(env, await call.again())
  }
  requireCreator(call, env)
  if (given.Driver !== '' && given.Driver !== 'overlay') {
    throw badRequest(
      `a network of the driver ${JSON.stringify(given.Driver)} cannot be of scope swarm: ` +
        'only overlay networks are',
    )
  }
  if (given.Scope === 'local') {
    throw new ApiError(403, 'cannot downgrade network scope for overlay networks')
  }
  return onLeader(call, env, (store) => createOnLeader(call, env, store, given))
}

/** A network of the engine cannot have the name of one of the cluster's. As far as this node knows:
 * a cluster without a leader does not keep the engine from its work. */
function checkNotOurs(name: string, { node }: Environment): void {
  const known =
    node.cluster()?.store.view((tx) => tx.find('networks', 'name', name.toLowerCase())) ?? []
  if (!known.some((network) => isShown(network) && network.spec.Name === name)) return
  throw new ApiError(409, `network with name ${name} already exists`)
}

/** Of old this error had no status of its own. */
function requireCreator({ minor }: Call, { node }: Environment): void {
  const { state, isManager } = node.status()
  if (state === 'active' && !isManager) throw new ApiError(403, ON_WORKER)
  try {
    requireManager(node)
  } catch (error) {
    if (error instanceof ApiError && minor <= 41) throw new ApiError(500, error.message)
    throw error
  }
}

async function createOnLeader(
  call: Call,
  env: Environment,
  store: Store,
  given: GivenNetwork,
): Promise<Reply> {
  const spec = networkSpec(given, call.minor)
  const id = newId((size) => env.node.random(size))
  await inTime(
    store.update((tx) => {
      if (tx.find('networks', 'name', spec.Name.toLowerCase()).length > 0) {
        throw new ApiError(409, `network with name ${spec.Name} already exists`)
      }
      const ingress = tx.all('networks').find((other) => other.spec.Ingress && isShown(other))
      if (spec.Ingress === true && ingress !== undefined) {
        throw rpcError('AlreadyExists', `ingress network (${ingress.id}) is already present`)
      }
      tx.create('networks', { id, spec, allocation: null, pendingDelete: false })
    }),
  )
  return { status: 201, json: { Id: id, Warning: '' } }
}

async function remove(call: Call, env: Environment): Promise<Answer> {
  const given = call.params[0]!
  const network = find(await clusterOf(env), given)
  if (network === null) {
    if (env.engine === null) throw notFound('network', given)
    return passToEngine(env, call.request)
  }
  await checkUnique(network, given, env)
  return onLeader(call, env, async (store) => {
    await inTime(store.update((tx) => removeNetwork(tx, network.id)))
    return { status: 204 }
  })
}

/** It goes once its last tasks are gone. */
function removeNetwork(tx: WriteTransaction, id: string): void {
  const network = tx.get('networks', id)
  if (network === undefined || !isShown(network)) throw notFound('network', id)
  if (network.spec.Ingress === true) checkIngressIsFree(tx)
  const user = usersOf(tx, id)[0]
  if (user !== undefined) {
    throw failedPrecondition(`network ${id} is in use by service ${user.id}`)
  }
  const attached = tx
    .find('tasks', 'network', id)
    .find(({ serviceId, status }) => serviceId === '' && !isTerminal(status.state))
  if (attached !== undefined) {
    throw failedPrecondition(`network ${id} is in use by task ${attached.id}`)
  }
  tx.update('networks', { ...network, pendingDelete: true })
}

function usersOf(tx: ReadTransaction, networkId: string) {
  return tx.find('services', 'network', networkId).filter(({ pendingDelete }) => !pendingDelete)
}

function checkIngressIsFree(tx: ReadTransaction): void {
  const user = tx
    .all('services')
    .find(
      ({ pendingDelete, spec }) =>
        !pendingDelete &&
        (spec.EndpointSpec?.Ports ?? []).some(({ PublishMode }) => PublishMode === 'ingress'),
    )
  if (user === undefined) return
  throw failedPrecondition(
    `ingress network cannot be removed because service ${user.id} depends on it`,
  )
}

/** Removes what nobody uses: of the cluster where this node manages it, and of the engine. */
async function prune(call: Call, env: Environment): Promise<Reply> {
  const filters = readFilters(call.query, ['label', 'label!', 'until'], call.minor)
  const untilMs = untilFilter(filters, env.node.clock.wallMs(), call.minor)
  const store = await clusterOf(env)
  const unused =
    store?.view((tx) =>
      tx.all('networks').filter((network) => isUnused(tx, network, filters, untilMs)),
    ) ?? []
  const removed: string[] = []
  for (const { id, spec } of unused) {
    if (await removeUnused(call, env, id)) removed.push(spec.Name)
  }
  const local = env.engine === null ? [] : await pruneEngine(call, env.engine)
  const all = [...removed, ...local]
  return { status: 200, json: { NetworksDeleted: all.length === 0 ? null : all } }
}

/** False where somebody came to use it in the meantime. */
async function removeUnused(call: Call, env: Environment, id: string): Promise<boolean> {
  const request = {
    ...call.request,
    method: 'DELETE',
    path: `/networks/${id}`,
    body: once(Buffer.alloc(0)),
  }
  try {
    const answer = await onLeader(
      call,
      env,
      async (leading) => {
        await leading.update((tx) => removeNetwork(tx, id))
        return { status: 204 }
      },
      request,
    )
    return answer.status === 204
  } catch (error) {
    if (error instanceof ApiError && /is in use|not found/.test(error.message)) return false
    throw error
  }
}

async function pruneEngine(call: Call, engine: EngineClient): Promise<readonly string[]> {
  const text = call.query.get('filters')
  const path = text === null ? '' : `?filters=${encodeURIComponent(text)}`
  const { status, body } = await engine.call('POST', `/networks/prune${path}`)
  if (status !== 200) throw new ApiError(status, (body as { message?: string })?.message ?? '')
  return (body as { NetworksDeleted?: string[] | null }).NetworksDeleted ?? []
}

function isUnused(
  tx: ReadTransaction,
  network: NetworkObject,
  filters: Filters,
  untilMs: number | null,
): boolean {
  const { id, meta, spec } = network
  if (!isShown(network) || spec.Ingress === true) return false
  if (!matchesLabels(filters, 'label', spec.Labels)) return false
  if (filters.has('label!') && matchesLabels(filters, 'label!', spec.Labels)) return false
  if (untilMs !== null && meta.createdMs > untilMs) return false
  return usersOf(tx, id).length === 0 && tx.find('tasks', 'network', id).length === 0
}

export const NETWORK_ROUTES: readonly Route[] = [
  here('GET', '/networks', list),
  here('POST', '/networks/create', create),
  here('POST', '/networks/prune', prune),
  here('GET', '/networks/{}', inspect),
  here('DELETE', '/networks/{}', remove),
]
