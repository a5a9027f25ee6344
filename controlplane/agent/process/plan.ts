// From a task to what is to be run: the part of preparing a process task that is pure. What the
// process runtime cannot do is refused here, in one sentence that names it, before anything is
// made.

import type { AssignedTask } from '../../store/assignment.ts'
import { predefinedNetwork } from '../../store/predefined-networks.ts'
import type { ContainerSpec, Mount } from '../../store/specs.ts'
import { expandTemplate } from '../../store/template.ts'
import { TaskError, type TaskHost } from '../executor.ts'
import { environmentOf, nameOf, resourceEnvironment, taskContext } from '../task-context.ts'
import type { Image } from './image.ts'

export interface PlannedMount {
  readonly kind: 'bind' | 'volume' | 'tmpfs'
  /** Host path of a bind, name of a volume ('' = one of the task's own). */
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
  readonly createSource: boolean
  readonly propagation: string
  /** Options of a tmpfs. */
  readonly options: string
}

export interface Plan {
  readonly name: string
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly directory: string
  /** As the user wrote it: name or number, with an optional group. */
  readonly user: string
  readonly hostname: string
  readonly hosts: readonly string[]
  readonly resolvConf: string
  readonly mounts: readonly PlannedMount[]
  readonly readOnly: boolean
  readonly noNewPrivileges: boolean
  /** [name for prlimit(1), soft, hard], -1 = unlimited. */
  readonly limits: readonly (readonly [string, number, number])[]
  /** [path below /proc/sys, value]. */
  readonly sysctls: readonly (readonly [string, string])[]
  readonly stopSignal: string
  readonly isTty: boolean
  readonly oomScoreAdjust: number | null
}

/** What this runtime has no means for, by the field of the spec that asks for it. */
const REFUSALS: readonly (readonly [string, (spec: ContainerSpec) => unknown])[] = [
  ['an open standard input', (spec) => spec.OpenStdin],
  ['additional groups', (spec) => spec.Groups?.length],
  ['added capabilities', (spec) => spec.CapabilityAdd?.length],
  ['dropped capabilities', (spec) => spec.CapabilityDrop?.length],
  ['credential specs', (spec) => spec.Privileges?.CredentialSpec],
  ['SELinux contexts', (spec) => hasValues(spec.Privileges?.SELinuxContext)],
  ['seccomp profiles', (spec) => spec.Privileges?.Seccomp?.Mode === 'custom'],
]

const hasValues = (object: object | undefined): boolean =>
  object !== undefined && Object.values(object).some(Boolean)

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Plans a task. `gateways` are the name servers of its networks, the first network's first. Throws
 * TaskError for what cannot be. */
export function planTask(
  task: AssignedTask,
  host: TaskHost,
  image: Image,
  gateways: readonly string[],
): Plan {
  const spec = task.spec.ContainerSpec
  if (spec === undefined) throw new TaskError('the task has no container to run')
  for (const [what, asks] of REFUSALS) {
    if (asks(spec)) throw new TaskError(`the process runtime does not support ${what}`)
  }
  const context = taskContext(task, host)
  const isOnHost = predefinedNetwork(task.spec) === 'host'
  try {
    const hostname = expandTemplate(spec.Hostname ?? '', context) || task.id.slice(0, 12)
    const own = [...environmentOf(task, host), ...resourceEnvironment(task)]
    return {
      name: nameOf(task),
      command: commandOf(spec, image),
      environment: environment(own, image, hostname, spec.TTY ?? false),
      directory: spec.Dir || image.config.directory,
      user: spec.User || image.config.user,
      hostname,
      hosts: hostsOf(spec, hostname, task),
      resolvConf: resolvConfOf(spec, gateways),
      mounts: (spec.Mounts ?? []).map((mount) => plannedMount(mount, context)),
      readOnly: spec.ReadOnly ?? false,
      noNewPrivileges: spec.Privileges?.NoNewPrivileges ?? false,
      limits: (spec.Ulimits ?? []).map(({ Name, Soft, Hard }) => [Name, Soft, Hard] as const),
      sysctls: Object.entries(spec.Sysctls ?? {}).map((one) => sysctl(one, isOnHost)),
      stopSignal: signalName(spec.StopSignal || image.config.stopSignal || 'SIGTERM'),
      isTty: spec.TTY ?? false,
      oomScoreAdjust: spec.OomScoreAdj ?? null,
    }
  } catch (error) {
    if (error instanceof TaskError) throw error
    throw new TaskError((error as Error).message)
  }
}

/** Docker's rule: a command of the spec replaces the image's entry point and its command. */
function commandOf(spec: ContainerSpec, { config }: Image): readonly string[] {
  const own = (spec.Command ?? []).length > 0
  const entry = own ? spec.Command! : config.entrypoint
  const given = (spec.Args ?? []).length > 0
  const command = [...entry, ...(given ? spec.Args! : own ? [] : config.command)]
  if (command.length === 0) throw new TaskError('no command specified')
  if (command.some((word) => word.includes('\0'))) throw new TaskError('invalid command')
  return command
}

function environment(
  own: readonly string[],
  { config }: Image,
  hostname: string,
  isTty: boolean,
): string[] {
  const variables = new Map<string, string>()
  const terminal = isTty ? ['TERM=xterm'] : []
  const first = [DEFAULT_PATH, `HOSTNAME=${hostname}`, ...terminal]
  for (const line of [...first, ...config.environment, ...own]) {
    const at = line.indexOf('=')
    if (line.includes('\0')) throw new TaskError('invalid environment variable')
    // Docker: a name alone takes the variable away.
    if (at < 0) variables.delete(line)
    else variables.set(line.slice(0, at), line)
  }
  return [...variables.values()]
}

/** Spec lines are "IP name [alias...]", as hosts(5). */
function hostsOf(spec: ContainerSpec, hostname: string, task: AssignedTask): string[] {
  const first = task.networks[0]?.addresses[0]?.replace(/\/.*$/, '')
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    ...(first === undefined ? [] : [`${first}\t${hostname}`]),
    ...(spec.Hosts ?? []),
  ]
}

function resolvConfOf(spec: ContainerSpec, gateways: readonly string[]): string {
  const config = spec.DNSConfig
  const servers = [...gateways, ...(config?.Nameservers ?? [])]
  const options = config?.Options?.length ? config.Options : ['ndots:0']
  return [
    ...servers.map((server) => `nameserver ${server}`),
    ...(config?.Search?.length ? [`search ${config.Search.join(' ')}`] : []),
    `options ${options.join(' ')}`,
    '',
  ].join('\n')
}

function plannedMount(mount: Mount, context: ReturnType<typeof taskContext>): PlannedMount {
  const target = expandTemplate(mount.Target, context)
  const source = expandTemplate(mount.Source ?? '', context)
  if (!target.startsWith('/') || target.split('/').includes('..')) {
    throw new TaskError(`invalid mount target "${target}": must be an absolute path`)
  }
  const { Type, ReadOnly = false, BindOptions, TmpfsOptions, VolumeOptions } = mount
  if (Type !== 'bind' && Type !== 'volume' && Type !== 'tmpfs') {
    throw new TaskError(`the process runtime does not support mounts of type "${Type}"`)
  }
  const driver = VolumeOptions?.DriverConfig?.Name ?? ''
  if (driver !== '' && driver !== 'local') {
    throw new TaskError(`the process runtime does not support the volume driver "${driver}"`)
  }
  if (Type === 'volume' && source !== '' && !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(source)) {
    throw new TaskError(`invalid volume name "${source}"`)
  }
  const options = [
    `mode=${(TmpfsOptions?.Mode ?? 0o1777).toString(8)}`,
    ...(TmpfsOptions?.SizeBytes ? [`size=${TmpfsOptions.SizeBytes}`] : []),
    ...(TmpfsOptions?.Options ?? []).map((option) => option.join('=')),
  ].join(',')
  return {
    kind: Type,
    source,
    target,
    readOnly: ReadOnly,
    createSource: BindOptions?.CreateMountpoint ?? false,
    propagation: BindOptions?.Propagation || 'rprivate',
    options,
  }
}

/** Only settings of the task's own namespaces may be changed (network, IPC, host name). */
function sysctl([name, value]: [string, string], isOnHost: boolean): readonly [string, string] {
  if (isOnHost && name.startsWith('net')) {
    throw new TaskError(`sysctl "${name}" not allowed in host network namespace`)
  }
  if (!/^(net|kernel\.(shm|msg|sem)|fs\.mqueue)[.\w/-]*$/.test(name) || name.includes('..')) {
    throw new TaskError(`sysctl "${name}" is not in a separate namespace, so it cannot be set`)
  }
  return [name.replaceAll('.', '/'), value]
}

const SIGNAL_NUMBERS: Readonly<Record<string, string>> = {
  1: 'HUP',
  2: 'INT',
  3: 'QUIT',
  9: 'KILL',
  10: 'USR1',
  12: 'USR2',
  15: 'TERM',
  28: 'WINCH',
}

/** "SIGTERM", "term" and "15" as "TERM". */
function signalName(text: string): string {
  const name = SIGNAL_NUMBERS[text] ?? text.toUpperCase().replace(/^SIG/, '')
  if (!/^[A-Z][A-Z0-9+-]{1,9}$/.test(name)) throw new TaskError(`Invalid signal: ${text}`)
  return name
}
