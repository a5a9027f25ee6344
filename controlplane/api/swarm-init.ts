// The bodies of /swarm/init and /swarm/join, checked: addresses, ports, pools, tokens. What is ''
// is left to the node, which knows its interfaces.

import { isIPv4 } from 'node:net'
import { Address4 } from 'ip-address'
import type { NodeAvailability } from '../store/specs.ts'
import { ApiError, badRequest } from './errors.ts'
import type { InitRequest, JoinRequest } from './node-control.ts'
import { completeSwarmSpec, type GivenSwarmSpec } from './swarm-spec.ts'

const DATA_PATH_PORT_DEFAULT = 4789
const DATA_PATH_PORT_MIN = 1024
const DATA_PATH_PORT_MAX = 49_151
const SUBNET_SIZE_DEFAULT = 24
const SUBNET_SIZE_MAX = 29
const POOLS_MAX = 64
const CONTROL_PORT = 2377
const JOIN_TOKEN = /^SWMTKN-(?:1|2-[01])-[0-9a-z]{50}-[0-9a-z]{25}$/

export interface GivenInit {
  readonly ListenAddr: string
  readonly AdvertiseAddr: string
  readonly DataPathAddr: string
  readonly DataPathPort: number
  readonly ForceNewCluster: boolean
  readonly Spec: GivenSwarmSpec
  readonly AutoLockManagers: boolean
  readonly Availability: string
  readonly DefaultAddrPool: readonly string[]
  readonly SubnetSize: number
}

export interface GivenJoin {
  readonly ListenAddr: string
  readonly AdvertiseAddr: string
  readonly DataPathAddr: string
  readonly RemoteAddrs: readonly string[]
  readonly JoinToken: string
  readonly Availability: string
}

export function checkInit(given: GivenInit): InitRequest {
  const { DataPathPort: port, SubnetSize: size } = given
  if (port !== 0 && (port < DATA_PATH_PORT_MIN || port > DATA_PATH_PORT_MAX)) {
    throw badRequest(`VXLAN UDP port number is not in valid range (1024-49151): ${port}`)
  }
  const subnetSize = size === 0 ? SUBNET_SIZE_DEFAULT : size
  checkPools(given.DefaultAddrPool, subnetSize)
  const spec = completeSwarmSpec({
    ...given.Spec,
    EncryptionConfig: {
      AutoLockManagers: given.AutoLockManagers || given.Spec.EncryptionConfig.AutoLockManagers,
    },
  })
  return {
    ...addresses(given),
    dataPathPort: port === 0 ? DATA_PATH_PORT_DEFAULT : port,
    defaultAddressPools: given.DefaultAddrPool,
    subnetSize,
    forceNewCluster: given.ForceNewCluster,
    spec,
    availability: availability(given.Availability),
  }
}

export function checkJoin(given: GivenJoin): JoinRequest {
  const own = addresses(given)
  if (given.RemoteAddrs.length === 0) {
    throw badRequest('at least 1 RemoteAddr is required to join')
  }
  const remoteAddresses = given.RemoteAddrs.map((remote) => address('remoteAddr', remote))
  const wanted = availability(given.Availability)
  if (!JOIN_TOKEN.test(given.JoinToken)) throw new ApiError(500, 'invalid join token')
  return { ...own, remoteAddresses, joinToken: given.JoinToken, availability: wanted }
}

export function availability(given: string): NodeAvailability {
  const text = given === '' ? 'active' : given.toLowerCase()
  if (text === 'active' || text === 'pause' || text === 'drain') return text
  throw badRequest(`invalid Availability: ${JSON.stringify(given)}`)
}

function addresses(given: GivenInit | GivenJoin): {
  readonly listenAddress: string
  readonly advertiseAddress: string
  readonly dataPathAddress: string
} {
  const { ListenAddr, AdvertiseAddr, DataPathAddr } = given
  const listen = address('ListenAddr', ListenAddr)
  if (AdvertiseAddr !== '' && parseAddress(AdvertiseAddr) === null) {
    throw badRequest(
      'advertise address must be a non-zero IP address or network interface ' +
        '(with optional port number)',
    )
  }
  if (/[\s\0/]/.test(DataPathAddr)) {
    throw badRequest('data path address must be a non-zero IP address or network interface')
  }
  return { listenAddress: listen, advertiseAddress: AdvertiseAddr, dataPathAddress: DataPathAddr }
}

function address(what: string, text: string): string {
  const parsed = parseAddress(text)
  if (parsed !== null) return parsed
  const reason = text === '' ? 'invalid empty address' : 'invalid address'
  throw badRequest(`invalid ${what} ${JSON.stringify(text)}: ${reason}`)
}

/** "host", "host:port", "[v6]:port", an interface's name; with the port. Null for anything else. */
function parseAddress(text: string): string | null {
  const match = /^(\[[0-9a-fA-F:.%a-z]+\]|[^\s:/[\]]+)(?::(\d{1,5}))?$/.exec(text)
  if (match === null)
    return /^[0-9a-fA-F:]+$/.test(text) && text.includes('::') ? `[${text}]:${CONTROL_PORT}` : null
  const port = match[2] === undefined ? CONTROL_PORT : Number(match[2])
  return port < 65_536 ? `${match[1]}:${port}` : null
}

function checkPools(pools: readonly string[], subnetSize: number): void {
  if (subnetSize > SUBNET_SIZE_MAX) throw badRequest(`subnet size is out of range: ${subnetSize}`)
  if (pools.length > POOLS_MAX) throw badRequest(`more than ${POOLS_MAX} default address pools`)
  const taken: Address4[] = []
  for (const pool of pools) {
    const [base, prefix, ...more] = pool.split('/')
    const isCidr = isIPv4(base ?? '') && /^\d{1,2}$/.test(prefix ?? '') && more.length === 0
    if (!isCidr || Number(prefix) > 32) {
      throw new ApiError(500, `invalid base pool ${pool}: invalid CIDR address: ${pool}`)
    }
    if (Number(prefix) > subnetSize) {
      throw new ApiError(
        500,
        `invalid CIDR: ${JSON.stringify(pool)}. Subnet size is too small for pool: ${subnetSize}`,
      )
    }
    const subnet = new Address4(pool)
    const clash = taken.find((other) => overlaps(other, subnet))
    if (clash !== undefined) {
      throw badRequest(`address pool ${pool} overlaps with ${clash.address}`)
    }
    taken.push(subnet)
  }
}

function overlaps(one: Address4, other: Address4): boolean {
  return one.isInSubnet(other) || other.isInSubnet(one)
}
