// A kernel's own vxlan interface as a member of a plain network: RFC 7348 on the wire, or they
// would not understand each other.
//
//     p ── h1 ═══╦═══ h2 ── q
//                k          vx0: kernel vxlan, stock settings; floods to h1 and h2, learns from
//                   answers
//
// The kernel has no tables: its ARP requests and neighbour solicitations reach h1 and h2, and the
// one that has the container must answer.

import './enter.ts'
import { startAgents } from '../../cli/lab/agent.ts'
import type { Host } from '../../cli/lab/host.ts'
import { addressAt, Topology } from '../../cli/lab/topology.ts'
import { type Box, boxOf } from './box.ts'
import { labTest } from './lab-test.ts'
import { balance, dropsOf, dropsReach } from './overlay-scene.ts'

const PORT = 7000
const VNI = 300
const SUBNETS = ['10.9.0.0/24', 'fd00:9::/64']
/** Below the default of plain networks: both ends of a connection then clamp to the same. */
const MTU = 1450

/** MAC of an address as the tables derive it: 02:42 and the IPv4 address. */
function macOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))
  return ['02', '42', ...bytes].join(':')
}

labTest('a kernel vxlan interface on a plain network', async (t, lab) => {
  const [h1, h2, k] = (await lab.hostsNamed('h1', 'h2', 'k', 'p', 'q')) as [Host, Host, Host]
  await lab.bridge([h1, h2, k])
  const tunnel = `type vxlan id ${VNI} dstport 4789 remote ${h1.address}`
  const link = `link add vx0 mtu ${MTU} ${tunnel} dev eth0`
  const made = await k.exec(['ip', ...link.split(' ')])
  if (made.status !== 0) {
    t.pass('kernel vxlan', { skip: `this kernel has no vxlan: ${made.stderr.trim()}` })
    return
  }
  const plan = new Topology()
  plan.node({ name: 'h1', address: h1.address })
  plan.node({ name: 'h2', address: h2.address })
  plan.node({ name: 'k', address: k.address, plain: true })
  plan.network({ name: 'clear', vni: VNI, subnets: SUBNETS, encrypted: false })
  plan.task({ name: 'p', node: 'h1', networks: ['clear'] })
  plan.task({ name: 'q', node: 'h2', networks: ['clear'] })
  plan.task({ name: 'vx0', node: 'k', networks: ['clear'] })
  const at = (task: string, family: 4 | 6): string =>
    plan.addressOf(task, 'clear', family === 4 ? 0 : 1)
  await k.ip([
    `link set vx0 address ${macOf(at('vx0', 4))}`,
    `addr add ${at('vx0', 4)}/24 dev vx0`,
    `addr add ${at('vx0', 6)}/64 dev vx0 nodad`,
    'link set vx0 up',
  ])
  await k.must(['bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', h2.address])
  const agents = await startAgents(lab, (node) => plan.tables(node), ['h1', 'h2'])
  const boxes = { k: boxOf(k), p: boxOf(lab.hosts.get('p')!), q: boxOf(lab.hosts.get('q')!) }
  await Promise.all(Object.values(boxes).map((box: Box) => box.ask.listen(PORT)))

  await boxes.k.ask.checksumEarly('eth0')

  const talk = async (
    from: keyof typeof boxes,
    to: keyof typeof boxes,
    family: 4 | 6,
    bytes: number,
  ): Promise<void> => {
    const name = (box: string): string => (box === 'k' ? 'vx0' : box)
    const target = at(name(to), family)
    const what = `${from} to ${to}, IPv${family}`
    const ask = boxes[from].ask
    t.match(await ask.ping(target, { size: 1000 }), { answer: /^1000/ }, `ping ${what}`)
    const udp = await ask.ask(target, PORT, { size: 1200 })
    t.same(udp, { answer: `1200 from ${at(name(from), family)}` }, `UDP ${what}`)
    const order = { up: bytes, down: bytes, seed: family }
    const result = await ask.bulk(target, PORT, order, 15_000).catch((error: Error) => {
      return { whole: error.message, seconds: 0 }
    })
    t.equal(result.whole, true, `TCP of ${bytes} bytes each way, ${what}`)
  }
  for (const family of [4, 6] as const) {
    await talk('k', 'p', family, 100_000)
    await talk('k', 'q', family, 100_000)
    await talk('p', 'k', family, 4 << 20)
    await talk('k', 'q', family, 4 << 20)
    await talk('p', 'q', family, 1 << 20)
  }
  const fdb = await k.must(['bridge', 'fdb', 'show', 'dev', 'vx0'])
  t.match(
    fdb,
    new RegExp(`${macOf(at('p', 4))} dst ${h1.address} `),
    'k learnt that p is behind h1',
  )
  t.match(fdb, new RegExp(`${macOf(at('q', 4))} dst ${h2.address} `), 'and q behind h2')
  const before = await dropsOf(agents.get('h1')!, 'unknown_neighbour')
  t.same(await boxes.k.ask.ping(addressAt(SUBNETS[0]!, 99), { size: 1, timeoutMs: 50 }), {
    error: 'silence',
  })
  await dropsReach(agents.get('h1')!, 'unknown_neighbour', before, 1)
  for (const agent of agents.values()) t.equal(await balance(agent), 0, `books of ${agent.node}`)
})
