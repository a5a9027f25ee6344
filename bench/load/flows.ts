// Flows for measuring the load balancer by itself: a director in this process, packets written into
// memory, no sockets and no clock but the one handed in.
//
// Flow i is client 10.0.0.0 + i / 32, port 1024 + i modulo 32, to 192.168.0.1:80; rr gives it
// server i modulo SERVERS.

import { prng } from '../../base/prng.ts'
import { adviseHugePages } from '../../dataplane/edge/huge-pages.ts'
import type { ServiceConfig } from '../../ipvs-emulator/config.ts'
import { Director, FORWARD, REPLY } from '../../ipvs-emulator/director.ts'
import { TCP } from '../../ipvs-emulator/flow.ts'
import { IPV4_HEADER_SIZE, writeIpv4Header } from '../../wire/ipv4.ts'
import { setTcpFlags, TCP_ACK, TCP_HEADER_SIZE, TCP_SYN } from '../../wire/tcp.ts'

export const ZONE = 1
export const SERVERS = 100
/** Bytes of a packet without payload, and from one packet of a burst to the next. */
const SIZE: number = IPV4_HEADER_SIZE + TCP_HEADER_SIZE
const STRIDE = 64
export const BURST = 64

const CLIENTS = 0x0a000000
// Signed, as words of 32 bits are in this program: above 2^31 they would be garbage on the heap.
const VIRTUAL: number = 0xc0a80001 | 0
const FIRST_SERVER: number = 0xac100001 | 0
const PORTS_PER_CLIENT = 32

export function service(
  more: Partial<ServiceConfig> = {},
  servers: number = SERVERS,
): ServiceConfig {
  return {
    key: 'web',
    zone: ZONE,
    virtuals: [{ protocol: 'tcp', address: '192.168.0.1', port: 80 }],
    realServers: Array.from({ length: servers }, (_, i) => ({
      key: `s${i}`,
      address: `172.16.${(i + 1) >> 8}.${(i + 1) & 255}`,
      port: 8080,
    })),
    ...more,
  }
}

/** A director, and room for a burst of packets. */
export class Flows {
  readonly director: Director
  readonly view: DataView = new DataView(new ArrayBuffer(BURST * STRIDE))
  readonly random: () => number
  nowMs = 0
  #word = 1

  constructor(connectionsMax: number, config: ServiceConfig) {
    const source = prng(connectionsMax)
    this.random = () => source.nextU32()
    this.director = new Director({
      nowMs: 0,
      random: this.random,
      connectionsMax,
      onLargeTable: adviseHugePages,
    })
    this.director.apply({ services: [config] }, 0)
  }

  /** Writes place `k` of the burst: a packet of flow `i`, from its client or from its server. */
  write(k: number, i: number, direction: number, flags: number): void {
    const { view } = this
    const at = k * STRIDE
    const l4At = at + IPV4_HEADER_SIZE
    const client = CLIENTS + Math.floor(i / PORTS_PER_CLIENT)
    const port = 1024 + (i % PORTS_PER_CLIENT)
    const server = FIRST_SERVER + (i % SERVERS)
    if (direction === FORWARD) writeIpv4Header(view, at, SIZE, TCP, 64, client, VIRTUAL)
    else writeIpv4Header(view, at, SIZE, TCP, 64, server, client)
    view.setUint16(l4At, direction === FORWARD ? port : 8080)
    view.setUint16(l4At + 2, direction === FORWARD ? 80 : port)
    view.setUint16(l4At + 12, (TCP_HEADER_SIZE / 4) << 12)
    setTcpFlags(view, l4At, flags)
  }

  /** Fills the burst with packets of random ones of the first `flows` flows, either way. */
  writeBurst(flows: number): void {
    for (let k = 0; k < BURST; k++) {
      // Not the director's randomness, for the same reason as above.
      this.#word = (Math.imul(this.#word, 1664525) + 1013904223) | 0
      const drawn = this.#word ^ (this.#word >>> 15)
      this.write(k, (drawn & 0x7fffffff) % flows, drawn >>> 31, TCP_ACK)
    }
  }

  find(k: number): number {
    const at = k * STRIDE
    return this.director.lookup(ZONE, this.view, at, at + IPV4_HEADER_SIZE, TCP, at + SIZE)
  }

  /** As the packet loop makes a connection: look-up, service, real server, entry. */
  open(k: number): number {
    const { director, view, nowMs } = this
    const at = k * STRIDE
    const l4At = at + IPV4_HEADER_SIZE
    const known = this.find(k)
    if (known >= 0) return known
    const found = director.findService(ZONE, view, at, l4At, TCP, 0)
    return director.schedule(ZONE, found, view, at, l4At, TCP, at + SIZE, nowMs, false)
  }

  /** As the packet loop treats a packet of a known connection. */
  pass(k: number, connection: number, direction: number): void {
    const { director, view, nowMs } = this
    const at = k * STRIDE
    const l4At = at + IPV4_HEADER_SIZE
    const end = at + SIZE
    director.track(connection, direction, view, at, l4At, end, 1, SIZE, nowMs)
    director.translate(connection, direction, view, at, l4At, end, false)
  }

  /** Finds and passes the packet at place `k`. False when no connection is found. */
  carry(k: number): boolean {
    const connection = this.find(k)
    if (connection < 0) return false
    this.pass(k, connection, this.director.direction)
    return true
  }

  /** Announces the burst's packets, as the packet loop does. */
  expect(): void {
    for (let k = 0; k < BURST; k++) {
      const at = k * STRIDE
      this.director.expect(ZONE, this.view, at, at + IPV4_HEADER_SIZE, TCP)
    }
    this.director.load()
  }

  /** Opens flow `i` by a SYN. Returns its connection. */
  syn(i: number): number {
    this.write(0, i, FORWARD, TCP_SYN)
    const connection = this.open(0)
    if (connection >= 0) this.pass(0, connection, FORWARD)
    return connection
  }

  /** Finishes the handshake of a flow that syn() opened. */
  establish(i: number, connection: number): void {
    this.write(0, i, REPLY, TCP_SYN | TCP_ACK)
    this.pass(0, connection, REPLY)
    this.write(0, i, FORWARD, TCP_ACK)
    this.pass(0, connection, FORWARD)
  }

  /** True when flow `i` still has its connection and goes through. */
  lives(i: number): boolean {
    this.write(0, i, FORWARD, TCP_ACK)
    return this.carry(0)
  }
}
