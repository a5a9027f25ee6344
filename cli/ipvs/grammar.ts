// ipvsadm's command line as data: its commands, its options, and which may stand together
// (ipvsadm 1.31; observed on the program and in its manual). arguments.ts reads by it.

export type Command =
  | 'add-service'
  | 'edit-service'
  | 'delete-service'
  | 'flush'
  | 'list'
  | 'add-server'
  | 'delete-server'
  | 'edit-server'
  | 'set'
  | 'start-daemon'
  | 'stop-daemon'
  | 'restore'
  | 'save'
  | 'zero'

/** Options in the order in which they are checked. */
export const OPTION_NAMES = [
  'numeric',
  'connection',
  'service-address',
  'scheduler',
  'persistent',
  'netmask',
  'real-server',
  'forwarding-method',
  'weight',
  'u-threshold',
  'l-threshold',
  'mcast-interface',
  'timeout',
  'daemon',
  'stats',
  'rate',
  'thresholds',
  'persistent-conn',
  'nosort',
  'syncid',
  'exact',
  'ops',
  'pe',
  'sched-flags',
  'mcast-group',
  'mcast-port',
  'mcast-ttl',
  'sync-maxlen',
  'tun-info',
  'tun-type',
  'tun-port',
  'tun-nocsum',
  'tun-csum',
  'tun-remcsum',
] as const

export type OptionName = (typeof OPTION_NAMES)[number]

/** Per command, one letter per option: "+" must be there, "x" must not, "1" only one of these, " "
 * may. */
export const LEGAL: Readonly<Record<Command, string>> = {
  'add-service': 'xx+   xxxxxxxxxxxxxxx   xxxxxxxxxx',
  'edit-service': 'xx+   xxxxxxxxxxxxxxx   xxxxxxxxxx',
  'delete-service': 'xx+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
  flush: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
  list: ' 11xxxxxxxxx11       xxxxxxx xxxxx',
  'add-server': 'xx+xxx+    xxxxxxxxxxxxxxxxxx     ',
  'delete-server': 'xx+xxx+xxxxxxxxxxxxxxxxxxxxxxxxxxx',
  'edit-server': 'xx+xxx+    xxxxxxxxxxxxxxxxxx     ',
  set: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
  'start-daemon': 'xxxxxxxxxxx xxxxxxx xxxx    xxxxxx',
  'stop-daemon': 'xxxxxxxxxxxxxxxxxxx xxxxxxxxxxxxxx',
  restore: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
  save: ' xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
  zero: 'xx xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
}

export interface Switch {
  /** What it stands for in `LEGAL`; commands and -6, --sort, -h and -v stand for nothing there. */
  readonly option?: OptionName
  readonly command?: Command
  readonly short?: string
  /** Whether it takes a value. */
  readonly value?: 'required' | 'optional'
}

/** Every switch by its long name. */
export const SWITCHES: Readonly<Record<string, Switch>> = {
  'add-service': { command: 'add-service', short: 'A' },
  'edit-service': { command: 'edit-service', short: 'E' },
  'delete-service': { command: 'delete-service', short: 'D' },
  clear: { command: 'flush', short: 'C' },
  // The long name of -l is the same; it is added below.
  list: { command: 'list', short: 'L' },
  zero: { command: 'zero', short: 'Z' },
  'add-server': { command: 'add-server', short: 'a' },
  'edit-server': { command: 'edit-server', short: 'e' },
  'delete-server': { command: 'delete-server', short: 'd' },
  set: { command: 'set' },
  help: { short: 'h' },
  version: { short: 'v' },
  restore: { command: 'restore', short: 'R' },
  save: { command: 'save', short: 'S' },
  'start-daemon': { command: 'start-daemon', value: 'required' },
  'stop-daemon': { command: 'stop-daemon', value: 'required' },
  'tcp-service': { option: 'service-address', short: 't', value: 'required' },
  'udp-service': { option: 'service-address', short: 'u', value: 'required' },
  'sctp-service': { option: 'service-address', value: 'required' },
  'fwmark-service': { option: 'service-address', short: 'f', value: 'required' },
  scheduler: { option: 'scheduler', short: 's', value: 'required' },
  persistent: { option: 'persistent', short: 'p', value: 'optional' },
  netmask: { option: 'netmask', short: 'M', value: 'required' },
  'real-server': { option: 'real-server', short: 'r', value: 'required' },
  masquerading: { option: 'forwarding-method', short: 'm' },
  ipip: { option: 'forwarding-method', short: 'i' },
  gatewaying: { option: 'forwarding-method', short: 'g' },
  weight: { option: 'weight', short: 'w', value: 'required' },
  'u-threshold': { option: 'u-threshold', short: 'x', value: 'required' },
  'l-threshold': { option: 'l-threshold', short: 'y', value: 'required' },
  numeric: { option: 'numeric', short: 'n' },
  connection: { option: 'connection', short: 'c' },
  'mcast-interface': { option: 'mcast-interface', value: 'required' },
  'mcast-group': { option: 'mcast-group', value: 'required' },
  'mcast-port': { option: 'mcast-port', value: 'required' },
  'mcast-ttl': { option: 'mcast-ttl', value: 'required' },
  'sync-maxlen': { option: 'sync-maxlen', value: 'required' },
  syncid: { option: 'syncid', value: 'required' },
  timeout: { option: 'timeout' },
  daemon: { option: 'daemon' },
  stats: { option: 'stats' },
  rate: { option: 'rate' },
  thresholds: { option: 'thresholds' },
  'persistent-conn': { option: 'persistent-conn' },
  nosort: { option: 'nosort' },
  sort: {},
  exact: { option: 'exact', short: 'X' },
  ipv6: { short: '6' },
  ops: { option: 'ops', short: 'o' },
  pe: { option: 'pe', value: 'required' },
  'sched-flags': { option: 'sched-flags', short: 'b', value: 'required' },
  'tun-info': { option: 'tun-info' },
  'tun-type': { option: 'tun-type', value: 'required' },
  'tun-port': { option: 'tun-port', value: 'required' },
  'tun-nocsum': { option: 'tun-nocsum' },
  'tun-csum': { option: 'tun-csum' },
  'tun-remcsum': { option: 'tun-remcsum' },
}

/** Long name by short one. `-O` is the older manuals' name of `--ops`. */
export const SHORT: ReadonlyMap<string, string> = new Map([
  ...Object.entries(SWITCHES).flatMap(([name, { short }]): [string, string][] =>
    short === undefined ? [] : [[short, name]],
  ),
  ['l', 'list'],
  ['O', 'ops'],
])
