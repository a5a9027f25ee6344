// weft itself: two hosts with an agent each, and a task on either, joined by an encrypted network.

import { type Agent, startAgents } from '../../cli/lab/agent.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { Topology } from '../../cli/lab/topology.ts'
import type { Peer } from './pair.ts'
import { manyPorts, twoHosts, untilReachable } from './pair.ts'

export interface WeftPair {
  readonly plan: Topology
  readonly hosts: readonly [Host, Host]
  /** One task on either host. */
  readonly tasks: readonly [Host, Host]
}

/** Hosts wfa and wfb, tasks t1 on the first and t2 on the second, network "bench"; no agent runs
 * yet. */
export async function weftPair(lab: Lab): Promise<WeftPair> {
  const hosts = await twoHosts(lab, 'wf')
  const tasks = (await lab.hostsNamed('t1', 't2')) as [Host, Host]
  await Promise.all(tasks.map(manyPorts))
  const plan = new Topology()
  for (const host of hosts) plan.node({ name: host.name, address: host.address })
  plan.network({ name: 'bench', vni: 4242, subnets: ['10.94.0.0/24'] })
  for (const [i, task] of tasks.entries()) {
    plan.task({ name: task.name, node: hosts[i]!.name, networks: ['bench'] })
  }
  return { plan, hosts, tasks }
}

/** Starts the agents of the plan's nodes. */
export function weftAgents(lab: Lab, plan: Topology): Promise<Map<string, Agent>> {
  return startAgents(lab, (node) => plan.tables(node), [...plan.nodes.keys()])
}

export const weft: Peer = {
  name: 'weft',
  async setup(lab) {
    const { plan, tasks } = await weftPair(lab)
    await weftAgents(lab, plan)
    const [client, server] = tasks
    return untilReachable({ client, server, address: plan.addressOf('t2', 'bench') })
  },
}
