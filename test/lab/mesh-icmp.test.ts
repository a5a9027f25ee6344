// Goal: ICMP errors from outside about published ports reach the backends: a path that is narrower
// than the overlay is found, a client that has gone is known to be, and nothing else gets in.
// Method: a client behind a router whose link to it carries 1300 bytes, though the client's own
// device takes 1500; backends on the node that is asked and on the other.
//
//     far .2 ──1300── .1 out .3 ──1500── node1 .1, node2 .2

import './enter.ts'
import process from 'node:process'
import t from 'tap'
import type { Host } from '../../cli/lab/host.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import { buildFrame, buildPacket, concat, ICMP, ICMPV6 } from '../../dataplane/testing/packets.ts'
import { boxOf } from './box.ts'
import { dropsOf, dropsReach } from './overlay-scene.ts'
import { type Scene, SERVICE_PORT, sceneTest } from './scene.ts'

const TCP_PORT = 8000
const UDP_PORT = 5500
const NARROW = 1300
const SIZE = 200_000
const NODES = ['node1', 'node2'] as const
const FAMILIES = [4, 6] as const
type Family = (typeof FAMILIES)[number]

const addressOf = ({ address, address6 }: Host, family: Family): string =>
  family === 4 ? address : address6

/** Puts the client behind the host outside, by a link that is narrow on the router's side. */
async function far(scene: Scene): Promise<Host> {
  const router = scene.host('out')
  const client = await scene.lab.host('far')
  await scene.lab.veth(router, client, { mtu: NARROW })
  const [, gateway] = router.addresses
  const [, gateway6] = router.addresses6
  await client.ip([`link set ${client.interfaces[0]} mtu 1500`, `route add default via ${gateway}`])
  await client.ip([`route add default via ${gateway6}`], ['-6'])
  await router.sysctl('net.ipv4.ip_forward', '1')
  await router.sysctl('net.ipv6.conf.all.forwarding', '1')
  for (const node of NODES) {
    const host = scene.host(node)
    await host.ip([`route add ${client.address} via ${router.address}`])
    await host.ip([`route add ${client.address6} via ${router.address6}`], ['-6'])
  }
  return client
}

/** Answers what comes, then goes on until the kernel says that nobody is there any more. */
const INSISTENT = `
const [, family] = process.argv
const socket = require('node:dgram').createSocket('udp' + family).bind(${UDP_PORT})
const end = (error) => { if (error) { console.log(error.code); process.exit(0) } }
socket.on('error', end)
socket.once('message', (_, { port, address }) => socket.connect(port, address, () => {
  setInterval(() => socket.send('there', end), 50)
}))
`

/** Calls until it is answered, and goes. */
const FLEETING = `
const [, address] = process.argv
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
socket.on('message', () => process.exit(0))
setInterval(() => socket.send('hello', ${UDP_PORT}, address), 50)
`

const script = (text: string, ...words: string[]): string[] => [
  process.execPath,
  '-e',
  text,
  ...words,
]

/** Sockets for ICMP errors in a host's namespace. */
async function rawSockets(host: Host): Promise<number> {
  const lines = await host.must(['cat', '/proc/net/raw', '/proc/net/raw6'])
  return lines.split('\n').filter((line) => /^ *\d+:/.test(line)).length
}

async function passedOn(scene: Scene, node: string): Promise<number> {
  return sumOf(await scene.agent(node).metrics(), 'weft_outside_errors_total')
}

function pathTests(scene: Scene): void {
  for (const family of FAMILIES) {
    t.test(`200 kB through a path of ${NARROW} bytes, IPv${family}`, async (t) => {
      const target = addressOf(scene.host('node1'), family)
      const seen = new Set<string>()
      for (let i = 0; i < 2; i++) {
        const before = await passedOn(scene, 'node1')
        const got = await scene.at('far').bulk(target, TCP_PORT, { up: 10, down: SIZE })
        t.match(got, { intact: true }, 'the client gets it all')
        if ('name' in got) seen.add(got.name)
        t.ok((await passedOn(scene, 'node1')) > before, 'for the backend was told')
      }
      t.same([...seen].sort(), ['b1', 'b2'], 'on the node that is asked, and on the other')
    })
  }

  t.test('a path that is narrow from the node on', async (t) => {
    const [node, router] = [scene.host('node1'), scene.host('out')]
    for (const family of FAMILIES) {
      const [to, via] = [addressOf(scene.host('far'), family), addressOf(router, family)]
      const route = (mtu: string): Promise<void> =>
        node.ip([`route replace ${to} via ${via} ${mtu}`], [`-${family}`])
      await route('mtu 1280')
      const before = await passedOn(scene, 'node1')
      const target = addressOf(node, family)
      for (let i = 0; i < 2; i++) {
        const got = await scene.at('far').bulk(target, TCP_PORT, { up: 10, down: SIZE })
        t.match(got, { intact: true }, `IPv${family}`)
      }
      t.ok((await passedOn(scene, 'node1')) > before, 'the node itself has told the backend')
      await route('')
    }
  })

  t.test('a client that has gone is known to be', async (t) => {
    for (const family of FAMILIES) {
      const target = addressOf(scene.host('node1'), family)
      const server = scene.host('b2').exec(script(INSISTENT, String(family)))
      const client = await scene.host('far').exec(script(FLEETING, target))
      t.equal(client.status, 0)
      t.equal((await server).stdout.trim(), 'ECONNREFUSED', `IPv${family}`)
    }
  })
}

/** MAC address of a device. */
async function macOfDevice(host: Host, device: string): Promise<Uint8Array> {
  const [link] = JSON.parse(await host.must(['ip', '-j', 'link', 'show', device])) as [
    { address: string },
  ]
  return Uint8Array.from(Buffer.from(link.address.replaceAll(':', ''), 'hex'))
}

function forgeryTests(scene: Scene): void {
  t.test('an error about no flow goes no further', async (t) => {
    const [client, router] = [scene.host('far'), scene.host('out')]
    const device = client.interfaces[0]!
    const sourceMac = await macOfDevice(client, device)
    const targetMac = await macOfDevice(router, router.interfaces[1]!)
    const agent = scene.agent('node1')
    const held = await scene.at('far').connect(scene.host('node1').address, TCP_PORT)
    for (const family of FAMILIES) {
      const before = await dropsOf(agent, 'no_flow')
      const passed = await passedOn(scene, 'node1')
      const source = addressOf(client, family)
      const target = addressOf(scene.host('node1'), family)
      const ports = { sourcePort: TCP_PORT, targetPort: 9 }
      const quoted = buildPacket({ source: target, target: source, protocol: 6, ...ports })
      const tooBig = family === 4 ? [3, 4, 0, 0, 0, 0, 5, 0] : [2, 0, 0, 0, 0, 0, 5, 0]
      const payload = concat(Uint8Array.from(tooBig), quoted)
      const protocol = family === 4 ? ICMP : ICMPV6
      const frame = buildFrame({ source, target, protocol, payload, sourceMac, targetMac })
      const frames = Array.from({ length: 3 }, () => Buffer.from(frame).toString('hex'))
      await boxOf(client).ask.frames(device, frames)
      t.ok((await dropsReach(agent, 'no_flow', before, 3)) >= 3, `IPv${family}`)
      t.equal(await passedOn(scene, 'node1'), passed)
    }
    t.equal(await held.say('still here'), 'still here')
    await held.close()
  })
}

await sceneTest('mesh-icmp', async (scene) => {
  await far(scene)
  scene.service('web', { tasks: ['b1', 'b2'] })
  scene.service('udp', { tasks: ['b2'] })
  scene.plan.publish({ protocol: 'tcp', port: TCP_PORT, service: 'web', targetPort: SERVICE_PORT })
  scene.plan.publish({ protocol: 'udp', port: UDP_PORT, service: 'udp' })
  await scene.startAgents()
  pathTests(scene)
  forgeryTests(scene)
  t.test('the sockets are there while ports are published', async (t) => {
    const host = scene.host('node1')
    t.equal(await rawSockets(host), 2)
    scene.plan.version++
    await scene.reload((tables) => ({ ...tables, publishedPorts: [] }))
    t.equal(await rawSockets(host), 0)
    scene.plan.version++
    await scene.reload()
    t.equal(await rawSockets(host), 2)
    await scene.agent('node1').stop()
    t.equal(await rawSockets(host), 0)
  })
})
