// Goal: persistence, one-packet scheduling, thresholds, tiers and marks do what IPVS
// does (or what config.ts promises where IPVS has no such thing). Method: whole packets, virtual
// time.

import t from 'tap'
import { TCP_ACK, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { FORWARD, REPLY } from './director.ts'
import { TCP, UDP } from './flow.ts'
import { lab, NETS, service, show, ZONE } from './lab-fixture.ts'
import { build, buildError, ends, type Fields, type Packet } from './packet-fixture.ts'
import { NO_DESTINATION } from './verdict.ts'

for (const [name, net] of Object.entries(NETS)) {
  const ipv4 = name === 'v4'
  const client = (n: number): string =>
    ipv4 ? `10.1.${n >> 8}.${n & 255}` : `fd01::${n.toString(16)}`
  const request = (from: string, sourcePort: number, more: Partial<Fields> = {}): Packet =>
    build({ protocol: TCP, source: from, target: net.vip, sourcePort, targetPort: 80, ...more })
  const serverOf = (packet: Packet): number =>
    net.servers.findIndex((s) => ends(packet).includes(` > ${show(s, 0).replace(/:0$/, '')}:`))
  const servers = (more: (i: number) => object = () => ({})) =>
    net.servers.map((address, i) => ({ key: `s${i}`, address, port: 8080, ...more(i) }))

  t.test(`${name}: a persistent client keeps its server, others do not share it`, async (t) => {
    const self = lab()
    self.apply(service(net, { persistenceSeconds: 300 }))
    const chosen = new Set<number>()
    for (let port = 1; port <= 10; port++) {
      const packet = request(client(1), port)
      t.ok(self.send(packet) >= 0)
      chosen.add(serverOf(packet))
    }
    t.equal(chosen.size, 1)
    const other = request(client(2), 1)
    self.send(other)
    t.notOk(chosen.has(serverOf(other)))
    t.equal(self.director.connectionCount, 11 + 2, 'two templates')
    const udp = request(client(1), 1, { protocol: UDP })
    self.send(udp)
    t.equal(self.director.connectionCount, 12 + 3, 'another protocol has its own template')
  })

  t.test(`${name}: a datagram that ends with its memory takes the place of another`, async (t) => {
    const self = lab()
    const { view, ipAt, l4At, end } = request(client(1), 1, { protocol: UDP })
    const exact = new DataView(view.buffer.slice(0, end))
    const track = (zone: number): number =>
      self.director.insertTracked(zone, 3, exact, ipAt, l4At, UDP, end, self.now)
    t.ok(track(1) >= 0)
    t.ok(track(2) >= 0, 'by another way')
    t.equal(self.director.connectionCount, 1)
  })

  t.test(`${name}: an ICMP error finds no template, whatever it quotes`, async (t) => {
    const self = lab()
    self.apply(service(net, { persistenceSeconds: 300 }))
    self.send(request(client(1), 1))
    // As if it were a reply of the service to the template's key.
    const forged = build({
      protocol: TCP,
      source: net.vip,
      target: client(1),
      sourcePort: 80,
      targetPort: 0,
    })
    for (let protocol = 0; protocol < 256; protocol++) {
      forged.view.setUint8(forged.ipAt + (ipv4 ? 9 : 6), protocol)
      const error = buildError(client(1), net.vip, forged, 60)
      const { view, ipAt, l4At, end } = error
      t.equal(self.director.relatedIcmp(ZONE, view, ipAt, l4At, end), -1, `protocol ${protocol}`)
    }
  })

  t.test(`${name}: clients of one network share a server when told so`, async (t) => {
    const self = lab()
    self.apply(
      service(net, { persistenceSeconds: 60, persistencePrefix4: 24, persistencePrefix6: 120 }),
    )
    const of = (n: number): number => {
      const packet = request(client(n), 99)
      self.send(packet)
      return serverOf(packet)
    }
    t.equal(of(1), of(200))
    t.not(of(1 + 256), of(2))
  })

  t.test(`${name}: a template lives on while it has connections, and then ends`, async (t) => {
    const self = lab()
    self.apply(service(net, { persistenceSeconds: 5, idleSeconds: 100 }))
    const syn = request(client(1), 1)
    self.send(syn)
    const back = build({
      protocol: TCP,
      source: net.servers[0]!,
      target: client(1),
      sourcePort: 8080,
      targetPort: 1,
      flags: TCP_SYN | TCP_ACK,
    })
    self.send(back)
    self.send(request(client(1), 1, { flags: TCP_ACK }))
    self.wait(90_000)
    t.equal(self.director.connectionCount, 2, 'connection and template')
    const server = self.director.services.services[0]!.pools[ipv4 ? 0 : 1]!.servers[0]!
    t.equal(server.templates, 1)
    self.wait(12_000)
    t.equal(
      self.director.connectionCount,
      1,
      'the connection went, the template waits out its minute',
    )
    self.wait(60_000)
    t.equal(self.director.connectionCount, 0)
    t.equal(server.templates, 0)
  })

  t.test(
    `${name}: a quiesced server keeps its persistent clients unless told otherwise`,
    async (t) => {
      const self = lab()
      const config = { persistenceSeconds: 300 }
      self.apply(service(net, config))
      self.send(request(client(1), 1))
      self.apply(
        service(net, { ...config, realServers: servers((i) => ({ weight: i === 0 ? 0 : 1 })) }),
      )
      const kept = request(client(1), 2)
      self.send(kept)
      t.equal(serverOf(kept), 0)
      self.director.settings.expireQuiescentTemplate = true
      const moved = request(client(1), 3)
      self.send(moved)
      t.not(serverOf(moved), 0)
      const again = request(client(1), 4)
      self.send(again)
      t.equal(serverOf(again), serverOf(moved), 'the new template holds')
    },
  )

  t.test(`${name}: removal of a server ends its templates`, async (t) => {
    const self = lab()
    self.apply(service(net, { persistenceSeconds: 300 }))
    self.send(request(client(1), 1))
    self.apply(service(net, { persistenceSeconds: 300, realServers: servers().slice(1) }))
    const moved = request(client(1), 2)
    t.ok(self.send(moved) >= 0)
    t.ok(serverOf(moved) > 0)
    self.wait(1000)
    t.equal(self.director.services.goneCount, 0)
    t.equal(self.director.connectionCount, 2)
    t.equal(self.orphans.length, 1)
  })

  t.test(
    `${name}: a port-0 persistent service sends all ports of a client to one server`,
    async (t) => {
      const self = lab()
      self.apply(
        service(net, {
          virtuals: [{ protocol: 'tcp', address: net.vip, port: 0 }],
          realServers: net.servers.map((address, i) => ({ key: `s${i}`, address, port: 0 })),
          persistenceSeconds: 300,
        }),
      )
      const chosen = new Set<number>()
      for (let port = 1; port <= 5; port++) {
        const packet = request(client(1), 7, { targetPort: port })
        self.send(packet)
        chosen.add(serverOf(packet))
        t.ok(ends(packet).endsWith(`:${port}`))
      }
      t.equal(chosen.size, 1)
      t.equal(self.director.connectionCount, 6)
    },
  )

  t.test(`${name}: a mark leads to its service before any address does`, async (t) => {
    const self = lab()
    const marked = { key: 'marked', mark: 0xfffffff0, virtuals: [], persistenceSeconds: 60 }
    self.apply(service(net), service(net, { ...marked, realServers: servers().slice(2) }))
    const packet = request(client(1), 1)
    const { view, ipAt, l4At, end } = packet
    const { director } = self
    t.equal(director.findService(ZONE, view, ipAt, l4At, TCP, 0), director.serviceIndex('web'))
    t.equal(director.findService(ZONE, view, ipAt, l4At, TCP, 9), director.serviceIndex('web'))
    const found = director.findService(ZONE, view, ipAt, l4At, TCP, 0xfffffff0)
    t.equal(found, director.serviceIndex('marked'))
    for (const port of [80, 81]) {
      view.setUint16(l4At + 2, port)
      t.ok(director.schedule(ZONE, found, view, ipAt, l4At, TCP, end, self.now, false) >= 0)
    }
    t.equal(director.connectionCount, 3, 'one template for both ports')
  })

  t.test(`${name}: one-packet UDP schedules every packet, replies find their way`, async (t) => {
    const self = lab()
    self.apply(service(net, { onePacket: true }))
    const order: number[] = []
    for (let i = 0; i < 6; i++) {
      const packet = request(client(1), 53, { protocol: UDP })
      t.ok(self.send(packet) >= 0)
      order.push(serverOf(packet))
    }
    t.same(order, [0, 1, 2, 0, 1, 2])
    t.equal(self.director.connectionCount, 3)
    for (const source of net.servers) {
      const back = build({
        protocol: UDP,
        source,
        target: client(1),
        sourcePort: 8080,
        targetPort: 53,
      })
      t.ok(self.send(back) >= 0)
      t.equal(self.director.direction, REPLY)
      t.equal(ends(back), `${show(net.vip, 80)} > ${show(client(1), 53)}`)
    }
    t.equal(self.director.services.statistics.get(0, 0), 6, 'each packet counts as a connection')
    const tcp = request(client(1), 53)
    const connection = self.send(tcp)
    t.equal(
      self.send(request(client(1), 53, { flags: TCP_ACK })),
      connection,
      'TCP is not affected',
    )
    t.equal(self.director.direction, FORWARD)
  })

  t.test(`${name}: thresholds take a server out and back`, async (t) => {
    for (const [lower, backAt] of [
      [0, 2],
      [2, 1],
    ] as const) {
      const self = lab()
      const limited = [{ ...servers()[0]!, upperThreshold: 4, lowerThreshold: lower }]
      self.apply(service(net, { realServers: limited }))
      for (let port = 1; port <= 4; port++) t.ok(self.send(request(client(1), port)) >= 0)
      t.equal(self.send(request(client(1), 5)), NO_DESTINATION)
      const server = self.director.services.services[0]!.pools[ipv4 ? 0 : 1]!.servers[0]!
      let port = 1
      while (server.overloaded) {
        const packet = request(client(1), port++, { flags: TCP_RST })
        const { view, ipAt, l4At, end } = packet
        self.director.end(self.director.lookup(ZONE, view, ipAt, l4At, TCP, end))
      }
      t.equal(server.inactive, backAt, `lower threshold ${lower}`)
      t.ok(self.send(request(client(1), 9)) >= 0)
    }
  })

  t.test(`${name}: an overload lasts through other changes, not through more room`, async (t) => {
    const self = lab()
    const limited = (more: object): void =>
      self.apply(service(net, { realServers: [{ ...servers()[0]!, ...more }] }))
    const server = () => self.director.services.services[0]!.pools[ipv4 ? 0 : 1]!.servers[0]!
    limited({ upperThreshold: 4, lowerThreshold: 2 })
    const open = Array.from({ length: 4 }, (_, i) => self.send(request(client(1), i + 1)))
    self.director.end(open[0]!)
    limited({ upperThreshold: 4, lowerThreshold: 2, weight: 5 })
    t.ok(server().overloaded, 'three of four are not below the lower threshold')
    limited({ upperThreshold: 4, lowerThreshold: 3, weight: 5 })
    t.ok(server().overloaded, 'nor is that judged before another connection ends')
    limited({ upperThreshold: 5, lowerThreshold: 3, weight: 5 })
    t.notOk(server().overloaded, 'more room')
    limited({ upperThreshold: 3, lowerThreshold: 1, weight: 5 })
    t.ok(server().overloaded, 'less than is taken')
    limited({})
    t.notOk(server().overloaded)
  })

  t.test(`${name}: a farther tier serves only while no nearer server can`, async (t) => {
    const self = lab()
    const tiered = (weight: number) =>
      service(net, {
        realServers: servers((i) => ({ tier: i === 2 ? 0 : 1 + i, weight: i === 2 ? weight : 1 })),
      })
    self.apply(tiered(1))
    const first = request(client(1), 1)
    self.send(first)
    t.equal(serverOf(first), 2)
    self.apply(tiered(0))
    const next = request(client(1), 2)
    self.send(next)
    t.equal(serverOf(next), 0)
    const established = request(client(1), 1, { flags: TCP_ACK })
    self.send(established)
    t.equal(serverOf(established), 2, 'open flows stay')
  })
}
