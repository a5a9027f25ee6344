// The rules in a task's namespace that send its answers to clients of published ports back into the
// mesh, wherever the task's default route leads:
//
//     pref 4788   from ADDRESS              lookup main suppress_prefixlength 0
//     pref 4789   from ADDRESS              lookup 4789
//     pref 4788   ipproto udp sport PORT    lookup main suppress_prefixlength 0
//     pref 4789   ipproto udp sport PORT    lookup 4789
//     table 4789  default via GATEWAY dev the interface on the ingress network     (link.ts)
//
// A TCP socket answers from the address that it was called on, so its address tells. A UDP socket
// that is bound to every address has none yet when its answer is routed; the route chooses it.
// There the port tells, a target port of a published UDP port: the answer then leaves with the
// address on the ingress network, as the client's node expects it.
//
// What the main table reaches without its default route goes there first: neighbours on the
// network, other networks of the task.
//
// Limit: a UDP server of such a port that is asked from beyond the task's own default route as
// well, past the mesh, answers there only if it answers from the address that it was asked on
// (IP_PKTINFO).

import { type AddressFamily, canonicalAddress, familyOf } from './address.ts'
import { changeIp, type IpCommand, queryIp } from './command.ts'
import type { NetworkNamespace } from './netns.ts'

/** Preference of the rules that lead to the mesh; before main (32766), behind what an administrator
 * would put first. The rules one before them lead to what the main table knows. */
export const INGRESS_RULE_PREFERENCE = 4789

/** Routing table of those rules, inside the task's namespace. */
export const INGRESS_TABLE = 4789

export interface IngressWish {
  /** Addresses of the namespace on the ingress network. */
  readonly addresses: readonly string[]
  /** Target ports of published UDP ports that are served here. */
  readonly udpPorts: readonly number[]
  /** Ways into the mesh that nobody else sets: those of interfaces that an engine configured. */
  readonly routes?: readonly { readonly gateway: string; readonly device: string }[]
}

/** A namespace without any task on the ingress network. */
export const NO_INGRESS: IngressWish = { addresses: [], udpPorts: [] }

const BY_MAIN = `pref ${INGRESS_RULE_PREFERENCE - 1} lookup main suppress_prefixlength 0`
const BY_MESH = `pref ${INGRESS_RULE_PREFERENCE} lookup ${INGRESS_TABLE}`

/** The rules of a family as `ip rule add` wants them. */
export function planIngress(wish: IngressWish, family: AddressFamily): string[] {
  const addresses = wish.addresses
    .map(canonicalAddress)
    .filter((address) => familyOf(address) === family)
  if (addresses.length === 0) return []
  const selectors = [
    ...new Set(addresses.map((address) => `from ${address}`)),
    ...new Set(wish.udpPorts.map((port) => `ipproto udp sport ${port}`)),
  ]
  return selectors.flatMap((selector) => [`${BY_MAIN} ${selector}`, `${BY_MESH} ${selector}`])
}

/** A rule as `ip -j rule` prints it. */
export interface IngressRuleReport {
  readonly priority: number
  readonly src?: string
  readonly table?: string
  readonly [key: string]: unknown
}

const KNOWN_KEYS = new Set([
  'priority',
  'src',
  'table',
  'ipproto',
  'sport',
  'suppress_prefixlen',
  'protocol',
])

/** The text of planIngress for a rule that is there; null for one that we never make. */
export function ingressRuleText(report: IngressRuleReport): string | null {
  if (Object.keys(report).some((key) => !KNOWN_KEYS.has(key))) return null
  const { src = 'all', ipproto, sport, suppress_prefixlen: suppressed } = report
  const byPort = ipproto === 'udp' && typeof sport === 'number' && src === 'all'
  const byAddress = ipproto === undefined && sport === undefined && src !== 'all'
  if (!byPort && !byAddress) return null
  const selector = byPort ? `ipproto udp sport ${sport}` : `from ${canonicalAddress(src)}`
  const isMain = report.priority === INGRESS_RULE_PREFERENCE - 1
  if (isMain && report.table === 'main' && suppressed === 0) return `${BY_MAIN} ${selector}`
  const isMesh = report.priority === INGRESS_RULE_PREFERENCE && suppressed === undefined
  return isMesh && report.table === String(INGRESS_TABLE) ? `${BY_MESH} ${selector}` : null
}

/** Makes the rules of a namespace as wished, whatever an earlier agent left there. A namespace that
 * is gone has none. Throws EdgeError COMMAND_*, NO_PERMISSION. */
export async function applyIngress(wish: IngressWish, namespace?: NetworkNamespace): Promise<void> {
  for (const family of [4, 6] as const) {
    const wanted = planIngress(wish, family)
    const reports = await queryIp<IngressRuleReport>(['rule', 'show'], { namespace, family })
    const there = reports.map(ingressRuleText).filter((text) => text !== null)
    const add = wanted
      .filter((rule) => !there.includes(rule))
      .map((rule): IpCommand => ({ line: `rule add ${rule}`, tolerate: 'exists' }))
    const remove = there
      .filter((rule) => !wanted.includes(rule))
      .map((rule): IpCommand => ({ line: `rule del ${rule}`, tolerate: 'missing' }))
    const routes = (wish.routes ?? [])
      .filter(({ gateway }) => familyOf(gateway) === family)
      .map(({ gateway, device }): IpCommand => {
        return { line: `route replace default via ${gateway} dev ${device} table ${INGRESS_TABLE}` }
      })
    await changeIp([...routes, ...add, ...remove], { namespace, family })
  }
}
