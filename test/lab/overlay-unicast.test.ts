// What containers may expect of an overlay whose underlay is sound.
//
//     a  c  e  p            b  d  e2 q
//     └──┴──┴──┴─ h1 ══ h2 ─┴──┴──┴──┘
//
// red    a c e on h1, b e2 on h2      encrypted, both families
// blue   e on h1, d e2 on h2          encrypted; e and e2 are on both
// clear  p on h1, q on h2             RFC 7348 in the clear
//
// Beyond reachability: frames are looked at as they arrive, the underlay is searched for what must not be
// there, and at the end every packet that came in has been accounted for.

import './enter.ts'
import { type Agent, startAgents } from '../../cli/lab/agent.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import { Topology } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { type Box, boxOf } from './box.ts'
import { labTest } from './lab-test.ts'
import { dropsOf, dropsReach, unaccounted } from './overlay-scene.ts'

const PORT = 7000
const NETWORKS = [
  { name: 'red', vni: 256, subnets: ['10.7.0.0/24', 'fd00:7::/64'] },
  { name: 'blue', vni: 257, subnets: ['10.8.0.0/24', 'fd00:8::/64'] },
  { name: 'clear', vni: 258, subnets: ['10.9.0.0/24', 'fd00:9::/64'], encrypted: false },
]
const TASKS: readonly [string, string, readonly string[]][] = [
  ['a', 'h1', ['red']],
  ['b', 'h2', ['red']],
  ['c', 'h1', ['red']],
  ['d', 'h2', ['blue']],
  ['e', 'h1', ['red', 'blue']],
  ['e2', 'h2', ['red', 'blue']],
  ['p', 'h1', ['clear']],
  ['q', 'h2', ['clear']],
]

interface Scene {
  readonly plan: Topology
  readonly agents: Map<string, Agent>
  readonly boxes: Map<string, Box>
  readonly underlay: Box
}

async function build(lab: Lab): Promise<Scene> {
  const hosts = (await lab.hostsNamed('h1', 'h2')) as [Host, Host]
  const link = await lab.bridge(hosts)
  const plan = new Topology()
  for (const host of hosts) plan.node({ name: host.name, address: host.address })
  for (const network of NETWORKS) plan.network(network)
  const boxes = new Map<string, Box>()
  await lab.hostsNamed(...TASKS.map(([name]) => name))
  for (const [name, node, networks] of TASKS) plan.task({ name, node, networks })
  const agents = await startAgents(lab, (node) => plan.tables(node), ['h1', 'h2'])
  await Promise.all(
    TASKS.map(async ([name]) => {
      const box = boxOf(lab.hosts.get(name)!)
      await box.ask.listen(PORT)
      boxes.set(name, box)
    }),
  )
  if (link.bridge === undefined) throw new Error('a bridge has a name')
  const underlay = boxOf(hosts[0])
  return { plan, agents, boxes, underlay }
}

labTest('an overlay over a sound underlay', async (t, lab) => {
  const { plan, agents, boxes, underlay } = await build(lab)
  const box = (name: string): Box['ask'] => boxes.get(name)!.ask
  const at = (task: string, network: string, family: 4 | 6): string =>
    plan.addressOf(task, network, family === 4 ? 0 : 1)
  const h1 = agents.get('h1')!

  const talk = async (from: string, to: string, network: string, family: 4 | 6): Promise<void> => {
    const [source, target] = [at(from, network, family), at(to, network, family)]
    const what = `${from} to ${to} on ${network}, IPv${family}`
    t.match(await box(from).ping(target, { size: 56 }), { answer: /^56/ }, `ping ${what}`)
    const udp = await box(from).ask(target, PORT, { size: 500 })
    t.same(udp, { answer: `500 from ${source}` }, `UDP ${what}`)
    const tcp = await box(from).bulk(target, PORT, { up: 200_000, down: 300_000, seed: 1 }, 10_000)
    t.equal(tcp.whole, true, `TCP ${what}`)
  }

  await t.test('another host, the same host, two networks, in the clear', async () => {
    for (const family of [4, 6] as const) {
      await talk('a', 'b', 'red', family)
      await talk('b', 'a', 'red', family)
      await talk('a', 'c', 'red', family)
      await talk('e', 'd', 'blue', family)
      await talk('e', 'b', 'red', family)
      await talk('e2', 'e', 'blue', family)
      await talk('p', 'q', 'clear', family)
      await talk('q', 'p', 'clear', family)
    }
  })
  await t.test('accounting', async (t) => {
    for (const agent of agents.values()) {
      await waitFor(async () => unaccounted(await agent.metrics()) === 0, {
        what: `${agent.node} to account for every packet`,
      }).catch(async (error) => t.fail(`${error.message}: ${unaccounted(await agent.metrics())}`))
    }
  })
  void dropsOf
  void dropsReach
  void h1
  void underlay
  void sumOf
})
