// The Engine API, free of sockets: a request in, a response out. The listeners (server.ts) bring
// requests of clients, the agent brings those that other managers forward.
//
//   1. Take the version off the path; look the rest up in the route table (routes.ts).
//   2. No route: the path is the local engine's, unless it lies in a folder that is ours.
//   3. A route of the cluster needs a manager (`read`) or the leader (`write`), to whom the whole
//      request goes. Routes that are `here` decide for themselves.
//   4. Whatever is thrown becomes {"message"} with a status (errors.ts).

import { type Logger, silentLogger } from '../../base/log.ts'
import { Call, type Environment, type Reply } from './call.ts'
import { clusterStore, onLeader } from './cluster-access.ts'
import { EngineClient, passToEngine } from './engine-client.ts'
import { ApiError, toApiError } from './errors.ts'
import { EventLog } from './event-log.ts'
import { API_MINOR_MAX } from './limits.ts'
import type { ApiRequest, ApiResponse, NodeControl, NodeServices } from './node-control.ts'
import { findRoute, isOurs } from './routes.ts'
import { once, parseTarget } from './target.ts'

export interface EngineApiOptions {
  /** Of weft: for /version and the Server header. */
  readonly version: string
  readonly log?: Logger
}

export class EngineApi {
  readonly environment: Environment

  constructor(options: EngineApiOptions, node: NodeControl, services: NodeServices) {
    const { engineSocket, clock } = node
    this.environment = {
      version: options.version,
      node,
      services,
      engine: engineSocket === null ? null : new EngineClient(engineSocket, clock),
      events: new EventLog(clock),
      log: options.log ?? silentLogger,
    }
    this.clusterChanged()
  }

  /** To be called when the node has become a manager, or is none any more: events follow its store.
   * Without it they do so from the next request on. */
  clusterChanged(): void {
    this.environment.events.follow(this.environment.node.cluster()?.store ?? null)
  }

  /** Serves a client of this node. Never rejects. */
  handle(request: ApiRequest): Promise<ApiResponse> {
    return this.#handle(request, false)
  }

  /** Serves a client of another manager, on the leader. Never rejects. */
  handleForwarded(request: ApiRequest): Promise<ApiResponse> {
    return this.#handle(request, true)
  }

  close(): void {
    this.environment.events.follow(null)
    this.environment.engine?.close()
  }

  async #handle(request: ApiRequest, isForwarded: boolean): Promise<ApiResponse> {
    this.clusterChanged()
    try {
      return this.#withHeaders(await this.#route(request, isForwarded))
    } catch (error) {
      const { status, message } = toApiError(error)
      if (status === 500) this.environment.log.debug('request failed', { error: message })
      return this.#withHeaders({ status, json: { message } })
    }
  }

  async #route(request: ApiRequest, isForwarded: boolean): Promise<Reply | ApiResponse> {
    const env = this.environment
    const target = parseTarget(request.path)
    // Of any path, as the Docker Engine answers it.
    if (request.method === 'OPTIONS') return { status: 200 }
    const found = findRoute(request.method, target.path)
    if (found === null) return this.#passOn(request, target.path, isForwarded)
    const call = new Call(request, target, found.params, isForwarded)
    const { route } = found
    if (route.where === 'here') return route.handle(call, env)
    if (route.where === 'read') return route.handle(call, env, await clusterStore(env))
    return onLeader(call, env, (store) => route.handle(call, env, store))
  }

  #passOn(request: ApiRequest, path: string, isForwarded: boolean): Promise<ApiResponse> {
    if (isOurs(path) || isForwarded) throw new ApiError(404, 'page not found')
    return passToEngine(this.environment, request)
  }

  #withHeaders(reply: Reply | ApiResponse): ApiResponse {
    const own = {
      'api-version': `1.${API_MINOR_MAX}`,
      'docker-experimental': 'false',
      ostype: 'linux',
      server: `Docker/${this.environment.version} (linux)`,
    }
    if ('body' in reply) return { ...reply, headers: { ...reply.headers, ...own } }
    const { status, headers, json, text, stream } = reply as Reply
    if (stream !== undefined) return { status, headers: { ...own, ...headers }, body: stream }
    const body = Buffer.from(json === undefined ? (text ?? '') : `${JSON.stringify(json)}\n`)
    const type: Record<string, string> =
      json === undefined ? {} : { 'content-type': 'application/json' }
    // 204 has no body and must not claim a length (RFC 9110 section 8.6).
    const length: Record<string, string> =
      status === 204 ? {} : { 'content-length': String(body.length) }
    return { status, headers: { ...own, ...type, ...length, ...headers }, body: once(body) }
  }
}
