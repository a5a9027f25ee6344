// Goal: PROXY headers in the cases that random histories (proxy-headers.test.ts) do not meet: loss
// of the header alone, guesses of a forger, resets, errors, 2 GB later, a restart, changed tables.
// Method: single segments into a world of two nodes, and what comes out at both ends.

import t from 'tap'
import { PROXY_HEADER_TRIES_MAX } from '../ipvs-emulator/limits.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { DROP_NOT_SYN, DROP_PROXY_EARLY } from './drop-reasons.ts'
import { PROXY_HEADERS_PER_TURN } from './engine-limits.ts'
import type { Cluster } from './testing/cluster.ts'
import {
  buildFrame,
  buildPacket,
  concat,
  macOf,
  packetHolds,
  payloadOf,
  view,
} from './testing/packets.ts'
import {
  atClient,
  atServer,
  clusterOf,
  type Family,
  fromClient,
  fromServer,
  headerOf,
  NETS,
  readSegment,
  type Version,
  worldOf,
} from './testing/proxied.ts'
import type { Segment } from './testing/tcp-model.ts'
import { compileFor, World } from './testing/world.ts'

const FAMILIES: readonly Family[] = ['v4', 'v6']
/** Initial sequence numbers; the client's data crosses 2^32. */
const CLIENT = 0xffff_fff0
const SERVER = 5000
const BASE = CLIENT + 1

/** Both ends of one flow, segment by segment. */
class Talk {
  readonly world: World
  readonly family: Family
  readonly header: Buffer

  constructor(family: Family, version: Version = 'v2', world: World = worldOf(version)) {
    this.world = world
    this.family = family
    this.header = headerOf(family, version)
  }

  get shift(): number {
    return this.header.length
  }

  /** What the server gets. */
  client(segment: Partial<Segment>): Segment[] {
    this.world.injectMesh('a', buildPacket(fromClient(this.family, segment)))
    this.world.settle()
    return atServer(this.world)
  }

  /** What the client gets. */
  server(segment: Partial<Segment>): Segment[] {
    this.world.inject('ingress-b', buildFrame(fromServer(this.family, segment)))
    this.world.settle()
    return atClient(this.world)
  }

  syn(more: Partial<Segment> = {}): Segment[] {
    return this.client({ sequence: CLIENT, flags: TCP_SYN, ...more })
  }

  synAck(more: Partial<Segment> = {}): Segment[] {
    const flags = TCP_SYN | TCP_ACK
    return this.server({ sequence: SERVER, acknowledgement: BASE, flags, ...more })
  }

  /** Up to the client's acknowledgement: what the server gets for it. */
  begin(more: Partial<Segment> = {}): Segment[] {
    t.equal(this.syn().length, 1)
    t.equal(this.synAck().length, 1)
    return this.client({ sequence: BASE, acknowledgement: SERVER + 1, flags: TCP_ACK, ...more })
  }

  /** The server has the header. */
  established(): this {
    this.begin()
    this.server(this.acknowledges(0))
    return this
  }

  /** The server's acknowledgement of the header and so many bytes. */
  acknowledges(count: number): Partial<Segment> {
    const acknowledgement = (BASE + this.shift + count) >>> 0
    return { sequence: SERVER + 1, acknowledgement, flags: TCP_ACK }
  }

  count(): number {
    return this.world.node('a').engine.director.proxyHeaders.count
  }

  early(): number {
    return this.world.node('a').drops(DROP_PROXY_EARLY)
  }
}

const at = (position: number): number => (BASE + position) >>> 0

for (const family of FAMILIES) {
  for (const version of ['v1', 'v2'] as const) {
    t.test(
      `${family}, ${version}: the header takes the place of the acknowledgement`,
      async (t) => {
        const talk = new Talk(family, version)
        const options = Uint8Array.of(1, 1, 8, 10, 0, 0, 9, 9, 0, 0, 7, 7)
        const got = talk.begin({ window: 321, options })
        t.match(got, [
          {
            sequence: at(0),
            acknowledgement: SERVER + 1,
            flags: TCP_ACK | TCP_PSH,
            window: 321,
            options,
          },
        ])
        t.same(Buffer.from(got[0]!.payload), talk.header)
        t.equal(talk.world.node('a').cell('proxyHeaders'), 1)
        const data = { sequence: BASE, acknowledgement: SERVER + 1, payload: payloadOf(30) }
        t.match(talk.client(data), [{ sequence: at(talk.shift), payload: payloadOf(30) }])
        const [answer] = talk.server({ ...talk.acknowledges(30), payload: payloadOf(9) })
        t.match(answer, { sequence: SERVER + 1, acknowledgement: at(30), payload: payloadOf(9) })
        talk.world.audit()
      },
    )
  }

  t.test(`${family}: a first segment with data comes behind the header`, async (t) => {
    const talk = new Talk(family)
    const flags = TCP_ACK | TCP_FIN
    const [header, data, ...more] = talk.begin({ flags, payload: payloadOf(5) })
    t.same(more, [])
    t.match(header, { sequence: at(0), flags: TCP_ACK | TCP_PSH })
    t.match(data, { sequence: at(talk.shift), flags, payload: payloadOf(5) })
  })

  t.test(`${family}: a lost header is sent again until it is acknowledged`, async (t) => {
    const talk = new Talk(family)
    const [first] = talk.begin()
    const times: number[] = []
    for (let ms = 50; ms <= 5000; ms += 50) {
      talk.world.advance(50, 50)
      for (const again of atServer(talk.world)) {
        t.same(again, first)
        times.push(ms)
      }
    }
    t.same(times, [250, 500, 1000, 2000, 4000], 'each wait is twice as long')
    const half = talk.shift - 1
    talk.server({ sequence: SERVER + 1, acknowledgement: at(half), flags: TCP_ACK })
    talk.world.advance(5000)
    t.equal(atServer(talk.world).length, 1, 'half of it is not enough')
    t.match(talk.server(talk.acknowledges(0)), [{ acknowledgement: at(0) }])
    talk.world.advance(60_000)
    t.same(atServer(talk.world), [])
    talk.world.audit()
  })

  t.test(`${family}: nobody sends it for ever`, async (t) => {
    const talk = new Talk(family)
    talk.begin()
    talk.world.advance(250 * (PROXY_HEADER_TRIES_MAX + 2), 250)
    t.equal(atServer(talk.world).length, Math.log2(PROXY_HEADER_TRIES_MAX))
    t.equal(talk.world.node('a').engine.director.proxyHeaders.dueMs, Number.POSITIVE_INFINITY)
    const probe = { sequence: at(-1), acknowledgement: SERVER + 1, flags: TCP_ACK }
    t.equal(talk.client(probe).length, 1, 'but whenever the client says something')
  })

  t.test(`${family}: what else has it sent again`, async (t) => {
    const talk = new Talk(family)
    const [header] = talk.begin()
    const data = { sequence: BASE, acknowledgement: SERVER + 1, payload: payloadOf(30) }
    t.equal(talk.client(data).length, 1, 'not a segment at the same time')
    talk.world.advance(110, 110)
    t.match(talk.client(data), [header!, { sequence: at(talk.shift) }], 'a segment later on')
    const edges = new Uint8Array(12)
    edges.set([1, 1, 5, 10])
    view(edges).setUint32(4, at(talk.shift))
    view(edges).setUint32(8, at(talk.shift + 30))
    const gap = { sequence: SERVER + 1, acknowledgement: at(0), flags: TCP_ACK, options: edges }
    talk.world.advance(20, 20)
    const [told] = talk.server(gap)
    t.match(told, { acknowledgement: at(0), options: new Uint8Array(12).fill(1) })
    t.match(atServer(talk.world), [header!], 'a gap in front of the server’s bytes')
    talk.server(gap)
    t.same(atServer(talk.world), [], 'but once for all reports of a moment')
    talk.server(talk.acknowledges(30))
    view(edges).setUint32(4, at(talk.shift + 40))
    view(edges).setUint32(8, at(talk.shift + 50))
    const [later] = talk.server({ ...talk.acknowledges(30), options: edges })
    t.same([view(later!.options).getUint32(4), view(later!.options).getUint32(8)], [at(40), at(50)])
  })

  t.test(`${family}: a keep-alive before the first byte keeps out of the header`, async (t) => {
    const talk = new Talk(family)
    talk.begin()
    const probe = { sequence: at(-1), acknowledgement: SERVER + 1, payload: Uint8Array.of(7) }
    t.match(talk.client(probe), [{ sequence: at(-1), payload: Uint8Array.of(7) }])
  })

  t.test(`${family}: no byte of the client passes before the header`, async (t) => {
    const talk = new Talk(family)
    const payload = Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n')
    const forged = { sequence: BASE, acknowledgement: SERVER + 1, payload }
    t.same(talk.syn({ payload }), [], 'nor with the SYN')
    t.equal(talk.syn().length, 1)
    t.same(talk.client(forged), [], 'before the server has answered')
    talk.synAck()
    for (const wrong of [SERVER, SERVER + 2, 0]) {
      t.same(talk.client({ ...forged, acknowledgement: wrong }), [], `acknowledges ${wrong}`)
    }
    t.same(talk.client({ ...forged, flags: TCP_PSH }), [], 'acknowledges nothing')
    t.equal(talk.early(), 6)
    t.equal(talk.world.node('a').cell('proxyHeaders'), 0, 'a guess makes no header')
    t.match(talk.client(forged), [{ sequence: at(0) }, { sequence: at(talk.shift), payload }])
    talk.world.audit()
  })

  t.test(`${family}: the header takes its share of the first window`, async (t) => {
    const talk = new Talk(family)
    talk.syn()
    t.match(talk.synAck({ window: 1000 }), [{ acknowledgement: at(0), window: 1000 - talk.shift }])
    t.match(talk.synAck({ window: 5 }), [{ window: 0 }])
  })

  t.test(`${family}: resets arrive where they are believed`, async (t) => {
    const refused = new Talk(family)
    refused.syn()
    const reset = { sequence: 0, acknowledgement: BASE, flags: TCP_RST | TCP_ACK }
    t.match(refused.server(reset), [reset], 'of a server that takes nothing')
    const early = new Talk(family)
    early.syn()
    early.synAck()
    t.match(early.client({ sequence: BASE, flags: TCP_RST }), [{ sequence: at(0), flags: TCP_RST }])
    const pending = new Talk(family)
    pending.begin()
    const [header, own] = pending.client({ sequence: BASE, flags: TCP_RST })
    t.match(header, { sequence: at(0), acknowledgement: SERVER + 1 })
    t.match(own, { sequence: at(pending.shift), flags: TCP_RST })
    pending.server({ ...pending.acknowledges(-1), flags: TCP_RST | TCP_ACK })
    pending.world.advance(5000)
    t.same(atServer(pending.world), [], 'nobody wants the header any more')
  })

  t.test(`${family}: 3 GB later the shift is the same`, async (t) => {
    const talk = new Talk(family).established()
    const far = 3_000_000_000
    const data = { sequence: at(far), acknowledgement: SERVER + 1, payload: payloadOf(3) }
    t.match(talk.client(data), [{ sequence: at(far + talk.shift) }])
    t.match(talk.server(talk.acknowledges(far)), [{ acknowledgement: at(far) }])
  })

  t.test(`${family}: an ICMP error quotes what the client sent`, async (t) => {
    const talk = new Talk(family).established()
    const data = { sequence: at(9), acknowledgement: SERVER + 1, payload: payloadOf(40) }
    talk.world.injectMesh('a', buildPacket(fromClient(family, data)))
    talk.world.settle()
    const [frame] = talk.world.readRaw('ingress-b')
    for (const size of [8, 20, 40]) {
      const four = family === 'v4'
      const quoted = frame!.subarray(10 + 14, 10 + 14 + (four ? 20 : 40) + size)
      const error = {
        source: NETS[family].server,
        target: NETS[family].client,
        sourceMac: macOf(NETS.v4.server),
        targetMac: macOf(NETS[family].gateway),
        protocol: four ? 1 : 58,
        payload: concat(Uint8Array.of(four ? 3 : 1, four ? 3 : 4, 0, 0, 0, 0, 0, 0), quoted),
      }
      talk.world.inject('ingress-b', buildFrame(error))
      talk.world.settle()
      const [told] = talk.world.readMesh('a')
      t.ok(packetHolds(told!), `${size} bytes of TCP: checksum`)
      const quotedTcp = told!.length - size
      t.equal(view(told!).getUint32(quotedTcp + 4), at(9))
      if (size >= 20) {
        const sent = buildPacket(fromClient(family, data))
        const sum = quotedTcp + 16
        t.same(told!.slice(sum, sum + 2), sent.slice(sent.length - 60 + 16, sent.length - 60 + 18))
      }
    }
  })

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
