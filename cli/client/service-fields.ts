// The options of `service create` and `service update` as data: which member of a ServiceSpec each
// one is, and how it is read. Help, create and update follow from these tables, so that they cannot
// disagree. What is more than a member of its own is in service-spec.ts.

import { capability } from '../stack/convert-service.ts'
import type { Json } from '../stack/json.ts'
import { asMount } from './mount.ts'
import { flag, list, type Options, text } from './options.ts'
import {
  asAddress,
  asCount,
  asCpus,
  asDuration,
  asGenericResource,
  asHost,
  asInteger,
  asNetwork,
  asPreference,
  asRatio,
  asReference,
  asSize,
  asText,
  asUlimit,
  asWords,
  keyValue,
  type Parse,
  ports,
} from './values.ts'

const CONTAINER = 'TaskTemplate.ContainerSpec'
const LIMITS = 'TaskTemplate.Resources.Limits'
const RESERVATIONS = 'TaskTemplate.Resources.Reservations'
const RESTART = 'TaskTemplate.RestartPolicy'
const HEALTH = `${CONTAINER}.Healthcheck`

/** An option with one value. */
export interface Scalar {
  readonly option: string
  readonly path: string
  /** Null: a flag. */
  readonly parse: Parse | null
  readonly value: string
  readonly help: string
  readonly short?: string
}

const scalar = (
  option: string,
  path: string,
  parse: Parse | null,
  value: string,
  help: string,
  short?: string,
): Scalar => ({ option, path, parse, value, help, ...(short === undefined ? {} : { short }) })

/** The six settings of an update, and of a rollback. */
function flowScalars(noun: 'update' | 'rollback', path: string): Scalar[] {
  const actions = noun === 'update' ? 'pause, continue or rollback' : 'pause or continue'
  return [
    scalar(`${noun}-parallelism`, `${path}.Parallelism`, asCount, 'N', 'Tasks at once; 0 = all'),
    scalar(`${noun}-delay`, `${path}.Delay`, asDuration, 'DURATION', 'Pause between tasks'),
    scalar(
      `${noun}-monitor`,
      `${path}.Monitor`,
      asDuration,
      'DURATION',
      'For how long a new task that fails counts (default 5s)',
    ),
    scalar(`${noun}-failure-action`, `${path}.FailureAction`, asText, 'ACTION', actions),
    scalar(
      `${noun}-max-failure-ratio`,
      `${path}.MaxFailureRatio`,
      asRatio,
      'RATIO',
      'Share of tasks that may fail',
    ),
    scalar(
      `${noun}-order`,
      `${path}.Order`,
      asText,
      'ORDER',
      'stop-first (default) or start-first',
    ),
  ]
}

export const UPDATE_SCALARS: readonly Scalar[] = flowScalars('update', 'UpdateConfig')
export const ROLLBACK_SCALARS: readonly Scalar[] = flowScalars('rollback', 'RollbackConfig')
export const RESTART_SCALARS: readonly Scalar[] = [
  scalar('restart-condition', `${RESTART}.Condition`, asText, 'WHEN', 'none, on-failure or any'),
  scalar('restart-delay', `${RESTART}.Delay`, asDuration, 'DURATION', 'Wait before (default 5s)'),
  scalar('restart-max-attempts', `${RESTART}.MaxAttempts`, asCount, 'N', 'Give up after that many'),
  scalar('restart-window', `${RESTART}.Window`, asDuration, 'DURATION', 'In which attempts count'),
]
export const HEALTH_SCALARS: readonly Scalar[] = [
  scalar('health-interval', `${HEALTH}.Interval`, asDuration, 'DURATION', 'Between two checks'),
  scalar(
    'health-timeout',
    `${HEALTH}.Timeout`,
    asDuration,
    'DURATION',
    'A check may take that long',
  ),
  scalar('health-retries', `${HEALTH}.Retries`, asInteger, 'N', 'Failures until it is unhealthy'),
  scalar(
    'health-start-period',
    `${HEALTH}.StartPeriod`,
    asDuration,
    'DURATION',
    'After the start, in which failures do not count',
  ),
  scalar(
    'health-start-interval',
    `${HEALTH}.StartInterval`,
    asDuration,
    'DURATION',
    'Between two checks in this period',
  ),
]

/** All that both commands have and that are members of their own. */
export const SCALARS: readonly Scalar[] = [
  scalar('endpoint-mode', 'EndpointSpec.Mode', asText, 'MODE', 'vip (default) or dnsrr'),
  scalar('entrypoint', `${CONTAINER}.Command`, asWords, 'COMMAND', "Instead of the image's own"),
  scalar('hostname', `${CONTAINER}.Hostname`, asText, 'NAME', 'Host name of the tasks; a template'),
  scalar('init', `${CONTAINER}.Init`, null, '', 'An init process in each task'),
  scalar('isolation', `${CONTAINER}.Isolation`, asText, 'MODE', 'Of containers, on Windows'),
  scalar('limit-cpu', `${LIMITS}.NanoCPUs`, asCpus, 'CPUS', 'Processor time it may have'),
  scalar('limit-memory', `${LIMITS}.MemoryBytes`, asSize, 'SIZE', 'Memory it may have'),
  scalar('limit-pids', `${LIMITS}.Pids`, asInteger, 'N', 'Processes it may have; 0 = any'),
  scalar('oom-score-adj', `${CONTAINER}.OomScoreAdj`, asInteger, 'N', '-1000 to 1000'),
  scalar('read-only', `${CONTAINER}.ReadOnly`, null, '', 'Nothing of the root may be changed'),
  scalar(
    'replicas-max-per-node',
    'TaskTemplate.Placement.MaxReplicas',
    asCount,
    'N',
    'Tasks on one node; 0 = any number',
  ),
  scalar('reserve-cpu', `${RESERVATIONS}.NanoCPUs`, asCpus, 'CPUS', 'Processors a node must have'),
  scalar('reserve-memory', `${RESERVATIONS}.MemoryBytes`, asSize, 'SIZE', 'Memory it must have'),
  scalar(
    'stop-grace-period',
    `${CONTAINER}.StopGracePeriod`,
    asDuration,
    'DURATION',
    'From the stop signal to the kill (default 10s)',
  ),
  scalar('stop-signal', `${CONTAINER}.StopSignal`, asText, 'SIGNAL', 'That asks a task to stop'),
  scalar('tty', `${CONTAINER}.TTY`, null, '', 'A pseudo terminal', 't'),
  scalar('user', `${CONTAINER}.User`, asText, 'USER[:GROUP]', 'Names or numbers', 'u'),
  scalar('workdir', `${CONTAINER}.Dir`, asText, 'DIR', 'Where the command runs', 'w'),
]

/** An option that may be repeated: items of a list. */
export interface ListField {
  readonly option: string
  readonly path: string
  readonly parse: (value: string, option: string) => readonly unknown[]
  /** Items with the same key replace one another. */
  readonly keyOf: (item: unknown) => string
  /** What `--NAME-rm` gives, as a key; the value itself by default. */
  readonly removedKeys?: (value: string, option: string) => readonly string[]
  readonly value: string
  readonly removeValue: string
  readonly help: string
  readonly short?: string
}

const one =
  (parse: Parse) =>
  (value: string, option: string): readonly unknown[] => [parse(value, option)]
const member = (name: string) => (item: unknown) => String((item as Json)[name] ?? '')

/** How an update tells ports apart; publication is no part of what it removes by. */
export const portKey = (item: unknown): string => {
  const { PublishedPort = 0, TargetPort, Protocol = 'tcp', PublishMode = 'ingress' } = item as Json
  return `${PublishedPort}:${TargetPort}/${Protocol}/${PublishMode}`
}

export const LISTS: readonly ListField[] = [
  {
    option: 'env',
    path: `${CONTAINER}.Env`,
    parse: one(asText),
    keyOf: (item) => keyValue(String(item))[0],
    value: 'NAME[=VALUE]',
    removeValue: 'NAME',
    help: 'A variable of the environment; a template',
    short: 'e',
  },
  {
    option: 'constraint',
    path: 'TaskTemplate.Placement.Constraints',
    parse: one(asText),
    keyOf: String,
    value: 'CONSTRAINT',
    removeValue: 'CONSTRAINT',
    help: 'Only nodes for which it is so: node.role==worker, node.labels.zone!=b, …',
  },
  {
    option: 'placement-pref',
    path: 'TaskTemplate.Placement.Preferences',
    parse: one(asPreference),
    keyOf: (item) => JSON.stringify(item),
    removedKeys: (value, option) => [JSON.stringify(asPreference(value, option))],
    value: 'spread=LABEL',
    removeValue: 'spread=LABEL',
    help: "Spread over the label's values: spread=node.labels.zone",
  },
  {
    option: 'host',
    path: `${CONTAINER}.Hosts`,
    parse: one(asHost),
    keyOf: String,
    removedKeys: (value, option) => [String(asHost(value, option))],
    value: 'NAME:IP',
    removeValue: 'NAME:IP',
    help: 'A line of /etc/hosts',
  },
  ...(
    [
      ['dns', 'Nameservers', 'IP', 'A name server', asAddress],
      ['dns-option', 'Options', 'OPTION', 'An option of the resolver', asText],
      ['dns-search', 'Search', 'DOMAIN', 'A domain to search names in', asText],
    ] as const
  ).map(
    ([option, name, value, help, parse]): ListField => ({
      option,
      path: `${CONTAINER}.DNSConfig.${name}`,
      parse: one(parse),
      keyOf: String,
      value,
      removeValue: value,
      help,
    }),
  ),
  {
    option: 'group',
    path: `${CONTAINER}.Groups`,
    parse: one(asText),
    keyOf: String,
    value: 'GROUP',
    removeValue: 'GROUP',
    help: 'A supplementary group of the user',
  },
  {
    option: 'ulimit',
    path: `${CONTAINER}.Ulimits`,
    parse: one(asUlimit),
    keyOf: member('Name'),
    value: 'NAME=SOFT[:HARD]',
    removeValue: 'NAME',
    help: 'A limit of processes',
  },
  {
    option: 'mount',
    path: `${CONTAINER}.Mounts`,
    parse: one(asMount),
    keyOf: member('Target'),
    value: 'KEY=VALUE,…',
    removeValue: 'TARGET',
    help: 'Files: type=volume|bind|tmpfs, then source=,target=,readonly, …',
  },
  {
    option: 'secret',
    path: `${CONTAINER}.Secrets`,
    parse: one(asReference('Secret')),
    keyOf: member('SecretName'),
    value: 'SECRET',
    removeValue: 'SECRET',
    help: 'A name, or source=,target=,uid=,gid=,mode=',
  },
  {
    option: 'config',
    path: `${CONTAINER}.Configs`,
    parse: one(asReference('Config')),
    keyOf: member('ConfigName'),
    value: 'CONFIG',
    removeValue: 'CONFIG',
    help: 'A name, or source=,target=,uid=,gid=,mode=',
  },
  {
    option: 'network',
    path: 'TaskTemplate.Networks',
    parse: one(asNetwork),
    keyOf: member('Target'),
    value: 'NETWORK',
    removeValue: 'NETWORK',
    help: 'A name, or name=,alias=,driver-opt=KEY=VALUE',
  },
  {
    option: 'publish',
    path: 'EndpointSpec.Ports',
    parse: ports,
    keyOf: portKey,
    value: 'PORT',
    removeValue: 'TARGET',
    help: '8080:80/tcp, or published=,target=,protocol=,mode= (ingress or host)',
    short: 'p',
  },
  {
    option: 'generic-resource',
    path: `${RESERVATIONS}.GenericResources`,
    parse: one(asGenericResource),
    keyOf: (item) => String(((item as Json).DiscreteResourceSpec as Json | undefined)?.Kind ?? ''),
    removedKeys: (value) => [keyValue(value)[0]],
    value: 'KIND=N',
    removeValue: 'KIND',
    help: 'A resource a node must have',
  },
]

/** An option that may be repeated: members of a map. */
export interface MapField {
  readonly option: string
  readonly path: string
  readonly help: string
  readonly short?: string
}

export const MAPS: readonly MapField[] = [
  { option: 'label', path: 'Labels', help: 'A label of the service', short: 'l' },
  { option: 'container-label', path: `${CONTAINER}.Labels`, help: 'A label of its containers' },
  { option: 'sysctl', path: `${CONTAINER}.Sysctls`, help: 'A setting of the kernel' },
]

export const asCapability = (value: string): string => capability(value)

/** Refused with these words. */
export const REFUSED: Readonly<Record<string, string>> = {
  'credential-spec': 'is for containers of Windows, which weft does not run',
  'memory-swap': 'needs a newer API than there is; limit memory with --limit-memory',
  'memory-swappiness': 'needs a newer API than there is',
}

const BOTH: Options = {
  ...Object.fromEntries(
    [...SCALARS, ...HEALTH_SCALARS, ...RESTART_SCALARS, ...UPDATE_SCALARS, ...ROLLBACK_SCALARS].map(
      ({ option, parse, value, help, short }) => [
        option,
        parse === null ? flag(help, short) : text(value, help, short),
      ],
    ),
  ),
  'cap-add': list('CAP', 'A capability more'),
  'cap-drop': list('CAP', 'A capability less'),
  detach: flag('Do not wait for the tasks', 'd'),
  'health-cmd': text('COMMAND', 'Checks health'),
  'no-healthcheck': flag("No check, also none of the image's"),
  'log-driver': text('DRIVER', 'Where logs go'),
  'log-opt': list('KEY=VALUE', 'An option of the driver'),
  'max-concurrent': text('N', 'Tasks of a job at once'),
  'no-resolve-image': flag('Do not ask the registry for the digest of the image'),
  quiet: flag('No progress', 'q'),
  replicas: text('N', 'Number of tasks'),
  'with-registry-auth': flag('Hand on what "docker login" keeps for the registry'),
  'credential-spec': text('SPEC', 'Refused: for Windows'),
  'memory-swap': text('SIZE', 'Refused'),
  'memory-swappiness': text('N', 'Refused'),
}

export const CREATE_OPTIONS: Options = {
  ...BOTH,
  ...Object.fromEntries(
    LISTS.map(({ option, value, help, short }) => [option, list(value, help, short)]),
  ),
  ...Object.fromEntries(
    MAPS.map(({ option, help, short }) => [option, list('KEY=VALUE', help, short)]),
  ),
  'env-file': list('FILE', 'A file of variables'),
  mode: text('MODE', 'replicated (default), global, replicated-job or global-job'),
  name: text('NAME', 'Name of the service'),
}

export const UPDATE_OPTIONS: Options = {
  ...BOTH,
  ...Object.fromEntries(
    LISTS.flatMap(({ option, value, removeValue, help }) => [
      [`${option}-add`, list(value, help)],
      [`${option}-rm`, list(removeValue, 'Take it away')],
    ]),
  ),
  ...Object.fromEntries(
    MAPS.flatMap(({ option, help }) => [
      [`${option}-add`, list('KEY=VALUE', help)],
      [`${option}-rm`, list('KEY', 'Take it away')],
    ]),
  ),
  args: text('COMMAND', 'Arguments of the command'),
  force: flag('New tasks also when nothing has changed'),
  image: text('IMAGE', 'Image of the tasks'),
  rollback: flag('Back to the spec before'),
}
