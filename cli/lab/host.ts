// A host or a container of a lab: one network namespace, the commands run in it and the addresses
// it has. Processes share everything else (files, process ids) with the lab; only the network is
// their own.

import { Probe } from './probe.ts'
import { type ExecResult, LabProcess, must, run, type SpawnOptions } from './process.ts'

export class Host {
  readonly name: string
  /** Path of the namespace, as tables.json wants it. */
  readonly netns: string
  /** Underlay addresses in the order of the links; empty for a container. */
  readonly addresses: string[] = []
  readonly addresses6: string[] = []
  /** Names of the underlay interfaces, in the order of the links. */
  readonly interfaces: string[] = []
  readonly #processes: Set<LabProcess>
  #probe: Probe | undefined

  constructor(name: string, processes: Set<LabProcess>) {
    this.name = name
    this.netns = `/run/netns/${name}`
    this.#processes = processes
  }

  /** First underlay IPv4 address. */
  get address(): string {
    const first = this.addresses[0]
    if (first === undefined) throw new Error(`${this.name} has no underlay address`)
    return first
  }

  /** First underlay IPv6 address. */
  get address6(): string {
    const first = this.addresses6[0]
    if (first === undefined) throw new Error(`${this.name} has no underlay IPv6 address`)
    return first
  }

  #inside(argv: readonly string[]): string[] {
    return ['nsenter', `--net=${this.netns}`, '--', ...argv]
  }

  /** Runs a command here to its end; any status is an answer. */
  exec(argv: readonly string[], options: SpawnOptions = {}): Promise<ExecResult> {
    return run(this.#inside(argv), options)
  }

  /** Runs a command here that must succeed; returns its standard output. */
  must(argv: readonly string[], options: SpawnOptions = {}): Promise<string> {
    return must(this.#inside(argv), options)
  }

  /** Runs several `ip` commands here, one per line, in one process. */
  async ip(lines: readonly string[], flags: readonly string[] = []): Promise<void> {
    const input = `${lines.join('\n')}\n`
    await must(['ip', '-netns', this.name, ...flags, '-batch', '-'], { input })
  }

  /** Sets a kernel setting of this namespace, e.g. ('net.ipv4.ip_forward', '1'). */
  async sysctl(name: string, value: string): Promise<void> {
    await this.must(['sysctl', '-qw', `${name}=${value}`])
  }

  /** Starts a command here; the lab ends it at the latest when it closes. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): LabProcess {
    const child = new LabProcess(this.#inside(argv), options)
    this.#processes.add(child)
    child.ended.then(() => this.#processes.delete(child))
    return child
  }

  /** A worker thread whose sockets live here. Made at the first call. */
  get probe(): Probe {
    this.#probe ??= new Probe(this.netns)
    return this.#probe
  }

  /** Ends what holds the namespace open, apart from processes. */
  async release(): Promise<void> {
    await this.#probe?.close()
    this.#probe = undefined
  }
}
