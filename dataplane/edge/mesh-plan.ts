// The host side of the routing mesh, as data: which changes steer published ports into the TUN, and
// how each is taken back. Nothing here touches the machine; mesh-host.ts carries it out.
//
// The idea. A packet to ADDRESS:PORT of this node must not reach a local socket but the agent, with
// the client's address intact. Policy routing does that without a packet filter:
//
//     pref 100   to ADDRESS ipproto tcp dport PORT lookup 4789      one per address and published
//     port pref 200   lookup local                                       was at pref 0, before
//     everything table 4789 default dev weft0
//
// So the local table moves below our rules, and only published ports are looked up before it.
// Should the agent die, weft0 goes with it, table 4789 is then empty, and every rule falls through
// to local: the host works as before, with or without the repair at the next start.
//
// Where another agent is about to follow, all of it stays, also weft0, which nobody reads: what
// comes to a published port is dropped without a word, and clients send again. (A blackhole route
// would fail the connect() of clients on this node with EINVAL.) The kernel's own clock ends that:
// the address of weft0 and the IPv6 route expire, and a device without an address has no IPv4
// routes (fib_disable_ip() of net/ipv4/fib_frontend.c). Then it is as if the agent had died.
//
// Around it:
// - Forwarding is on: a packet from eth0 leaves through weft0.
// - accept_local on weft0: answers come in from it with this node's own address as their source.
// - route_localnet on weft0: a client on the node may use 127.0.0.1:PORT. (::1 cannot: a packet
//   to it is accepted from the loopback device only, ip6_rcv_core. cli/loopback-proxy.ts serves
// it.)
// - rp_filter 2 on weft0 makes the effective value 2 whatever conf/all says, because the kernel
//   takes the larger of both (ip-sysctl.rst): no change of a host-wide setting is needed. Loose
//   mode refuses a device without addresses (fib_validate_source, no_addr), so weft0 has one.
// - That address must not become the source of clients on this node: it is the same on every node,
//   and backends could not tell two such clients apart. So table 4789 names the source per address:
//   the address itself, as for any local connection; for 127.0.0.1 the node's first address,
//   because a backend elsewhere could not answer to a loopback address. (IPv6 finds the same by RFC
//   6724.)
// - Published ports are reserved, so that no client on this node gets one as its ephemeral port:
//   the answers to it would be taken for requests.
// - Where FORWARD drops (Docker's policy), traffic of weft0 is accepted: in DOCKER-USER if it
//   exists, which Docker keeps in front and never flushes.
// - Processes' links to outside (egress.ts) are masqueraded by the packet filter's NAT: it is what
//   every host has that runs containers, and a node without it has no egress.
// - IPv6 forwarding makes a host stop accepting router advertisements unless accept_ra is 2.
//   Devices that accepted them go on doing so.
//
// Limit: a fragment has no port that a rule could see, not even the first one. Fragmented datagrams
// to published ports need a kernel that puts them together before it routes, as it does wherever
// connection tracking is in use (nf_defrag_ipv4, nf_defrag_ipv6): on every host with Docker's or
// another stateful packet filter. Elsewhere they end at the host's own UDP sockets.
//
// Deliberately not done: native nftables rule sets are not looked at; a device that appears later
// and wants router advertisements must be set to accept_ra=2 by whoever adds it.

import { type AddressFamily, canonicalAddress, familyOf } from './address.ts'

/** Routing table whose only route leads into the TUN. */
export const MESH_TABLE = 4789
/** Preference of the rules for published ports. */
export const MESH_RULE_PREFERENCE = 100
/** Preference of the local table's rule while the mesh is up. */
export const LOCAL_RULE_PREFERENCE = 200
/** Address of weft0: see rp_filter above. Link-local (RFC 3927), never on a wire. */
export const MESH_DEVICE_ADDRESS = '169.254.47.89/32'

/** Links by which processes of this node reach outside (egress.ts): names begin so. */
export const EGRESS_DEVICES = 'weftx'
/** Their addresses. Link-local (RFC 3927), so that no network anywhere is in the way; they are on
 * no wire, for each link has two ends and what leaves the host has its address. */
export const EGRESS_SUBNET = '169.254.48.0/20'

export interface MeshPort {
  readonly protocol: 'tcp' | 'udp'
  readonly port: number
}

export interface MeshWish {
  /** Addresses of this node on which published ports answer; 127.0.0.1 is always one of them. */
  readonly addresses: readonly string[]
  readonly ports: readonly MeshPort[]
  /** Forward what comes from links of EGRESS_DEVICES, with the host's own address. Default
   * false. */
  readonly egress?: boolean
}

/** What the host was like before we changed anything. */
export interface HostFacts {
  /** Rules in canonical text (ruleText), per family. */
  readonly rules: Readonly<Record<AddressFamily, readonly string[]>>
  /** IPv4 routes of MESH_TABLE that name a source, in the text of planSources. */
  readonly routes: readonly string[]
  /** Settings by name below /proc/sys/net. */
  readonly sysctls: ReadonlyMap<string, string>
  /** The chain that must let weft0 pass, per family; absent where nothing is in the way. */
  readonly chains: Readonly<Partial<Record<AddressFamily, string>>>
}

/** One change. Each knows its inverse (see mesh-host.ts), and everything the inverse needs is in
 * it. */
export type MeshStep =
  | {
      readonly kind: 'rule'
      readonly family: AddressFamily
      readonly add: boolean
      readonly rule: string
    }
  | { readonly kind: 'route'; readonly route: string }
  | {
      readonly kind: 'sysctl'
      readonly name: string
      readonly value: string
      readonly before: string
      /** Settings that the kernel changes along with this one, and what they were. */
      readonly alongside: readonly (readonly [string, string])[]
    }
  | {
      readonly kind: 'chain'
      readonly family: AddressFamily
      /** Default "filter". */
      readonly table?: 'nat'
      readonly chain: string
      readonly rule: readonly string[]
    }
  /** The TUN outlives the agent. Never planned: an agent's last step, for the next one. */
  | { readonly kind: 'hold'; readonly device: string }

/** Identity of a step: two steps with one key change the same thing. */
export function stepKey(step: MeshStep): string {
  if (step.kind === 'sysctl') return `sysctl ${step.name}`
  if (step.kind === 'route') return `route ${step.route}`
  if (step.kind === 'chain') return `chain ${chainKey(step)}`
  if (step.kind === 'hold') return `hold ${step.device}`
  return `rule ${step.family} ${step.add ? 'add' : 'del'} ${step.rule}`
}

const RESERVED_PORTS = 'ipv4/ip_local_reserved_ports'

/** All changes that the wish needs, in the order in which they must be made; taking them back goes
 * the other way round. No published port and no egress, no change. */
export function planMesh(wish: MeshWish, facts: HostFacts, tunName: string): MeshStep[] {
  const egress = wish.egress ? planEgress(facts) : []
  if (wish.ports.length === 0) {
    return wish.egress ? [...planForwarding(4, facts, tunName), ...egress] : []
  }
  const addresses = new Set(['127.0.0.1', ...wish.addresses].map(canonicalAddress))
  addresses.delete('::1')
  const families = ([4, 6] as const).filter((family) =>
    [...addresses].some((address) => familyOf(address) === family),
  )
  return [
    ...families.flatMap((family) => planForwarding(family, facts, tunName)),
    ...(wish.egress && !families.includes(4) ? planForwarding(4, facts, tunName) : []),
    ...planReservedPorts(wish, facts),
    ...families.flatMap((family) => planChain(family, facts, tunName)),
    ...egress,
    ...planSources([...addresses], tunName),
    ...families.flatMap((family) => planLocalRule(family, facts)),
    ...[...addresses].flatMap((address) => planPorts(address, wish.ports)),
  ]
}

function sysctlStep(facts: HostFacts, name: string, value: string): MeshStep[] {
  const before = facts.sysctls.get(name)
  if (before === undefined || before === value) return []
  return [{ kind: 'sysctl', name, value, before, alongside: [] }]
}

function planForwarding(family: AddressFamily, facts: HostFacts, tunName: string): MeshStep[] {
  const main = family === 4 ? 'ipv4/ip_forward' : 'ipv6/conf/all/forwarding'
  const before = facts.sysctls.get(main)
  if (before === undefined || before !== '0') return []
  const prefix = family === 4 ? 'ipv4/conf/' : 'ipv6/conf/'
  const own = `${prefix}${tunName}/`
  // inet_forward_change() and addrconf_forward_change() write to every device, and for IPv4 to
  // conf/all/accept_redirects as well.
  const alongside = [...facts.sysctls].filter(
    ([name]) =>
      name.startsWith(prefix) &&
      !name.startsWith(own) &&
      name !== main &&
      name !== 'ipv4/conf/all/forwarding' &&
      (name.endsWith('/forwarding') || name === 'ipv4/conf/all/accept_redirects'),
  )
  const advertised = [...facts.sysctls].filter(
    ([name, value]) =>
      family === 6 && /\/accept_ra$/.test(name) && value === '1' && !name.startsWith(own),
  )
  return [
    ...advertised
      .filter(([name]) => !/conf\/(all|default|lo)\//.test(name))
      .flatMap(([name]) => sysctlStep(facts, name, '2')),
    { kind: 'sysctl', name: main, value: '1', before, alongside },
  ]
}

function planReservedPorts(wish: MeshWish, facts: HostFacts): MeshStep[] {
  const before = facts.sysctls.get(RESERVED_PORTS)
  if (before === undefined) return []
  const ports = parsePortRanges(before)
  for (const { port } of wish.ports) ports.add(port)
  return sysctlStep(facts, RESERVED_PORTS, formatPortRanges(ports))
}

/** "80,8000-8002" as a set of ports. */
export function parsePortRanges(text: string): Set<number> {
  const ports = new Set<number>()
  for (const range of text.split(',').filter((part) => part.trim() !== '')) {
    const [first = 0, last = first] = range.split('-').map(Number)
    for (let port = first; port <= last; port++) ports.add(port)
  }
  return ports
}

/** The spelling that the kernel gives back (proc_do_large_bitmap): ascending, neighbours joined. */
export function formatPortRanges(ports: ReadonlySet<number>): string {
  const sorted = [...ports].sort((a, b) => a - b)
  const ranges: [number, number][] = []
  for (const port of sorted) {
    const range = ranges.at(-1)
    if (range !== undefined && range[1] === port - 1) range[1] = port
    else ranges.push([port, port])
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',')
}

function planChain(family: AddressFamily, facts: HostFacts, tunName: string): MeshStep[] {
  const chain = facts.chains[family]
  if (chain === undefined) return []
  return [
    { kind: 'chain', family, chain, rule: ['-i', tunName, '-j', 'ACCEPT'] },
    { kind: 'chain', family, chain, rule: ['-o', tunName, '-j', 'ACCEPT'] },
  ]
}

const ANSWERS = ['-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED']
const NO_ANSWERS = ['-m', 'conntrack', '!', '--ctstate', 'RELATED,ESTABLISHED']

/** What leaves through an egress link goes out with the host's address; nothing begins from outside
 * or from another link. IPv4, as with Docker's gateway bridge. */
function planEgress(facts: HostFacts): MeshStep[] {
  const links = `${EGRESS_DEVICES}+`
  const chain = facts.chains[4]
  const rules = [
    // Each is put in front of those before it.
    ...(chain === undefined ? [] : [['-o', links, ...ANSWERS, '-j', 'ACCEPT']]),
    ...(chain === undefined ? [] : [['-i', links, '-j', 'ACCEPT']]),
    ['-o', links, ...NO_ANSWERS, '-j', 'DROP'],
  ]
  return [
    ...rules.map((rule): MeshStep => {
      return { kind: 'chain', family: 4, chain: chain ?? 'FORWARD', rule }
    }),
    {
      kind: 'chain',
      family: 4,
      table: 'nat',
      chain: 'POSTROUTING',
      rule: ['-s', EGRESS_SUBNET, '!', '-o', links, '-j', 'MASQUERADE'],
    },
  ]
}

function planSources(addresses: readonly string[], tunName: string): MeshStep[] {
  const four = addresses.filter((address) => familyOf(address) === 4)
  const isLoopback = (address: string): boolean => address.startsWith('127.')
  const first = four.find((address) => !isLoopback(address))
  return four.flatMap((address): MeshStep[] => {
    const source = isLoopback(address) ? first : address
    if (source === undefined) return []
    return [{ kind: 'route', route: routeText(address, tunName, source) }]
  })
}

export function routeText(target: string, device: string, source: string): string {
  return `${target} dev ${device} src ${source} table ${MESH_TABLE}`
}

/** The local table below our rules: first the new place, then away from the old one. In between it
 * is looked up twice, never not at all; the same holds in reverse. */
function planLocalRule(family: AddressFamily, facts: HostFacts): MeshStep[] {
  const local = facts.rules[family].filter((rule) => /^pref \d+ lookup local$/.test(rule))
  const inFront = local.filter((rule) => rulePreference(rule) <= MESH_RULE_PREFERENCE)
  if (inFront.length === 0) return []
  const target = `pref ${LOCAL_RULE_PREFERENCE} lookup local`
  const steps: MeshStep[] = inFront.map((rule) => ({ kind: 'rule', family, add: false, rule }))
  return [{ kind: 'rule', family, add: true, rule: target }, ...steps]
}

function rulePreference(rule: string): number {
  return Number(/^pref (\d+)/.exec(rule)?.[1])
}

function planPorts(address: string, ports: readonly MeshPort[]): MeshStep[] {
  const family = familyOf(address)
  const texts = new Set(
    ports.map(
      ({ protocol, port }) =>
        `pref ${MESH_RULE_PREFERENCE} to ${address} ipproto ${protocol} dport ${port} ` +
        `lookup ${MESH_TABLE}`,
    ),
  )
  return [...texts].map((rule) => ({ kind: 'rule', family, add: true, rule }))
}

/** A rule as `ip -j rule` prints it. */
export interface RuleReport {
  readonly priority: number
  readonly table?: string
  readonly [key: string]: unknown
}

const RULE_WORDS: readonly (readonly [string, string])[] = [
  ['dst', 'to'],
  ['ipproto', 'ipproto'],
  ['dport', 'dport'],
  ['table', 'lookup'],
]

/** The canonical text of a rule. Whatever we never write into a rule is appended as it is, so that
 * such a rule equals none of ours. */
export function ruleText(report: RuleReport): string {
  const words = [`pref ${report.priority}`]
  for (const [key, word] of RULE_WORDS) {
    if (report[key] !== undefined) words.push(`${word} ${report[key]}`)
  }
  const known = new Set(['priority', 'src', 'protocol', ...RULE_WORDS.map(([key]) => key)])
  const others = Object.keys(report).filter((key) => !known.has(key))
  if (report.src !== undefined && report.src !== 'all') others.push('src')
  for (const key of others.sort()) words.push(`${key}=${JSON.stringify(report[key])}`)
  return words.join(' ')
}

/** True when the host is already as `step` wants it. */
export function isSatisfied(
  step: MeshStep,
  now: HostFacts,
  chainRules: ReadonlySet<string>,
): boolean {
  if (step.kind === 'sysctl') return now.sysctls.get(step.name) === step.value
  if (step.kind === 'route') return now.routes.includes(step.route)
  if (step.kind === 'chain') return chainRules.has(chainKey(step))
  if (step.kind === 'hold') return true
  return now.rules[step.family].includes(step.rule) === step.add
}

/** "4 filter -A FORWARD -i weft0 -j ACCEPT". */
export function chainKey({ family, table, chain, rule }: MeshStep & { kind: 'chain' }): string {
  return `${family} ${table ?? 'filter'} -A ${chain} ${rule.join(' ')}`
}

/** What the host was like before `made`, the steps of an agent before this one, which all hold. A
 * setting that somebody has changed since is as he wants it. */
export function factsBefore(made: readonly MeshStep[], now: HostFacts): HostFacts {
  const rules = { 4: [...now.rules[4]], 6: [...now.rules[6]] }
  const sysctls = new Map(now.sysctls)
  const gone = new Set<string>()
  for (const step of made.toReversed()) {
    if (step.kind === 'rule') {
      const others = rules[step.family].filter((rule) => rule !== step.rule)
      rules[step.family] = step.add ? others : [...others, step.rule]
    } else if (step.kind === 'route') {
      gone.add(step.route)
    } else if (step.kind === 'sysctl' && sysctls.get(step.name) === step.value) {
      sysctls.set(step.name, step.before)
      for (const [name, value] of step.alongside) if (sysctls.has(name)) sysctls.set(name, value)
    }
  }
  return { ...now, rules, sysctls, routes: now.routes.filter((route) => !gone.has(route)) }
}

export interface MeshDifference {
  /** Steps to make, in order. */
  readonly make: readonly MeshStep[]
  /** Indices into `made` of steps to take back, latest first. */
  readonly undo: readonly number[]
  /** Indices into `made` of steps that one of `make` replaces: to be forgotten once that is made.
   */
  readonly replaced: readonly number[]
}

/** What leads from the steps that are made to the wanted ones. A sysctl whose wanted value changed
 * is made again with its first `before`, so that undoing restores what was there in the beginning.
 */
export function diffMesh(wanted: readonly MeshStep[], made: readonly MeshStep[]): MeshDifference {
  const wantedKeys = new Set(wanted.map(stepKey))
  const latest = new Map(made.map((step) => [stepKey(step), step]))
  const make = wanted.filter((step) => {
    const before = latest.get(stepKey(step))
    if (before === undefined) return true
    return step.kind === 'sysctl' && before.kind === 'sysctl' && step.value !== before.value
  })
  const makeKeys = new Set(make.map(stepKey))
  const replaced = [...made.keys()].filter((index) => makeKeys.has(stepKey(made[index]!)))
  const undo: number[] = []
  for (let i = made.length - 1; i >= 0; i--) {
    if (!wantedKeys.has(stepKey(made[i]!))) undo.push(i)
  }
  return { make, undo, replaced }
}
