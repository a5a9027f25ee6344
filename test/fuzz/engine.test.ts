// Goal: whatever containers, the network or a compromised peer send, the packet loop throws
// nothing, touches no memory but its own, and knows what became of every packet. Method: captured
// packets with bytes changed, ends cut and lengths mended, frames of random fields and noise go
// into TAPs, the mesh's TUN and sockets: in the clear, under a valid seal, and with the seal
// damaged; some of it through a network that loses, duplicates, reorders and cuts. After each burst
// the world comes to rest and is audited: views are guarded, canaries stand around the buffers,
// sent ranges lie in the arena, and
//
//   framesIn + datagramsIn + replicated = forwarded + answered + control + drops + staged + merged
//
// WEFT_FUZZ_RUNS and WEFT_FUZZ_SEED choose how long and from where; a failure prints its seed.

import fc from 'fast-check'
import t from 'tap'
import { prng } from '../../base/prng.ts'
import { faultySocket } from '../../dataplane/edge/fault-injector.ts'
import { Frame } from '../../dataplane/frame.ts'
import { CLUSTER, placeOf, underlayOf } from '../../dataplane/testing/cluster.ts'
import {
  addressBytes,
  buildFrame,
  buildPacket,
  ICMP,
  macOf,
  type PacketFields,
  payloadOf,
  vnetOf,
} from '../../dataplane/testing/packets.ts'
import { World, type WorldOptions } from '../../dataplane/testing/world.ts'
import { writeVxlan } from '../../wire/vxlan.ts'
import { loadFixtures } from '../fixtures.ts'
import { viewOf } from '../hex.ts'

const RUNS = Number(process.env.WEFT_FUZZ_RUNS ?? 12)
const SEED = process.env.WEFT_FUZZ_SEED
const PARAMETERS = SEED === undefined ? { numRuns: RUNS } : { numRuns: RUNS, seed: Number(SEED) }

const packets = loadFixtures().map(({ bytes }) => bytes)

const change = fc.record({
  at: fc.oneof({ weight: 4, arbitrary: fc.nat(80) }, { weight: 1, arbitrary: fc.nat(1500) }),
  value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 2, 4, 6, 8, 17, 44, 58, 0x45, 0x60, 255)),
})
const changes = fc.array(change, { maxLength: 4 })

const ENDPOINTS = CLUSTER.endpoints.filter(
  ({ attached, node }) => attached !== false && node !== 'p',
)
const HOSTS = [
  ...CLUSTER.endpoints.flatMap(({ addresses }) => addresses),
  ...CLUSTER.services.flatMap(({ vips }) => vips),
  ...[
    '10.1.0.1',
    '10.255.0.1',
    'fd00:1::1',
    '10.1.0.99',
    '198.51.100.9',
    '10.2.255.255',
    'ff02::1',
  ],
]
const V4 = HOSTS.filter((host) => !host.includes(':'))
const V6 = HOSTS.filter((host) => host.includes(':'))

/** Frames that make sense more often than not: mostly the sender's own addresses, a known target.
 * */
const fields = fc.record({
  v6: fc.boolean(),
  from: fc.nat(ENDPOINTS.length - 1),
  honest: fc.boolean(),
  to: fc.nat(1000),
  protocol: fc.constantFrom(1, 6, 6, 6, 17, 17, 17, 58, 132),
  sourcePort: fc.constantFrom(40000, 40001, 8080, 53, 80),
  targetPort: fc.constantFrom(80, 53, 8080, 5353, 8081, 9),
  flags: fc.constantFrom(2, 0x10, 0x18, 0x12, 0x11, 4, 0x14, 0),
  sequence: fc.nat(5000),
  size: fc.oneof(fc.nat(80), fc.nat(1500), fc.nat(60_000)),
  gso: fc.oneof(fc.constant(0), fc.constantFrom(1, 8, 500, 1360, 1400, 9000, 65535)),
  partial: fc.boolean(),
  fragment: fc.oneof(
    { weight: 5, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.record({ offset: fc.constantFrom(0, 1480), more: fc.boolean() }) },
  ),
  group: fc.oneof(
    { weight: 6, arbitrary: fc.constant(false) },
    { weight: 1, arbitrary: fc.constant(true) },
  ),
})

type Fields = typeof fields extends fc.Arbitrary<infer T> ? T : never

function packetOf(f: Fields): { packet: PacketFields; endpoint: string } {
  const own = ENDPOINTS[f.from]!
  const hosts = f.v6 ? V6 : V4
  const target = hosts[f.to % hosts.length]!
  const source = f.honest ? own.addresses[f.v6 ? 1 : 0]! : hosts[(f.to * 7) % hosts.length]!
  const packet: PacketFields = {
    source,
    target,
    sourceMac: macOf(own.addresses[0]!),
    targetMac: f.group ? new Uint8Array(6).fill(255) : targetMac(target),
    protocol: f.protocol,
    sourcePort: f.sourcePort,
    targetPort: f.targetPort,
    flags: f.flags,
    sequence: f.sequence,
    payload: payloadOf(f.size),
    partial: f.partial && (f.protocol === 6 || f.protocol === 17),
    ...(f.fragment === undefined ? {} : { fragment: f.fragment }),
  }
  return { packet, endpoint: own.name }
}

function targetMac(address: string): Uint8Array {
  const endpoint = CLUSTER.endpoints.find(({ addresses }) => addresses.includes(address))
  return macOf(endpoint?.addresses[0] ?? address)
}

type Action =
  | { kind: 'frame'; fields: Fields; changes: { at: number; value: number }[]; cut: number }
  | { kind: 'fixture'; packet: number; changes: { at: number; value: number }[]; own: number }
  | {
      kind: 'clear'
      fields: Fields
      changes: { at: number; value: number }[]
      vni: number
      from: number
    }
  | {
      kind: 'sealed'
      fields: Fields
      changes: { at: number; value: number }[]
      inner: number
      vni: number
    }
  | { kind: 'damaged'; fields: Fields; at: number; bit: number }
  | { kind: 'noise'; bytes: Uint8Array; where: number }
  | { kind: 'time'; ms: number }

const VNIS = fc.constantFrom(100, 200, 300, 400, 999, 0)
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('frame' as const),
      fields,
      changes,
      cut: fc.constantFrom(0, 0, 0, 1, 20, 60),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('fixture' as const),
      packet: fc.nat(packets.length - 1),
      changes,
      own: fc.nat(ENDPOINTS.length - 1),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('clear' as const),
      fields,
      changes,
      vni: VNIS,
      from: fc.nat(3),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('sealed' as const),
      fields,
      changes,
      inner: fc.nat(3),
      vni: VNIS,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('damaged' as const),
      fields,
      at: fc.nat(100),
      bit: fc.nat(7),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('noise' as const),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 200 }),
      where: fc.nat(5),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('time' as const),
      ms: fc.constantFrom(10, 1000, 30_000, 130_000),
    }),
  },
)

function mutate(
  frame: Uint8Array,
  list: readonly { at: number; value: number }[],
  cut: number = 0,
): Uint8Array {
  for (const { at, value } of list) if (frame.length > 0) frame[at % frame.length] = value
  return frame.subarray(0, Math.max(1, frame.length - cut))
}

function perform(world: World, step: Action): void {
  switch (step.kind) {
    case 'frame':
      return injectFrame(world, step.fields, step.changes, step.cut)
    case 'fixture': {
      const own = ENDPOINTS[step.own]!
      const frame = packets[step.packet]!.slice()
      const view = viewOf(frame)
      // In the container's own name, so that it comes past the first check.
      frame.set(macOf(own.addresses[0]!), 6)
      if (view.getUint16(12) === 0x0800 && frame.length > 30)
        frame.set(addressBytes(own.addresses[0]!), 26)
      return world.inject(own.name, mutate(frame, step.changes))
    }
    case 'clear': {
      const bytes = encapsulate(
        buildFrame(packetOf(step.fields).packet).subarray(0, 60_000),
        step.vni,
        0,
      )
      const from = ['a', 'b', 'p', 'z'][step.from]!
      return world.network.send(
        mutate(bytes, step.changes.slice(0, 2)),
        placeOf(from),
        placeOf('a'),
      )
    }
    case 'sealed': {
      const frame = buildFrame(packetOf(step.fields).packet).subarray(0, 8000)
      const bytes = encapsulate(frame, step.vni, step.inner)
      return forge(world, mutate(bytes, step.changes))
    }
    case 'damaged': {
      const before = world.network.onDatagram
      world.network.onDatagram = (bytes) => {
        bytes[step.at % bytes.length]! ^= 1 << step.bit
        return bytes
      }
      injectFrame(world, step.fields, [], 0)
      world.settle()
      world.network.onDatagram = before
      return
    }
    case 'noise':
      return makeNoise(world, step.bytes, step.where)
    case 'time':
      return world.advance(step.ms, Math.max(250, step.ms / 20))
  }
}

function injectFrame(
  world: World,
  f: Fields,
  list: { at: number; value: number }[],
  cut: number,
): void {
  const { packet, endpoint } = packetOf(f)
  const vnet = vnetOf(packet, f.gso)
  world.inject(endpoint, mutate(buildFrame(packet), list, cut), vnet)
}

function encapsulate(frame: Uint8Array, vni: number, inner: number): Uint8Array {
  const bytes = new Uint8Array(8 + frame.length)
  writeVxlan(viewOf(bytes), 0, vni, inner)
  bytes.set(frame, 8)
  return bytes
}

/** Seals any bytes from a to b under their session, as a compromised node can. */
function forge(world: World, bytes: Uint8Array): void {
  const { engine, slab } = world.node('a')
  const peer = engine.topology.peerIds.find('b')
  const session = engine.topology.peers.session[peer]!
  if (engine.sessions.sealerOf(session) === null) return
  slab.bytes.set(bytes, engine.transmitter.frameAt() - 8)
  engine.transmitter.sendControl(peer, bytes.length)
  engine.transmitter.flush(world.clock.nowMs())
}

function makeNoise(world: World, bytes: Uint8Array, where: number): void {
  if (where === 0) return world.inject('front-a', bytes)
  if (where === 1) return world.injectMesh('a', bytes)
  if (where === 4) return world.injectError('a', bytes)
  if (where === 5) {
    // An error whose checksum holds.
    bytes[0] = bytes[0]! % 13
    const from = { source: '198.51.100.7', target: underlayOf('a') }
    return world.injectError('a', buildPacket({ ...from, protocol: ICMP, payload: bytes }))
  }
  // A first byte that comes past the first look.
  if (where === 2) bytes[0] = bytes[0]! % 9
  if (where === 3) bytes.fill(0, 1, 4)
  world.network.send(bytes, placeOf('b'), placeOf('a'))
}

function fuzz(name: string, options: WorldOptions): void {
  t.test(name, async (t) => {
    let total = 0
    fc.assert(
      fc.property(
        fc.array(fc.array(action, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 8 }),
        fc.nat(),
        (bursts, seed) => {
          const world = new World({ ...options, seed, guarded: true })
          world.connect()
          for (const burst of bursts) {
            for (const step of burst) perform(world, step)
            world.settle()
            world.audit()
          }
          for (const node of world.nodes.values())
            total += node.cell('framesIn') + node.cell('datagramsIn')
        },
      ),
      PARAMETERS,
    )
    t.ok(total > 0, `${total} packets`)
  })
}

fuzz('over a good network', {})
fuzz('devices without UDP super-packets, one datagram per message', {
  mergeUdp: false,
  merge: false,
  sendCount: 2,
})
fuzz('a connection table of four', { connectionsMax: 4 })
fuzz('over a bad network', {
  wrapSocket: (socket, slab) =>
    faultySocket(
      socket,
      slab,
      { loss: 0.02, duplication: 0.05, reordering: 0.1, bitFlip: 0.05, truncation: 0.05 },
      prng(5),
    ),
})

t.test('the forged frames of this file are seen as what they are', async (t) => {
  const world = new World()
  world.connect()
  const frame = buildFrame({ source: '10.1.0.11', target: '10.1.0.21', payload: payloadOf(9) })
  forge(world, encapsulate(frame, 100, 0))
  world.settle()
  t.same(world.read('front-b'), [frame])
  const described = new Frame()
  described.setWhole(0, frame.length)
  t.equal(described.end(), frame.length)
})
