// Goal: a flow with a PROXY header goes on, or ends, as others do when something changes around it:
// the tables, its backend, the agent, the client's next connection from the same port. Method: as
// in proxy-cases.test.ts.

import t from 'tap'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { DROP_NOT_SYN } from './drop-reasons.ts'
import { PROXY_HEADERS_PER_TURN } from './engine-limits.ts'
import type { Cluster } from './testing/cluster.ts'
import { buildFrame, buildPacket, macOf, payloadOf } from './testing/packets.ts'
import {
  at,
  atClient,
  atServer,
  BASE,
  CLIENT,
  clusterOf,
  FAMILIES,
  fromClient,
  fromServer,
  readSegment,
  SERVER,
  Talk,
  worldOf,
} from './testing/proxied.ts'
import type { Segment } from './testing/tcp-model.ts'
import { compileFor, World } from './testing/world.ts'

for (const family of FAMILIES) {
  t.test(`${family}: a backend that is taken away is reset at its own numbers`, async (t) => {
    const talk = new Talk(family).established()
    talk.client({ sequence: BASE, acknowledgement: SERVER + 1, payload: payloadOf(30) })
    talk.server({ ...talk.acknowledges(30), payload: payloadOf(7) })
    const cluster = clusterOf('v2')
    const services = cluster.services.map((service) =>
      service.name === 'published' ? { ...service, backends: [] } : service,
    )
    const node = talk.world.node('a')
    node.swap(compileFor({ ...cluster, version: 2, services }, 'a'))
    talk.world.advance(1000)
    const flags = TCP_RST | TCP_ACK
    t.match(atServer(talk.world), [{ sequence: at(30 + talk.shift), flags }])
    t.match(atClient(talk.world), [{ sequence: SERVER + 8, acknowledgement: at(30), flags }])
    t.equal(talk.count(), 0)
    talk.world.audit()
  })

  t.test(`${family}: an idle flow is probed at its own numbers`, async (t) => {
    const talk = new Talk(family).established()
    talk.client({ sequence: BASE, acknowledgement: SERVER + 1, payload: payloadOf(30) })
    talk.server(talk.acknowledges(30))
    talk.world.advance(905_000, 5000)
    t.match(atServer(talk.world)[0], { sequence: at(29 + talk.shift), acknowledgement: SERVER + 1 })
    t.match(atClient(talk.world)[0], { sequence: SERVER, acknowledgement: at(30) })
  })

  t.test(`${family}: the shift survives a restart`, async (t) => {
    for (const acknowledged of [true, false]) {
      const before = new Talk(family)
      const [header] = before.begin()
      if (acknowledged) before.server(before.acknowledges(0))
      const bytes = before.world.node('a').engine.saveFlows()
      for (const version of ['v2', null] as const) {
        const after = new Talk(family, 'v2', worldOf(version))
        const { engine } = after.world.node('a')
        t.same(engine.restoreFlows(bytes), { loaded: 1, dropped: 0 })
        if (!acknowledged) {
          after.world.advance(300, 50)
          t.match(atServer(after.world), [header!], 'it is sent again')
          after.world.injectMesh('a', buildPacket(fromClient(family, { sequence: at(-1) })))
          after.world.settle()
          atServer(after.world)
          after.server(after.acknowledges(0))
        }
        const data = { sequence: BASE, acknowledgement: SERVER + 1, payload: payloadOf(30) }
        t.match(after.client(data), [{ sequence: at(after.shift) }])
        t.match(after.server(after.acknowledges(30)), [{ acknowledgement: at(30) }])
        t.same(after.world.node('a').engine.saveFlows().length, bytes.length)
        after.world.audit()
      }
    }
  })

  t.test(`${family}: open flows keep what they began with`, async (t) => {
    const plain = new Talk(family, 'v2', worldOf(null))
    t.match(plain.begin(), [{ sequence: at(0), flags: TCP_ACK, payload: new Uint8Array(0) }])
    plain.world.node('a').swap(compileFor({ ...clusterOf('v2'), version: 2 }, 'a'))
    const data = { sequence: BASE, acknowledgement: SERVER + 1, payload: payloadOf(30) }
    t.match(plain.client(data), [{ sequence: at(0) }])
    const shifted = new Talk(family).established()
    shifted.world.node('a').swap(compileFor({ ...clusterOf(null), version: 2 }, 'a'))
    t.match(shifted.client(data), [{ sequence: at(shifted.shift) }])
  })

  t.test(`${family}: another connection of the same port gets its own header`, async (t) => {
    const talk = new Talk(family).established()
    const next = { sequence: 777, flags: TCP_SYN }
    t.match(talk.client(next), [{ sequence: 777 }], 'what the server makes of it is its own affair')
    const challenge = talk.acknowledges(0)
    t.match(talk.server(challenge), [{ acknowledgement: at(0) }], 'it knows the old one still')
    const flags = TCP_SYN | TCP_ACK
    const taken = { sequence: 90, acknowledgement: 778, flags }
    t.match(talk.server(taken), [{ acknowledgement: 778 }], 'it takes the new one')
    t.same(talk.client({ sequence: 778, acknowledgement: 4, payload: payloadOf(4) }), [])
    const [header] = talk.client({ sequence: 778, acknowledgement: 91, flags: TCP_ACK })
    t.match(header, { sequence: 778, acknowledgement: 91 })
    t.same(Buffer.from(header!.payload), talk.header)
  })

  t.test(`${family}: a copy of the SYN that comes late begins nothing`, async (t) => {
    const talk = new Talk(family).established()
    const fin = { acknowledgement: SERVER + 1, flags: TCP_ACK | TCP_FIN }
    talk.client({ ...fin, sequence: at(0) })
    talk.server({ ...talk.acknowledges(1), flags: TCP_ACK | TCP_FIN })
    talk.client({ acknowledgement: SERVER + 2, flags: TCP_ACK, sequence: at(1) })
    t.match(talk.syn(), [{ sequence: CLIENT }])
    const again = talk.server({ ...talk.acknowledges(1), flags: TCP_ACK | TCP_FIN })
    t.match(again, [{ acknowledgement: at(1) }], 'the shift is what it was')
    t.match(talk.client({ ...fin, sequence: at(0) }), [{ sequence: at(talk.shift) }])
    t.match(talk.client({ sequence: 77, flags: TCP_SYN }), [{ sequence: 77 }], 'another SYN does')
    t.same(talk.client({ sequence: 78, acknowledgement: 1, flags: TCP_ACK }), [])
    t.equal(talk.count(), 1)
    talk.world.audit()
  })

  t.test(`${family}: a refused connection takes its header to the next backend`, async (t) => {
    const cluster = clusterOf('v2')
    const backends = [{ endpoint: 'ingress-b' }, { endpoint: 'ingress-a' }]
    const services = cluster.services.map((service) =>
      service.name === 'published' ? { ...service, backends, retryRefused: true } : service,
    )
    const world = new World({ nodes: ['a', 'b'], cluster: { ...cluster, services } })
    world.connect()
    const talk = new Talk(family, 'v2', world)
    const options = Uint8Array.of(2, 4, 3, 232, 30, 4, 1, 1)
    t.match(talk.syn({ options }), [{ options: Uint8Array.of(2, 4, 3, 232, 1, 1, 1, 1) }])
    const refusal = { sequence: 0, acknowledgement: BASE, flags: TCP_RST | TCP_ACK }
    t.same(talk.server(refusal), [])
    const local = (): Segment[] => world.readRaw('ingress-a').map((raw) => readSegment(raw, 14))
    t.match(local(), [{ sequence: CLIENT, options: Uint8Array.of(2, 4, 3, 232, 1, 1, 1, 1) }])
    t.equal(talk.count(), 1)
    const reply = fromServer(family, {
      sequence: SERVER,
      acknowledgement: BASE,
      flags: TCP_SYN | TCP_ACK,
    })
    const source = family === 'v4' ? '10.255.0.11' : 'fd00:255::b'
    world.inject('ingress-a', buildFrame({ ...reply, source, sourceMac: macOf('10.255.0.11') }))
    world.settle()
    talk.client({ sequence: BASE, acknowledgement: SERVER + 1, flags: TCP_ACK })
    const [header, ...more] = local()
    t.same(more, [])
    t.same(Buffer.from(header!.payload), talk.header, 'on the node itself')
    world.audit()
  })

  t.test(`${family}: records end with their flows`, async (t) => {
    const talk = new Talk(family).established()
    t.equal(talk.count(), 1)
    talk.client({ sequence: BASE, flags: TCP_RST })
    talk.world.advance(20_000)
    t.equal(talk.count(), 0)
    t.equal(talk.world.node('a').engine.director.connectionCount, 0)
    t.equal(talk.begin().length, 1, 'and the next one is like the first')
  })

  t.test(`${family}: no flow begins in its middle`, async (t) => {
    const cluster: Cluster = { ...clusterOf('v2'), balancer: { sloppyTcp: true } }
    const world = new World({ nodes: ['a', 'b'], cluster })
    world.connect()
    const talk = new Talk(family, 'v2', world)
    t.same(talk.client({ sequence: BASE, payload: payloadOf(9) }), [])
    t.equal(world.node('a').drops(DROP_NOT_SYN), 1)
    t.match(atClient(world), [{ flags: TCP_RST }])
  })
}

t.test('damaged records end their flows', async (t) => {
  const before = new Talk('v4').established()
  const { engine } = before.world.node('a')
  const { director } = engine
  for (const [word, value] of [
    [1, 0],
    [1, 9],
    [2, 2 | (29 << 8)],
    [2, 3 | (28 << 8)],
  ] as const) {
    const bytes = new DataView(new ArrayBuffer(32))
    const connection = director.nextConnection(0)
    director.proxyHeaders.save(connection, bytes, 0)
    bytes.setInt32(4 * word, value)
    t.notOk(director.proxyHeaders.restore(connection, bytes, 0, 0), `${word}: ${value}`)
  }
})

t.test('many headers wait, and each gets its turn', async (t) => {
  const talk = new Talk('v4')
  const count = 700
  for (let i = 0; i < count; i++) {
    const sourcePort = 1024 + i
    const send = (segment: Partial<Segment>): void => {
      talk.world.injectMesh('a', buildPacket({ ...fromClient('v4', segment), sourcePort }))
      talk.world.settle()
    }
    send({ sequence: i, flags: TCP_SYN })
    const flags = TCP_SYN | TCP_ACK
    const reply = fromServer('v4', { sequence: 0, acknowledgement: i + 1, flags })
    talk.world.inject('ingress-b', buildFrame({ ...reply, targetPort: sourcePort }))
    talk.world.settle()
    send({ sequence: i + 1, acknowledgement: 1, flags: TCP_ACK })
    atServer(talk.world)
    atClient(talk.world)
  }
  const again: Segment[] = []
  talk.world.clock.advance(260)
  for (let turn = 0; turn < 10; turn++) {
    const node = talk.world.node('a')
    node.engine.turn(0)
    t.ok(node.cell('proxyHeaders') <= count + (turn + 1) * PROXY_HEADERS_PER_TURN)
    talk.world.node('b').engine.turn(0)
    again.push(...atServer(talk.world))
  }
  t.same(
    again.map(({ sequence }) => sequence).sort((a, b) => a - b),
    Array.from({ length: count }, (_, i) => i + 1),
  )
  t.ok(again.every(({ payload }) => payload.length === talk.shift))
  t.equal(talk.world.node('a').cell('proxyHeaders'), 2 * count)
  talk.world.audit()
})
