// How large a packet may be: what just fits, what is one byte too large, what is in pieces, and
// what happens where the underlay carries less than the networks were made for.

import './enter.ts'
import { type Agent, startAgents } from '../../cli/lab/agent.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { Topology } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { Network } from '../../dataplane/tables.ts'
import { type Box, boxOf } from './box.ts'
import { labTest, type Test } from './lab-test.ts'
import { balance, dropsOf } from './overlay-scene.ts'
import { PORT, relayedPair } from './relayed-pair.ts'

/** Outer IPv4 20 or IPv6 40, UDP 8, envelope 16, VXLAN 8, Ethernet 14, tag 16. */
const AROUND = { 4: 82, 6: 102 }
/** Sealed bytes of a UDP payload on the underlay that are not the inner packet. */
const AROUND_PACKET = 54
/** Inner IP and UDP (or ICMP) headers. */
const HEADERS = { 4: 28, 6: 48 }
const FAMILIES = [4, 6] as const
const MEGABYTE = 1 << 20

interface Pair {
  readonly plan: Topology
  readonly agents: Map<string, Agent>
  readonly a: Box
  readonly b: Box
}

async function pairOver(
  lab: Lab,
  mtu: number,
  networks: readonly Network[],
  underlay: 4 | 6 = 4,
): Promise<Pair> {
  const hosts = (await lab.hostsNamed('h1', 'h2')) as [Host, Host]
  await lab.bridge(hosts, { mtu })
  const plan = new Topology()
  for (const host of hosts) {
    plan.node({ name: host.name, address: underlay === 4 ? host.address : host.address6 })
  }
  for (const network of networks) plan.network(network)
  await lab.hostsNamed('a', 'b')
  const names = networks.map(({ name }) => name)
  plan.task({ name: 'a', node: 'h1', networks: names })
  plan.task({ name: 'b', node: 'h2', networks: names })
  const agents = await startAgents(lab, (node) => plan.tables(node), ['h1', 'h2'])
  const [a, b] = [boxOf(lab.hosts.get('a')!), boxOf(lab.hosts.get('b')!)]
  await Promise.all([a.ask.listen(PORT), b.ask.listen(PORT)])
  return { plan, agents, a, b }
}

const RED: Network = { name: 'red', vni: 256, subnets: ['10.7.0.0/24', 'fd00:7::/64'] }
const JUMBO: Network = {
  name: 'jumbo',
  vni: 257,
  subnets: ['10.8.0.0/24', 'fd00:8::/64'],
  mtu: 8918,
}

/** The edges of an MTU, from a to b and back. */
async function edges(t: Test, pair: Pair, network: string, mtu: number): Promise<void> {
  for (const family of FAMILIES) {
    const which = family === 4 ? 0 : 1
    const fits = mtu - HEADERS[family]
    for (const [box, to, from] of [
      [pair.a, 'b', 'a'],
      [pair.b, 'a', 'b'],
    ] as const) {
      const target = pair.plan.addressOf(to, network, which)
      const source = pair.plan.addressOf(from, network, which)
      const what = `${network}, IPv${family}, ${from} to ${to}`
      const exact = await box.ask.ask(target, PORT, { size: fits, df: true })
      t.same(exact, { answer: `${fits} from ${source}` }, `UDP that just fits: ${what}`)
      const over = await box.ask.ask(target, PORT, { size: fits + 1, df: true })
      t.same(over, { error: 'EMSGSIZE' }, `one byte more, not to be fragmented: ${what}`)
      for (const size of [fits + 1, 2 * fits, 20_000, 65_000]) {
        const pieces = await box.ask.ask(target, PORT, { size })
        t.same(pieces, { answer: `${size} from ${source}` }, `${size} bytes in pieces: ${what}`)
      }
      t.match(await box.ask.ping(target, { size: fits, df: true }), { answer: RegExp(`^${fits}`) })
      t.match(await box.ask.ping(target, { size: 30_000 }), { answer: /^30000/ })
    }
  }
}

/** ICMP "too big" answers among frames: their MTUs. */
function toldMtus(frames: readonly string[], family: 4 | 6): number[] {
  const mtus: number[] = []
  for (const frame of frames) {
    const bytes = Buffer.from(frame, 'hex')
    if (family === 4 && bytes.readUInt16BE(12) === 0x0800 && bytes[23] === 1) {
      if (bytes[34] === 3 && bytes[35] === 4) mtus.push(bytes.readUInt16BE(40))
    } else if (family === 6 && bytes.readUInt16BE(12) === 0x86dd && bytes[20] === 58) {
      if (bytes[54] === 2) mtus.push(bytes.readUInt32BE(58))
    }
  }
  return mtus
}

/** Sends with DF what fits the network but not the path until the sender's kernel has been told;
 * returns the MTUs that the ICMP answers named. */
async function learn(box: Box, target: string, family: 4 | 6, size: number): Promise<number[]> {
  await box.ask.record('eth0')
  const look = async (): Promise<boolean> => {
    const out = await box.ask.ask(target, PORT, { size, df: true, timeoutMs: 300 })
    return out.error === 'EMSGSIZE'
  }
  await waitFor(look, { what: `EMSGSIZE for ${size} bytes to ${target}`, timeoutMs: 20_000 })
  return toldMtus(await box.ask.recorded('eth0'), family)
}

labTest('the edges of an MTU, of 1418 and of a jumbo network', async (t, lab) => {
  const pair = await pairOver(lab, 9000, [RED, JUMBO])
  await edges(t, pair, 'red', 1418)
  await edges(t, pair, 'jumbo', 9000 - AROUND[4])
  for (const [which, family] of FAMILIES.entries()) {
    const target = pair.plan.addressOf('b', 'jumbo', which)
    const order = { up: 8 * MEGABYTE, down: 8 * MEGABYTE, seed: family }
    const result = await pair.a.ask.bulk(target, PORT, order, 20_000)
    t.equal(result.whole, true, `bulk TCP in jumbo frames, IPv${family}`)
  }
  for (const agent of pair.agents.values()) {
    t.equal(await dropsOf(agent, 'too_big'), 0, `${agent.node} refused nothing`)
    t.equal(await balance(agent), 0, `books of ${agent.node}`)
  }
})

for (const { name, mtu, underlay } of [
  { name: 'a link of 1400 bytes', mtu: 1400, underlay: 4 },
  { name: 'an underlay of IPv6', mtu: 1500, underlay: 6 },
] as const) {
  labTest(`the networks assume more than ${name} carries`, async (t, lab) => {
    const pair = await pairOver(lab, mtu, [RED], underlay)
    const path = mtu - AROUND[underlay]
    for (const [which, family] of FAMILIES.entries()) {
      const [to, from] = ['b', 'a'].map((task) => pair.plan.addressOf(task, 'red', which)) as [
        string,
        string,
      ]
      const order = { up: 2 * MEGABYTE, down: 2 * MEGABYTE, seed: family }
      const result = await pair.a.ask.bulk(to, PORT, order, 20_000)
      t.equal(result.whole, true, `TCP goes on in segments that fit, IPv${family}`)
      const told = await learn(pair.a, to, family, 1418 - HEADERS[family])
      t.ok(told.length > 0, 'ICMP told the sender')
      t.ok(
        told.every((each) => each > path - 8 && each <= path),
        `${told} is ${path} or a little less, IPv${family}`,
      )
      const fits = told[0]! - HEADERS[family]
      const exact = await pair.a.ask.ask(to, PORT, { size: fits, df: true })
      t.same(exact, { answer: `${fits} from ${from}` }, 'what it was told passes')
    }
    for (const agent of pair.agents.values()) t.equal(await balance(agent), 0, agent.node)
  })
}

labTest('large datagrams vanish on the way without a word', async (t, lab) => {
  const sizeMax = 1300
  const pair = await relayedPair(lab)
  await pair.relay.ask.faults({ sizeMax })
  const order = { up: MEGABYTE, down: MEGABYTE, seed: 1 }
  const started = performance.now()
  const result = await pair.a.ask.bulk(pair.addressB[4], PORT, order, 40_000)
  t.equal(result.whole, true, 'TCP goes on once the path has been searched')
  t.comment(`bulk took ${Math.round(performance.now() - started)} ms`)
  for (const family of FAMILIES) {
    const told = await learn(pair.a, pair.addressB[family], family, 1418 - HEADERS[family])
    const most = sizeMax - AROUND_PACKET
    t.ok(
      told.every((mtu) => mtu <= most),
      `told ${told}, at most ${most}`,
    )
    const after = await pair.a.ask.bulk(pair.addressB[family], PORT, order, 20_000)
    t.equal(after.whole, true, `a new connection, IPv${family}`)
    t.ok(after.seconds < 5, `is not held up: ${after.seconds.toFixed(2)} s`)
  }
  t.ok((await pair.relay.ask.counts()).tooLong > 0, 'the relay did swallow some')
})
