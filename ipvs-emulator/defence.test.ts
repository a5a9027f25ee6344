// Goal: the defences drop what IPVS would drop, and spare what it would spare. Method: a table of
// connections in known states, switches on, virtual time.

import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import { FORWARD, REPLY } from './director.ts'
import { TCP, UDP } from './flow.ts'
import { lab, NETS, service, ZONE } from './lab-fixture.ts'
import { build, type Fields, type Packet } from './packet-fixture.ts'
import { DEFENCE } from './verdict.ts'

const net = NETS.v4!

function request(sourcePort: number, more: Partial<Fields> = {}): Packet {
  return build({
    protocol: TCP,
    source: net.client,
    target: net.vip,
    sourcePort,
    targetPort: 80,
    ...more,
  })
}

function establish(self: ReturnType<typeof lab>, port: number): void {
  const connection = self.send(request(port))
  const packet = request(port, { flags: TCP_SYN | TCP_ACK })
  const { view, ipAt, l4At, end } = packet
  self.director.track(connection, REPLY, view, ipAt, l4At, end, 1, 40, self.now)
  self.send(request(port, { flags: TCP_ACK }))
}

function alive(self: ReturnType<typeof lab>, port: number, protocol: number = TCP): boolean {
  const { view, ipAt, l4At, end } = request(port, { protocol, flags: TCP_ACK })
  return self.director.lookup(ZONE, view, ipAt, l4At, protocol, end) >= 0
}

t.test('drop_packet 3 drops every n-th new connection', async (t) => {
  const self = lab()
  self.apply(service(net))
  self.director.settings.dropPacket = 3
  self.director.settings.amDropRate = 5
  let dropped = 0
  for (let port = 1; port <= 100; port++) if (self.send(request(port)) === DEFENCE) dropped++
  t.equal(dropped, 20)
  t.equal(self.director.refused[-DEFENCE], 20)
  t.ok(alive(self, 2), 'packets of open connections pass')
})

t.test('drop_packet 1 turns itself on when room is short, and off again', async (t) => {
  const self = lab(64)
  self.apply(service(net))
  self.director.settings.dropPacket = 1
  for (let port = 1; port <= 63; port++) establish(self, port)
  self.wait(1000)
  t.equal(self.director.settings.dropPacket, 2)
  t.equal(self.send(request(100)), DEFENCE)
  for (let port = 1; port <= 32; port++) {
    const { view, ipAt, l4At, end } = request(port, { flags: TCP_ACK })
    self.director.end(self.director.lookup(ZONE, view, ipAt, l4At, TCP, end))
  }
  self.wait(1000)
  t.equal(self.director.settings.dropPacket, 1)
  t.ok(self.send(request(101)) >= 0)
})

t.test(
  'drop_entry takes half-open and idle young flows, not busy or persistent ones',
  async (t) => {
    const self = lab()
    self.apply(service(net), service(net, { key: 'p', zone: ZONE + 1, persistenceSeconds: 9999 }))
    for (let port = 1; port <= 20; port++) self.send(request(port))
    for (let port = 101; port <= 110; port++) {
      establish(self, port)
      for (let i = 0; i < 10; i++) self.send(request(port, { flags: TCP_ACK }))
    }
    for (let port = 201; port <= 210; port++) self.send(request(port, { protocol: UDP }))
    t.ok(self.send(request(301), ZONE + 1) >= 0)
    // Of these two, one had begun to talk.
    for (const source of ['10.0.0.99', '10.0.0.98']) {
      const connection = self.send(request(1, { source }), ZONE + 1)
      if (source === '10.0.0.99') self.send(request(1, { source, flags: TCP_ACK }), ZONE + 1)
      self.director.end(connection)
    }
    self.director.settings.dropEntry = 3
    for (let second = 0; second < 200; second++) {
      self.wait(1000)
      // Half-open flows would time out after 60 s by themselves.
      if (second === 55) {
        const left = Array.from({ length: 20 }, (_, i) => alive(self, i + 1)).filter(Boolean).length
        t.ok(left < 10, `${left} of 20 half-open flows are left after 55 s`)
      }
    }
    const udp = Array.from({ length: 10 }, (_, i) => alive(self, i + 201, UDP)).filter(
      Boolean,
    ).length
    t.ok(udp < 10, `${udp} of 10 idle UDP flows are left after 200 s of their 300`)
    const tcp = Array.from({ length: 10 }, (_, i) => alive(self, i + 101)).filter(Boolean).length
    t.equal(tcp, 10, 'established flows with more than eight packets')
    const row = self.director.services.services[self.director.serviceIndex('p')]!
    t.equal(
      self.director.services.statistics.get(row.row, 7),
      1,
      'a template goes that is of a client of whom nothing but a SYN was seen',
    )
    t.ok(self.director.defence.dropped > 10)
  },
)

t.test('secure_tcp believes no ACK before the server has answered', async (t) => {
  const self = lab()
  self.apply(service(net))
  const active = (): number => self.director.services.statistics.get(0, 5)
  self.director.settings.secureTcp = 3
  self.wait(1000)
  const connection = self.send(request(1))
  self.send(request(1, { flags: TCP_ACK }))
  t.equal(active(), 0)
  const answer = request(1, { flags: TCP_SYN | TCP_ACK })
  const { view, ipAt, l4At, end } = answer
  self.director.track(connection, REPLY, view, ipAt, l4At, end, 1, 40, self.now)
  self.director.track(
    connection,
    REPLY,
    request(1, { flags: TCP_ACK }).view,
    ipAt,
    l4At,
    end,
    1,
    40,
    self.now,
  )
  t.equal(active(), 1)
  self.director.settings.secureTcp = 0
  self.wait(1000)
  self.send(request(2))
  self.send(request(2, { flags: TCP_ACK }))
  t.equal(active(), 2, 'the normal table is back')
  t.equal(self.director.direction, FORWARD)
})

t.test('a flood of ten times the table costs no established flow', async (t) => {
  const self = lab(1000)
  self.apply(service(net))
  for (let port = 1; port <= 500; port++) establish(self, port)
  let good = 0
  for (let i = 0; i < 10_000; i++) {
    const flood = build({
      protocol: TCP,
      source: `172.16.${i >> 8}.${i & 255}`,
      target: net.vip,
      sourcePort: 1000,
      targetPort: 80,
    })
    self.send(flood)
    // A client whose handshake takes the time of fifty forged ones.
    if (i % 100 === 0) self.send(request(10_000 + i))
    if (i % 100 === 50) {
      const port = 10_000 + i - 50
      const connection = self.send(request(port, { flags: TCP_ACK }))
      if (connection >= 0) {
        good++
        self.director.end(connection)
      }
    }
    if (i % 10 === 0) self.wait(1)
  }
  const kept = Array.from({ length: 500 }, (_, i) => alive(self, i + 1)).filter(Boolean).length
  t.equal(kept, 500)
  t.ok(good >= 80, `${good} of 100 new clients got through`)
})

t.test('forged clients of a persistent service fill no table', async (t) => {
  for (const protocol of [TCP, UDP]) {
    const self = lab(1000)
    self.apply(service(net, { persistenceSeconds: 300 }))
    const answer = (connection: number): void => {
      const packet = request(1, { protocol, flags: TCP_SYN | TCP_ACK })
      const { view, ipAt, l4At, end } = packet
      self.director.track(connection, REPLY, view, ipAt, l4At, end, 1, 40, self.now)
    }
    const open = (source: string): boolean => {
      const connection = self.send(request(1, { protocol, source }))
      if (connection >= 0) answer(connection)
      return self.send(request(1, { protocol, source, flags: TCP_ACK })) === connection
    }
    const server = (source: string): string => {
      const connection = self.send(request(2, { protocol, source }))
      return self.director.realServerKey(self.director.realServerOf(connection))
    }
    const before: string[] = []
    for (let i = 1; i <= 100; i++) {
      t.ok(open(`10.1.0.${i}`))
      before.push(server(`10.1.0.${i}`))
    }
    let good = 0
    for (let i = 0; i < 10_000; i++) {
      self.send(request(1000, { protocol, source: `172.16.${i >> 8}.${i & 255}` }))
      if (i % 100 === 0 && open(`10.2.0.${i / 100}`)) good++
    }
    t.ok(good >= 95, `${good} of 100 real clients get in`)
    const after = before.map((_, i) => server(`10.1.0.${i + 1}`))
    t.same(after, before, 'and keep their servers')
  }
})

t.test('drop_entry judges idleness by the timeout of the service', async (t) => {
  for (const [idleSeconds, protocol] of [
    [3600, TCP],
    [3600, UDP],
    [30, UDP],
  ] as const) {
    const self = lab()
    self.apply(service(net, { idleSeconds }))
    self.director.settings.dropEntry = 3
    const send = (): void => {
      for (let port = 1; port <= 20; port++) {
        if (protocol === UDP) self.send(request(port, { protocol }))
        else establish(self, port)
      }
    }
    send()
    const left = (): number =>
      Array.from({ length: 20 }, (_, i) => alive(self, i + 1, protocol)).filter(Boolean).length
    // Idle for less than a minute, whatever the service's timeout is: not idle yet.
    self.wait(idleSeconds > 60 ? 55_000 : 25_000)
    t.equal(left(), 20, `${idleSeconds} s, young`)
    if (idleSeconds < 60) continue
    self.wait(600_000)
    t.ok(left() < 20, `${left()} of 20 are left after eleven minutes`)
  }
})
