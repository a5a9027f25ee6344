// Goal: a flow through the mesh that another node balances is forgotten as soon as its backend has
// left this node, in whatever state it is, and no other flow is. Method: the world of three nodes.

import t from 'tap'
import { TCP_ACK, TCP_FIN, TCP_SYN } from '../wire/tcp.ts'
import { CLUSTER, type Cluster } from './testing/cluster.ts'
import { buildPacket, TCP } from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'

const BACKENDS = ['ingress-b', 'ingress-b2']
const [FIRST] = CLUSTER.endpoints.filter(({ name }) => name === BACKENDS[0])

/** Both backends on `b` serve the published port. */
const TWO: Cluster = {
  ...CLUSTER,
  endpoints: [
    ...CLUSTER.endpoints,
    { ...FIRST!, name: 'ingress-b2', addresses: ['10.255.0.22', 'fd00:255::22'] },
  ],
  services: CLUSTER.services.map((service) =>
    service.name === 'published'
      ? { ...service, backends: BACKENDS.map((endpoint) => ({ endpoint })) }
      : service,
  ),
}

/** Flows on `b` from eight clients of each family by `a`, half of them over, and by `c` from the
 * same ports: those by `a` that were over, all to the second backend, have given way. */
function flows(): World {
  const world = new World({ cluster: TWO })
  world.connect()
  for (let i = 0; i < 16; i++) {
    const node = i < 8 ? 'a' : 'c'
    for (const [source, target] of [
      ['203.0.113.5', '192.0.2.97'],
      ['2001:db8::5', '2001:db8::97'],
    ] as const) {
      const way = { source, target, sourcePort: 40_000 + (i % 8), targetPort: 8080, protocol: TCP }
      world.injectMesh(node, buildPacket({ ...way, flags: TCP_SYN, sequence: 100 }))
      if (i % 2 === 0) continue
      world.injectMesh(node, buildPacket({ ...way, flags: TCP_FIN | TCP_ACK, sequence: 101 }))
    }
  }
  world.settle()
  return world
}

t.test('flows to a backend that has left are forgotten, others are not', async (t) => {
  const world = flows()
  const b = world.node('b')
  const { director } = b.engine
  t.equal(director.connectionCount, 24)
  b.swap(compileFor({ ...TWO, version: 2 }, 'b'))
  world.settle()
  t.equal(director.connectionCount, 24, 'nothing happens where nobody left')
  const endpoints = TWO.endpoints.filter(({ name }) => name !== 'ingress-b2')
  b.swap(compileFor({ ...CLUSTER, version: 3, endpoints }, 'b'))
  world.settle()
  t.equal(director.connectionCount, 16, 'those of the other backend stay')
  b.swap(compileFor({ ...CLUSTER, version: 4, services: [], publishedPorts: [] }, 'b'))
  world.settle()
  t.equal(director.connectionCount, 16, 'a backend that only serves no more has its flows')
  const none = { endpoints: endpoints.filter(({ network }) => network !== 'ingress') }
  b.swap(compileFor({ ...CLUSTER, version: 5, services: [], publishedPorts: [], ...none }, 'b'))
  world.settle()
  t.equal(director.connectionCount, 0)
})
