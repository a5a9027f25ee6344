// Commands of the host, run without a shell and bounded in time, and words for scripts.

import { spawn } from 'node:child_process'
import { COMMAND_TIMEOUT_MS } from './limits.ts'

const OUTPUT_MAX = 64 * 1024

/** A word for sh, whatever is in it. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** Starts a program: as node:child_process does, or leaner (dataplane/edge/spawn.ts). */
export type StartProgram = (
  program: string,
  parameters: readonly string[],
  options: {
    readonly env: NodeJS.ProcessEnv
    readonly input: string
    readonly timeoutMs: number
    readonly signal?: AbortSignal
    readonly onStdout: (text: Buffer) => void
    readonly onStderr: (text: Buffer) => void
  },
) => { readonly ended: Promise<{ readonly status: number | null }> }

/** Node's way. */
const forked: StartProgram = (program, parameters, options) => {
  const { env, input, timeoutMs, signal, onStdout, onStderr } = options
  const child = spawn(program, parameters, {
    ...{ env, killSignal: 'SIGKILL' as const },
    ...(signal === undefined ? {} : { signal }),
  })
  child.stdout.on('data', onStdout)
  child.stderr.on('data', onStderr)
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  // Node's own would go on for a program that could not be started.
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const ended = new Promise<{ status: number | null }>((settle, fail) => {
    child.on('error', fail)
    child.on('close', (status) => settle({ status }))
  })
  return { ended: ended.finally(() => clearTimeout(timer)) }
}

export interface Ended {
  /** Exit status; 128 + signal for a killed one. */
  readonly status: number
  readonly output: string
}

export interface ExecuteOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly start?: StartProgram
}

/** Runs a command and tells how it ended, with what it wrote. Rejects when it cannot be started. */
export async function execute(
  command: string,
  parameters: readonly string[],
  { timeoutMs = COMMAND_TIMEOUT_MS, signal, start = forked }: ExecuteOptions = {},
): Promise<Ended> {
  let output = ''
  const take = (chunk: Buffer): void => {
    if (output.length < OUTPUT_MAX) output += chunk.toString('utf8')
  }
  const child = start(command, parameters, {
    ...{ env: process.env, input: '', timeoutMs, onStdout: take, onStderr: take },
    ...(signal === undefined ? {} : { signal }),
  })
  const { status } = await child.ended
  return { status: status ?? 137, output: output.slice(0, OUTPUT_MAX) }
}

/** Runs a command that must succeed; rejects with what it complained about. */
export async function run(command: string, ...parameters: string[]): Promise<string> {
  const { status, output } = await execute(command, parameters)
  if (status === 0) return output
  throw new Error(`${command} ${parameters[0] ?? ''}: ${output.trim() || `status ${status}`}`)
}
