// Goal: preparing a burst's look-ups changes nothing but time. Method: two worlds of the same seed
// and the same frames, one that prepares every burst and one that never does. Bursts come from
// containers, from the mesh's TUN and from the network: SYNs, replies, super-packets, frames that
// are not balanced and broken ones.

import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import { CLUSTER } from './testing/cluster.ts'
import {
  buildFrame,
  buildPacket,
  type PacketFields,
  payloadOf,
  TCP,
  vnetOf,
} from './testing/packets.ts'
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

interface Seen {
  readonly read: string[]
  /** Frames announced on the client's node: from devices, and from the network. */
  readonly announced: number
  readonly expected: number
  readonly drops: string
}

function run(prepared: boolean): Seen {
  const world = new World({ cluster: { ...CLUSTER, services: [...CLUSTER.services, service] } })
  world.connect()
  const { engine } = world.node('a')
  for (const node of world.nodes.values()) {
    node.engine.balance.announceFlowsMin = prepared ? 0 : Number.POSITIVE_INFINITY
  }
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
  const mesh = { source: '203.0.113.5', target: '192.0.2.97', protocol: TCP, flags: TCP_SYN }
  for (let i = 0; i < FLOWS; i++) {
    world.injectMesh('a', buildPacket({ ...mesh, sourcePort: 1000 + i, targetPort: 8080 }))
  }
  world.settle()
  const sent = [...world.read('front-b'), ...world.read('ingress-b')]
  const announced = expected
  expected = 0
  const reply: PacketFields = { source: SERVER, target: CLIENT, sourcePort: 80 }
  const tcp: PacketFields = { ...reply, protocol: TCP, flags: TCP_SYN | TCP_ACK }
  for (const targetPort of ports) {
    world.inject('front-b', buildFrame({ ...tcp, targetPort }))
    if (targetPort % 7 !== 0) continue
    const large = { ...tcp, targetPort, flags: TCP_ACK, payload: payloadOf(9000), partial: true }
    world.inject('front-b', buildFrame(large), vnetOf(large, 1300))
  }
  // Not balanced; then cut short.
  world.inject('front-b', buildFrame({ ...reply, sourcePort: 9, targetPort: 9 }))
  world.inject('front-b', buildFrame({ ...tcp, targetPort: 30_000 }).subarray(0, 40))
  world.settle()
  const read = [...sent, ...world.read('front-a')].map((frame) =>
    Buffer.from(frame).toString('hex'),
  )
  world.audit()
  const drops = [...world.nodes.values()].map((node) => node.dropNames())
  return { read, announced, expected, drops: JSON.stringify(drops) }
}

t.test('a burst arrives alike, prepared or not', async (t) => {
  const plain = run(false)
  const prepared = run(true)
  t.same([plain.announced, plain.expected], [0, 0])
  t.equal(prepared.announced, 2 * FLOWS)
  t.ok(prepared.expected >= FLOWS, `${prepared.expected} frames announced`)
  t.ok(plain.read.length > 3 * FLOWS, `${plain.read.length} frames arrived`)
  t.same(prepared.read, plain.read)
  t.equal(prepared.drops, plain.drops)
})
