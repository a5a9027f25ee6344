// A swarm on hosts of the lab, with a client outside, and what tests and benchmarks do with it:
// services made, changed and waited for, over the Engine API of whichever node answers.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { Host } from './host.ts'
import type { Lab } from './lab.ts'
import { SWARM_WAIT_MS } from './limits.ts'
import type { LabProcess } from './process.ts'
import type { LoadOrder, LoadReport } from './request-load.ts'
import { SwarmNode, type SwarmNodeOptions } from './swarm-node.ts'
import { waitFor } from './wait.ts'

const PAGE_SERVER = fileURLToPath(new URL('./page-server.ts', import.meta.url))
const REQUEST_LOAD = fileURLToPath(new URL('./request-load.ts', import.meta.url))
const NODE: readonly string[] = [process.execPath, '--disable-warning=ExperimentalWarning']
/** A task that runs must be asked this long after its start at the latest. */
const PROBE_NS = 200_000_000

/** A task as the API shows it. */
export interface ShownTask {
  readonly ID: string
  readonly ServiceID: string
  readonly NodeID?: string
  readonly Slot?: number
  readonly DesiredState: string
  readonly CreatedAt: string
  readonly Status: {
    readonly State: string
    readonly Message?: string
    readonly Err?: string
    readonly ContainerStatus?: { readonly PID: number; readonly ExitCode: number }
  }
  readonly NetworksAttachments?: readonly {
    readonly Network: { readonly ID: string; readonly Spec: { readonly Name: string } }
    readonly Addresses: readonly string[]
  }[]
}

export interface ShownService {
  readonly ID: string
  readonly Version: { readonly Index: number }
  // biome-ignore lint/suspicious/noExplicitAny: tests change it as they like
  readonly Spec: any
  readonly UpdateStatus?: { readonly State: string; readonly Message?: string }
  readonly Endpoint?: {
    readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[]
    readonly Ports?: readonly { readonly PublishedPort: number }[]
  }
}

export interface SwarmPlan {
  /** Nodes, default 3. */
  readonly count?: number
  /** How many of them manage, default 1. */
  readonly managers?: number
  readonly options?: SwarmNodeOptions
}

export interface PagePlan {
  /** Published on every node; default none. */
  readonly port?: number
  readonly update?: object
  readonly labels?: Readonly<Record<string, string>>
  /** Over the ContainerSpec. */
  readonly container?: object
  /** Of a task that is known to be well, in ns; default as of one that begins. */
  readonly probeNs?: number
}

export class Swarm {
  readonly lab: Lab
  readonly nodes: SwarmNode[] = []
  /** On the underlay, and in no swarm. */
  client!: Host

  constructor(lab: Lab) {
    this.lab = lab
  }

  /** Starts `count` nodes, of which the first `managers` manage, and makes a swarm of them. */
  static async start(
    lab: Lab,
    { count = 3, managers = 1, options = {} }: SwarmPlan = {},
  ): Promise<Swarm> {
    const swarm = new Swarm(lab)
    const names = Array.from({ length: count }, (_, i) => `h${i + 1}`)
    const hosts = await lab.hostsNamed(...names, 'client')
    swarm.client = hosts.at(-1)!
    await lab.bridge(hosts)
    for (const host of hosts.slice(0, -1)) swarm.nodes.push(new SwarmNode(lab, host, options))
    await Promise.all(swarm.nodes.map((node) => node.start()))
    const [first, ...others] = swarm.nodes
    await first!.init()
    for (const [i, node] of others.entries()) {
      await node.join(first!, i + 1 < managers ? 'Manager' : 'Worker')
    }
    await swarm.untilReady(count)
    return swarm
  }

  /** A manager that runs. */
  get manager(): SwarmNode {
    return this.nodes.find((node) => node.isRunning && node.isManager) ?? this.nodes[0]!
  }

  async untilReady(count: number): Promise<void> {
    await this.manager.untilNodes(
      `${count} nodes ready`,
      (nodes) =>
        [...nodes.values()].filter(({ Status }) => Status.State === 'ready').length === count,
      SWARM_WAIT_MS,
    )
  }

  // biome-ignore lint/suspicious/noExplicitAny: the caller knows what it asks for
  ask<T = any>(method: string, path: string, body?: unknown): Promise<T> {
    return this.manager.api.ask<T>(method, path, body)
  }

  async network(name: string, more: object = {}): Promise<string> {
    const body = { Name: name, Driver: 'overlay', ...more }
    return (await this.ask<{ Id: string }>('POST', '/networks/create', body)).Id
  }

  async service(spec: object): Promise<string> {
    return (await this.ask<{ ID: string }>('POST', '/services/create', spec)).ID
  }

  inspect(name: string): Promise<ShownService> {
    return this.ask('GET', `/services/${name}`)
  }

  /** Changes a service's spec; tries again when somebody else was faster. */
  // biome-ignore lint/suspicious/noExplicitAny: see ShownService
  async change(name: string, change: (spec: any) => void, query: string = ''): Promise<void> {
    await waitFor(
      async () => {
        const { ID, Version, Spec } = await this.inspect(name)
        change(Spec)
        await this.ask('POST', `/services/${ID}/update?version=${Version.Index}${query}`, Spec)
        return true
      },
      { what: `a change of ${name}`, timeoutMs: SWARM_WAIT_MS },
    )
  }

  scale(name: string, replicas: number): Promise<void> {
    return this.change(name, ({ Mode }) => {
      Mode.Replicated.Replicas = replicas
    })
  }

  /** Replaces every task by one of the same spec. */
  force(name: string): Promise<void> {
    return this.change(name, ({ TaskTemplate }) => {
      TaskTemplate.ForceUpdate = (TaskTemplate.ForceUpdate ?? 0) + 1
    })
  }

  /** Waits until an update, or a rollback, has come to the state. */
  async updated(
    name: string,
    state: string = 'completed',
    timeoutMs: number = SWARM_WAIT_MS,
  ): Promise<void> {
    let last = ''
    await waitFor(
      async () => {
        const { UpdateStatus } = await this.inspect(name)
        last = `${UpdateStatus?.State ?? 'none'} ${UpdateStatus?.Message ?? ''}`
        return UpdateStatus?.State === state
      },
      { what: `the update of ${name} to be ${state}`, timeoutMs },
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}; it is ${last}\n${await this.describe(name)}`)
    })
  }

  tasks(service?: string): Promise<ShownTask[]> {
    const filters = service === undefined ? {} : { service: [service] }
    const query = encodeURIComponent(JSON.stringify(filters))
    return this.ask('GET', `/tasks?filters=${query}`)
  }

  /** Tasks that are wanted and run. */
  async running(service: string): Promise<ShownTask[]> {
    const tasks = await this.tasks(service)
    return tasks.filter(
      ({ DesiredState, Status }) => DesiredState === 'running' && Status.State === 'running',
    )
  }

  /** Waits until exactly `count` tasks of the service run and no other is alive. */
  async converged(
    service: string,
    count: number,
    timeoutMs: number = SWARM_WAIT_MS,
  ): Promise<ShownTask[]> {
    let running: ShownTask[] = []
    await waitFor(
      async () => {
        const tasks = await this.tasks(service)
        const wanted = tasks.filter(({ DesiredState }) => DesiredState === 'running')
        running = wanted.filter(({ Status }) => Status.State === 'running')
        return wanted.length === count && running.length === count
      },
      { what: `${count} tasks of ${service}`, timeoutMs },
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await this.describe(service)}`)
    })
    return running
  }

  /** The tasks of a service as text, for error messages. */
  async describe(service: string): Promise<string> {
    const tasks = await this.tasks(service).catch(() => [])
    const lines = tasks
      .sort((a, b) => b.CreatedAt.localeCompare(a.CreatedAt))
      .slice(0, 40)
      .map(
        ({ ID, Slot, NodeID, DesiredState, Status }) =>
          `${ID} ${Slot} on ${NodeID} wanted ${DesiredState} is ${Status.State} ` +
          `${Status.Message ?? ''} ${Status.Err ?? ''}`,
      )
    const logs = this.nodes.map((node) => `-- ${node.name}\n${node.log.slice(-1_500)}`)
    return [...lines, ...logs].join('\n')
  }

  /** Waits until a published port answers on every node that runs. */
  async served(port: number): Promise<void> {
    const running = this.nodes.filter((node) => node.isRunning)
    for (const { host } of running) {
      const url = `http://${host.address}:${port}/`
      await waitFor(
        async () => (await this.client.probe.try('get', url, { timeoutMs: 2_000 })).status === 200,
        { what: `an answer of ${url}`, timeoutMs: SWARM_WAIT_MS },
      )
    }
  }

  nodeOf(task: ShownTask, nodes: ReadonlyMap<string, { readonly ID: string }>): SwarmNode {
    const name = [...nodes].find(([, { ID }]) => ID === task.NodeID)?.[0]
    return this.nodes.find((node) => node.name === name)!
  }

  /** A power failure: the agent and its tasks end at once, and the node's links are dead. */
  async powerOff(node: SwarmNode): Promise<void> {
    await node.host.ip(node.host.interfaces.map((device) => `link set ${device} down`))
    await node.crash()
    killTasks(node)
  }

  async powerOn(node: SwarmNode): Promise<void> {
    await node.host.ip(node.host.interfaces.map((device) => `link set ${device} up`))
    await node.start()
  }

  /** Sets the heartbeat: nodes are down after three of them. An agent may take longer than three
   * seconds to come back where the machine is busy. */
  async patience(seconds: number): Promise<void> {
    await waitFor(
      async () => {
        const { Version, Spec } = await this.ask('GET', '/swarm')
        const Dispatcher = { HeartbeatPeriod: seconds * 1e9 }
        await this.ask('POST', `/swarm/update?version=${Version.Index}`, { ...Spec, Dispatcher })
        return true
      },
      { what: 'the change of the heartbeat', timeoutMs: SWARM_WAIT_MS },
    )
  }

  /** Starts a load in a host; `endLoad` ends it. */
  async load(from: Host, order: LoadOrder): Promise<LabProcess> {
    const process = from.spawn([...NODE, REQUEST_LOAD, JSON.stringify(order)])
    await process.output(/asking/)
    return process
  }
}

export async function endLoad(load: LabProcess): Promise<LoadReport> {
  load.signal('SIGTERM')
  const [, text] = await load.output(/^(\{"asked".*\})$/m)
  await load.ended
  return JSON.parse(text!) as LoadReport
}

/** First process of a task, as the lab numbers it: the child of the child of its run.sh. 0 for one
 * that does not run. */
export function taskProcess(node: SwarmNode, taskId: string): number {
  try {
    const file = join(node.dataDirectory, 'tasks', taskId, 'pid')
    let pid = Number.parseInt(readFileSync(file, 'utf8'), 10)
    for (let generation = 0; generation < 2; generation++) {
      pid = Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'), 10)
    }
    return Number.isNaN(pid) ? 0 : pid
  } catch {
    return 0
  }
}

/** Kills a task as the kernel would for want of memory. False when it does not run. */
export function killTask(node: SwarmNode, taskId: string): boolean {
  const pid = taskProcess(node, taskId)
  if (pid === 0) return false
  try {
    process.kill(pid, 'SIGKILL')
    return true
  } catch {
    return false
  }
}

/** Everything of every task of a node. */
export function killTasks(node: SwarmNode): void {
  const tasks = join(node.dataDirectory, 'tasks')
  for (const name of existsSync(tasks) ? readdirSync(tasks) : []) killTask(node, name)
}

/** A service whose replicas are page servers that are asked whether they are well. */
export function pageService(
  name: string,
  networks: readonly string[],
  replicas: number,
  { port = 0, update = {}, labels = {}, container = {}, probeNs = PROBE_NS }: PagePlan = {},
): object {
  const server = `exec ${[...NODE, PAGE_SERVER].join(' ')} "$HOSTNAME" 80`
  return {
    Name: name,
    Labels: labels,
    Mode: { Replicated: { Replicas: replicas } },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'host',
        Command: ['sh', '-c', server],
        Healthcheck: {
          Test: ['CMD', 'bash', '-c', '</dev/tcp/127.0.0.1/80'],
          Interval: probeNs,
          Timeout: 20_000_000_000,
          Retries: 3,
          StartPeriod: 60_000_000_000,
          StartInterval: PROBE_NS,
        },
        ...container,
      },
      Networks: networks.map((Target) => ({ Target })),
      RestartPolicy: { Condition: 'any', Delay: 100_000_000 },
    },
    UpdateConfig: { Parallelism: 2, Order: 'start-first', Monitor: 200_000_000, ...update },
    EndpointSpec: {
      Mode: 'vip',
      Ports:
        port === 0
          ? []
          : [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: port, PublishMode: 'ingress' }],
    },
  }
}
