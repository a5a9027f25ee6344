// The agent's life: it reads the tables, serves metrics, starts the engine, takes new tables when
// the file changes or SIGHUP comes, and stops on SIGINT or SIGTERM, at whatever moment they come.
//
//   read -> serve control, metrics -> start engine -> run -> stop engine -> close them -> status
//     |             |                    |  ^  |
//     2             1                    1  reload (tables refused: the running ones stay)
//
// Order matters twice. The control socket and the metrics are served before the engine starts,
// because one that is taken must be found before the host is touched. And the signal handlers stand
// before everything, because a signal during the start must find somebody who undoes it.
//
// A second SIGINT or SIGTERM gives up waiting: what is left on the host then is repaired by the
// next start. SIGUSR2 stops it for a restart: the engine holds published ports for the next one.

import { resolve } from 'node:path'
import type { Logger } from '../base/log.ts'
import type { CompiledNode, CompiledTables } from '../dataplane/compiled.ts'
import type { EngineEnd, EngineHandle } from '../dataplane/engine-handle.ts'
import { didYouMean } from '../dataplane/suggest.ts'
import { type Problem, problemText } from '../dataplane/validate.ts'
import { controlHandlers } from './control-handlers.ts'
import { type ControlServer, serveControl } from './control-server.ts'
import { EXIT_FAILURE, EXIT_OK, EXIT_RESTART, EXIT_USAGE, UsageError } from './exit.ts'
import { STOP_TIMEOUT_MS } from './limits.ts'
import { type ListenAddress, type MetricsServer, serveMetrics } from './metrics-server.ts'
import { type LoadedTables, loadTables, TablesError } from './tables-file.ts'
import { watchFile } from './watch-file.ts'

export interface AgentOptions {
  readonly configFile: string
  /** Null = no metrics. */
  readonly metrics: ListenAddress | null
  readonly runDirectory: string
  readonly captures: ReadonlyMap<string, string>
}

/** Signals, as `process` has them. */
export interface SignalSource {
  on(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGUSR2', listener: () => void): unknown
}

export interface AgentDependencies {
  readonly engine: EngineHandle
  readonly schedulers: readonly string[]
  readonly log: Logger
  readonly version: string
  readonly signals: SignalSource
  /** Tells a person, before there is anything to log about: what is wrong with the command's input.
   */
  readonly complain: (sentence: string) => void
  /** Ends the process at once. */
  readonly abort: (status: number) => void
}

/** Why the agent stops. */
type End =
  | { readonly kind: 'stop' }
  | { readonly kind: 'restart' }
  | { readonly kind: 'failure'; readonly error: Error }

/** Name of the capture of the underlay socket; no endpoint's port. */
export const UNDERLAY_CAPTURE: string = 'underlay'

/** What cannot change while the engine runs: its socket, its name and its keys. */
const FIXED_FIELDS: readonly (keyof CompiledNode)[] = [
  'name',
  'listenAddress',
  'listenPort',
  'privateKey',
]

const FIXED_MESSAGE = 'cannot change while the agent runs: restart it'

/** The fields of `next` that differ from the running node's and must not. */
export function fixedFieldProblems(running: CompiledNode, next: CompiledNode): Problem[] {
  const text = (value: unknown): string =>
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value)
  const problems = FIXED_FIELDS.filter((field) => text(running[field]) !== text(next[field])).map(
    (field) => ({
      path: `node.${field}`,
      message: FIXED_MESSAGE,
    }),
  )
  if (running.balancer.flowsMax !== next.balancer.flowsMax) {
    problems.push({ path: 'node.balancer.flowsMax', message: FIXED_MESSAGE })
  }
  return problems
}

export class Agent {
  private readonly options: AgentOptions
  private readonly deps: AgentDependencies
  private readonly ended: Promise<End>
  private end: (end: End) => void = () => {}
  private isEnding: boolean = false
  private running: LoadedTables | null = null
  private reloading: Promise<void> | null = null
  private isReloadWanted: boolean = false
  private failures: number = 0

  constructor(options: AgentOptions, deps: AgentDependencies) {
    this.options = { ...options, configFile: resolve(options.configFile) }
    this.deps = deps
    this.ended = new Promise((done) => {
      this.end = (end) => {
        this.isEnding = true
        done(end)
      }
    })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      deps.signals.on(signal, () => this.stop(signal))
    }
    deps.signals.on('SIGHUP', () => this.reload())
    deps.signals.on('SIGUSR2', () => this.restart())
  }

  /** Tables files refused since the start. */
  get reloadFailures(): number {
    return this.failures
  }

  /** Something that the agent cannot go on after. */
  fail(error: Error): void {
    this.deps.log.error('the data plane has failed', { error: error.message })
    this.end({ kind: 'failure', error })
  }

  private stop(signal: string): void {
    if (this.isEnding) {
      this.deps.log.warn('stopping at once; the next start repairs the host', { signal })
      this.deps.abort(EXIT_FAILURE)
      return
    }
    this.deps.log.info('stopping', { signal })
    this.end({ kind: 'stop' })
  }

  private restart(): void {
    if (this.isEnding) return
    this.deps.log.info('stopping for a restart', { signal: 'SIGUSR2' })
    this.end({ kind: 'restart' })
  }

  /** Runs until a signal or a failure ends it. Returns the exit status. Throws UsageError for
   * options that do not agree with the tables. */
  async run(): Promise<number> {
    const { log, complain } = this.deps
    let tables: LoadedTables
    try {
      tables = this.load()
    } catch (error) {
      if (!(error instanceof TablesError)) throw error
      for (const problem of error.problems)
        complain(`${this.options.configFile}: ${problemText(problem)}`)
      return EXIT_USAGE
    }
    let metrics: MetricsServer | null = null
    let control: ControlServer | null = null
    try {
      control = await this.serveControl()
      metrics = await this.serve()
      return this.isEnding ? statusOf(await this.ended) : await this.runEngine(tables)
    } catch (error) {
      log.error((error as Error).message)
      return EXIT_FAILURE
    } finally {
      await metrics?.close()
      await control?.close()
    }
  }

  private load(): LoadedTables {
    const loaded = loadTables(this.options.configFile, this.deps.schedulers)
    if (this.running === null) this.checkCaptures(loaded.compiled)
    if (loaded.isSecretExposed) {
      this.deps.log.warn('the tables file holds a key and others may read it', {
        file: this.options.configFile,
      })
    }
    return loaded
  }

  /** A port that a later version brings is not foreseen; one that was misspelt is told. */
  private checkCaptures({ ports }: CompiledTables): void {
    const names = [UNDERLAY_CAPTURE, ...ports.map(({ name }) => name)]
    for (const name of this.options.captures.keys()) {
      if (names.includes(name)) continue
      const hint = didYouMean(name, names) || `; there are ${names.join(', ')}`
      throw new UsageError(`--pcap names "${name}", which is no local port${hint}`)
    }
  }

  private serveControl(): Promise<ControlServer> {
    const { engine, version, log } = this.deps
    return serveControl(this.options.runDirectory, controlHandlers(engine, version), log)
  }

  private async serve(): Promise<MetricsServer | null> {
    const { metrics } = this.options
    if (metrics === null) return null
    const { engine, version, log } = this.deps
    const reloadFailures = (): number => this.failures
    const server = await serveMetrics(metrics, { engine, version, reloadFailures })
    log.info('serving metrics', { url: server.url })
    return server
  }

  private async runEngine(tables: LoadedTables): Promise<number> {
    const { engine, log } = this.deps
    const { runDirectory, captures } = this.options
    const onFailure = (error: Error): void => this.fail(error)
    const started = engine
      .start(tables.compiled, { runDirectory, captures, log, onFailure })
      .then(() => 'started' as const)
    const first = await Promise.race([started, this.ended])
    if (first === 'started') {
      this.running = tables
      const watcher = watchFile(
        this.options.configFile,
        () => this.reload(),
        (reason) =>
          log.warn('changes of the tables file may go unseen; SIGHUP reloads', { reason }),
      )
      logTables(log, 'tables running', tables.compiled)
      if (this.isReloadWanted) this.reload()
      await this.ended
      watcher.close()
    } else {
      // The start goes on while it is being stopped; how it ends no longer matters.
      started.catch(() => {})
    }
    const end = await this.ended
    const isStopped = await this.stopEngine(end.kind === 'restart' ? 'hold' : 'undo')
    return isStopped ? statusOf(end) : EXIT_FAILURE
  }

  /** Stops the engine; false when it fails or does not come to an end. */
  private async stopEngine(how: EngineEnd): Promise<boolean> {
    const { engine, log } = this.deps
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, fail) => {
      const seconds = STOP_TIMEOUT_MS / 1000
      const error = new Error(`the data plane did not stop within ${seconds} s`)
      timer = setTimeout(() => fail(error), STOP_TIMEOUT_MS)
    })
    try {
      await Promise.race([engine.stop(how), late])
      log.info('stopped')
      return true
    } catch (error) {
      log.error('stopping failed; the next start repairs the host', {
        error: (error as Error).message,
      })
      return false
    } finally {
      clearTimeout(timer)
    }
  }

  /** Has the file read again: now, or after the reload that is under way. */
  private reload(): void {
    this.isReloadWanted = true
    if (this.running === null || this.reloading !== null) return
    this.reloading = this.reloadWhileWanted().finally(() => {
      this.reloading = null
    })
  }

  private async reloadWhileWanted(): Promise<void> {
    while (this.isReloadWanted && !this.isEnding) {
      this.isReloadWanted = false
      try {
        await this.swap(this.load())
      } catch (error) {
        if (this.isEnding) return
        this.failures++
        this.tellRefusal(error as Error)
      }
    }
  }

  private async swap(next: LoadedTables): Promise<void> {
    const { engine, log } = this.deps
    const running = this.running!
    if (next.text === running.text) {
      log.info('tables unchanged', { version: running.compiled.version })
      return
    }
    const problems = fixedFieldProblems(running.compiled.node, next.compiled.node)
    if (problems.length > 0) throw new TablesError(problems)
    await engine.swap(next.compiled)
    this.running = next
    logTables(log, 'tables swapped', next.compiled)
  }

  private tellRefusal(error: Error): void {
    const { log } = this.deps
    const file = this.options.configFile
    const version = this.running!.compiled.version
    const problems =
      error instanceof TablesError ? error.problems : [{ path: '', message: error.message }]
    for (const { path, message } of problems) {
      log.error('tables refused', { file, path: path === '' ? undefined : path, problem: message })
    }
    log.warn('the tables that ran before go on', { version, problems: problems.length })
  }
}

function statusOf({ kind }: End): number {
  if (kind === 'failure') return EXIT_FAILURE
  return kind === 'restart' ? EXIT_RESTART : EXIT_OK
}

function logTables(log: Logger, message: string, tables: CompiledTables): void {
  log.info(message, {
    version: tables.version,
    node: tables.node.name,
    peers: tables.peers.length,
    networks: tables.networks.length,
    endpoints: tables.endpoints.length,
    localPorts: tables.ports.length,
    services: tables.services.length,
    publishedPorts: tables.publishedPorts.length,
  })
}
