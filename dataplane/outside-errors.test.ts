// Goal: an ICMP error from outside about a flow of a published port reaches the backend, speaks of
// the flow as the backend knows it, and every other one changes nothing and is counted. Method: the
// world of three nodes with the backend on b; packets written by hand, cut short and damaged.

import t from 'tap'
import { prng } from '../base/prng.ts'
import {
  DROP_BAD_HEADER,
  DROP_ERROR_LIMITED,
  DROP_NO_FLOW,
  DROP_TRUNCATED,
} from './drop-reasons.ts'
import { OUTSIDE_ERRORS_BURST, OUTSIDE_ERRORS_PER_SECOND } from './engine-limits.ts'
import { CLUSTER, underlayOf } from './testing/cluster.ts'
import {
  addressBytes,
  buildFrame,
  buildPacket,
  checksumsHold,
  concat,
  ICMP,
  ICMPV6,
  macOf,
  TCP,
  UDP,
  view,
} from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'

const CLIENT_PORT = 40_000

interface Family {
  readonly client: string
  readonly router: string
  readonly server: string
  readonly gatewayMac: Uint8Array
  readonly addressOf: (node: string) => string
  readonly ip: number
  readonly protocol: number
  /** Type and code of "too big" and of "port unreachable". */
  readonly tooBig: readonly [number, number]
  readonly unreachable: readonly [number, number]
}

const V4: Family = {
  client: '203.0.113.5',
  router: '198.51.100.9',
  server: '10.255.0.21',
  gatewayMac: macOf('10.255.0.1'),
  addressOf: underlayOf,
  ip: 20,
  protocol: ICMP,
  tooBig: [3, 4],
  unreachable: [3, 3],
}

const V6: Family = {
  client: '2001:db8::5',
  router: '2001:db8:ffff::9',
  server: 'fd00:255::15',
  gatewayMac: macOf('fd00:255::1'),
  addressOf: (node) => `2001:db8:1::${node}`,
  ip: 40,
  protocol: ICMPV6,
  tooBig: [2, 0],
  unreachable: [1, 4],
}

const FAMILIES = Object.entries({ V4, V6 })

function begin(guarded = false): World {
  const world = new World({ guarded })
  world.connect()
  return world
}

/** A packet of the client through the port that `node` publishes; returns what the server got. */
function call(world: World, family: Family, node: string, protocol = TCP): Uint8Array | undefined {
  const target = family.addressOf(node)
  const targetPort = protocol === TCP ? 8080 : 5353
  const fields = { source: family.client, target, sourcePort: CLIENT_PORT, targetPort, protocol }
  world.injectMesh(node, buildPacket({ ...fields, flags: 2, sequence: 1 }))
  world.settle()
  return world.read('ingress-b')[0]
}

/** A packet that the server sends, as it leaves `node`. */
function answer(world: World, family: Family, node: string, protocol: number, port: number) {
  const { server, client, gatewayMac } = family
  const sourcePort = protocol === TCP ? 80 : 53
  const fields = { source: server, target: client, sourcePort, targetPort: port, protocol }
  const macs = { sourceMac: macOf('10.255.0.21'), targetMac: gatewayMac }
  const payload = new Uint8Array(1200)
  const flags = protocol === TCP ? { flags: 0x12, sequence: 500, acknowledgement: 2 } : {}
  world.inject('ingress-b', buildFrame({ ...fields, ...macs, ...flags, payload }))
  world.settle()
  return world.readMesh(node)[0]!
}

/** The error that a router or the client sends about a packet. */
function errorAbout(
  family: Family,
  packet: Uint8Array,
  [type, code]: readonly [number, number],
  mtu = 0,
  quoted = 500,
): Uint8Array {
  const header = new Uint8Array(8)
  header[0] = type
  header[1] = code
  view(header).setUint32(4, mtu)
  const source = family.router
  const target = packet.subarray(family.ip === 20 ? 12 : 8).subarray(0, family.ip === 20 ? 4 : 16)
  const payload = concat(header, packet.subarray(0, quoted))
  const { protocol } = family
  return buildPacket({ source, target: textOf(target), protocol, payload })
}

function textOf(address: Uint8Array): string {
  if (address.length === 4) return address.join('.')
  return (Buffer.from(address).toString('hex').match(/..../g) as string[]).join(':')
}

interface Told {
  readonly outer: readonly [string, string]
  readonly inner: readonly [string, string]
  readonly ports: readonly [number, number]
  readonly mtu: number
}

/** What an error says that came out of the server's interface. */
function read(family: Family, frame: Uint8Array): Told {
  t.ok(checksumsHold(frame), 'the checksums hold')
  const width = family.ip === 20 ? 4 : 16
  const pair = (ip: number): readonly [string, string] => {
    const first = ip + (width === 4 ? 12 : 8)
    const hex = (at: number): string => Buffer.from(frame.subarray(at, at + width)).toString('hex')
    return [hex(first), hex(first + width)]
  }
  const icmp = 14 + family.ip
  const at = view(frame)
  const upper = icmp + 8 + family.ip
  return {
    outer: pair(14),
    inner: pair(icmp + 8),
    ports: [at.getUint16(upper), at.getUint16(upper + 2)],
    mtu: at.getUint32(icmp + 4),
  }
}

const hexOf = (address: string): string => Buffer.from(addressBytes(address)).toString('hex')

function told(family: Family, port: number, mtu: number): Told {
  const { client, router, server } = family
  return {
    outer: [hexOf(router), hexOf(server)],
    inner: [hexOf(server), hexOf(client)],
    ports: [80, port],
    mtu,
  }
}

for (const [name, family] of FAMILIES) {
  t.test(`${name}: "too big" reaches the backend on another node and on this one`, async (t) => {
    for (const node of ['a', 'b']) {
      const world = begin()
      t.ok(call(world, family, node))
      const packet = answer(world, family, node, TCP, CLIENT_PORT)
      world.injectError(node, errorAbout(family, packet, family.tooBig, 1300))
      world.settle()
      const [frame, ...more] = world.read('ingress-b')
      t.same(read(family, frame!), told(family, CLIENT_PORT, 1300))
      t.same(more, [])
      t.equal(world.node(node).cell('outsideErrors'), 1)
      t.same(world.node(node).dropNames(), {})
      world.audit()
    }
  })

  t.test(`${name}: with as little quoted as the oldest routers do`, async (t) => {
    const world = begin()
    call(world, family, 'a')
    const packet = answer(world, family, 'a', TCP, CLIENT_PORT)
    const least = family.ip + 8
    world.injectError('a', errorAbout(family, packet, family.tooBig, 1300, least))
    world.injectError('a', errorAbout(family, packet, family.tooBig, 1300, least - 1))
    world.settle()
    const frames = world.read('ingress-b')
    t.equal(frames.length, 1)
    t.same(read(family, frames[0]!), told(family, CLIENT_PORT, 1300))
    t.same(world.node('a').dropNames(), { no_flow: 1 })
    world.audit()
  })

  t.test(`${name}: "port unreachable" of a UDP client`, async (t) => {
    const world = begin()
    call(world, family, 'a', UDP)
    const packet = answer(world, family, 'a', UDP, CLIENT_PORT)
    world.injectError('a', errorAbout(family, packet, family.unreachable))
    world.settle()
    const [frame] = world.read('ingress-b')
    t.same(read(family, frame!), { ...told(family, CLIENT_PORT, 0), ports: [53, CLIENT_PORT] })
    world.audit()
  })

  t.test(`${name}: of two connections that look alike, the right one is told`, async (t) => {
    const world = begin()
    const ports = ['a', 'c'].map((node) => {
      const frame = call(world, family, node)!
      return view(frame).getUint16(14 + family.ip)
    }) as [number, number]
    t.not(ports[0], ports[1])
    for (const [i, node] of ['a', 'c'].entries()) {
      const packet = answer(world, family, node, TCP, ports[i]!)
      world.injectError(node, errorAbout(family, packet, family.tooBig, 1300))
      world.settle()
      const [frame, ...more] = world.read('ingress-b')
      t.same(read(family, frame!), told(family, ports[i]!, 1300))
      t.same(more, [])
    }
    t.same(world.node('b').dropNames(), {})
    world.audit()
  })

  t.test(`${name}: an error about no flow goes no further and changes nothing`, async (t) => {
    const world = begin()
    call(world, family, 'a')
    const packet = answer(world, family, 'a', TCP, CLIENT_PORT)
    const flows = Buffer.from(world.node('a').engine.saveFlows())
    const otherPort = packet.slice()
    view(otherPort).setUint16(family.ip + 2, CLIENT_PORT + 1)
    const forward = { source: family.client, target: family.addressOf('a'), protocol: TCP }
    const ports = { sourcePort: CLIENT_PORT, targetPort: 8080 }
    for (const quoted of [otherPort, buildPacket({ ...forward, ...ports, payload: packet })]) {
      world.injectError('a', errorAbout(family, quoted, family.tooBig, 600))
    }
    // Of the flow, but at a node that has nothing to do with it.
    world.injectError('c', errorAbout(family, packet, family.tooBig, 600))
    world.settle()
    t.same(world.read('ingress-b'), [])
    t.same(world.readMesh('a'), [])
    t.equal(world.node('a').drops(DROP_NO_FLOW), 2)
    t.equal(world.node('c').drops(DROP_NO_FLOW), 1)
    t.equal(world.node('a').cell('outsideErrors'), 0)
    t.same(Buffer.from(world.node('a').engine.saveFlows()), flows)
    world.audit()
  })

  t.test(
    `${name}: a backend that is told nothing by a node its flow did not come by`,
    async (t) => {
      const world = begin()
      call(world, family, 'a')
      const packet = answer(world, family, 'a', TCP, CLIENT_PORT)
      // The same flow at c, which b never hears of.
      world.node('c').engine.restoreFlows(world.node('a').engine.saveFlows())
      world.injectError('c', errorAbout(family, packet, family.tooBig, 600))
      world.settle()
      t.same(world.read('ingress-b'), [])
      t.equal(world.node('b').drops(DROP_NO_FLOW), 1)
      world.audit()
    },
  )

  t.test(`${name}: cut short anywhere, and damaged anywhere`, async (t) => {
    const world = begin(true)
    call(world, family, 'a')
    const packet = answer(world, family, 'a', TCP, CLIENT_PORT)
    const whole = errorAbout(family, packet, family.tooBig, 1300, family.ip + 20)
    for (let size = 1; size < whole.length; size++) world.injectError('a', whole.subarray(0, size))
    world.settle()
    t.equal(world.node('a').drops(DROP_TRUNCATED), whole.length - 1)
    const before = world.node('a').drops(DROP_BAD_HEADER)
    for (let at = family.ip; at < whole.length; at++) {
      const damaged = whole.slice()
      damaged[at]! ^= 0x10
      world.injectError('a', damaged)
    }
    world.settle()
    const damages = whole.length - family.ip
    t.equal(world.node('a').drops(DROP_BAD_HEADER) - before, damages)
    t.same(world.read('ingress-b'), [])
    world.audit()
  })

  t.test(`${name}: hostile bytes behind a checksum that holds`, async (t) => {
    const world = begin(true)
    call(world, family, 'a')
    const packet = answer(world, family, 'a', TCP, CLIENT_PORT)
    const random = prng(7)
    const { router, protocol } = family
    for (let i = 0; i < 400; i++) {
      const quoted = packet.slice(0, random.below(family.ip + 40))
      for (let k = random.below(6); k > 0 && quoted.length > 0; k--) {
        quoted[random.below(quoted.length)] = random.below(256)
      }
      const header = Uint8Array.from({ length: 8 }, () => random.below(256))
      header[0] = random.below(6)
      const payload = concat(header, quoted).subarray(0, 1 + random.below(8 + quoted.length))
      const target = family.addressOf('a')
      world.injectError('a', buildPacket({ source: router, target, protocol, payload }))
    }
    world.settle()
    world.read('ingress-b')
    const node = world.node('a')
    const drops = node.drops(DROP_NO_FLOW) + node.drops(DROP_TRUNCATED)
    const bad = node.drops(DROP_BAD_HEADER)
    t.equal(drops + bad + node.cell('outsideErrors'), 400, 'each is accounted for')
    world.audit()
  })
}

t.test('types that are no errors for hosts behind the node', async (t) => {
  const world = begin()
  call(world, V4, 'a')
  const packet = answer(world, V4, 'a', TCP, CLIENT_PORT)
  for (const type of [0, 4, 5, 8, 13]) world.injectError('a', errorAbout(V4, packet, [type, 0]))
  world.settle()
  t.same(world.read('ingress-b'), [])
  t.same(world.node('a').dropNames(), { no_flow: 5 })
  world.audit()
})

t.test('more than the longest is cut off and dropped', async (t) => {
  const world = begin()
  call(world, V4, 'a')
  const packet = concat(answer(world, V4, 'a', TCP, CLIENT_PORT), new Uint8Array(3000))
  world.injectError('a', errorAbout(V4, packet, V4.tooBig, 1300, 3000))
  world.settle()
  t.same(world.read('ingress-b'), [])
  t.same(world.node('a').dropNames(), { truncated: 1 })
  world.audit()
})

t.test('a flood is looked at so often and no more', async (t) => {
  const world = begin()
  call(world, V4, 'a')
  const packet = answer(world, V4, 'a', TCP, CLIENT_PORT)
  const error = errorAbout(V4, packet, V4.tooBig, 1300)
  for (let i = 0; i < OUTSIDE_ERRORS_BURST + 5; i++) world.injectError('a', error)
  world.settle()
  t.equal(world.read('ingress-b').length, OUTSIDE_ERRORS_BURST)
  t.equal(world.node('a').drops(DROP_ERROR_LIMITED), 5)
  world.clock.advance(10)
  const more = OUTSIDE_ERRORS_PER_SECOND / 100
  for (let i = 0; i < more + 3; i++) world.injectError('a', error)
  world.settle()
  t.equal(world.read('ingress-b').length, more)
  t.equal(world.node('a').drops(DROP_ERROR_LIMITED), 8)
  world.audit()
})

t.test('no published ports, no errors', async (t) => {
  const world = begin()
  call(world, V4, 'a')
  const packet = answer(world, V4, 'a', TCP, CLIENT_PORT)
  const node = world.node('a')
  node.swap(compileFor({ ...CLUSTER, version: 2, publishedPorts: [] }, 'a'))
  const before = node.cell('framesIn')
  node.errors.push(errorAbout(V4, packet, V4.tooBig, 1300))
  node.engine.turn(0)
  t.equal(node.cell('framesIn'), before, 'nobody reads them')
})
