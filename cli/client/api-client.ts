// The Engine API, asked: HTTP over the agent's unix socket. What the API refuses is an ApiRefusal
// with its words.

import { request as httpRequest, type IncomingMessage } from 'node:http'

/** Newest version that both this client and the API speak. */
const VERSION = 'v1.50'
/** Bytes of an answer that is read whole. */
const ANSWER_BYTES_MAX: number = 64 * 1024 * 1024

/** The API said no; its words are for the user. */
export class ApiRefusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = 'ApiRefusal'
    this.status = status
  }
}

/** Headers beyond those of the body. */
export type Headers = Readonly<Record<string, string>>

export interface ApiAnswer {
  readonly status: number
  readonly text: string
  /** Undefined where the text is no JSON. */
  readonly json: unknown
}

export class ApiClient {
  /** Path of the socket. */
  readonly socketPath: string

  /** "v1.41" for an engine that is older than this client. */
  readonly version: string

  constructor(socketPath: string, version: string = VERSION) {
    this.socketPath = socketPath
    this.version = version
  }

  /** The answer's JSON. Rejects with ApiRefusal for statuses of 400 and above. */
  async ask<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Headers,
  ): Promise<T> {
    const { status, json, text } = await this.call(method, path, body, headers)
    if (status < 400) return json as T
    const { message } = Object(json) as { message?: unknown }
    throw new ApiRefusal(status, typeof message === 'string' ? message : text)
  }

  /** Any answer. Rejects when there is none. */
  async call(method: string, path: string, body?: unknown, headers?: Headers): Promise<ApiAnswer> {
    const response = await this.open(method, path, body, headers)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of response) {
      chunks.push(chunk as Buffer)
      size += (chunk as Buffer).length
      if (size > ANSWER_BYTES_MAX) throw new Error('the answer is too long')
    }
    const text = Buffer.concat(chunks).toString('utf8')
    return { status: response.statusCode ?? 0, text, json: parsed(text) }
  }

  /** The answer as it comes. */
  open(method: string, path: string, body?: unknown, more: Headers = {}): Promise<IncomingMessage> {
    const text = body === undefined ? null : JSON.stringify(body)
    const headers: Record<string, string | number> =
      text === null
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(
        {
          socketPath: this.socketPath,
          method,
          path: `/${this.version}${path}`,
          headers: { host: 'weft', ...headers, ...more },
          agent: false,
        },
        resolve,
      )
      outgoing.once('error', (error: NodeJS.ErrnoException) => {
        reject(new Error(reachability(this.socketPath, error)))
      })
      outgoing.end(text ?? undefined)
    })
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function reachability(path: string, error: NodeJS.ErrnoException): string {
  if (error.code === 'EACCES') return `no permission to use the agent's socket ${path}`
  if (error.code !== 'ENOENT' && error.code !== 'ECONNREFUSED') {
    return `the agent at ${path} did not answer: ${error.message}`
  }
  return `no agent answers at ${path}: is "weft up" running?`
}
