// network.CreateRequest for an overlay: what can be refused without looking at the cluster.

import { isIPv4, isIPv6 } from 'node:net'
import { Address4, Address6 } from 'ip-address'
import type { IpamConfig, Labels, NetworkSpec } from '../store/specs.ts'
import { ApiError, badRequest, invalidArgument } from './errors.ts'

const NAME = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/
const NAME_LENGTH_MAX = 63
const VNI_OPTION = 'com.docker.network.driver.overlay.vxlanid_list'
const MTU_OPTION = 'com.docker.network.driver.mtu'
const MTU_MIN = 576
const MTU_MAX = 65_535
const VNI_MAX = 0xff_ff_ff
const SUBNETS_MAX = 64
const PREDEFINED = ['none', 'default']

export interface GivenNetwork {
  readonly Name: string
  readonly Driver: string
  readonly Scope: string
  readonly EnableIPv4?: boolean
  readonly EnableIPv6?: boolean
  readonly IPAM?: {
    readonly Driver: string
    readonly Options?: Labels
    readonly Config?: readonly IpamConfig[]
  }
  readonly Internal: boolean
  readonly Attachable: boolean
  readonly Ingress: boolean
  readonly ConfigOnly: boolean
  readonly ConfigFrom?: { readonly Network: string }
  readonly Options: Labels
  readonly Labels: Labels
}

export function networkSpec(given: GivenNetwork, minor: number): NetworkSpec {
  const { Name, Attachable, Ingress, Internal, EnableIPv4, EnableIPv6, IPAM } = given
  checkName(Name, minor)
  if (given.ConfigOnly || (given.ConfigFrom?.Network ?? '') !== '') {
    throw badRequest('configuration networks are of the node, not of the swarm: give no config')
  }
  if (Ingress && Attachable) throw invalidArgument('ingress network cannot be attachable')
  if (Ingress && Internal) throw invalidArgument('ingress network cannot be internal')
  const driver = IPAM?.Driver ?? ''
  if (driver !== '' && driver !== 'default') {
    throw invalidArgument(`error during lookup of plugin ${driver}`)
  }
  if (EnableIPv4 === false && EnableIPv6 !== true) {
    throw badRequest('IPv4 or IPv6 must be enabled')
  }
  checkSubnets(IPAM?.Config ?? [], minor)
  checkOptions(given.Options)
  const ipam = {
    Driver: 'default',
    ...(IPAM?.Options === undefined ? {} : { Options: IPAM.Options }),
    ...(IPAM?.Config === undefined ? {} : { Config: IPAM.Config }),
  }
  return {
    Name,
    Labels: given.Labels,
    Driver: 'overlay',
    ...(Object.keys(given.Options).length === 0 ? {} : { Options: given.Options }),
    ...(Internal ? { Internal } : {}),
    ...(Attachable ? { Attachable } : {}),
    ...(Ingress ? { Ingress } : {}),
    ...(EnableIPv4 === undefined ? {} : { EnableIPv4 }),
    ...(EnableIPv6 === undefined ? {} : { EnableIPv6 }),
    IPAM: ipam,
  }
}

function checkName(name: string, minor: number): void {
  if (name.trim() === '') throw new ApiError(minor <= 41 ? 500 : 400, `invalid name: ${name}`)
  // Every engine has them; two of them are also known to every cluster.
  if (name === 'bridge' || name === 'host') {
    throw new ApiError(409, `network with name ${name} already exists`)
  }
  if (PREDEFINED.includes(name)) {
    throw new ApiError(403, `operation is not permitted on predefined ${name} network `)
  }
  if (!NAME.test(name)) throw invalidArgument('name must be valid as a DNS name component')
  if (name.length > NAME_LENGTH_MAX) {
    throw invalidArgument('name must be 63 characters or fewer')
  }
}

type Parsed = Address4 | Address6

function checkSubnets(configs: readonly IpamConfig[], minor: number): void {
  if (configs.length > SUBNETS_MAX) throw badRequest(`more than ${SUBNETS_MAX} subnets`)
  const subnets: Parsed[] = []
  for (const { Subnet = '', IPRange, Gateway, AuxiliaryAddresses } of configs) {
    const subnet = parseCidr(Subnet)
    // Engines up to 1.43 gave this a 500, and other words.
    if (subnet === null && minor < 44) {
      throw new ApiError(500, `Invalid subnet ${Subnet} : invalid CIDR address: ${Subnet}`)
    }
    if (subnet === null) {
      throw badRequest(
        `invalid network config:\ninvalid subnet ${Subnet}: invalid CIDR block notation`,
      )
    }
    const clash = subnets.find((other) => overlaps(other, subnet))
    if (clash !== undefined) {
      throw badRequest(`invalid network config:\nsubnet ${Subnet} overlaps with ${clash.address}`)
    }
    subnets.push(subnet)
    if (IPRange !== undefined) checkWithin('range', IPRange, parseCidr(IPRange), Subnet, subnet)
    const addresses = Object.entries(AuxiliaryAddresses ?? {})
    if (Gateway !== undefined) addresses.push(['gateway', Gateway])
    for (const [name, address] of addresses) {
      checkWithin(
        name === 'gateway' ? 'gateway' : 'auxiliary address',
        address,
        parseIp(address),
        Subnet,
        subnet,
      )
    }
  }
}

function checkWithin(
  what: string,
  text: string,
  parsed: Parsed | null,
  subnetText: string,
  subnet: Parsed,
): void {
  if (parsed === null) throw invalidArgument(`ipam configuration: invalid ${what} ${text}`)
  if (!isWithin(parsed, subnet)) {
    throw invalidArgument(
      `ipam configuration: subnet ${subnetText} does not contain ${what} ${text}`,
    )
  }
}

function parseIp(text: string): Parsed | null {
  if (isIPv4(text)) return new Address4(text)
  return isIPv6(text) && !text.includes('%') ? new Address6(text) : null
}

/** The address part may have host bits, as Docker allows. */
function parseCidr(text: string): Parsed | null {
  const match = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(text)
  if (match === null) return null
  const prefix = Number(match[2])
  if (isIPv4(match[1]!)) return prefix <= 32 ? new Address4(text) : null
  return isIPv6(match[1]!) && prefix <= 128 ? new Address6(text) : null
}

function isWithin(inner: Parsed, outer: Parsed): boolean {
  if (inner instanceof Address4) return outer instanceof Address4 && inner.isInSubnet(outer)
  return outer instanceof Address6 && inner.isInSubnet(outer)
}

function overlaps(one: Parsed, other: Parsed): boolean {
  return isWithin(one, other) || isWithin(other, one)
}

function checkOptions(options: Labels): void {
  const vnis = options[VNI_OPTION]
  if (vnis !== undefined) {
    for (const text of vnis.split(',')) {
      if (!/^\d{1,8}$/.test(text) || Number(text) < 1 || Number(text) > VNI_MAX) {
        throw badRequest(`invalid vxlan id: ${JSON.stringify(text)}`)
      }
    }
  }
  const mtu = options[MTU_OPTION]
  if (
    mtu !== undefined &&
    (!/^\d{1,5}$/.test(mtu) || Number(mtu) < MTU_MIN || Number(mtu) > MTU_MAX)
  ) {
    throw badRequest(`invalid MTU ${JSON.stringify(mtu)}: it is a number in ${MTU_MIN}-${MTU_MAX}`)
  }
}
