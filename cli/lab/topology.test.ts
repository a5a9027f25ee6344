// The topology: addresses in order, keys that fit together, one table per node.

import { createPrivateKey, createPublicKey } from 'node:crypto'
import t from 'tap'
import { mergeMetrics, parseMetrics, sumOf } from './metrics.ts'
import { addressAt, newKeyPair, Topology } from './topology.ts'

t.test('addressAt counts from the start of the subnet and stays inside', async (t) => {
  t.equal(addressAt('10.7.0.0/24', 5), '10.7.0.5')
  t.equal(addressAt('10.7.0.0/16', 300), '10.7.1.44')
  t.equal(addressAt('fd00:7::/64', 18), 'fd00:7::12')
  t.throws(() => addressAt('10.7.0.0/30', 3), /no host 3/)
})

t.test('the public key belongs to the private key', async (t) => {
  const pair = newKeyPair()
  const raw = Buffer.from(pair.privateKey, 'base64')
  t.equal(raw.length, 32)
  // PKCS #8 wrapping of an X25519 key, RFC 8410.
  const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), raw])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
  t.equal(spki.subarray(-32).toString('base64'), pair.publicKey)
})

function sample(): Topology {
  const plan = new Topology()
  plan.node({ name: 'h1', address: '192.168.10.1' })
  plan.node({ name: 'h2', address: 'fd00:10::2' })
  plan.network({ name: 'front', vni: 100, subnets: ['10.7.0.0/24', 'fd00:7::/64'] })
  plan.task({ name: 'web1', node: 'h1', networks: ['front'] })
  plan.task({ name: 'web2', node: 'h2', networks: ['front'] })
  return plan
}

t.test('each node gets its own table', async (t) => {
  const plan = sample()
  const vips = plan.service({ name: 'web', network: 'front', tasks: ['web1', 'web2'] })
  t.same(vips, ['10.7.0.4', 'fd00:7::4'])
  const one = plan.tables('h1')
  const two = plan.tables('h2')
  t.equal(one.version, two.version)
  t.equal(one.node.privateKey === two.node.privateKey, false)
  t.match(one.peers, [{ name: 'h2', endpoint: '[fd00:10::2]:4789' }])
  t.match(two.peers, [{ name: 'h1', endpoint: '192.168.10.1:4789' }])
  t.match(one.endpoints, [
    { name: 'web1.front', node: 'h1', addresses: ['10.7.0.2', 'fd00:7::2'] },
    { name: 'web2.front', node: 'h2', interface: undefined },
  ])
  t.same(one.endpoints[0]?.interface, { netns: '/run/netns/web1', name: 'eth0' })
  t.equal(plan.addressOf('web2', 'front', 1), 'fd00:7::3')
})

t.test('publishing puts the tasks on the ingress network', async (t) => {
  const plan = sample()
  plan.service({ name: 'web', network: 'front', tasks: ['web1', 'web2'] })
  plan.publish({ protocol: 'tcp', port: 8080, service: 'web', targetPort: 80 })
  const { networks, services, endpoints, publishedPorts } = plan.tables('h2')
  t.match(networks[1], { name: 'ingress', ingress: true })
  t.match(services[1], {
    name: 'web.ingress',
    vips: [],
    backends: [{ endpoint: 'web1.ingress' }, { endpoint: 'web2.ingress' }],
  })
  t.match(publishedPorts, [{ port: 8080, service: 'web.ingress', targetPort: 80 }])
  t.equal(endpoints.find((e) => e.name === 'web2.ingress')?.interface?.name, 'eth1')
})

t.test('every change raises the version; removal reaches the services', async (t) => {
  const plan = sample()
  plan.service({ name: 'web', network: 'front', tasks: ['web1', 'web2'] })
  const before = plan.version
  plan.weight('web1', 0)
  t.same(plan.tables('h1').services[0]?.backends[0], { endpoint: 'web1.front', weight: 0 })
  plan.backend('web', 'web1', false)
  t.same(plan.tables('h1').services[0]?.backends, [{ endpoint: 'web2.front' }])
  plan.backend('web', 'web1', true)
  plan.removeTask('web2')
  t.same(plan.tables('h1').services[0]?.backends, [{ endpoint: 'web1.front' }])
  t.equal(plan.version, before + 4)
  t.throws(() => plan.addressOf('web2', 'front'), /no endpoint web2.front/)
})

t.test('metrics are read as Prometheus writes them', async (t) => {
  const text =
    '# HELP a b\n# TYPE a counter\na{x="1",y="q\\"uo"} 3\na{x="2"} 4\nb +Inf\nc 1e-3 17\n'
  const samples = parseMetrics(text)
  t.equal(sumOf(samples, 'a'), 7)
  t.equal(sumOf(samples, 'a', { y: 'q"uo' }), 3)
  t.equal(sumOf(samples, 'b'), Number.POSITIVE_INFINITY)
  t.equal(sumOf(samples, 'c'), 0.001)
  t.equal(sumOf(samples, 'none'), 0)
})

t.test('metrics of several agents become one text of whole families', async (t) => {
  const text = (n: number): string =>
    `# HELP a of ${n}\n# TYPE a gauge\na ${n}\na{x="y"} ${n} 5\n# TYPE b counter\nb ${n}\n`
  const merged = mergeMetrics(
    new Map([
      ['n1', text(1)],
      ['n2', text(2)],
      ['dead', ''],
    ]),
  )
  t.equal(
    merged,
    '# HELP a of 1\n# TYPE a gauge\na{node="n1"} 1\na{node="n1",x="y"} 1 5\na{node="n2"} 2\n' +
      'a{node="n2",x="y"} 2 5\n# TYPE b counter\nb{node="n1"} 1\nb{node="n2"} 2\n',
  )
})
