// The second validation pass over endpoints: where they are, what addresses they have, what
// interface they ask for.

import {
  contains,
  familyOf,
  lastAddress,
  macText,
  parseAddress,
  parseMac,
  prefixText,
} from './address.ts'
import type { Address } from './compiled.ts'
import { LOCAL_PORTS_MAX } from './limits.ts'
import { macFromAddress } from './mac-derive.ts'
import { at } from './shape.ts'
import { didYouMean } from './suggest.ts'
import type { Endpoint, LocalInterface } from './tables.ts'
import { type Context, claim, isEncrypted, resolveName } from './validate-context.ts'

/** Checks that `address` can be a host's of network number `network`. Returns the number of its
 * subnet, -1 when it cannot be (which has then been reported). */
export function checkHostAddress(
  context: Context,
  network: number,
  address: Address,
  path: string,
): number {
  const { report, tables } = context
  const subnets = context.subnets[network]!
  const index = subnets.findIndex((subnet) => contains(subnet, address))
  if (index < 0) {
    const known = subnets.map(prefixText).join(', ')
    const { name } = tables.networks[network]!
    report(path, `${address.text} is outside the subnets of network "${name}" (${known})`)
    return -1
  }
  const subnet = subnets[index]!
  let role: string
  if (address.text === subnet.text) role = 'network'
  else if (familyOf(address) === 4 && address.text === lastAddress(subnet).text) role = 'broadcast'
  else if (address.text === context.gateways[network]![index]!.text) role = 'gateway'
  else return index
  report(path, `is the ${role} address of ${prefixText(subnet)}`)
  return -1
}

/** The MAC address of an endpoint: the one given, else derived from its first address. */
export function endpointMac(endpoint: Endpoint): Uint8Array {
  if (endpoint.mac !== undefined) return parseMac(endpoint.mac)!
  return macFromAddress(parseAddress(endpoint.addresses[0]!)!.bytes)
}

function checkAddresses(context: Context, endpoint: Endpoint, e: number, network: number): void {
  const { report } = context
  const path = `endpoints[${e}]`
  const owner = `${path} ("${endpoint.name}")`
  const bySubnet = new Map<number, number>()
  let isFirstSound = true
  endpoint.addresses.forEach((text, a) => {
    const where = `${path}.addresses[${a}]`
    const address = parseAddress(text)!
    const subnet = checkHostAddress(context, network, address, where)
    if (subnet < 0) {
      if (a === 0) isFirstSound = false
      return
    }
    const first = bySubnet.get(subnet)
    if (first === undefined) bySubnet.set(subnet, a)
    else if (endpoint.addresses[first] !== text) {
      report(where, `is a second address in the subnet of addresses[${first}]`)
    }
    claim(context.addressOwners, network, address.text, owner, (earlier) => {
      report(where, `is also that of ${earlier}`)
      if (a === 0) isFirstSound = false
    })
  })
  // A MAC address that derives from a refused address would only repeat the complaint.
  if (endpoint.mac === undefined && !isFirstSound) return
  const mac = macText(endpointMac(endpoint))
  claim(context.macOwners, network, mac, owner, (earlier) => {
    if (endpoint.mac !== undefined) report(`${path}.mac`, `is also that of ${earlier}`)
    else
      report(path, `derives the MAC address ${mac}, which is also that of ${earlier}: name a mac`)
  })
}

/** Checks that frames can get to the node that the endpoint runs on. */
function checkNode(context: Context, endpoint: Endpoint, e: number, network: number): void {
  const { tables, report } = context
  if (endpoint.node === tables.node.name) return
  const path = `endpoints[${e}].node`
  const index = context.peers.get(endpoint.node)
  if (index === undefined) {
    const known = [tables.node.name, ...context.peers.keys()]
    report(path, `there is no node "${endpoint.node}"${didYouMean(endpoint.node, known)}`)
    return
  }
  const peer = tables.peers[index]!
  const { name } = tables.networks[network]!
  if (isEncrypted(tables.networks[network]!)) {
    if (peer.publicKey === undefined) {
      report(path, `network "${name}" is encrypted and peers[${index}] has no publicKey`)
    }
  } else if (peer.endpoint === undefined) {
    report(path, `network "${name}" is not encrypted and peers[${index}] has no endpoint`)
  }
}

/** Words for the namespace an interface goes to; equal for the same namespace. */
function namespaceOf(local: LocalInterface): string {
  if (local.netns === undefined) return "the agent's own namespace"
  return typeof local.netns === 'number' ? `/proc/${local.netns}/ns/net` : local.netns
}

/** Who has claimed a device name or a default route of a namespace, in words. */
interface InterfaceOwners {
  readonly devices: Map<string, string>
  readonly routes: Map<string, string>
}

function checkInterface(
  context: Context,
  endpoint: Endpoint,
  e: number,
  owners: InterfaceOwners,
): void {
  const local = endpoint.interface
  if (local === undefined) return
  const { tables, report } = context
  const path = at(`endpoints[${e}]`, 'interface')
  if (endpoint.node !== tables.node.name) {
    report(path, `can only be made on this node ("${tables.node.name}"), not on "${endpoint.node}"`)
    return
  }
  claimDevice(context, local, `endpoints[${e}]`, path, owners)
  checkHandOver(context, local, path)
  if (local.defaultRoute !== true) return
  const namespace = namespaceOf(local)
  for (const text of endpoint.addresses) {
    const family = text.includes(':') ? 'IPv6' : 'IPv4'
    const routeKey = `${namespace}|${family}`
    const route = owners.routes.get(routeKey)
    if (route === undefined) owners.routes.set(routeKey, `endpoints[${e}]`)
    else if (route !== `endpoints[${e}]`) {
      report(`${path}.defaultRoute`, `${route} has the ${family} default route of ${namespace}`)
      return
    }
  }
}

function claimDevice(
  { report }: Context,
  local: LocalInterface,
  owner: string,
  path: string,
  owners: InterfaceOwners,
): void {
  const namespace = namespaceOf(local)
  const deviceKey = `${namespace}|${local.name}`
  const device = owners.devices.get(deviceKey)
  if (device === undefined) owners.devices.set(deviceKey, owner)
  else report(`${path}.name`, `is also that of ${device} in ${namespace}`)
}

/** Checks what an engine configures instead of us. */
function checkHandOver({ report }: Context, local: LocalInterface, path: string): void {
  if (local.handedOver === true) {
    if (local.defaultRoute === true) {
      report(`${path}.defaultRoute`, 'is for the engine to set, which the interface is handed to')
    }
  } else if (local.movedTo !== undefined) {
    report(`${path}.movedTo`, 'is only for an interface with handedOver')
  }
}

/** Checks the interfaces that have gateway addresses; returns how many there are. */
function checkGatewayInterfaces(context: Context, owners: InterfaceOwners): number {
  let interfaces = 0
  context.tables.networks.forEach(({ gatewayInterface }, n) => {
    if (gatewayInterface === undefined) return
    interfaces++
    const path = `networks[${n}].gatewayInterface`
    claimDevice(context, gatewayInterface, path, path, owners)
    if (gatewayInterface.defaultRoute === true) {
      context.report(`${path}.defaultRoute`, 'would lead to the gateway itself')
    }
    if (gatewayInterface.handedOver === true || gatewayInterface.movedTo !== undefined) {
      context.report(path, 'is the own of the agent: it is not handed over')
    }
  })
  return interfaces
}

export function checkEndpoints(context: Context): void {
  const { tables, report } = context
  const owners: InterfaceOwners = { devices: new Map(), routes: new Map() }
  tables.networks.forEach((_, n) => {
    for (const gateway of context.gateways[n]!) {
      const mac = macText(macFromAddress(gateway.bytes))
      context.macOwners.set(`${n}|${mac}`, `gateway ${gateway.text}`)
    }
  })
  let interfaces = checkGatewayInterfaces(context, owners)
  tables.endpoints.forEach((endpoint, e) => {
    if (endpoint.interface !== undefined) interfaces++
    const network = resolveName(context, 'network', endpoint.network, `endpoints[${e}].network`)
    if (network !== undefined) {
      checkAddresses(context, endpoint, e, network)
      checkNode(context, endpoint, e, network)
    }
    checkInterface(context, endpoint, e, owners)
  })
  if (interfaces > LOCAL_PORTS_MAX) {
    report('endpoints', `ask for ${interfaces} interfaces on this node, at most ${LOCAL_PORTS_MAX}`)
  }
}
