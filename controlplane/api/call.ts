// One request under way: its path without the version, its query, its body as far as it was read,
// and the answer of a handler.

import type { Logger } from '../../base/log.ts'
import { decodeJson, type Struct } from './decode.ts'
import type { EngineClient } from './engine-client.ts'
import { ApiError, badRequest } from './errors.ts'
import type { EventLog } from './event-log.ts'
import { BODY_BYTES_MAX } from './limits.ts'
import type { ApiRequest, ApiResponse, NodeControl, NodeServices } from './node-control.ts'
import { once, type Target } from './target.ts'

/** What handlers work with. */
export interface Environment {
  /** Of weft, as /version tells it. */
  readonly version: string
  readonly node: NodeControl
  readonly services: NodeServices
  readonly engine: EngineClient | null
  readonly events: EventLog
  readonly log: Logger
}

/** A handler's answer: JSON, text, a stream or nothing. */
export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly json?: unknown
  readonly text?: string
  readonly stream?: AsyncIterable<Uint8Array>
}

export type Handler = (call: Call, env: Environment) => Reply | Promise<Reply | ApiResponse>

export class Call {
  readonly request: ApiRequest
  /** "/services/web", without version and query; escapes are still there. */
  readonly path: string
  /** The path's variable parts, unescaped. */
  readonly params: readonly string[]
  readonly query: URLSearchParams
  /** API version 1.N that the client speaks. */
  readonly minor: number
  /** True when another manager handed it over: never forwarded again. */
  readonly isForwarded: boolean
  #body: Promise<Buffer> | null = null

  constructor(
    request: ApiRequest,
    target: Target,
    params: readonly string[],
    isForwarded: boolean,
  ) {
    this.request = request
    this.path = target.path
    this.query = target.query
    this.minor = target.minor
    this.params = params
    this.isForwarded = isForwarded
  }

  /** The whole body, once. Throws ApiError 413 for one over the limit. */
  body(): Promise<Buffer> {
    this.#body ??= readAll(this.request.body)
    return this.#body
  }

  /** The body decoded (decode.ts). An empty one is as good as {}, but to old clients. */
  async json<T>(shape: Struct): Promise<T> {
    const body = await this.body()
    if (this.minor <= 41) {
      if (body.length === 0) throw badRequest('got EOF while reading request body')
    } else if (body.length > 0) {
      checkContentType(this.request.headers['content-type'] ?? '')
    }
    const text = body.length === 0 ? '{}' : body.toString('utf8')
    return decodeJson(shape, text) as T
  }

  /** The request to hand on, with what was read of it put back. */
  async again(): Promise<ApiRequest> {
    if (this.#body === null) return this.request
    return { ...this.request, body: once(await this.#body) }
  }
}

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) throw new ApiError(413, 'http: request body too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function checkContentType(given: string): void {
  const type = given.split(';', 1)[0]!.trim().toLowerCase()
  if (type === '') throw badRequest('malformed Content-Type header (): mime: no media type')
  if (type === 'application/json') return
  throw badRequest(`unsupported Content-Type header (${given}): must be 'application/json'`)
}
