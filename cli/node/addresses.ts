// Which addresses a node listens on, is reached at and carries its data plane on, from what `swarm
// init` and `swarm join` were given: an address, the name of an interface, or nothing. The rules
// and the words are Docker's (moby, daemon/cluster/listen_addr.go). Pure: the interfaces are handed
// in.

import { isIP, isIPv4, isIPv6 } from 'node:net'

/** One address of an interface that is up. */
export interface SystemAddress {
  readonly interface: string
  readonly address: string
}

/** What was asked for cannot be had; the API answers 400 with these words. */
export class AddressError extends Error {
  readonly code = 'INVALID_ARGUMENT'
}

export interface GivenAddresses {
  /** "host:port", host may be an interface. */
  readonly listen: string
  /** '' or "host" or "host:port". */
  readonly advertise: string
  /** '' or "host". */
  readonly dataPath: string
}

export interface NodeAddresses {
  readonly listenAddress: string
  readonly advertiseAddress: string
  readonly dataPathHost: string
}

/** `fallback` is the address to advertise where the system has not exactly one; null = say so. */
export function nodeAddresses(
  given: GivenAddresses,
  system: readonly SystemAddress[],
  defaultAdvertise: string,
  fallback: string | null,
): NodeAddresses {
  const listen = splitAddress(given.listen)
  const port = listen?.port ?? 0
  if (listen === null || port === 0) throw new AddressError(BAD_LISTEN)
  const listenHost = hostOf(listen.host, system, BAD_LISTEN)
  const advertise = advertised(given.advertise || defaultAdvertise, system)
  const host = advertise?.host ?? listenedOn(listenHost) ?? fallback ?? systemAddress(system)
  const dataPath = given.dataPath === '' ? host : hostOf(given.dataPath, system, BAD_DATA_PATH)
  if (isUnspecified(dataPath)) throw new AddressError(BAD_DATA_PATH)
  return {
    listenAddress: joinAddress(listenHost, port),
    advertiseAddress: joinAddress(host, advertise?.port || port),
    dataPathHost: dataPath,
  }
}

const BAD_LISTEN =
  'listen address must be an IP address or network interface (with optional port number)'
const BAD_ADVERTISE =
  'advertise address must be a non-zero IP address or network interface ' +
  '(with optional port number)'
const BAD_DATA_PATH =
  'data path address must be a non-zero IP address or network interface (without a port number)'

/** "[::1]:2377" -> host "::1" and port; without a port it is 0. Null for what is neither. */
export function splitAddress(text: string): { host: string; port: number } | null {
  if (isIP(text) !== 0) return { host: text, port: 0 }
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  if (match === null) return null
  const port = Number(match[3] ?? 0)
  return port > 65_535 ? null : { host: match[1] ?? match[2]!, port }
}

export function joinAddress(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

/** The host of "host:port", without brackets. */
export function hostPart(address: string): string {
  return splitAddress(address)?.host ?? address
}

/** Where a process of this host reaches who listens on "host:port". */
export function localAddress(listenAddress: string): string {
  const { host, port } = splitAddress(listenAddress)!
  if (!isUnspecified(host)) return listenAddress
  return joinAddress(isIPv6(host) ? '::1' : '127.0.0.1', port)
}

function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]+$/.test(host)
}

function listenedOn(host: string): string | null {
  return isUnspecified(host) ? null : host
}

function advertised(
  text: string,
  system: readonly SystemAddress[],
): { host: string; port: number } | null {
  if (text === '') return null
  const parts = splitAddress(text)
  if (parts === null) throw new AddressError(BAD_ADVERTISE)
  const host = hostOf(parts.host, system, BAD_ADVERTISE)
  if (isUnspecified(host)) throw new AddressError(BAD_ADVERTISE)
  return { host, port: parts.port }
}

/** An address as it is, or that of an interface. */
function hostOf(text: string, system: readonly SystemAddress[], otherwise: string): string {
  if (isIP(text) !== 0) return text
  const own = system.filter((one) => one.interface === text).map(({ address }) => address)
  if (own.length === 0) throw new AddressError(otherwise)
  for (const [family, name] of [
    [isIPv4, 'IPv4'],
    [isIPv6, 'IPv6'],
  ] as const) {
    const [first, second] = own.filter(family)
    if (second !== undefined) {
      throw new AddressError(
        `interface ${text} has more than one ${name} address (${first} and ${second})`,
      )
    }
    if (first !== undefined) return first
  }
  throw new AddressError(`interface ${text} has no usable IPv4 or IPv6 address`)
}

/** The one address of this system. Loopback and bridges of containers do not count. */
function systemAddress(system: readonly SystemAddress[]): string {
  const usable = system.filter((one) => isGlobal(one.address) && !isBridge(one.interface))
  for (const family of [isIPv4, isIPv6]) {
    const [first, second] = usable.filter(({ address }) => family(address))
    if (second !== undefined) throw new AddressError(several(first!, second))
    if (first !== undefined) return first.address
  }
  throw new AddressError("could not find the system's IP address")
}

function several(first: SystemAddress, second: SystemAddress): string {
  const words =
    'could not choose an IP address to advertise since this system has multiple addresses'
  return first.interface === second.interface
    ? `${words} on interface ${first.interface} (${first.address} and ${second.address})`
    : `${words} on different interfaces (${first.address} on ${first.interface} and ` +
        `${second.address} on ${second.interface})`
}

function isGlobal(address: string): boolean {
  return !/^(127\.|169\.254\.|::1$|fe80:)/i.test(address)
}

function isBridge(name: string): boolean {
  return /^(docker\d*|docker_gwbridge|br-[0-9a-f]{12}|veth|weft)/.test(name)
}
