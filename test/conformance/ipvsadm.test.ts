// Goal: `weft ipvs` understands and prints what ipvsadm does. Method: the real ipvsadm, where it is
// installed, with a stand-in for the kernel preloaded (ipvsadm-kernel.c): command lines are given
// to both and their words and statuses compared; a table is listed by both and the texts compared.
// Where weft differs on purpose the case says so.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { IpvsFailure } from '../../cli/ipvs/failure.ts'
import { machineNames } from '../../cli/ipvs/names.ts'
import { readRequest } from '../../cli/ipvs/request.ts'
import { parseAddress } from '../../dataplane/address.ts'
import {
  type Columns,
  formatConnections,
  formatRules,
  formatServices,
} from '../../ipvs-emulator/format.ts'
import type {
  Five,
  ListedConnection,
  ListedServer,
  ListedService,
} from '../../ipvs-emulator/listing.ts'
import { folder, IPVSADM, ipvsadm, type Outcome, skip } from './real-ipvsadm.ts'

const names = machineNames()

/** What weft makes of the same command line, as far as the options go. */
function weft(args: readonly string[]): Pick<Outcome, 'status' | 'stderr'> {
  try {
    readRequest(args, names)
    return { status: 0, stderr: '' }
  } catch (error) {
    if (!(error instanceof IpvsFailure)) throw error
    return { status: error.status, stderr: `${error.message}\n` }
  }
}

const V = ['-t', '1.2.3.4:80']
const R = [...V, '-r', '5.6.7.8']

/** Command lines of which both must think the same. */
const LINES: readonly (readonly string[])[] = [
  ...['-A', '-E', '-D', '-a', '-e', '-d'].map((command) => [command]),
  ...['-A', '-E', '-D', '-Z'].map((command) => [command, ...V]),
  ...['-A', '-D'].map((command) => [command, ...V, ...V]),
  ...['-a', '-e', '-d'].map((command) => [command, ...R, '-m']),
  ...['-L', '-l', '--list', '-S', '-C', '-Z', '-Ln', '-Sn'].map((one) => [one]),
  ['-A', ...V, '-s', 'rr'],
  ['-At', '1.2.3.4:80'],
  ['-A', '-t1.2.3.4:80', '-srr'],
  ['-A', '-t=1.2.3.4:80'],
  ['-A', '--tcp-service=1.2.3.4:80', '--scheduler=rr'],
  ['-A', '--tcp-service', '1.2.3.4:80', '--scheduler', 'rr'],
  ['-A', '-t', '1.2.3.4'],
  ['-A', '-t', '1.2.3.4', '-p'],
  ['-A', '-t', '1.2.3.4:0', '-p', '600'],
  ['-A', '-t', '80'],
  ['-A', '-t', ''],
  ['-A', '-t', ':80'],
  ['-A', '-t', '1.2.3.4:'],
  ['-A', '-t', '1.2.3.4:65536'],
  ['-A', '-t', '1.2.3.4:-1'],
  ['-A', '-t', '1.2.3.4: 80'],
  ['-A', '-t', '1.2.3.4:080'],
  ['-A', '-t', '1.2.3.4:80 '],
  ['-A', '-t', '1.2.3:80'],
  ['-A', '-t', '0x7f.1:80'],
  ['-A', '-t', '0300.1:80'],
  ['-A', '-t', '256.1.1.1:80'],
  ['-A', '-t', 'no.such.host.invalid:80'],
  ['-A', '-t', '1.2.3.4:http'],
  ['-A', '-u', '1.2.3.4:domain', '-o'],
  ['-A', '-t', '1.2.3.4:nosuch'],
  ['-A', '-t', '::1'],
  ['-A', '-t', '::1', '-p'],
  ['-A', '-t', '[::1'],
  ['-A', '-t', '[::1]'],
  ['-A', '-t', '[::1]x80'],
  ['-A', '--sctp-service', '1.2.3.4:80'],
  ['-A', ...V, '-o'],
  ['-A', '-f', '5', '-o'],
  ['-A', '-f', '0'],
  ['-A', '-f', '-1'],
  ['-A', '-f', 'x'],
  ['-A', '-f', '4294967295'],
  ['-A', '-f', '4294967296'],
  ['-A', '-f', '0x10'],
  ['-A', '-6', '-f', '5'],
  ['-A', ...V, '-6'],
  ['-L', '-6'],
  ['-A', ...V, '-p', '0'],
  ['-A', ...V, '-p300'],
  ['-A', ...V, '-p=300'],
  ['-A', ...V, '-p', '2678400'],
  ['-A', ...V, '-p', '2678401'],
  ['-A', ...V, '-p', 'x'],
  ['-A', ...V, '-p', '-s', 'rr'],
  ['-A', ...V, '--persistent=5', '-M', '255.255.255.0'],
  ['-A', ...V, '-M', 'nothing.invalid'],
  ['-A', ...V, '-M', '255.0.0.0', '-M', '255.0.0.0'],
  ['-A', '-t', '[::1]:80', '-p', '-M', '129'],
  ['-A', '-t', '[::1]:80', '-p', '-M', '0'],
  ['-A', ...V, '-s', 'sh', '-b', 'sh-port'],
  ['-A', ...V, '-b', 'sh-port,sh-fallback', '-s', 'sh'],
  ['-A', ...V, '-b', 'sh-port'],
  ['-A', ...V, '-s', 'mh', '-b', 'sh-port'],
  ['-A', ...V, '-s', 'sh', '-b', 'wrong'],
  ['-A', ...V, '-s', 'sh', '-b', '1'],
  ['-A', ...V, '-b', 'flag-1,flag-3'],
  ['-C', '-b', 'sh-port'],
  ['-A', ...V, '-w', '3'],
  ['-A', ...V, '-x', '3'],
  ['-A', ...V, '-n'],
  ['-a', ...V],
  ['-a', ...R, '-p'],
  ['-a', ...R, '-g', '-m'],
  ['-a', ...R, '-w', 'x'],
  ['-a', ...R, '-w', '-1'],
  ['-a', ...R, '-w', '65535'],
  ['-a', ...R, '-x', 'x'],
  ['-a', ...R, '-x', '-1'],
  ['-a', ...R, '-y', 'x'],
  ['-a', ...V, '-r', '5'],
  ['-a', ...V, '-r', '1.2.3.4:nosuch'],
  ['-a', ...V, '-r', '[::2]:80', '-m'],
  ['-a', '-f', '5', '-r', '[::2]:0', '-m'],
  ['-e', '-f', '5', '-r', '[::2]:0'],
  ['-a', '-f', '5', '-6', '-r', '1.2.3.4'],
  ['-d', '-f', '5', '-r', '[::2]:0'],
  ['-a', ...R, '-m', '--tun-type', 'gue'],
  ['-a', ...R, '-i', '--tun-type', 'gue'],
  ['-a', ...R, '-i', '--tun-type', 'gue', '--tun-port', '5'],
  ['-a', ...R, '-i', '--tun-type', 'ipip', '--tun-port', '5'],
  ['-a', ...R, '-i', '--tun-type', 'wrong'],
  ['-d', ...R, '-m'],
  ['-Z', '-w', '3'],
  ['-Z', '-n'],
  ['-C', '-n'],
  ['-C', '--sort'],
  ['-S', '--stats'],
  ['-L', '-c', ...V],
  ['-L', '-c', '--timeout'],
  ['-L', '--timeout', '--stats'],
  ['-L', '--timeout', '--persistent-conn'],
  ['-L', '--daemon', '--rate'],
  ['-L', '--stats', '--rate'],
  ['-L', '-n', '-n'],
  ['-L', '--sort', '--nosort', '--exact'],
  ['-L', 'stray'],
  ['-L', '-'],
  ['stray', '-L'],
  ['stray'],
  ['--'],
  ['-A', ...V, '--'],
  ['-A', '--', ...V],
  ['-A', ...V, 'stray'],
  ['-A', ...V, '-A'],
  ['-L', '-A'],
  ['-LA'],
  ['-LnA'],
  ['-L', '--list'],
  ['-A', ...V, '-h'],
  ['-A', '-v'],
  ['-n', '-L'],
  ['-X'],
  ['--nothing'],
  ['-L', '--nothing'],
  ['-L', '--nothing=3'],
  ['-L', '--numeric=3'],
  ['-L', '-n=3'],
  ['-Lq'],
  ['-L', '-q'],
  ['--add-s'],
  ['--scheduler=rr', '-A'],
  ['-A', '-t'],
  ['-At'],
  ['-A', '-st'],
  ['-L', '--tcp-service'],
  ['-A', '-u', '1.2.3.4:80', '-p', 'x', '-t'],
  ['--set', '1', '2', '3'],
  ['--set', '1', '2'],
  ['--set', '1', '2', '3', '4'],
  ['--set', 'x', '2', '3'],
  ['--set', '-1', '2', '3'],
  ['--set', '0', '0', '2678401'],
  ['--start-daemon', 'wrong'],
  ['--stop-daemon', 'wrong'],
  ['--start-daemon'],
  ['-L', '--syncid', '256'],
  ['-L', '--mcast-port', '0'],
  ['-L', '--mcast-ttl', '256'],
  ...[
    ['--numeric'],
    ['--connection'],
    ['--scheduler', 'rr'],
    ['--persistent'],
    ['--netmask', '255.0.0.0'],
    ['--real-server', '1.2.3.4'],
    ['--masquerading'],
    ['--weight', '1'],
    ['--u-threshold', '1'],
    ['--l-threshold', '1'],
    ['--mcast-interface', 'eth0'],
    ['--mcast-port', '5'],
    ['--mcast-ttl', '5'],
    ['--sync-maxlen', '5'],
    ['--syncid', '5'],
    ['--timeout'],
    ['--daemon'],
    ['--stats'],
    ['--rate'],
    ['--thresholds'],
    ['--persistent-conn'],
    ['--nosort'],
    ['--exact'],
    ['--ops'],
    ['--tun-info'],
    ['--tun-port', '5'],
    ['--tun-nocsum'],
    ['--tun-csum'],
    ['--tun-remcsum'],
  ].flatMap((option) => [
    ['-C', ...option],
    ['-D', ...V, ...option],
    ['-S', ...option],
    ['-L', ...option],
  ]),
]

t.test('command lines: the same words and the same status', { skip }, async (t) => {
  for (const args of LINES) {
    const real = ipvsadm(args)
    // Its own crash on a kernel that has no daemon, and the connections' file, are not of interest.
    if (real.status < 0 || real.stderr.startsWith('cannot open file')) continue
    const own = weft(args)
    const line = args.map((one) => JSON.stringify(one)).join(' ')
    const expected = real.stderr.replaceAll(IPVSADM, 'weft ipvs')
    // Here the table answered, and the options were in order.
    const refused = real.status === 255 && /^(Operation|No such)/.test(real.stderr)
    const listed = real.status === 1 && real.stderr === 'No such service\n'
    if (refused || listed) t.equal(own.status, 0, line)
    else t.same([own.status, own.stderr], [real.status, expected], line)
  }
})

t.test('a command line means the same', { skip }, async (t) => {
  const hex = (address: string): string =>
    address.split('.').reduce((text, part) => text + Number(part).toString(16).padStart(2, '0'), '')
  const cases: readonly (readonly string[])[] = [
    ['-A', ...V],
    ['-A', '-u', '1.2.3.4:domain', '-s', 'wrr', '-o'],
    ['-A', ...V, '-p', '50', '-M', '255.255.0.0'],
    ['-A', '-t', '0x7f.1:080', '-s', 'averyverylongname'],
    ['-A', '-M', '255.0.0.0', '-p=7', ...V],
    ['-a', ...R, '-m'],
    ['-a', ...V, '-r', '5.6.7.8:81', '-m', '-w', '0', '-x', '9', '-y', '3'],
    ['-a', ...V, '-r', '5.6.7.8:81', '-g'],
    ['-a', '-f', '9', '-r', '5.6.7.8:81', '-g'],
    ['-e', ...V, '-r', '5.6.7.8', '-i', '-w', '65535'],
    ['-d', ...V, '-r', '5.6.7.8:99'],
  ]
  const METHODS = { masq: 0, tunnel: 2, route: 3 }
  for (const args of cases) {
    const lines = ipvsadm(args, { IPVS_TRACE: '1' }).stdout.trim().split('\n')
    const { key, service, server } = readRequest(args, names)
    const [, protocol, address, port, mark, scheduler, flags, seconds, mask] =
      lines[0]!.split(/[ :]+/)
    t.equal(mark, String(key!.mark), args.join(' '))
    if (key!.mark === 0) {
      const numbers = { tcp: '6', udp: '17', sctp: '132' }
      t.same([protocol, address, port], [numbers[key!.protocol], hex(key!.address), `${key!.port}`])
    }
    if (args[0] === '-A') {
      const bits = (service.persistenceSeconds > 0 ? 1 : 0) + (service.onePacket ? 4 : 0)
      const ones = ((2 ** 32 - 2 ** (32 - service.persistencePrefix)) >>> 0).toString(16)
      t.same(
        [scheduler, flags, seconds, mask],
        [service.scheduler, bits.toString(16), `${service.persistenceSeconds}`, ones],
      )
      continue
    }
    const real = lines[1]!.split(' ')
    const { weight, upperThreshold, lowerThreshold, method } = server!
    // On a delete the method is its default, which is another one here.
    const shown = args[0] === '-d' ? real[2] : String(METHODS[method])
    t.same(real, [
      ...[hex(server!.address), `${server!.port}`, shown],
      ...[`${weight}`, `${upperThreshold}`, `${lowerThreshold}`],
    ])
  }
})

/** A row of a table: what the stand-in reads and what weft lists. */
interface Row {
  readonly service: Partial<ListedService> & Pick<ListedService, 'address' | 'port'>
  readonly servers: readonly (Partial<ListedServer> & Pick<ListedServer, 'address' | 'port'>)[]
}

const large: Five = [1_000_000_000, 999_999_999, 4_000_000_001, 123_456_789_012, 99_999_999]
const TABLE: readonly Row[] = [
  {
    service: { address: '10.0.0.1', port: 80, scheduler: 'wlc', persistenceSeconds: 300 },
    servers: [
      { address: '10.0.0.3', port: 80, counters: large, rates: [6, 7, 8, 9, 1e9], weight: 7 },
      { address: '10.0.0.2', port: 8080, active: 5, inactive: 6, persistent: 7, method: 'route' },
      { address: '192.168.0.2', port: 80, upperThreshold: 100, lowerThreshold: 50 },
    ],
  },
  {
    service: {
      ...{ address: '10.0.0.1', port: 443, scheduler: 'sh', persistenceSeconds: 600 },
      ...{ persistencePrefix: 24, schedulerFlags: ['sh-fallback'] },
    },
    servers: [],
  },
  {
    service: {
      ...{ address: '10.0.0.1', port: 444, scheduler: 'mh' },
      schedulerFlags: ['mh-fallback', 'mh-port'],
    },
    servers: [],
  },
  {
    service: { address: '10.0.0.1', port: 445, scheduler: 'rr', schedulerFlags: ['flag-2'] },
    servers: [],
  },
  {
    service: {
      ...{ protocol: 'udp', address: '10.0.0.1', port: 53, onePacket: true },
      counters: [1, 2, 3, 4, 5],
    },
    servers: [{ address: '10.0.0.9', port: 53, method: 'tunnel' }],
  },
  { service: { protocol: 'sctp', address: '10.0.0.1', port: 7 }, servers: [] },
  {
    service: { mark: 9, address: '0.0.0.0', port: 0 },
    servers: [{ address: '10.0.0.3', port: 0 }],
  },
  {
    service: {
      ...{ protocol: 'udp', address: '255.255.255.255', port: 65_535, scheduler: 'wrr' },
      ...{ persistenceSeconds: 5, persistencePrefix: 16, onePacket: true },
    },
    servers: [{ address: '255.255.255.255', port: 65_535, weight: 65_535 }],
  },
  { service: { address: '192.168.0.1', port: 80 }, servers: [] },
  { service: { address: '9.9.9.9', port: 80 }, servers: [] },
]

const ZEROS: Five = [0, 0, 0, 0, 0]

function listed({ service, servers }: Row, index: number): ListedService {
  return {
    ...{ key: String(index), zone: 0, family: 0, mark: 0, protocol: 'tcp', scheduler: 'rr' },
    ...{ schedulerFlags: [], persistenceSeconds: 0, persistencePrefix: 32, onePacket: false },
    ...{ counters: ZEROS, rates: ZEROS },
    ...service,
    servers: servers.map((server, i) => ({
      ...{ key: String(i), family: 0, weight: 1, upperThreshold: 0, lowerThreshold: 0 },
      ...{ active: 0, inactive: 0, persistent: 0, counters: ZEROS, rates: ZEROS },
      ...server,
    })),
  }
}

/** The table as the stand-in reads it. */
function stateOf(services: readonly ListedService[]): string {
  const protocols = { tcp: 6, udp: 17, sctp: 132 }
  const bitOf = (flag: string): number => (/fallback|flag-1/.test(flag) ? 8 : 16)
  const lines = services.flatMap((s) => {
    const persistent = s.persistenceSeconds > 0 ? 1 : 0
    const flags = s.schedulerFlags.reduce((sum, flag) => sum | bitOf(flag), persistent)
    const mask = (2 ** 32 - 2 ** (32 - s.persistencePrefix)) >>> 0
    const dotted = [24, 16, 8, 0].map((shift) => (mask >>> shift) & 255).join('.')
    const bits = (flags | (s.onePacket ? 4 : 0)).toString(16)
    return [
      [
        ...['S', s.mark === 0 ? protocols[s.protocol] : 0, s.address, s.port, s.mark],
        ...[s.scheduler, bits, s.persistenceSeconds, dotted, ...s.counters, ...s.rates],
      ].join(' '),
      ...s.servers.map((d) =>
        [
          ...[
            'D',
            d.address,
            d.port,
            { masq: 0, tunnel: 2, route: 3 }[d.method ?? 'masq'],
            d.weight,
          ],
          ...[d.upperThreshold, d.lowerThreshold, d.active, d.inactive, d.persistent],
          ...[...d.counters, ...d.rates],
        ].join(' '),
      ),
    ]
  })
  return `${lines.join('\n')}\n`
}

t.test('listings: the same text', { skip }, async (t) => {
  const services = TABLE.map(listed)
  const state = join(folder, 'state')
  writeFileSync(state, stateOf(services))
  const env = { IPVS_STATE: state }
  const columns: readonly Columns[] = [
    'plain',
    'stats',
    'rate',
    'thresholds',
    'persistent-conn',
    'tun-info',
  ]
  for (const one of columns) {
    for (const exact of [false, true]) {
      for (const unsorted of [false, true]) {
        const options = [
          ...(one === 'plain' ? [] : [`--${one}`]),
          ...(exact ? ['--exact'] : []),
          ...(unsorted ? ['--nosort'] : []),
        ]
        const real = ipvsadm(['-L', '-n', ...options], env)
        t.equal(real.stderr, '')
        const own = formatServices(services, { columns: one, exact, unsorted, tableSize: 4096 })
        t.equal(own, real.stdout, options.join(' '))
      }
    }
  }
  const alone = ipvsadm(['-L', '-n', '-t', '10.0.0.1:80'], env).stdout
  const first = { columns: 'plain', exact: false, unsorted: false, tableSize: null } as const
  t.equal(formatServices(services.slice(0, 1), first), alone, 'one service has no heading')
})

t.test('rules: the same text, but for the thresholds that ipvsadm forgets', { skip }, async (t) => {
  const services = TABLE.map(listed)
  const state = join(folder, 'rules')
  writeFileSync(state, stateOf(services))
  const real = ipvsadm(['-S', '-n'], { IPVS_STATE: state }).stdout
  t.equal(formatRules(services).replace(/ -x \d+ -y \d+/g, ''), real)
})

/** One as /proc/net/ip_vs_conn has it. */
function kernelLine(c: ListedConnection): string {
  const hex = (value: number, width: number): string =>
    value.toString(16).toUpperCase().padStart(width, '0')
  const address = (text: string): string => {
    const bytes = [...parseAddress(text)!.bytes].map((byte) => hex(byte, 2)).join('')
    return c.family === 0 ? bytes : bytes.toLowerCase().match(/..../g)!.join(':')
  }
  return [
    ...[c.protocol.padEnd(3), address(c.client), hex(c.clientPort, 4)],
    ...[address(c.virtual), hex(c.virtualPort, 4), address(c.server), hex(c.serverPort, 4)],
    ...[c.state.padEnd(11), String(c.expiresSeconds).padStart(7)],
  ].join(' ')
}

t.test('connections: the same text', { skip }, async (t) => {
  const four = { client: '10.0.0.1', virtual: '10.0.0.2', server: '255.255.255.255' }
  const six = { client: 'fd00::1', virtual: 'fd00:1:2:3:4:5:6:7', server: 'fd00::' }
  const rows: readonly [string, string, number, number, number][] = [
    ['TCP', 'ESTABLISHED', 899, 40_000, 80],
    ['TCP', 'ASSURED', 3661, 0, 80],
    ['UDP', 'UDP', 300, 53, 53],
    ['IP', 'NONE', 0, 0, 0],
    ['SCTP', 'S-ACK-SENT', 360_000, 65_535, 9],
  ]
  const connections = rows.flatMap(([protocol, state, expiresSeconds, clientPort, port]) => {
    const rest = { protocol, state, expiresSeconds, clientPort, virtualPort: port }
    return [four, six].map((ends, family) => ({ ...rest, ...ends, family, serverPort: port }))
  })
  const file = join(folder, 'connections')
  writeFileSync(file, ['heading', ...connections.map(kernelLine), ''].join('\n'))
  for (const options of [[], ['--persistent-conn']]) {
    const real = ipvsadm(['-L', '-n', '-c', ...options], { IPVS_CONNS: file })
    t.equal(formatConnections(connections, undefined, options.length > 0), real.stdout)
  }
})
