// Published ports on [::1]. Policy routing brings every other address of the node to the packet
// loop, 127.0.0.1 included, but not this one: a packet to ::1 is accepted from the loopback device
// only (ip6_rcv_core() of net/ipv6/ip6_input.c), so an answer that comes out of the TUN would be
// dropped. Here ordinary sockets listen on [::1] instead and pass everything on to the same port of
// the node's own address, from where it takes the way of all packets. Backends see that address as
// the client's, as they do for 127.0.0.1.
//
// Limits: one process-wide bound each on connections and on UDP clients; the oldest UDP client
// gives way. A refused TCP connection is accepted and reset. A port that somebody else has on [::1]
// is left to him.

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Logger } from '../base/log.ts'
import {
  LOOPBACK_CONNECTIONS_MAX,
  LOOPBACK_UDP_CLIENTS_MAX,
  LOOPBACK_UDP_IDLE_MS,
} from './limits.ts'

const LOOPBACK = '::1'

export interface LoopbackPort {
  readonly protocol: 'tcp' | 'udp'
  readonly port: number
}

interface Listener {
  close(): void
}

export class LoopbackProxy {
  private readonly log: Logger
  private readonly listeners: Map<string, Listener> = new Map()
  private readonly connections: Set<Socket> = new Set()
  /** UDP clients of all ports, the one that was silent for longest first. */
  private readonly clients: Map<string, UdpClient> = new Map()
  private target: string | null = null

  constructor(log: Logger) {
    this.log = log
  }

  /** Listens on exactly these ports and passes on to `target`, an address of this node; null = on
   * none. Never throws: what cannot be had is logged. */
  apply(target: string | null, ports: readonly LoopbackPort[]): void {
    this.target = target
    const wanted = new Map(ports.map((wish) => [`${wish.protocol}/${wish.port}`, wish]))
    for (const [key, listener] of this.listeners) {
      if (target !== null && wanted.has(key)) continue
      this.listeners.delete(key)
      listener.close()
    }
    if (target === null) return
    for (const [key, { protocol, port }] of wanted) {
      if (this.listeners.has(key)) continue
      this.listeners.set(
        key,
        protocol === 'tcp' ? this.listenTcp(key, port) : this.listenUdp(key, port),
      )
    }
  }

  close(): void {
    this.apply(null, [])
    for (const connection of this.connections) connection.destroy()
    for (const client of this.clients.values()) client.close()
  }

  /** A listener that failed is gone; the port works on all other addresses. */
  private lose(key: string, listener: Listener, error: NodeJS.ErrnoException): void {
    if (this.listeners.get(key) === listener) this.listeners.delete(key)
    listener.close()
    const address = `[${LOOPBACK}]`
    this.log.warn('a published port is not served here', {
      address,
      port: key,
      error: error.message,
    })
  }

  private listenTcp(key: string, port: number): Listener {
    const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.relay(client, port)
    })
    server.maxConnections = LOOPBACK_CONNECTIONS_MAX
    const listener: Listener = { close: () => server.close() }
    server.on('error', (error) => this.lose(key, listener, error))
    server.listen({ host: LOOPBACK, port, ipv6Only: true })
    return listener
  }

  private relay(client: Socket, port: number): void {
    const { target, connections } = this
    if (target === null || connections.size >= 2 * LOOPBACK_CONNECTIONS_MAX) {
      client.resetAndDestroy()
      return
    }
    const server = connect({ host: target, port, allowHalfOpen: true, noDelay: true })
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      connections.add(one)
      one.on('error', () => other.resetAndDestroy())
      one.on('close', () => connections.delete(one))
      one.pipe(other)
    }
  }

  private listenUdp(key: string, port: number): Listener {
    const socket = createSocket({ type: 'udp6', ipv6Only: true })
    let isOpen = true
    const listener: Listener = {
      close: () => {
        if (!isOpen) return
        isOpen = false
        socket.close()
        for (const [name, client] of this.clients) {
          if (name.startsWith(`${port} `)) this.forget(name, client)
        }
      },
    }
    socket.on('error', (error) => this.lose(key, listener, error))
    socket.on('message', (message, from) => this.clientOf(socket, port, from.port)?.send(message))
    socket.bind({ address: LOOPBACK, port })
    return listener
  }

  private clientOf(socket: UdpSocket, port: number, clientPort: number): UdpClient | null {
    const { target, clients } = this
    if (target === null) return null
    const name = `${port} ${clientPort}`
    const known = clients.get(name)
    if (known !== undefined && known.target === target) {
      // To the end of the line.
      clients.delete(name)
      clients.set(name, known)
      return known
    }
    if (known !== undefined) this.forget(name, known)
    const [oldest] = clients
    if (oldest !== undefined && clients.size >= LOOPBACK_UDP_CLIENTS_MAX) this.forget(...oldest)
    const answer = (message: Buffer): void => socket.send(message, clientPort, LOOPBACK, () => {})
    const client: UdpClient = new UdpClient(target, port, answer, () => this.forget(name, client))
    clients.set(name, client)
    return client
  }

  private forget(name: string, client: UdpClient): void {
    if (this.clients.get(name) === client) this.clients.delete(name)
    client.close()
  }
}

/** One client's socket towards the node's address. */
class UdpClient {
  readonly target: string
  private readonly socket: UdpSocket
  private readonly idle: NodeJS.Timeout
  private isOpen = true
  /** What came before the socket was connected; a handful at most. */
  private waiting: Buffer[] | null = []

  constructor(target: string, port: number, answer: (message: Buffer) => void, over: () => void) {
    this.target = target
    this.idle = setTimeout(over, LOOPBACK_UDP_IDLE_MS)
    this.idle.unref()
    this.socket = createSocket(target.includes(':') ? 'udp6' : 'udp4')
    this.socket.on('error', over)
    this.socket.on('message', (message) => {
      this.idle.refresh()
      answer(message)
    })
    // Not by connect()'s callback: that one is called for an address that is gone as well.
    this.socket.on('connect', () => {
      const waiting = this.waiting ?? []
      this.waiting = null
      for (const message of waiting) this.send(message)
    })
    this.socket.connect(port, target)
  }

  send(message: Buffer): void {
    if (!this.isOpen) return
    this.idle.refresh()
    if (this.waiting === null) this.socket.send(message, () => {})
    else if (this.waiting.length < 8) this.waiting.push(message)
  }

  close(): void {
    if (!this.isOpen) return
    this.isOpen = false
    clearTimeout(this.idle)
    this.socket.close()
  }
}
