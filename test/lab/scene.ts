// What the lab tests of load balancing and of the routing mesh stand on: two nodes and a client
// outside on one underlay, containers on both nodes, a station (station.ts) in each place.
//
//     out .3 ──── node1 .1 ──── node2 .2      192.168.10.0/24   fd00:10::/64
//                   │             │
//              c1 b1          c2 b2 b3        on the network "front", encrypted
//
// b1, b2 and b3 serve TCP and UDP on SERVICE_PORT and OTHER_PORT; c1 and c2 are clients.

import t from 'tap'
import { type Agent, type AgentOptions, startAgents } from '../../cli/lab/agent.ts'
import { labObstacle } from '../../cli/lab/enter.ts'
import type { Host } from '../../cli/lab/host.ts'
import { Lab } from '../../cli/lab/lab.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import { type ServicePlan, Topology } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { Station } from './station.ts'

export const SERVICE_PORT = 8080
export const OTHER_PORT = 9090
/** A port on which nobody listens. */
export const CLOSED_PORT = 7

const NODES = ['node1', 'node2'] as const
const TASKS: Readonly<Record<string, (typeof NODES)[number]>> = {
  c1: 'node1',
  b1: 'node1',
  c2: 'node2',
  b2: 'node2',
  b3: 'node2',
}
export const BACKENDS: readonly string[] = ['b1', 'b2', 'b3']

export class Scene {
  readonly lab: Lab
  readonly plan: Topology = new Topology()
  agents: Map<string, Agent> = new Map()
  readonly #stations = new Map<string, Station>()

  constructor(lab: Lab) {
    this.lab = lab
  }

  /** Makes everything but the agents. */
  async build(): Promise<void> {
    const { lab, plan } = this
    const nodes = await lab.hostsNamed(...NODES)
    const out = await lab.host('out')
    await lab.bridge([...nodes, out])
    for (const { name, address, addresses, addresses6 } of nodes) {
      plan.node({ name, address, addresses: [...addresses, ...addresses6] })
    }
    plan.network({ name: 'front', vni: 100, subnets: ['10.7.0.0/24', 'fd00:7::/64'] })
    await lab.hostsNamed(...Object.keys(TASKS))
    for (const [name, node] of Object.entries(TASKS)) {
      plan.task({ name, node, networks: ['front'] })
    }
    await Promise.all(
      BACKENDS.flatMap((name) => [SERVICE_PORT, OTHER_PORT].map((p) => this.at(name).serve(p))),
    )
  }

  async startAgents(options: AgentOptions = {}): Promise<void> {
    this.agents = await startAgents(this.lab, (node) => this.plan.tables(node), NODES, options)
  }

  host(name: string): Host {
    const host = this.lab.hosts.get(name)
    if (host === undefined) throw new Error(`there is no host ${name}`)
    return host
  }

  /** The station in a host or container, made at the first call. */
  at(name: string): Station {
    const station = this.#stations.get(name) ?? new Station(this.host(name))
    this.#stations.set(name, station)
    return station
  }

  agent(node: string): Agent {
    const agent = this.agents.get(node)
    if (agent === undefined) throw new Error(`there is no agent on ${node}`)
    return agent
  }

  /** Adds a service over backends; returns its VIPs, IPv4 first. */
  service(name: string, plan: Partial<ServicePlan> = {}): [string, string] {
    const vips = this.plan.service({ name, network: 'front', tasks: BACKENDS, ...plan })
    return vips as unknown as [string, string]
  }

  /** Gives a service's backends weights, by task; a task that is not named keeps its own. */
  weights(service: string, weights: Readonly<Record<string, number>>): void {
    const entry = this.plan.services.get(service)
    if (entry === undefined) throw new Error(`there is no service ${service}`)
    const backends = entry.backends.map((backend) => {
      const weight = weights[backend.endpoint.replace(/\..*$/, '')]
      return weight === undefined ? backend : { ...backend, weight }
    })
    this.plan.services.set(service, { ...entry, backends })
    this.plan.version++
  }

  /** Puts the plan as it is now into force on every node, changed by `change` if need be. */
  async reload(
    change: (tables: ForwardingTables) => ForwardingTables = (same) => same,
  ): Promise<void> {
    await Promise.all(
      [...this.agents].map(([node, agent]) => agent.reload(change(this.plan.tables(node)))),
    )
  }

  async close(): Promise<void> {
    await Promise.all([...this.#stations.values()].map((station) => station.stop()))
  }
}

/** Longer than TCP delays an acknowledgement (TCP_DELACK_MAX, 200 ms). */
const SILENCE_MS = 500

/** Waits until node1's published ports have been silent for longer than an acknowledgement is
 * delayed: while no agent is there, the host itself refuses what comes to them. */
export async function quiet(scene: Scene): Promise<void> {
  let before = -1
  await waitFor(
    async () => {
      const samples = await scene.agent('node1').metrics()
      const packets = sumOf(samples, 'weft_published_port_receive_packets_total')
      const isSame = packets === before
      before = packets
      return isSame
    },
    { what: 'silence on the published port', stepMs: SILENCE_MS },
  )
}

/** Builds a scene for all tests of a file and declares them, or skips with the reason why there is
 * no lab. */
export async function sceneTest(
  name: string,
  declare: (scene: Scene) => void | Promise<void>,
): Promise<void> {
  const obstacle = labObstacle()
  if (obstacle !== undefined) {
    t.test(name, { skip: obstacle }, async () => {})
    return
  }
  const lab = new Lab()
  const scene = new Scene(lab)
  t.teardown(async () => {
    await scene.close()
    await lab.close()
  })
  await scene.build()
  await declare(scene)
}
