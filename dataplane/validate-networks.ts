// The second validation pass over networks: VNIs, subnets that overlap, gateways, MTU, ingress.

import { MTU_MIN_IPV6 } from '../base/limits.ts'
import {
  comparePrefixes,
  contains,
  familyOf,
  firstHost,
  lastAddress,
  overlaps,
  parseAddress,
  parsePrefix,
  prefixText,
  specialKind,
} from './address.ts'
import type { Address, Prefix } from './compiled.ts'
import type { Report } from './shape.ts'
import type { Network } from './tables.ts'

/** Bits that a subnet must leave for hosts: network address, gateway, an endpoint, broadcast. */
const HOST_BITS_MIN = 2

interface Placed {
  readonly prefix: Prefix
  readonly network: number
  readonly subnet: number
}

/** Reports subnets that share an address. In the order of comparePrefixes a prefix is followed by
 * all that lie inside it, so a stack of the open ones finds every overlap in one sweep. */
function checkOverlaps(placed: readonly Placed[], report: Report): void {
  const sorted = [...placed].sort((a, b) => comparePrefixes(a.prefix, b.prefix))
  const open: Placed[] = []
  for (const inner of sorted) {
    while (open.length > 0 && !overlaps(open.at(-1)!.prefix, inner.prefix)) open.pop()
    const outer = open.at(-1)
    open.push(inner)
    if (outer === undefined) continue
    const isLater =
      inner.network > outer.network ||
      (inner.network === outer.network && inner.subnet > outer.subnet)
    const [earlier, later] = isLater ? [outer, inner] : [inner, outer]
    const where =
      earlier.network === later.network
        ? `subnets[${earlier.subnet}]`
        : `networks[${earlier.network}]`
    report(
      `networks[${later.network}].subnets[${later.subnet}]`,
      `overlaps ${where} (${prefixText(earlier.prefix)})`,
    )
  }
}

function checkSubnet(prefix: Prefix, path: string, report: Report): void {
  const bits = familyOf(prefix) === 4 ? 32 : 128
  const kind = specialKind(prefix)
  if (prefix.length === 0) report(path, 'is every address there is')
  else if (kind !== null) report(path, `cannot be a subnet: its addresses are ${kind} addresses`)
  else if (prefix.length > bits - HOST_BITS_MIN) {
    report(path, `leaves no room for hosts: at most /${bits - HOST_BITS_MIN}`)
  }
}

/** The gateway of each subnet: the one given for it, else its first host address. */
export function gatewaysOf(network: Network, subnets: readonly Prefix[]): Address[] {
  const given = (network.gateways ?? []).map((text) => parseAddress(text)!)
  return subnets.map(
    (subnet) => given.find((gateway) => contains(subnet, gateway)) ?? firstHost(subnet),
  )
}

function checkGateways(
  network: Network,
  subnets: readonly Prefix[],
  path: string,
  report: Report,
): void {
  const taken = new Map<number, number>()
  for (const [g, text] of (network.gateways ?? []).entries()) {
    const where = `${path}.gateways[${g}]`
    const gateway = parseAddress(text)!
    const index = subnets.findIndex((subnet) => contains(subnet, gateway))
    if (index < 0) {
      report(where, `${text} is in none of the network's subnets`)
      continue
    }
    const subnet = subnets[index]!
    if (gateway.text === subnet.text) report(where, 'is the network address of its subnet')
    else if (familyOf(gateway) === 4 && gateway.text === lastAddress(subnet).text) {
      report(where, 'is the broadcast address of its subnet')
    }
    const first = taken.get(index)
    if (first === undefined) taken.set(index, g)
    else report(where, `is a second gateway of ${prefixText(subnet)}, after gateways[${first}]`)
  }
}

/** Checks all networks and returns their subnets and gateways as values, parallel to `networks`. */
export function checkNetworks(
  networks: readonly Network[],
  report: Report,
): { subnets: Prefix[][]; gateways: Address[][] } {
  const vnis = new Map<number, number>()
  const placed: Placed[] = []
  let ingress = -1
  const subnets = networks.map((network, n) => {
    const path = `networks[${n}]`
    const earlier = vnis.get(network.vni)
    if (earlier === undefined) vnis.set(network.vni, n)
    else report(`${path}.vni`, `is also that of networks[${earlier}]`)
    if (network.ingress === true) {
      if (ingress >= 0)
        report(`${path}.ingress`, `networks[${ingress}] is the ingress network already`)
      else ingress = n
    }
    const prefixes = network.subnets.map((text) => parsePrefix(text)!)
    prefixes.forEach((prefix, s) => {
      checkSubnet(prefix, `${path}.subnets[${s}]`, report)
      placed.push({ prefix, network: n, subnet: s })
    })
    checkGateways(network, prefixes, path, report)
    const hasIpv6 = prefixes.some((prefix) => familyOf(prefix) === 6)
    if (hasIpv6 && network.mtu !== undefined && network.mtu < MTU_MIN_IPV6) {
      report(`${path}.mtu`, `must be at least ${MTU_MIN_IPV6}, as the network has IPv6`)
    }
    return prefixes
  })
  checkOverlaps(placed, report)
  return { subnets, gateways: networks.map((network, n) => gatewaysOf(network, subnets[n]!)) }
}
