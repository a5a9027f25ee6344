// A process that the lab started: its output is kept (bounded), its life is bounded, and it is
// ended by its own process group, never by name.

import { type ChildProcess, spawn } from 'node:child_process'
import process from 'node:process'
import { labEnvironment } from './enter.ts'
import {
  EXEC_TIMEOUT_MS,
  KILL_GRACE_MS,
  OUTPUT_CHARACTERS_MAX,
  SPAWN_LIFE_MS,
  STOP_GRACE_MS,
} from './limits.ts'
import { waitFor } from './wait.ts'

export interface SpawnOptions {
  /** Milliseconds after which the process is killed; default SPAWN_LIFE_MS. */
  readonly lifeMs?: number
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Written to its standard input, which is then closed. */
  readonly input?: string
}

export interface ExecResult {
  /** Exit status, or 128 + signal number as a shell would say. */
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGKILL: 9,
  SIGUSR2: 12,
  SIGTERM: 15,
}

/** A running (or ended) process. */
export class LabProcess {
  readonly argv: readonly string[]
  stdout = ''
  stderr = ''
  /** Exit status once it has ended. */
  status: number | undefined
  /** Resolves when the process has ended and its output is complete. */
  readonly ended: Promise<number>
  readonly #child: ChildProcess

  constructor(argv: readonly string[], options: SpawnOptions = {}) {
    this.argv = argv
    const [command, ...args] = argv as [string, ...string[]]
    this.#child = spawn(command, args, {
      // A group of its own: the terminal's Ctrl-C reaches the lab, which ends its processes in
      // order.
      detached: true,
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: { ...labEnvironment(), ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    })
    this.#child.stdin?.on('error', () => {})
    this.#child.stdin?.end(options.input)
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-OUTPUT_CHARACTERS_MAX)
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_CHARACTERS_MAX)
    })
    const life = setTimeout(() => this.kill('SIGKILL'), options.lifeMs ?? SPAWN_LIFE_MS)
    life.unref()
    this.ended = new Promise((resolve) => {
      const end = (status: number): void => {
        clearTimeout(life)
        this.status ??= status
        resolve(this.status)
      }
      this.#child.on('error', (error) => {
        this.stderr += `${error.message}\n`
        end(127)
      })
      this.#child.on('exit', (code, signal) => {
        this.status ??= code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0)
      })
      this.#child.on('close', (code, signal) => {
        end(code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0))
      })
    })
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  get running(): boolean {
    return this.status === undefined
  }

  /** Sends a signal to the process alone. */
  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal)
  }

  /** Sends a signal to the process and to everything it has started in its group. */
  kill(signal: NodeJS.Signals): void {
    if (this.pid <= 0) return
    try {
      process.kill(-this.pid, signal)
    } catch {
      // The group is gone already.
    }
  }

  /** Ends the process: SIGTERM, then SIGKILL after `graceMs`. Resolves with its exit status. */
  async stop(graceMs: number = STOP_GRACE_MS): Promise<number> {
    if (this.running) this.kill('SIGTERM')
    return this.#end(graceMs)
  }

  /** The same by another signal, to the process alone. */
  async endBy(signal: NodeJS.Signals, graceMs: number = STOP_GRACE_MS): Promise<number> {
    this.signal(signal)
    return this.#end(graceMs)
  }

  async #end(graceMs: number): Promise<number> {
    await waitFor(() => !this.running, {
      what: `the end of ${this.argv.join(' ')}`,
      timeoutMs: graceMs,
    }).catch(() => {})
    // The group too: a child that outlived its parent would keep the output pipes open.
    this.kill('SIGKILL')
    await waitFor(() => !this.running, {
      what: `the end of ${this.argv.join(' ')} after SIGKILL`,
      timeoutMs: KILL_GRACE_MS,
    })
    return this.ended
  }

  /** Resolves with the match once the output (stdout, then stderr) matches. Throws when the
   * process ends first or the deadline passes; the error carries the output. */
  async output(pattern: RegExp, timeoutMs?: number): Promise<RegExpMatchArray> {
    const look = (): RegExpMatchArray | null =>
      this.stdout.match(pattern) ?? this.stderr.match(pattern)
    const name = this.argv.join(' ')
    const found = await waitFor<RegExpMatchArray | 'ended' | null>(
      () => look() ?? (this.running ? null : 'ended'),
      { what: `${pattern} from ${name}`, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.stderr.slice(-2000)}`)
    })
    if (found !== 'ended') return found
    throw new Error(`${name} ended with status ${this.status}\n${this.stderr.slice(-2000)}`)
  }
}

/** Runs a command to its end. Never throws on a status; times out with SIGKILL (status 137). */
export async function run(
  argv: readonly string[],
  options: SpawnOptions = {},
): Promise<ExecResult> {
  const child = new LabProcess(argv, { lifeMs: EXEC_TIMEOUT_MS, ...options })
  const status = await child.ended
  return { status, stdout: child.stdout, stderr: child.stderr }
}

/** Runs a command that must succeed and returns its standard output. Throws with its words
 * otherwise. */
export async function must(argv: readonly string[], options: SpawnOptions = {}): Promise<string> {
  const result = await run(argv, options)
  if (result.status !== 0) {
    const words = result.stderr.trim() || result.stdout.trim()
    throw new Error(`"${argv.join(' ')}" ended with status ${result.status}: ${words}`)
  }
  return result.stdout
}
