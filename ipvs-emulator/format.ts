// Listings in ipvsadm's format, column for column (ipvsadm 1.31). Pure text of plain values:
// listing.ts makes them. Addresses and ports are numbers unless the caller has names for them.

import { parseAddress } from './address.ts'
import type { Five, ListedConnection, ListedServer, ListedService } from './listing.ts'

/** What the columns of a service listing show. */
export type Columns = 'plain' | 'stats' | 'rate' | 'thresholds' | 'persistent-conn' | 'tun-info'

/** An address and port as text; `protocol` is "tcp", "udp" or "sctp", or "ip" for none. */
export type EndpointText = (
  family: number,
  address: string,
  port: number,
  protocol: string,
) => string

export interface ListOptions {
  readonly columns: Columns
  /** Full numbers instead of K, M, G, T. */
  readonly exact: boolean
  /** Entries in the order of configuration. */
  readonly unsorted: boolean
  /** Size of the connection table in the heading; null = no heading (one service alone). */
  readonly tableSize: number | null
  /** Default: numbers. */
  readonly endpoint?: EndpointText
}

const SERVICE_NAME_MAX = 33
const SERVER_NAME_MAX = 28
/** The version of the kernel interface that ipvsadm prints. */
const VERSION = '1.2.1'

/** `ipvsadm -L -n`. */
export function formatServices(services: readonly ListedService[], options: ListOptions): string {
  const lines: string[] = []
  if (options.tableSize !== null) {
    lines.push(`IP Virtual Server version ${VERSION} (size=${options.tableSize})`)
  }
  lines.push(...title(options.columns))
  for (const service of ordered(services, options.unsorted)) {
    lines.push(serviceLine(service, options))
    for (const server of orderedServers(service, options.unsorted)) {
      lines.push(serverLine(server, service.protocol, options))
    }
  }
  return `${lines.join('\n')}\n`
}

function title(columns: Columns): string[] {
  const local = 'Prot LocalAddress:Port'
  const remote = '  -> RemoteAddress:Port'
  const right = (names: string[]): string => names.map((name) => name.padStart(8)).join(' ')
  switch (columns) {
    case 'stats':
      return [
        `${local.padEnd(33)} ${right(['Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes'])}`,
        remote,
      ]
    case 'rate':
      return [`${local.padEnd(33)} ${right(['CPS', 'InPPS', 'OutPPS', 'InBPS', 'OutBPS'])}`, remote]
    case 'thresholds':
      return [`${local.padEnd(33)} Uthreshold Lthreshold ActiveConn InActConn `, remote]
    case 'persistent-conn':
      return [`${local.padEnd(33)} Weight    PersistConn ActiveConn InActConn `, remote]
    case 'tun-info':
      return [
        `${local} Scheduler Flags`,
        `${remote}           Forward TunnelInfo    Weight ActiveConn InActConn`,
      ]
    case 'plain':
      return [`${local} Scheduler Flags`, `${remote}           Forward Weight ActiveConn InActConn`]
  }
}

function serviceLine(service: ListedService, options: ListOptions): string {
  const name = serviceName(service, options.endpoint ?? numericEndpoint)
  if (options.columns === 'stats') return name.padEnd(33) + five(service.counters, options.exact)
  if (options.columns === 'rate') return name.padEnd(33) + five(service.rates, options.exact)
  const parts = [name, service.scheduler]
  if (service.schedulerFlags.length > 0) parts.push(`(${service.schedulerFlags.join(',')})`)
  if (service.persistenceSeconds > 0) {
    parts.push(`persistent ${service.persistenceSeconds}`)
    const mask = maskOf(service)
    if (mask !== null) parts.push(`mask ${mask}`)
  }
  if (service.onePacket) parts.push('ops')
  return parts.join(' ')
}

function serviceName(service: ListedService, endpoint: EndpointText): string {
  if (service.mark !== 0) return `FWM  ${service.mark}${service.family === 0 ? '' : ' IPv6'}`
  const end = endpoint(service.family, service.address, service.port, service.protocol)
  const name = `${service.protocol.toUpperCase().padEnd(4)} ${end}`
  return service.family === 0 ? name.slice(0, SERVICE_NAME_MAX) : name
}

function serverLine(server: ListedServer, protocol: string, options: ListOptions): string {
  const endpoint = options.endpoint ?? numericEndpoint
  const end = endpoint(server.family, server.address, server.port, protocol)
  const name = `  -> ${(server.family === 0 ? end.slice(0, SERVER_NAME_MAX) : end).padEnd(28)}`
  const left = (value: number, width: number): string => String(value).padEnd(width)
  const load = [left(server.active, 10), left(server.inactive, 10)]
  switch (options.columns) {
    case 'stats':
      return name + five(server.counters, options.exact)
    case 'rate': {
      const plain = server.rates.slice(0, 3).map((rate) => String(rate).padStart(8))
      const bytes = server.rates.slice(3).map((rate) => largeNumber(rate, options.exact))
      return `${name} ${plain.join(' ')}${bytes.join('')}`
    }
    case 'thresholds':
      return [name, left(server.upperThreshold, 10), left(server.lowerThreshold, 10), ...load].join(
        ' ',
      )
    case 'persistent-conn':
      return [name, left(server.weight, 9), left(server.persistent, 11), ...load].join(' ')
    case 'tun-info': {
      const tunnel = (server.method === 'tunnel' ? 'ipip' : 'n/a').padEnd(13)
      return [name, forwardName(server), tunnel, left(server.weight, 6), ...load].join(' ')
    }
    case 'plain':
      return [name, forwardName(server), left(server.weight, 6), ...load].join(' ')
  }
}

function forwardName({ method }: ListedServer): string {
  return (method === 'route' ? 'Route' : method === 'tunnel' ? 'Tunnel' : 'Masq').padEnd(7)
}

function five(values: Five, exact: boolean): string {
  return values.map((value) => largeNumber(value, exact)).join('')
}

/** A number nine columns wide, shortened by thousands from 10^8 on unless `exact`. */
export function largeNumber(value: number, exact: boolean): string {
  if (exact) {
    const text = String(value)
    return text.padStart(text.length <= 8 ? 9 : text.length + 1)
  }
  if (value < 1e8) return String(value).padStart(9)
  const [unit, divisor] =
    value < 1e9 ? ['K', 1e3] : value < 1e11 ? ['M', 1e6] : value < 1e14 ? ['G', 1e9] : ['T', 1e12]
  return String(Math.floor(value / (divisor as number))).padStart(8) + unit
}

/** `ipvsadm -S`: lines that `ipvsadm -R` takes. */
export function formatRules(
  services: readonly ListedService[],
  endpoint: EndpointText = numericEndpoint,
): string {
  const lines: string[] = []
  for (const service of ordered(services, false)) {
    const name = ruleName(service, endpoint)
    const parts = [`-A ${name} -s ${service.scheduler}`]
    if (service.persistenceSeconds > 0) {
      parts.push(`-p ${service.persistenceSeconds}`)
      const mask = maskOf(service)
      if (mask !== null) parts.push(`-M ${mask}`)
    }
    if (service.onePacket) parts.push('-o')
    if (service.schedulerFlags.length > 0) parts.push(`-b ${service.schedulerFlags.join(',')}`)
    lines.push(parts.join(' '))
    for (const server of orderedServers(service, false)) {
      const end = endpoint(server.family, server.address, server.port, service.protocol)
      const method = server.method === 'route' ? '-g' : server.method === 'tunnel' ? '-i' : '-m'
      const tunnel = server.method === 'tunnel' ? ' --tun-type ipip' : ''
      lines.push(`-a ${name} -r ${end} ${method} -w ${server.weight}${thresholds(server)}${tunnel}`)
    }
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

/** ipvsadm leaves thresholds out of what it saves, and so loses them; here they are kept. */
function thresholds({ upperThreshold, lowerThreshold }: ListedServer): string {
  const upper = upperThreshold === 0 ? '' : ` -x ${upperThreshold}`
  return lowerThreshold === 0 ? upper : `${upper} -y ${lowerThreshold}`
}

function ruleName(service: ListedService, endpoint: EndpointText): string {
  if (service.mark !== 0) return `-f ${service.mark}${service.family === 0 ? '' : ' -6'}`
  const option = { tcp: '-t', udp: '-u', sctp: '--sctp-service' }[service.protocol]
  return `${option} ${endpoint(service.family, service.address, service.port, service.protocol)}`
}

/** `ipvsadm -L -c`; with `persistence` (--persistent-conn) the heading names the columns of a
 * persistence engine, which no connection here has. */
export function formatConnections(
  connections: readonly ListedConnection[],
  endpoint: EndpointText = numericEndpoint,
  persistence: boolean = false,
): string {
  return `${connectionTitle(persistence)}${connectionLines(connections, endpoint)}`
}

/** The lines above the connections. */
export function connectionTitle(persistence: boolean): string {
  const places = ['source'.padEnd(18), 'virtual'.padEnd(18)].join(' ')
  const engine = persistence ? `${'destination'.padEnd(18)} ${'pe name'.padEnd(16)} pe_data` : ''
  const last = persistence ? engine : 'destination'
  return `IPVS connection entries\npro expire ${'state'.padEnd(11)} ${places} ${last}\n`
}

/** A line per connection. */
export function connectionLines(
  connections: readonly ListedConnection[],
  endpoint: EndpointText,
): string {
  const line = (
    protocol: string,
    expire: string,
    state: string,
    source: string,
    virtual: string,
    destination: string,
  ): string =>
    `${protocol.padEnd(3)} ${expire.padEnd(6)} ${state.padEnd(11)} ${source.padEnd(18)} ` +
    `${virtual.padEnd(18)} ${destination}`
  const lines: string[] = []
  for (const c of connections) {
    const two = (value: number): string => String(value).padStart(2, '0')
    const expire = `${two(Math.floor(c.expiresSeconds / 60))}:${two(c.expiresSeconds % 60)}`
    lines.push(
      line(
        c.protocol,
        expire,
        c.state,
        endpoint(c.family, c.client, c.clientPort, c.protocol.toLowerCase()),
        endpoint(c.family, c.virtual, c.virtualPort, c.protocol.toLowerCase()),
        endpoint(c.family, c.server, c.serverPort, c.protocol.toLowerCase()),
      ),
    )
  }
  return lines.map((one) => `${one}\n`).join('')
}

/** `ipvsadm -L --timeout`; seconds of Timeouts.get(). */
export function formatTimeouts(timeouts: readonly [number, number, number]): string {
  return `Timeout (tcp tcpfin udp): ${timeouts.join(' ')}\n`
}

/** "10.0.0.1:80", "[fd00::1]:80". */
export function numericEndpoint(family: number, address: string, port: number): string {
  return family === 0 ? `${address}:${port}` : `[${address}]:${port}`
}

/** The persistence mask as ipvsadm writes it, null when it covers the whole address. */
function maskOf(service: ListedService): string | null {
  const prefix = service.persistencePrefix
  if (service.family !== 0) return prefix === 128 ? null : String(prefix)
  if (prefix === 32) return null
  const mask = prefix === 0 ? 0 : (-1 << (32 - prefix)) >>> 0
  return [24, 16, 8, 0].map((shift) => (mask >>> shift) & 255).join('.')
}

/** By mark, address family, protocol, address, port: the order of ipvsadm. */
function ordered(services: readonly ListedService[], unsorted: boolean): ListedService[] {
  const sorted = [...services]
  if (unsorted) return sorted
  const number = { tcp: 6, udp: 17, sctp: 132 }
  return sorted.sort(
    (a, b) =>
      a.mark - b.mark ||
      a.family - b.family ||
      number[a.protocol] - number[b.protocol] ||
      compareAddresses(a.family, a.address, b.address) ||
      a.port - b.port,
  )
}

function orderedServers(service: ListedService, unsorted: boolean): ListedServer[] {
  const sorted = [...service.servers]
  if (unsorted) return sorted
  return sorted.sort((a, b) => compareAddresses(a.family, a.address, b.address) || a.port - b.port)
}

/** ipvsadm compares IPv4 addresses by the sign of their 32-bit difference, so that 192.168.0.1
 * comes before 10.0.0.1; IPv6 addresses byte by byte. */
function compareAddresses(family: number, a: string, b: string): number {
  const left = new Int32Array(4)
  const right = new Int32Array(4)
  parseAddress(a, left)
  parseAddress(b, right)
  if (family === 0) return (left[0]! - right[0]!) | 0
  for (let i = 0; i < 4; i++) {
    if (left[i] !== right[i]) return left[i]! >>> 0 < right[i]! >>> 0 ? -1 : 1
  }
  return 0
}
