// Entering a lab: the caller runs itself again inside namespaces of its own, so that whatever it
// makes there (network namespaces, links, routes, sysctls, processes) is out of the machine's sight
// and is gone when it is gone.
//
//   caller ── setpriv --pdeathsig ── unshare ── sh (process 1) ── the same program, INSIDE set
//
// - A user namespace when the caller is not root: root inside, the caller's own user outside.
// - A network namespace: the lab's bridges stand here; no way out of it exists.
// - A mount namespace with an empty /run: `ip netns` keeps its handles there, and so does the lab
//   its files.
// - A process namespace: when process 1 ends, the kernel ends everybody else in it. Each link of
//   the chain above dies with the one before it, so even kill -9 on the caller leaves nothing
//   behind.
//
// Process 1 is a shell because a process 1 must reap strangers' children and ignores signals that
// it has not asked for; a shell is good at both, a JavaScript program at neither.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readlinkSync } from 'node:fs'
import process from 'node:process'

const INSIDE = 'WEFT_LAB_INSIDE'

/** Exit status when the namespaces could not be prepared although the look beforehand had
 * succeeded. */
const PREPARATION_FAILED = 97

const PREPARE = [
  'mount -t tmpfs -o mode=755 tmpfs /run',
  'mkdir -p /run/netns /run/lab',
  'ip link set lo up',
].join(' && ')

/** Mapped root without uid 0 outside; `--kill-child` hands the death of unshare on to the shell. */
const COMMON = ['--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child']
const AS_USER = ['--user', '--map-root-user', ...COMMON]

function networkNamespace(): string {
  return readlinkSync('/proc/self/ns/net')
}

/** True inside the lab's namespaces. The variable names the network namespace that was left, so
 * that one inherited by accident never makes the machine itself pass for a lab. */
export function insideLab(): boolean {
  const left = process.env[INSIDE]
  return left !== undefined && left !== '' && left !== networkNamespace()
}

/** The environment of everything run in a lab: the administrator's commands are found even when the
 * caller is a plain user whose PATH lacks them. */
export function labEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env }
  const path = (env.PATH ?? '/usr/bin:/bin').split(':')
  for (const folder of ['/usr/local/sbin', '/usr/sbin', '/sbin']) {
    if (!path.includes(folder)) path.push(folder)
  }
  env.PATH = path.join(':')
  // A parent's message channel is not handed on unless the caller makes one itself.
  delete env.NODE_CHANNEL_FD
  delete env.NODE_CHANNEL_SERIALIZATION_MODE
  return env
}

function commandExists(name: string): boolean {
  const folders = (labEnvironment().PATH ?? '').split(':')
  return folders.some((folder) => existsSync(`${folder}/${name}`))
}

function succeeds(command: string, ...args: string[]): string | undefined {
  const run = spawnSync(command, args, { env: labEnvironment(), encoding: 'utf8', timeout: 20_000 })
  if (run.status === 0) return undefined
  const words = (run.stderr ?? '').trim().split('\n').at(-1)
  return words || run.error?.message || `${command} ended with status ${run.status}`
}

function namespaceFlags(): { flags: string[] } | { refusal: string } {
  if (process.getuid?.() === 0) {
    if (succeeds('unshare', ...COMMON, 'sh', '-c', PREPARE) === undefined) return { flags: COMMON }
  }
  const refusal = succeeds('unshare', ...AS_USER, 'sh', '-c', PREPARE)
  return refusal === undefined ? { flags: AS_USER } : { refusal }
}

function userNamespaceRemedy(): string {
  const switches: [string, string, string][] = [
    ['/proc/sys/kernel/unprivileged_userns_clone', '0', 'kernel.unprivileged_userns_clone=1'],
    [
      '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
      '1',
      'kernel.apparmor_restrict_unprivileged_userns=0',
    ],
    ['/proc/sys/user/max_user_namespaces', '0', 'user.max_user_namespaces=10000'],
  ]
  for (const [file, bad, setting] of switches) {
    const value = spawnSync('cat', [file], { encoding: 'utf8' }).stdout?.trim()
    if (value === bad) return `run "sudo sysctl -w ${setting}", or run it as root`
  }
  return 'run it as root, or in a container started with --privileged --device /dev/net/tun'
}

let entry: { flags: string[] } | { refusal: string } | undefined

/** Why no lab can be had on this machine, as one sentence with the remedy; undefined when one
 * can. */
export function labObstacle(): string | undefined {
  if (insideLab()) return undefined
  if (process.platform !== 'linux') return 'A lab needs Linux: run it on a Linux machine.'
  for (const [name, owner] of [
    ['unshare', 'util-linux'],
    ['setpriv', 'util-linux'],
    ['nsenter', 'util-linux'],
    ['ip', 'iproute2'],
  ] as const) {
    if (!commandExists(name)) return `The command ${name} is missing: install the package ${owner}.`
  }
  if (!existsSync('/dev/net/tun')) {
    const container = 'start the container with --device /dev/net/tun'
    return `There is no /dev/net/tun: run "sudo modprobe tun", or ${container}.`
  }
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/net/tun may not be opened: run "sudo chmod 666 /dev/net/tun", or run this as root.'
  }
  entry ??= namespaceFlags()
  if ('refusal' in entry) {
    return `This machine forbids user namespaces (${entry.refusal}): ${userNamespaceRemedy()}.`
  }
  return undefined
}

/** The command and arguments that run `argv` inside new lab namespaces. Throws what labObstacle()
 * says. */
export function labCommand(argv: readonly string[]): [string, string[]] {
  const obstacle = labObstacle()
  if (obstacle !== undefined) throw new Error(obstacle)
  entry ??= namespaceFlags()
  if ('refusal' in entry) throw new Error(entry.refusal)
  const script = `{ ${PREPARE}; } || exit ${PREPARATION_FAILED}; "$@"; exit $?`
  const chain = ['--pdeathsig', 'KILL', 'unshare', ...entry.flags, 'sh', '-c', script, 'sh']
  return ['setpriv', [...chain, ...argv]]
}

function ownCommandLine(): string[] {
  return [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
}

/** Runs this very program again inside a lab and exits with its status. Returns when already
 * inside. Throws what labObstacle() says. Blocks: for programs that have nothing to do outside. */
export function enterLab(): void {
  if (insideLab()) return
  const [command, args] = labCommand(ownCommandLine())
  const env = { ...labEnvironment(), [INSIDE]: networkNamespace() }
  const run = spawnSync(command, args, { stdio: 'inherit', env })
  process.exit(run.status ?? 1)
}

/** Runs this very program again inside a lab, with a message channel (process.send) between the
 * two and no standard input. For programs whose outer half has work of its own. */
export function spawnInLab(extraArguments: readonly string[] = []): ChildProcess {
  const [command, args] = labCommand([...ownCommandLine(), ...extraArguments])
  const env = { ...labEnvironment(), [INSIDE]: networkNamespace() }
  return spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env })
}
