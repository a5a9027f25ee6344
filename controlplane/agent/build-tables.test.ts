// Goal: whatever the assignment says, the tables made of it are valid, and hold what the node's
// tasks need and nothing that is dead. Method: assignments by hand; the data plane's own validation
// as the judge; for the repair of tables, a data plane that refuses single items.

import t, { type Test } from 'tap'
import { type ManualClock, manualClock } from '../../base/clock.ts'
import { silentLogger } from '../../base/log.ts'
import { manualTimers } from '../../base/timers.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { validateTables } from '../../dataplane/validate.ts'
import type { EndpointState } from '../store/assignment.ts'
import type { PortConfig } from '../store/specs.ts'
import { buildDns } from './build-dns.ts'
import { type BuiltTables, buildTables, type TablesInput } from './build-tables.ts'
import { TABLES_DELAY_FACTOR, TABLES_DELAY_MS } from './limits.ts'
import { NetworkNames } from './table-names.ts'
import { TablesRefused, TablesSync } from './tables-sync.ts'
import { byId, endpoint, network, peer, service } from './testing/items.ts'
import { until } from './testing/tasks.ts'

const SCHEDULERS = ['rr', 'wrr', 'lc']

function input(changes: Partial<TablesInput> = {}): TablesInput {
  return {
    version: 1,
    node: { name: 'a', privateKey: Buffer.alloc(32, 3).toString('base64') },
    isBehindNat: false,
    peers: byId([
      ['a', peer('a')],
      ['b', peer('b')],
    ]),
    networks: byId([
      ['n1', network('n1')],
      ['n9', network('n9', { name: 'ingress', ingress: true })],
    ]),
    endpoints: byId([
      ['t1.n1', endpoint('t1', 'n1', 'a', '10.0.1.3')],
      ['t2.n1', endpoint('t2', 'n1', 'b', '10.0.1.4', { slot: 2 })],
      ['t3.n1', endpoint('t3', 'n1', 'b', '10.0.1.5', { slot: 3, state: 'draining' })],
      ['t4.n1', endpoint('t4', 'n1', 'b', '10.0.1.6', { slot: 4, state: 'idle' })],
      ['t2.n9', endpoint('t2', 'n9', 'b', '10.0.9.4', { slot: 2 })],
    ]),
    services: byId([
      ['s1.n1', service('n1', { vips: ['10.0.1.2'] })],
      ['s1.n9', service('n9', { vips: ['10.0.9.2'], ports: [PORT] })],
    ]),
    silent: new Set(),
    local: (taskId) => ({
      isOver: false,
      isDraining: false,
      interfaceOf: (networkId) => ({ netns: `/run/netns/${taskId}`, name: networkId }),
      hostPorts: [],
    }),
    gatewayInterface: (networkId) => ({ netns: '/run/netns/dns', name: `gw-${networkId}` }),
    schedulers: SCHEDULERS,
    ...changes,
  }
}

const PORT: PortConfig = {
  Protocol: 'tcp',
  TargetPort: 80,
  PublishedPort: 8080,
  PublishMode: 'ingress',
}

function valid(t: Test, built: BuiltTables): ForwardingTables {
  t.same(validateTables(built.tables, { schedulers: SCHEDULERS }).problems, [])
  return built.tables
}

t.test('what is in the tables', async (t) => {
  const built = buildTables(input())
  const tables = valid(t, built)
  t.same(
    tables.peers.map(({ name }) => name),
    ['b'],
    'the node itself is no peer',
  )
  t.same(
    tables.networks.map(({ name }) => name),
    ['net-n1', 'ingress'],
  )
  const [web, published] = tables.services
  t.equal(web?.name, 'web.net-n1')
  t.same(web?.backends, [
    { endpoint: 'web.1.t1.n1' },
    { endpoint: 'web.2.t2.n1' },
    { endpoint: 'web.3.t3.n1', weight: 0 },
  ])
  t.same(tables.publishedPorts, [
    { protocol: 'tcp', port: 8080, service: published?.name, targetPort: 80 },
  ])
  t.same(tables.endpoints.find(({ node }) => node === 'a')?.interface, {
    netns: '/run/netns/t1',
    name: 'n1',
  })
  t.same([...built.draining], [['web.3.t3.n1', 't3']])
  t.same(built.dropped, [])
})

t.test('a network that goes, and a new one of its name', async (t) => {
  const names = new NetworkNames()
  const old = network('n1', { name: 'front' })
  const now = network('n2', { name: 'front' })
  const built = (...networks: (typeof old)[]) => {
    const items = new Map(networks.map((item) => [item.id, item]))
    const endpoints = byId([
      ['t1.n1', endpoint('t1', 'n1', 'a', '10.0.1.3')],
      ['t2.n2', endpoint('t2', 'n2', 'a', '10.0.2.3')],
    ])
    const services = byId([['s1.n2', service('n2', { vips: ['10.0.2.2'] })]])
    return valid(t, buildTables(input({ networks: names.apart(items), endpoints, services })))
  }
  const namesIn = ({ networks }: ForwardingTables) => networks.map(({ name }) => name)
  t.same(namesIn(built(old)), ['front'])
  const both = built(now, old)
  t.same(namesIn(both), ['n2', 'front'], 'the first one keeps the name')
  t.same(
    both.endpoints.map((one) => one.network),
    ['front', 'n2'],
  )
  t.same(
    both.services.map((one) => [one.name, one.network]),
    [['web.n2', 'n2']],
  )
  t.same(namesIn(built(now)), ['n2'], 'flows are kept by name')
  t.same(namesIn(built()), [])
  t.same(namesIn(built(now)), ['front'])
})

t.test('the node knows better of its own tasks', async (t) => {
  const over = { isOver: true, isDraining: false, interfaceOf: () => null, hostPorts: [] }
  const gone = valid(t, buildTables(input({ local: () => over })))
  t.notOk(
    gone.endpoints.some(({ node }) => node === 'a'),
    'a dead one leaves at once',
  )
  t.equal(gone.services[0]?.backends.length, 2)
  const draining = { isOver: false, isDraining: true, interfaceOf: () => null, hostPorts: [] }
  const drains = valid(t, buildTables(input({ local: () => draining })))
  t.same(drains.services[0]?.backends[0], { endpoint: 'web.1.t1.n1', weight: 0 })
})

t.test('ports of mode "host" lead to the task of this node', async (t) => {
  const port = (PublishedPort: number, Protocol: 'tcp' | 'udp' = 'tcp'): PortConfig => ({
    Protocol,
    TargetPort: 53,
    PublishedPort,
    PublishMode: 'host',
  })
  const of = (isDraining: boolean, state: EndpointState, ports: PortConfig[]) =>
    buildTables(
      input({
        endpoints: byId([
          ['t1.n9', endpoint('t1', 'n9', 'a', '10.0.9.3', { state })],
          ['t2.n9', endpoint('t2', 'n9', 'b', '10.0.9.4', { slot: 2 })],
        ]),
        local: () => ({ isOver: false, isDraining, interfaceOf: () => null, hostPorts: ports }),
      }),
    )
  const own = { endpoint: 'web.1.t1.n9' }
  const both = valid(t, of(false, 'serving', [port(5353), port(5353, 'udp')]))
  t.same(both.services.find(({ name }) => name === own.endpoint)?.backends, [own], 'and no other')
  t.same(both.publishedPorts.slice(1), [
    { protocol: 'tcp', port: 5353, service: own.endpoint, targetPort: 53 },
    { protocol: 'udp', port: 5353, service: own.endpoint, targetPort: 53 },
  ])
  const drains = valid(t, of(true, 'serving', [port(5353)]))
  const service = drains.services.find(({ name }) => name === own.endpoint)
  t.same(service?.backends, [{ ...own, weight: 0 }])
  t.equal(valid(t, of(false, 'idle', [port(5353)])).publishedPorts.length, 1, 'not yet')
  const rival = of(false, 'serving', [port(8080)])
  t.equal(valid(t, rival).publishedPorts.length, 1)
  t.match(rival.dropped, [{ item: 'port 8080/tcp of web.1.t1.n9', reason: /published already/ }])
})

t.test('options of networks, services and peers', async (t) => {
  const labels = { 'weft.scheduler': 'lc', 'weft.affinity': '10m', 'weft.prefer': 'moon' }
  const built = buildTables(
    input({
      isBehindNat: true,
      networks: byId([['n1', network('n1', { encrypted: false, mtu: 1300, multicast: true })]]),
      services: byId([
        ['s1.n1', service('n1', { vips: ['10.0.1.2'], labels })],
        ['s2.n1', service('n1', { serviceId: 's2', name: 'rr', mode: 'dnsrr' })],
      ]),
      endpoints: byId([]),
    }),
  )
  const tables = valid(t, built)
  t.match(tables.networks[0], { encrypted: false, mtu: 1300, multicast: true })
  t.match(tables.services, [{ scheduler: 'lc', persistenceSeconds: 600 }])
  t.equal(tables.services.length, 1, 'a service without virtual address is names alone')
  t.equal(tables.services[0]?.prefer, undefined)
  t.equal(built.dropped.length, 1)
  t.equal(tables.peers[0]?.keepaliveSeconds, 25)
})

t.test('a PROXY header for the ports that ask for it', async (t) => {
  const labels = {
    'weft.port.8080.proxy-protocol': 'v2',
    'weft.port.9090.proxy-protocol': 'v9',
    'weft.port.7070.proxy-protocol': 'v1',
  }
  const port = (PublishedPort: number, Protocol: 'tcp' | 'udp') => ({
    ...{ PublishedPort, Protocol, TargetPort: 80, PublishMode: 'ingress' as const },
  })
  const ports = [port(8080, 'tcp'), port(8080, 'udp'), port(9090, 'tcp'), port(7070, 'tcp')]
  const tables = valid(
    t,
    buildTables(
      input({
        networks: byId([['n1', network('n1', { ingress: true })]]),
        services: byId([['s1.n1', service('n1', { labels, ports })]]),
        endpoints: byId([]),
      }),
    ),
  )
  t.same(
    tables.publishedPorts.map(({ port, protocol, proxyProtocol }) => [
      port,
      protocol,
      proxyProtocol,
    ]),
    [
      [8080, 'tcp', 'v2'],
      [8080, 'udp', undefined],
      [9090, 'tcp', undefined],
      [7070, 'tcp', 'v1'],
    ],
  )
})

t.test('relays', async (t) => {
  const of = (isBehindNat: boolean, own: boolean) =>
    valid(
      t,
      buildTables(
        input({
          isBehindNat,
          peers: byId([
            ['a', peer('a', { relays: own })],
            ['b', peer('b', { endpoint: null })],
            ['c', peer('c')],
            ['m', peer('m', { relays: true })],
          ]),
        }),
      ),
    )
  const relaysOf = ({ peers }: ForwardingTables): unknown[] => peers.map(({ relay }) => relay)
  t.same(relaysOf(of(false, false)), ['m', undefined, undefined], 'for who is behind NAT')
  t.same(relaysOf(of(true, false)), ['m', 'm', undefined], 'for all, from there')
  t.equal(of(false, true).node.relays, true)
})

t.test('bad items are left out, and the others are not', async (t) => {
  const built = buildTables(
    input({
      peers: byId([
        ['b', peer('b')],
        ['c', peer('c', { publicKey: peer('b').publicKey })],
        ['d', peer('d', { endpoint: null, seenAt: peer('b').endpoint! })],
      ]),
      endpoints: byId([
        ['t1.n1', endpoint('t1', 'n1', 'a', '10.0.1.3')],
        ['t2.n1', endpoint('t2', 'n1', 'stranger', '10.0.1.4')],
        ['t3.n5', endpoint('t3', 'n5', 'b', '10.0.5.4')],
      ]),
      services: byId([['s1.n9', service('n9', { ports: [{ ...PORT, Protocol: 'sctp' }, PORT] })]]),
    }),
  )
  const tables = valid(t, built)
  t.same(
    tables.peers.map(({ name, endpoint }) => [name, endpoint !== undefined]),
    [
      ['b', true],
      ['d', false],
    ],
  )
  t.equal(tables.endpoints.length, 1)
  t.equal(tables.publishedPorts.length, 1)
  t.equal(built.dropped.length, 3)
})

t.test('names', async (t) => {
  const long = 'x'.repeat(63)
  const built = buildTables(
    input({
      networks: byId([['n1', network('n1', { name: `${long}y` })]]),
      endpoints: byId([
        ['t1.n1', endpoint('t'.repeat(25), 'n1', 'a', '10.0.1.3', { serviceName: long })],
        [
          't2.n1',
          endpoint('u'.repeat(25), 'n1', 'b', '10.0.1.4', { serviceName: long, slot: null }),
        ],
        ['t3.n1', endpoint('v'.repeat(25), 'n1', 'b', '10.0.1.5', { serviceName: '' })],
      ]),
      services: byId([['s1.n1', service('n1', { name: long, vips: ['10.0.1.2'] })]]),
    }),
  )
  const tables = valid(t, built)
  t.equal(new Set(tables.endpoints.map(({ name }) => name)).size, 3)
})

t.test('names for containers', async (t) => {
  const { networks, clients } = buildDns({ ...input(), nodeId: 'a', networksOf: () => ['n1'] })
  t.same(
    networks.map(({ name }) => name),
    ['net-n1'],
    'none on the ingress network',
  )
  const addresses = new Map(networks[0]?.records.map((one) => [one.name, one.addresses]))
  t.same(addresses.get('web'), ['10.0.1.2'])
  t.same(addresses.get('tasks.web'), ['10.0.1.3', '10.0.1.4'], 'those that serve')
  t.same(addresses.get('web.4.t4'), ['10.0.1.6'], 'but each by its own name')
  t.same(clients, [{ addresses: ['10.0.1.3'], networks: ['n1'], external: true }])
})

interface Sync {
  readonly sync: TablesSync
  readonly applied: ForwardingTables[]
  readonly acknowledged: number[]
  readonly timers: ReturnType<typeof manualTimers>
  state: { input: TablesInput; assignment: number; flows: number; refuse: Error | null }
  settle(): Promise<void>
}

function syncOf(
  judge: (tables: ForwardingTables) => Error | null = () => null,
  clock: ManualClock = manualClock(),
): Sync {
  const timers = manualTimers()
  const applied: ForwardingTables[] = []
  const acknowledged: number[] = []
  const state: Sync['state'] = { input: input(), assignment: 1, flows: 0, refuse: null }
  const sync: TablesSync = new TablesSync({
    build: () => ({ built: buildTables(state.input), assignment: state.assignment }),
    apply: async (tables) => {
      const refusal = state.refuse ?? judge(tables)
      if (refusal !== null) throw refusal
      applied.push(tables)
    },
    flows: async (names) => new Map(names.map((name) => [name, state.flows])),
    onApplied: () => {},
    onAcknowledge: () => acknowledged.push(sync.applied),
    clock,
    timers,
    log: silentLogger,
  })
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      timers.advance(50)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return { sync, applied, acknowledged, timers, state, settle }
}

t.test('tables follow, are acknowledged, and drains are counted', async (t) => {
  const { sync, applied, acknowledged, state, settle } = syncOf()
  state.flows = 2
  sync.changed()
  sync.changed()
  await settle()
  t.equal(applied.length, 1)
  t.same(acknowledged, [1])
  t.same(sync.draining(), [{ taskId: 't3', flows: 2 }], 'counted before it is acknowledged')
  state.flows = 0
  await settle()
  t.same(sync.draining(), [{ taskId: 't3', flows: 0 }])
  t.equal(acknowledged.length, 2, 'the end of the flows is told at once')
  state.assignment = 2
  sync.changed()
  await settle()
  t.equal(applied.length, 1, 'equal tables are not swapped')
  t.equal(sync.applied, 2)
  await sync.close()
})

t.test('changes that do not end leave time for others', async (t) => {
  const tookMs = 8
  const clock = manualClock()
  const { sync, state, timers } = syncOf(() => {
    clock.advance(tookMs)
    return null
  }, clock)
  const turn = async (ms: number): Promise<void> => {
    timers.advance(ms)
    await new Promise((resolve) => setImmediate(resolve))
  }
  sync.changed()
  timers.advance(TABLES_DELAY_MS)
  sync.changed()
  await turn(0)
  t.equal(sync.applied, 1)
  state.assignment = 2
  await turn(TABLES_DELAY_FACTOR * tookMs - 1)
  t.equal(sync.applied, 1, 'not yet')
  await turn(1)
  t.equal(sync.applied, 2)
  await sync.close()
})

t.test('tables that are refused', async (t) => {
  await t.test('for single items are handed over without these', async (t) => {
    const judge = (tables: ForwardingTables): Error | null => {
      const index = tables.peers.findIndex(({ name }) => name === 'b')
      const problem = { path: `peers[${index}].endpoint`, message: 'is multicast' }
      return index < 0 ? null : new TablesRefused([problem])
    }
    const { sync, applied, settle } = syncOf(judge)
    sync.changed()
    await settle()
    const tables = applied[0]!
    t.same(validateTables(tables, { schedulers: SCHEDULERS }).problems, [])
    t.same(
      tables.endpoints.map(({ node }) => node),
      ['a'],
      'and without what needs them',
    )
    t.equal(sync.counts.dropped, 1)
    await sync.close()
  })
  await t.test('for another reason are tried again', async (t) => {
    const { sync, applied, state, settle, timers } = syncOf()
    state.refuse = new Error('no such namespace')
    sync.changed()
    await settle()
    t.equal(sync.counts.failures, 1)
    t.equal(sync.applied, 0, 'what is not in force is not acknowledged')
    state.refuse = null
    timers.advance(500)
    await until(() => {
      timers.advance(20)
      return sync.applied === 1
    })
    t.equal(applied.length, 1)
    await sync.close()
  })
})

t.test('a backend on a node that does not answer', async (t) => {
  const weightsOf = (changes: Partial<TablesInput>): Record<string, number> => {
    const built = buildTables(input({ silent: new Set(['b']), ...changes }))
    const [web] = valid(t, built).services
    t.same([...built.draining.values()], ['t3'], 'it does not drain')
    const pairs = web!.backends.map(({ endpoint, weight }) => [endpoint.split('.')[2], weight ?? 1])
    return Object.fromEntries(pairs) as Record<string, number>
  }
  t.same(weightsOf({}), { t1: 1, t2: 0, t3: 0 }, 'gets no new flows')
  t.same(weightsOf({ silent: new Set() }), { t1: 1, t2: 1, t3: 0 })
  const { endpoints } = input()
  const there = new Map([...endpoints].filter(([, { nodeId }]) => nodeId === 'b'))
  t.same(weightsOf({ endpoints: there }), { t2: 1, t3: 0 }, 'unless there is no other')
})
