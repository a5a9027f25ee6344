// Two hosts whose agents meet only through a relay, with one container each on the encrypted
// network "red" and the plain network "clear".
//
//     a ── h1 ════ relay ════ h2 ── b
//              stranger
//
// The hosts, the relay and a stranger are on one link; what keeps the agents apart is that each is
// told the relay's door as the place of its peer.

import { Agent } from '../../cli/lab/agent.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { Topology } from '../../cli/lab/topology.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { type Box, boxOf } from './box.ts'
import { placed } from './overlay-scene.ts'
import { type Relay, relayOn } from './relay.ts'

export const PORT = 7000
export const UNDERLAY_PORT = 4789
/** Doors of the relay: h1 finds h2 at the first, h2 finds h1 at the second. */
export const DOOR_A = 5001
export const DOOR_B = 5002

export interface RelayedPair {
  readonly plan: Topology
  readonly relay: Relay
  readonly h1: Agent
  readonly h2: Agent
  readonly a: Box
  readonly b: Box
  /** A host of the underlay that is no peer of anybody. */
  readonly stranger: Box
  /** Addresses of a and b on "red", by family. */
  readonly addressA: Readonly<Record<4 | 6, string>>
  readonly addressB: Readonly<Record<4 | 6, string>>
  /** The node's tables, its peer behind the relay. */
  tables(node: string): ForwardingTables
}

export interface PairOptions {
  readonly env?: Readonly<Record<string, string>>
  /** False = there is no network "clear"; default true. */
  readonly clear?: boolean
  /** Changes the tables of a node before its agent starts. */
  readonly change?: (tables: ForwardingTables, node: string) => ForwardingTables
}

export async function relayedPair(lab: Lab, options: PairOptions = {}): Promise<RelayedPair> {
  const names = ['h1', 'h2', 'relay', 'stranger', 'a', 'b']
  const [h1, h2, middle, outsider] = (await lab.hostsNamed(...names)) as [Host, Host, Host, Host]
  await lab.bridge([h1, h2, middle, outsider])
  const plan = new Topology()
  plan.node({ name: 'h1', address: h1.address })
  plan.node({ name: 'h2', address: h2.address })
  plan.network({ name: 'red', vni: 256, subnets: ['10.7.0.0/24', 'fd00:7::/64'] })
  const networks = (options.clear ?? true) ? ['red', 'clear'] : ['red']
  const clear = { name: 'clear', vni: 258, subnets: ['10.9.0.0/24'], encrypted: false }
  if (networks.includes('clear')) plan.network(clear)
  plan.task({ name: 'a', node: 'h1', networks })
  plan.task({ name: 'b', node: 'h2', networks })
  const relay = relayOn(middle)
  await relay.ask.start({
    a: { port: DOOR_A, address: h1.address, agentPort: UNDERLAY_PORT },
    b: { port: DOOR_B, address: h2.address, agentPort: UNDERLAY_PORT },
  })
  const change = options.change ?? ((tables: ForwardingTables) => tables)
  const tables = (node: string): ForwardingTables => {
    const [peer, door] = node === 'h1' ? ['h2', DOOR_A] : ['h1', DOOR_B]
    return change(placed(plan.tables(node), peer, `${middle.address}:${door}`), node)
  }
  const agentOptions = options.env === undefined ? {} : { env: options.env }
  const agents = [h1, h2].map((host) => new Agent(lab, host, host.name, agentOptions))
  await Promise.all(agents.map((agent) => agent.start(tables(agent.node))))
  const [a, b] = ['a', 'b'].map((name) => boxOf(lab.hosts.get(name)!)) as [Box, Box]
  await Promise.all([a.ask.listen(PORT), b.ask.listen(PORT)])
  const addresses = (task: string): Record<4 | 6, string> => ({
    4: plan.addressOf(task, 'red', 0),
    6: plan.addressOf(task, 'red', 1),
  })
  const [first, second] = agents as [Agent, Agent]
  return {
    ...{ plan, relay, h1: first, h2: second, a, b, tables, stranger: boxOf(outsider) },
    ...{ addressA: addresses('a'), addressB: addresses('b') },
  }
}
