// The local engine, as the API sees it: a socket that answers the paths which are not ours. What
// passes through keeps its bytes, streams and headers; only the version in the path is brought down
// to what the engine takes.

import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { pipeline, Readable } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { ApiError } from './errors.ts'
import {
  API_MINOR_MAX,
  ENGINE_ANSWER_BYTES_MAX,
  ENGINE_BODY_AT_ONCE_MAX,
  ENGINE_TIMEOUT_MS,
  ENGINE_VERSION_KEPT_MS,
} from './limits.ts'
import type { ApiRequest, ApiResponse } from './node-control.ts'
import { once, parseTarget } from './target.ts'

/** Headers that belong to one connection, not to what it carries (RFC 9110 section 7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

export class EngineClient {
  readonly #socketPath: string
  readonly #clock: Clock
  readonly #agent = new Agent({ keepAlive: false })
  #minor: { readonly value: number; readonly untilMs: number } | null = null

  constructor(socketPath: string, clock: Clock) {
    this.#socketPath = socketPath
    this.#clock = clock
  }

  /** The newest API version 1.N that the engine takes. */
  async minor(): Promise<number> {
    if (this.#minor !== null && this.#clock.nowMs() < this.#minor.untilMs) return this.#minor.value
    const response = await this.#send(
      'HEAD',
      '/_ping',
      {},
      null,
      AbortSignal.timeout(ENGINE_TIMEOUT_MS),
    )
    response.resume()
    const match = /^1\.(\d{1,4})$/.exec(String(response.headers['api-version'] ?? ''))
    const value = match === null ? API_MINOR_MAX : Number(match[1])
    this.#minor = { value, untilMs: this.#clock.nowMs() + ENGINE_VERSION_KEPT_MS }
    return value
  }

  /** Hands a request on as it is, and its answer back. */
  async pass(given: ApiRequest): Promise<ApiResponse> {
    const path = await this.#pathFor(given.path)
    const body = given.method === 'HEAD' || given.method === 'GET' ? null : given.body
    const response = await this.#send(given.method, path, given.headers, body, given.signal)
    return { status: response.statusCode ?? 502, headers: headersOf(response), body: response }
  }

  /** Asks for JSON. Null when the answer is no 2xx. */
  async json(path: string): Promise<unknown> {
    const { status, body } = await this.call('GET', path)
    return status >= 200 && status < 300 ? body : null
  }

  /** One question and its whole answer; `body` is JSON, or text where it is none. */
  async call(
    method: string,
    path: string,
    json?: unknown,
  ): Promise<{ readonly status: number; readonly body: unknown }> {
    const sent = json === undefined ? null : Buffer.from(JSON.stringify(json))
    const headers: Record<string, string> =
      sent === null
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(sent.length) }
    const signal = AbortSignal.timeout(ENGINE_TIMEOUT_MS)
    const response = await this.#send(method, path, headers, sent && once(sent), signal)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of response) {
      size += (chunk as Buffer).length
      if (size > ENGINE_ANSWER_BYTES_MAX) {
        response.destroy()
        throw new ApiError(500, 'the answer of the local engine is too large')
      }
      chunks.push(chunk as Buffer)
    }
    const text = Buffer.concat(chunks).toString('utf8')
    return { status: response.statusCode ?? 502, body: parsed(text) }
  }

  /** Joins the two ends of an upgraded connection: what the client sent so far is `head`. */
  async splice(given: ApiRequest, client: Socket, head: Buffer): Promise<void> {
    const path = await this.#pathFor(given.path)
    const lines = Object.entries(given.headers).map(([name, value]) => `${name}: ${value}`)
    const engine = connect(this.#socketPath)
    await new Promise<void>((resolve, reject) => {
      engine.once('connect', resolve)
      engine.once('error', () => reject(this.#unreachable()))
    })
    engine.write(`${given.method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    if (head.length > 0) engine.write(head)
    const end = (): void => {
      engine.destroy()
      client.destroy()
    }
    // Each direction ends by itself: a client that has no more input still wants the output.
    pipeline(client, engine, (error) => error && end())
    pipeline(engine, client, end)
  }

  close(): void {
    this.#agent.destroy()
  }

  async #pathFor(target: string): Promise<string> {
    const { prefix, minor } = parseTarget(target)
    if (prefix === '') return target
    const newest = await this.minor()
    return minor <= newest ? target : `/v1.${newest}${target.slice(prefix.length)}`
  }

  #send(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body: AsyncIterable<Uint8Array> | null,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const kept = Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name))
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest({
        socketPath: this.#socketPath,
        agent: this.#agent,
        method,
        path,
        headers: { ...Object.fromEntries(kept), host: 'docker' },
        signal,
      })
      outgoing.once('response', resolve)
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        const isDown = error.code === 'ECONNREFUSED' || error.code === 'ENOENT'
        reject(isDown ? this.#unreachable() : error)
      })
      if (body === null) outgoing.end()
      else if (isSmall(headers)) void endWith(outgoing, body)
      else pipeline(Readable.from(body, { objectMode: false }), outgoing, () => {})
    })
  }

  #unreachable(): ApiError {
    return new ApiError(
      503,
      `Cannot connect to the Docker daemon at unix://${this.#socketPath}. ` +
        'Is the docker daemon running?',
    )
  }
}

function isSmall(headers: Readonly<Record<string, string>>): boolean {
  const length = headers['content-length']
  return length !== undefined && Number(length) <= ENGINE_BODY_AT_ONCE_MAX
}

/** Sends a body in one write. Its end, written later, could meet a connection that the engine has
 * closed behind a quick answer, and the answer would be lost for a broken pipe. */
async function endWith(outgoing: ClientRequest, body: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    const chunks: Uint8Array[] = []
    for await (const chunk of body) chunks.push(chunk)
    outgoing.end(Buffer.concat(chunks))
  } catch (error) {
    outgoing.destroy(error as Error)
  }
}

function headersOf(response: IncomingMessage): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(response.headers)) {
    if (value === undefined || HOP_BY_HOP.has(name)) continue
    kept[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return kept
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** What `docker inspect NAME` asks for before services and nodes. Where there is no engine there is
 * nothing of that name: so the CLI goes on to the cluster's objects. */
const LOOKUPS: readonly (readonly [RegExp, (name: string) => string])[] = [
  [/^\/containers\/([^/]+)\/json$/, (name) => `No such container: ${name}`],
  [/^\/images\/(.+)\/json$/, (name) => `No such image: ${name}`],
  [/^\/volumes\/([^/]+)$/, (name) => `get ${name}: no such volume`],
  [/^\/plugins\/([^/]+)\/json$/, (name) => `plugin ${JSON.stringify(name)} not found`],
]

/** Throws 501 with a sentence where there is no engine. */
export function passToEngine(
  { engine }: { readonly engine: EngineClient | null },
  request: ApiRequest,
): Promise<ApiResponse> {
  if (engine !== null) return engine.pass(request)
  const { path } = parseTarget(request.path)
  for (const [pattern, words] of LOOKUPS) {
    const match = request.method === 'GET' ? pattern.exec(path) : null
    if (match !== null) throw new ApiError(404, words(match[1]!))
  }
  throw new ApiError(
    501,
    'This node has no Docker engine: weft serves the swarm part of the API alone ' +
      `(${request.method} ${path}).`,
  )
}
