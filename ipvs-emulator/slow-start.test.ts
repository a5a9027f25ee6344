// Goal: a newcomer's share of new connections grows with time under every scheduler that can say
// so, nobody else's share changes among the others, and nothing is left behind. Method: whole
// directors in virtual time; connections opened at set moments and counted by server.

import t from 'tap'
import type { RealServerConfig, ServiceConfig } from './config.ts'
import { TCP } from './flow.ts'
import { type Lab, lab, NETS, service } from './lab-fixture.ts'
import { listServices } from './listing.ts'
import { build, ends } from './packet-fixture.ts'
import { SCHEDULERS } from './sched.ts'
import type { Pool } from './service.ts'

const net = NETS.v4!
const SECONDS = 100

const servers = (...weights: readonly number[]): RealServerConfig[] =>
  weights.map((weight, i) => ({
    key: `s${i}`,
    address: net.servers[i]!,
    port: 8080,
    weight,
    slowStartSeconds: SECONDS,
  }))

let port = 0
/** Opens `count` connections, one after the other or to stay, and counts them by server. */
function open(self: Lab, count: number, stay: boolean): number[] {
  const counts = [0, 0, 0]
  for (let i = 0; i < count; i++) {
    port = (port + 1) & 0xffff
    const fields = { protocol: TCP, source: net.client, target: net.vip, targetPort: 80 }
    const packet = build({ ...fields, sourcePort: port })
    const connection = self.send(packet)
    if (connection < 0) throw new Error(`refused: ${connection}`)
    const server = net.servers.findIndex((address) => ends(packet).includes(`> ${address}:`))
    counts[server] = counts[server]! + 1
    if (!stay) self.director.end(connection)
  }
  return counts
}

/** Two servers that have served for a while, and a third that joins them. */
function joined(more: Partial<ServiceConfig>, ...weights: readonly number[]): Lab {
  const self = lab(60_000)
  self.apply(service(net, { ...more, realServers: servers(...weights.slice(0, 2)) }))
  self.apply(service(net, { ...more, realServers: servers(...weights) }))
  return self
}

const poolOf = (self: Lab): Pool => self.director.services.services[0]!.pools[0]!

t.test('under rr with weights of 1 the share grows from nothing to a third', async (t) => {
  const self = joined({ scheduler: 'rr' }, 1, 1, 1)
  t.same(open(self, 330, false), [160, 160, 10], 'one part in sixteen')
  self.wait(25_000)
  t.same(open(self, 360, false), [160, 160, 40], 'a quarter')
  self.wait(50_000)
  t.same(open(self, 440, false), [160, 160, 120], 'three quarters')
  t.same(
    listServices(self.director)[0]!.servers.map(({ weight }) => weight),
    [1, 1, 1],
    'the weights listed are those configured',
  )
  self.wait(25_000)
  t.same(open(self, 300, false), [100, 100, 100])
  t.equal(poolOf(self).scheduler.name, 'rr')
  t.same(
    poolOf(self).servers.map(({ weight }) => weight),
    [1, 1, 1],
  )
  t.equal(self.director.services.slowCount, 0)
})

t.test('rr goes on to ignore weights, but for 0', async (t) => {
  const self = joined({ scheduler: 'rr' }, 7, 0, 3)
  self.wait(50_000)
  t.same(open(self, 240, false), [160, 0, 80])
})

t.test('under wlc and lc an empty newcomer is not flooded', async (t) => {
  for (const scheduler of ['wlc', 'lc', 'twos']) {
    const self = lab(60_000)
    self.apply(service(net, { scheduler, realServers: servers(1, 1) }))
    open(self, 1000, true)
    self.apply(service(net, { scheduler, realServers: servers(1, 1, 1) }))
    const [, , first] = open(self, 200, true)
    t.ok(first! > 0 && first! < 80, `${scheduler}: ${first} of 200 at first`)
    self.wait(50_000)
    const [, , half] = open(self, 500, true)
    t.ok(half! > first!, `${scheduler}: ${half} of 500 in the middle`)
  }
})

t.test('weights keep their proportion to each other', async (t) => {
  const self = joined({ scheduler: 'wrr' }, 4, 2, 2)
  self.wait(50_000)
  t.same(open(self, 7 * 16, false), [64, 32, 16])
})

t.test('the first servers of a service start at once', async (t) => {
  const self = lab()
  self.apply(service(net, { realServers: servers(1, 1, 1) }))
  t.same(open(self, 30, false), [10, 10, 10])
  t.equal(self.director.services.slowCount, 0)
  self.apply(service(net, { realServers: servers(0, 0) }))
  self.apply(service(net, { realServers: servers(0, 0, 1) }))
  t.equal(self.director.services.slowCount, 0, 'nor do those that join only quiesced ones')
})

t.test('hashing schedulers move no client for it', async (t) => {
  for (const scheduler of ['sh', 'mh', 'dh']) {
    const self = joined({ scheduler, schedulerFlags: ['sh-port', 'mh-port'] }, 1, 1, 1)
    const of = (): string[] =>
      Array.from({ length: 100 }, (_, i) => {
        const fields = { protocol: TCP, source: net.client, target: net.vip, targetPort: 80 }
        const packet = build({ ...fields, sourcePort: i + 1 })
        self.director.end(self.send(packet))
        return ends(packet)
      })
    const before = of()
    for (let i = 0; i < 11; i++) {
      self.wait(10_000)
      t.same(of(), before, `${scheduler}, ${(i + 1) * 10} s`)
    }
  }
})

t.test('where weights are capacities, the newcomer begins with a small one', async (t) => {
  const self = joined({ scheduler: 'ovf' }, 1, 1, 100)
  const weights = (): number[] => poolOf(self).servers.map(({ weight }) => weight)
  t.same(weights(), [1, 1, 1])
  self.wait(50_000)
  t.same(weights(), [1, 1, 50])
  self.wait(50_000)
  t.same(weights(), [1, 1, 100])
})

t.test('whatever happens meanwhile, it ends', async (t) => {
  for (const name of SCHEDULERS.keys()) {
    const self = joined({ scheduler: name }, 2, 2, 2)
    self.wait(10_000)
    self.apply(service(net, { scheduler: name, realServers: servers(2, 2) }))
    self.wait(1000)
    t.equal(self.director.services.slowCount, 0, `${name}: the newcomer is gone`)
    t.equal(poolOf(self).scheduler.name, name)
    self.apply(service(net, { scheduler: name, realServers: servers(2, 2, 2) }))
    self.apply(service(net, { scheduler: 'rr', realServers: servers(2, 5, 0) }))
    self.apply(service(net, { scheduler: name, realServers: servers(2, 5, 6) }))
    self.wait(101_000)
    t.equal(poolOf(self).scheduler.name, name)
    t.same(
      poolOf(self).servers.map(({ weight }) => weight),
      [2, 5, 6],
    )
    self.apply(service(net, { scheduler: name, realServers: servers(2, 5) }))
    self.apply(service(net, { scheduler: name, realServers: servers(2, 5, 6) }))
    t.equal(self.director.services.slowCount, 1)
    self.apply()
    self.wait(1000)
    t.equal(self.director.services.slowCount, 0, `${name}: the service is gone`)
  }
})
