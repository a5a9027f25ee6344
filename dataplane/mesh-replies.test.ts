// Goal: a backend learns that a flow through the mesh is over, also when it could not be reached in
// the moment in which that was said. Method: the world of three nodes; datagrams that are lost.

import t from 'tap'
import { TCP_ACK, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { DROP_NO_ROUTE } from './drop-reasons.ts'
import { CLUSTER, placeOf } from './testing/cluster.ts'
import {
  buildFrame,
  buildPacket,
  checksumsHold,
  macOf,
  type PacketFields,
  TCP,
  view,
} from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'

const CLIENT = '203.0.113.5'
const CLIENT_PORT = 40_000
const FLAGS = 14 + 20 + 13

function reply(more: Partial<PacketFields> = {}): PacketFields {
  return {
    source: '10.255.0.21',
    target: CLIENT,
    targetMac: macOf('10.255.0.1'),
    protocol: TCP,
    flags: TCP_ACK,
    sourcePort: 80,
    targetPort: CLIENT_PORT,
    sequence: 700,
    acknowledgement: 101,
    ...more,
  }
}

/** A flow through the mesh of `a` to a backend on `b` that `a` has reset, and `b` has not heard. */
function forgotten(): World {
  const world = new World()
  world.connect()
  const syn = { source: CLIENT, target: '192.0.2.97', sourcePort: CLIENT_PORT, targetPort: 8080 }
  world.injectMesh('a', buildPacket({ ...syn, protocol: TCP, flags: TCP_SYN, sequence: 100 }))
  world.settle()
  world.inject('ingress-b', buildFrame(reply({ flags: TCP_SYN | TCP_ACK, sequence: 699 })))
  world.settle()
  world.readMesh('a')
  world.read('ingress-b')
  const { network } = world
  network.onDatagram = (bytes, _from, to) => (to === placeOf('b') ? undefined : bytes)
  const services = CLUSTER.services.map((service) => ({ ...service, backends: [] }))
  world.node('a').swap(compileFor({ ...CLUSTER, version: 2, services }, 'a'))
  world.settle()
  network.onDatagram = (bytes) => bytes
  return world
}

t.test('a reset that was lost is said again', async (t) => {
  const world = forgotten()
  t.equal(world.readMesh('a').length, 1, 'the client was told')
  t.equal(world.read('ingress-b').length, 0)
  world.inject('ingress-b', buildFrame(reply()))
  world.settle()
  const [told, ...more] = world.read('ingress-b')
  t.same(more, [])
  t.ok(checksumsHold(told!))
  t.equal(told![FLAGS]! & TCP_RST, TCP_RST)
  t.equal(view(told!).getUint32(14 + 20 + 4), 101, 'as its receiver expects it')
  t.equal(view(told!).getUint16(14 + 20), CLIENT_PORT)
  t.equal(world.node('a').drops(DROP_NO_ROUTE), 1)
  world.audit()
})

t.test('a reset is not answered by one', async (t) => {
  const world = forgotten()
  world.inject('ingress-b', buildFrame(reply({ flags: TCP_RST })))
  world.settle()
  t.same(world.read('ingress-b'), [])
  t.equal(world.node('a').drops(DROP_NO_ROUTE), 1)
  world.audit()
})
