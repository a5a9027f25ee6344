// Goal: a client learns of a refusal only when nobody else takes its connection. Method: the world
// of three nodes; servers on the client's own node and elsewhere refuse by reset or ICMP error, and
// what reaches the client and the other servers is compared with the client's own SYN.

import t from 'tap'
import { TCP_ACK, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import type { Service } from './tables.ts'
import { CLUSTER } from './testing/cluster.ts'
import {
  buildFrame,
  buildPacket,
  checksumsHold,
  concat,
  ICMP,
  ICMPV6,
  macOf,
  type PacketFields,
  TCP,
  view,
} from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'

const SERVERS = ['front-a2', 'front-b', 'front-c'] as const
type Server = (typeof SERVERS)[number]

const NETS = {
  v4: { client: '10.1.0.11', vip: '10.1.0.9', of: (host: number) => `10.1.0.${host}`, ip: 20 },
  v6: {
    client: 'fd00:1::b',
    vip: 'fd00:1::9',
    of: (host: number) => `fd00:1::${host.toString(16)}`,
    ip: 40,
  },
}
const HOSTS: Readonly<Record<Server, number>> = { 'front-a2': 12, 'front-b': 21, 'front-c': 31 }
const PORT = 40_000
/** An endpoint's MAC address comes from its first address. */
const CLIENT_MAC: Uint8Array = macOf(NETS.v4.client)
/** Maximum segment size 1000, which no path clamps, and a window scale. */
const OPTIONS: Uint8Array = Uint8Array.of(2, 4, 3, 232, 1, 3, 3, 7)

function worldOf(more: Partial<Service> = {}): World {
  const service: Service = {
    name: 'retried',
    network: 'front',
    vips: [NETS.v4.vip, NETS.v6.vip],
    ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }],
    backends: SERVERS.map((endpoint) => ({ endpoint })),
    retryRefused: true,
    ...more,
  }
  const world = new World({ cluster: { ...CLUSTER, services: [...CLUSTER.services, service] } })
  world.connect()
  return world
}

for (const [name, net] of Object.entries(NETS)) {
  const syn: PacketFields = {
    source: net.client,
    target: net.vip,
    protocol: TCP,
    flags: TCP_SYN,
    sourcePort: PORT,
    targetPort: 80,
    sequence: 77,
    options: OPTIONS,
    sourceMac: CLIENT_MAC,
  }
  const reply = (server: Server, flags: number): PacketFields => ({
    sourceMac: macOf(NETS.v4.of(HOSTS[server])),
    targetMac: CLIENT_MAC,
    source: net.of(HOSTS[server]),
    target: net.client,
    protocol: TCP,
    flags,
    sourcePort: 8080,
    targetPort: PORT,
    acknowledgement: 78,
  })
  /** "Port unreachable" of a server about a SYN as it got it. */
  const unreachable = (server: Server, got: Uint8Array): Uint8Array => {
    const four = name === 'v4'
    const head = Uint8Array.of(four ? 3 : 1, four ? 3 : 4, 0, 0, 0, 0, 0, 0)
    return buildFrame({
      source: net.of(HOSTS[server]),
      target: net.client,
      sourceMac: macOf(NETS.v4.of(HOSTS[server])),
      targetMac: CLIENT_MAC,
      protocol: four ? ICMP : ICMPV6,
      payload: concat(head, got.subarray(14)),
    })
  }
  /** Who got a frame, and the frame. */
  const taken = (world: World): [Server, Uint8Array] | null => {
    const got = SERVERS.flatMap((server) =>
      world.read(server).map((frame): [Server, Uint8Array] => [server, frame]),
    )
    t.ok(got.length <= 1, `${got.length} servers got it`)
    return got[0] ?? null
  }
  const start = (world: World): [Server, Uint8Array] => {
    world.inject('front-a', buildFrame(syn))
    world.settle()
    return taken(world)!
  }
  const refuse = (world: World, server: Server, frame: Uint8Array): void => {
    world.inject(server, frame)
    world.settle()
  }

  for (const how of ['reset', 'icmp'] as const) {
    t.test(`${name}: refused by ${how}, a SYN goes to all others, then back`, async (t) => {
      const world = worldOf()
      const asked: Server[] = []
      let [server, frame] = start(world)
      for (;;) {
        t.ok(checksumsHold(frame))
        t.same(frame.subarray(14 + net.ip + 4, 14 + net.ip + 8), Uint8Array.of(0, 0, 0, 77))
        t.same(frame.subarray(14 + net.ip + 20), OPTIONS, "the options are the client's")
        const wanted = buildFrame({ ...syn, target: net.of(HOSTS[server]), targetPort: 8080 })
        const whole = Uint8Array.from(frame)
        whole.set(wanted.subarray(0, 12))
        t.same(whole, wanted, 'all of it is')
        asked.push(server)
        const refusal =
          how === 'reset'
            ? buildFrame(reply(server, TCP_RST | TCP_ACK))
            : unreachable(server, frame)
        refuse(world, server, refusal)
        const next = taken(world)
        if (next === null) break
        t.same(world.read('front-a'), [], 'the client hears nothing')
        ;[server, frame] = next
      }
      t.equal(new Set(asked.slice(0, 3)).size, 3, asked.join(' '))
      t.equal(world.node('a').cell('retries'), asked.length - 1)
      const [told, ...more] = world.read('front-a')
      t.same(more, [])
      t.ok(checksumsHold(told!))
      const from = told!.subarray(14 + (name === 'v4' ? 12 : 8), 14 + (name === 'v4' ? 16 : 24))
      t.same(from, buildPacket(syn).subarray(name === 'v4' ? 16 : 24, name === 'v4' ? 20 : 40))
      world.audit()
    })
  }

  t.test(`${name}: the one that takes it answers as if it had been the first`, async (t) => {
    const world = worldOf()
    const [first] = start(world)
    refuse(world, first, buildFrame(reply(first, TCP_RST | TCP_ACK)))
    const [second] = taken(world)!
    world.inject(second, buildFrame(reply(second, TCP_SYN | TCP_ACK)))
    world.settle()
    const [answer] = world.read('front-a')
    t.ok(checksumsHold(answer!))
    t.equal(view(answer!).getUint16(14 + net.ip), 80)
    // From now on a reset is the client's business.
    world.inject(second, buildFrame(reply(second, TCP_RST)))
    world.settle()
    t.equal(world.read('front-a').length, 1)
    t.equal(world.node('a').cell('retries'), 1)
    world.audit()
  })

  t.test(`${name}: a repeated SYN goes where the retry went`, async (t) => {
    const world = worldOf()
    const { heldSyns } = world.node('a').engine.director
    heldSyns.copy = () => 0
    const [first] = start(world)
    refuse(world, first, buildFrame(reply(first, TCP_RST | TCP_ACK)))
    t.equal(taken(world), null, 'nothing is kept')
    t.same(world.read('front-a'), [])
    const [second] = start(world)
    t.not(second, first)
    world.audit()
  })

  t.test(
    `${name}: a SYN that its backend leaves unanswered goes on when that is gone`,
    async (t) => {
      const services = (backends: readonly Server[]): Service[] => [
        ...CLUSTER.services,
        {
          name: 'retried',
          network: 'front',
          vips: [NETS.v4.vip, NETS.v6.vip],
          ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }],
          backends: backends.map((endpoint) => ({ endpoint })),
          retryRefused: true,
        },
      ]
      const swap = (world: World, backends: readonly Server[]): void => {
        const cluster = { ...CLUSTER, version: 2, services: services(backends) }
        world.node('a').swap(compileFor(cluster, 'a'))
        world.settle()
      }
      const world = worldOf()
      const [first] = start(world)
      swap(
        world,
        SERVERS.filter((server) => server !== first),
      )
      const [second, frame] = taken(world)!
      t.not(second, first)
      t.ok(checksumsHold(frame))
      const wanted = buildFrame({ ...syn, target: net.of(HOSTS[second]), targetPort: 8080 })
      t.same(frame.subarray(12), wanted.subarray(12), "it is the client's own")
      t.same(world.read('front-a'), [], 'the client hears nothing')
      world.inject(second, buildFrame(reply(second, TCP_SYN | TCP_ACK)))
      world.settle()
      t.equal(world.read('front-a').length, 1, 'but the answer')
      world.audit()
      // From now on it is a flow that is reset.
      swap(
        world,
        SERVERS.filter((server) => server !== second),
      )
      t.equal(world.read('front-a').length, 1, 'its end')
      t.equal(world.node('a').cell('retries'), 1)
      world.audit()

      const alone = worldOf()
      start(alone)
      swap(alone, [])
      t.equal(alone.read('front-a').length, 1, 'nobody is left: the client is told')
      alone.audit()
    },
  )

  t.test(`${name}: who does not ask for it is told at once`, async (t) => {
    for (const more of [{ retryRefused: false }, { persistenceSeconds: 60 }]) {
      const world = worldOf(more)
      const [first, frame] = start(world)
      refuse(world, first, buildFrame(reply(first, TCP_RST | TCP_ACK)))
      t.equal(taken(world), null)
      t.equal(world.read('front-a').length, 1)
      refuse(world, first, unreachable(first, frame))
      t.equal(world.node('a').cell('retries'), 0)
      world.audit()
    }
  })

  t.test(`${name}: other errors are no refusals`, async (t) => {
    const world = worldOf()
    const [first, frame] = start(world)
    const error = unreachable(first, frame)
    // Too big; the checksum of the message is not looked at on the way.
    if (name === 'v4') error[14 + net.ip + 1] = 4
    else error[14 + net.ip] = 2
    refuse(world, first, error)
    t.equal(taken(world), null)
    t.equal(world.read('front-a').length, 1)
    world.audit()
  })

  t.test(`${name}: a client may end up with itself`, async (t) => {
    const backends = [{ endpoint: 'front-b' }, { endpoint: 'front-a' }]
    const world = worldOf({ backends })
    world.inject('front-a', buildFrame(syn))
    world.settle()
    if (world.read('front-b').length === 0) {
      // The first choice was the client itself: it refuses itself.
      const macs = { sourceMac: CLIENT_MAC, targetMac: macOf(net.vip) }
      const ends = { source: net.client, target: net.vip, ...macs }
      const own = { ...reply('front-b', TCP_RST | TCP_ACK), ...ends }
      world.read('front-a')
      world.inject('front-a', buildFrame(own))
      world.settle()
      const [there] = world.read('front-b')
      t.ok(checksumsHold(there!))
      t.same(there!.subarray(6, 12), CLIENT_MAC, 'under its own address elsewhere')
    } else {
      refuse(world, 'front-b', buildFrame(reply('front-b', TCP_RST | TCP_ACK)))
      const [there] = world.read('front-a')
      t.ok(checksumsHold(there!))
      t.same(there!.subarray(6, 12), macOf(net.vip), 'from the VIP, so that the reply comes back')
    }
    world.audit()
  })
}

t.test('a client of the mesh learns as little', async (t) => {
  const service: Service = {
    name: 'published',
    network: 'ingress',
    vips: [],
    backends: [{ endpoint: 'ingress-a' }, { endpoint: 'ingress-b' }],
    retryRefused: true,
  }
  const others = CLUSTER.services.filter(({ name }) => name !== 'published')
  const world = new World({ cluster: { ...CLUSTER, services: [...others, service] } })
  world.connect()
  const client = '203.0.113.5'
  const syn: PacketFields = {
    source: client,
    target: '192.0.2.97',
    protocol: TCP,
    flags: TCP_SYN,
    sourcePort: PORT,
    targetPort: 8080,
  }
  const hosts = { 'ingress-a': '10.255.0.11', 'ingress-b': '10.255.0.21' } as const
  const names = Object.keys(hosts) as (keyof typeof hosts)[]
  const takes = (): keyof typeof hosts | undefined =>
    names.find((name) => world.read(name).length > 0)
  world.injectMesh('a', buildPacket(syn))
  world.settle()
  const asked: string[] = []
  for (let name = takes(); name !== undefined; name = takes()) {
    asked.push(name)
    const refusal = {
      source: hosts[name],
      target: client,
      protocol: TCP,
      flags: TCP_RST | TCP_ACK,
      sourcePort: 80,
      targetPort: PORT,
      targetMac: macOf('10.255.0.1'),
    }
    world.inject(name, buildFrame(refusal))
    world.settle()
  }
  t.equal(new Set(asked.slice(0, 2)).size, 2, asked.join(' '))
  t.equal(world.node('a').cell('retries'), asked.length - 1)
  t.equal(world.readMesh('a').length, 1, 'one reset, in the end')
  world.audit()
})
