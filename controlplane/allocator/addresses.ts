// Addresses of one network: given in turn from each of its subnets, or from the part of a subnet
// that the user set aside for it (IPRange). Never given: the network address, the broadcast address
// of IPv4, the gateway, and the user's auxiliary addresses.
//
// There is no address per node: nodes answer for the gateway, and balance VIPs on the client's own
// node with the client's own address, so that a /24 has 253 addresses for tasks and VIPs.

import {
  type Cidr,
  cidrHas,
  type Family,
  formatCidr,
  formatIp,
  parseCidr,
  parseIp,
} from '../store/cidr.ts'
import type { NetworkAllocation } from '../store/objects.ts'
import type { IpamConfig } from '../store/specs.ts'
import { AllocationError } from './errors.ts'
import { OFFSETS_MAX } from './limits.ts'
import { NextFit } from './next-fit.ts'

interface SubnetAddresses {
  readonly subnet: Cidr
  readonly offsets: NextFit
}

export class Addresses {
  private readonly name: string
  private readonly subnets: readonly SubnetAddresses[]

  /** `name` is the network's, for errors. */
  constructor(name: string, { subnets }: NetworkAllocation, configs: readonly IpamConfig[]) {
    this.name = name
    this.subnets = subnets.flatMap(({ subnet: text, gateway, ipRange }) => {
      const subnet = parseCidr(text)
      if (subnet === null) return []
      const offsets = offsetsOf(subnet, ipRange)
      const auxiliary = configs.flatMap(({ AuxiliaryAddresses }) =>
        Object.values(AuxiliaryAddresses ?? {}),
      )
      for (const reserved of [gateway, ...auxiliary]) {
        const offset = offsetIn(subnet, reserved)
        if (offset !== null) offsets.claim(offset)
      }
      return [{ subnet, offsets }]
    })
  }

  /** 4, 6 or both, in this order. */
  get families(): readonly Family[] {
    return ([4, 6] as const).filter((family) =>
      this.subnets.some(({ subnet }) => subnet.family === family),
    )
  }

  /** Addresses that are left, of the scarcest family. */
  get free(): number {
    return Math.min(...this.families.map((family) => this.freeOf(family)))
  }

  /** One address per family, with prefix lengths. Throws AllocationError, and takes none then. */
  take(): string[] {
    const taken: string[] = []
    for (const family of this.families) {
      const address = this.takeOne(family)
      if (address === null) {
        for (const earlier of taken) this.release(earlier)
        throw new AllocationError(`no IPv${family} address is left on network ${this.describe()}`)
      }
      taken.push(address)
    }
    return taken
  }

  /** Takes over what somebody has; false when somebody else has it, or it is of no subnet. */
  claim(address: string): boolean {
    const found = this.find(address)
    return found?.offsets.claim(found.offset, true) ?? false
  }

  release(address: string): void {
    const found = this.find(address)
    found?.offsets.release(found.offset)
  }

  private takeOne(family: Family): string | null {
    for (const { subnet, offsets } of this.subnets) {
      if (subnet.family !== family) continue
      const offset = offsets.take()
      if (offset === null) continue
      return `${formatIp({ family, value: subnet.base + BigInt(offset) })}/${subnet.prefix}`
    }
    return null
  }

  private freeOf(family: Family): number {
    return this.subnets.reduce(
      (sum, { subnet, offsets }) => sum + (subnet.family === family ? offsets.free : 0),
      0,
    )
  }

  private find(address: string): { offsets: NextFit; offset: number } | null {
    for (const { subnet, offsets } of this.subnets) {
      const offset = offsetIn(subnet, address)
      if (offset !== null) return { offsets, offset }
    }
    return null
  }

  private describe(): string {
    const subnets = this.subnets.map(({ subnet }) => formatCidr(subnet))
    return `${this.name} (${subnets.join(', ')})`
  }
}

function offsetsOf(subnet: Cidr, ipRange: string | undefined): NextFit {
  const range = ipRange === undefined ? null : parseCidr(ipRange)
  const part = range !== null && cidrHas(subnet, { ...range, value: range.base }) ? range : subnet
  const from = part.base - subnet.base
  let { size } = part
  if (size > OFFSETS_MAX) size = OFFSETS_MAX
  let first = from
  let last = from + size - 1n
  // Links with two addresses (RFC 3021, RFC 6164) and with one have none to spare.
  if (subnet.size > 2n) {
    if (first === 0n) first = 1n
    if (subnet.family === 4 && last === subnet.size - 1n) last -= 1n
  }
  return new NextFit(Number(first), Number(last))
}

/** Where an address, with or without prefix length, lies in the subnet; null when outside. */
function offsetIn(subnet: Cidr, address: string): number | null {
  const ip = parseIp(address.split('/')[0]!)
  if (ip === null || !cidrHas(subnet, ip)) return null
  return Number(ip.value - subnet.base)
}
