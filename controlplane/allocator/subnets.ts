// Subnets: cut from the cluster's pools in turn, or named by the user; no two of the cluster
// overlap, so that a node can tell networks apart by address.
//
// IPv6 subnets without a pool of their own come from a unique local prefix (RFC 4193): fd, then 40
// bits drawn from the cluster's id, which is random, then 16 bits of subnet number.

import {
  type Cidr,
  cidrOf,
  cidrsOverlap,
  type Family,
  formatCidr,
  parseCidr,
} from '../store/cidr.ts'
import { AllocationError } from './errors.ts'
import { DEFAULT_POOLS, DEFAULT_SUBNET_SIZE, SUBNET_SIZE_IPV6 } from './limits.ts'
import { NextFit } from './next-fit.ts'

interface Pool {
  readonly cidr: Cidr
  readonly size: number
  /** By number of the subnet within the pool: what was cut from it. */
  readonly cuts: NextFit
}

export interface SubnetPools {
  readonly defaultAddressPools: readonly string[]
  readonly subnetSize: number
  /** The cluster's. */
  readonly id: string
}

export class Subnets {
  private readonly pools: readonly Pool[]
  private readonly inUse = new Map<string, Cidr>()

  constructor({ defaultAddressPools, subnetSize, id }: SubnetPools) {
    const named = defaultAddressPools.length === 0 ? DEFAULT_POOLS : defaultAddressPools
    const cidrs = named.flatMap((text) => parseCidr(text) ?? [])
    const hasIpv6 = cidrs.some(({ family }) => family === 6)
    this.pools = (hasIpv6 ? cidrs : [...cidrs, uniqueLocal(id)]).map((cidr) => {
      const wanted = cidr.family === 6 ? SUBNET_SIZE_IPV6 : subnetSize || DEFAULT_SUBNET_SIZE
      const size = Math.max(wanted, cidr.prefix)
      const count = 2 ** Math.min(32, size - cidr.prefix)
      return { cidr, size, cuts: new NextFit(0, count - 1) }
    })
  }

  /** Takes over what a network has; false when it overlaps with another. */
  claim(subnet: Cidr): boolean {
    if (this.overlapping(subnet) !== null) return false
    this.inUse.set(formatCidr(subnet), subnet)
    const pool = this.poolOf(subnet)
    pool?.cuts.claim(numberIn(pool, subnet), true)
    return true
  }

  /** Throws AllocationError. */
  takeNamed(text: string): Cidr {
    const subnet = parseCidr(text)
    if (subnet === null) throw new AllocationError(`"${text}" is no subnet`)
    const other = this.overlapping(subnet)
    if (other !== null) {
      const names = `${formatCidr(subnet)} overlaps with ${formatCidr(other)}`
      throw new AllocationError(`subnet ${names} of another network`)
    }
    this.inUse.set(formatCidr(subnet), subnet)
    return subnet
  }

  /** Throws AllocationError. */
  takeNext(family: Family): Cidr {
    for (const pool of this.pools) {
      if (pool.cidr.family !== family) continue
      const number = pool.cuts.take((n) => this.overlapping(subnetOf(pool, n)) !== null)
      if (number === null) continue
      const subnet = subnetOf(pool, number)
      this.inUse.set(formatCidr(subnet), subnet)
      return subnet
    }
    throw new AllocationError(`no IPv${family} subnet is left in the cluster's address pools`)
  }

  release(subnet: Cidr): void {
    this.inUse.delete(formatCidr(subnet))
    const pool = this.poolOf(subnet)
    pool?.cuts.release(numberIn(pool, subnet))
  }

  private overlapping(subnet: Cidr): Cidr | null {
    for (const other of this.inUse.values()) if (cidrsOverlap(subnet, other)) return other
    return null
  }

  /** The pool that `subnet` is a cut of. */
  private poolOf(subnet: Cidr): Pool | undefined {
    return this.pools.find(({ cidr, size }) => size === subnet.prefix && cidrsOverlap(cidr, subnet))
  }
}

function subnetOf({ cidr, size }: Pool, number: number): Cidr {
  const step = 1n << BigInt((cidr.family === 4 ? 32 : 128) - size)
  return cidrOf({ family: cidr.family, value: cidr.base + BigInt(number) * step }, size)
}

function numberIn({ cidr }: Pool, subnet: Cidr): number {
  return Number((subnet.base - cidr.base) / subnet.size)
}

/** fdXX:XXXX:XXXX::/48 of a cluster. */
function uniqueLocal(clusterId: string): Cidr {
  let value = 0n
  for (const digit of clusterId) value = value * 36n + BigInt(Number.parseInt(digit, 36) || 0)
  const global = value & 0xff_ff_ff_ff_ffn
  return cidrOf({ family: 6, value: (0xfdn << 120n) | (global << 80n) }, 48)
}
