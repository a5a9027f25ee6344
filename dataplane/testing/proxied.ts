// A published port with proxyProtocol on the world of two nodes: the client outside speaks to node
// a, the backend is a container of node b. For the tests of PROXY headers.

import assert from 'node:assert/strict'
import { checksumPlain } from '../../wire/checksum.ts'
import { TCP_ACK, TCP_SYN } from '../../wire/tcp.ts'
import { DROP_PROXY_EARLY } from '../drop-reasons.ts'
import { CLUSTER, type Cluster } from './cluster.ts'
import {
  buildFrame,
  buildPacket,
  macOf,
  type PacketFields,
  packetHolds,
  TCP,
  view,
} from './packets.ts'
import type { Segment } from './tcp-model.ts'
import { World } from './world.ts'

export const PORT = 8080
export const CLIENT_PORT = 50_123
export type Family = 'v4' | 'v6'
export type Version = 'v1' | 'v2'

export interface Net {
  readonly client: string
  /** The node's address that the client asks. */
  readonly node: string
  readonly server: string
  readonly gateway: string
  /** Both addresses in the headers. */
  readonly text: string
  readonly binary: string
}

export const NETS: Readonly<Record<Family, Net>> = {
  v4: {
    client: '198.51.100.7',
    node: '192.0.2.97',
    server: '10.255.0.21',
    gateway: '10.255.0.1',
    text: 'TCP4 198.51.100.7 192.0.2.97',
    binary: '2111000cc6336407c0000261',
  },
  v6: {
    client: '2001:db8::7',
    node: 'fd00:aaaa::61',
    server: 'fd00:255::15',
    gateway: 'fd00:255::1',
    text: 'TCP6 2001:db8::7 fd00:aaaa::61',
    binary: '2121002420010db8000000000000000000000007fd00aaaa000000000000000000000061',
  },
}
/** An endpoint's MAC address comes from its first address. */
const SERVER_MAC = macOf(NETS.v4.server)

export function headerOf(family: Family, version: Version): Buffer {
  const net = NETS[family]
  if (version === 'v1') return Buffer.from(`PROXY ${net.text} ${CLIENT_PORT} ${PORT}\r\n`)
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(CLIENT_PORT, 0)
  ports.writeUInt16BE(PORT, 2)
  return Buffer.from(`0d0a0d0a000d0a515549540a${net.binary}${ports.toString('hex')}`, 'hex')
}

export function clusterOf(version: Version | null): Cluster {
  const publishedPorts = CLUSTER.publishedPorts.map((published) =>
    published.port === PORT && published.protocol === 'tcp' && version !== null
      ? { ...published, proxyProtocol: version }
      : published,
  )
  return { ...CLUSTER, publishedPorts }
}

export function worldOf(version: Version | null): World {
  const world = new World({ nodes: ['a', 'b'], cluster: clusterOf(version) })
  world.connect()
  return world
}

export const fromClient = (family: Family, segment: Partial<Segment>): PacketFields => ({
  source: NETS[family].client,
  target: NETS[family].node,
  protocol: TCP,
  sourcePort: CLIENT_PORT,
  targetPort: PORT,
  ...segment,
})
export const fromServer = (family: Family, segment: Partial<Segment>): PacketFields => ({
  source: NETS[family].server,
  target: NETS[family].client,
  sourceMac: SERVER_MAC,
  targetMac: macOf(NETS[family].gateway),
  protocol: TCP,
  sourcePort: 80,
  targetPort: CLIENT_PORT,
  ...segment,
})

/** The TCP segment of a packet behind its virtio-net header and a link header. */
export function readSegment(raw: Uint8Array, link: number): Segment {
  const packet = raw.slice(10 + link)
  const at = view(packet)
  const head = packet[0]! >>> 4 === 6 ? 40 : 20
  if ((raw[0]! & 1) !== 0) at.setUint16(head + 16, checksumPlain(at, head, packet.length, 0))
  assert(packetHolds(packet), 'checksums')
  const size = (packet[head + 12]! >>> 4) * 4
  return {
    sequence: at.getUint32(head + 4),
    acknowledgement: at.getUint32(head + 8),
    flags: packet[head + 13]!,
    window: at.getUint16(head + 14),
    options: packet.slice(head + 20, head + size),
    payload: packet.slice(head + size),
  }
}

export function atServer(world: World): Segment[] {
  return world.readRaw('ingress-b').map((raw) => readSegment(raw, 14))
}

export function atClient(world: World): Segment[] {
  const { tun } = world.node('a')
  const frames: Segment[] = []
  for (let raw = tun.take(); raw !== undefined; raw = tun.take()) frames.push(readSegment(raw, 0))
  return frames
}

export const FAMILIES: readonly Family[] = ['v4', 'v6']
/** Initial sequence numbers; the client's data crosses 2^32. */
export const CLIENT = 0xffff_fff0
export const SERVER = 5000
export const BASE: number = CLIENT + 1

/** Both ends of one flow, segment by segment. */
export class Talk {
  readonly world: World
  readonly family: Family
  readonly header: Buffer

  constructor(family: Family, version: Version = 'v2', world: World = worldOf(version)) {
    this.world = world
    this.family = family
    this.header = headerOf(family, version)
  }

  get shift(): number {
    return this.header.length
  }

  /** What the server gets. */
  client(segment: Partial<Segment>): Segment[] {
    this.world.injectMesh('a', buildPacket(fromClient(this.family, segment)))
    this.world.settle()
    return atServer(this.world)
  }

  /** What the client gets. */
  server(segment: Partial<Segment>): Segment[] {
    this.world.inject('ingress-b', buildFrame(fromServer(this.family, segment)))
    this.world.settle()
    return atClient(this.world)
  }

  syn(more: Partial<Segment> = {}): Segment[] {
    return this.client({ sequence: CLIENT, flags: TCP_SYN, ...more })
  }

  synAck(more: Partial<Segment> = {}): Segment[] {
    const flags = TCP_SYN | TCP_ACK
    return this.server({ sequence: SERVER, acknowledgement: BASE, flags, ...more })
  }

  /** Up to the client's acknowledgement: what the server gets for it. */
  begin(more: Partial<Segment> = {}): Segment[] {
    assert.equal(this.syn().length, 1)
    assert.equal(this.synAck().length, 1)
    return this.client({ sequence: BASE, acknowledgement: SERVER + 1, flags: TCP_ACK, ...more })
  }

  /** The server has the header. */
  established(): this {
    this.begin()
    this.server(this.acknowledges(0))
    return this
  }

  /** The server's acknowledgement of the header and so many bytes. */
  acknowledges(count: number): Partial<Segment> {
    const acknowledgement = (BASE + this.shift + count) >>> 0
    return { sequence: SERVER + 1, acknowledgement, flags: TCP_ACK }
  }

  count(): number {
    return this.world.node('a').engine.director.proxyHeaders.count
  }

  early(): number {
    return this.world.node('a').drops(DROP_PROXY_EARLY)
  }
}

/** The client's sequence number of a position in its stream. */
export function at(position: number): number {
  return (BASE + position) >>> 0
}
