// Goal: a client that uses one source port towards several nodes has as many connections, also
// where all are balanced to one backend; each goes on for itself, over errors and a restart.
// Method: the world of three nodes with the backend on b; both ends are written by hand.

import t from 'tap'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { CLUSTER, type Cluster, underlayOf } from './testing/cluster.ts'
import {
  buildFrame,
  buildPacket,
  checksumsHold,
  concat,
  ICMP,
  ICMPV6,
  macOf,
  packetHolds,
  TCP,
  view,
} from './testing/packets.ts'
import { World } from './testing/world.ts'

const PORT = 40_000

interface Family {
  readonly client: string
  readonly server: string
  readonly gatewayMac: Uint8Array
  readonly addressOf: (node: string) => string
  readonly l4: number
  readonly unreachable: readonly [number, number, number]
}

const V4: Family = {
  client: '203.0.113.5',
  server: '10.255.0.21',
  gatewayMac: macOf('10.255.0.1'),
  addressOf: underlayOf,
  l4: 20,
  unreachable: [ICMP, 3, 4],
}

const V6: Family = {
  client: '2001:db8::5',
  server: 'fd00:255::15',
  gatewayMac: macOf('fd00:255::1'),
  addressOf: (node) => `2001:db8:1::${node}`,
  l4: 40,
  unreachable: [ICMPV6, 2, 0],
}

/** One connection of the client, by one node. */
class Way {
  readonly world: World
  readonly family: Family
  readonly node: string
  /** The client's port as the server sees it. */
  port = -1

  constructor(world: World, family: Family, node: string) {
    this.world = world
    this.family = family
    this.node = node
  }

  /** A segment of the client; as it arrives at the server. */
  say(flags: number, text = ''): Uint8Array | undefined {
    const { client, addressOf } = this.family
    const payload = Buffer.from(text)
    const ports = { sourcePort: PORT, targetPort: 8080 }
    const fields = { source: client, target: addressOf(this.node), protocol: TCP, ...ports }
    this.world.injectMesh(this.node, buildPacket({ ...fields, flags, sequence: 1, payload }))
    this.world.settle()
    const [frame, ...more] = this.world.read('ingress-b')
    t.same(more, [])
    if (frame === undefined) return undefined
    t.ok(checksumsHold(frame))
    this.port = view(frame).getUint16(14 + this.family.l4)
    return frame
  }

  /** A segment of the server to the port that it knows; as it arrives at the client. */
  answer(flags: number, text = ''): Uint8Array | undefined {
    const { client, server, gatewayMac } = this.family
    const payload = Buffer.from(text)
    const ports = { sourcePort: 80, targetPort: this.port }
    const fields = { source: server, target: client, protocol: TCP, ...ports }
    const macs = { sourceMac: macOf('10.255.0.21'), targetMac: gatewayMac }
    this.world.inject(
      'ingress-b',
      buildFrame({ ...fields, ...macs, flags, sequence: 500, acknowledgement: 2, payload }),
    )
    this.world.settle()
    for (const other of ['a', 'b', 'c']) {
      if (other !== this.node) t.same(this.world.readMesh(other), [], `nothing comes by ${other}`)
    }
    return this.world.readMesh(this.node)[0]
  }

  open(): this {
    t.ok(this.say(TCP_SYN), `a SYN by ${this.node}`)
    t.ok(this.answer(TCP_SYN | TCP_ACK))
    this.say(TCP_ACK)
    return this
  }

  /** Text both ways, and it is nobody else's. */
  talks(text: string): void {
    const known = this.port
    const there = this.say(TCP_ACK, `${text}?`)
    t.equal(
      Buffer.from(there ?? [])
        .toString('latin1')
        .slice(-text.length - 1),
      `${text}?`,
    )
    t.equal(this.port, known, 'as the server knows it')
    const back = this.answer(TCP_ACK, `${text}!`)
    t.equal(
      Buffer.from(back ?? [])
        .toString('latin1')
        .slice(-text.length - 1),
      `${text}!`,
    )
    if (back === undefined) return
    t.ok(packetHolds(back))
    t.equal(view(back).getUint16(this.family.l4), 8080)
    t.equal(view(back).getUint16(this.family.l4 + 2), PORT, "to the client's own port")
  }
}

function begin(cluster: Cluster = CLUSTER): World {
  const world = new World({ cluster })
  world.connect()
  return world
}

for (const [name, family] of Object.entries({ V4, V6 })) {
  t.test(`${name}: one source port, three nodes, one backend`, async (t) => {
    for (const order of ['abc', 'acb', 'bac', 'bca', 'cab', 'cba']) {
      const world = begin()
      const ways = [...order].map((node) => new Way(world, family, node).open())
      t.equal(new Set(ways.map(({ port }) => port)).size, 3, 'the server can tell them apart')
      t.equal(ways[0]!.port, PORT, 'the first keeps its port')
      for (const round of ['one', 'two']) for (const way of ways) way.talks(`${way.node}${round}`)
      t.equal(world.node('b').dropNames().flow_conflict, undefined)
      world.audit()
    }
  })

  t.test(`${name}: an error about one is about it`, async (t) => {
    const world = begin()
    const [, twin] = ['a', 'c'].map((node) => new Way(world, family, node).open())
    const there = twin!.say(TCP_ACK, 'is it there?')!
    const [protocol, type, code] = family.unreachable
    const about = (packet: Uint8Array): Uint8Array =>
      concat(Uint8Array.of(type, code, 0, 0, 0, 0, 5, 0), packet.subarray(0, family.l4 + 20))
    const { server, client, gatewayMac } = family
    const macs = { sourceMac: macOf('10.255.0.21'), targetMac: gatewayMac }
    const payload = about(there.subarray(14))
    const fromServer = { source: server, target: client, protocol, payload }
    world.inject('ingress-b', buildFrame({ ...fromServer, ...macs }))
    world.settle()
    t.same(world.readMesh('a'), [])
    const [told] = world.readMesh('c')
    t.ok(packetHolds(told!))
    t.equal(view(told!).getUint16(2 * family.l4 + 8), PORT, 'the port that the client knows')
    world.audit()
  })

  t.test(`${name}: each ends for itself, and its port is free again`, async (t) => {
    const world = begin()
    const first = new Way(world, family, 'a').open()
    const twin = new Way(world, family, 'c').open()
    first.say(TCP_RST)
    twin.talks('twin')
    const again = new Way(world, family, 'a').open()
    t.equal(again.port, PORT)
    twin.talks('still')
    twin.say(TCP_FIN | TCP_ACK)
    twin.answer(TCP_FIN | TCP_ACK)
    twin.say(TCP_ACK)
    again.talks('alone')
    const next = new Way(world, family, 'c').open()
    t.not(next.port, PORT)
    next.talks('next')
    again.talks('with it')
    world.advance(1_000_000, 10_000)
    t.equal(world.node('b').engine.director.connectionCount, 0)
    world.audit()
  })

  t.test(`${name}: they go on in the next loop, whatever the numbers of its peers`, async (t) => {
    const before = begin()
    const ways = ['a', 'c'].map((node) => new Way(before, family, node).open())
    const turned = { ...CLUSTER, nodes: [...CLUSTER.nodes].reverse() }
    const bytes = new Map([...before.nodes].map(([node, one]) => [node, one.engine.saveFlows()]))
    const after = begin(turned)
    for (const [node, one] of after.nodes) {
      const loaded = node === 'b' ? 2 : 1
      t.same(one.engine.restoreFlows(bytes.get(node)!), { loaded, dropped: 0 })
    }
    for (const { node, port } of ways) {
      const way = new Way(after, family, node)
      way.port = port
      t.ok(way.answer(TCP_ACK, 'first to speak'), 'also when the server speaks first')
      way.talks(node)
    }
    after.audit()
  })
}

t.test('a connection whose client comes back through another node is the same', async (t) => {
  const world = begin()
  const one = new Way(world, V4, 'a').open()
  const other = new Way(world, { ...V4, addressOf: () => underlayOf('a') }, 'c')
  world.node('c').engine.restoreFlows(world.node('a').engine.saveFlows())
  t.ok(other.say(TCP_ACK, 'moved'))
  t.equal(other.port, one.port)
  t.ok(other.answer(TCP_ACK, 'follows'), 'the newest way in is the way out')
})

t.test('flows that came by a peer that is gone are not taken over', async (t) => {
  const before = begin()
  for (const node of ['a', 'c']) new Way(before, V4, node).open()
  const bytes = before.node('b').engine.saveFlows()
  const cluster = { ...CLUSTER, nodes: CLUSTER.nodes.filter(({ name }) => name !== 'c') }
  const endpoints = CLUSTER.endpoints.filter(({ node }) => node !== 'c')
  const after = begin({ ...cluster, endpoints })
  t.same(after.node('b').engine.restoreFlows(bytes), { loaded: 1, dropped: 1 })
  after.audit()
})
