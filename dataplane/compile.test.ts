// Goal: compiled tables mean what the file says. Method: one file with everything in it, looked at
// field by field; then rules that hold for every compiled value (indices point into their lists,
// names are unique, the value survives structured clone), checked over variations of the file.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import t from 'tap'
import { contains, macText } from './address.ts'
import { compileTables } from './compile.ts'
import { type CompiledTables, NONE, PROTOCOL_TCP, PROTOCOL_UDP } from './compiled.ts'
import type { ForwardingTables } from './tables.ts'
import { validateTables } from './validate.ts'

const TEXT = readFileSync(join(import.meta.dirname, 'testdata/tables.json'), 'utf8')
const tables: ForwardingTables = JSON.parse(TEXT)
const compile = (value: ForwardingTables): CompiledTables =>
  compileTables(value, { privateKey: null })
const compiled = compile(tables)

const texts = (rows: readonly { readonly text: string }[]): string[] => rows.map(({ text }) => text)
type TestPoint = Pick<typeof t, 'equal' | 'not' | 'ok' | 'strictSame'>

const names = (rows: readonly { readonly name: string }[]): string[] => rows.map(({ name }) => name)

t.test('the node', async (t) => {
  t.equal(compiled.version, 7)
  t.match(compiled.node, { name: 'host1', listenAddress: '::', listenPort: 4789 })
  t.equal(Buffer.from(compiled.node.privateKey!).toString('base64'), tables.node.privateKey)
  t.strictSame(compiled.node.presharedKeys, [new Uint8Array(32)])
  t.strictSame(texts(compiled.node.addresses), ['192.168.0.1', 'fd00:aaaa::1'])
  t.strictSame(compiled.node.addresses[0]!.bytes, Uint8Array.of(192, 168, 0, 1))
  const { privateKey: _, ...node } = tables.node
  const key = new Uint8Array(32).fill(9)
  const fromFile = { ...tables, node: { ...node, privateKeyFile: 'key' } }
  t.strictSame(compileTables(fromFile, { privateKey: key }).node.privateKey, key)
})

t.test('peers', async (t) => {
  const [host2, host3, vtep] = compiled.peers
  t.match(host2, { name: 'host2', address: { text: '192.168.0.2' }, udpPort: 4789, keepaliveMs: 0 })
  t.equal(host2!.publicKey?.length, 32)
  t.match(host3, { address: null, udpPort: 0, keepaliveMs: 25_000 })
  t.equal(vtep!.publicKey, null)
  t.equal(vtep!.address!.bytes.length, 16)
})

t.test('networks', async (t) => {
  const [front, lab, ingress] = compiled.networks
  t.match(front, { mtu: 1418, encrypted: true, multicast: false, ingress: false, vni: 4096 })
  t.strictSame(texts(front!.gateways), ['10.1.0.1', 'fd00:1::1'])
  t.equal(macText(front!.gatewayMacs[0]!), '02:42:0a:01:00:01')
  t.strictSame([front!.peers, front!.ports], [[0, 1], [0]])
  t.match(front!.subnets, [
    { text: '10.1.0.0', length: 16 },
    { text: 'fd00:1::', length: 64 },
  ])
  t.match(lab, { mtu: 1450, encrypted: false, multicast: true })
  t.strictSame([texts(lab!.gateways), lab!.peers, lab!.ports], [['10.2.0.254'], [2], []])
  t.match(ingress, { mtu: 1300, ingress: true })
  t.equal(compiled.ingressNetwork, 2)
})

t.test('endpoints, ports and forwarding rows', async (t) => {
  t.match(compiled.endpoints, [
    { name: 'web.1', network: 0, peer: NONE, port: 0 },
    { name: 'web.2', network: 0, peer: 0, port: NONE },
    { name: 'web.3', network: 0, peer: 1, port: NONE },
    { name: 'web.1-ingress', network: 2, peer: NONE, port: 1 },
    { name: 'web.2-ingress', network: 2, peer: 0, port: NONE },
    { name: 'probe', network: 1, peer: NONE, port: NONE },
    { name: 'kernel', network: 1, peer: 2, port: NONE },
  ])
  t.equal(macText(compiled.endpoints[0]!.mac), '02:42:0a:01:00:03')
  t.equal(macText(compiled.endpoints[2]!.mac), '02:42:00:00:00:05')
  t.match(compiled.ports[0], {
    name: 'web.1',
    endpoint: 0,
    netns: '/run/netns/web1',
    device: 'eth0',
    mtu: 1418,
    prefixLengths: [16, 64],
    defaultRoute: true,
    ingress: false,
  })
  t.strictSame(texts(compiled.ports[0]!.gateways), ['10.1.0.1', 'fd00:1::1'])
  t.match(compiled.ports[1], { netns: '/proc/4711/ns/net', mtu: 1300, ingress: true })
  t.strictSame(
    compiled.fdb.map(({ network, endpoint }) => [network, endpoint]),
    [
      [0, 0],
      [0, 1],
      [0, 2],
      [2, 3],
      [2, 4],
      [1, 5],
      [1, 6],
    ],
  )
  const kinds = compiled.neighbours.map(({ kind, address }) => `${kind} ${address.text}`)
  t.ok(kinds.includes('gateway fd00:1::1'))
  t.ok(kinds.includes('endpoint fd00:1::3'))
  t.ok(kinds.includes('vip 10.1.0.2'))
  t.equal(kinds.length, 4 + 8 + 3)
})

t.test('services', async (t) => {
  t.strictSame(names(compiled.vips), ['web/10.1.0.2', 'web/fd00:1::2', 'any/10.2.0.2'])
  t.strictSame(
    compiled.backends.map(({ name, endpoint, weight }) => [name, endpoint, weight]),
    [
      ['web/web.1', 0, 2],
      ['web/web.2', 1, 1],
      ['web/web.3', 2, 0],
      ['any/kernel', 6, 1],
      ['web-published/web.1-ingress', 3, 1],
      ['web-published/web.2-ingress', 4, 1],
    ],
  )
  t.strictSame(names(compiled.virtualServices), [
    'web/10.1.0.2/tcp/80',
    'web/fd00:1::2/tcp/80',
    'any/10.2.0.2/tcp/0',
    'any/10.2.0.2/udp/0',
    'published/tcp/8080/ipv4',
    'published/udp/53/ipv4',
  ])
  const [web4, web6, anyTcp, anyUdp, published] = compiled.virtualServices
  t.match(web4, {
    service: 0,
    vip: 0,
    publishedPort: NONE,
    network: 0,
    family: 4,
    scheduler: 'wrr',
  })
  t.match(web4, { protocol: PROTOCOL_TCP, portNumber: 80, address: { text: '10.1.0.2' } })
  const servers = (row: typeof web4): string[] =>
    row!.realServers.map((r) => `${r.name} ${r.address.text} ${r.portNumber} ${r.weight}`)
  // Each VIP is served by those who have an address of its family.
  t.strictSame(servers(web4), ['web/web.1 10.1.0.3 8080 2', 'web/web.2 10.1.0.4 8080 1'])
  t.strictSame(servers(web6), ['web/web.1 fd00:1::3 8080 2', 'web/web.3 fd00:1::5 8080 0'])
  t.match([anyTcp, anyUdp], [{ protocol: PROTOCOL_TCP }, { protocol: PROTOCOL_UDP }])
  t.match(anyTcp, { portNumber: 0, scheduler: 'rr', realServers: [{ portNumber: 0 }] })
  t.match(published, { vip: NONE, publishedPort: 0, address: null, portNumber: 8080, network: 2 })
  t.match(published, { realServers: [{ portNumber: 80 }, { portNumber: 80 }] })
  t.match(compiled.publishedPorts, [
    { name: 'tcp/8080', targetPortNumber: 80, virtualService4: 4, virtualService6: NONE },
    { name: 'udp/53', targetPortNumber: 53, virtualService4: 5, virtualService6: NONE },
  ])
})

/** Fails when a compiled value breaks a rule of compiled.ts. */
function checkRules(t: TestPoint, value: CompiledTables): void {
  t.strictSame(structuredClone(value), value, 'survives structured clone')
  const lists = [
    value.peers,
    value.networks,
    value.endpoints,
    value.ports,
    value.services,
    value.vips,
    value.backends,
    value.virtualServices,
    value.publishedPorts,
  ]
  for (const rows of lists) {
    const all = rows.map(({ name }) => name)
    t.equal(new Set(all).size, all.length, 'names are unique within a list')
  }
  value.endpoints.forEach((endpoint, e) => {
    t.ok(endpoint.peer < value.peers.length && endpoint.network < value.networks.length)
    t.ok(endpoint.peer === NONE || endpoint.port === NONE, 'a port is local')
    if (endpoint.port !== NONE) t.equal(value.ports[endpoint.port]!.endpoint, e)
    for (const inner of endpoint.addresses) {
      const { subnets } = value.networks[endpoint.network]!
      t.ok(subnets.some((subnet) => contains(subnet, inner)))
    }
  })
  for (const row of value.virtualServices) {
    t.not(row.vip === NONE, row.publishedPort === NONE, 'a VIP or a published port, not both')
    for (const server of row.realServers) {
      t.equal(value.backends[server.backend]!.endpoint, server.endpoint)
      t.equal(server.address.bytes.length, row.family === 4 ? 4 : 16)
    }
  }
  const claimed = new Set<string>()
  for (const { network, address: inner } of value.neighbours)
    claimed.add(`${network} ${inner.text}`)
  t.equal(claimed.size, value.neighbours.length, 'each address has one answer')
}

t.test('rules hold for the file and for parts of it', async (t) => {
  checkRules(t, compiled)
  const subset = <T>(rows: readonly T[]): fc.Arbitrary<T[]> => fc.subarray([...rows])
  fc.assert(
    fc.property(
      subset(tables.endpoints),
      subset(tables.services),
      subset(tables.publishedPorts),
      (endpoints, services, publishedPorts) => {
        const value = { ...tables, endpoints, services, publishedPorts }
        if (validateTables(value, { schedulers: ['rr', 'wrr'] }).tables === null) return
        checkRules(t, compile(value))
      },
    ),
    { numRuns: 200 },
  )
})

t.test('compiling twice gives equal values', async (t) => {
  t.strictSame(compile(JSON.parse(TEXT)), compiled)
})

t.test('tables that validation would refuse are an assertion', async (t) => {
  const broken = structuredClone(tables) as { -readonly [K in keyof ForwardingTables]: unknown }
  broken.networks = []
  t.throws(() => compile(broken as ForwardingTables), { code: 'WEFT_ASSERTION' })
})
