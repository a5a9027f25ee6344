// Configuring a device inside its namespace: what a container finds when it looks at its interface.
// The plan is a pure function; carrying it out is a few writes below /proc/sys (made by this thread
// while it is in the namespace) and a batch of what `ip` would do (rtnetlink.ts). Everything is
// said so that saying it twice changes nothing: a device taken over from an earlier agent goes
// through the same steps, and only what differs is touched, since its container is in the middle of
// using it.
//
// Deliberately not done: nothing is removed when an endpoint goes, because the device takes its
// addresses, routes and settings with it. The rules of the ingress network are not tied to the
// device: ingress.ts.

import { type AddressFamily, canonicalAddress, familyOf } from './address.ts'
import { type IpCommand, queryIp } from './command.ts'
import { INGRESS_TABLE } from './ingress.ts'
import { inNamespace, type NetworkNamespace } from './netns.ts'
import { changeLinks } from './rtnetlink.ts'
import { writeSysctl } from './sysctl.ts'

export interface LinkOptions {
  readonly name: string
  /** Where the device is; default the namespace of this process. */
  readonly namespace?: NetworkNamespace | undefined
  /** "02:42:0a:00:00:02"; absent = as the kernel chose it. Not for a TUN. */
  readonly mac?: string
  /** Addresses with prefix length: "10.0.0.2/24", "fd00::2/64". */
  readonly addresses: readonly string[]
  /** Inner MTU in bytes. */
  readonly mtu?: number
  /** Packets that wait in the device until we read them. */
  readonly transmitQueueLength?: number
  /** Largest super-packet in bytes and segments, so that one fits one UDP_SEGMENT message. */
  readonly gsoSizeMax?: number
  readonly gsoSegmentCountMax?: number
  /** One gateway per family: everything goes out through this device. */
  readonly defaultGateways?: readonly string[]
  /** On the ingress network: where the rules of ingress.ts lead to. One gateway per family. */
  readonly ingressGateways?: readonly string[]
  /** Somebody else gives it addresses and sets it up. Default false. */
  readonly bare?: boolean
}

export interface LinkPlan {
  /** [name below /proc/sys/net, value], in order; a setting that is not there is passed over. */
  readonly sysctls: readonly (readonly [string, string])[]
  readonly commands: Readonly<Record<AddressFamily, readonly IpCommand[]>>
}

/** What configureLink does, without doing it. */
export function planLink(options: LinkOptions): LinkPlan {
  const { name } = options
  const hasIpv6 = options.addresses.some((address) => familyOf(address) === 6)
  const four: IpCommand[] = [{ line: linkLine(options) }]
  const six: IpCommand[] = []
  for (const address of options.addresses) {
    // nodad: the allocator hands addresses out once, and a tentative address cannot be bound.
    if (familyOf(address) === 6) six.push({ line: `addr replace ${address} dev ${name} nodad` })
    else four.push({ line: `addr replace ${address} dev ${name}` })
  }
  const commandsOf = (address: string): IpCommand[] => (familyOf(address) === 6 ? six : four)
  for (const gateway of options.defaultGateways ?? []) {
    commandsOf(gateway).push({ line: `route replace default via ${gateway} dev ${name}` })
  }
  for (const gateway of options.ingressGateways ?? []) {
    commandsOf(gateway).push({
      line: `route replace default via ${gateway} dev ${name} table ${INGRESS_TABLE}`,
    })
  }
  const sysctls = hasIpv6 || options.bare ? quietIpv6(name) : [noIpv6(name)]
  return { sysctls, commands: { 4: four, 6: six } }
}

function linkLine(options: LinkOptions): string {
  const words = ['link set dev', options.name]
  if (options.mac !== undefined) words.push('address', options.mac)
  if (options.mtu !== undefined) words.push('mtu', String(options.mtu))
  if (options.transmitQueueLength !== undefined) {
    words.push('txqueuelen', String(options.transmitQueueLength))
  }
  if (options.gsoSizeMax !== undefined) words.push('gso_max_size', String(options.gsoSizeMax))
  if (options.gsoSegmentCountMax !== undefined) {
    words.push('gso_max_segs', String(options.gsoSegmentCountMax))
  }
  words.push(options.bare ? 'down' : 'up')
  return words.join(' ')
}

/** Addresses come from the tables alone: no router advertisement, no autoconfiguration, no
 * duplicate detection, and no link-local address of the kernel's making, which nobody could
 * reach. */
function quietIpv6(name: string): [string, string][] {
  const at = `ipv6/conf/${name}`
  return [
    [`${at}/disable_ipv6`, '0'],
    [`${at}/accept_ra`, '0'],
    [`${at}/autoconf`, '0'],
    [`${at}/accept_dad`, '0'],
    [`${at}/dad_transmits`, '0'],
    [`${at}/router_solicitations`, '0'],
    [`${at}/addr_gen_mode`, '1'],
  ]
}

function noIpv6(name: string): [string, string] {
  return [`ipv6/conf/${name}/disable_ipv6`, '1']
}

interface AddressReport {
  addr_info?: { local?: string; prefixlen?: number; scope?: string }[]
}

/** Configures a device that exists. `adopted` says that it was taken over: addresses that are
 * not wanted any more are then removed, the wanted ones stay untouched. Throws EdgeError
 * NAMESPACE_*, NO_PERMISSION, COMMAND_*; the device may then be half configured, and calling
 * again completes it. */
export function configureLink(options: LinkOptions, adopted = false): Promise<void> {
  return configureLinks([options], adopted)
}

/** The same for devices of one namespace, with one batch per family. */
export async function configureLinks(
  links: readonly LinkOptions[],
  adopted = false,
): Promise<void> {
  const namespace = links[0]?.namespace
  const commands: Record<AddressFamily, IpCommand[]> = { 4: [], 6: [] }
  for (const options of links) {
    const plan = planLink(options)
    inNamespace(namespace, () => {
      for (const [name, value] of plan.sysctls) writeSysctl(name, value)
    })
    const stale = adopted ? await staleAddresses(options) : []
    for (const family of [4, 6] as const) commands[family].push(...plan.commands[family])
    for (const address of stale) {
      const line = `addr del ${address} dev ${options.name}`
      commands[familyOf(address)].push({ line, tolerate: 'missing' })
    }
  }
  for (const family of [4, 6] as const) await changeLinks(commands[family], { namespace, family })
}

async function staleAddresses(options: LinkOptions): Promise<string[]> {
  const { name, namespace } = options
  // Without a family `ip addr show` lists both.
  const reports = await queryIp<AddressReport>(['addr', 'show', 'dev', name], {
    namespace,
    family: 'both',
  })
  const wanted = new Set(options.addresses.map(canonicalAddress))
  return reports
    .flatMap((report) => report.addr_info ?? [])
    .filter(({ scope }) => scope === 'global')
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`)
    .filter((address) => !wanted.has(address))
}
