// Goal: preparing a burst's look-ups changes nothing but time. Method: two worlds of the same seed
// and the same frames, one that prepares every burst and one that never does; replies of servers
// elsewhere, fragments, frames that are not balanced and broken ones arrive at a client's node
// together.

import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import { CLUSTER } from './testing/cluster.ts'
import { buildFrame, type PacketFields, TCP } from './testing/packets.ts'
import { World } from './testing/world.ts'

const CLIENT = '10.1.0.11'
const VIP = '10.1.0.9'
const SERVER = '10.1.0.21'
const FLOWS = 70

const service = {
  name: 'announced',
  network: 'front',
  vips: [VIP],
  ports: [
    { protocol: 'tcp', port: 80 },
    { protocol: 'udp', port: 53 },
  ],
  backends: [{ endpoint: 'front-b' }],
} as const

function run(prepared: boolean): { read: string[]; expected: number; drops: string } {
  const world = new World({ cluster: { ...CLUSTER, services: [...CLUSTER.services, service] } })
  world.connect()
  const { engine } = world.node('a')
  engine.balance.announceFlowsMin = prepared ? 0 : Number.POSITIVE_INFINITY
  let expected = 0
  const { director } = engine
  const expect = director.expect.bind(director)
  director.expect = (...given) => {
    expected++
    expect(...given)
  }
  const ports = Array.from({ length: FLOWS }, (_, i) => 30_000 + i)
  for (const sourcePort of ports) {
    const syn = { source: CLIENT, target: VIP, protocol: TCP, flags: TCP_SYN }
    world.inject('front-a', buildFrame({ ...syn, sourcePort, targetPort: 80 }))
  }
  world.settle()
  world.read('front-b')
  expected = 0
  const reply: PacketFields = { source: SERVER, target: CLIENT, sourcePort: 80 }
  const tcp: PacketFields = { ...reply, protocol: TCP, flags: TCP_SYN | TCP_ACK }
  for (const targetPort of ports) world.inject('front-b', buildFrame({ ...tcp, targetPort }))
  // Not balanced; then cut short.
  world.inject('front-b', buildFrame({ ...reply, sourcePort: 9, targetPort: 9 }))
  world.inject('front-b', buildFrame({ ...tcp, targetPort: 30_000 }).subarray(0, 40))
  world.settle()
  const read = world.read('front-a').map((frame) => Buffer.from(frame).toString('hex'))
  world.audit()
  return { read, expected, drops: JSON.stringify(world.node('a').dropNames()) }
}

t.test('a burst arrives alike, prepared or not', async (t) => {
  const plain = run(false)
  const prepared = run(true)
  t.equal(plain.expected, 0)
  t.ok(prepared.expected >= FLOWS, `${prepared.expected} frames announced`)
  t.ok(plain.read.length > FLOWS, `${plain.read.length} frames arrived`)
  t.same(prepared.read, plain.read)
  t.equal(prepared.drops, plain.drops)
})
