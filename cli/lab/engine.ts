// A Docker engine on a host of the lab: dockerd with the host's network, a mount namespace of its
// own in which /run/docker is the engine's alone, and its data in the lab's folder, in memory. Its
// one image, `bb`, is this machine's busybox. Its containers are ended before it, its control
// groups, which are not the lab's but the machine's, are its own and go after it.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import process from 'node:process'
import { insideLab } from './enter.ts'
import type { Host } from './host.ts'
import type { Lab } from './lab.ts'
import { type ExecResult, type LabProcess, must } from './process.ts'
import { dockerPath, type SwarmNode } from './swarm-node.ts'
import { waitFor } from './wait.ts'

const ENGINE_READY_MS = 60_000
const CGROUPS = '/sys/fs/cgroup'
const CGROUPS_GONE_MS = 10_000
const BUSYBOX = '/bin/busybox'
const DOCKERD: readonly string[] = [
  '/usr/sbin/dockerd',
  '/usr/bin/dockerd',
  '/usr/local/bin/dockerd',
]

/** "$1" is the engine's folder; the rest are arguments of dockerd. */
const SCRIPT = [
  'folder=$1; shift',
  'mkdir -p /run/docker "$folder/run"',
  'mount --bind "$folder/run" /run/docker',
  'exec "$@"',
].join(' && ')

/** Root file system of the image, made once per lab; "$1" is where. */
const IMAGE_SCRIPT = [
  'mkdir -p "$1/bin" "$1/tmp" "$1/etc" "$1/proc" "$1/sys" "$1/dev" "$1/www"',
  `cp ${BUSYBOX} "$1/bin/busybox"`,
  'for name in $("$1/bin/busybox" --list); do ln -s busybox "$1/bin/$name" || true; done 2>&-',
  'echo "root:x:0:0::/:/bin/sh" > "$1/etc/passwd"',
  'tar -C "$1" -cf "$1.tar" .',
].join(' && ')

/** Why no engine can run here; undefined when one can. */
export function engineObstacle(): string | undefined {
  if (dockerdPath() === undefined) return 'dockerd is missing: install the package docker.io'
  if (dockerPath() === undefined) return 'the docker CLI is missing'
  if (!existsSync(BUSYBOX)) return `${BUSYBOX} is missing: install the package busybox-static`
  const [, outside, count] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/)
  if (process.getuid?.() !== 0 || outside !== '0' || Number(count) < 65_536) {
    return 'an engine needs root: run it as root'
  }
  if (!existsSync(CGROUPS)) return 'an engine needs cgroups'
  return undefined
}

function dockerdPath(): string | undefined {
  return DOCKERD.find((path) => existsSync(path))
}

export class LabEngine {
  readonly host: Host
  readonly folder: string
  readonly #lab: Lab
  process: LabProcess | null = null

  constructor(lab: Lab, host: Host) {
    if (!insideLab()) throw new Error('an engine of a lab runs inside it')
    this.#lab = lab
    this.host = host
    this.folder = join(lab.folder, host.name, 'engine')
    mkdirSync(this.folder, { recursive: true })
    lab.atEnd(() => this.stop())
  }

  get socket(): string {
    return join(this.folder, 'docker.sock')
  }

  /** Parent of its containers' control groups, unique on the machine: the id of a namespace is. */
  get #cgroup(): string {
    const { ino } = statSync('/proc/self/ns/net')
    return `weft-lab-${ino}-${basename(this.#lab.folder)}-${this.host.name}`
  }

  /** Where it looks for network drivers. */
  get plugins(): string {
    return join(this.folder, 'run', 'plugins')
  }

  /** What `weft up` is told of it. */
  get agentArguments(): string[] {
    const engine = ['--engine', `unix://${this.socket}`, '--plugin-dir', this.plugins]
    return ['--runtime', 'docker', ...engine]
  }

  /** Resolves when it answers. */
  async start(more: readonly string[] = []): Promise<void> {
    const dockerd = [
      dockerdPath()!,
      ...['--data-root', join(this.folder, 'data'), '--exec-root', join(this.folder, 'exec')],
      ...['--pidfile', join(this.folder, 'pid'), '-H', `unix://${this.socket}`],
      ...['--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', `/${this.#cgroup}`],
      ...['--bridge=none', '--storage-driver=vfs', '--userland-proxy=false', ...more],
    ]
    const unshare = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', SCRIPT, 'sh']
    this.process = this.host.spawn([...unshare, this.folder, ...dockerd])
    const ended = this.process.ended.then((status) => {
      throw new Error(`dockerd ended with ${status}: ${this.process?.stderr.slice(-2000)}`)
    })
    const ready = waitFor(async () => (await this.docker('version')).status === 0, {
      what: `the engine on ${this.host.name}`,
      timeoutMs: ENGINE_READY_MS,
    })
    ended.catch(() => {})
    await Promise.race([ready, ended])
  }

  /** Gives it the image `bb`. */
  async loadImage(): Promise<void> {
    const root = join(this.#lab.folder, 'bb')
    if (!existsSync(`${root}.tar`)) await must(['sh', '-c', IMAGE_SCRIPT, 'sh', root])
    await this.mustDocker('import', `${root}.tar`, 'bb:latest')
  }

  /** The docker CLI against the engine itself. */
  docker(...args: readonly string[]): Promise<ExecResult> {
    return this.host.exec([dockerPath() ?? 'docker', '-H', `unix://${this.socket}`, ...args])
  }

  async mustDocker(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.docker(...args)
    if (status !== 0) throw new Error(`docker ${args.join(' ')}: ${stderr.trim()}`)
    return stdout.replace(/\n$/, '')
  }

  /** Ends it without warning; its containers may go on. */
  async crash(): Promise<void> {
    this.process?.signal('SIGKILL')
    await this.process?.ended
  }

  /** Ends its containers, then the engine. */
  async stop(): Promise<void> {
    if (this.process?.running === true) {
      const ids = (await this.docker('ps', '-aq')).stdout.split('\n').filter((id) => id !== '')
      if (ids.length > 0) await this.docker('rm', '-f', ...ids)
      await this.process.stop()
    }
    await waitFor(() => cgroupsNamed(this.#cgroup).map(endCgroup).every(Boolean), {
      what: `the end of the control groups of ${this.host.name}`,
      timeoutMs: CGROUPS_GONE_MS,
    })
  }
}

/** The control groups of this name that there are: one, or one per controller. */
function cgroupsNamed(name: string): string[] {
  const folders = readdirSync(CGROUPS, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(CGROUPS, entry.name, name))
  return [join(CGROUPS, name), ...folders].filter((path) => existsSync(path))
}

/** Kills what an engine that crashed has left in it. True when the group is gone. */
function endCgroup(path: string): boolean {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) endCgroup(join(path, entry.name))
    }
    const pids = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)
    // 0: a process of a namespace that we do not see into.
    for (const pid of pids) if (Number(pid) > 0) process.kill(Number(pid), 'SIGKILL')
    rmdirSync(path)
  } catch {
    // Its processes are about to end, or it is gone.
  }
  return !existsSync(path)
}

/** A node of the swarm with an engine on its host. */
export interface EngineNode {
  readonly node: SwarmNode
  readonly engine: LabEngine
}
