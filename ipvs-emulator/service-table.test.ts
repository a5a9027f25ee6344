// Goal: a new configuration changes what differs and nothing else; a bad one changes nothing at
// all. Method: tables of configurations, and random sequences of them compared with a table made
// from the last one alone.

import fc from 'fast-check'
import t from 'tap'
import { prng } from '../base/prng.ts'
import { ConfigError, type RealServerConfig, type ServiceConfig } from './config.ts'
import { IPV4, IPV6, TCP, UDP } from './flow.ts'
import { ServiceTable } from './service-table.ts'
import { STATISTICS_COLUMNS } from './statistics.ts'

function table(statistics?: Float64Array): ServiceTable {
  const random = prng(1)
  return new ServiceTable(statistics, () => random.nextU32())
}

const server = (key: string, more: Partial<RealServerConfig> = {}): RealServerConfig => ({
  key,
  address: '10.0.0.1',
  port: 80,
  ...more,
})

const service = (key: string, more: Partial<ServiceConfig> = {}): ServiceConfig => ({
  key,
  zone: 1,
  virtuals: [],
  realServers: [server('a')],
  ...more,
})

const virtual = { protocol: 'tcp', address: '10.0.0.2', port: 80 } as const

t.test('what is wrong is named with its path, and nothing changes', async (t) => {
  const bad: [string, ServiceConfig[]][] = [
    ['services[1].key: "x" appears twice', [service('x'), service('x')]],
    ['services[0].zone: 65536 is not', [service('x', { zone: 65536 })]],
    ['services[0].replyZone: -1 is not', [service('x', { replyZone: -1 })]],
    ['services[1].mark: "5" appears twice', [service('x', { mark: 5 }), service('y', { mark: 5 })]],
    ['services[0].scheduler: "best" is not one of rr, wrr', [service('x', { scheduler: 'best' })]],
    [
      'services[0].schedulerFlags: "fast"',
      [service('x', { schedulerFlags: ['fast' as 'sh-port'] })],
    ],
    ['services[0].mhSlots: is not one of 251', [service('x', { mhSlots: 1000 })]],
    ['services[0].persistenceSeconds: 2678401', [service('x', { persistenceSeconds: 2678401 })]],
    ['services[0].persistencePrefix4: 33', [service('x', { persistencePrefix4: 33 })]],
    [
      'services[0].masquerade4: "fd00::1" is not an IPv4',
      [service('x', { masquerade4: 'fd00::1' })],
    ],
    [
      'services[0].virtuals[0].address: "10.0.0" is not',
      [service('x', { virtuals: [{ ...virtual, address: '10.0.0' }] })],
    ],
    [
      'services[0].virtuals[0].protocol: "icmp" is not',
      [service('x', { virtuals: [{ ...virtual, protocol: 'icmp' as 'tcp' }] })],
    ],
    [
      'services[1].virtuals[0]: 10.0.0.2 port 80 belongs to services[0] ("x") already',
      [service('x', { virtuals: [virtual] }), service('y', { virtuals: [virtual] })],
    ],
    [
      'services[0].realServers[1].key: "a" appears twice',
      [service('x', { realServers: [server('a'), server('a')] })],
    ],
    [
      'services[0].realServers[0].weight: 65536',
      [service('x', { realServers: [server('a', { weight: 65536 })] })],
    ],
    [
      'services[0].realServers[0].weight: 1.5',
      [service('x', { realServers: [server('a', { weight: 1.5 })] })],
    ],
    [
      'services[0].realServers[0].lowerThreshold: is above',
      [service('x', { realServers: [server('a', { upperThreshold: 5, lowerThreshold: 6 })] })],
    ],
    [
      'services[0].realServers[0].tier: 4',
      [service('x', { realServers: [server('a', { tier: 4 })] })],
    ],
  ]
  const services = table()
  services.apply({ services: [service('kept', { virtuals: [virtual] })] }, 0)
  for (const [message, config] of bad) {
    const thrown = t.throws(() => services.apply({ services: config }, 0)) as ConfigError
    t.ok(thrown instanceof ConfigError)
    t.ok(thrown.message.startsWith(message), `${thrown.message} begins with ${message}`)
    t.equal(services.indexOf('x'), -1)
    t.equal(services.virtuals.find(1, TCP, IPV4, 0x0a000002, 0, 0, 0, 80), services.indexOf('kept'))
  }
})

t.test('shared statistics bound the number of rows', async (t) => {
  const shared = new Float64Array(new SharedArrayBuffer(8 * STATISTICS_COLUMNS * 4))
  const services = table(shared)
  const three = service('x', { realServers: ['a', 'b', 'c'].map((key) => server(key)) })
  t.throws(() => services.apply({ services: [three] }, 0), /room for 3 more rows/)
  services.apply({ services: [{ ...three, realServers: three.realServers.slice(1) }] }, 0)
  t.equal(services.servers.filter((s) => s !== null).length, 2)
})

t.test('servers and services keep their numbers and state while their keys stay', async (t) => {
  const services = table()
  services.apply({ services: [service('x', { realServers: [server('a'), server('b')] })] }, 0)
  const index = services.indexOf('x')
  const pool = services.services[index]!.pools[0]!
  const [a, b] = pool.servers
  a!.active = 3
  services.apply(
    {
      services: [
        service('new'),
        service('x', { realServers: [server('c'), server('b', { weight: 7 }), server('a')] }),
      ],
    },
    0,
  )
  t.equal(services.indexOf('x'), index)
  t.same(
    pool.servers.map((s) => s.key),
    ['a', 'b', 'c'],
    'kept ones stay in place, new ones are appended',
  )
  t.equal(pool.servers[0], a)
  t.equal(pool.servers[1], b)
  t.equal(b!.weight, 7)
  services.apply(
    { services: [service('x', { realServers: [server('a', { address: '10.0.0.9' })] })] },
    0,
  )
  t.not(services.services[index]!.pools[0]!.servers[0], a, 'another address is another server')
  t.ok(a!.gone && b!.gone)
  t.equal(services.goneCount, 1, 'only the one with connections is kept')
  t.equal(services.servers[a!.index], a)
  a!.active = 0
  services.released(a!)
  t.equal(services.goneCount, 0)
  t.equal(services.servers[a!.index], null)
})

t.test('numbers and rows are given back', async (t) => {
  const services = table()
  for (let round = 0; round < 200; round++) {
    services.apply(
      { services: [service(`s${round}`, { realServers: [server('a'), server('b')] })] },
      0,
    )
  }
  t.ok(services.services.length <= 2, `${services.services.length} services`)
  t.ok(services.servers.length <= 5, `${services.servers.length} servers`)
  t.ok(services.statistics.rows <= 7, `${services.statistics.rows} rows`)
})

const CONFIGS = fc.array(
  fc.array(
    fc.record({
      key: fc.constantFrom('p', 'q', 'r'),
      zone: fc.nat(1),
      port: fc.nat(3),
      scheduler: fc.constantFrom('rr', 'sh', 'mh', 'wrr'),
      servers: fc.uniqueArray(fc.nat(5), { maxLength: 5 }),
      v6: fc.boolean(),
      tier: fc.nat(1),
      weight: fc.nat(3),
    }),
    { maxLength: 3 },
  ),
  { maxLength: 12 },
)

t.test('after any history the table is as if made from the last configuration', async (t) => {
  let applied = 0
  fc.assert(
    fc.property(CONFIGS, (history) => {
      const long = table()
      let last: ServiceConfig[] = []
      for (const list of history) {
        const config = list.map((c) =>
          service(c.key, {
            zone: c.zone,
            scheduler: c.scheduler,
            virtuals: [
              { protocol: 'tcp', address: c.v6 ? 'fd00::2' : '10.0.0.2', port: c.port },
              { protocol: 'udp', address: '10.0.0.2', port: c.port },
            ],
            realServers: c.servers.map((n) =>
              server(`s${n}`, {
                address: c.v6 ? `fd00::${n + 10}` : `10.0.1.${n + 10}`,
                tier: c.tier,
                weight: c.weight,
              }),
            ),
          }),
        )
        try {
          long.apply({ services: config }, 0)
          last = config
          applied++
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error
        }
      }
      const fresh = table()
      fresh.apply({ services: last }, 0)
      if (long.goneCount !== 0) throw new Error('gone without connections')
      for (const { key } of last) {
        if (describe(long, key) !== describe(fresh, key)) throw new Error(`service ${key} differs`)
      }
      for (const zone of [0, 1]) {
        for (const protocol of [TCP, UDP]) {
          for (const family of [IPV4, IPV6]) {
            for (const port of [0, 1, 2, 3, 4]) {
              const w = family === IPV4 ? [0x0a000002, 0, 0, 0] : [0xfd000000 | 0, 0, 0, 2]
              const find = (of: ServiceTable): string | undefined =>
                of.services[
                  of.virtuals.find(zone, protocol, family, w[0]!, w[1]!, w[2]!, w[3]!, port)
                ]?.key
              if (find(long) !== find(fresh)) throw new Error('virtual address differs')
            }
          }
        }
      }
    }),
    { numRuns: 300, seed: 8 },
  )
  t.ok(applied > 300, `${applied} configurations`)
})

/** Everything about a service that must not depend on history; the order of servers may. */
function describe(services: ServiceTable, key: string): string {
  const { pools } = services.services[services.indexOf(key)]!
  return JSON.stringify(
    pools
      .filter((pool) => pool.servers.length > 0)
      .map((pool) => [
        pool.scheduler.name,
        pools.indexOf(pool),
        pool.servers.map((s) => [s.key, [...s.address], s.port, s.weight]).sort(),
      ]),
  )
}
