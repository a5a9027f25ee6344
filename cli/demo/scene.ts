// The demo's scene: three hosts on an underlay, a client outside, a service of three replicas.
//
//                 client .4
//                    |
//     ---------------+---------------  outside  192.168.11.0/24  fd00:11::/64
//         |          |          |
//       node1      node2      node3    each runs weft; tcp 8080 is published on all
//         |          |          |
//     --------------------------------  underlay 192.168.10.0/24  fd00:10::/64
//
// Inside, on the encrypted network "front": web1, web2, web3 (one per host), shop (on node1), and
// the VIP of the service "web". The demo stands in for the control plane: it writes the tables.

import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { type Agent, startAgents } from '../lab/agent.ts'
import type { Host } from '../lab/host.ts'
import { Lab } from '../lab/lab.ts'
import type { LabProcess } from '../lab/process.ts'
import { Topology } from '../lab/topology.ts'
import { waitFor } from '../lab/wait.ts'
import { PUBLISHED_PORT, REPLICAS } from './limits.ts'

const WEB = fileURLToPath(new URL('../demo-web.ts', import.meta.url))

export class Scene {
  readonly lab: Lab = new Lab()
  readonly plan: Topology = new Topology()
  readonly nodes: Host[] = []
  readonly replicas: string[] = []
  client!: Host
  shop!: Host
  agents: Map<string, Agent> = new Map()
  vip = ''
  vip6 = ''
  readonly #servers = new Map<string, LabProcess>()
  #changes: Promise<void> = Promise.resolve()

  /** Interfaces of the lab's namespace that carry node `i` on the underlay and outside. */
  underlayDevice(i: number): string {
    return `br0p${i + 1}`
  }

  outsideDevice(i: number): string {
    return `br1p${i + 1}`
  }

  /** Address of node `i` that the client uses. */
  outsideAddress(i: number): string {
    return this.nodes[i]!.addresses[1]!
  }

  outsideAddress6(i: number): string {
    return this.nodes[i]!.addresses6[1]!
  }

  /** Builds everything and returns when every agent runs. `say` is told of each step;
   * `beforeAgents` is called when all but the agents is there. */
  async build(say: (line: string) => void, beforeAgents: () => Promise<void>): Promise<void> {
    const numbers = Array.from({ length: REPLICAS }, (_, i) => i + 1)
    this.nodes.push(...(await this.lab.hostsNamed(...numbers.map((n) => `node${n}`))))
    this.client = await this.lab.host('client')
    await this.lab.bridge(this.nodes)
    await this.lab.bridge([...this.nodes, this.client])
    say(`made ${REPLICAS} hosts, a client and two networks between them`)
    await this.#describe()
    for (const replica of this.replicas) await this.#startReplica(replica)
    say(`started ${REPLICAS} replicas of "web", each in a namespace with nothing but lo`)
    await beforeAgents()
    const names = this.nodes.map((node) => node.name)
    this.agents = await startAgents(this.lab, (node) => this.plan.tables(node), names)
    say(`started ${names.length} agents of weft; interfaces, keys and tables are in place`)
  }

  async #describe(): Promise<void> {
    const { plan } = this
    for (const node of this.nodes) {
      const addresses = [...node.addresses, ...node.addresses6]
      plan.node({ name: node.name, address: node.address, addresses })
    }
    plan.network({ name: 'front', vni: 256, subnets: ['10.7.0.0/24', 'fd00:7::/64'] })
    for (const [i, node] of this.nodes.entries()) {
      const name = `web${i + 1}`
      await this.lab.host(name)
      plan.task({ name, node: node.name, networks: ['front'] })
      this.replicas.push(name)
    }
    this.shop = await this.lab.host('shop')
    plan.task({ name: 'shop', node: this.nodes[0]!.name, networks: ['front'] })
    const vips = plan.service({ name: 'web', network: 'front', tasks: this.replicas })
    ;[this.vip, this.vip6] = vips as [string, string]
    plan.publish({ protocol: 'tcp', port: PUBLISHED_PORT, service: 'web', targetPort: 80 })
  }

  async #startReplica(name: string): Promise<void> {
    const server = this.lab.hosts.get(name)!.spawn([process.execPath, WEB, name, '80'])
    this.#servers.set(name, server)
    await server.output(/listening/)
  }

  async #reload(): Promise<void> {
    await Promise.all([...this.agents].map(([node, agent]) => agent.reload(this.plan.tables(node))))
  }

  /** Changes follow one another: a key pressed twice is two changes, never one within another. */
  #change(change: () => Promise<void>): Promise<void> {
    const next = this.#changes.then(change)
    this.#changes = next.catch(() => {})
    return next
  }

  isUp(replica: string): boolean {
    return this.#servers.get(replica)?.running ?? false
  }

  /** Kills a replica without warning, then takes it out of the tables, as an orchestrator would. */
  kill(replica: string): Promise<void> {
    return this.#change(async () => {
      const server = this.#servers.get(replica)
      server?.kill('SIGKILL')
      await server?.ended
      this.plan.backend('web', replica, false)
      await this.#reload()
    })
  }

  /** Starts a replica again and puts it back into the tables. */
  revive(replica: string): Promise<void> {
    return this.#change(async () => {
      if (!this.isUp(replica)) await this.#startReplica(replica)
      this.plan.backend('web', replica, true)
      await this.#reload()
    })
  }

  /** Ends the agents in order and returns their exit statuses by node. */
  async stopAgents(): Promise<Map<string, number>> {
    const statuses = new Map<string, number>()
    for (const [node, agent] of this.agents) statuses.set(node, await agent.stop())
    return statuses
  }

  /** What an agent adds to its host: rules, routes and links, one per line. */
  async hostState(i: number): Promise<string[]> {
    const node = this.nodes[i]!
    const parts: string[] = []
    for (const family of ['-4', '-6']) {
      parts.push(await node.must(['ip', family, 'rule']))
      parts.push(await node.must(['ip', family, 'route', 'show', 'table', 'all']))
    }
    const links = await node.must(['ip', '-o', 'link'])
    parts.push(links.replace(/^\d+: ([^:@]+).*$/gm, '$1'))
    // A carrier that comes or goes is the kernel's doing, and so are link-local addresses.
    const lines = parts.join('').replaceAll(' linkdown', '').split('\n')
    return lines.filter((line) => line !== '' && !line.includes('fe80:')).sort()
  }

  /** Waits until a request to the VIP is answered: the overlay is up. */
  async ready(): Promise<void> {
    const look = (): Promise<string> => this.shop.probe.get(`http://${this.vip}/`, 1000)
    await waitFor(look, { what: 'an answer from the VIP' })
  }

  close(): Promise<void> {
    return this.lab.close()
  }
}
