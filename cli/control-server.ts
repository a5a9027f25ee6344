// The agent's control socket: a unix socket in the run directory, mode 0600. It answers what
// control-protocol.ts lists, each connection's requests one after the other, and is bounded in
// everything a client decides: connections, bytes of a line, time without a request.
//
// A socket file that nobody listens to is what a killed agent left, and is replaced; one that
// somebody answers belongs to an agent that runs, and is respected.

import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  unlinkSync,
} from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import process from 'node:process'
import type { Logger } from '../base/log.ts'
import { CONTROL_SOCKET_NAME, type ControlReply, parseRequest } from './control-protocol.ts'
import { CONTROL_CONNECTIONS_MAX, CONTROL_IDLE_MS, CONTROL_LINE_SIZE_MAX } from './limits.ts'
import { LineSplitter } from './lines.ts'

/** Bytes of sun_path (unix(7)) without its closing zero. */
const PATH_SIZE_MAX = 107

/** Answers one verb; what it throws is told to the client as a sentence. */
export type Handler = (given: unknown) => unknown

export interface ControlServer {
  close(): Promise<void>
}

/** Serves the control socket of `runDirectory`. Rejects with a sentence when another agent has it,
 * or when it cannot be made. */
export async function serveControl(
  runDirectory: string,
  handlers: ReadonlyMap<string, Handler>,
  log: Logger,
): Promise<ControlServer> {
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 })
  const place = openPlace(runDirectory)
  try {
    await clearStale(place.path, runDirectory)
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      serveSocket(socket, handlers)
    })
    server.maxConnections = CONTROL_CONNECTIONS_MAX
    await listen(server, place.path)
    server.on('error', (error) => log.warn('the control socket failed', { error: error.message }))
    return {
      close: () =>
        new Promise((done) => {
          server.close(() => {
            place.close()
            done()
          })
          for (const socket of sockets) socket.destroy()
        }),
    }
  } catch (error) {
    place.close()
    throw error
  }
}

export interface SocketPlace {
  /** A path of the socket that fits into an address. */
  readonly path: string
  close(): void
}

/** The control socket of a run directory. Where its path is too long for an address, it is reached
 * through the open directory. */
export function openPlace(runDirectory: string): SocketPlace {
  const path = join(runDirectory, CONTROL_SOCKET_NAME)
  if (Buffer.byteLength(path) <= PATH_SIZE_MAX) return { path, close: () => {} }
  const fd = openSync(runDirectory, constants.O_RDONLY | constants.O_DIRECTORY)
  let isOpen = true
  return {
    path: `/proc/self/fd/${fd}/${CONTROL_SOCKET_NAME}`,
    close: () => {
      if (isOpen) closeSync(fd)
      isOpen = false
    },
  }
}

/** Removes a socket that nobody listens to. */
async function clearStale(path: string, runDirectory: string): Promise<void> {
  const shown = join(runDirectory, CONTROL_SOCKET_NAME)
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new Error(`${shown} is in the way: it is no socket`)
  if (await isAnswered(path)) {
    throw new Error(
      `another agent runs with this run directory (it answers on ${shown}); ` +
        'end it first, or give this one another --run-dir',
    )
  }
  unlinkSync(path)
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((done, fail) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // EAGAIN: somebody listens and has no room.
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') done(false)
      else if (error.code === 'EAGAIN') done(true)
      else fail(error)
    })
  })
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise<void>((done, fail) => {
    server.once('error', fail)
    // The file is made inside the call, so there is no moment at which others could open it.
    const before = process.umask(0o177)
    try {
      server.listen(path, () => {
        server.removeListener('error', fail)
        done()
      })
    } finally {
      process.umask(before)
    }
  }).then(() => chmodSync(path, 0o600))
}

/** Answers one connection's requests in order. While one is being answered nothing more is read. */
function serveSocket(socket: Socket, handlers: ReadonlyMap<string, Handler>): void {
  const lines = new LineSplitter(CONTROL_LINE_SIZE_MAX)
  let last: Promise<void> = Promise.resolve()
  let open = 0
  socket.setTimeout(CONTROL_IDLE_MS, () => socket.destroy())
  // What goes wrong with one connection is that connection's end.
  socket.on('error', () => socket.destroy())
  socket.on('data', (bytes: Buffer) => {
    const fits = lines.push(bytes, (line) => {
      open++
      socket.pause()
      last = last.then(async () => {
        const reply = await answer(line, handlers)
        if (socket.destroyed) return
        if (reply === null) socket.destroy()
        else if (!socket.write(`${reply}\n`)) await drained(socket)
        open--
        if (open === 0) socket.resume()
      })
    })
    if (!fits) socket.destroy()
  })
}

function drained(socket: Socket): Promise<void> {
  return new Promise((done) => {
    socket.once('drain', () => done())
    socket.once('close', () => done())
  })
}

/** The reply to one line, null when the line is no request. */
async function answer(
  line: string,
  handlers: ReadonlyMap<string, Handler>,
): Promise<string | null> {
  const request = parseRequest(line)
  if (request === null) return null
  const { id, verb, given } = request
  const reply = (value: ControlReply): string => JSON.stringify(value)
  const handler = handlers.get(verb)
  if (handler === undefined) return reply({ id, error: 'there is no such verb' })
  try {
    const text = reply({ id, answer: (await handler(given)) ?? null })
    if (Buffer.byteLength(text) <= CONTROL_LINE_SIZE_MAX) return text
    return reply({ id, error: 'the answer is too long' })
  } catch (error) {
    return reply({ id, error: (error as Error).message })
  }
}
