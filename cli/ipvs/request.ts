// From switches to what is asked for: values are read, contradictions found, defaults filled in.
// Messages and their order are ipvsadm's, so that scripts that look at them go on working.

import { WEIGHT_MAX } from '../../base/limits.ts'
import type {
  ManualOptions,
  ManualProtocol,
  ManualServer,
  Method,
  ServiceKey,
} from '../../dataplane/manual-services.ts'
import type { TimeoutSeconds } from '../../dataplane/questions.ts'
import { PERSISTENCE_SECONDS_MAX, THRESHOLD_MAX } from '../../ipvs-emulator/limits.ts'
import { parseNetmask, parseService, wholeNumber } from './address.ts'
import { type Given, readArguments } from './arguments.ts'
import { IpvsFailure, STATUS_OPTION, STATUS_REFUSED, tryHelp } from './failure.ts'
import { type Command, LEGAL, OPTION_NAMES, type OptionName, SWITCHES } from './grammar.ts'
import type { Names } from './names.ts'

const SCHEDULER_DEFAULT = 'wlc'
const PERSISTENCE_SECONDS_DEFAULT = 300
const MARK_MAX = 0xffffffff
/** IP_VS_SCHEDNAME_MAXLEN without its closing zero. */
const SCHEDULER_LENGTH_MAX = 15

export interface Request {
  readonly command: Command | 'help' | 'version'
  readonly options: ReadonlySet<OptionName>
  /** Null when no service was named. */
  readonly key: ServiceKey | null
  readonly service: ManualOptions
  /** Null when no real server was named. */
  readonly server: ManualServer | null
  /** Of --set. */
  readonly timeouts: TimeoutSeconds | null
}

/** Reads a command line. `restoring`: a line of a rules file, where a service on every port is
 * left for the agent to judge, because its tables may have one. Throws IpvsFailure. */
export function readRequest(args: readonly string[], names: Names, restoring = false): Request {
  const { given, rest, failure } = readArguments(args)
  const [first, ...more] = given
  if (first === undefined) throw failure ?? tryHelp()
  const command = commandOf(first)
  if (command === 'help' || command === 'version') return { ...new Reader(names).result(command) }
  const reader = new Reader(names)
  for (const one of more) reader.take(one)
  if (failure !== null) throw failure
  const left = [...rest]
  const timeouts = command === 'set' ? readTimeouts(left.splice(0, 3)) : null
  if (left.length > 0) fail(`unexpected argument ${left[0]}`)
  reader.checkFlags()
  checkLegal(command, reader.options)
  reader.checkService(command, restoring)
  checkList(command, reader.options)
  return { ...reader.result(command), timeouts }
}

function fail(message: string): never {
  throw new IpvsFailure(STATUS_OPTION, message)
}

function commandOf({ name, value }: Given): Request['command'] {
  if (name === 'help' || name === 'version') return name
  const { command } = SWITCHES[name]!
  if (command === undefined) throw tryHelp()
  if (command === 'start-daemon' && value !== 'master' && value !== 'backup') {
    fail('illegal start-daemon parameter specified')
  }
  if (command === 'stop-daemon' && value !== 'master' && value !== 'backup') {
    fail('illegal start_daemon specified')
  }
  return command
}

const METHODS: Readonly<Record<string, Method>> = {
  masquerading: 'masq',
  ipip: 'tunnel',
  gatewaying: 'route',
}
const PROTOCOLS: Readonly<Record<string, ManualProtocol>> = {
  'tcp-service': 'tcp',
  'udp-service': 'udp',
  'sctp-service': 'sctp',
}
const NO_KEY: ServiceKey = { mark: 0, family: 4, protocol: 'tcp', address: '', port: 0 }

/** Takes switches one by one. */
class Reader {
  readonly options: Set<OptionName> = new Set()
  private readonly names: Names
  private key: ServiceKey | null = null
  private scheduler: string = ''
  private flags: string[] = []
  private persistenceSeconds: number = 0
  private prefix: number | null = null
  /** Family of the address that the mask was read for. */
  private maskFamily: 4 | 6 = 4
  private real: { family: 4 | 6; address: string; port: number } | null = null
  private method: Method | null = null
  private tunnelType: string = 'ipip'
  private weight: number = 1
  private upper: number = 0
  private lower: number = 0

  constructor(names: Names) {
    this.names = names
  }

  take({ name, value, shown }: Given): void {
    const { option, command } = SWITCHES[name]!
    if (command !== undefined || name === 'help' || name === 'version') {
      fail(`invalid option \`${shown}'`)
    }
    if (option !== undefined) {
      if (this.options.has(option)) fail(`multiple '${option}' options specified`)
      this.options.add(option)
    }
    if (Object.hasOwn(METHODS, name)) this.method = METHODS[name]!
    else if (Object.hasOwn(PROTOCOLS, name)) this.takeService(PROTOCOLS[name]!, value!)
    else VALUES[name]?.(this, value)
  }

  private takeService(protocol: ManualProtocol, text: string): void {
    const parsed = parseService(text, protocol, this.names)
    if (parsed === null) fail('illegal virtual server address[:port] specified')
    const { family, address, port } = parsed
    this.key = { mark: 0, family, protocol, address, port: port ?? 0 }
  }

  takeMark(text: string): void {
    const mark = wholeNumber(text, 1, MARK_MAX)
    if (mark === null) fail(`invalid fwmark value \`${text}' specified`)
    this.key = { ...NO_KEY, mark }
  }

  takeIpv6(): void {
    if (this.key === null || this.key.mark === 0) fail('-6 used before -f\n')
    this.key = { ...this.key, family: 6 }
  }

  takeScheduler(text: string): void {
    this.scheduler = text.slice(0, SCHEDULER_LENGTH_MAX)
  }

  takePersistence(text: string | null): void {
    this.persistenceSeconds = text === null ? PERSISTENCE_SECONDS_DEFAULT : readTimeout(text, 1)
  }

  takeNetmask(text: string): void {
    const is6 = this.key?.family === 6
    this.maskFamily = is6 ? 6 : 4
    this.prefix = is6 ? wholeNumber(text, 1, 128) : parseNetmask(text)
    if (this.prefix === null) failNetmask(this.maskFamily)
  }

  takeFlags(text: string): void {
    this.flags = text.split(',').filter((flag) => flag !== '')
    for (const flag of this.flags) {
      if (!Object.hasOwn(FLAGS, flag)) fail(`invalid scheduler flag \`${flag}'`)
    }
  }

  takeServer(text: string): void {
    const parsed = parseService(text, this.key?.protocol ?? 'tcp', this.names)
    if (parsed === null) fail('illegal real server address[:port] specified')
    this.real = { ...parsed, port: parsed.port ?? this.key?.port ?? 0 }
  }

  takeWeight(text: string): void {
    this.weight = wholeNumber(text, 0, WEIGHT_MAX) ?? fail('illegal weight specified')
  }

  takeUpper(text: string): void {
    this.upper = wholeNumber(text, 0, THRESHOLD_MAX) ?? fail('illegal u_threshold specified')
  }

  takeLower(text: string): void {
    this.lower = wholeNumber(text, 0, THRESHOLD_MAX) ?? fail('illegal l_threshold specified')
  }

  takeTunnelType(text: string): void {
    if (!['ipip', 'gue', 'gre'].includes(text)) fail('illegal tunnel type specified')
    this.tunnelType = text
  }

  /** Flags belong to a scheduler; those without a name of its own fit any. */
  checkFlags(): void {
    const scheduler = this.scheduler
    for (const flag of this.flags) {
      const owner = FLAGS[flag]!
      if (owner !== '' && owner !== scheduler) fail(`incompatible scheduler flag \`${flag}'`)
    }
  }

  checkService(command: Command, restoring: boolean): void {
    if (command === 'add-service' || command === 'edit-service') {
      const { mark, port, protocol, family } = this.key!
      if (mark === 0 && port === 0 && !this.options.has('persistent') && !restoring) {
        fail('Zero port specified for non-persistent service')
      }
      // A mask that stands before the address was read as one of IPv4.
      if (this.prefix !== null && this.maskFamily !== family) failNetmask(family)
      if (this.options.has('ops') && mark === 0 && protocol !== 'udp') {
        fail('One-Packet Scheduling is only for UDP virtual services')
      }
      if (this.options.has('pe')) {
        throw new IpvsFailure(STATUS_REFUSED, 'Scheduler or persistence engine not found')
      }
    }
    if (command !== 'add-server' && command !== 'edit-server') return
    const isTunnel = this.method === 'tunnel'
    if (this.real!.family !== this.key!.family && !isTunnel) {
      fail('Different address family is allowed only for tunneling servers')
    }
    this.checkTunnel(isTunnel)
  }

  private checkTunnel(isTunnel: boolean): void {
    const names = ['tun-type', 'tun-port', 'tun-nocsum', 'tun-csum', 'tun-remcsum'] as const
    const used = names.filter((name) => this.options.has(name))
    if (used.length === 0) return
    if (!isTunnel) fail('Tunnel options conflict with forward method')
    const type = this.tunnelType
    if (type === 'gue' && !this.options.has('tun-port')) {
      fail(`You need to supply the 'tun-port' option for the 'gue' tunnel type`)
    }
    const stray = used.find((name) => name !== 'tun-type')
    if (type === 'ipip' && stray !== undefined) {
      fail(`Illegal '${stray}' option with the 'ipip' tunnel type`)
    }
  }

  result(command: Request['command']): Request {
    const { key, real, options } = this
    const family = key?.family ?? 4
    // Route and Tunnel leave the port alone, so it is the service's.
    const moved = this.method === 'route' || this.method === 'tunnel'
    const port = moved && key !== null && key.mark === 0 ? key.port : (real?.port ?? 0)
    return {
      command,
      options,
      key,
      service: {
        scheduler: this.scheduler || SCHEDULER_DEFAULT,
        schedulerFlags: ownFlags(this.scheduler, this.flags),
        persistenceSeconds: this.persistenceSeconds,
        persistencePrefix: this.prefix ?? (family === 6 ? 128 : 32),
        onePacket: options.has('ops'),
      },
      server:
        real === null
          ? null
          : {
              address: real.address,
              port,
              method: this.method ?? 'masq',
              weight: this.weight,
              upperThreshold: this.upper,
              lowerThreshold: this.lower,
            },
      timeouts: null,
    }
  }
}

/** Flags and the scheduler that has them; "" = any. */
const FLAGS: Readonly<Record<string, string>> = {
  'flag-1': '',
  'flag-2': '',
  'flag-3': '',
  'sh-fallback': 'sh',
  'sh-port': 'sh',
  'mh-fallback': 'mh',
  'mh-port': 'mh',
}

/** Each once, in the order of their bits, by the scheduler's own names where it has them. */
function ownFlags(scheduler: string, flags: readonly string[]): string[] {
  const named = scheduler === 'sh' || scheduler === 'mh'
  const names = named
    ? [`${scheduler}-fallback`, `${scheduler}-port`, 'flag-3']
    : ['flag-1', 'flag-2', 'flag-3']
  return names.filter((name, i) => flags.includes(name) || flags.includes(`flag-${i + 1}`))
}

/** What each switch with a meaning of its own does with its value. */
const VALUES: Readonly<Record<string, (reader: Reader, value: string | null) => void>> = {
  'fwmark-service': (reader, value) => reader.takeMark(value!),
  ipv6: (reader) => reader.takeIpv6(),
  scheduler: (reader, value) => reader.takeScheduler(value!),
  persistent: (reader, value) => reader.takePersistence(value),
  netmask: (reader, value) => reader.takeNetmask(value!),
  'sched-flags': (reader, value) => reader.takeFlags(value!),
  'real-server': (reader, value) => reader.takeServer(value!),
  weight: (reader, value) => reader.takeWeight(value!),
  'u-threshold': (reader, value) => reader.takeUpper(value!),
  'l-threshold': (reader, value) => reader.takeLower(value!),
  'tun-type': (reader, value) => reader.takeTunnelType(value!),
  'tun-port': (_reader, value) => ranged(value!, 1, 65_535, 'illegal tunnel port specified'),
  syncid: (_reader, value) => ranged(value!, 0, 255, 'illegal syncid specified'),
  'mcast-port': (_reader, value) => ranged(value!, 1, 65_535, 'illegal mcast-port specified'),
  'mcast-ttl': (_reader, value) => ranged(value!, 1, 255, 'illegal mcast-ttl specified'),
  'sync-maxlen': (_reader, value) => ranged(value!, 1, 65_507, 'illegal sync-maxlen specified'),
}

function failNetmask(family: 4 | 6): never {
  if (family === 6) fail('illegal ipv6 netmask specified')
  fail('illegal virtual server persistent mask specified')
}

function ranged(text: string, min: number, max: number, message: string): void {
  if (wholeNumber(text, min, max) === null) fail(message)
}

function readTimeout(text: string, min: number): number {
  const seconds = wholeNumber(text, min, PERSISTENCE_SECONDS_MAX)
  return seconds ?? fail(`invalid timeout value \`${text}' specified`)
}

function readTimeouts(texts: readonly string[]): TimeoutSeconds {
  if (texts.length < 3) fail('--set option requires 3 timeout values')
  const [tcp, tcpFin, udp] = texts.map((text) => readTimeout(text, 0))
  return [tcp!, tcpFin!, udp!]
}

function checkLegal(command: Command, options: ReadonlySet<OptionName>): void {
  let exclusive: OptionName | null = null
  for (const [i, name] of OPTION_NAMES.entries()) {
    const rule = LEGAL[command][i]
    if (!options.has(name)) {
      if (rule !== '+') continue
      fail(`You need to supply the '${name}' option for the '${command}' command`)
    }
    if (rule === 'x') fail(`Illegal '${name}' option with the '${command}' command`)
    if (rule !== '1') continue
    if (exclusive !== null) {
      fail(
        `The option '${name}' conflicts with the '${exclusive}' option in the '${command}' command`,
      )
    }
    exclusive = name
  }
}

/** What else does not go together in a listing. */
function checkList(command: Command, options: ReadonlySet<OptionName>): void {
  if (command !== 'list') return
  const has = (...names: OptionName[]): boolean => names.some((name) => options.has(name))
  const other = has('connection', 'timeout', 'daemon') && has('stats', 'rate', 'thresholds')
  if (other || (has('timeout', 'daemon') && has('persistent-conn'))) {
    fail('options conflicts in the list command')
  }
}
