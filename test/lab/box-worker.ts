// The thread behind box.ts.

import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { pause } from '../../cli/lab/wait.ts'
import type { AskOptions, BoxMethods, Outcome } from './box.ts'
import { bulk, bulkServer } from './bulk.ts'
import { serve } from './inside.ts'
import { checksumEarly, EAGAIN, RawSocket } from './raw-sockets.ts'

const TIMEOUT_MS = 3000
const POLL_MS = 1
const FRAMES_MAX = 100_000
/** IPv6 has no broadcast; the option matters to IPv4 only. */
const RECEIVE_BUFFER_BYTES = 1 << 20

const ECHO_REQUEST_V4 = 8
const ECHO_REPLY_V4 = 0
const ECHO_REQUEST_V6 = 128
const ECHO_REPLY_V6 = 129

let sequence = 0

/** A payload that says what it should be: its content follows from size and number. */
function payload(size: number, number: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + number) & 0xff
  return bytes
}

/** The first byte gives the number away. */
function isPayload(bytes: Buffer): boolean {
  return bytes.length === 0 || payload(bytes.length, bytes[0]!).equals(bytes)
}

function nameOf(result: number): string {
  return getSystemErrorName(result)
}

/** Receives until `look` finds its answer. */
async function receiveUntil<T>(
  socket: RawSocket,
  look: (bytes: Buffer) => T | undefined,
  timeoutMs: number,
): Promise<T | { error: string } | undefined> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const got = socket.receive()
    if (typeof got !== 'number') {
      const found = look(got)
      if (found !== undefined) return found
    } else if (got !== -EAGAIN) {
      return { error: nameOf(got) }
    } else if (performance.now() > deadline) {
      return undefined
    } else {
      await pause(POLL_MS)
    }
  }
}

async function ask(address: string, port: number, options: AskOptions): Promise<Outcome> {
  const socket = RawSocket.udp(address, port, options)
  try {
    const sent = socket.send(payload(options.size, ++sequence & 0xff))
    if (sent < 0) return { error: nameOf(sent) }
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
    const got = await receiveUntil(socket, (bytes) => ({ answer: bytes.toString() }), timeoutMs)
    return got ?? { error: 'silence' }
  } finally {
    socket.close()
  }
}

async function ping(address: string, options: AskOptions): Promise<Outcome> {
  const v6 = isIPv6(address)
  const socket = RawSocket.icmp(address, options)
  try {
    const unreachable = socket.connect(address)
    if (unreachable < 0) return { error: nameOf(unreachable) }
    const number = ++sequence & 0xffff
    const request = Buffer.concat([Buffer.alloc(8), payload(options.size, number)])
    request[0] = v6 ? ECHO_REQUEST_V6 : ECHO_REQUEST_V4
    request.writeUInt16BE(number, 6)
    // The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1) but not of ICMP.
    if (!v6) request.writeUInt16BE(checksum(request), 2)
    const sent = socket.send(request)
    if (sent < 0) return { error: nameOf(sent) }
    const look = (bytes: Buffer): Outcome | undefined => {
      const at = v6 ? 0 : (bytes[0]! & 15) * 4
      if (bytes[at] !== (v6 ? ECHO_REPLY_V6 : ECHO_REPLY_V4)) return undefined
      if (bytes.readUInt16BE(at + 6) !== number) return undefined
      const data = bytes.subarray(at + 8)
      const right = data.equals(request.subarray(8))
      const ttl = v6 ? '' : ` ttl ${bytes[8]}`
      return { answer: right ? `${data.length}${ttl}` : 'damaged' }
    }
    return (
      (await receiveUntil(socket, look, options.timeoutMs ?? TIMEOUT_MS)) ?? { error: 'silence' }
    )
  } finally {
    socket.close()
  }
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i)
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1]! << 8
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

async function udpEcho(port: number, type: 'udp4' | 'udp6', address: string): Promise<void> {
  const recvBufferSize = RECEIVE_BUFFER_BYTES
  const socket = createSocket({ type, ipv6Only: type === 'udp6', recvBufferSize })
  socket.on('message', (bytes, from) => {
    const text = isPayload(bytes) ? `${bytes.length} from ${from.address}` : 'damaged'
    socket.send(text, from.port, from.address)
  })
  socket.bind(port, address)
  await once(socket, 'listening')
}

async function listen(port: number): Promise<void> {
  await bulkServer(port)
  await udpEcho(port, 'udp4', '0.0.0.0')
  await udpEcho(port, 'udp6', '::')
}

interface Recording {
  readonly socket: RawSocket
  frames: string[]
}

const recordings = new Map<string, Recording>()

async function record(device: string): Promise<void> {
  if (recordings.has(device)) return
  recordings.set(device, { socket: RawSocket.packet(device), frames: [] })
}

async function recorded(device: string): Promise<string[]> {
  const recording = recordings.get(device)
  if (recording === undefined) throw new Error(`${device} is not recorded`)
  while (recording.frames.length < FRAMES_MAX) {
    const got = recording.socket.receive()
    if (typeof got === 'number') break
    recording.frames.push(got.toString('hex'))
  }
  const { frames } = recording
  recording.frames = []
  return frames
}

async function frames(device: string, list: readonly string[]): Promise<void> {
  const socket = RawSocket.packet(device)
  try {
    for (const text of list) {
      const sent = socket.send(Buffer.from(text, 'hex'))
      if (sent < 0) throw new Error(`${device} refused a frame: ${nameOf(sent)}`)
    }
  } finally {
    socket.close()
  }
}

async function datagrams(address: string, port: number, list: readonly string[]): Promise<void> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  for (const text of list) {
    await new Promise<void>((resolve, reject) => {
      const sent = (error: Error | null): void => (error ? reject(error) : resolve())
      socket.send(Buffer.from(text, 'hex'), port, address, sent)
    })
  }
  socket.close()
}

const ears = new Map<number, { sockets: Socket[]; texts: string[] }>()

async function join(port: number, groups: readonly string[], device: string): Promise<void> {
  const ear = { sockets: [] as Socket[], texts: [] as string[] }
  for (const type of ['udp4', 'udp6'] as const) {
    const socket = createSocket({ type, ipv6Only: type === 'udp6', reuseAddr: true })
    socket.on('message', (bytes) => ear.texts.push(bytes.toString()))
    socket.bind(port)
    await once(socket, 'listening')
    for (const group of groups) {
      if (isIPv6(group) !== (type === 'udp6')) continue
      socket.addMembership(group, type === 'udp6' ? `::%${device}` : addressOf(device))
    }
    ear.sockets.push(socket)
  }
  ears.set(port, ear)
}

async function heard(port: number): Promise<string[]> {
  return ears.get(port)?.texts.splice(0) ?? []
}

async function say(address: string, port: number, text: string, device: string): Promise<void> {
  const v6 = isIPv6(address)
  const socket = createSocket(v6 ? 'udp6' : 'udp4')
  socket.bind(0)
  await once(socket, 'listening')
  if (!v6) socket.setBroadcast(true)
  socket.setMulticastInterface(v6 ? `::%${device}` : addressOf(device))
  await new Promise<void>((resolve, reject) => {
    socket.send(text, port, address, (error) => (error ? reject(error) : resolve()))
  })
  socket.close()
}

function addressOf(device: string): string {
  const found = networkInterfaces()[device]?.find(({ family }) => family === 'IPv4')
  if (found === undefined) throw new Error(`${device} has no IPv4 address`)
  return found.address
}

const methods: BoxMethods = {
  listen,
  bulk,
  ask,
  ping,
  record,
  recorded,
  frames,
  datagrams,
  checksumEarly,
  join,
  heard,
  say,
}
serve(methods)
