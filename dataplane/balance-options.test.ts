// Goal: every balancing option of the tables reaches the packets. Method: the world of three nodes;
// a service with one option each, frames of a client on a, and where they come out. The client's
// frames are built by hand, so the replies of a server that "lives" are too.

import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import type { Service } from './tables.ts'
import { CLUSTER, type Cluster } from './testing/cluster.ts'
import { buildFrame, type PacketFields, TCP, view } from './testing/packets.ts'
import { World } from './testing/world.ts'

const CLIENT = '10.1.0.11'
const VIP = '10.1.0.9'
const SERVERS = ['front-a2', 'front-b', 'front-c'] as const
const ADDRESSES: Readonly<Record<string, string>> = {
  'front-a2': '10.1.0.12',
  'front-b': '10.1.0.21',
  'front-c': '10.1.0.31',
}
const SCTP = 132

function worldOf(service: Partial<Service>, more: Partial<Cluster> = {}): World {
  const added: Service = {
    name: 'options',
    network: 'front',
    vips: [VIP],
    ports: [
      { protocol: 'tcp', port: 80 },
      { protocol: 'udp', port: 53 },
      { protocol: 'sctp', port: 7 },
    ],
    backends: SERVERS.map((endpoint) => ({ endpoint })),
    ...service,
  }
  const world = new World({
    cluster: { ...CLUSTER, services: [...CLUSTER.services, added], ...more },
  })
  world.connect()
  return world
}

const syn = (sourcePort: number): PacketFields => ({
  source: CLIENT,
  target: VIP,
  protocol: TCP,
  flags: TCP_SYN,
  sourcePort,
  targetPort: 80,
})
const datagram = (sourcePort: number): PacketFields => ({
  source: CLIENT,
  target: VIP,
  sourcePort,
  targetPort: 53,
  payload: Uint8Array.of(1, 2, 3),
})

/** Which server got the packet; "" = none did. */
function goes(world: World, fields: PacketFields): string {
  world.inject('front-a', buildFrame(fields))
  world.settle()
  const got = SERVERS.filter((name) => world.read(name).length > 0)
  t.ok(got.length <= 1)
  return got[0] ?? ''
}

function goMany(world: World, fields: (port: number) => PacketFields, count: number): string[] {
  return Array.from({ length: count }, (_, i) => goes(world, fields(40_000 + i)))
}

t.test('a persistent client keeps its backend, another gets its own', async (t) => {
  const world = worldOf({ persistenceSeconds: 60, persistencePrefix4: 31 })
  const first = goMany(world, syn, 4)
  t.same(new Set(first).size, 1, first.join())
  t.match(first[0], /^front/)
  world.audit()
})

t.test('one-packet: each datagram of a flow by itself', async (t) => {
  const world = worldOf({ onePacket: true })
  const same = [1, 2, 3].map(() => goes(world, datagram(40_000)))
  t.same([...same].sort(), [...SERVERS])
  const tcp = goMany(worldOf({ onePacket: true }), syn, 3)
  t.same([...tcp].sort(), [...SERVERS], 'TCP is balanced as ever')
  world.audit()
})

t.test('a full backend gets no more, until it has fewer', async (t) => {
  const backends = [
    { endpoint: 'front-a2', upperThreshold: 2, lowerThreshold: 1 },
    { endpoint: 'front-b', upperThreshold: 1 },
  ]
  const world = worldOf({ backends })
  const got = goMany(world, syn, 4)
  t.same(got.sort(), ['', 'front-a2', 'front-a2', 'front-b'])
  world.advance(70_000, 10_000)
  t.same(goMany(world, (port) => syn(port + 100), 2).sort(), ['front-a2', 'front-b'])
  world.audit()
})

t.test('what is near comes first', async (t) => {
  const near = (prefer: Service['prefer']): Partial<Service> => ({ prefer: prefer! })
  t.same(new Set(goMany(worldOf(near('node')), syn, 4)), new Set(['front-a2']))
  const zones = { zones: { a: 'north', b: 'north', c: 'south' } }
  t.same(new Set(goMany(worldOf(near('zone'), zones), syn, 4)), new Set(['front-a2', 'front-b']))
  t.same(new Set(goMany(worldOf(near('nearest'), zones), syn, 4)), new Set(['front-a2']))
  const away = SERVERS.map((endpoint) => ({ endpoint, weight: endpoint === 'front-a2' ? 0 : 1 }))
  const rest = worldOf({ prefer: 'nearest', backends: away }, zones)
  t.same(new Set(goMany(rest, syn, 4)), new Set(['front-b']), 'the zone when the node has none')
  const far = SERVERS.map((endpoint) => ({ endpoint, weight: endpoint === 'front-c' ? 1 : 0 }))
  t.same(new Set(goMany(worldOf({ prefer: 'nearest', backends: far }, zones), syn, 2)).size, 1)
})

/** A segment of the established flow, from the client or from the server that has it. */
function segments(server: string): { client: PacketFields; server: PacketFields } {
  const client = { ...syn(40_000), flags: TCP_ACK, sequence: 11, acknowledgement: 101 }
  const [source, target] = [ADDRESSES[server]!, CLIENT]
  const ports = { sourcePort: 80, targetPort: 40_000 }
  return {
    client,
    server: {
      ...{ source, target, protocol: TCP, ...ports },
      ...{ flags: TCP_ACK, sequence: 101, acknowledgement: 11 },
    },
  }
}

/** Opens a flow; returns its server. */
function open(world: World): string {
  const server = goes(world, { ...syn(40_000), sequence: 10 })
  const { client, server: back } = segments(server)
  const flags = TCP_SYN | TCP_ACK
  world.inject(server, buildFrame({ ...back, flags, sequence: 100 }))
  world.settle()
  t.equal(world.read('front-a').length, 1)
  t.equal(goes(world, client), server)
  return server
}

t.test('an idle flow is kept as long as both ends answer', async (t) => {
  const world = worldOf({}, { balancer: { tcpSeconds: 100 } })
  const node = world.node('a')
  const server = open(world)
  const { client, server: back } = segments(server)
  world.advance(101_000, 1000)
  t.equal(node.cell('probes'), 1)
  const [toClient] = world.read('front-a')
  const [toServer] = world.read(server)
  t.equal(view(toClient!).getUint32(14 + 20 + 4), 100, 'one before what the client expects')
  t.equal(view(toServer!).getUint32(14 + 20 + 4), 10, 'one before what the server expects')
  world.inject('front-a', buildFrame(client))
  world.inject(server, buildFrame(back))
  world.settle()
  world.advance(90_000, 1000)
  t.equal(node.cell('probes'), 1, 'both answered')
  t.equal(node.cell('flowsOpen'), 1)
  world.advance(80_000, 1000)
  t.equal(node.cell('probes') >= 3, true, 'nobody answers')
  t.equal(node.cell('flowsOpen'), 0, 'and the flow is forgotten')
  world.audit()
})

t.test('a service may name its own idle time, without being asked', async (t) => {
  const world = worldOf({ idleSeconds: 20 })
  open(world)
  world.advance(22_000, 1000)
  t.equal(world.node('a').cell('probes'), 0)
  t.equal(world.node('a').cell('flowsOpen'), 0)
})

t.test('SCTP is balanced', async (t) => {
  const world = worldOf({})
  // INIT, verification tag 0, a checksum that nobody verifies before it is computed anew.
  const init = new Uint8Array(12 + 20)
  const at = view(init)
  at.setUint16(0, 5000)
  at.setUint16(2, 7)
  at.setUint8(12, 1)
  at.setUint16(14, 20)
  const frame = buildFrame({ source: CLIENT, target: VIP, protocol: SCTP, payload: init })
  frame.set(init, 34)
  world.inject('front-a', frame)
  world.settle()
  const got = SERVERS.filter((name) => world.read(name).length > 0).join()
  t.match(got, /^front/)
  const short = { source: CLIENT, target: VIP, protocol: SCTP, payload: init.subarray(0, 8) }
  t.equal(goes(world, short), '', 'a truncated header goes nowhere')
  t.equal(world.node('a').dropNames().truncated, 1)
  world.audit()
})

t.test('settings change only where the tables change them', async (t) => {
  const world = worldOf({}, { balancer: { tcpSeconds: 100, dropEntry: 1 } })
  const node = world.node('a')
  const { timeouts, settings } = node.engine.director
  t.same(timeouts.get(), [100, 120, 300])
  timeouts.set(0, 0, 77)
  settings.dropEntry = 2
  const tables = node.tables
  const balancer = { ...tables.node.balancer, tcpSeconds: 200 }
  node.swap({ ...tables, version: 2, node: { ...tables.node, balancer } })
  t.same(timeouts.get(), [200, 120, 77])
  t.equal(settings.dropEntry, 2)
})
