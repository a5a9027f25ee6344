// From a task to the request that creates its container: the rules of moby's
// daemon/cluster/executor/container/container.go, as facts. Pure.

import type { ContainerCreateOptions } from 'dockerode'
import type { AssignedTask } from '../../store/assignment.ts'
import type { ContainerSpec, Healthcheck, Mount, PortConfig } from '../../store/specs.ts'
import { expandTemplate } from '../../store/template.ts'
import { TaskError, type TaskHost } from '../executor.ts'
import { environmentOf, nameOf, resourceEnvironment, taskContext } from '../task-context.ts'
import type { PlacedFile } from './files.ts'

/** By this a container is known as a task's, whoever starts the agent. */
export const TASK_LABEL = 'io.weft.task.id'

export interface ContainerPlace {
  /** The engine's name of the network that the container is made on: "none", "default", a twin. */
  readonly networkMode: string
  /** Name servers: the gateways of those networks. */
  readonly nameServers: readonly string[]
  /** Secrets and configs. */
  readonly files: readonly PlacedFile[]
}

export function containerName(task: AssignedTask): string {
  return nameOf(task)
}

/** Host-mode ports, which the engine publishes. */
export function hostPorts({ endpoint }: AssignedTask): readonly PortConfig[] {
  return (endpoint?.ports ?? []).filter(({ PublishMode }) => PublishMode === 'host')
}

/** The task without what only the data plane would publish its host ports by: the engine does. */
export function ofEngine(task: AssignedTask): AssignedTask {
  if (!task.networks.some(({ forHostPorts }) => forHostPorts)) return task
  return { ...task, networks: task.networks.filter(({ forHostPorts }) => !forHostPorts) }
}

/** Throws TaskError for what cannot be said. */
export function createOptions(
  task: AssignedTask,
  host: TaskHost,
  place: ContainerPlace,
): ContainerCreateOptions {
  const spec = task.spec.ContainerSpec
  if (spec === undefined) throw new TaskError('the task has no container to run')
  try {
    return { ...config(task, spec, host), HostConfig: hostConfig(task, spec, host, place) }
  } catch (error) {
    if (error instanceof TaskError) throw error
    throw new TaskError((error as Error).message)
  }
}

function config(task: AssignedTask, spec: ContainerSpec, host: TaskHost): ContainerCreateOptions {
  const context = taskContext(task, host)
  const exposed = hostPorts(task).map(({ TargetPort, Protocol }) => `${TargetPort}/${Protocol}`)
  return {
    name: containerName(task),
    Image: spec.Image,
    Labels: labelsOf(task, spec),
    Env: [...environmentOf(task, host), ...resourceEnvironment(task)],
    ...(spec.Command?.length ? { Entrypoint: [...spec.Command] } : {}),
    ...(spec.Args?.length ? { Cmd: [...spec.Args] } : {}),
    ...(spec.Hostname ? { Hostname: expandTemplate(spec.Hostname, context) } : {}),
    ...(spec.Dir ? { WorkingDir: spec.Dir } : {}),
    ...(spec.User ? { User: spec.User } : {}),
    ...(spec.StopSignal ? { StopSignal: spec.StopSignal } : {}),
    Tty: spec.TTY ?? false,
    OpenStdin: spec.OpenStdin ?? false,
    ...(spec.Healthcheck === undefined ? {} : { Healthcheck: healthcheck(spec.Healthcheck) }),
    ExposedPorts: Object.fromEntries(exposed.map((port) => [port, {}])),
  }
}

function healthcheck(check: Healthcheck): NonNullable<ContainerCreateOptions['Healthcheck']> {
  const { Test, Interval, Timeout, StartPeriod, StartInterval, Retries } = check
  return {
    ...(Test === undefined ? {} : { Test: [...Test] }),
    ...(Interval === undefined ? {} : { Interval }),
    ...(Timeout === undefined ? {} : { Timeout }),
    ...(StartPeriod === undefined ? {} : { StartPeriod }),
    // Engines before version 25 do not know it, and leave it.
    ...(StartInterval === undefined ? {} : { StartInterval }),
    ...(Retries === undefined ? {} : { Retries }),
  }
}

/** The user's labels first: nobody poses as another's task. */
function labelsOf(task: AssignedTask, spec: ContainerSpec): Record<string, string> {
  return {
    ...spec.Labels,
    'com.docker.swarm.node.id': task.nodeId,
    'com.docker.swarm.service.id': task.serviceId,
    'com.docker.swarm.service.name': task.serviceAnnotations.name,
    'com.docker.swarm.task': '',
    'com.docker.swarm.task.id': task.id,
    'com.docker.swarm.task.name': nameOf(task),
    [TASK_LABEL]: task.id,
  }
}

type HostConfig = NonNullable<ContainerCreateOptions['HostConfig']>

function hostConfig(
  task: AssignedTask,
  spec: ContainerSpec,
  host: TaskHost,
  place: ContainerPlace,
): HostConfig {
  const limits = task.spec.Resources?.Limits ?? {}
  const reservations = task.spec.Resources?.Reservations ?? {}
  const driver = task.spec.LogDriver ?? task.logDriver
  const dns = spec.DNSConfig
  return {
    NetworkMode: place.networkMode,
    ...(limits.MemoryBytes ? { Memory: limits.MemoryBytes } : {}),
    ...(reservations.MemoryBytes ? { MemoryReservation: reservations.MemoryBytes } : {}),
    ...(limits.NanoCPUs ? { NanoCpus: limits.NanoCPUs } : {}),
    ...(limits.Pids ? { PidsLimit: limits.Pids } : {}),
    Mounts: [
      ...(spec.Mounts ?? []).map((mount) => mountOf(mount, task, host)),
      ...place.files.map(({ path, target }) => {
        return { Type: 'bind' as const, Source: path, Target: target, ReadOnly: true }
      }),
    ],
    ReadonlyRootfs: spec.ReadOnly ?? false,
    GroupAdd: [...(spec.Groups ?? [])],
    CapAdd: [...(spec.CapabilityAdd ?? [])],
    CapDrop: [...(spec.CapabilityDrop ?? [])],
    Sysctls: { ...spec.Sysctls },
    Ulimits: (spec.Ulimits ?? []).map((limit) => ({ ...limit })),
    SecurityOpt: securityOptions(spec),
    ...(typeof spec.Init !== 'boolean' ? {} : { Init: spec.Init }),
    ...(!spec.OomScoreAdj ? {} : { OomScoreAdj: spec.OomScoreAdj }),
    ExtraHosts: (spec.Hosts ?? []).flatMap(extraHosts),
    Dns: [...place.nameServers, ...(dns?.Nameservers ?? [])],
    DnsSearch: [...(dns?.Search ?? [])],
    DnsOptions: dnsOptions(place, dns?.Options ?? []),
    PortBindings: portBindings(task),
    ...(driver === null ? {} : { LogConfig: { Type: driver.Name, Config: { ...driver.Options } } }),
    // The cluster restarts tasks; the engine never does.
    RestartPolicy: { Name: 'no' },
  } as HostConfig
}

/** A name without a dot is asked for as it is before any search domain is tried. For resolvers the
 * semicolon begins a comment, or ends the number. Engines before version 26 take it for a mistake
 * and leave out the name server of their own in the container, which would do no more than pass
 * questions on to ours, and whose making is a quarter of the processor time that a container takes
 * to start. Later ones correct the option and have theirs in between. */
const BARE_NAMES_FIRST = 'ndots:0;'

/** The user's, and ours last: after the semicolon nothing counts. */
function dnsOptions(place: ContainerPlace, given: readonly string[]): string[] {
  const isOurs = place.nameServers.length > 0 && !given.some((option) => /ndots/.test(option))
  return isOurs ? [...given, BARE_NAMES_FIRST] : [...given]
}

/** "IP name [alias...]" as the engine's "name:IP". */
function extraHosts(line: string): string[] {
  const [ip, ...names] = line.trim().split(/\s+/)
  return names.map((name) => `${name}:${ip}`)
}

function securityOptions({ Privileges }: ContainerSpec): string[] {
  const options: string[] = []
  const context = Privileges?.SELinuxContext
  if (context?.Disable) options.push('label=disable')
  for (const [key, value] of [
    ['user', context?.User],
    ['role', context?.Role],
    ['type', context?.Type],
    ['level', context?.Level],
  ] as const) {
    if (value) options.push(`label=${key}:${value}`)
  }
  const seccomp = Privileges?.Seccomp
  if (seccomp?.Mode === 'unconfined') options.push('seccomp=unconfined')
  if (seccomp?.Mode === 'custom' && seccomp.Profile) {
    options.push(`seccomp=${Buffer.from(seccomp.Profile, 'base64').toString('utf8')}`)
  }
  if (Privileges?.AppArmor?.Mode === 'disabled') options.push('apparmor=unconfined')
  if (Privileges?.NoNewPrivileges) options.push('no-new-privileges=true')
  return options
}

function mountOf(mount: Mount, task: AssignedTask, host: TaskHost) {
  const context = taskContext(task, host)
  const text = (value: string): string => expandTemplate(value, context)
  const all = (labels: Readonly<Record<string, string>> = {}): Record<string, string> =>
    Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, text(value)]))
  const volume = mount.VolumeOptions
  const driver = volume?.DriverConfig
  return {
    ...mount,
    Source: text(mount.Source ?? ''),
    Target: text(mount.Target),
    ...(volume === undefined
      ? {}
      : {
          VolumeOptions: {
            ...volume,
            Labels: all(volume.Labels),
            ...(driver === undefined
              ? {}
              : { DriverConfig: { ...driver, Options: all(driver.Options) } }),
          },
        }),
  }
}

function portBindings(task: AssignedTask): Record<string, { HostPort: string }[]> {
  const bindings: Record<string, { HostPort: string }[]> = {}
  for (const { TargetPort, Protocol, PublishedPort } of hostPorts(task)) {
    const key = `${TargetPort}/${Protocol}`
    bindings[key] ??= []
    bindings[key].push({ HostPort: PublishedPort ? String(PublishedPort) : '' })
  }
  return bindings
}
