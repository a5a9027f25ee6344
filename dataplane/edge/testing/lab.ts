// Gives a test file a network of its own: the file re-executes itself inside new user, network,
// mount and process namespaces, where it is root, /run is empty and nothing outside can be reached
// or harmed.
//
//   test file ── setpriv --pdeathsig ── unshare ── sh (process 1) ── the same file, MARK set
//
// Whatever the test makes vanishes with process 1, and each link of the chain dies with the one
// before it: a daemon that a failed test left behind cannot outlive it, whatever group or session
// it has moved to. Process 1 is a shell because a process 1 must reap strangers' children.

import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import type { TAP } from 'tap'

const MARK = 'WEFT_TEST_LAB'
const NAMESPACES = ['-Urnm', '--map-root-user', '--pid', '--fork', '--mount-proc', '--kill-child']

/** The machine's own network namespace, handed in as an open file: a lab has no right to enter
 * it. */
export const MACHINE_NETWORK = '/proc/self/fd/3'

/** Why no lab can be had on this machine, or undefined. */
function missing(): string | undefined {
  const tried = spawnSync('unshare', [...NAMESPACES, 'true'], { encoding: 'utf8' })
  if (tried.error) return 'unshare (util-linux) is not installed'
  if (tried.status !== 0) return `user namespaces are not available: ${tried.stderr.trim()}`
  if (spawnSync('setpriv', ['-V']).error) return 'setpriv (util-linux) is not installed'
  if (spawnSync('ip', ['-V']).error) return 'ip (iproute2) is not installed'
  if (!existsSync('/dev/net/tun')) return '/dev/net/tun is not there'
  try {
    closeSync(openSync('/dev/net/tun', 'r+'))
  } catch {
    return '/dev/net/tun may not be opened'
  }
  return undefined
}

/** Called first in a test file with its own path: resolves to tap inside the lab. Outside it runs
 * the file inside and exits with its status, or skips with the reason. */
export async function insideLab(file: string): Promise<TAP> {
  // A plain user's PATH lacks the administrator's commands.
  process.env.PATH = `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`
  if (process.env[MARK] === undefined) {
    const reason = missing()
    if (reason === undefined) process.exit(runInside(file))
    const { default: t } = await import('tap')
    t.plan(0, reason)
    return t
  }
  run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
  run('ip', 'link', 'set', 'lo', 'up')
  const { default: t } = await import('tap')
  return t
}

function runInside(file: string): number {
  // "exit $?" keeps the shell from becoming the file's process itself.
  const shell = ['sh', '-c', '"$@"; exit $?', 'sh']
  const program = [process.execPath, ...process.execArgv, file]
  const { status } = spawnSync(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, ...shell, ...program],
    {
      stdio: ['inherit', 'inherit', 'inherit', openSync('/proc/self/ns/net', 'r')],
      env: { ...process.env, [MARK]: '1' },
    },
  )
  return status ?? 1
}

/** Runs a command to its end and returns its output; throws with its complaint when it fails. */
export function run(command: string, ...parameters: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, { encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(`${command} ${parameters.join(' ')}: ${stderr}`)
  return stdout
}

/** Waits until `condition` holds; throws with `what` when it does not within `timeoutMs`. */
export async function until(
  what: string,
  condition: () => boolean,
  timeoutMs = 5000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
