// A weft agent in a lab: `weft dataplane` in a host's namespace, run from the tables file that the
// topology gives this node, with its metrics on the host's loopback.

import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import type { Host } from './host.ts'
import type { Lab } from './lab.ts'
import { AGENT_READY_MS, AGENT_RELOAD_MS } from './limits.ts'
import { parseMetrics, type Sample } from './metrics.ts'
import type { LabProcess } from './process.ts'
import { waitFor } from './wait.ts'

/** What the launcher ./weft runs in the end. It is not asked itself: a lab has no way out by
 * which it could install anything. */
const WEFT = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  fileURLToPath(new URL('../weft.ts', import.meta.url)),
]
const METRICS_PORT = 9323

export interface AgentOptions {
  /** More arguments for `weft dataplane`, e.g. ['--pcap', 'underlay=/run/lab/x.pcap']. */
  readonly arguments?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

export class Agent {
  readonly host: Host
  readonly node: string
  readonly tablesFile: string
  readonly metricsUrl: string = `http://127.0.0.1:${METRICS_PORT}/metrics`
  process: LabProcess | undefined
  readonly #options: AgentOptions
  readonly #folder: string

  constructor(lab: Lab, host: Host, node: string, options: AgentOptions = {}) {
    this.host = host
    this.node = node
    this.#options = options
    this.#folder = `${lab.folder}/${node}`
    mkdirSync(`${this.#folder}/run`, { recursive: true, mode: 0o700 })
    this.tablesFile = `${this.#folder}/tables.json`
  }

  /** Writes the tables whole: a reader sees the old file or the new one. */
  write(tables: ForwardingTables | string): void {
    const text = typeof tables === 'string' ? tables : JSON.stringify(tables, undefined, 2)
    writeFileSync(`${this.tablesFile}.new`, text, { mode: 0o600 })
    renameSync(`${this.tablesFile}.new`, this.tablesFile)
  }

  get runDirectory(): string {
    return `${this.#folder}/run`
  }

  /** The command line of the agent. */
  get command(): string[] {
    const [host, port] = ['127.0.0.1', METRICS_PORT]
    return [
      ...[...WEFT, 'dataplane', '--config', this.tablesFile],
      ...['--metrics', `${host}:${port}`, '--run-dir', this.runDirectory],
      ...(this.#options.arguments ?? []),
    ]
  }

  /** Starts the agent and waits until its metrics say that it runs these tables. */
  async start(tables: ForwardingTables): Promise<void> {
    this.write(tables)
    const env = this.#options.env ? { env: this.#options.env } : {}
    this.process = this.host.spawn(this.command, env)
    await this.#running(tables.version, AGENT_READY_MS)
  }

  /** Replaces the tables and waits until they are in force. */
  async reload(tables: ForwardingTables): Promise<void> {
    this.write(tables)
    this.process?.signal('SIGHUP')
    await this.#running(tables.version, AGENT_RELOAD_MS)
  }

  async #running(version: number, timeoutMs: number): Promise<void> {
    const what = `the agent of ${this.node} to run tables version ${version}`
    const said = new RegExp(`tables (running|swapped|unchanged) version=${version}\\b`)
    const look = async (): Promise<boolean | 'ended'> => {
      if (!this.process?.running) return 'ended'
      const samples = await this.metrics()
      const runs = samples.some((s) => s.name === 'weft_tables_version' && s.value === version)
      // The loop runs them first; the host's rules follow, and then the agent says so.
      return runs && said.test(this.process.stderr)
    }
    const seen = await waitFor(look, { what, timeoutMs }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.process?.stderr.slice(-2000) ?? ''}`)
    })
    if (seen !== 'ended') return
    const status = this.process?.status
    const words = this.process?.stderr.slice(-2000) ?? ''
    throw new Error(`the agent of ${this.node} ended with status ${status}:\n${words}`)
  }

  metricsText(): Promise<string> {
    return this.host.probe.get(this.metricsUrl)
  }

  async metrics(): Promise<Sample[]> {
    return parseMetrics(await this.metricsText())
  }

  /** Ends the agent in order (SIGTERM) and returns its exit status. */
  async stop(): Promise<number> {
    return (await this.process?.stop()) ?? 0
  }

  /** Ends the agent for a restart (SIGUSR2), published ports held; returns its exit status. */
  async hold(): Promise<number> {
    return (await this.process?.endBy('SIGUSR2')) ?? 0
  }

  /** Ends it without warning, as a crash would. */
  async crash(): Promise<void> {
    this.process?.kill('SIGKILL')
    await this.process?.ended
  }
}

/** Starts the agents of several nodes at once; `node` and host carry the same name. */
export async function startAgents(
  lab: Lab,
  tablesOf: (node: string) => ForwardingTables,
  nodes: readonly string[],
  options: AgentOptions = {},
): Promise<Map<string, Agent>> {
  const agents = new Map<string, Agent>()
  for (const node of nodes) {
    const host = lab.hosts.get(node)
    if (!host) throw new Error(`there is no host ${node}`)
    agents.set(node, new Agent(lab, host, node, options))
  }
  await Promise.all([...agents].map(([node, agent]) => agent.start(tablesOf(node))))
  return agents
}
