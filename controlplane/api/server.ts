// The listeners: HTTP/1.1 on unix sockets and on TCP with TLS. They turn requests into ApiRequest
// and responses back, and hand upgraded connections to the engine as they are.
//
//   - A unix socket is made with mode 0660 (0600 without a group); a stale one, to which nobody
//     listens, is replaced; one that answers is not.
//   - TCP takes only clients whose certificate the given CA signed: the API gives root on the node.
//   - A response that the client does not read is not pulled; a client that goes away aborts what
//     was being done for it.

import { chmodSync, chownSync, rmSync, statSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { EngineApi } from './engine-api.ts'
import { toApiError } from './errors.ts'
import { CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS_TIMEOUT_MS } from './limits.ts'
import type { ApiRequest } from './node-control.ts'
import { findRoute, isOurs } from './routes.ts'
import { parseTarget } from './target.ts'

export type ListenOn =
  | { readonly kind: 'unix'; readonly path: string; readonly gid?: number }
  | {
      readonly kind: 'tls'
      readonly host: string
      readonly port: number
      /** PEM. `ca` signs the clients. */
      readonly key: string
      readonly cert: string
      readonly ca: string
    }

export interface Listener {
  /** "unix:///run/weft/weft.sock", "tcp://127.0.0.1:2376". */
  readonly address: string
  close(): Promise<void>
}

export async function listen(api: EngineApi, on: ListenOn): Promise<Listener> {
  const answer: RequestListener = (request, response) => void serve(api, request, response)
  const options = {
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    // Bodies may take as long as they like: an image is loaded through here.
    requestTimeout: 0,
    // Who offers another protocol on a path of ours (curl --http2 does) is answered in this one.
    shouldUpgradeCallback: (request: IncomingMessage) => isEngines(request),
  }
  const server =
    on.kind === 'unix'
      ? createServer(options, answer)
      : createTlsServer(
          {
            ...options,
            key: on.key,
            cert: on.cert,
            ca: on.ca,
            requestCert: true,
            rejectUnauthorized: true,
            minVersion: 'TLSv1.2',
          },
          answer,
        )
  server.maxConnections = CONNECTIONS_MAX
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    void upgrade(api, request, socket, head)
  })
  const address = await bind(server, on)
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function bind(server: Server, on: ListenOn): Promise<string> {
  if (on.kind === 'tls') {
    await listening(server, () => server.listen(on.port, on.host))
    const bound = server.address() as { port: number }
    return `tcp://${on.host.includes(':') ? `[${on.host}]` : on.host}:${bound.port}`
  }
  await removeStale(on.path)
  // The socket must not be open to everybody for an instant either.
  const mask = process.umask(0o177)
  try {
    await listening(server, () => server.listen(on.path))
  } finally {
    process.umask(mask)
  }
  if (on.gid !== undefined) {
    chownSync(on.path, process.getuid!(), on.gid)
    chmodSync(on.path, 0o660)
  }
  return `unix://${on.path}`
}

function listening(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      resolve()
    })
    start()
  })
}

/** Removes a socket to which nobody listens. Throws where somebody does, and for other files. */
async function removeStale(path: string): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error(`${path} is there already, and is no socket`)
  const isAlive = await new Promise<boolean>((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
  if (isAlive) throw new Error(`another process listens on ${path}`)
  rmSync(path, { force: true })
}

async function serve(
  api: EngineApi,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => abort.abort())
  const { status, headers, body } = await api.handle(requestOf(request, abort.signal))
  if (response.destroyed) return drop(body)
  response.writeHead(status, { ...headers })
  if (request.method === 'HEAD' || status === 204 || status === 304) {
    await drop(body)
    response.end()
    return
  }
  // Streams show their headers before there is anything to show.
  response.flushHeaders()
  try {
    await pipeline(Readable.from(body, { objectMode: false }), response)
  } catch {
    // The client or the source is gone; either way the other one hears of it.
    response.destroy()
  }
}

async function drop(body: AsyncIterable<Uint8Array>): Promise<void> {
  if (body instanceof Readable) body.destroy()
  else await body[Symbol.asyncIterator]().return?.()
}

/** An upgraded connection is the engine's: attach, exec, sessions of the builder. */
async function upgrade(
  api: EngineApi,
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
): Promise<void> {
  socket.on('error', () => socket.destroy())
  const { engine } = api.environment
  try {
    const given = requestOf(request, new AbortController().signal)
    if (engine !== null) return await engine.splice(given, socket, head)
    throw toApiError(new Error('This node has no Docker engine to upgrade the connection to.'))
  } catch (error) {
    const { message } = toApiError(error)
    const status = engine === null ? '501 Not Implemented' : '503 Service Unavailable'
    const body = `${JSON.stringify({ message })}\n`
    socket.end(
      `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nConnection: close\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
  }
}

/** True for paths that nothing here answers. */
function isEngines({ method = '', url = '/' }: IncomingMessage): boolean {
  try {
    const { path } = parseTarget(url)
    return !isOurs(path) && findRoute(method, path) === null
  } catch {
    return false
  }
}

function requestOf(request: IncomingMessage, signal: AbortSignal): ApiRequest {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return {
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    headers,
    body: request,
    signal,
  }
}
