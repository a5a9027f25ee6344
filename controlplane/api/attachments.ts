// Containers of the local engine on overlays of the cluster: `docker run --network NAME`. weft is
// the engine's network driver, so the engine can attach a container to a twin of the overlay; all
// that is missing is the twin. It is made here, just before the request that names the overlay goes
// on to the engine, and names of ours in the request become the engine's.

import type { Call, Environment, Reply } from './call.ts'
import { passToEngine } from './engine-client.ts'
import { ApiError, badRequest } from './errors.ts'
import type { ApiResponse, EngineNetwork } from './node-control.ts'
import { here, type Route } from './route.ts'
import { once } from './target.ts'

/** Modes of a container's network that are no networks. */
const NO_NETWORK = new Set(['', 'default', 'bridge', 'host', 'none', 'private'])

type JsonObject = Record<string, unknown>

async function createContainer(call: Call, env: Environment): Promise<Reply | ApiResponse> {
  const body = await bodyOf(call)
  if (body === null) return passToEngine(env, await call.again())
  const host = member(body, 'HostConfig')
  const networking = member(body, 'NetworkingConfig')
  const renamed = new Map<string, string>()
  const nameServers: string[] = []
  for (const name of networksOf(host, networking)) {
    const twin = await twinOf(env, name)
    if (twin === null) continue
    renamed.set(name, twin.name)
    nameServers.push(...twin.nameServers)
  }
  if (renamed.size === 0) return passToEngine(env, await call.again())
  if (host !== null) {
    const mode = keyOf(host, 'NetworkMode')
    const given = host[mode]
    if (typeof given === 'string') host[mode] = renamed.get(given) ?? given
    useNameServers(host, nameServers)
  }
  const endpoints = networking === null ? null : member(networking, 'EndpointsConfig')
  if (networking !== null && endpoints !== null) {
    const entries = Object.entries(endpoints).map(([name, value]): [string, unknown] => [
      renamed.get(name) ?? name,
      value,
    ])
    networking[keyOf(networking, 'EndpointsConfig')] = Object.fromEntries(entries)
  }
  return passWithBody(call, env, call.request.path, body)
}

function networksOf(host: JsonObject | null, networking: JsonObject | null): Set<string> {
  const mode = host?.[keyOf(host, 'NetworkMode')]
  const endpoints = networking === null ? null : member(networking, 'EndpointsConfig')
  const named = [...(typeof mode === 'string' ? [mode] : []), ...Object.keys(endpoints ?? {})]
  return new Set(named.filter((name) => !NO_NETWORK.has(name) && !name.startsWith('container:')))
}

/** Names of the cluster are asked for at the network's gateways; what the user has said comes
 * first. */
function useNameServers(host: JsonObject, nameServers: readonly string[]): void {
  const key = keyOf(host, 'Dns')
  const given = host[key]
  if (Array.isArray(given) && given.length > 0) return
  host[key] = nameServers
}

export function notAttachable(name: string): ApiError {
  return new ApiError(
    403,
    `Could not attach to network ${name}: rpc error: code = PermissionDenied desc = ` +
      `network ${name} not manually attachable`,
  )
}

/** Null when the name is none of the cluster's. Throws 403 for one that containers may not use. */
async function twinOf(
  { node, services }: Environment,
  name: string,
): Promise<EngineNetwork | null> {
  const { state } = node.status()
  if (state !== 'active') return null
  const found = node
    .cluster()
    ?.store.view((tx) =>
      tx
        .all('networks')
        .find(
          ({ id, spec, pendingDelete }) => !pendingDelete && (id === name || spec.Name === name),
        ),
    )
  if (found !== undefined && found.spec.Attachable !== true) {
    throw notAttachable(name)
  }
  return services.ensureEngineNetwork(name)
}

/** POST /networks/{}/connect: the network must be there before. */
async function connect(call: Call, env: Environment): Promise<Reply | ApiResponse> {
  const given = call.params[0]!
  const twin = await twinOf(env, given)
  const request = await call.again()
  if (twin === null || twin.name === given) return passToEngine(env, request)
  return passToEngine(env, { ...request, path: withNetwork(call, twin.name) })
}

/** A disconnect names the network by which the container has it, the twin. */
async function disconnect(call: Call, env: Environment): Promise<Reply | ApiResponse> {
  const given = call.params[0]!
  const network = env.node.cluster()?.store.view((tx) => tx.get('networks', given))
  if (network === undefined) return passToEngine(env, call.request)
  return passToEngine(env, { ...call.request, path: withNetwork(call, network.spec.Name) })
}

function withNetwork({ request, params }: Call, name: string): string {
  const part = `/networks/${encodeURIComponent(params[0]!)}/`
  return request.path.replace(part, `/networks/${encodeURIComponent(name)}/`)
}

async function bodyOf(call: Call): Promise<JsonObject | null> {
  const text = (await call.body()).toString('utf8')
  if (text.trim() === '') return null
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw badRequest('the body is no JSON')
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : null
}

/** The member called `name`, in any case; null where it is no object. */
function member(object: JsonObject, name: string): JsonObject | null {
  const value = object[keyOf(object, name)]
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
  return value as JsonObject
}

function keyOf(object: JsonObject, name: string): string {
  const wanted = name.toLowerCase()
  return Object.keys(object).find((key) => key.toLowerCase() === wanted) ?? name
}

function passWithBody(
  call: Call,
  env: Environment,
  path: string,
  body: JsonObject,
): Promise<ApiResponse> {
  const bytes = Buffer.from(JSON.stringify(body))
  const headers = { ...call.request.headers, 'content-length': String(bytes.length) }
  return passToEngine(env, { ...call.request, path, headers, body: once(bytes) })
}

export const ATTACHMENT_ROUTES: readonly Route[] = [
  here('POST', '/containers/create', createContainer),
  here('POST', '/networks/{}/connect', connect),
  here('POST', '/networks/{}/disconnect', disconnect),
]
