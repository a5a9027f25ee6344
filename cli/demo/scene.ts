// The demo's scene: a cluster of three nodes on an underlay, a client outside, a stack of three
// services on two networks.
//
//                 client .4
//                    |
//     ---------------+---------------  outside  192.168.11.0/24  fd00:11::/64
//         |          |          |
//       node1      node2      node3    each runs "weft up", all are managers;
//         |          |          |      tcp 8080 (web) and 8081 (shop) are published on all
//     --------------------------------  underlay 192.168.10.0/24  fd00:10::/64
//
// Inside: web on the network "front", stock on "back", shop on both; all encrypted. Tasks are
// processes in namespaces of their own. What happens is what the docker CLI would have made
// happen: the demo uses the same API.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { Turns } from '../../base/turns.ts'
import type { Host } from '../lab/host.ts'
import { Lab } from '../lab/lab.ts'
import { SwarmNode } from '../lab/swarm-node.ts'
import { waitFor } from '../lab/wait.ts'
import { convertStack } from '../stack/convert.ts'
import { YamlFile } from '../stack/yaml-reader.ts'
import {
  CONVERGE_TIMEOUT_MS,
  METRICS_PORT,
  NODE_TIMEOUT_MS,
  NODES,
  PUBLISHED_PORT,
  SHOP_PORT,
} from './limits.ts'
import { ask, url } from './requests.ts'

const WEB = fileURLToPath(new URL('../demo-web.ts', import.meta.url))
const COMPOSE = fileURLToPath(new URL('./compose.yaml', import.meta.url))
const STACK = 'demo'

/** A task as the API shows it. */
export interface ShownTask {
  readonly ID: string
  readonly ServiceID: string
  readonly NodeID: string
  readonly Slot: number
  readonly DesiredState: string
  readonly Status: { readonly State: string; readonly Err?: string }
  readonly NetworksAttachments?: readonly {
    readonly Network: { readonly Spec: { readonly Name: string } }
    readonly Addresses: readonly string[]
  }[]
}

export interface ShownService {
  readonly ID: string
  readonly Version: { readonly Index: number }
  readonly Spec: { readonly Name: string; readonly TaskTemplate: { readonly ForceUpdate: number } }
  readonly Endpoint: {
    readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[]
  }
}

export class Scene {
  readonly lab: Lab = new Lab()
  readonly hosts: Host[] = []
  readonly nodes: SwarmNode[] = []
  client!: Host
  readonly #changes = new Turns()

  /** Interfaces of the lab's namespace that carry node `i` on the underlay and outside. */
  underlayDevice(i: number): string {
    return `br0p${i + 1}`
  }

  outsideDevice(i: number): string {
    return `br1p${i + 1}`
  }

  /** Address of node `i` that the client uses. */
  outsideAddress(i: number): string {
    return this.hosts[i]!.addresses[1]!
  }

  outsideAddress6(i: number): string {
    return this.hosts[i]!.addresses6[1]!
  }

  /** Builds everything and returns when the stack runs. `say` is told of each step; `beforeAgents`
   * is called when all but the agents is there. */
  async build(say: (line: string) => void, beforeAgents: () => Promise<void>): Promise<void> {
    const names = Array.from({ length: NODES }, (_, i) => `node${i + 1}`)
    this.hosts.push(...(await this.lab.hostsNamed(...names)))
    this.client = await this.lab.host('client')
    await this.lab.bridge(this.hosts)
    await this.lab.bridge([...this.hosts, this.client])
    say(`made ${NODES} hosts, a client and two networks between them`)
    await beforeAgents()
    for (const host of this.hosts) {
      const metrics = ['--metrics', `127.0.0.1:${METRICS_PORT}`]
      this.nodes.push(new SwarmNode(this.lab, host, { arguments: metrics }))
    }
    await Promise.all(this.nodes.map((node) => node.start()))
    say(`started ${NODES} agents: weft up`)
    const [first, ...others] = this.nodes
    await first!.init()
    for (const node of others) await node.join(first!, 'Manager')
    await this.untilReady(NODES)
    say('made a swarm of them: swarm init, swarm join; all are managers')
    await this.#deploy()
    say('deployed a stack of three services on two networks: stack deploy')
    await this.converged()
    await this.#answering()
    say('every task runs, every port answers')
  }

  /** Waits until every node answers at every published port: a task runs before its program
   * listens, and the nodes learn of it one after another. */
  async #answering(): Promise<void> {
    for (let i = 0; i < NODES; i++) {
      for (const address of [this.outsideAddress(i), this.outsideAddress6(i)]) {
        for (const port of [PUBLISHED_PORT, SHOP_PORT]) {
          const target = url(address, port)
          await waitFor(() => ask(this.client, target), { what: `an answer of ${target}` })
        }
      }
    }
  }

  /** A node that answers; the API of any will do. */
  get node(): SwarmNode {
    return this.nodes.find((node) => node.isRunning) ?? this.nodes[0]!
  }

  async untilReady(count: number): Promise<void> {
    await waitFor(
      async () => {
        const shown = await this.node.nodes()
        return [...shown.values()].filter(({ Status }) => Status.State === 'ready').length === count
      },
      { what: `${count} nodes to be ready`, timeoutMs: NODE_TIMEOUT_MS },
    )
  }

  async #deploy(): Promise<void> {
    const environment = { NODE: process.execPath, WEB }
    const file = new YamlFile(COMPOSE, readFileSync(COMPOSE, 'utf8'), environment)
    const stack = convertStack([file], {
      namespace: STACK,
      directory: '/',
      readFile: (path) => readFileSync(path),
    })
    const { api } = this.node
    for (const { spec } of stack.networks) await api.ask('POST', '/networks/create', spec)
    for (const { spec } of stack.services) await api.ask('POST', '/services/create', spec)
  }

  services(): Promise<ShownService[]> {
    return this.node.api.ask('GET', '/services')
  }

  async service(name: string): Promise<ShownService> {
    const services = await this.services()
    const found = services.find(({ Spec }) => Spec.Name === `${STACK}_${name}`)
    if (found === undefined) throw new Error(`there is no service ${name}`)
    return found
  }

  /** Tasks that are to run, with the names of their services. */
  async tasks(): Promise<(ShownTask & { readonly service: string })[]> {
    const [services, tasks] = await Promise.all([
      this.services(),
      this.node.api.ask<ShownTask[]>('GET', '/tasks'),
    ])
    const names = new Map(services.map(({ ID, Spec }) => [ID, Spec.Name.replace(`${STACK}_`, '')]))
    return tasks
      .filter(({ DesiredState }) => DesiredState === 'running')
      .map((task) => ({ ...task, service: names.get(task.ServiceID) ?? '?' }))
      .sort((a, b) => a.service.localeCompare(b.service) || a.Slot - b.Slot)
  }

  /** Waits until every task that is to run does, on a node that is up. */
  async converged(): Promise<void> {
    let last = ''
    const look = async (): Promise<boolean> => {
      const [tasks, nodes] = await Promise.all([this.tasks(), this.node.nodes()])
      const up = new Set(
        [...nodes.values()].filter(({ Status }) => Status.State === 'ready').map(({ ID }) => ID),
      )
      const waiting = tasks.filter(
        ({ NodeID, Status }) => Status.State !== 'running' || !up.has(NodeID),
      )
      last = waiting
        .map(
          ({ service, Slot, Status }) => `${service}.${Slot} ${Status.State} ${Status.Err ?? ''}`,
        )
        .join(', ')
      return tasks.length === TASKS && waiting.length === 0
    }
    await waitFor(look, { what: 'every task to run', timeoutMs: CONVERGE_TIMEOUT_MS }).catch(
      (error: Error) => {
        throw new Error(`${error.message}: ${last}`)
      },
    )
  }

  /** The VIPs of a service, IPv4 first, without those on the ingress network. */
  async vips(name: string): Promise<string[]> {
    const { Endpoint } = await this.service(name)
    const networks = await this.node.api.ask<{ Id: string; Ingress?: boolean }[]>(
      'GET',
      '/networks',
    )
    const ingress = networks.find(({ Ingress }) => Ingress)?.Id
    return (Endpoint.VirtualIPs ?? [])
      .filter(({ NetworkID }) => NetworkID !== ingress)
      .map(({ Addr }) => Addr.replace(/\/.*$/, ''))
  }

  isUp(i: number): boolean {
    return this.nodes[i]?.isRunning ?? false
  }

  /** Changes follow one another: a key pressed twice is two changes, never one within another. */
  change(change: () => Promise<void>): Promise<void> {
    return this.#changes.take(change)
  }

  /** A power failure: the agent and everything on the node end at once, and its links are dead. */
  powerOff(i: number): Promise<void> {
    return this.change(async () => {
      const node = this.nodes[i]!
      for (const device of node.host.interfaces) await node.host.ip([`link set ${device} down`])
      await node.crash()
      this.#killTasks(node)
    })
  }

  /** The tasks of a node whose agent is gone. They are processes of the lab; each has left its
   * number. */
  #killTasks(node: SwarmNode): void {
    const tasks = join(node.dataDirectory, 'tasks')
    for (const name of namesIn(tasks)) {
      const pid = Number(/^\d+/.exec(textOf(join(tasks, name, 'pid')))?.[0] ?? 0)
      // unshare, its child, ends the task's namespace when it is killed.
      for (const child of childrenOf(pid)) kill(child)
      kill(pid)
    }
  }

  powerOn(i: number): Promise<void> {
    return this.change(async () => {
      const node = this.nodes[i]!
      if (node.isRunning) return
      for (const device of node.host.interfaces) await node.host.ip([`link set ${device} up`])
      await node.start()
    })
  }

  /** A rolling update that changes nothing: every task of the service is replaced. */
  async update(name: string): Promise<void> {
    const { ID, Version, Spec } = await this.service(name)
    const { TaskTemplate } = Spec
    await this.node.api.ask('POST', `/services/${ID}/update?version=${Version.Index}`, {
      ...Spec,
      TaskTemplate: { ...TaskTemplate, ForceUpdate: (TaskTemplate.ForceUpdate ?? 0) + 1 },
    })
  }

  /** Waits until a rolling update is over. */
  async updated(name: string): Promise<void> {
    await waitFor(
      async () => {
        const { UpdateStatus } = (await this.service(name)) as { UpdateStatus?: { State: string } }
        return UpdateStatus?.State === 'completed'
      },
      { what: `the update of ${name}`, timeoutMs: CONVERGE_TIMEOUT_MS },
    )
  }

  /** Ends the agents in order. */
  async stopAgents(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()))
    for (const node of this.nodes) this.#killTasks(node)
  }

  /** What an agent adds to its host: rules, routes and links, one per line. */
  async hostState(i: number): Promise<string[]> {
    const host = this.hosts[i]!
    const parts: string[] = []
    for (const family of ['-4', '-6']) {
      parts.push(await host.must(['ip', family, 'rule']))
      parts.push(await host.must(['ip', family, 'route', 'show', 'table', 'all']))
    }
    const links = await host.must(['ip', '-o', 'link'])
    parts.push(links.replace(/^\d+: ([^:@]+).*$/gm, '$1'))
    // A carrier that comes or goes is the kernel's doing, and so are link-local addresses.
    const lines = parts.join('').replaceAll(' linkdown', '').split('\n')
    return lines.filter((line) => line !== '' && !line.includes('fe80:')).sort()
  }

  close(): Promise<void> {
    return this.lab.close()
  }
}

/** Tasks of the stack: 3 of web, 2 of shop, 2 of stock. */
const TASKS = 7

function namesIn(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function childrenOf(pid: number): number[] {
  return textOf(`/proc/${pid}/task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number)
}

function kill(pid: number): void {
  if (pid <= 0) return
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
