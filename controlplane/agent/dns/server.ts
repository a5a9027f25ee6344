// The sockets of the name server: UDP and TCP, IPv4 and IPv6, on every address of the network
// namespace that they are opened in. The namespace is the agent's own private one, whose only
// interfaces are the gateways of the overlay networks, so only containers of this node get here,
// and a source address is what the packet loop let through for its container.

import { createServer, type Server, type Socket } from 'node:net'
import * as dns from '../../../wire/dns.ts'
import type { Answerer, Transport } from './answerer.ts'
import { DNS_PORT, TCP_CONNECTIONS_MAX, TCP_IDLE_MS, TCP_PENDING_MAX } from './limits.ts'
import { TcpFrames, tcpFrame } from './upstream.ts'

export interface DnsCounts {
  /** Questions by transport. */
  udp: number
  tcp: number
  /** How they ended. */
  answered: number
  forwarded: number
  failed: number
  ignored: number
}

/** Asks somebody outside; null = nobody answered. */
export type AskOutside = (query: Uint8Array, transport: Transport) => Promise<Uint8Array | null>

/** A UDP socket that hands over and takes many datagrams at a time; what it hands over is the
 * listener's only until it returns. dgram-plus has one. */
export interface UdpSocket {
  on(event: 'messages', listener: (messages: readonly UdpMessage[]) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  /** Sends before it returns; what the network refuses is lost. */
  send(datagrams: readonly Uint8Array[], port: number, address: string): unknown
  close(): void
}

export interface UdpMessage {
  readonly data: Uint8Array
  /** One object for all messages of one sender, as far as possible. */
  readonly rinfo: { readonly address: string; readonly port: number }
}

/** Opens and binds; `address` null = every address of both families. */
export type OpenUdp = (address: string | null, port: number) => Promise<UdpSocket>

export interface DnsServerOptions {
  readonly port?: number
  /** Addresses to listen on, default all of IPv4 and IPv6. */
  readonly addresses?: readonly string[]
}

export class DnsServer {
  readonly counts: DnsCounts = {
    udp: 0,
    tcp: 0,
    answered: 0,
    forwarded: 0,
    failed: 0,
    ignored: 0,
  }
  readonly #answerer: Answerer
  readonly #askOutside: AskOutside
  readonly #openUdp: OpenUdp
  readonly #udp: UdpSocket[] = []
  readonly #tcp: Server[] = []
  readonly #connections: Set<Socket> = new Set()

  constructor(answerer: Answerer, askOutside: AskOutside, openUdp: OpenUdp) {
    this.#answerer = answerer
    this.#askOutside = askOutside
    this.#openUdp = openUdp
  }

  /** Opens all sockets; rejects when one cannot be had, with none left open. */
  async listen(options: DnsServerOptions = {}): Promise<void> {
    const port = options.port ?? DNS_PORT
    try {
      for (const address of options.addresses ?? [null]) await this.#listenUdp(address, port)
      for (const address of options.addresses ?? ['0.0.0.0', '::']) {
        await this.#listenTcp(address, port)
      }
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.destroy()
    for (const socket of this.#udp) socket.close()
    const closings = this.#tcp.map(
      (socket) => new Promise<void>((closed) => socket.close(() => closed())),
    )
    this.#udp.length = 0
    this.#tcp.length = 0
    await Promise.all(closings)
  }

  async #listenUdp(address: string | null, port: number): Promise<void> {
    const socket = await this.#openUdp(address, port)
    socket.on('error', (error) => {
      throw error
    })
    socket.on('messages', (messages) => this.#onDatagrams(socket, messages))
    this.#udp.push(socket)
  }

  /** Answers go out together where neighbours are of one sender: one call for all of them. */
  #onDatagrams(socket: UdpSocket, messages: readonly UdpMessage[]): void {
    let to = messages[0]!.rinfo
    let answers: Uint8Array[] = []
    for (const { data, rinfo } of messages) {
      if (rinfo !== to) {
        this.#send(socket, answers, to)
        answers = []
        to = rinfo
      }
      this.#onDatagram(socket, data, rinfo, answers)
    }
    this.#send(socket, answers, to)
  }

  #onDatagram(
    socket: UdpSocket,
    query: Uint8Array,
    from: UdpMessage['rinfo'],
    answers: Uint8Array[],
  ): void {
    this.counts.udp++
    const verdict = this.#answerer.answer(query, from.address, 'udp')
    if (verdict === 'ignore') {
      this.counts.ignored++
    } else if (verdict === 'forward') {
      void this.#outside(query, 'udp').then((answer) => {
        if (answer !== null) this.#send(socket, [answer], from)
      })
    } else {
      this.counts.answered++
      // The answerer reuses the bytes at once.
      answers.push(Uint8Array.prototype.slice.call(verdict))
    }
  }

  #send(socket: UdpSocket, answers: readonly Uint8Array[], to: UdpMessage['rinfo']): void {
    // The server may have been closed while an answer was under way.
    if (answers.length > 0 && this.#udp.includes(socket)) socket.send(answers, to.port, to.address)
  }

  #listenTcp(address: string, port: number): Promise<void> {
    const onConnection = (connection: Socket): void => this.#onConnection(connection)
    // Who has asked all may end its side and still gets what is under way (RFC 7766 section 6.2.3).
    const server = createServer({ allowHalfOpen: true }, onConnection)
    server.maxConnections = TCP_CONNECTIONS_MAX
    return new Promise((bound, fail) => {
      server.once('error', fail)
      server.listen({ port, host: address, ipv6Only: address.includes(':') }, () => {
        server.off('error', fail)
        server.on('error', () => {})
        this.#tcp.push(server)
        bound()
      })
    })
  }

  #onConnection(connection: Socket): void {
    const frames = new TcpFrames()
    const from = connection.remoteAddress ?? ''
    let pending = 0
    let hasAsked = false
    // Questions are read only as fast as their answers are: what waits here is bounded.
    const pace = (): void => {
      if (pending >= TCP_PENDING_MAX || connection.writableNeedDrain) connection.pause()
      else connection.resume()
      if (hasAsked && pending === 0) connection.end()
    }
    const reply = (answer: Uint8Array | null): void => {
      pending--
      if (answer !== null && connection.writable) connection.write(tcpFrame(answer))
      pace()
    }
    this.#connections.add(connection)
    connection.setTimeout(TCP_IDLE_MS, () => connection.destroy())
    connection.on('error', () => connection.destroy())
    connection.on('close', () => this.#connections.delete(connection))
    connection.on('drain', pace)
    connection.on('end', () => {
      hasAsked = true
      pace()
    })
    connection.on('data', (chunk) => {
      for (const query of frames.push(chunk)) {
        pending++
        this.#onTcpQuery(query, from, reply)
      }
      pace()
    })
  }

  #onTcpQuery(query: Uint8Array, from: string, reply: (answer: Uint8Array | null) => void): void {
    this.counts.tcp++
    const verdict = this.#answerer.answer(query, from, 'tcp')
    if (verdict === 'forward') {
      void this.#outside(query, 'tcp').then(reply)
      return
    }
    if (verdict === 'ignore') this.counts.ignored++
    else this.counts.answered++
    reply(verdict === 'ignore' ? null : Uint8Array.from(verdict))
  }

  async #outside(query: Uint8Array, transport: Transport): Promise<Uint8Array | null> {
    // The bytes are the socket's own only until it receives again.
    const kept = Uint8Array.from(query)
    const answer = await this.#askOutside(kept, transport)
    if (answer !== null) {
      this.counts.forwarded++
      return answer
    }
    this.counts.failed++
    const failure = this.#answerer.failure(kept, dns.DNS_SERVER_FAILURE)
    return failure === null ? null : Uint8Array.from(failure)
  }
}
