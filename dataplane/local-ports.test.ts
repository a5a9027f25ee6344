// Goal: what lives at a network's gateway addresses hears the containers of its own node and is
// heard by them, and by nobody else; a device that vanishes harms nobody. Method: the cluster of
// the other tests, with an interface for the gateway of `front` on every node; frames in, frames
// out.

import t from 'tap'
import * as drop from './drop-reasons.ts'
import { CLUSTER, type Cluster, tablesOf } from './testing/cluster.ts'
import { buildFrame, ICMP, macOf, type PacketFields, payloadOf } from './testing/packets.ts'
import { World } from './testing/world.ts'
import { validateTables } from './validate.ts'

const NAME = 'gateway/front'
const A = '10.1.0.11'
const B = '10.1.0.21'
const GATEWAY = '10.1.0.1'
const WITH_GATEWAY: Cluster = {
  ...CLUSTER,
  networks: CLUSTER.networks.map((network) =>
    network.name === 'front' ? { ...network, gatewayInterface: { name: 'dns0' } } : network,
  ),
}

function connected(): World {
  const world = new World({ cluster: WITH_GATEWAY })
  world.connect()
  return world
}

const question: PacketFields = {
  source: A,
  target: GATEWAY,
  targetPort: 53,
  payload: payloadOf(40),
}
const answer: PacketFields = { source: GATEWAY, target: A, payload: payloadOf(80) }
const macOfFrame = (frame: Uint8Array): string => Buffer.from(frame.subarray(0, 6)).toString('hex')

t.test('a container asks, the gateway of its node answers', async (t) => {
  const world = connected()
  world.inject('front-a', buildFrame(question))
  world.settle()
  const asked = world.read(NAME)
  t.equal(asked.length, 1)
  t.equal(macOfFrame(asked[0]!), Buffer.from(macOf(GATEWAY)).toString('hex'))
  t.equal(world.node('b').devices.get(NAME)!.take(), undefined, 'other nodes hear nothing')
  world.inject(NAME, buildFrame(answer))
  world.settle()
  t.equal(world.read('front-a').length, 1)
  t.equal(world.node('a').imbalance(), 0)
})

t.test('the IPv6 gateway is reached through the same interface', async (t) => {
  const world = connected()
  const sourceMac = macOf(A)
  const fields = { ...question, source: 'fd00:1::b', target: 'fd00:1::1', sourceMac }
  world.inject('front-a', buildFrame({ ...fields, targetMac: macOf('fd00:1::1') }))
  world.settle()
  const asked = world.read(NAME)
  t.equal(asked.length, 1)
  t.equal(macOfFrame(asked[0]!), Buffer.from(macOf(GATEWAY)).toString('hex'))
})

t.test('pings are still answered by the loop itself', async (t) => {
  const world = connected()
  const payload = Uint8Array.of(8, 0, 0, 0, 0, 1, 0, 1)
  world.inject('front-a', buildFrame({ source: A, target: GATEWAY, protocol: ICMP, payload }))
  world.settle()
  t.equal(world.node('a').cell('answered'), 1)
  t.equal(world.read(NAME).length, 0)
})

t.test('other addresses behind the gateway are not the gateway', async (t) => {
  const world = connected()
  const targetMac = macOf(GATEWAY)
  world.inject('front-a', buildFrame({ ...question, target: B, targetMac }))
  world.inject('front-a', buildFrame({ ...question, target: '198.51.100.1', targetMac }))
  world.settle()
  t.equal(world.node('a').drops(drop.DROP_NO_ROUTE), 2)
  t.equal(world.read(NAME).length, 0)
})

t.test(
  'the gateway reaches no container of another node, no VIP, and nobody in its name',
  async (t) => {
    const world = connected()
    for (const target of [B, '10.1.0.2']) {
      world.inject(NAME, buildFrame({ ...answer, target }))
    }
    world.inject(NAME, buildFrame({ ...answer, source: '10.1.0.12', sourceMac: macOf(GATEWAY) }))
    world.inject('front-a', buildFrame({ ...question, source: GATEWAY, target: '10.1.0.12' }))
    world.settle()
    const node = world.node('a')
    t.equal(node.drops(drop.DROP_NO_ROUTE), 2)
    t.equal(node.drops(drop.DROP_SPOOFED_SOURCE), 2)
    t.equal(world.read('front-b').length, 0)
  },
)

t.test('tables that give the interface twice, or a way out, are refused', async (t) => {
  const problems = (change: Partial<Cluster>): string[] =>
    validateTables(tablesOf({ ...WITH_GATEWAY, ...change }, 'a'), {
      schedulers: ['rr'],
    }).problems.map(({ path, message }) => `${path} ${message}`)
  const both = CLUSTER.networks.map((network) => ({
    ...network,
    gatewayInterface: { name: 'dns0' },
  }))
  t.match(problems({ networks: both })[0], /^networks\[1\]\.gatewayInterface\.name is also that of/)
  const [front, ...rest] = CLUSTER.networks
  const out = { ...front!, gatewayInterface: { name: 'dns0', defaultRoute: true } }
  t.match(problems({ networks: [out, ...rest] })[0], /gatewayInterface\.defaultRoute would lead/)
})

t.test('a device that goes with its namespace is not polled any more', async (t) => {
  const world = connected()
  const node = world.node('a')
  node.devices.get('front-a2')!.vanish()
  t.equal(node.poller.wait(0), 1)
  node.engine.turn(0)
  t.equal(node.poller.wait(0), 0)
  world.inject('front-a', buildFrame({ source: A, target: B, payload: payloadOf(40) }))
  node.engine.turn(0)
  world.node('b').engine.turn(0)
  t.equal(world.read('front-b').length, 1, 'the others go on')
})

t.test('the TUN of the mesh, taken away by somebody, is not polled any more', async (t) => {
  for (const announces of [false, true]) {
    const world = connected()
    const node = world.node('a')
    node.engine.balance.announceFlowsMin = announces ? 0 : Number.POSITIVE_INFINITY
    node.tun.vanish()
    t.equal(node.poller.wait(0), 1)
    node.engine.turn(0)
    t.equal(node.poller.wait(0), 0, 'or the loop would never sleep again')
    node.swap(node.tables)
    node.engine.turn(0)
    t.equal(node.poller.wait(0), 0, 'nor after other tables')
  }
})
