// What planMesh and isSatisfied need to know of this host, read from the kernel and the system's
// tools: policy rules, the mesh's routes, settings, and where a packet filter stands in the way.

import type { AddressFamily } from './address.ts'
import { queryIp, runCommand } from './command.ts'
import { EdgeError } from './errors.ts'
import {
  EGRESS_DEVICES,
  type HostFacts,
  MESH_TABLE,
  type RuleReport,
  routeText,
  ruleText,
} from './mesh-plan.ts'
import { readSysctl, sysctlDevices } from './sysctl.ts'

const hasIpv6 = (): boolean => readSysctl('ipv6/conf/all/forwarding') !== undefined

/** The host as it is now. Throws EdgeError COMMAND_*. */
export async function readFacts(tunName: string): Promise<HostFacts> {
  const families = hasIpv6() ? ([4, 6] as const) : ([4] as const)
  const rules: Record<AddressFamily, string[]> = { 4: [], 6: [] }
  const chains: Partial<Record<AddressFamily, string>> = {}
  for (const family of families) {
    const reports = await queryIp<RuleReport>(['rule', 'show'], { family })
    rules[family] = reports.map(ruleText)
    const chain = await filteringChain(family, tunName)
    if (chain !== undefined) chains[family] = chain
  }
  return { rules, routes: await readRoutes(), sysctls: readSysctls(), chains }
}

interface RouteReport {
  readonly dst: string
  readonly dev?: string
  readonly prefsrc?: string
}

async function readRoutes(): Promise<string[]> {
  const reports = await queryIp<RouteReport>(['route', 'show', 'table', String(MESH_TABLE)])
  return reports.flatMap(({ dst, dev = '', prefsrc }) =>
    prefsrc === undefined ? [] : [routeText(dst, dev, prefsrc)],
  )
}

function readSysctls(): Map<string, string> {
  const names = [
    'ipv4/ip_forward',
    'ipv4/ip_local_reserved_ports',
    'ipv4/conf/all/accept_redirects',
  ]
  for (const device of ['all', 'default', ...sysctlDevices('ipv4')]) {
    names.push(`ipv4/conf/${device}/forwarding`)
  }
  for (const device of ['all', 'default', ...sysctlDevices('ipv6')]) {
    names.push(`ipv6/conf/${device}/forwarding`, `ipv6/conf/${device}/accept_ra`)
  }
  const values = new Map<string, string>()
  for (const name of names) {
    const value = readSysctl(name)
    if (value !== undefined) values.set(name, value)
  }
  return values
}

export const firewallProgram = (family: AddressFamily): string =>
  family === 4 ? 'iptables' : 'ip6tables'

/** Lines of `iptables -S CHAIN`; none when there is no such chain, or no iptables that works. */
async function chainLines(
  family: AddressFamily,
  chain: string,
  table = 'filter',
): Promise<string[]> {
  try {
    const words = ['-w', '-t', table, '-S', chain]
    const { status, stdout } = await runCommand(firewallProgram(family), words)
    return status === 0 ? stdout.split('\n').filter((line) => line !== '') : []
  } catch (error) {
    if (error instanceof EdgeError && error.code === 'COMMAND_MISSING') return []
    throw error
  }
}

/** The chain in which weft0 must be accepted: DOCKER-USER where Docker made it, FORWARD where its
 * policy or a rule of it may drop, none otherwise. Our own rules do not count. */
async function filteringChain(family: AddressFamily, tunName: string): Promise<string | undefined> {
  if ((await chainLines(family, 'DOCKER-USER')).length > 0) return 'DOCKER-USER'
  const forward = await chainLines(family, 'FORWARD')
  const filtering = forward.some(
    (line) =>
      line !== '-P FORWARD ACCEPT' &&
      !line.includes(` ${tunName} `) &&
      !line.includes(` ${EGRESS_DEVICES}+ `),
  )
  return filtering ? 'FORWARD' : undefined
}

export async function readChains(
  steps: readonly {
    readonly family: AddressFamily
    readonly table?: 'nat'
    readonly chain: string
  }[],
): Promise<Set<string>> {
  const lines = new Set<string>()
  const names = steps.map(({ family, table = 'filter', chain }) => `${family} ${table} ${chain}`)
  for (const name of new Set(names)) {
    const [family, table, chain] = name.split(' ') as ['4' | '6', string, string]
    for (const line of await chainLines(Number(family) as AddressFamily, chain, table)) {
      lines.add(`${family} ${table} ${line}`)
    }
  }
  return lines
}
