// One service of a compose file as the Engine API takes it: the compose file format 3 with its
// deploy keys, as `docker stack deploy` reads it.

import { references, tmpfs, volume } from './convert-files.ts'
import { ports } from './convert-ports.ts'
import { tagged } from './image-name.ts'
import { compact, duration, type Json } from './json.ts'
import type { StackNames } from './names.ts'
import { shellWords } from './shell-words.ts'
import { nanoCpus, sizeBytes } from './units.ts'
import type { Value } from './yaml-reader.ts'

export const NAMESPACE_LABEL = 'com.docker.stack.namespace'
export const IMAGE_LABEL = 'com.docker.stack.image'

/** Keys that a stack has no use for: said, and passed over (docker/cli, compose/types). */
export const UNSUPPORTED: readonly string[] = [
  'build',
  'cgroupns_mode',
  'cgroup_parent',
  'devices',
  'domainname',
  'external_links',
  'ipc',
  'links',
  'mac_address',
  'network_mode',
  'pid',
  'privileged',
  'restart',
  'security_opt',
  'shm_size',
  'userns_mode',
]
export const DEPRECATED: readonly string[] = ['container_name', 'expose']

const KEYS: readonly string[] = [
  ...UNSUPPORTED,
  ...DEPRECATED,
  'cap_add',
  'cap_drop',
  'command',
  'configs',
  'credential_spec',
  'depends_on',
  'deploy',
  'dns',
  'dns_opt',
  'dns_search',
  'entrypoint',
  'env_file',
  'environment',
  'extra_hosts',
  'group_add',
  'healthcheck',
  'hostname',
  'image',
  'init',
  'isolation',
  'labels',
  'logging',
  'networks',
  'oom_score_adj',
  'ports',
  'read_only',
  'secrets',
  'stdin_open',
  'stop_grace_period',
  'stop_signal',
  'sysctls',
  'tmpfs',
  'tty',
  'ulimits',
  'user',
  'volumes',
  'working_dir',
]

/** The service as a ServiceSpec of the Engine API. */
export function convertService(name: string, service: Value, names: StackNames): Json {
  service.allow(KEYS)
  const deploy = service.get('deploy')
  deploy.allow([
    'mode',
    'replicas',
    'labels',
    'update_config',
    'rollback_config',
    'resources',
    'restart_policy',
    'placement',
    'endpoint_mode',
  ])
  const image = service.get('image').text()
  if (image === '') {
    service.problem('invalid image reference for a service: no image specified')
  }
  return compact({
    Name: `${names.namespace}_${name}`,
    Labels: {
      ...deploy.get('labels').labels(),
      [NAMESPACE_LABEL]: names.namespace,
      [IMAGE_LABEL]: image,
    },
    TaskTemplate: compact({
      ContainerSpec: containerSpec(service, image, names),
      Resources: resources(deploy.get('resources')),
      ForceUpdate: 0,
      RestartPolicy: restartPolicy(deploy.get('restart_policy'), service.get('restart')),
      Placement: placement(deploy.get('placement')),
      LogDriver: logDriver(service.get('logging')),
      Networks: networks(name, service.get('networks'), names),
    }),
    Mode: mode(deploy),
    UpdateConfig: updateConfig(deploy.get('update_config')),
    RollbackConfig: updateConfig(deploy.get('rollback_config')),
    EndpointSpec: compact({
      Mode: deploy.get('endpoint_mode').word(['vip', 'dnsrr']),
      Ports: service
        .get('ports')
        .list()
        .flatMap(ports)
        .sort((a, b) => Number(a.PublishedPort ?? 0) - Number(b.PublishedPort ?? 0)),
    }),
  })
}

function containerSpec(service: Value, image: string, names: StackNames): Json {
  const text = (key: string): string | undefined => service.get(key).optionalText()
  return compact({
    Image: tagged(image),
    Labels: { ...service.get('labels').labels(), [NAMESPACE_LABEL]: names.namespace },
    Command: words(service.get('entrypoint')),
    Args: words(service.get('command')),
    Hostname: text('hostname'),
    Env: environment(service, names),
    Dir: text('working_dir'),
    User: text('user'),
    Groups: service.get('group_add').texts(),
    StopSignal: text('stop_signal'),
    StopGracePeriod: duration(service.get('stop_grace_period')),
    TTY: service.get('tty').flag(),
    OpenStdin: service.get('stdin_open').flag(),
    ReadOnly: service.get('read_only').flag(),
    Init: service.get('init').flag(),
    Isolation: text('isolation'),
    OomScoreAdj: service.get('oom_score_adj').integer(-1000, 1000),
    CapabilityAdd: service.get('cap_add').texts().map(capability),
    CapabilityDrop: service.get('cap_drop').texts().map(capability),
    Sysctls: service.get('sysctls').labels(),
    Ulimits: ulimits(service.get('ulimits')),
    Hosts: extraHosts(service.get('extra_hosts')),
    DNSConfig: compact({
      Nameservers: service.get('dns').textOrTexts(),
      Search: service.get('dns_search').textOrTexts(),
      Options: service.get('dns_opt').textOrTexts(),
    }),
    Healthcheck: healthcheck(service.get('healthcheck')),
    Mounts: [
      ...service
        .get('volumes')
        .list()
        .flatMap((value) => volume(value, names)),
      ...service.get('tmpfs').textOrTexts().map(tmpfs),
    ],
    Secrets: references(service.get('secrets'), names.secrets, 'Secret'),
    Configs: references(service.get('configs'), names.configs, 'Config'),
  })
}

/** "net_admin" as CAP_NET_ADMIN. */
export function capability(text: string): string {
  const name = text.trim().toUpperCase()
  return name === 'ALL' || name.startsWith('CAP_') ? name : `CAP_${name}`
}

/** A command as a list, or as a line of shell words. */
function words(value: Value): string[] | undefined {
  if (value.isMissing) return undefined
  if (!value.isText) return value.texts()
  const found = shellWords(value.text())
  if (found === undefined) value.problem('has a quotation mark without its pair')
  return found ?? []
}

/** A name without a value takes that of the shell. Where it has none, a name in a file says
 * nothing, and one in the service takes the image's variable away. */
function environment(service: Value, names: StackNames): string[] {
  const variables = new Map<string, string | null>()
  const file = service.get('env_file')
  const given = service.get('environment')
  const shell = given.file.environment
  for (const path of file.textOrTexts()) {
    try {
      for (const line of names.readText(path).split('\n')) {
        const match = /^\s*([^#=\s][^=]*?)\s*(?:=(.*))?$/.exec(line)
        const value = match?.[2] ?? shell[match?.[1] ?? '']
        if (match !== null && value !== undefined) variables.set(match[1]!, value)
      }
    } catch (error) {
      file.problem((error as Error).message)
    }
  }
  for (const [key, value] of given.pairs()) variables.set(key, value ?? shell[key] ?? null)
  return [...variables]
    .map(([key, value]) => (value === null ? key : `${key}=${value}`))
    .sort((a, b) => (a < b ? -1 : 1))
}

/** "name:ip", "name=ip" or a mapping as hosts(5) has it: "ip name". */
function extraHosts(value: Value): string[] {
  const pairs = value.isList
    ? value.texts().map((text) => {
        const match = /^([^:=]+)[:=](.+)$/.exec(text)
        return match === null ? [text, ''] : [match[1]!, match[2]!]
      })
    : value.pairs()
  return pairs.map(([name, ip]) => `${String(ip ?? '').replace(/^\[(.*)\]$/, '$1')} ${name}`)
}

function ulimits(value: Value): Json[] {
  return value.entries().map(([name, limit]) => {
    if (limit.isMap) {
      limit.allow(['soft', 'hard'])
      return {
        Name: name,
        Soft: limit.get('soft').integer(-1) ?? 0,
        Hard: limit.get('hard').integer(-1) ?? 0,
      }
    }
    const both = limit.integer(-1) ?? 0
    return { Name: name, Soft: both, Hard: both }
  })
}

function healthcheck(value: Value): Json | undefined {
  if (value.isMissing) return undefined
  value.allow([
    'test',
    'interval',
    'timeout',
    'retries',
    'start_period',
    'start_interval',
    'disable',
  ])
  const test = value.get('test')
  if (value.get('disable').flag() === true) {
    if (!test.isMissing) test.problem('test and disable cannot both be set')
    return { Test: ['NONE'] }
  }
  return compact({
    Test: test.isText ? ['CMD-SHELL', test.text()] : test.texts(),
    Interval: duration(value.get('interval')),
    Timeout: duration(value.get('timeout')),
    StartPeriod: duration(value.get('start_period')),
    StartInterval: duration(value.get('start_interval')),
    Retries: value.get('retries').integer(0),
  })
}

function logDriver(value: Value): Json | undefined {
  if (value.isMissing) return undefined
  value.allow(['driver', 'options'])
  return compact({ Name: value.get('driver').text(), Options: value.get('options').labels() })
}

function mode(deploy: Value): Json {
  const replicas = deploy.get('replicas')
  const count = replicas.integer(0)
  switch (
    deploy.get('mode').word(['replicated', 'global', 'replicated-job', 'global-job']) ??
    'replicated'
  ) {
    case 'global':
      if (count !== undefined) replicas.problem('replicas can only be used with replicated mode')
      return { Global: {} }
    case 'global-job':
      if (count !== undefined) replicas.problem('replicas can only be used with replicated-job')
      return { GlobalJob: {} }
    case 'replicated-job':
      return { ReplicatedJob: { MaxConcurrent: count ?? 1, TotalCompletions: count ?? 1 } }
    default:
      return { Replicated: count === undefined ? {} : { Replicas: count } }
  }
}

function updateConfig(value: Value): Json | undefined {
  if (value.isMissing) return undefined
  value.allow(['parallelism', 'delay', 'failure_action', 'monitor', 'max_failure_ratio', 'order'])
  const ratio = value.get('max_failure_ratio')
  const share = ratio.isMissing ? undefined : Number(ratio.text())
  if (share !== undefined && !(share >= 0 && share <= 1)) ratio.problem('must be between 0 and 1')
  return compact({
    Parallelism: value.get('parallelism').integer(0) ?? 1,
    Delay: duration(value.get('delay')),
    FailureAction: value.get('failure_action').word(['pause', 'continue', 'rollback']),
    Monitor: duration(value.get('monitor')),
    MaxFailureRatio: share ?? 0,
    Order: value.get('order').word(['stop-first', 'start-first']),
  })
}

function restartPolicy(value: Value, plain: Value): Json | undefined {
  if (value.isMissing) return plainRestart(plain)
  value.allow(['condition', 'delay', 'max_attempts', 'window'])
  return compact({
    Condition: value.get('condition').word(['none', 'on-failure', 'any']),
    Delay: duration(value.get('delay')),
    MaxAttempts: value.get('max_attempts').integer(0),
    Window: duration(value.get('window')),
  })
}

/** Outside of deploy a word says it: "no", "always", "unless-stopped", "on-failure[:attempts]". */
function plainRestart(value: Value): Json | undefined {
  const [word = '', attempts] = value.text().split(':')
  if (word === 'always' || word === 'unless-stopped') return { Condition: 'any' }
  if (word === 'on-failure') return { Condition: word, MaxAttempts: Number(attempts ?? 0) }
  if (word !== '' && word !== 'no') value.problem(`unknown restart policy "${word}"`)
  return undefined
}

function placement(value: Value): Json | undefined {
  if (value.isMissing) return undefined
  value.allow(['constraints', 'preferences', 'max_replicas_per_node'])
  return compact({
    Constraints: value.get('constraints').texts(),
    Preferences: value
      .get('preferences')
      .list()
      .map((preference) => ({ Spread: { SpreadDescriptor: preference.get('spread').text() } })),
    MaxReplicas: value.get('max_replicas_per_node').integer(0),
  })
}

function resources(value: Value): Json {
  value.allow(['limits', 'reservations'])
  return compact({
    Limits: resource(value.get('limits'), ['cpus', 'memory', 'pids']),
    Reservations: resource(value.get('reservations'), ['cpus', 'memory', 'generic_resources']),
  })
}

function resource(value: Value, keys: readonly string[]): Json {
  value.allow(keys)
  const cpus = value.get('cpus')
  const memory = value.get('memory')
  const nano = cpus.isMissing ? undefined : nanoCpus(cpus.text())
  const bytes = memory.isMissing ? undefined : sizeBytes(memory.text())
  if (!cpus.isMissing && nano === undefined) cpus.problem(`invalid number of CPUs`)
  if (!memory.isMissing && bytes === undefined) memory.problem(`invalid size`)
  const generic = value.get('generic_resources').list()
  return compact({
    NanoCPUs: nano,
    MemoryBytes: bytes,
    Pids: value.get('pids').integer(0),
    GenericResources: generic.map((entry) => {
      const spec = entry.get('discrete_resource_spec')
      return {
        DiscreteResourceSpec: {
          Kind: spec.get('kind').text(),
          Value: spec.get('value').integer(0) ?? 0,
        },
      }
    }),
  })
}

/** A list of names, or a mapping with aliases; without either the stack's default network. */
function networks(service: string, value: Value, names: StackNames): Json[] {
  const entries: [string, Value | null][] = value.isMissing
    ? [['default', null]]
    : value.isList
      ? value.list().map((entry) => [entry.text(), entry])
      : value.entries()
  return entries.map(([name, options]) => {
    const target = names.networks.get(name)
    if (target === undefined) {
      ;(options ?? value).problem(`undefined network "${name}"`)
    }
    const isMap = options?.isMap ?? false
    if (isMap) options!.allow(['aliases', 'driver_opts', 'ipv4_address', 'ipv6_address'])
    const aliases = isMap ? options!.get('aliases').texts() : []
    return compact({
      Target: target ?? name,
      Aliases: [...aliases, service],
      DriverOpts: isMap ? options!.get('driver_opts').labels() : {},
    })
  })
}
