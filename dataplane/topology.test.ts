// Goal: what has kept its name keeps its number, its object and its counters across swaps, so that
// flows and sessions live on; what has gone leaves nothing behind. Method: columns compared over
// two versions of the tables; then whole nodes that are given other tables while traffic flows.

import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import type { CompiledTables } from './compiled.ts'
import { Counters, counterMemory } from './counters.ts'
import { MemoryDevice } from './edge/memory.ts'
import { Port } from './ports.ts'
import { CLUSTER, type Cluster } from './testing/cluster.ts'
import { buildFrame, type PacketFields, payloadOf, TCP, view } from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'
import { FDB_GATEWAY, FDB_VIP, Topology } from './topology.ts'

const REVERSED: Cluster = {
  ...CLUSTER,
  version: 2,
  nodes: CLUSTER.nodes.toReversed(),
  networks: CLUSTER.networks.toReversed(),
  endpoints: CLUSTER.endpoints.toReversed(),
  services: CLUSTER.services.toReversed(),
}

/** The cluster after node b and all that ran there have gone. */
const WITHOUT_B: Cluster = {
  ...CLUSTER,
  version: 3,
  nodes: CLUSTER.nodes.filter(({ name }) => name !== 'b'),
  endpoints: CLUSTER.endpoints.filter(({ node }) => node !== 'b'),
  services: CLUSTER.services.map((service) => ({
    ...service,
    backends: service.backends.filter(({ endpoint }) => !endpoint.endsWith('-b')),
  })),
}

function fixture(): { topology: Topology; swap: (tables: CompiledTables, nowMs?: number) => void } {
  const topology = new Topology(new Counters(counterMemory(64)))
  const ports = new Map<string, Port>()
  const slab = memorySlab(64)
  const portOf = (name: string): Port => {
    const port = ports.get(name) ?? new Port(new MemoryDevice({ name, slab }), 14, 1400)
    ports.set(name, port)
    return port
  }
  return {
    topology,
    swap(tables, nowMs = 0) {
      const numbers = tables.peers.map(({ name }) => topology.peerIds.intern(name, nowMs))
      topology.swap(tables, portOf, numbers, nowMs)
    },
  }
}

const lookup = (topology: Topology, vni: number, mac: Uint8Array): number =>
  topology.fdb.lookup(vni, view(mac).getUint16(0), view(mac).getUint32(2))

t.test('the columns say what the tables say, and keep their numbers in any order', async (t) => {
  const { topology, swap } = fixture()
  const seen: string[] = []
  const objects: unknown[] = []
  for (const cluster of [CLUSTER, REVERSED]) {
    const tables = compileFor(cluster, 'a')
    swap(tables)
    for (const [i, endpoint] of tables.endpoints.entries()) {
      const id = topology.endpointIds.find(endpoint.name)
      const network = tables.networks[endpoint.network]!
      t.equal(lookup(topology, network.vni, endpoint.mac), id, endpoint.name)
      const peer = endpoint.peer < 0 ? -1 : topology.peerIds.find(tables.peers[endpoint.peer]!.name)
      t.equal(topology.endpointPeer[id], peer)
      t.equal(topology.endpointPort[id]?.endpoint ?? -1, endpoint.port < 0 ? -1 : id)
      const serves = tables.backends.some((backend) => backend.endpoint === i)
      t.equal(topology.endpointServes[id], serves ? 1 : 0)
    }
    for (const network of tables.networks) {
      const state = topology.networkByVni.get(network.vni)!
      t.match(state, {
        name: network.name,
        encrypted: network.encrypted,
        multicast: network.multicast,
      })
      t.equal(state.zone, state.id + 1)
      t.equal(state.ports.length, network.ports.length)
      t.equal(state.peers.length, network.peers.length)
      t.equal(lookup(topology, network.vni, network.gatewayMacs[0]!), FDB_GATEWAY)
    }
    for (const vip of tables.vips) {
      t.equal(lookup(topology, tables.networks[vip.network]!.vni, vip.mac), FDB_VIP)
    }
    t.equal(topology.ingress?.name, 'ingress')
    seen.push(CLUSTER.endpoints.map(({ name }) => topology.endpointIds.find(name)).join(' '))
    objects.push(topology.networkByVni.get(100), topology.ports.get('front-a'))
  }
  t.equal(seen[0], seen[1])
  t.equal(objects[0], objects[2], 'the network is the same object')
  t.equal(objects[1], objects[3], 'the port is the same object')
})

t.test('what is gone is unknown, and its number rests', async (t) => {
  const { topology, swap } = fixture()
  const full = compileFor(CLUSTER, 'a')
  swap(full, 0)
  const id = topology.endpointIds.find('front-b')
  const mac = full.endpoints.find(({ name }) => name === 'front-b')!.mac
  swap(compileFor(WITHOUT_B, 'a'), 1000)
  t.equal(topology.endpointIds.find('front-b'), -1)
  t.equal(lookup(topology, 100, mac), -1)
  t.equal(topology.endpointMacLo[id], view(mac).getUint32(2), 'resets of its flows still find it')
  swap(full, 2000)
  t.not(topology.endpointIds.find('front-b'), id)
})

const syn: PacketFields = {
  source: '10.1.0.11',
  target: '10.1.0.2',
  protocol: TCP,
  flags: TCP_SYN,
}

t.test('flows and sessions outlive a swap that moves everything', async (t) => {
  const world = new World()
  world.connect()
  world.inject('front-a', buildFrame(syn))
  world.settle()
  world.read('front-b')
  const handshakes = world.node('a').cell('handshakesInitiated')
  for (const node of world.nodes.values()) node.swap(compileFor(REVERSED, node.name))
  const data = { ...syn, flags: TCP_ACK, payload: payloadOf(100) }
  world.inject('front-a', buildFrame(data))
  world.settle()
  t.same(world.read('front-b'), [buildFrame({ ...data, target: '10.1.0.21', targetPort: 8080 })])
  t.equal(world.node('a').cell('handshakesInitiated'), handshakes)
  t.strictSame(world.node('a').dropNames(), {})
  world.audit()
})

t.test('a node goes and comes back, again and again, and leaves nothing behind', async (t) => {
  const world = new World({ nodes: ['a', 'b'] })
  world.connect()
  const table = world.node('a').socket as unknown as { endpoints: { references: Int32Array } }
  const references = (): string => [...table.endpoints.references].filter((n) => n > 0).join(' ')
  const before = references()
  for (let round = 0; round < 5; round++) {
    world.node('a').swap(compileFor(WITHOUT_B, 'a'))
    t.equal(
      references().split(' ').length,
      before.split(' ').length - 1,
      'its address is forgotten',
    )
    world.settle()
    world.node('a').swap(compileFor(CLUSTER, 'a'))
    t.equal(references(), before)
    // The other end believes in the old session until it learns better; a calls anew.
    world.advance(1000)
    const fields = { source: '10.1.0.11', target: '10.1.0.21', payload: payloadOf(round + 1) }
    world.inject('front-a', buildFrame(fields))
    world.settle()
    t.same(world.read('front-b'), [buildFrame(fields)])
  }
  world.audit()
})

t.test('a device that went is read no more, one that came is', async (t) => {
  const world = new World({ nodes: ['a'] })
  const without = {
    ...CLUSTER,
    endpoints: CLUSTER.endpoints.filter(({ name }) => name !== 'cast-a2'),
  }
  const node = world.node('a')
  const fields = { source: '10.2.0.12', target: '10.2.0.11' }
  node.swap(compileFor(without, 'a'))
  world.inject('cast-a2', buildFrame(fields))
  node.engine.turn(0)
  t.equal(node.cell('framesIn'), 0)
  node.swap(compileFor(CLUSTER, 'a'))
  world.settle()
  t.equal(node.cell('framesIn'), 1)
  t.equal(world.read('cast-a').length, 1)
})
