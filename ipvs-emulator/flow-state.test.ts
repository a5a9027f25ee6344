// Goal: flows go on after a restart as if nothing had happened, and damaged or outdated state does
// no harm. Method: random flows through one director, saved, loaded into a fresh one, compared by
// listings and packets.

import fc from 'fast-check'
import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import { REPLY } from './director.ts'
import { SCTP, TCP, UDP } from './flow.ts'
import { FlowStateError, loadFlows, saveFlows } from './flow-state.ts'
import { lab, NETS, service, show, ZONE } from './lab-fixture.ts'
import { listConnections } from './listing.ts'
import { build, checksumsHold, ends } from './packet-fixture.ts'

function populate(): ReturnType<typeof lab> {
  const self = lab()
  self.apply(...configuration())
  for (const [n, net] of Object.values(NETS).entries()) {
    for (let port = 1; port <= 30; port++) {
      const zone = ZONE + 10 * n + (port % 2)
      const protocol = [TCP, UDP, SCTP][port % 3]!
      const fields = {
        protocol,
        source: net.client,
        target: net.vip,
        sourcePort: port,
        targetPort: 80,
      }
      const connection = self.send(build(fields), zone)
      t.ok(connection >= 0)
      if (port % 4 === 0) continue
      const back = build({ ...fields, flags: TCP_SYN | TCP_ACK })
      const { view, ipAt, l4At, end } = back
      self.director.track(connection, REPLY, view, ipAt, l4At, end, 1, 40, self.now)
      self.director.setData(connection, port * 3)
      self.send(build({ ...fields, flags: TCP_ACK, chunk: 0 }), zone)
    }
  }
  return self
}

function configuration(): ReturnType<typeof service>[] {
  return Object.entries(NETS).flatMap(([name, net], n) => [
    service(net, { key: name, zone: ZONE + 10 * n }),
    service(net, { key: `${name} persistent`, zone: ZONE + 10 * n + 1, persistenceSeconds: 300 }),
  ])
}

t.test('a fresh director goes on where the old one stopped', async (t) => {
  const before = populate()
  const bytes = saveFlows(before.director)
  const after = lab()
  after.now = 77_000
  after.director.advance(after.now, 1)
  after.apply(...configuration())
  const result = loadFlows(after.director, bytes, 0)
  t.same(result, { loaded: before.director.connectionCount, skipped: 0 })
  const listed = (self: ReturnType<typeof lab>): string[] =>
    listConnections(self.director, 1000)
      .map((c) => JSON.stringify(c))
      .sort()
  t.same(listed(after), listed(before))
  const gauges = (self: ReturnType<typeof lab>): number[] => [
    ...self.director.services.statistics.values.slice(5, 8),
  ]
  t.same(gauges(after), gauges(before), 'active, inactive, persistent')
  t.equal(after.director.services.statistics.get(0, 0), 0, 'nobody has come anew')
  const net = NETS.v4!
  const packet = build({
    protocol: TCP,
    source: net.client,
    target: net.vip,
    sourcePort: 6,
    targetPort: 80,
    flags: TCP_ACK,
  })
  const connection = after.send(packet)
  t.ok(connection >= 0 && checksumsHold(packet))
  t.equal(after.director.data(connection), 18)
  t.match(ends(packet), show(net.client, 6))
  const second = saveFlows(after.director)
  t.equal(second.length, bytes.length)
  const again = loadFlows(after.director, bytes, 0)
  t.same(again, { loaded: 0, skipped: result.loaded }, 'nothing is loaded twice')
})

t.test('templates keep their connections, and everything ends in its time', async (t) => {
  const after = lab()
  after.apply(...configuration())
  loadFlows(after.director, saveFlows(populate().director), 0)
  after.wait(1000_000)
  t.equal(after.director.connectionCount, 0)
  t.same([...after.director.services.statistics.values.slice(5, 8)], [0, 0, 0])
})

t.test('tracked flows go on, also those that had to take another port', async (t) => {
  for (const net of Object.values(NETS)) {
    const before = lab()
    const fields = { protocol: TCP, source: net.client, target: net.servers[0]!, flags: TCP_SYN }
    const packet = build({ ...fields, sourcePort: 7, targetPort: 80 })
    const track = (self: ReturnType<typeof lab>, zone: number): number => {
      const { view, ipAt, l4At, end } = packet
      return self.director.insertTracked(zone, ZONE, view, ipAt, l4At, TCP, end, self.now)
    }
    const zones = [ZONE, ZONE + 1, ZONE + 2]
    for (const zone of zones) before.director.setData(track(before, zone), zone)
    const bytes = saveFlows(before.director)
    const after = lab()
    t.same(loadFlows(after.director, bytes, 0), { loaded: 3, skipped: 0 })
    t.same(listConnections(after.director, 10), listConnections(before.director, 10))
    for (const zone of zones) t.equal(after.director.data(track(after, zone)), zone)
    t.equal(after.director.connectionCount, 3)
  }
})

t.test('time that passed meanwhile counts', async (t) => {
  const bytes = saveFlows(populate().director)
  const after = lab()
  after.apply(...configuration())
  const { loaded, skipped } = loadFlows(after.director, bytes, 200_000)
  t.ok(loaded > 0 && skipped > 0, `${loaded} live on, ${skipped} would have ended`)
})

t.test('a client keeps its server over a restart longer than its template had left', async (t) => {
  for (const [name, net] of Object.entries(NETS)) {
    const config = service(net, { scheduler: 'rr', persistenceSeconds: 5 })
    const before = lab()
    before.apply(config)
    const fields = { protocol: TCP, target: net.vip, targetPort: 80 }
    type Side = typeof before
    const send = (self: Side, source: string, sourcePort: number, flags: number): string => {
      const connection = self.send(build({ ...fields, source, sourcePort, flags }))
      return self.director.realServerKey(self.director.realServerOf(connection))
    }
    const server = send(before, net.client, 1, TCP_SYN)
    send(before, net.client, 1, TCP_ACK)
    // Another client's template has nothing to stay for.
    send(before, net.gateway, 1, TCP_SYN)
    before.director.end(before.director.nextConnection(8))
    t.equal(before.director.connectionCount, 3)
    const after = lab()
    after.apply(config)
    t.same(loadFlows(after.director, saveFlows(before.director), 10_000), { loaded: 2, skipped: 1 })
    t.equal(after.director.connectionCount, 2)
    for (let port = 2; port < 5; port++)
      t.equal(send(after, net.client, port, TCP_SYN), server, name)
  }
})

t.test('of two templates of a client the one that is followed is kept', async (t) => {
  const net = NETS.v4!
  const config = (weight: number): ReturnType<typeof service> =>
    service(net, {
      persistenceSeconds: 300,
      realServers: net.servers.map((address, i) => ({
        ...{ key: `s${i}`, address, port: 8080 },
        weight: i === 0 ? weight : 1,
      })),
    })
  const fields = { protocol: TCP, target: net.vip, targetPort: 80 }
  const open = (self: ReturnType<typeof lab>, source: string, sourcePort: number): string => {
    const connection = self.send(build({ ...fields, source, sourcePort }))
    return self.director.realServerKey(self.director.realServerOf(connection))
  }
  const before = lab()
  before.director.settings.expireQuiescentTemplate = true
  before.apply(config(1))
  t.equal(open(before, net.client, 1), 's0')
  before.apply(config(0))
  t.equal(open(before, net.gateway, 1), 's1')
  t.equal(open(before, net.client, 2), 's2', 'its first server takes nobody any more')
  const after = lab()
  after.director.settings.expireQuiescentTemplate = true
  after.apply(config(0))
  const { loaded } = loadFlows(after.director, saveFlows(before.director), 0)
  t.equal(loaded, 3 + 2, 'all connections, and a template for each client')
  t.equal(open(after, net.client, 3), 's2')
})

t.test('a smaller table takes what it has room for', async (t) => {
  const before = populate()
  const after = lab(20)
  after.apply(...configuration())
  const { loaded, skipped } = loadFlows(after.director, saveFlows(before.director), 0)
  t.equal(loaded, after.director.connectionCount)
  t.equal(loaded + skipped, before.director.connectionCount)
  t.equal(after.director.connections.evicted, 0, 'nothing is loaded to be pushed out')
  after.wait(2000_000)
  t.equal(after.director.connectionCount, 0)
})

t.test('flows of servers that are not there any more, or elsewhere, are left out', async (t) => {
  const before = populate()
  const bytes = saveFlows(before.director)
  const after = lab()
  const moved = configuration().map((config) => ({
    ...config,
    realServers: config.realServers
      .slice(1)
      .map((server, i) => (i === 0 ? { ...server, port: 9999 } : server)),
  }))
  after.apply(...moved)
  const { loaded, skipped } = loadFlows(after.director, bytes, 0)
  t.equal(loaded + skipped, before.director.connectionCount)
  t.ok(loaded > 0 && skipped > loaded)
  for (const connection of listConnections(after.director, 1000)) {
    if (connection.clientPort !== 0) t.equal(connection.serverPort, 8080)
  }
})

t.test('damaged bytes are refused and leave nothing behind', async (t) => {
  const bytes = saveFlows(populate().director)
  const after = lab()
  after.apply(...configuration())
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = bytes.slice()
      damaged[at]! ^= change
      t.throws(() => loadFlows(after.director, damaged, 0), FlowStateError)
    }),
    { numRuns: 100, seed: 1 },
  )
  for (const length of [0, 3, 15, 40, bytes.length - 1]) {
    t.throws(() => loadFlows(after.director, bytes.subarray(0, length), 0), FlowStateError)
  }
  t.equal(after.director.connectionCount, 0)
})
