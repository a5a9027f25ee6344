// Goal: PROXY headers in the cases that random histories (proxy-headers.test.ts) do not meet: loss
// of the header alone, guesses of a forger, resets, errors, 2 GB later. Method: single segments
// into a world of two nodes, and what comes out at both ends. What changes around an open flow is
// in proxy-changes.test.ts.

import t from 'tap'
import { PROXY_HEADER_TRIES_MAX } from '../ipvs-emulator/limits.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST } from '../wire/tcp.ts'
import {
  buildFrame,
  buildPacket,
  concat,
  macOf,
  type PacketFields,
  packetHolds,
  payloadOf,
  view,
} from './testing/packets.ts'
import { at, atServer, BASE, FAMILIES, fromClient, NETS, SERVER, Talk } from './testing/proxied.ts'
import type { Segment } from './testing/tcp-model.ts'

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

  t.test(`${family}: no byte of the client lies where the header does`, async (t) => {
    const talk = new Talk(family)
    const acknowledges = { acknowledgement: SERVER + 1, flags: TCP_ACK }
    const over = (before: number, size: number): Partial<Segment> => ({
      ...acknowledges,
      sequence: at(-before),
      payload: payloadOf(size),
    })
    const part = (sequence: number): PacketFields => ({
      ...fromClient(family, { ...acknowledges, sequence, payload: payloadOf(12) }),
      fragment: { offset: 0, more: true },
    })
    talk.syn()
    talk.synAck()
    t.same(talk.client(over(10, 50)), [])
    talk.world.injectMesh('a', buildPacket(part(at(0))))
    talk.world.settle()
    t.same(atServer(talk.world), [], 'how far a fragment reaches is not to be seen')
    t.equal(talk.world.node('a').cell('proxyHeaders'), 0)
    talk.client({ ...acknowledges, sequence: at(0) })
    for (const [before, size] of [
      [1, 2],
      [10, 11],
      [500, 1000],
    ] as const) {
      t.same(talk.client(over(before, size)), [], `from ${before} before, ${size} bytes`)
    }
    talk.world.injectMesh('a', buildPacket(part(at(-12))))
    talk.world.settle()
    t.same(atServer(talk.world), [])
    t.equal(talk.early(), 6)
    t.match(talk.client(over(10, 10)), [{ sequence: at(-10) }], 'up to the first byte')
    talk.server(talk.acknowledges(0))
    t.match(talk.client(over(10, 50)), [{ sequence: at(-10 + talk.shift) }], 'all is over then')
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
}
