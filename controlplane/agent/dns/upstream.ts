// Asks the name servers of the host for names that are not ours. Each question goes out through a
// socket of its own, connected to the server, under a new id: the kernel draws the port and takes
// only what that server sends, so an answer can be forged only by who sees the question (RFC 5452).
// What comes back is checked to be about the question, gets the asker's id, and is passed on as it
// is.
//
// A server that fails or refuses is not believed as long as there is another: that one may know.
//
// An answer that was cut ("truncated") is passed on over UDP, so that the asker comes again over
// TCP; its TCP questions are asked over TCP.

import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, isIP } from 'node:net'
import * as dns from '../../../wire/dns.ts'
import type { Transport } from './answerer.ts'
import {
  DNS_PORT,
  FORWARD_TIMEOUT_MS,
  FORWARDS_MAX,
  UPSTREAM_TIMEOUT_MS,
  UPSTREAMS_MAX,
} from './limits.ts'

/** Codes that say nothing about the name; as resolv.conf(5)'s resolver takes them. */
const FAILURES: ReadonlySet<number> = new Set([
  dns.DNS_SERVER_FAILURE,
  dns.DNS_NOT_IMPLEMENTED,
  dns.DNS_REFUSED,
])

export interface UpstreamServer {
  readonly address: string
  /** Default 53. */
  readonly port?: number
}

/** The name servers of a resolv.conf(5), at most three. Those that would lead back here are left
 * out. */
export function upstreamsOf(resolvConf: string, own: ReadonlySet<string>): UpstreamServer[] {
  return resolvConf
    .split('\n')
    .flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
    .filter((address) => isIP(address) !== 0 && !own.has(address))
    .slice(0, UPSTREAMS_MAX)
    .map((address) => ({ address }))
}

export class Upstreams {
  readonly #servers: () => readonly UpstreamServer[]
  #pending = 0

  /** `servers` is asked at each question: the host's may change. */
  constructor(servers: () => readonly UpstreamServer[]) {
    this.#servers = servers
  }

  get pending(): number {
    return this.#pending
  }

  /** The answer to `query`, null when no server gave one in time or too many wait. When all fail it
   * is what the first of them said. */
  async ask(query: Uint8Array, transport: Transport): Promise<Uint8Array | null> {
    if (this.#pending >= FORWARDS_MAX) return null
    this.#pending++
    try {
      const deadline = performance.now() + FORWARD_TIMEOUT_MS
      let failure: Uint8Array | null = null
      for (const server of this.#servers()) {
        const leftMs = Math.min(UPSTREAM_TIMEOUT_MS, deadline - performance.now())
        if (leftMs <= 0) break
        const answer = await askServer(query, server, transport, leftMs)
        if (answer === null) continue
        if (!FAILURES.has(dns.dnsRcode(viewOf(answer), 0))) return answer
        failure ??= answer
      }
      return failure
    } finally {
      this.#pending--
    }
  }
}

async function askServer(
  query: Uint8Array,
  server: UpstreamServer,
  transport: Transport,
  timeoutMs: number,
): Promise<Uint8Array | null> {
  const asked = Uint8Array.from(query)
  const id = dns.dnsId(viewOf(query), 0)
  dns.setDnsId(viewOf(asked), 0, randomInt(65536))
  const exchange = transport === 'udp' ? overUdp : overTcp
  const answer = await exchange(asked, server, timeoutMs)
  if (answer === null) return null
  dns.setDnsId(viewOf(answer), 0, id)
  return answer
}

function overUdp(
  asked: Uint8Array,
  server: UpstreamServer,
  timeoutMs: number,
): Promise<Uint8Array | null> {
  return new Promise((settle) => {
    const socket = createSocket(server.address.includes(':') ? 'udp6' : 'udp4')
    const finish = (answer: Uint8Array | null): void => {
      clearTimeout(timer)
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.close()
      settle(answer)
    }
    const timer = setTimeout(() => finish(null), timeoutMs)
    socket.on('error', () => finish(null))
    socket.on('message', (answer) => {
      if (answersTo(asked, answer)) finish(answer)
    })
    // Not by connect()'s callback: that one is called for a server that cannot be reached as well.
    socket.on('connect', () => {
      socket.send(asked, (error) => {
        if (error) finish(null)
      })
    })
    try {
      socket.connect(server.port ?? DNS_PORT, server.address)
    } catch {
      finish(null)
    }
  })
}

function overTcp(
  asked: Uint8Array,
  server: UpstreamServer,
  timeoutMs: number,
): Promise<Uint8Array | null> {
  return new Promise((settle) => {
    const socket = connect({ host: server.address, port: server.port ?? DNS_PORT })
    const frames = new TcpFrames()
    const finish = (answer: Uint8Array | null): void => {
      clearTimeout(timer)
      socket.destroy()
      settle(answer)
    }
    const timer = setTimeout(() => finish(null), timeoutMs)
    socket.on('error', () => finish(null))
    socket.on('close', () => finish(null))
    socket.on('connect', () => socket.write(tcpFrame(asked)))
    socket.on('data', (chunk) => {
      for (const answer of frames.push(chunk)) {
        finish(answersTo(asked, answer) ? answer : null)
        return
      }
    })
  })
}

/** Whether `answer` is a response to exactly this question (RFC 5452 section 9.1). */
export function answersTo(asked: Uint8Array, answer: Uint8Array): boolean {
  if (answer.length < dns.DNS_HEADER_SIZE) return false
  const a = viewOf(asked)
  const b = viewOf(answer)
  if (!dns.isDnsResponse(b, 0) || dns.dnsId(a, 0) !== dns.dnsId(b, 0)) return false
  const question = dns.readDnsQuestion(a, 0, asked.length)
  const echoed = dns.readDnsQuestion(b, 0, answer.length)
  if (question === null || echoed === null) return false
  return (
    question.name === echoed.name &&
    question.type === echoed.type &&
    question.klass === echoed.klass
  )
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A message with its length in front (RFC 1035 section 4.2.2). */
export function tcpFrame(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(2 + message.length)
  viewOf(frame).setUint16(0, message.length)
  frame.set(message, 2)
  return frame
}

/** Cuts a stream into messages. Holds at most one message. */
export class TcpFrames {
  #held: Uint8Array = new Uint8Array(0)

  /** Takes what came and returns the messages that are whole by now. */
  push(chunk: Uint8Array): Uint8Array[] {
    let rest: Uint8Array = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const messages: Uint8Array[] = []
    while (rest.length >= 2) {
      const size = viewOf(rest).getUint16(0)
      if (rest.length < 2 + size) break
      messages.push(rest.slice(2, 2 + size))
      rest = rest.subarray(2 + size)
    }
    this.#held = Uint8Array.from(rest)
    return messages
  }
}
