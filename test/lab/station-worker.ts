// The thread behind station.ts: enters the namespace it is told and does what it is asked.
//
// TCP: the server sends a line of JSON (Greeting) and then echoes. A line "bulk UP DOWN" turns the
// connection into a transfer: UP bytes of a known pattern from the client, DOWN bytes from the
// server at the same time; the server ends with 64 characters, the digest of what it got.

import { createHash, type Hash } from 'node:crypto'
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { closeSync, openSync } from 'node:fs'
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import koffi from 'koffi'
import type {
  Bulk,
  Greeting,
  Reply,
  Served,
  StationAnswer,
  StationCalls,
  StationRequest,
} from './station.ts'

const { netns, name } = workerData as { netns: string; name: string }

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000
const DIGEST_LENGTH = 64
/** The pattern that bulk transfers repeat; its length is prime to every segment size. */
const PATTERN: Buffer = Buffer.from(
  Array.from({ length: 65_521 }, (_, i) => (i * i * 31 + i) & 255),
)

function enter(): void {
  const setns = koffi.load(null).func('int setns(int fd, int nstype)')
  const fd = openSync(netns, 'r')
  const result = setns(fd, CLONE_NEWNET)
  closeSync(fd)
  if (result !== 0) throw new Error(`setns(${netns}) failed: errno ${koffi.errno()}`)
}

class CodeError extends Error {
  readonly code: string

  constructor(code: string) {
    super(code)
    this.code = code
  }
}

const codeOf = (error: unknown): string => {
  const { code, message } = error as Error & { code?: string }
  return code ?? message
}

const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '')

/** Rejects with ETIMEDOUT when `work` takes longer. */
async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new CodeError('ETIMEDOUT')), timeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function greetingOf(socket: Socket): Greeting {
  return {
    name,
    peer: plain(socket.remoteAddress),
    peerPort: socket.remotePort ?? 0,
    local: plain(socket.localAddress),
    localPort: socket.localPort ?? 0,
  }
}

function patternDigest(size: number): string {
  const hash = createHash('sha256')
  for (let left = size; left > 0; left -= PATTERN.length) {
    hash.update(left >= PATTERN.length ? PATTERN : PATTERN.subarray(0, left))
  }
  return hash.digest('hex')
}

/** Writes `size` bytes of the pattern at the speed of the receiver, then calls `done`. */
function pour(socket: Socket, size: number, done: () => void): void {
  let left = size
  const more = (): void => {
    while (left > 0) {
      const piece = left >= PATTERN.length ? PATTERN : PATTERN.subarray(0, left)
      left -= piece.length
      if (!socket.write(piece)) {
        socket.once('drain', more)
        return
      }
    }
    done()
  }
  more()
}

// -- TCP server
// --------------------------------------------------------------------------------------

const servers = new Map<number, (Server | UdpSocket)[]>()
const served = new Map<number, { -readonly [K in keyof Served]: Served[K] }[]>()

function note(port: number, closer: Server | UdpSocket): void {
  servers.set(port, [...(servers.get(port) ?? []), closer])
}

function serveTcp({ port, proxied }: StationCalls['serveTcp'][0]): Promise<null> {
  const list = served.get(port) ?? []
  served.set(port, list)
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const row = {
      peer: plain(socket.remoteAddress),
      peerPort: socket.remotePort ?? 0,
      state: 'open',
      header: '',
    }
    list.push(row)
    socket.on('error', (error) => {
      row.state = codeOf(error)
    })
    socket.on('close', () => {
      if (row.state === 'open') row.state = 'end'
    })
    attend(socket, proxied === true ? headerReader(row) : (data) => data)
  })
  note(port, server)
  return new Promise((resolve, reject) => {
    server.on('error', reject)
    server.listen({ port, host: '::', backlog: 511 }, () => resolve(null))
  })
}

/** Takes a PROXY header off the front of what comes, and notes it. */
function headerReader(row: { header: string }): (data: Buffer) => Buffer {
  let read: Buffer = Buffer.alloc(0)
  return (data) => {
    if (row.header !== '') return data
    read = Buffer.concat([read, data])
    const isText = read.subarray(0, 5).toString('latin1') === 'PROXY'
    const isWhole = isText ? read.includes('\r\n') : read.length >= 16
    if (!isWhole) return Buffer.alloc(0)
    const size = isText ? read.indexOf('\r\n') + 2 : 16 + read.readUInt16BE(14)
    if (read.length < size) return Buffer.alloc(0)
    row.header = read.subarray(0, size).toString('hex')
    return read.subarray(size)
  }
}

function attend(socket: Socket, strip: (data: Buffer) => Buffer): void {
  socket.write(`${JSON.stringify(greetingOf(socket))}\n`)
  let bulk: { hash: Hash; left: number } | null = null
  const take = (data: Buffer): void => {
    if (bulk === null) return
    bulk.hash.update(data)
    bulk.left -= data.length
  }
  socket.on('data', (raw: Buffer) => {
    const data = strip(raw)
    if (data.length === 0) return
    if (bulk !== null) return take(data)
    const order = /^bulk (\d+) (\d+)\n/.exec(data.subarray(0, 64).toString('latin1'))
    if (order === null) {
      socket.write(data)
      return
    }
    bulk = { hash: createHash('sha256'), left: Number(order[1]) }
    take(data.subarray(order[0].length))
    let poured = false
    let heard = false
    const finish = (): void => {
      if (poured && heard) socket.end(bulk!.hash.digest('hex'))
    }
    pour(socket, Number(order[2]), () => {
      poured = true
      finish()
    })
    socket.on('end', () => {
      heard = true
      finish()
    })
  })
  socket.on('end', () => {
    if (bulk === null) socket.end()
  })
}

// -- UDP server
// --------------------------------------------------------------------------------------

function serveUdp({ port, family }: StationCalls['serveUdp'][0]): Promise<null> {
  const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 })
  note(port, socket)
  socket.on('message', (message: Buffer, from: RemoteInfo) => {
    const reply: Omit<Reply, 'from' | 'fromPort'> = {
      name,
      peer: from.address,
      peerPort: from.port,
      local: '',
      localPort: port,
      size: message.length,
      digest: createHash('sha256').update(message).digest('hex'),
    }
    socket.send(JSON.stringify(reply), from.port, from.address, () => {})
  })
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.bind({ port, address: family === 4 ? '0.0.0.0' : '::' }, () => resolve(null))
  })
}

async function unserve({ port }: StationCalls['unserve'][0]): Promise<null> {
  for (const server of servers.get(port) ?? []) server.close()
  servers.delete(port)
  return null
}

// -- TCP client
// --------------------------------------------------------------------------------------

interface Held {
  readonly socket: Socket
  readonly lines: string[]
  readonly ended: Promise<string>
  /** Called when a line is there or the connection has ended. */
  wake: () => void
  isOver: boolean
  how: string
}

const held = new Map<number, Held>()
const talks = new Map<
  number,
  { socket: UdpSocket; address: string; port: number; connected: boolean }
>()
let nextHeld = 1
let nextQuestion = 1

function lineOf(call: Held): Promise<string> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const line = call.lines.shift()
      if (line !== undefined) resolve(line)
      else if (call.isOver) reject(new CodeError(call.how))
    }
    call.wake = look
    look()
  })
}

async function connect(args: StationCalls['connect'][0]): Promise<StationCalls['connect'][1]> {
  const { address, port, localPort, localAddress, timeoutMs = 3000 } = args
  const socket = netConnect({
    host: address,
    port,
    noDelay: true,
    ...(localPort === undefined ? {} : { localPort }),
    ...(localAddress === undefined ? {} : { localAddress }),
  })
  const call: Held = {
    socket,
    lines: [],
    wake: () => {},
    isOver: false,
    how: 'end',
    ended: new Promise((resolve) => {
      socket.on('error', (error) => {
        call.how = codeOf(error)
      })
      socket.on('close', () => {
        call.isOver = true
        call.wake()
        resolve(call.how)
      })
    }),
  }
  let rest = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    const pieces = (rest + text).split('\n')
    rest = pieces.pop() ?? ''
    call.lines.push(...pieces)
    call.wake()
  })
  try {
    const greeting = JSON.parse(await within(timeoutMs, lineOf(call))) as Greeting
    const id = nextHeld++
    held.set(id, call)
    return { id, greeting }
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function heldCall(id: number): Held {
  const call = held.get(id)
  if (call === undefined) throw new CodeError('ENOTHELD')
  return call
}

function say({ id, text, timeoutMs }: StationCalls['say'][0]): Promise<string> {
  const call = heldCall(id)
  call.socket.write(`${text}\n`)
  return within(timeoutMs, lineOf(call))
}

function ended({ id, timeoutMs }: StationCalls['ended'][0]): Promise<string> {
  return within(timeoutMs, heldCall(id).ended)
}

async function close({ id }: StationCalls['close'][0]): Promise<null> {
  const talk = talks.get(id)
  if (talk !== undefined) {
    talk.socket.close()
    talks.delete(id)
    return null
  }
  const call = heldCall(id)
  held.delete(id)
  call.socket.end()
  // An ordinary end on both sides, so that the flow is over when this returns.
  await within(2000, call.ended).catch(() => call.socket.destroy())
  return null
}

async function bulk(args: StationCalls['bulk'][0]): Promise<Bulk> {
  const { address, port, up, down, timeoutMs } = args
  const socket = netConnect({ host: address, port, allowHalfOpen: true })
  const done = new Promise<Bulk>((resolve, reject) => {
    const hash = createHash('sha256')
    let greeting: Buffer | null = Buffer.alloc(0)
    let who = ''
    let left = down
    let digest = ''
    socket.on('error', reject)
    socket.on('data', (data: Buffer) => {
      let body = data
      if (greeting !== null) {
        greeting = Buffer.concat([greeting, data])
        const end = greeting.indexOf(10)
        if (end < 0) return
        who = (JSON.parse(greeting.subarray(0, end).toString()) as Greeting).name
        body = greeting.subarray(end + 1)
        greeting = null
        socket.write(`bulk ${up} ${down}\n`)
        pour(socket, up, () => socket.end())
      }
      const own = body.subarray(0, left)
      hash.update(own)
      left -= own.length
      digest += body.subarray(own.length).toString('latin1')
    })
    socket.on('end', () => {
      const intact =
        digest.length === DIGEST_LENGTH &&
        digest === patternDigest(up) &&
        hash.digest('hex') === patternDigest(down)
      resolve({ name: who, intact })
    })
  })
  try {
    return await within(timeoutMs, done)
  } finally {
    socket.destroy()
  }
}

// -- UDP client
// --------------------------------------------------------------------------------------

async function open(args: StationCalls['open'][0]): Promise<{ id: number }> {
  const { address, port, family, connected } = args
  const socket = createSocket(family === 4 ? 'udp4' : 'udp6')
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    if (connected) socket.connect(port, address, resolve)
    else socket.bind(0, family === 4 ? '0.0.0.0' : '::', resolve)
  })
  const id = nextHeld++
  talks.set(id, { socket, address, port, connected })
  return { id }
}

function ask({ id, size, timeoutMs }: StationCalls['ask'][0]): Promise<Reply> {
  const talk = talks.get(id)
  if (talk === undefined) throw new CodeError('ENOTHELD')
  const { socket, address, port, connected } = talk
  const text = Buffer.alloc(size)
  for (let at = 0; at < size; at += PATTERN.length) PATTERN.copy(text, at)
  text.writeUInt16BE(nextQuestion++ & 0xffff)
  const digest = createHash('sha256').update(text).digest('hex')
  socket.removeAllListeners('error').removeAllListeners('message')
  const answer = new Promise<Reply>((resolve, reject) => {
    const failed = (error: Error | null): void => {
      if (error !== null) reject(error)
    }
    socket.on('error', failed)
    socket.on('message', (message: Buffer, from: RemoteInfo) => {
      const reply = JSON.parse(message.toString()) as Reply
      // A late answer to an earlier question is not this one's.
      if (reply.digest !== digest) return
      resolve({ ...reply, from: from.address, fromPort: from.port })
    })
    if (connected) socket.send(text, failed)
    else socket.send(text, port, address, failed)
  })
  return within(timeoutMs, answer)
}

type Handlers = {
  [K in keyof StationCalls]: (args: StationCalls[K][0]) => Promise<StationCalls[K][1]>
}

const handlers: Handlers = {
  serveTcp,
  serveUdp,
  unserve,
  served: async ({ port }) => served.get(port) ?? [],
  connect,
  say,
  ended,
  close,
  bulk,
  open,
  ask,
}

enter()
parentPort?.on('message', async ({ id, kind, args }: StationRequest) => {
  const startMs = performance.now()
  let outcome: { value: unknown } | { error: string }
  try {
    outcome = { value: await (handlers[kind] as (args: unknown) => Promise<unknown>)(args) }
  } catch (error) {
    outcome = { error: codeOf(error) }
  }
  const ms = performance.now() - startMs
  parentPort?.postMessage({ id, ms, ...outcome } satisfies StationAnswer)
})
