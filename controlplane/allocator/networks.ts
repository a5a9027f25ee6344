// What a network gets: a VNI, and per address family a subnet with a gateway address.

import { type Cidr, cidrHas, formatCidr, formatIp, parseCidr, parseIp } from '../store/cidr.ts'
import type { NetworkAllocation, NetworkObject } from '../store/objects.ts'
import type { IpamConfig } from '../store/specs.ts'
import { AllocationError, Taken } from './errors.ts'
import type { Subnets } from './subnets.ts'
import type { Vnis } from './vnis.ts'

type SubnetAllocation = NetworkAllocation['subnets'][number]

/** Throws AllocationError, and takes nothing then. */
export function allocateNetwork(
  { spec }: NetworkObject,
  vnis: Vnis,
  subnets: Subnets,
): NetworkAllocation {
  const taken = new Taken()
  try {
    const vni = vnis.take(spec)
    taken.push(() => vnis.release(vni))
    const allocated = subnetConfigs(spec).map((config) => takeSubnet(config, subnets, taken))
    return { vni, subnets: allocated }
  } catch (error) {
    taken.release()
    throw error
  }
}

/** Takes over what a network has. Returns what another has as well. */
export function claimNetwork(
  { allocation }: NetworkObject,
  vnis: Vnis,
  subnets: Subnets,
): readonly string[] {
  if (allocation === null) return []
  const doubled: string[] = []
  if (!vnis.claim(allocation.vni)) doubled.push(`VNI ${allocation.vni}`)
  for (const { subnet: text } of allocation.subnets) {
    const subnet = parseCidr(text)
    if (subnet !== null && !subnets.claim(subnet)) doubled.push(`subnet ${text}`)
  }
  return doubled
}

export function releaseNetwork({ allocation }: NetworkObject, vnis: Vnis, subnets: Subnets): void {
  if (allocation === null) return
  vnis.release(allocation.vni)
  for (const { subnet: text } of allocation.subnets) {
    const subnet = parseCidr(text)
    if (subnet !== null) subnets.release(subnet)
  }
}

type Wanted = IpamConfig & { readonly family: 4 | 6 }

/** The user's subnets, and one of each enabled family that has none. */
function subnetConfigs({ IPAM, EnableIPv4, EnableIPv6 }: NetworkObject['spec']): Wanted[] {
  const wanted = (IPAM?.Config ?? []).map((config): Wanted => {
    const text = config.Subnet ?? config.Gateway ?? ''
    return { ...config, family: text.includes(':') ? 6 : 4 }
  })
  const lacks = (family: 4 | 6): boolean => wanted.every((config) => config.family !== family)
  if (EnableIPv4 !== false && lacks(4)) wanted.unshift({ family: 4 })
  if (EnableIPv6 === true && lacks(6)) wanted.push({ family: 6 })
  if (wanted.length === 0) throw new AllocationError('a network without IPv4 and IPv6')
  return wanted
}

function takeSubnet(config: Wanted, subnets: Subnets, taken: Taken): SubnetAllocation {
  const subnet = config.Subnet ? subnets.takeNamed(config.Subnet) : subnets.takeNext(config.family)
  taken.push(() => subnets.release(subnet))
  const gateway = gatewayOf(subnet, config.Gateway)
  const { IPRange } = config
  if (IPRange === undefined || IPRange === '') return { subnet: formatCidr(subnet), gateway }
  const range = parseCidr(IPRange)
  if (range === null || !cidrHas(subnet, { family: range.family, value: range.base })) {
    throw new AllocationError(`range ${IPRange} is not within subnet ${formatCidr(subnet)}`)
  }
  return { subnet: formatCidr(subnet), gateway, ipRange: formatCidr(range) }
}

/** The user's, else the first address of the subnet that is not the network's own. */
function gatewayOf(subnet: Cidr, wanted: string | undefined): string {
  if (wanted === undefined || wanted === '') {
    const value = subnet.base + (subnet.size > 2n ? 1n : 0n)
    return formatIp({ family: subnet.family, value })
  }
  const ip = parseIp(wanted.split('/')[0]!)
  if (ip === null || !cidrHas(subnet, ip)) {
    throw new AllocationError(`gateway ${wanted} is not within subnet ${formatCidr(subnet)}`)
  }
  return formatIp(ip)
}
