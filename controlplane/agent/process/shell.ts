// Commands of the host, run without a shell and bounded in time, and words for scripts.

import { COMMAND_TIMEOUT_MS } from './limits.ts'

const OUTPUT_MAX = 64 * 1024

/** A word for sh, whatever is in it. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** Starts a program, as dataplane/edge/spawn.ts does. */
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

export interface Ended {
  /** Exit status; 128 + signal for a killed one. */
  readonly status: number
  readonly output: string
}

/** Runs a command and tells how it ended, with what it wrote. Rejects when it cannot be started. */
export async function execute(
  start: StartProgram,
  command: string,
  parameters: readonly string[],
  timeoutMs: number = COMMAND_TIMEOUT_MS,
  signal?: AbortSignal,
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
export async function run(
  start: StartProgram,
  command: string,
  ...parameters: string[]
): Promise<string> {
  const { status, output } = await execute(start, command, parameters)
  if (status === 0) return output
  throw new Error(`${command} ${parameters[0] ?? ''}: ${output.trim() || `status ${status}`}`)
}
