// Goal: the director does to whole packets what IPVS with NAT would. Method: packets built from
// fields go through lookup, schedule, translate and track; what comes out is compared by its ends
// and by checksums recomputed in full. Time is virtual.
//
// Longer than 500 lines because one list of whole-packet cases, run for each address family.

import t from 'tap'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import type { ServiceConfig } from './config.ts'
import { FLAGS_BYTE, NO_OUTPUT, STATE_BYTE } from './conn-table.ts'
import { Director, FORWARD, REPLY } from './director.ts'
import { SCTP, TCP, UDP } from './flow.ts'
import { lab, NETS, service, show, ZONE } from './lab-fixture.ts'
import {
  build,
  buildError,
  checksumsHold,
  ends,
  errorHolds,
  type Fields,
  type Packet,
  quotedOf,
} from './packet-fixture.ts'
import { TCP_FIN_WAIT } from './proto-tcp.ts'
import { DUPLICATE, NO_DESTINATION, NO_PORT, NOT_SYN, TABLE_FULL } from './verdict.ts'

for (const [name, net] of Object.entries(NETS)) {
  const request = (more: Partial<Fields> = {}): Packet =>
    build({
      protocol: TCP,
      source: net.client,
      target: net.vip,
      sourcePort: 40000,
      targetPort: 80,
      ...more,
    })
  const reply = (server: string, more: Partial<Fields> = {}): Packet =>
    build({
      protocol: TCP,
      source: server,
      target: net.client,
      sourcePort: 8080,
      targetPort: 40000,
      ...more,
    })

  t.test(`${name}: a flow goes to one server and its replies come from the VIP`, async (t) => {
    for (const protocol of [TCP, UDP, SCTP]) {
      for (const partial of [false, true]) {
        if (partial && protocol === SCTP) continue
        const { director, ...rest } = lab()
        const self = Object.assign(rest, { director })
        self.apply(service(net))
        const payload = Uint8Array.from({ length: 37 }, (_, i) => i * 7)
        const there = request({ protocol, payload, partial })
        const connection = self.send(there, ZONE, false, partial)
        t.ok(connection >= 0)
        t.equal(ends(there), `${show(net.client, 40000)} > ${show(net.servers[0]!, 8080)}`)
        t.ok(checksumsHold(there, partial), `forward, protocol ${protocol}, partial ${partial}`)
        const back = reply(net.servers[0]!, {
          protocol,
          payload,
          partial,
          flags: TCP_SYN | TCP_ACK,
        })
        t.equal(self.send(back, ZONE, false, partial), connection)
        t.equal(director.direction, REPLY)
        t.equal(ends(back), `${show(net.vip, 80)} > ${show(net.client, 40000)}`)
        t.ok(checksumsHold(back, partial), `reply, protocol ${protocol}, partial ${partial}`)
        t.equal(director.serviceOf(connection), director.serviceIndex('web'))
        t.ok(director.realServerOf(connection) > 0)
      }
    }
  })

  t.test(`${name}: UDP without checksum stays without where that is allowed`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const packet = request({ protocol: UDP, noChecksum: net.client.includes('.') })
    t.ok(self.send(packet) >= 0)
    t.ok(checksumsHold(packet))
    if (net.client.includes('.')) t.equal(packet.view.getUint16(packet.l4At + 6), 0)
  })

  t.test(`${name}: rr spreads new flows, established ones stay`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const chosen: string[] = []
    for (let port = 1; port <= 6; port++) {
      for (const flags of [TCP_SYN, TCP_ACK]) {
        const packet = request({ sourcePort: port, flags })
        t.ok(self.send(packet) >= 0)
        if (flags === TCP_ACK) chosen.push(ends(packet).split(' > ')[1]!)
      }
    }
    const once = net.servers.map((server) => show(server, 8080))
    t.same(chosen, [...once, ...once])
  })

  t.test(`${name}: flows of different zones do not meet`, async (t) => {
    const self = lab()
    self.apply(service(net), service(net, { key: 'other', zone: 8 }))
    const connection = self.send(request())
    const other = self.send(request(), 8)
    t.ok(connection >= 0 && other >= 0 && connection !== other)
    const back = reply(net.servers[0]!)
    t.equal(self.send(back, 8), other)
    t.equal(self.director.lookup(9, back.view, back.ipAt, back.l4At, TCP, back.end), -1)
  })

  t.test(`${name}: replies may come in another zone`, async (t) => {
    const self = lab()
    self.apply(service(net, { replyZone: 3 }))
    const connection = self.send(request())
    t.equal(self.send(reply(net.servers[0]!), ZONE), -1)
    t.equal(self.send(reply(net.servers[0]!), 3), connection)
  })

  t.test(`${name}: a client that is its own server is masqueraded`, async (t) => {
    const self = lab()
    self.apply(
      service(net, {
        masquerade4: '10.0.0.1',
        masquerade6: 'fd00::1',
        realServers: [{ key: 's', address: net.client, port: 8080 }],
      }),
    )
    const there = request()
    const connection = self.send(there)
    t.equal(ends(there), `${show(net.gateway, 40000)} > ${show(net.client, 8080)}`)
    t.ok(checksumsHold(there))
    const back = build({
      protocol: TCP,
      source: net.client,
      target: net.gateway,
      sourcePort: 8080,
      targetPort: 40000,
      flags: TCP_SYN | TCP_ACK,
    })
    t.equal(self.send(back), connection)
    t.equal(ends(back), `${show(net.vip, 80)} > ${show(net.client, 40000)}`)
    t.ok(checksumsHold(back))
  })

  t.test(`${name}: flows whose replies would look alike get different ports`, async (t) => {
    const self = lab()
    const one = service(net, { realServers: [{ key: 's', address: net.servers[0]!, port: 8080 }] })
    self.apply({
      ...one,
      virtuals: [...one.virtuals, { protocol: 'tcp', address: net.vip, port: 81 }],
    })
    const first = self.send(request())
    const there = request({ targetPort: 81 })
    const second = self.send(there)
    t.ok(second >= 0 && second !== first)
    const port = there.view.getUint16(there.l4At)
    t.not(port, 40000)
    t.ok(checksumsHold(there))
    const back = reply(net.servers[0]!, { targetPort: port, flags: TCP_ACK })
    t.equal(self.send(back), second)
    t.equal(ends(back), `${show(net.vip, 81)} > ${show(net.client, 40000)}`)
  })

  t.test(`${name}: port 0 takes every port and keeps it`, async (t) => {
    const self = lab()
    self.apply(
      service(net, {
        virtuals: [{ protocol: 'tcp', address: net.vip, port: 0 }],
        realServers: [{ key: 's', address: net.servers[0]!, port: 0 }],
      }),
      service(net, {
        key: 'exact',
        virtuals: [{ protocol: 'tcp', address: net.vip, port: 443 }],
        realServers: [{ key: 's', address: net.servers[1]!, port: 0 }],
      }),
    )
    const any = request({ targetPort: 1234 })
    t.ok(self.send(any) >= 0)
    t.match(ends(any), new RegExp(` > .*${net.servers[0]!.slice(-2)}\\]?:1234$`))
    const exact = request({ targetPort: 443 })
    t.ok(self.send(exact) >= 0)
    t.match(ends(exact), new RegExp(` > .*${net.servers[1]!.slice(-2)}\\]?:443$`))
  })

  t.test(`${name}: what may not open a connection`, async (t) => {
    const self = lab()
    self.apply(service(net))
    t.equal(self.send(request({ flags: TCP_ACK })), NOT_SYN)
    t.equal(self.send(request({ flags: TCP_SYN | TCP_ACK })), NOT_SYN)
    t.equal(self.send(request({ flags: TCP_RST })), NOT_SYN)
    t.equal(self.send(request({ protocol: SCTP, chunk: 0 })), NOT_SYN)
    t.equal(self.director.refused[-NOT_SYN], 4)
    self.director.settings.sloppyTcp = true
    t.ok(self.send(request({ flags: TCP_ACK })) >= 0)
    const again = request({ flags: TCP_ACK })
    const verdict = self.director.schedule(
      ZONE,
      0,
      again.view,
      again.ipAt,
      again.l4At,
      TCP,
      again.end,
      self.now,
      false,
    )
    t.equal(verdict, DUPLICATE)
    self.apply(service(net, { realServers: [] }))
    t.equal(self.send(request({ sourcePort: 2 })), NO_DESTINATION)
  })

  t.test(`${name}: fragments follow their first one`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const payload = Uint8Array.from({ length: 64 }, (_, i) => i)
    for (const [id, server] of [
      [77, net.servers[0]!],
      [78, net.servers[1]!],
    ] as const) {
      const sourcePort = 1000 + id
      const first = request({
        protocol: UDP,
        sourcePort,
        payload,
        fragment: { offset: 0, more: true, id },
      })
      const connection = self.send(first)
      t.ok(connection >= 0)
      const second = request({
        protocol: UDP,
        payload,
        fragment: { offset: 72, more: false, id },
      })
      const before = second.view.getUint32(second.l4At)
      t.equal(self.send(second), connection)
      t.match(ends(second), `> ${show(server, 1).replace(/:1$/, '')}`)
      t.equal(second.view.getUint32(second.l4At), before, 'payload is not taken for ports')
      // The next datagram of the established flow, found by lookup() rather than made by
      // schedule().
      const nextFirst = request({
        protocol: UDP,
        sourcePort,
        payload,
        fragment: { offset: 0, more: true, id: id + 100 },
      })
      t.equal(self.send(nextFirst), connection)
      const nextSecond = request({
        protocol: UDP,
        payload,
        fragment: { offset: 72, more: false, id: id + 100 },
      })
      t.equal(self.send(nextSecond), connection)
    }
    const stray = request({ protocol: UDP, payload, fragment: { offset: 8, more: false, id: 1 } })
    t.ok(self.send(stray) < 0)
  })

  t.test(`${name}: ICMP errors are translated both ways`, async (t) => {
    for (const protocol of [TCP, UDP]) {
      const self = lab()
      self.apply(service(net))
      const there = request({ protocol })
      const connection = self.send(there)
      // The real server refuses: it quotes what it got, the client must see what it sent.
      const refusal = buildError(net.servers[0]!, net.client, there, 60)
      const { view, ipAt, l4At, end } = refusal
      t.ok(errorHolds(refusal))
      t.equal(self.director.relatedIcmp(ZONE, view, ipAt, l4At, end), connection)
      t.equal(self.director.direction, REPLY)
      t.ok(errorHolds(refusal), 'error to the client')
      const quoted = `${show(net.client, 40000)} > ${show(net.vip, 80)}`
      t.equal(ends(quotedOf(refusal)), quoted)
      t.match(ends({ ...refusal, l4At: ipAt }), /^\[?(10\.0\.0\.2|fd00::2)\]?:/)
      // The client refuses a reply: it quotes the reply as translated, the server must see its own.
      const back = reply(net.servers[0]!, { protocol, flags: TCP_ACK })
      self.send(back)
      const error = buildError(net.client, net.vip, back, 48)
      t.equal(
        self.director.relatedIcmp(ZONE, error.view, error.ipAt, error.l4At, error.end),
        connection,
      )
      t.equal(self.director.direction, FORWARD)
      t.ok(errorHolds(error), 'error to the server')
      const original = `${show(net.servers[0]!, 8080)} > ${show(net.client, 40000)}`
      t.equal(ends(quotedOf(error)), original)
      // A damaged message stays damaged.
      const damaged = buildError(
        net.servers[0]!,
        net.client,
        request({ protocol, sourcePort: 1 }),
        60,
      )
      t.equal(
        self.director.relatedIcmp(ZONE, damaged.view, damaged.ipAt, damaged.l4At, damaged.end),
        -1,
      )
    }
  })

  t.test(`${name}: tracked flows are found both ways and never rewritten`, async (t) => {
    const self = lab()
    const there = request({ flags: TCP_ACK })
    const before = ends(there)
    const { view, ipAt, l4At, end } = there
    const connection = self.director.insertTracked(1, 2, view, ipAt, l4At, TCP, end, self.now)
    t.ok(connection >= 0)
    t.equal(self.director.insertTracked(1, 2, view, ipAt, l4At, TCP, end, self.now), connection)
    self.director.setData(connection, 42)
    self.director.translate(connection, FORWARD, view, ipAt, l4At, end, false)
    t.equal(ends(there), before)
    const back = build({
      protocol: TCP,
      source: net.vip,
      target: net.client,
      sourcePort: 80,
      targetPort: 40000,
      flags: TCP_ACK,
    })
    t.equal(self.send(back, 2), connection)
    t.equal(self.director.data(connection), 42)
    t.equal(self.director.realServerOf(connection), -1)
    t.equal(self.director.serviceOf(connection), -1)
    t.notOk(self.director.rewrites(connection))
  })

  t.test(`${name}: a tracked flow takes the place of one that is over`, async (t) => {
    const tracked = (self: ReturnType<typeof lab>, more: Partial<Fields>): number => {
      // What another node sends on for the client: to the server already, and not to be rewritten.
      const target = net.servers[0]!
      const { view, ipAt, l4At, end } = request({ target, targetPort: 8080, ...more })
      const protocol = more.protocol ?? TCP
      return self.director.insertTracked(3, 3, view, ipAt, l4At, protocol, end, self.now)
    }
    const self = lab()
    self.apply(service(net, { replyZone: 3 }))
    const first = self.send(request())
    self.send(reply(net.servers[0]!, { flags: TCP_SYN | TCP_ACK }), 3)
    self.send(request({ flags: TCP_ACK }))
    t.equal(tracked(self, {}), NO_PORT, 'a connection that is open stays')
    self.send(request({ flags: TCP_FIN | TCP_ACK }))
    self.send(reply(net.servers[0]!, { flags: TCP_FIN | TCP_ACK }), 3)
    self.send(request({ flags: TCP_ACK }))
    t.equal(tracked(self, { flags: TCP_ACK }), NO_PORT, 'only a SYN says that it is another one')
    const second = tracked(self, {})
    t.ok(second >= 0)
    t.equal(self.send(reply(net.servers[0]!, { flags: TCP_SYN | TCP_ACK }), 3), second)
    t.equal(self.director.connectionCount, 1)
    t.ok(first >= 0)

    self.send(request({ protocol: UDP, sourcePort: 5 }))
    self.send(request({ protocol: UDP, sourcePort: 6 }))
    self.send(request({ protocol: UDP, sourcePort: 40000 }))
    const udp = [5, 6, 40000].map((sourcePort) => tracked(self, { protocol: UDP, sourcePort }))
    t.ok(
      udp.every((connection) => connection >= 0),
      'a UDP flow always gives way',
    )
    t.equal(self.send(reply(net.servers[0]!, { protocol: UDP, targetPort: 5 }), 3), udp[0])
  })

  t.test(`${name}: a removed server's flows end: TCP with a reset to both ends`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const tcp = self.send(request({ sequence: 1000 }))
    self.send(
      reply(net.servers[0]!, { flags: TCP_SYN | TCP_ACK, sequence: 5000, acknowledgement: 1001 }),
    )
    self.send(request({ flags: TCP_ACK, sequence: 1001, acknowledgement: 5001 }))
    const payload = new Uint8Array(100)
    self.send(request({ flags: TCP_ACK, sequence: 1001, acknowledgement: 5001, payload }))
    // A segment that comes late takes nothing back.
    self.send(request({ flags: TCP_ACK, sequence: 1001, acknowledgement: 5001 }))
    const udp = self.send(request({ protocol: UDP, sourcePort: 5 }))
    t.ok(udp >= 0)
    const written = new DataView(new ArrayBuffer(200))
    const resets: Packet[] = []
    const save = (connection: number): void => {
      for (const direction of [FORWARD, REPLY]) {
        const length = self.director.writeReset(connection, direction, written, 100 * direction)
        const ipAt = 100 * direction
        const view = new DataView(written.buffer.slice(ipAt, ipAt + length))
        resets.push({ view, ipAt: 0, l4At: length - 20, end: length, protocol: TCP })
      }
    }
    self.orphans.push = (connection: number): number => {
      save(connection)
      return 0
    }
    const left = net.servers
      .slice(1)
      .map((address, i) => ({ key: `s${i + 1}`, address, port: 8080 }))
    self.apply(service(net, { realServers: left.slice(1) }))
    t.equal(self.director.connectionCount, 2)
    while (self.director.advance(self.now, 100) === self.now) self.now += 1
    t.equal(self.director.connectionCount, 0)
    t.equal(self.director.services.goneCount, 0)
    t.equal(resets.length, 2)
    const [toServer, toClient] = resets as [Packet, Packet]
    t.equal(ends(toServer), `${show(net.client, 40000)} > ${show(net.servers[0]!, 8080)}`)
    t.equal(ends(toClient), `${show(net.vip, 80)} > ${show(net.client, 40000)}`)
    t.ok(checksumsHold(toServer) && checksumsHold(toClient))
    t.equal(toServer.view.getUint32(toServer.l4At + 4), 1101, 'what the server expects next')
    t.equal(toClient.view.getUint32(toClient.l4At + 4), 5001, 'what the client expects next')
    t.equal(toClient.view.getUint8(toClient.l4At + 13), TCP_RST | TCP_ACK)
    t.ok(tcp >= 0)
  })

  t.test(`${name}: a packet of a removed server's UDP flow is scheduled afresh`, async (t) => {
    const self = lab()
    self.apply(service(net))
    self.send(request({ protocol: UDP }))
    const left = [{ key: 's2', address: net.servers[2]!, port: 8080 }]
    self.apply(service(net, { realServers: left }))
    const packet = request({ protocol: UDP })
    t.ok(self.send(packet) >= 0)
    t.equal(ends(packet).split(' > ')[1], show(net.servers[2]!, 8080))
    t.equal(self.director.connectionCount, 1)
  })

  t.test(`${name}: a SYN on an ended connection is a new connection`, async (t) => {
    const self = lab()
    self.apply(service(net))
    self.send(request())
    self.send(reply(net.servers[0]!, { flags: TCP_RST | TCP_ACK }))
    const again = request()
    t.ok(self.send(again) >= 0)
    t.equal(ends(again).split(' > ')[1], show(net.servers[1]!, 8080))
    t.equal(self.director.connectionCount, 1)
    self.director.settings.connReuseMode = 0
    self.send(reply(net.servers[1]!, { flags: TCP_RST | TCP_ACK }))
    const old = request()
    self.send(old)
    t.equal(ends(old).split(' > ')[1], show(net.servers[1]!, 8080))
  })

  t.test(`${name}: whose connections a new one may take over`, async (t) => {
    const ended = (self: ReturnType<typeof lab>, more: Partial<Fields> = {}): number => {
      const connection = self.send(request(more))
      self.send(request({ ...more, flags: TCP_RST | TCP_ACK, chunk: 6 }))
      self.send(reply(net.servers[0]!, { ...more, flags: TCP_RST | TCP_ACK, chunk: 6 }))
      return connection
    }
    const target = (self: ReturnType<typeof lab>, more: Partial<Fields> = {}): string => {
      const again = request(more)
      self.send(again)
      return ends(again).split(' > ')[1]!
    }
    const [first, second] = net.servers.map((server) => show(server, 8080))

    const sctp = lab()
    sctp.apply(service(net))
    ended(sctp, { protocol: SCTP })
    t.equal(target(sctp, { protocol: SCTP, chunk: 0 }), first, 'data goes where it went')
    t.equal(target(sctp, { protocol: SCTP }), second, 'an INIT is scheduled afresh')
    t.equal(sctp.director.connectionCount, 1)

    const persistent = lab()
    persistent.apply(service(net, { persistenceSeconds: 300 }))
    const kept = ended(persistent)
    t.equal(persistent.send(request()), kept, 'the connection of a persistent client stays')

    const quiesced = lab()
    quiesced.apply(service(net))
    quiesced.director.settings.connReuseMode = 0
    quiesced.director.settings.expireNodestConn = true
    t.equal(target(quiesced), first)
    t.equal(target(quiesced), first, 'its server has a weight')
    const realServers = net.servers.map((address, i) => ({
      key: `s${i}`,
      address,
      port: 8080,
      weight: i === 0 ? 0 : 1,
    }))
    quiesced.apply(service(net, { realServers }))
    t.equal(target(quiesced, { flags: TCP_ACK }), first, 'a segment in mid-flow goes on')
    t.not(target(quiesced), first, 'a SYN does not, whatever conn_reuse_mode says')

    const unanswered = lab()
    unanswered.apply(service(net))
    const lonely = unanswered.send(request())
    const table = unanswered.director.connections.tables[lonely & 1]!
    const byteAt = (lonely >>> 1) * table.stride * 4
    table.bytes[byteAt + FLAGS_BYTE] = table.bytes[byteAt + FLAGS_BYTE]! | NO_OUTPUT
    unanswered.send(request({ flags: TCP_ACK }))
    unanswered.send(request({ flags: TCP_FIN | TCP_ACK }))
    t.equal(table.bytes[byteAt + STATE_BYTE], TCP_FIN_WAIT)
    unanswered.director.settings.connReuseMode = 2
    t.equal(target(unanswered), second, 'mode 2: half closed, and no reply ever seen')
  })

  t.test(`${name}: active and inactive, statistics, expiry`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const server =
      self.director.services.services[0]!.pools[net.client.includes('.') ? 0 : 1]!.servers[0]!
    const size = request().end - request().ipAt
    self.send(request())
    t.same([server.active, server.inactive], [0, 1])
    self.send(reply(net.servers[0]!, { flags: TCP_SYN | TCP_ACK }))
    self.send(request({ flags: TCP_ACK }))
    t.same([server.active, server.inactive], [1, 0])
    const statistics = self.director.services.statistics
    const row = server.row * 8
    t.same([...statistics.values.slice(row, row + 8)], [1, 2, 1, 2 * size, size, 1, 0, 0])
    t.same(statistics.values.slice(0, 8), statistics.values.slice(row, row + 8))
    self.send(request({ flags: TCP_FIN | TCP_ACK }))
    t.same([server.active, server.inactive], [0, 1])
    self.send(reply(net.servers[0]!, { flags: TCP_FIN | TCP_ACK }))
    // CLOSE_WAIT and a FIN from the server: TIME_WAIT, 120 s.
    const due = self.director.advance(self.now, 100)
    t.ok(due > self.now)
    self.now += 120_000
    self.director.advance(self.now, 100)
    t.equal(self.director.connectionCount, 1, 'not before its time')
    self.now += 200
    // The rates are still on their way down to zero; then nothing waits.
    let next = self.director.advance(self.now, 100)
    t.equal(self.director.connectionCount, 0)
    for (let i = 0; i < 100 && next >= 0; i++) {
      t.ok(next - self.now <= 2000)
      self.now = next
      next = self.director.advance(self.now, 100)
    }
    t.equal(next, -1)
    t.same([server.active, server.inactive], [0, 0])
  })

  t.test(`${name}: weight 0 quiesces, weights apply at once`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const connection = self.send(request())
    const weights = (...list: number[]): ServiceConfig =>
      service(net, {
        realServers: net.servers.map((address, i) => ({
          key: `s${i}`,
          address,
          port: 8080,
          weight: list[i]!,
        })),
      })
    self.apply(weights(0, 0, 1))
    const same = request({ flags: TCP_ACK })
    t.equal(self.send(same), connection)
    t.equal(ends(same).split(' > ')[1], show(net.servers[0]!, 8080))
    for (let port = 1; port < 4; port++) {
      const fresh = request({ sourcePort: port })
      self.send(fresh)
      t.equal(ends(fresh).split(' > ')[1], show(net.servers[2]!, 8080))
    }
    self.apply(weights(0, 0, 0))
    t.equal(self.send(request({ sourcePort: 9 })), NO_DESTINATION)
  })

  t.test(
    `${name}: a full table gives up half-open connections, not established ones`,
    async (t) => {
      const self = lab(64)
      self.apply(service(net))
      for (let port = 1; port <= 32; port++) {
        self.send(request({ sourcePort: port }))
        const server = net.servers[(port - 1) % 3]!
        self.send(reply(server, { targetPort: port, flags: TCP_SYN | TCP_ACK }))
        self.send(request({ sourcePort: port, flags: TCP_ACK }))
      }
      for (let port = 1000; port < 2000; port++) self.send(request({ sourcePort: port }))
      t.equal(self.director.connectionCount, 64)
      for (let port = 1; port <= 32; port++) {
        const packet = request({ sourcePort: port, flags: TCP_ACK })
        t.ok(self.send(packet) >= 0, `established flow ${port}`)
      }
      t.ok(self.director.connections.evicted > 900)
      t.equal(self.director.refused[-TABLE_FULL]! + self.director.connections.evicted, 1000 - 32)
      t.equal(self.director.refused[-NO_PORT], 0)
    },
  )

  t.test(`${name}: an idle flow lives on while both its ends answer`, async (t) => {
    const self = lab()
    self.apply(service(net))
    const establish = (port: number, server: string): number => {
      self.send(request({ sourcePort: port, sequence: 100 }))
      const flags = TCP_SYN | TCP_ACK
      self.send(reply(server, { targetPort: port, flags, sequence: 900, acknowledgement: 101 }))
      return self.send(
        request({ sourcePort: port, flags: TCP_ACK, sequence: 101, acknowledgement: 901 }),
      )
    }
    const live = establish(1, net.servers[0]!)
    const dead = establish(2, net.servers[1]!)
    self.wait(900_200)
    t.same(self.probes, [live, dead])
    const out = new DataView(new ArrayBuffer(100))
    for (const direction of [FORWARD, REPLY]) {
      const end = self.director.writeProbe(live, direction, out, 0)
      const probe = { view: out, ipAt: 0, l4At: end - 20, end, protocol: TCP }
      t.ok(checksumsHold(probe))
      t.equal(out.getUint32(end - 16), direction === FORWARD ? 100 : 900, 'one before the next')
      t.equal(out.getUint8(end - 7), TCP_ACK)
    }
    // Of one flow both ends answer, of the other only the server.
    self.send(request({ sourcePort: 1, flags: TCP_ACK, sequence: 101, acknowledgement: 901 }))
    self.send(reply(net.servers[0]!, { targetPort: 1, flags: TCP_ACK }))
    self.send(reply(net.servers[1]!, { targetPort: 2, flags: TCP_ACK }))
    self.wait(61_000)
    t.same(self.probes, [live, dead, dead, dead])
    t.equal(self.director.connectionCount, 1)
    self.wait(845_000)
    t.equal(self.probes.length, 5, 'probed again after another idle time')
    self.wait(61_000)
    t.equal(self.director.connectionCount, 0)
  })

  t.test(`${name}: a refused SYN is tried on another server`, async (t) => {
    const self = lab()
    self.apply(service(net, { retryRefused: true }))
    const target = (packet: Packet): string => ends(packet).split(' > ')[1]!
    const first = request()
    let last = self.send(first)
    const tried = [target(first)]
    for (;;) {
      const next = self.director.retry(last, self.now)
      if (next < 0) break
      const again = request()
      t.equal(self.send(again), next)
      t.ok(checksumsHold(again))
      t.equal(self.director.connectionCount, 1)
      tried.push(target(again))
      last = next
    }
    t.equal(tried.length, 5, 'not for ever')
    t.equal(new Set(tried.slice(0, 3)).size, 3, 'each server once before one is asked again')

    const spread = new Map<string, number>()
    for (let port = 1; port <= 300; port++) {
      const connection = self.send(request({ sourcePort: port }))
      const server = self.director.realServerOf(connection)
      if (self.director.realServerKey(server) !== 's0') continue
      const other = self.director.realServerOf(self.director.retry(connection, self.now))
      const key = self.director.realServerKey(other)
      spread.set(key, (spread.get(key) ?? 0) + 1)
    }
    t.same([...spread.keys()].sort(), ['s1', 's2'], "one server's clients go to all others")

    const answered = self.send(request({ sourcePort: 1001 }))
    const server = net.servers.find((_, i) => {
      const key = self.director.realServerKey(self.director.realServerOf(answered))
      return key === `s${i}`
    })!
    self.send(reply(server, { targetPort: 1001, flags: TCP_SYN | TCP_ACK, sequence: 7 }))
    t.equal(self.director.retry(answered, self.now), -1, 'a server that has answered is kept')

    const near = net.servers.map((address, i) => ({
      key: `s${i}`,
      address,
      port: 8080,
      tier: i === 2 ? 0 : 1,
    }))
    self.apply(service(net, { retryRefused: true, realServers: near }))
    const local = self.send(request({ sourcePort: 2000 }))
    t.equal(self.director.realServerKey(self.director.realServerOf(local)), 's2')
    const farther = self.director.retry(local, self.now)
    t.not(self.director.realServerKey(self.director.realServerOf(farther)), 's2')
    const back = self.director.retry(farther, self.now)
    const key = self.director.realServerKey(self.director.realServerOf(back))
    t.equal(key, 's2', 'the nearest that has not refused just now')

    self.apply(service(net))
    const plain = self.send(request({ sourcePort: 2 }))
    t.equal(self.director.retry(plain, self.now), -1, 'only where the service wants it')
    const one = [{ key: 's0', address: net.servers[0]!, port: 8080 }]
    self.apply(service(net, { retryRefused: true, realServers: one }))
    const alone = self.send(request({ sourcePort: 3 }))
    t.equal(self.director.retry(alone, self.now), -1, 'only where there is another')
  })

  t.test(`${name}: a refused connection without another way stays what it is`, async (t) => {
    const self = lab(1 << 17)
    const servers = net.servers.slice(0, 2)
    const realServers = servers.map((address, i) => ({ key: `s${i}`, address, port: 8080 }))
    self.apply(service(net, { retryRefused: true, realServers, replyZone: 3 }))
    const connection = self.send(request())
    const key = self.director.realServerKey(self.director.realServerOf(connection))
    const target = servers[key === 's0' ? 1 : 0]!
    // Every port of the client to the other server is taken by what another node sends on.
    for (let sourcePort = 1024; sourcePort <= 65_535; sourcePort++) {
      const { view, ipAt, l4At, end } = request({ target, targetPort: 8080, sourcePort })
      self.director.insertTracked(3, 3, view, ipAt, l4At, TCP, end, self.now)
    }
    const count = self.director.connectionCount
    t.equal(self.director.retry(connection, self.now), -1)
    t.equal(self.director.connectionCount, count, 'not ended behind the back of its owner')
    t.equal(self.send(request()), connection, 'its packets find it')
  })

  t.test(
    `${name}: a repeated SYN is scheduled afresh where its server cannot take it`,
    async (t) => {
      const self = lab()
      const weights = (of: readonly number[]): Partial<ServiceConfig> => ({
        realServers: of.map((weight, i) => ({
          key: `s${i}`,
          address: net.servers[i]!,
          port: 8080,
          weight,
        })),
      })
      const serverOf = (connection: number): string =>
        self.director.realServerKey(self.director.realServerOf(connection))
      for (const retryRefused of [true, false]) {
        self.apply(service(net, { retryRefused, ...weights([1, 0, 0]) }))
        const sourcePort = retryRefused ? 1 : 2
        t.equal(serverOf(self.send(request({ sourcePort }))), 's0')
        t.equal(serverOf(self.send(request({ sourcePort }))), 's0', 'a SYN repeated is no new one')
        self.apply(service(net, { retryRefused, ...weights([0, 1, 0]) }))
        const repeated = serverOf(self.send(request({ sourcePort })))
        t.equal(repeated, retryRefused ? 's1' : 's0', 'unless its server takes no more')
      }
      const orphans = self.orphans.length
      self.apply(service(net, { retryRefused: true, ...weights([1]) }))
      const moved = self.send(request({ sourcePort: 1 }))
      t.equal(serverOf(moved), 's0', 'one whose server is gone is scheduled afresh')
      t.equal(self.orphans.length, orphans, 'without a reset')
    },
  )
}

t.test('a table larger than the index can name is refused', async (t) => {
  for (const connectionsMax of [0, -1, 1.5, Number.NaN, 2 ** 23]) {
    t.throws(() => new Director({ nowMs: 0, random: () => 0, connectionsMax }), /connectionsMax/)
  }
})

for (const [name, net] of Object.entries(NETS)) {
  t.test(`${name}: what many flows need at once is done in small pieces`, async (t) => {
    const self = lab(20_000)
    self.apply(service(net))
    const fields = { protocol: TCP, source: net.client, target: net.vip, targetPort: 80 }
    const establish = (): void => {
      for (let port = 1; port <= 900; port++) {
        self.send(build({ ...fields, sourcePort: port }))
        self.send(build({ ...fields, sourcePort: port, flags: TCP_ACK }))
      }
    }
    /** The most calls of a callback in one advance() of 256 looks, until there is nothing to do. */
    const most = (calls: readonly number[], enough: () => boolean): number => {
      let worst = 0
      for (let turn = 0; turn < 5000 && !enough(); turn++) {
        const before = calls.length
        if (self.director.advance(self.now, 256) !== self.now) self.now += 100
        worst = Math.max(worst, calls.length - before)
      }
      return worst
    }
    establish()
    self.now += 900_000
    const probed = most(self.probes, () => self.probes.length >= 900)
    t.equal(self.probes.length, 900)
    t.ok(probed <= 33, `${probed} probes at once`)
    self.apply(service(net, { realServers: [] }))
    const ended = most(self.orphans, () => self.director.connectionCount === 0)
    t.equal(self.orphans.length, 900)
    t.ok(ended <= 64, `${ended} resets at once`)
    t.equal(self.director.services.goneCount, 0)

    self.apply(service(net))
    for (let i = 0; i < 18_000; i++) {
      const source = net.client.includes('.')
        ? `10.9.${i >> 8}.${i & 255}`
        : `fd09::${(i + 1).toString(16)}`
      self.send(build({ ...fields, source, sourcePort: 1 }))
    }
    self.director.settings.dropEntry = 3
    const { defence } = self.director
    let worst = 0
    for (let turn = 0; turn < 2000; turn++) {
      const before = defence.dropped
      if (self.director.advance(self.now, 256) !== self.now) self.now += 100
      worst = Math.max(worst, defence.dropped - before)
    }
    t.ok(defence.dropped > 1000, `${defence.dropped} dropped`)
    t.ok(worst <= 256, `${worst} at once`)
  })
}
