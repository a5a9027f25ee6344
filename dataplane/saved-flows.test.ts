// Goal: flows go on in another packet loop with the same tables, whatever their order, and those
// that have no place there are left out; no bytes can harm. Method: a flow begun in one world,
// saved, and continued in a second one whose networks and endpoints stand in another order.

import fc from 'fast-check'
import t from 'tap'
import { FlowStateError } from '../ipvs-emulator/flow-state.ts'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import { CLUSTER, type Cluster } from './testing/cluster.ts'
import { buildFrame, type PacketFields, TCP } from './testing/packets.ts'
import { World } from './testing/world.ts'

const CLIENT = '10.1.0.11'
const VIP = '10.1.0.2'
const SERVER = '10.1.0.21'
const ports = { sourcePort: 40_000, targetPort: 80 }
const forward: PacketFields = { source: CLIENT, target: VIP, protocol: TCP, ...ports }
const backward: PacketFields = {
  ...{ source: SERVER, target: CLIENT, protocol: TCP },
  ...{ sourcePort: 8080, targetPort: 40_000 },
}

const TURNED: Cluster = {
  ...CLUSTER,
  networks: [...CLUSTER.networks].reverse(),
  endpoints: [...CLUSTER.endpoints].reverse(),
}

/** A world with one established flow from front-a by the VIP to front-b. */
function begun(): World {
  const world = new World({ nodes: ['a', 'b'] })
  world.connect()
  world.inject('front-a', buildFrame({ ...forward, flags: TCP_SYN }))
  world.settle()
  world.inject('front-b', buildFrame({ ...backward, flags: TCP_SYN | TCP_ACK }))
  world.settle()
  world.inject('front-a', buildFrame({ ...forward, flags: TCP_ACK }))
  world.settle()
  t.equal(world.read('front-b').length, 2)
  return world
}

function successor(cluster: Cluster): World {
  const world = new World({ nodes: ['a', 'b'], cluster })
  world.connect()
  return world
}

/** True when a segment of the flow arrives at the server and one of the server at the client. */
function goesOn(world: World): boolean {
  world.inject('front-a', buildFrame({ ...forward, flags: TCP_ACK }))
  world.settle()
  const there = world.read('front-b').length
  world.inject('front-b', buildFrame({ ...backward, flags: TCP_ACK }))
  world.settle()
  const back = world.read('front-a')
  // From the VIP's port 80, not from the server's own.
  return there === 1 && back.some((frame) => frame[34] === 0 && frame[35] === 80)
}

t.test('a flow goes on in the next loop', async (t) => {
  const bytes = begun().node('a').engine.saveFlows()
  t.notOk(goesOn(successor(CLUSTER)), 'not without its state')
  for (const cluster of [CLUSTER, TURNED]) {
    const world = successor(cluster)
    const { engine } = world.node('a')
    t.same(engine.restoreFlows(bytes), { loaded: 1, dropped: 0 })
    t.ok(goesOn(world))
    t.match(engine.ask({ name: 'drain', given: { endpoint: 'front-b' } }), { flows: 1 })
    world.audit()
  }
})

t.test('what has no place any more is dropped and counted', async (t) => {
  const bytes = begun().node('a').engine.saveFlows()
  const without = (change: Partial<Cluster>): Cluster => ({ ...CLUSTER, ...change })
  const moved = CLUSTER.endpoints.map((one) =>
    one.name === 'front-b' ? { ...one, addresses: ['10.1.0.99', 'fd00:1::99'] } : one,
  )
  for (const [what, cluster] of [
    ['no such service', without({ services: CLUSTER.services.slice(1) })],
    ['another address', without({ endpoints: moved })],
    [
      'another network',
      without({
        networks: CLUSTER.networks.map((one) =>
          one.name === 'front' ? { ...one, name: 'other' } : one,
        ),
        endpoints: CLUSTER.endpoints.map((one) =>
          one.network === 'front' ? { ...one, network: 'other' } : one,
        ),
        services: CLUSTER.services.map((one) =>
          one.network === 'front' ? { ...one, network: 'other' } : one,
        ),
      }),
    ],
  ] as const) {
    const node = successor(cluster).node('a')
    t.same(node.engine.restoreFlows(bytes), { loaded: 0, dropped: 1 }, what)
    t.equal(node.cell('flowsLost'), 1)
  }
  const late = successor(CLUSTER)
  late.clock.advance(901_000)
  t.same(late.node('a').engine.restoreFlows(bytes), { loaded: 0, dropped: 1 }, 'too old')
})

t.test('damaged bytes are refused', async (t) => {
  const bytes = begun().node('a').engine.saveFlows()
  const { engine } = successor(CLUSTER).node('a')
  for (const length of [0, 3, 12, 40, bytes.length - 1]) {
    t.throws(() => engine.restoreFlows(bytes.slice(0, length)), FlowStateError)
  }
  const next = bytes.slice()
  next[5] = 2
  t.throws(() => engine.restoreFlows(next), /version 2, but 1 is understood/)
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = bytes.slice()
      damaged[at]! ^= change
      try {
        engine.restoreFlows(damaged)
        return false
      } catch (error) {
        return error instanceof FlowStateError
      }
    }),
    { numRuns: 500 },
  )
  t.equal(engine.director.connectionCount, 0)
})
