// Running the system's own tools: `ip` of iproute2 in batch mode (one process for any number of
// changes), `iptables`. Never through a shell; always with a limit on time and output; what they
// complain about becomes part of the error.

import { StringDecoder } from 'node:string_decoder'
import type { AddressFamily } from './address.ts'
import { EdgeError } from './errors.ts'
import { COMMAND_OUTPUT_SIZE_MAX, COMMAND_TIMEOUT_MS } from './limits.ts'
import { type NetworkNamespace, namespacePath } from './netns.ts'
import { spawn } from './spawn.ts'

export interface CommandResult {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end, whatever its status. Throws EdgeError COMMAND_MISSING when it is not
 * installed, COMMAND_FAILED when it took too long or said too much. */
export async function runCommand(
  program: string,
  parameters: readonly string[],
  input = '',
): Promise<CommandResult> {
  const outputs = { stdout: '', stderr: '' }
  const take = (name: 'stdout' | 'stderr'): ((text: Buffer) => void) => {
    const decoder = new StringDecoder('utf8')
    return (text) => {
      outputs[name] += decoder.write(text)
      if (outputs[name].length > COMMAND_OUTPUT_SIZE_MAX) child.kill()
    }
  }
  const child = spawn(program, parameters, {
    // Messages are matched below: they must not be translated.
    env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    input,
    timeoutMs: COMMAND_TIMEOUT_MS,
    onStdout: take('stdout'),
    onStderr: take('stderr'),
  })
  try {
    const { status, signal } = await child.ended
    if (status !== null) return { status, ...outputs }
    const what = `${program} ${parameters.join(' ')} was ended by ${signal}`
    throw new EdgeError('COMMAND_FAILED', program, what)
  } catch (error) {
    throw error instanceof EdgeError ? error : spawnError(program, error as NodeJS.ErrnoException)
  }
}

const PACKAGES: Readonly<Record<string, string>> = { ip: 'iproute2', nsenter: 'util-linux' }

function spawnError(program: string, error: NodeJS.ErrnoException): EdgeError {
  if (error.code !== 'ENOENT') {
    return new EdgeError('COMMAND_FAILED', program, `${program}: ${error.message}`, '', error)
  }
  const remedy = `install ${PACKAGES[program] ?? program}`
  return new EdgeError('COMMAND_MISSING', program, `${program} is not installed`, remedy)
}

export type Tolerance = 'exists' | 'missing' | 'no source'

/** One line for `ip -batch`, without the leading "ip". */
export interface IpCommand {
  readonly line: string
  /** What may go wrong without being an error: adding what is there, removing what is not, naming a
   * source address that this host does not have now. */
  readonly tolerate?: Tolerance
}

export interface IpOptions {
  /** Default 4. */
  readonly family?: AddressFamily | 'both'
  readonly namespace?: NetworkNamespace | undefined
}

const TOLERATED: Readonly<Record<Tolerance, RegExp>> = {
  exists: /File exists|already assigned/i,
  'no source': /Invalid prefsrc/i,
  missing: /No such (file|process|device)|Cannot (find|assign)|does not exist|not found/i,
}

function ipInvocation(options: IpOptions, parameters: string[]): [string, string[]] {
  const family = options.family ?? 4
  const words = family === 'both' ? parameters : [`-${family}`, ...parameters]
  if (options.namespace === undefined) return ['ip', words]
  return ['nsenter', [`--net=${namespacePath(options.namespace)}`, 'ip', ...words]]
}

/** Makes changes in order with one run of `ip`. It goes on after a failure, so that clean-up is as
 * complete as can be, and then throws EdgeError COMMAND_FAILED with every line that failed and why.
 */
export async function changeIp(
  commands: readonly IpCommand[],
  options: IpOptions = {},
): Promise<void> {
  if (commands.length === 0) return
  const [program, parameters] = ipInvocation(options, ['-force', '-batch', '-'])
  const input = `${commands.map((command) => command.line).join('\n')}\n`
  const { status, stderr } = await runCommand(program, parameters, input)
  if (status === 0) return
  const failures = parseBatchFailures(stderr).filter(({ number, message }) => {
    const tolerate = commands[number - 1]?.tolerate
    return tolerate === undefined || !TOLERATED[tolerate].test(message)
  })
  const numbered = /Command failed -:\d+/.test(stderr)
  if (numbered && failures.length === 0) return
  const what = numbered
    ? failures
        .map(({ number, message }) => `ip ${commands[number - 1]?.line}: ${message}`)
        .join('\n')
    : `${program} ${parameters.join(' ')}: ${stderr.trim()}`
  const denied = /Operation not permitted/.test(what)
  throw new EdgeError(
    denied ? 'NO_PERMISSION' : 'COMMAND_FAILED',
    program,
    what,
    denied ? 'run as root or with CAP_NET_ADMIN' : '',
  )
}

/** "message\nCommand failed -:3\n" becomes {number: 3, message}. Exported for its test. */
export function parseBatchFailures(stderr: string): { number: number; message: string }[] {
  const failures: { number: number; message: string }[] = []
  let message: string[] = []
  for (const line of stderr.split('\n')) {
    const failed = /^Command failed -:(\d+)$/.exec(line)
    if (failed === null) {
      if (line.trim() !== '') message.push(line.trim())
      continue
    }
    failures.push({ number: Number(failed[1]), message: message.join(' ') })
    message = []
  }
  return failures
}

/** The JSON that `ip -j PARAMETERS` prints; [] when it prints nothing or the thing is not there. */
export async function queryIp<T>(parameters: string[], options: IpOptions = {}): Promise<T[]> {
  const [program, words] = ipInvocation(options, ['-j', ...parameters])
  const { status, stdout, stderr } = await runCommand(program, words)
  if (status !== 0) {
    if (TOLERATED.missing.test(stderr)) return []
    throw new EdgeError('COMMAND_FAILED', program, `ip ${parameters.join(' ')}: ${stderr.trim()}`)
  }
  return stdout.trim() === '' ? [] : (JSON.parse(stdout) as T[])
}
