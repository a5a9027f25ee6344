// Commands of the host, run without a shell and bounded in time, and words for scripts.

import { spawn } from 'node:child_process'
import { COMMAND_TIMEOUT_MS } from './limits.ts'

const OUTPUT_MAX = 64 * 1024

/** A word for sh, whatever is in it. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

export interface Ended {
  /** Exit status; 128 + signal for a killed one. */
  readonly status: number
  readonly output: string
}

/** Runs a command and tells how it ended, with what it wrote. Rejects when it cannot be started. */
export function execute(
  command: string,
  parameters: readonly string[],
  timeoutMs: number = COMMAND_TIMEOUT_MS,
  signal?: AbortSignal,
): Promise<Ended> {
  return new Promise((settle, fail) => {
    const child = spawn(command, parameters, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      ...(signal === undefined ? {} : { signal }),
    })
    let output = ''
    const take = (chunk: Buffer): void => {
      if (output.length < OUTPUT_MAX) output += chunk.toString('utf8')
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    child.on('error', fail)
    child.on('close', (code) =>
      settle({ status: code ?? 137, output: output.slice(0, OUTPUT_MAX) }),
    )
  })
}

/** Runs a command that must succeed; rejects with what it complained about. */
export async function run(command: string, ...parameters: string[]): Promise<string> {
  const { status, output } = await execute(command, parameters)
  if (status === 0) return output
  throw new Error(`${command} ${parameters[0] ?? ''}: ${output.trim() || `status ${status}`}`)
}
