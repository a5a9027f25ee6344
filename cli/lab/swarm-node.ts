// A `weft up` on a host of the lab, driven over its API's socket, by the docker CLI where there is
// one, and by signals.

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ApiClient } from '../client/api-client.ts'
import type { Host } from './host.ts'
import type { Lab } from './lab.ts'
import { NODE_STOP_GRACE_MS, SWARM_AGENT_READY_MS } from './limits.ts'
import type { ExecResult, LabProcess } from './process.ts'
import { waitFor } from './wait.ts'

/** As the launcher has it: agents begin several times in a test. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/weft', import.meta.url))

const WEFT: readonly string[] = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  fileURLToPath(new URL('../weft.ts', import.meta.url)),
]

/** What `docker node ls` shows, as the API has it. */
export interface ShownNode {
  readonly ID: string
  readonly Version: { readonly Index: number }
  readonly Spec: {
    readonly Name?: string
    readonly Role: 'worker' | 'manager'
    readonly Availability: string
    readonly Labels: Readonly<Record<string, string>>
  }
  readonly Description: { readonly Hostname: string }
  readonly Status: { readonly State: string; readonly Addr?: string }
  readonly ManagerStatus?: {
    readonly Leader?: boolean
    readonly Reachability: string
    readonly Addr: string
  }
}

export interface SwarmNodeOptions {
  /** More arguments of `weft up`. */
  readonly arguments?: readonly string[]
  /** debug, info (default), … */
  readonly logLevel?: string
  /** More of the environment of `weft up`. */
  readonly env?: Readonly<Record<string, string>>
}

export class SwarmNode {
  readonly host: Host
  readonly name: string
  readonly dataDirectory: string
  readonly runDirectory: string
  readonly api: ApiClient
  readonly #options: SwarmNodeOptions
  process: LabProcess | null = null
  /** It founded a swarm or joined as a manager. */
  isManager = false

  constructor(lab: Lab, host: Host, options: SwarmNodeOptions = {}) {
    this.host = host
    this.name = host.name
    this.#options = options
    this.dataDirectory = join(lab.folder, host.name, 'data')
    this.runDirectory = join(lab.folder, host.name, 'run')
    mkdirSync(this.dataDirectory, { recursive: true })
    this.api = new ApiClient(this.socket)
  }

  get socket(): string {
    return join(this.runDirectory, 'weft.sock')
  }

  get isRunning(): boolean {
    return this.process?.running === true
  }

  get log(): string {
    return this.process?.stderr ?? ''
  }

  /** Starts the agent; resolves when its API answers. */
  async start(more: readonly string[] = []): Promise<void> {
    const command = [
      ...WEFT,
      ...['up', '--data-dir', this.dataDirectory, '--run-dir', this.runDirectory],
      ...['--hostname', this.name, '--runtime', 'process', '--engine', 'unix:///nowhere'],
      ...['--log-level', this.#options.logLevel ?? 'info'],
      ...(this.#options.arguments ?? []),
      ...more,
    ]
    const env = { NODE_COMPILE_CACHE: CACHE, ...this.#options.env }
    this.process = this.host.spawn(command, { env })
    await this.process.output(/the node is up/, SWARM_AGENT_READY_MS)
  }

  /** Ends it without warning. */
  async crash(): Promise<void> {
    this.process?.kill('SIGKILL')
    await this.process?.ended
  }

  /** Ends it in order; returns its status. */
  async stop(): Promise<number> {
    return (await this.process?.stop(NODE_STOP_GRACE_MS)) ?? 0
  }

  /** Ends it for a restart, published ports held; returns its status. */
  async hold(): Promise<number> {
    return (await this.process?.endBy('SIGUSR2', NODE_STOP_GRACE_MS)) ?? 0
  }

  /** A verb of the command line against this node. */
  weft(...args: readonly string[]): Promise<ExecResult> {
    return this.host.exec([...WEFT, ...args], {
      env: { WEFT_HOST: `unix://${this.socket}`, NODE_COMPILE_CACHE: CACHE },
    })
  }

  /** The docker CLI against this node. */
  docker(...args: readonly string[]): Promise<ExecResult> {
    return this.host.exec([dockerPath() ?? 'docker', '-H', `unix://${this.socket}`, ...args])
  }

  /** The docker CLI, going on in the background until it is stopped. */
  follow(...args: readonly string[]): LabProcess {
    return this.host.spawn([dockerPath() ?? 'docker', '-H', `unix://${this.socket}`, ...args])
  }

  /** The docker CLI, which must succeed; its output without the last line's end. */
  async mustDocker(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.docker(...args)
    if (status !== 0) throw new Error(`docker ${args.join(' ')}: ${stderr.trim()}`)
    return stdout.replace(/\n$/, '')
  }

  async init(body: object = {}): Promise<string> {
    const request = { ListenAddr: '0.0.0.0:2377', AdvertiseAddr: this.host.address, ...body }
    this.isManager = true
    return this.api.ask('POST', '/swarm/init', request)
  }

  /** Joins the swarm of `manager`, with the token of a role. */
  async join(manager: SwarmNode, role: 'Worker' | 'Manager', body: object = {}): Promise<void> {
    const { JoinTokens } = await manager.swarm()
    await this.api.ask('POST', '/swarm/join', {
      ListenAddr: '0.0.0.0:2377',
      AdvertiseAddr: this.host.address,
      RemoteAddrs: [`${manager.host.address}:2377`],
      JoinToken: JoinTokens[role],
      ...body,
    })
    this.isManager = role === 'Manager'
  }

  leave(force = false): Promise<unknown> {
    return this.api.ask('POST', `/swarm/leave?force=${force}`)
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they like
  swarm(): Promise<any> {
    return this.api.ask('GET', '/swarm')
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they like
  async info(): Promise<any> {
    return this.api.ask('GET', '/info')
  }

  /** Every node that this manager knows, by host name. */
  async nodes(): Promise<Map<string, ShownNode>> {
    const nodes = await this.api.ask<ShownNode[]>('GET', '/nodes')
    return new Map(nodes.map((node) => [node.Description.Hostname ?? node.ID, node]))
  }

  /** Changes a node's spec as `docker node update` does. */
  async updateNode(name: string, change: object): Promise<void> {
    await waitFor(
      async () => {
        const node = (await this.nodes()).get(name)!
        const spec = { ...node.Spec, ...change }
        await this.api.ask('POST', `/nodes/${node.ID}/update?version=${node.Version.Index}`, spec)
        return true
      },
      { what: `the update of node ${name}` },
    )
  }

  /** Waits until this manager shows what is wanted. */
  async untilNodes(
    what: string,
    isSo: (nodes: Map<string, ShownNode>) => boolean,
    timeoutMs = 30_000,
  ): Promise<Map<string, ShownNode>> {
    let last: Map<string, ShownNode> = new Map()
    try {
      await waitFor(
        async () => {
          last = await this.nodes()
          return isSo(last)
        },
        { what, timeoutMs },
      )
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${shown(last)}\n${this.log.slice(-3000)}`)
    }
    return last
  }
}

function shown(nodes: ReadonlyMap<string, ShownNode>): string {
  const lines = [...nodes.values()].map(
    ({ Description, Status, Spec, ManagerStatus: manager }) =>
      `${Description.Hostname} ${Status.State} ${Spec.Role} ${Spec.Availability} ` +
      `${manager === undefined ? '' : `${manager.Leader ? 'leader' : manager.Reachability}`}`,
  )
  return lines.join('\n')
}

/** Path of the docker CLI, where this machine has one that speaks a version of ours. */
export function dockerPath(): string | undefined {
  return ['/usr/local/bin/docker', '/usr/bin/docker'].find((path) => existsSync(path))
}

/** `count` hosts on one bridge, named h1, h2, …, each with an agent that runs. */
export async function startNodes(
  lab: Lab,
  count: number,
  options: SwarmNodeOptions = {},
): Promise<SwarmNode[]> {
  const names = Array.from({ length: count }, (_, i) => `h${i + 1}`)
  const hosts = await lab.hostsNamed(...names)
  await lab.bridge(hosts)
  const nodes = hosts.map((host) => new SwarmNode(lab, host, options))
  await Promise.all(nodes.map((node) => node.start()))
  return nodes
}

/** Makes a swarm of nodes that run; the first `managers` of them are managers. */
export async function foundSwarm(nodes: readonly SwarmNode[], managers: number): Promise<void> {
  const [first, ...others] = nodes
  await first!.init()
  for (const [i, node] of others.entries()) {
    await node.join(first!, i + 1 < managers ? 'Manager' : 'Worker')
  }
  await first!.untilNodes('all ready', (shown) => {
    const all = [...shown.values()]
    const reachable = all.filter((one) => one.ManagerStatus?.Reachability === 'reachable')
    const ready = all.filter(({ Status }) => Status.State === 'ready')
    return ready.length === nodes.length && reachable.length === managers
  })
}
