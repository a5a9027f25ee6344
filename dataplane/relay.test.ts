// Goal: two nodes that do not reach each other talk through a third, which can neither read nor be
// made use of by strangers; and directly again once they can. Method: whole engines over a network
// in memory, with the direct way cut and mended.

import t from 'tap'
import { ENVELOPE_INITIATION, ENVELOPE_TRANSPORT } from '../wire/envelope.ts'
import { ENGINE_CELLS } from './counters.ts'
import { CLUSTER, type Cluster, placeOf, underlayOf } from './testing/cluster.ts'
import { buildFrame, macOf, payloadOf } from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'

const SECRET = payloadOf(200)

function cluster(relays: boolean): Cluster {
  return {
    ...CLUSTER,
    nodes: [
      { name: 'a', hidden: true, relay: 'c' },
      { name: 'b', hidden: true, relay: 'c' },
      { name: 'c', relays, keepaliveSeconds: 25 },
    ],
    // What is not sealed cannot be relayed.
    networks: CLUSTER.networks.filter(({ name }) => name !== 'clear'),
    endpoints: CLUSTER.endpoints.filter(({ network }) => network !== 'clear'),
  }
}

const toB = buildFrame({
  source: '10.1.0.11',
  target: '10.1.0.21',
  sourceMac: macOf('10.1.0.11'),
  targetMac: macOf('10.1.0.21'),
  payload: SECRET,
})
const toA = buildFrame({
  source: '10.1.0.21',
  target: '10.1.0.11',
  sourceMac: macOf('10.1.0.21'),
  targetMac: macOf('10.1.0.11'),
  payload: SECRET,
})

interface Scene {
  readonly world: World
  /** Datagrams on the wire: from, to, type. */
  readonly wire: { from: string; to: string; bytes: Uint8Array }[]
  isCut: boolean
  delivered(): boolean
}

function scene(relays = true): Scene {
  const world = new World({ nodes: ['a', 'b', 'c'], cluster: cluster(relays) })
  const made: Scene = { world, wire: [], isCut: true, delivered }
  const direct = new Set([`${placeOf('a')} ${placeOf('b')}`, `${placeOf('b')} ${placeOf('a')}`])
  world.network.onDatagram = (bytes, from, to) => {
    if (made.isCut && direct.has(`${from} ${to}`)) return undefined
    made.wire.push({ from, to, bytes: Uint8Array.from(bytes) })
    return bytes
  }
  /** A frame each way. */
  function delivered(): boolean {
    world.inject('front-a', toB)
    world.settle()
    world.inject('front-b', toA)
    world.settle()
    return world.read('front-b').length > 0 && world.read('front-a').length > 0
  }
  // Both call the relay, as nodes behind NAT do.
  for (const name of ['a', 'b']) {
    const node = world.nodes.get(name)!
    const index = node.tables.peers.findIndex((peer) => peer.name === 'c')
    const session = node.engine.topology.peers.session[index]!
    node.engine.sessions.wantSession(session, world.clock.nowMs())
    node.engine.turn(0)
    world.settle()
  }
  world.advance(1000)
  return made
}

const relayed = (world: World): number =>
  world.nodes.get('c')!.counters.cells[ENGINE_CELLS.relayed]!

t.test('through a relay', async (t) => {
  const { world, wire, delivered } = scene()
  t.ok(delivered(), 'the first frames arrive, after a handshake through the relay')
  t.ok(relayed(world) >= 4, `${relayed(world)} were relayed`)
  const sealed = wire.filter(
    ({ from, bytes }) => from === placeOf('c') && bytes[0] === ENVELOPE_TRANSPORT,
  )
  t.ok(sealed.length >= 2)
  const text = Buffer.from(SECRET).toString('latin1')
  t.notOk(wire.some(({ bytes }) => Buffer.from(bytes).toString('latin1').includes(text)))
  for (let i = 0; i < 20; i++) {
    world.advance(15_000)
    t.ok(delivered(), 'over renewals of the session')
  }
  world.audit()
})

t.test('the direct way is taken when it opens, and the relay when it closes', async (t) => {
  const made = scene()
  const { world, delivered } = made
  t.ok(delivered())
  // Each has been told where the other is heard from, and both ways are open now.
  const open = (name: string): void => {
    const nodes = cluster(true).nodes.map((one) => ({ ...one, hidden: false }))
    world.node(name).swap(compileFor({ ...cluster(true), version: 2, nodes }, name))
  }
  made.isCut = false
  open('a')
  open('b')
  for (let i = 0; i < 20; i++) {
    world.advance(15_000)
    t.ok(delivered())
  }
  const before = relayed(world)
  t.ok(delivered())
  t.equal(relayed(world), before, 'nothing goes by the relay any more')
  made.isCut = true
  let tries = 0
  while (!delivered() && tries++ < 40) world.advance(1_000)
  t.ok(tries < 40, 'the relay is found again')
  world.audit()
})

t.test('a peer of which the tables learn where it is needs its relay no more', async (t) => {
  for (const isCalled of [false, true]) {
    const { world, delivered } = scene()
    if (isCalled) t.ok(delivered(), 'by the relay')
    // A node that joins registers before it knows its own port.
    const nodes = cluster(true).nodes.map(({ relay: _, ...one }) => ({ ...one, hidden: false }))
    const known = { ...cluster(true), version: 2, nodes }
    for (const name of ['a', 'b', 'c']) world.node(name).swap(compileFor(known, name))
    world.network.onDatagram = (bytes) => bytes
    const before = relayed(world)
    t.ok(delivered(), 'directly')
    t.equal(relayed(world), before)
    world.audit()
  }
})

t.test('a node that does not relay does not', async (t) => {
  const { world, delivered } = scene(false)
  t.notOk(delivered())
  t.equal(relayed(world), 0)
  world.audit()
})

t.test('strangers and replays get nothing out of it', async (t) => {
  const { world, wire, delivered } = scene()
  t.ok(delivered())
  const before = relayed(world)
  const initiation = wire.find(
    ({ from, to, bytes }) =>
      from === placeOf('a') && to === placeOf('c') && bytes[0] === ENVELOPE_INITIATION,
  )!
  const data = wire.findLast(
    ({ to, bytes }) => to === placeOf('c') && bytes[0] === ENVELOPE_TRANSPORT,
  )!
  const stranger = `${underlayOf('z')}:4789`
  for (const { bytes } of [initiation, data]) {
    world.network.send(bytes, stranger, placeOf('c'))
    world.settle()
  }
  const invented = Uint8Array.from(data.bytes)
  invented.set([1, 2, 3, 4], 4)
  world.network.send(invented, placeOf('a'), placeOf('c'))
  world.settle()
  t.equal(relayed(world), before)
  // A flood of initiations from a peer is held back.
  for (let i = 0; i < 100; i++) {
    const fake = Uint8Array.from(initiation.bytes)
    fake[5] = i
    world.network.send(fake, placeOf('a'), placeOf('c'))
  }
  world.settle()
  t.ok(relayed(world) - before <= 20)
  world.audit()
})
