// swarm.ServiceSpec: what a request leaves out, what older clients cannot mean, and what can be
// refused without looking at the cluster. The order of the checks and their words are those of the
// Docker Engine (moby, daemon/cluster/convert/service.go) and, behind "rpc error", of a manager
// (swarmkit, manager/controlapi/service.go). What depends on other objects is in service-check.ts.

import { ConstraintError, parseConstraints } from '../store/constraint.ts'
import { portLabelFault } from '../store/port-labels.ts'
import type {
  NetworkAttachmentConfig,
  PortConfig,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from '../store/specs.ts'
import { checkContainer, completeContainer } from './container-spec.ts'
import { badRequest, invalidArgument, rpcError } from './errors.ts'
import { SERVICE_TASKS_MAX } from './limits.ts'
import { checkPlaceholders } from './placeholders.ts'
import { randomName } from './random-name.ts'

const MEMORY_MIN = 4 * 1024 * 1024
const NANO_CPUS_MIN = 1e6
const NAME = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/
const NAME_LENGTH_MAX = 63
const PORT_MAX = 65_535

/** As decoded: everything may be missing. */
export type GivenServiceSpec = Omit<Partial<ServiceSpec>, 'Mode' | 'TaskTemplate'> & {
  readonly Labels: ServiceSpec['Labels']
  readonly TaskTemplate: Omit<TaskSpec, 'Runtime'> & { readonly Runtime?: string }
  readonly Mode: {
    readonly Replicated?: { readonly Replicas?: number }
    readonly Global?: Readonly<Record<string, never>>
    readonly ReplicatedJob?: {
      readonly MaxConcurrent?: number
      readonly TotalCompletions?: number
    }
    readonly GlobalJob?: Readonly<Record<string, never>>
  }
}

/** Fills in what is missing and refuses what cannot be. Networks still stand as they were given.
 * `random`: for the name of a service that was given none. */
export function completeServiceSpec(
  given: GivenServiceSpec,
  random: (size: number) => Uint8Array,
): ServiceSpec {
  const { TaskTemplate, Networks, ...rest } = given
  const Mode = completeMode(given.Mode)
  const isJob = Mode.ReplicatedJob !== undefined || Mode.GlobalJob !== undefined
  const isAtTop = (TaskTemplate.Networks ?? []).length === 0 && Networks !== undefined
  const spec: ServiceSpec = {
    ...rest,
    ...(isAtTop ? { Networks } : {}),
    Name: given.Name ?? randomName(random),
    TaskTemplate: completeTask(TaskTemplate, Networks),
    Mode,
    ...update('UpdateConfig', given.UpdateConfig),
    ...update('RollbackConfig', given.RollbackConfig),
    ...(given.EndpointSpec === undefined
      ? {}
      : { EndpointSpec: completeEndpoint(given.EndpointSpec) }),
  }
  checkName(spec.Name)
  checkTask(spec.TaskTemplate)
  checkPlaceholders(spec)
  if (isJob && spec.UpdateConfig !== undefined) {
    throw invalidArgument('Jobs may not have an update config')
  }
  checkUpdate(spec.UpdateConfig)
  checkUpdate(spec.RollbackConfig)
  checkEndpoint(spec)
  const fault = portLabelFault(spec.Labels, spec.EndpointSpec?.Ports ?? [])
  if (fault !== null) throw invalidArgument(fault)
  return spec
}

function completeMode(given: GivenServiceSpec['Mode']): ServiceMode {
  const { Replicated, Global, ReplicatedJob, GlobalJob } = given
  const count = [Replicated, Global, ReplicatedJob, GlobalJob].filter(
    (mode) => mode !== undefined,
  ).length
  if (count > 1) throw badRequest('must specify only one service mode')
  if (Global !== undefined) return { Global: {} }
  if (GlobalJob !== undefined) return { GlobalJob: {} }
  if (ReplicatedJob !== undefined) {
    const MaxConcurrent = ReplicatedJob.MaxConcurrent ?? 1
    const TotalCompletions = ReplicatedJob.TotalCompletions ?? MaxConcurrent
    checkCount('MaxConcurrent', MaxConcurrent)
    checkCount('TotalCompletions', TotalCompletions)
    return { ReplicatedJob: { MaxConcurrent, TotalCompletions } }
  }
  const Replicas = Replicated?.Replicas ?? 1
  checkCount('Replicas', Replicas)
  return { Replicated: { Replicas } }
}

function checkCount(name: string, count: number): void {
  if (count <= SERVICE_TASKS_MAX) return
  throw invalidArgument(`${name}: must be at most ${SERVICE_TASKS_MAX}, not ${count}`)
}

function completeTask(
  given: GivenServiceSpec['TaskTemplate'],
  serviceNetworks: readonly NetworkAttachmentConfig[] | undefined,
): TaskSpec {
  const runtime = given.Runtime ?? 'container'
  if (runtime === 'plugin' && given.PluginSpec !== undefined) {
    throw rpcError('Unimplemented', 'services of the plugin runtime are not supported')
  }
  if (runtime !== 'container' && runtime !== 'plugin') throw badRequest('unsupported runtime')
  if (runtime === 'plugin' || given.ContainerSpec === undefined) {
    throw badRequest('mismatched Runtime and *Spec fields')
  }
  checkRestart(given)
  // The place at the service's top is the old one: it is shown there again, and counts here.
  const Networks = (given.Networks ?? []).length > 0 ? given.Networks : serviceNetworks
  const { ContainerSpec, RestartPolicy, Placement, Networks: _n, ...rest } = given
  const { PluginSpec: _p, NetworkAttachmentSpec: _a, ...kept } = rest
  return {
    ContainerSpec: completeContainer(ContainerSpec),
    ...kept,
    ...(RestartPolicy === undefined
      ? {}
      : { RestartPolicy: { Condition: 'any' as const, MaxAttempts: 0, ...RestartPolicy } }),
    ...(Placement === undefined ? {} : { Placement: completePlacement(Placement) }),
    ...(Networks === undefined ? {} : { Networks }),
    ForceUpdate: given.ForceUpdate,
    Runtime: 'container',
  }
}

/** A preference that names nothing to spread over is none. */
function completePlacement(given: NonNullable<TaskSpec['Placement']>) {
  const { Preferences, ...rest } = given
  const meant = Preferences?.filter(({ Spread }) => Spread !== undefined) ?? []
  return meant.length === 0 ? rest : { ...rest, Preferences: meant }
}

function checkRestart({ RestartPolicy: policy }: GivenServiceSpec['TaskTemplate']): void {
  const condition: string = policy?.Condition ?? 'any'
  if (!['any', 'none', 'on-failure'].includes(condition)) {
    throw badRequest(`invalid RestartCondition: ${JSON.stringify(condition)}`)
  }
}

function update<K extends string>(
  key: K,
  given: UpdateConfig | undefined,
): { readonly [key in K]?: UpdateConfig } {
  if (given === undefined) return {}
  const action: string = given.FailureAction ?? 'pause'
  if (!['pause', 'continue', 'rollback'].includes(action)) {
    throw badRequest(`unrecognized update failure action ${action}`)
  }
  if (action === 'rollback' && key === 'RollbackConfig') {
    throw badRequest('unrecognized rollback failure action rollback')
  }
  const order: string = given.Order || 'stop-first'
  if (order !== 'stop-first' && order !== 'start-first') {
    throw badRequest(`unrecognized update order ${order}`)
  }
  const complete = { ...given, FailureAction: action, Order: order } as UpdateConfig
  return { [key]: complete } as { readonly [key in K]?: UpdateConfig }
}

function completeEndpoint(given: NonNullable<ServiceSpec['EndpointSpec']>) {
  const mode: string = given.Mode ?? 'vip'
  if (mode !== 'vip' && mode !== 'dnsrr') {
    throw badRequest(`invalid resolution mode: ${JSON.stringify(mode)}`)
  }
  const Ports = (given.Ports ?? []).map(completePort)
  return { Mode: mode, ...(Ports.length === 0 ? {} : { Ports }) } as const
}

function completePort(given: PortConfig): PortConfig {
  const { Name, TargetPort = 0, PublishedPort } = given
  const protocol: string = given.Protocol ?? 'tcp'
  const mode: string = given.PublishMode ?? 'ingress'
  if (!['tcp', 'udp', 'sctp'].includes(protocol)) {
    throw badRequest(`invalid Protocol: ${JSON.stringify(protocol)}`)
  }
  if (mode !== 'ingress' && mode !== 'host') {
    throw badRequest(`invalid PublishMode: ${JSON.stringify(mode)}`)
  }
  checkPort(TargetPort)
  // 0 = one is chosen.
  if (PublishedPort !== undefined && PublishedPort !== 0) checkPort(PublishedPort)
  return {
    ...(Name === undefined ? {} : { Name }),
    Protocol: protocol as PortConfig['Protocol'],
    TargetPort,
    ...(PublishedPort === undefined ? {} : { PublishedPort }),
    PublishMode: mode,
  }
}

function checkPort(port: number): void {
  if (port >= 1 && port <= PORT_MAX) return
  throw invalidArgument(`EndpointSpec: port ${port} is not in the range 1-${PORT_MAX}`)
}

function checkName(name: string): void {
  if (name === '') throw invalidArgument('meta: name must be provided')
  if (!NAME.test(name)) throw invalidArgument('name must be valid as a DNS name component')
  if (name.length > NAME_LENGTH_MAX) {
    throw invalidArgument('name must be 63 characters or fewer')
  }
}

function checkTask(task: TaskSpec): void {
  const { Resources, RestartPolicy, Placement, ContainerSpec } = task
  for (const given of [Resources?.Limits, Resources?.Reservations]) {
    const { NanoCPUs: cpus = 0, MemoryBytes: memory = 0 } = given ?? {}
    if (cpus !== 0 && cpus < NANO_CPUS_MIN) {
      const cores = String(cpus / 1e9).replace(/e-(\d)$/, 'e-0$1')
      throw invalidArgument(`invalid cpu value ${cores}: Must be at least 0.001`)
    }
    if (memory !== 0 && memory < MEMORY_MIN) {
      throw invalidArgument(`invalid memory value ${memory}: Must be at least 4MiB`)
    }
  }
  for (const generic of Resources?.Reservations?.GenericResources ?? []) {
    if (generic.NamedResourceSpec ?? generic.DiscreteResourceSpec) continue
    throw invalidArgument('Reservations: a generic resource must be named or discrete')
  }
  if ((RestartPolicy?.Delay ?? 0) < 0) {
    throw invalidArgument('TaskSpec: restart-delay cannot be negative')
  }
  if ((RestartPolicy?.Window ?? 0) < 0) {
    throw invalidArgument('TaskSpec: restart-window cannot be negative')
  }
  checkConstraints(Placement?.Constraints ?? [])
  checkContainer(ContainerSpec!)
}

function checkConstraints(constraints: readonly string[]): void {
  try {
    parseConstraints(constraints)
  } catch (error) {
    if (error instanceof ConstraintError) throw rpcError('Unknown', error.message)
    throw error
  }
}

function checkUpdate(config: UpdateConfig | undefined): void {
  if (config === undefined) return
  const { Delay = 0, Monitor = 0, MaxFailureRatio: ratio = 0 } = config
  if (Delay < 0) throw invalidArgument('TaskSpec: update-delay cannot be negative')
  if (Monitor < 0) throw invalidArgument('TaskSpec: update-monitor cannot be negative')
  if (!(ratio >= 0 && ratio <= 1)) {
    throw invalidArgument('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1')
  }
}

function checkEndpoint({ EndpointSpec: endpoint }: ServiceSpec): void {
  const seen = new Set<string>()
  for (const { PublishMode, PublishedPort = 0, Protocol } of endpoint?.Ports ?? []) {
    // Each client's node would have to balance by itself, and DNS cannot do that with ports.
    if (endpoint?.Mode === 'dnsrr' && PublishMode === 'ingress') {
      throw invalidArgument(
        "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
      )
    }
    if (PublishedPort === 0) continue
    const key = `${PublishedPort}/${Protocol}`
    if (seen.has(key)) {
      throw invalidArgument('EndpointSpec: duplicate published ports provided')
    }
    seen.add(key)
  }
}
