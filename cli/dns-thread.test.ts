// Goal: a container asks the name server at its network's gateway, over UDP and TCP, IPv4 and
// IPv6. Method: inside a lab, the real packet loop and the real thread; the container is a network
// namespace in which Node's own resolver asks.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { silentLogger } from '../base/log.ts'
import { compileTables } from '../dataplane/compile.ts'
import { insideLab, run } from '../dataplane/edge/testing/lab.ts'
import type { ForwardingTables } from '../dataplane/tables.ts'
import { DnsThread } from './dns-thread.ts'
import { EngineThread } from './engine-thread.ts'

const t = await insideLab(import.meta.filename)

const ASK = `
const { Resolver } = require('node:dns').promises
const net = require('node:net')
const [, server, name, type] = process.argv
const resolver = new Resolver({ timeout: 5000, tries: 4 })
resolver.setServers([server])
resolver.resolve(name, type).then((found) => console.log(JSON.stringify(found)),
  (error) => console.log(JSON.stringify(error.code)))
`

/** What Node's resolver in the namespace `web1` gets. */
function ask(server: string, name: string, type: string): Promise<unknown> {
  return new Promise((settle, fail) => {
    const command = ['netns', 'exec', 'web1', process.execPath, '-e', ASK, server, name, type]
    const child = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.on('data', (chunk) => {
      text += chunk
    })
    child.on('error', fail)
    child.on('close', () => settle(JSON.parse(text)))
  })
}

function tables(namespace: string): ForwardingTables {
  return {
    version: 1,
    node: { name: 'a', listenAddress: '127.0.0.1' },
    peers: [],
    networks: [
      {
        name: 'front',
        vni: 4097,
        subnets: ['10.0.1.0/24', 'fd00:1::/64'],
        encrypted: false,
        gatewayInterface: { netns: namespace, name: 'gw0' },
      },
    ],
    endpoints: [
      {
        name: 'web.1',
        network: 'front',
        node: 'a',
        addresses: ['10.0.1.3', 'fd00:1::3'],
        interface: { netns: '/run/netns/web1', name: 'eth0', defaultRoute: true },
      },
    ],
    services: [],
    publishedPorts: [],
  }
}

t.test('a container resolves names at its gateway', { timeout: 100_000 }, async (t) => {
  run('ip', 'netns', 'add', 'web1')
  run('ip', '-n', 'web1', 'link', 'set', 'lo', 'up')
  let failure: Error | null = null
  const onFailure = (error: Error): void => {
    failure = error
  }
  const dns = new DnsThread({ log: silentLogger, onFailure, resolvConf: '/nothing' })
  await dns.start()
  t.teardown(() => dns.stop())
  t.ok(existsSync(dns.namespace), dns.namespace)
  const engine = new EngineThread()
  const options = { runDirectory: '/run/weft', captures: new Map(), log: silentLogger, onFailure }
  run('mkdir', '-p', '/run/weft')
  await engine.start(compileTables(tables(dns.namespace), { privateKey: null }), options)
  t.teardown(() => engine.stop())
  const many = Array.from({ length: 90 }, (_, n) => `10.0.1.${n + 100}`)
  const records = [
    { name: 'db', addresses: ['10.0.1.2', 'fd00:1::2'], isCanonical: true },
    { name: 'many', addresses: many },
  ]
  const subnets = ['10.0.1.0/24', 'fd00:1::/64']
  dns.swap(
    {
      networks: [{ id: 'n', name: 'front', subnets, records }],
      clients: [{ addresses: ['10.0.1.3', 'fd00:1::3'], networks: ['n'], external: true }],
    },
    ['10.0.1.1'],
  )
  t.same(await ask('10.0.1.1', 'db', 'A'), ['10.0.1.2'])
  t.same(await ask('[fd00:1::1]', 'db', 'AAAA'), ['fd00:1::2'])
  t.same(await ask('10.0.1.1', '2.1.0.10.in-addr.arpa', 'PTR'), ['db.front'])
  const found = (await ask('10.0.1.1', 'many', 'A')) as string[]
  t.same(found.sort(), many.sort(), 'too many for UDP: the resolver came again over TCP')
  t.equal(await ask('10.0.1.1', 'nobody.example', 'A'), 'ESERVFAIL', 'no server outside')
  const counts = await dns.counts()
  t.ok(counts.udp >= 5 && counts.tcp >= 1, JSON.stringify(counts))
  t.equal(failure, null)
})

t.test('the namespace ends with the thread', async (t) => {
  const dns = new DnsThread({ log: silentLogger, onFailure: () => {} })
  await dns.start()
  const { namespace } = dns
  await dns.stop()
  t.notOk(existsSync(namespace))
  await dns.stop()
})
