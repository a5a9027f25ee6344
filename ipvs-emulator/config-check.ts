// Everything that can be wrong with a configuration, found before anything is changed.

import { parseAddress } from './address.ts'
import { type BalancerConfig, ConfigError, type ServiceConfig } from './config.ts'
import {
  PERSISTENCE_SECONDS_MAX,
  REAL_SERVERS_MAX,
  SERVICE_KEYS_MAX,
  SERVICES_MAX,
  SLOW_START_SECONDS_MAX,
  THRESHOLD_MAX,
  TIERS_MAX,
  WEIGHT_MAX,
  ZONE_MAX,
} from './limits.ts'
import { SCHEDULERS } from './sched.ts'
import { MH_PRIMES } from './sched-mh.ts'

const PROTOCOLS = ['tcp', 'udp', 'sctp']
const FLAGS = ['sh-fallback', 'sh-port', 'mh-fallback', 'mh-port']
const MARK_MAX = 0xffffffff
const IDLE_SECONDS_MAX: number = 365 * 24 * 60 * 60

/** Throws ConfigError at the first thing that is wrong. */
export function checkConfig(config: BalancerConfig): void {
  if (config.services.length > SERVICES_MAX) {
    throw new ConfigError('services', `at most ${SERVICES_MAX} are possible`)
  }
  const keys = new Set<string>()
  const marks = new Set<number>()
  const virtuals = new Map<string, string>()
  let servers = 0
  config.services.forEach((service, i) => {
    const path = `services[${i}]`
    unique(keys, service.key, `${path}.key`)
    checkService(service, path)
    if ((service.mark ?? 0) !== 0) unique(marks, service.mark!, `${path}.mark`)
    checkVirtuals(service, path, virtuals)
    checkRealServers(service, path)
    servers += service.realServers.length
  })
  if (servers > REAL_SERVERS_MAX) {
    throw new ConfigError('services', `at most ${REAL_SERVERS_MAX} real servers are possible`)
  }
}

function checkService(service: ServiceConfig, path: string): void {
  integer(service.zone, 0, ZONE_MAX, path, 'zone')
  integer(service.replyZone, 0, ZONE_MAX, path, 'replyZone')
  integer(service.mark, 0, MARK_MAX, path, 'mark')
  integer(service.persistenceSeconds, 0, PERSISTENCE_SECONDS_MAX, path, 'persistenceSeconds')
  integer(service.persistencePrefix4, 0, 32, path, 'persistencePrefix4')
  integer(service.persistencePrefix6, 0, 128, path, 'persistencePrefix6')
  integer(service.idleSeconds, 0, IDLE_SECONDS_MAX, path, 'idleSeconds')
  if (service.scheduler !== undefined && !SCHEDULERS.has(service.scheduler)) {
    const known = [...SCHEDULERS.keys()].join(', ')
    throw new ConfigError(`${path}.scheduler`, `"${service.scheduler}" is not one of ${known}`)
  }
  for (const flag of service.schedulerFlags ?? []) {
    if (!FLAGS.includes(flag)) throw new ConfigError(`${path}.schedulerFlags`, `"${flag}" unknown`)
  }
  if (service.mhSlots !== undefined && !MH_PRIMES.includes(service.mhSlots)) {
    throw new ConfigError(`${path}.mhSlots`, `is not one of ${MH_PRIMES.join(', ')}`)
  }
  const { proxyProtocol } = service
  if (proxyProtocol !== undefined && proxyProtocol !== 'v1' && proxyProtocol !== 'v2') {
    throw new ConfigError(`${path}.proxyProtocol`, `"${proxyProtocol}" is not v1 or v2`)
  }
  address(service.masquerade4, 0, `${path}.masquerade4`)
  address(service.masquerade6, 1, `${path}.masquerade6`)
}

function checkVirtuals(service: ServiceConfig, path: string, all: Map<string, string>): void {
  if (service.virtuals.length > SERVICE_KEYS_MAX) {
    throw new ConfigError(`${path}.virtuals`, `at most ${SERVICE_KEYS_MAX} are possible`)
  }
  service.virtuals.forEach((virtual, i) => {
    const at = `${path}.virtuals[${i}]`
    if (!PROTOCOLS.includes(virtual.protocol)) {
      throw new ConfigError(`${at}.protocol`, `"${virtual.protocol}" is not tcp, udp or sctp`)
    }
    const words = new Int32Array(4)
    const family = parseAddress(virtual.address, words)
    if (family < 0) {
      throw new ConfigError(`${at}.address`, `"${virtual.address}" is not an IP address`)
    }
    integer(virtual.port, 0, 65535, at, 'port')
    const key = `${service.zone}/${virtual.protocol}/${family}/${words.join()}/${virtual.port}`
    const other = all.get(key)
    if (other !== undefined) {
      throw new ConfigError(
        at,
        `${virtual.address} port ${virtual.port} belongs to ${other} already`,
      )
    }
    all.set(key, `${path} ("${service.key}")`)
  })
}

function checkRealServers(service: ServiceConfig, path: string): void {
  const keys = new Set<string>()
  const words = new Int32Array(4)
  service.realServers.forEach((server, i) => {
    const at = `${path}.realServers[${i}]`
    unique(keys, server.key, `${at}.key`)
    if (parseAddress(server.address, words) < 0) {
      throw new ConfigError(`${at}.address`, `"${server.address}" is not an IP address`)
    }
    integer(server.port, 0, 65535, at, 'port')
    integer(server.weight, 0, WEIGHT_MAX, at, 'weight')
    integer(server.tier, 0, TIERS_MAX - 1, at, 'tier')
    integer(server.slowStartSeconds, 0, SLOW_START_SECONDS_MAX, at, 'slowStartSeconds')
    integer(server.upperThreshold, 0, THRESHOLD_MAX, at, 'upperThreshold')
    integer(server.lowerThreshold, 0, THRESHOLD_MAX, at, 'lowerThreshold')
    const upper = server.upperThreshold ?? 0
    if (upper !== 0 && (server.lowerThreshold ?? 0) > upper) {
      throw new ConfigError(`${at}.lowerThreshold`, 'is above the upper threshold')
    }
  })
}

function unique<T>(seen: Set<T>, value: T, path: string): void {
  if (seen.has(value)) throw new ConfigError(path, `"${value}" appears twice`)
  seen.add(value)
}

/** `at` and `name` become text only when something is wrong: a thousand servers have six each. */
function integer(
  value: number | undefined,
  least: number,
  most: number,
  at: string,
  name: string,
): void {
  if (value === undefined) return
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new ConfigError(
      `${at}.${name}`,
      `${value} is not a whole number from ${least} to ${most}`,
    )
  }
}

function address(text: string | undefined, family: number, path: string): void {
  if (text === undefined) return
  if (parseAddress(text, new Int32Array(4)) !== family) {
    throw new ConfigError(path, `"${text}" is not an IPv${family === 0 ? 4 : 6} address`)
  }
}
