// Goal: services added by hand change as ipvsadm's commands say, and become rows of tables only
// where those have a place for them. Method: changes with their errors, and merged tables looked
// at.

import t from 'tap'
import { CHANGES_MAX, MANUAL_SERVERS_MAX } from './limits.ts'
import { mergeManual, tableClaims } from './manual-merge.ts'
import {
  applyChanges,
  type ManualChange,
  type ManualOptions,
  type ManualServer,
  ManualServices,
  type ServiceKey,
} from './manual-services.ts'
import { readChanges, readServices } from './manual-shape.ts'
import { CLUSTER } from './testing/cluster.ts'
import { buildFrame, TCP } from './testing/packets.ts'
import { compileFor, World } from './testing/world.ts'

const OPTIONS: ManualOptions = {
  scheduler: 'rr',
  schedulerFlags: [],
  persistenceSeconds: 0,
  persistencePrefix: 32,
  onePacket: false,
}

const keyOf = (address: string, port = 80): ServiceKey => ({
  mark: 0,
  family: address.includes(':') ? 6 : 4,
  protocol: 'tcp',
  address,
  port,
})

const serverOf = (
  address: string,
  port = 8080,
  more: Partial<ManualServer> = {},
): ManualServer => ({
  ...{ address, port, method: 'masq', weight: 1, upperThreshold: 0, lowerThreshold: 0 },
  ...more,
})

const add = (key: ServiceKey, more: Partial<ManualOptions> = {}): ManualChange => ({
  verb: 'add-service',
  service: { ...key, ...OPTIONS, ...more },
})
const attach = (key: ServiceKey, server: ManualServer): ManualChange => ({
  verb: 'add-server',
  key,
  server,
})

const A = keyOf('10.1.0.9')

function servicesOf(...changes: ManualChange[]): ManualServices {
  const tables = compileFor(CLUSTER, 'a')
  const services = new ManualServices(['rr', 'wlc'])
  services.setTables(() => tableClaims(tables))
  t.same(applyChanges(services, changes, false), { made: changes.length, error: null })
  return services
}

t.test('there are only so many real servers', async (t) => {
  const services = servicesOf()
  const other = keyOf('10.1.0.10')
  const servers = Array.from({ length: MANUAL_SERVERS_MAX - 2 }, (_, i) =>
    serverOf('10.1.0.21', i + 1),
  )
  t.equal(services.restore([{ ...A, ...OPTIONS, servers }]), 0)
  const second = serverOf('10.1.0.22')
  t.equal(services.apply(add(other)), null)
  t.equal(services.apply(attach(other, second)), null)
  t.equal(services.apply({ verb: 'edit-server', key: other, server: second }), null)
  t.equal(services.apply({ verb: 'edit-service', service: { ...A, ...OPTIONS } }), null)
  t.same(services.list()[0]!.address, A.address, 'who is edited keeps its place')
  t.equal(services.apply(attach(A, second)), null)
  const more = attach(other, serverOf('10.1.0.23'))
  t.equal(services.apply(more), 'ENOMEM')
  t.equal(services.apply({ verb: 'delete-server', key: A, address: '10.1.0.21', port: 1 }), null)
  t.equal(services.apply(more), null)
  t.equal(services.apply(attach(A, serverOf('10.1.0.21', 1))), 'ENOMEM')
  t.equal(services.apply({ verb: 'delete-service', key: other }), null)
  for (const port of [1, 2]) t.equal(services.apply(attach(A, serverOf('10.1.0.24', port))), null)
  t.equal(services.apply(attach(A, serverOf('10.1.0.24', 3))), 'ENOMEM')
  t.equal(services.apply({ verb: 'clear' }), null)
  t.equal(services.restore([{ ...A, ...OPTIONS, servers }]), 0, 'and all over again')
})

t.test('changes and their errors', async (t) => {
  const services = servicesOf(add(A), attach(A, serverOf('10.1.0.21')))
  const refused: readonly [string, ManualChange, string][] = [
    ['a service twice', add(A), 'EEXIST'],
    ['no such scheduler', add(keyOf('10.1.0.8'), { scheduler: 'x' }), 'ENOENT'],
    [
      'not to edit',
      { verb: 'edit-service', service: { ...keyOf('10.1.0.8'), ...OPTIONS } },
      'ESRCH',
    ],
    ['not to delete', { verb: 'delete-service', key: keyOf('10.1.0.8') }, 'ESRCH'],
    ['every port without persistence', add(keyOf('10.1.0.8', 0)), 'EINVAL'],
    ['a prefix too long', add(keyOf('10.1.0.8'), { persistencePrefix: 33 }), 'EINVAL'],
    ['an endpoint', add(keyOf('10.1.0.11')), 'TAKEN'],
    ['a gateway', add(keyOf('10.1.0.1')), 'TAKEN'],
    ['of the tables', add(keyOf('10.1.0.2')), 'EEXIST'],
    ['to delete of the tables', { verb: 'delete-service', key: keyOf('10.1.0.2') }, 'FIXED'],
    ['a server of the tables', attach(keyOf('10.1.0.2'), serverOf('10.1.0.31')), 'FIXED'],
    ['a server twice', attach(A, serverOf('10.1.0.21')), 'EEXIST'],
    ['a server of no service', attach(keyOf('10.1.0.8'), serverOf('10.1.0.21')), 'ESRCH'],
    ['another family', attach(A, serverOf('fd00:1::21')), 'EAFNOSUPPORT'],
    ['thresholds', attach(A, serverOf('10.1.0.31', 80, { lowerThreshold: 1 })), 'ERANGE'],
    ['no server to edit', { verb: 'edit-server', key: A, server: serverOf('10.1.0.31') }, 'ENOENT'],
    [
      'no server to delete',
      { verb: 'delete-server', key: A, address: '10.1.0.21', port: 1 },
      'ENOENT',
    ],
  ]
  const before = JSON.stringify(services.list())
  for (const [what, change, error] of refused) t.equal(services.apply(change), error, what)
  t.equal(JSON.stringify(services.list()), before, 'and nothing has changed')
  const edit = serverOf('10.1.0.21', 8080, { weight: 5 })
  t.equal(services.apply({ verb: 'edit-server', key: A, server: edit }), null)
  t.equal(services.list()[0]!.servers[0]!.weight, 5)
  const wlc = { ...A, ...OPTIONS, scheduler: 'wlc' }
  t.equal(services.apply({ verb: 'edit-service', service: wlc }), null)
  t.match(services.list()[0], { scheduler: 'wlc', servers: [{ weight: 5 }] }, 'servers stay')
  const away = { verb: 'delete-server', key: A, address: '10.1.0.21', port: 8080 } as const
  t.equal(services.apply(away), null)
  t.equal(services.apply({ verb: 'delete-service', key: A }), null)
  t.same(services.list(), [])
})

t.test('what an earlier agent had is taken over as far as it can be used', async (t) => {
  const services = servicesOf()
  const good = { ...A, ...OPTIONS, servers: [serverOf('10.1.0.21')] }
  const bad = [
    { ...good },
    { ...good, port: 81, scheduler: 'gone' },
    { ...good, port: 82, persistencePrefix: 33 },
    { ...good, port: 0 },
    { ...good, port: 83, servers: [serverOf('fd00:1::21')] },
    { ...good, port: 84, servers: [serverOf('10.1.0.21', 1, { lowerThreshold: 2 })] },
    { ...good, port: 85, servers: [serverOf('10.1.0.21'), serverOf('10.1.0.21')] },
  ]
  t.equal(services.restore([good, ...bad]), bad.length)
  t.strictSame(services.list(), [good])
  // Of an address that an endpoint has now it is only in the shade.
  t.equal(services.restore([{ ...good, address: '10.1.0.11' }]), 0)
})

t.test('changes are made up to the first that is refused', async (t) => {
  const services = servicesOf()
  const changes = [add(A), add(A), add(keyOf('10.1.0.8'))]
  t.same(applyChanges(services, changes, false), { made: 1, error: 'EEXIST' })
  t.equal(services.list().length, 1)
  services.apply({ verb: 'clear' })
  t.same(services.list(), [])
})

t.test('restoring, a rule that says what the tables say is no error', async (t) => {
  const services = servicesOf()
  const key = keyOf('10.1.0.2')
  const server = serverOf('10.1.0.21')
  t.equal(services.apply(add(key), true), null)
  t.equal(services.apply(attach(key, server), true), null)
  t.equal(services.apply(add(key, { scheduler: 'wlc' }), true), 'EEXIST')
  t.equal(services.apply(attach(key, { ...server, weight: 2 }), true), 'FIXED')
  t.same(services.list(), [])
})

t.test('what has no place in the tables leaves them as they are', async (t) => {
  const tables = compileFor(CLUSTER, 'a')
  const marked: ServiceKey = { mark: 3, family: 4, protocol: 'tcp', address: '', port: 0 }
  const outside = servicesOf(add(keyOf('203.0.113.1')), add(marked))
  t.equal(mergeManual(tables, outside.list()), tables)
  // A later table has an endpoint, or a service, where there was none.
  const services = servicesOf(add(A))
  const [front] = CLUSTER.networks
  const endpoint = { name: 'late', node: 'a', network: front!.name, addresses: ['10.1.0.9'] }
  const taken = compileFor({ ...CLUSTER, endpoints: [...CLUSTER.endpoints, endpoint] }, 'a')
  t.equal(mergeManual(taken, services.list()), taken)
  const service = { ...CLUSTER.services[0]!, name: 'late', vips: ['10.1.0.9'] }
  const claimed = compileFor({ ...CLUSTER, services: [...CLUSTER.services, service] }, 'a')
  t.equal(mergeManual(claimed, services.list()), claimed)
})

t.test('a service added by hand balances, and is asked about page by page', async (t) => {
  const world = new World({ nodes: ['a', 'b'] })
  world.connect()
  const node = world.node('a')
  const real = ['10.1.0.12', '10.1.0.21', '10.1.0.99'].map((address) => serverOf(address))
  const services = servicesOf(add(A), ...real.map((server) => attach(A, server)))
  node.swap(mergeManual(node.tables, services.list()))
  const seen = [1, 2, 3, 4].map((i) => {
    const fields = { source: '10.1.0.11', target: '10.1.0.9', protocol: TCP, flags: 2 }
    world.inject('front-a', buildFrame({ ...fields, sourcePort: 40_000 + i, targetPort: 80 }))
    world.settle()
    return world.read('front-a2').length > 0 ? 'a2' : world.read('front-b').length > 0 ? 'b' : ''
  })
  t.same([...seen].sort(), ['a2', 'a2', 'b', 'b'], 'the address of nobody gets nothing')
  const ask = node.engine.ask.bind(node.engine)
  t.match(ask({ name: 'drain', given: { endpoint: 'front-b' } }), { flows: 2, taking: 5 })
  t.same(ask({ name: 'drain', given: { endpoint: 'nobody' } }), {
    ...{ flows: 0, clients: 0, backends: 0, taking: 0 },
  })
  const page = ask({ name: 'services', given: { service: 0, server: 0 } })
  const listed = page.services.find(({ address }) => address === '10.1.0.9')
  t.match(listed, { port: 80, counters: [4], servers: [{ inactive: 2 }, { inactive: 2 }] })
  const flows = ask({ name: 'connections', given: { from: 0 } })
  t.equal(flows.connections.length, 4)
  t.equal(ask({ name: 'zero', given: { key: listed!.key } }), true)
  t.equal(ask({ name: 'zero', given: { key: 'nobody' } }), false)
  const again = ask({ name: 'services', given: { service: 0, server: 0 } })
  t.match(again.services.find(({ address }) => address === '10.1.0.9')!.counters, [0, 0, 0, 0, 0])
  t.same(ask({ name: 'setTimeouts', given: [0, 7, 0] }), null)
  t.same(ask({ name: 'timeouts', given: null }), [900, 7, 300])
  world.audit()
})

t.test('a page goes on where the last one ended', async (t) => {
  const world = new World({ nodes: ['a'] })
  const node = world.node('a')
  const many = Array.from({ length: 200 }, (_, i) => ({
    ...{ name: `many-${i}`, node: 'b', network: 'front' },
    addresses: [`10.1.9.${i + 1}`],
  }))
  const cluster = { ...CLUSTER, endpoints: [...CLUSTER.endpoints, ...many] }
  const services = servicesOf(
    add(A),
    ...many.map(({ addresses }) => attach(A, serverOf(addresses[0]!))),
  )
  node.swap(mergeManual(compileFor(cluster, 'a'), services.list()))
  const seen = new Map<string, number>()
  let pages = 0
  for (let place: { service: number; server: number } | null = { service: 0, server: 0 }; place; ) {
    const page: ReturnType<typeof node.engine.ask<'services'>> = node.engine.ask({
      name: 'services',
      given: place,
    })
    pages++
    for (const { key, servers } of page.services) {
      seen.set(key, (seen.get(key) ?? 0) + servers.length)
      t.ok(servers.length <= 64)
    }
    place = page.next
  }
  t.equal(seen.get('(ipvs)/tcp/10.1.0.9/80'), 200)
  t.ok(pages >= 4)
  t.equal(seen.size, node.tables.virtualServices.length)
})

t.test('what comes from outside is checked', async (t) => {
  const good = [add(A), attach(A, serverOf('10.1.0.21')), { verb: 'clear' }]
  t.strictSame(readChanges(structuredClone(good)), good)
  const bad: readonly [unknown, RegExp][] = [
    [null, /must be a list/],
    [[null], /verb is not known/],
    [[{ verb: 'constructor' }], /verb is not known/],
    [[{ verb: 'clear', more: 1 }], /unknown key/],
    [[{ verb: 'delete-service' }], /key is missing/],
    [[{ verb: 'delete-service', key: { ...A, family: 5 } }], /no address family/],
    [[{ verb: 'delete-service', key: { ...A, family: 6 } }], /no address of its family/],
    [[{ verb: 'delete-service', key: { ...A, mark: 1 } }], /a mark and an address/],
    [[{ verb: 'delete-service', key: { ...A, address: '10.1.0.009' } }], /must be an address/],
    [[attach(A, serverOf('10.1.0.21', 99_999))], /port must be/],
    [[attach(A, serverOf('10.1.0.21', 1, { weight: 65_536 }))], /weight must be/],
    [Array.from({ length: CHANGES_MAX + 1 }, () => ({ verb: 'clear' })), /at most \d+/],
  ]
  for (const [value, problem] of bad) t.match(readChanges(value), problem)
  t.match(readServices([{ ...A, ...OPTIONS, servers: [{}] }]), /servers\[0\]\.address is missing/)
  t.match(readServices({}), /must be a list/)
  t.strictSame(readServices([]), [])
})

t.test('an address whose MAC address an endpoint has gets no packets', async (t) => {
  const endpoints = CLUSTER.endpoints.map((endpoint) =>
    endpoint.name === 'front-b' ? { ...endpoint, mac: '02:42:0a:01:00:09' } : endpoint,
  )
  const tables = compileFor({ ...CLUSTER, endpoints }, 'a')
  const world = new World({ nodes: ['a'] })
  const merged = mergeManual(tables, servicesOf(add(A), attach(A, serverOf('10.1.0.21'))).list())
  t.doesNotThrow(() => world.node('a').swap(merged))
  t.equal(merged.virtualServices.length, tables.virtualServices.length)
})
