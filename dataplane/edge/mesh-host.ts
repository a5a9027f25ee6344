// Carries out mesh-plan.ts on this host, and takes it back. One instance per network namespace, on the
// main thread: it makes the TUN, keeps the journal and runs `ip`. The engine's worker gets the TUN's
// descriptor and knows nothing of the rest.
//
// Life: open (lock, repair what a killed predecessor left, make the TUN), apply whenever the published
// ports or addresses change, verify from time to time if wished, undoAll at the end. Calls queue up
// behind one another, so undoAll may be called at any moment, also while apply is under way.
//
// Every change is in the journal before it is made. Its inverse does nothing when the change is not
// there, so a change that was written down and not made is harmless. A setting is restored only if it
// still has the value that we gave it.

import type { AddressFamily } from './address.ts'
import { changeIp, type IpCommand, queryIp, runCommand } from './command.ts'
import { EdgeError } from './errors.ts'
import { type Journal, type JournalRecord, openJournal } from './journal.ts'
import { MESH_RULE_COUNT_MAX } from './limits.ts'
import {
  diffMesh,
  type HostFacts,
  isSatisfied,
  MESH_DEVICE_ADDRESS,
  MESH_TABLE,
  type MeshStep,
  type MeshWish,
  planMesh,
  type RuleReport,
  routeText,
  ruleText,
} from './mesh-plan.ts'
import { namespaceIdentity } from './netns.ts'
import { readSysctl, sysctlDevices, writeSysctl } from './sysctl.ts'
import { type OpenedDevice, openTun } from './tuntap.ts'

export interface MeshHostOptions {
  /** Name of the TUN, default "weft0". */
  readonly tunName?: string
  /** MTU of the TUN in bytes, default 1500. */
  readonly mtu?: number
  /** Where the journal is kept, default "/run/weft". */
  readonly runDirectory?: string
}

export interface MeshHost {
  /** The TUN into which published ports are steered. Its descriptor belongs to whoever reads it; close
   * it after undoAll(). */
  readonly device: OpenedDevice
  /** Changes of a predecessor that open() took back. */
  readonly repairedCount: number
  /** Makes the host as wished: adds first, removes then. All or nothing: on an error what this call
   * added is taken back. Throws EdgeError NO_PERMISSION, COMMAND_*, JOURNAL, LIMIT. */
  apply(wish: MeshWish): Promise<void>
  /** Makes again what somebody else removed since. Returns how many changes that took. */
  verify(): Promise<number>
  /** Takes everything back, removes the TUN and gives the lock up. Goes on over errors and throws the
   * first at the end; the journal then keeps what could not be undone. */
  undoAll(): Promise<void>
}

/** Repairs, then makes the TUN; changes nothing else yet. Throws EdgeError ALREADY_RUNNING, JOURNAL,
 * and what openTun throws. */
export async function openMeshHost(options: MeshHostOptions = {}): Promise<MeshHost> {
  const { tunName = 'weft0', mtu = 1500, runDirectory = '/run/weft' } = options
  const identity = namespaceIdentity()
  const cookie = identity.replace(/^.*\//, '')
  const journal = openJournal<MeshStep>(`${runDirectory}/mesh-${cookie}.journal`, identity)
  try {
    const { leftover } = journal
    const failed = await undoRecords(journal, leftover)
    if (failed !== undefined) throw failed
    journal.clear()
    const facts = await readFacts(tunName)
    // Not in the journal: the TUN goes with its descriptor, however this process ends.
    const device = openTun({ name: tunName, persistent: false })
    const host = new LinuxMeshHost(journal, device, facts, leftover.length)
    try {
      await configureTun(device.name, mtu)
    } catch (error) {
      await host.undoAll()
      throw error
    }
    return host
  } catch (error) {
    journal.close()
    throw error
  }
}

class LinuxMeshHost implements MeshHost {
  readonly device: OpenedDevice
  readonly repairedCount: number
  private readonly journal: Journal<MeshStep>
  private readonly facts: HostFacts
  private made: JournalRecord<MeshStep>[] = []
  private queue: Promise<unknown> = Promise.resolve()
  private closed = false

  constructor(
    journal: Journal<MeshStep>,
    device: OpenedDevice,
    facts: HostFacts,
    repaired: number,
  ) {
    this.journal = journal
    this.device = device
    this.facts = facts
    this.repairedCount = repaired
  }

  apply(wish: MeshWish): Promise<void> {
    return this.enqueue(() => this.applyNow(wish))
  }

  verify(): Promise<number> {
    return this.enqueue(async () => {
      const missing = await this.unsatisfied(this.made.map(({ entry }) => entry))
      await execute(missing)
      return missing.length
    })
  }

  undoAll(): Promise<void> {
    return this.enqueue(async () => {
      if (this.closed) return
      this.closed = true
      let failed = await undoRecords(this.journal, this.made)
      if (failed === undefined) this.journal.clear()
      this.journal.close()
      const removal: IpCommand = { line: `link del dev ${this.device.name}`, tolerate: 'missing' }
      await changeIp([removal]).catch((error) => {
        failed ??= error
      })
      if (failed !== undefined) throw failed
    })
  }

  private enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.queue.then(work)
    this.queue = result.catch(() => {})
    return result
  }

  private async applyNow(wish: MeshWish): Promise<void> {
    if (this.closed) throw new Error('apply after undoAll')
    const rules = wish.ports.length * (wish.addresses.length + 1)
    if (rules > MESH_RULE_COUNT_MAX) {
      const what = `${wish.ports.length} published ports on ${wish.addresses.length} addresses`
      throw new EdgeError('LIMIT', 'ports', `${what} are more than ${MESH_RULE_COUNT_MAX} rules`)
    }
    const wanted = planMesh(wish, this.facts, this.device.name)
    const { make, undo, replaced } = diffMesh(
      wanted,
      this.made.map(({ entry }) => entry),
    )
    // What is there already, and not by us, is not ours to take back either.
    const steps = await this.unsatisfied(make)
    const records = this.journal.append(steps)
    try {
      await execute(steps)
    } catch (error) {
      await undoRecords(this.journal, records)
      throw error
    }
    const obsolete = undo.map((index) => this.made[index]!).reverse()
    const superseded = replaced.map((index) => this.made[index]!)
    const gone = new Set([...obsolete, ...superseded])
    this.made = [...this.made.filter((record) => !gone.has(record)), ...records]
    this.journal.undone(superseded.map(({ id }) => id))
    const failed = await undoRecords(this.journal, obsolete)
    if (failed !== undefined) throw failed
  }

  private async unsatisfied(steps: readonly MeshStep[]): Promise<MeshStep[]> {
    if (steps.length === 0) return []
    const now = await readFacts(this.device.name)
    const chains = steps.flatMap((step) => (step.kind === 'chain' ? [step] : []))
    const chainRules = await readChains(chains)
    return steps.filter((step) => !isSatisfied(step, now, chainRules))
  }
}

async function configureTun(name: string, mtu: number): Promise<void> {
  for (const [setting, value] of [
    ['ipv4/conf/NAME/accept_local', '1'],
    ['ipv4/conf/NAME/route_localnet', '1'],
    ['ipv4/conf/NAME/rp_filter', '2'],
    ['ipv4/conf/NAME/forwarding', '1'],
    ['ipv4/conf/NAME/send_redirects', '0'],
    ['ipv6/conf/NAME/addr_gen_mode', '1'],
    ['ipv6/conf/NAME/accept_ra', '0'],
    ['ipv6/conf/NAME/router_solicitations', '0'],
  ] as const) {
    writeSysctl(setting.replace('NAME', name), value)
  }
  await changeIp([
    { line: `link set dev ${name} mtu ${mtu} up` },
    { line: `addr replace ${MESH_DEVICE_ADDRESS} dev ${name} scope host` },
    { line: `route replace default dev ${name} table ${MESH_TABLE}` },
  ])
  if (readSysctl(`ipv6/conf/${name}/disable_ipv6`) === '0') {
    const line = `route replace default dev ${name} table ${MESH_TABLE}`
    await changeIp([{ line }], { family: 6 })
  }
}

const hasIpv6 = (): boolean => readSysctl('ipv6/conf/all/forwarding') !== undefined

/** What planMesh and isSatisfied need to know of the host. */
async function readFacts(tunName: string): Promise<HostFacts> {
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

const firewallProgram = (family: AddressFamily): string => (family === 4 ? 'iptables' : 'ip6tables')

/** Lines of `iptables -S CHAIN`; none when there is no such chain, or no iptables that works. */
async function chainLines(family: AddressFamily, chain: string): Promise<string[]> {
  try {
    const { status, stdout } = await runCommand(firewallProgram(family), ['-w', '-S', chain])
    return status === 0 ? stdout.split('\n').filter((line) => line !== '') : []
  } catch (error) {
    if (error instanceof EdgeError && error.code === 'COMMAND_MISSING') return []
    throw error
  }
}

/** The chain in which weft0 must be accepted: DOCKER-USER where Docker made it, FORWARD where its policy
 * or a rule of it may drop, none otherwise. Our own rules do not count. */
async function filteringChain(family: AddressFamily, tunName: string): Promise<string | undefined> {
  if ((await chainLines(family, 'DOCKER-USER')).length > 0) return 'DOCKER-USER'
  const forward = await chainLines(family, 'FORWARD')
  const filtering = forward.some(
    (line) => line !== '-P FORWARD ACCEPT' && !line.includes(` ${tunName} `),
  )
  return filtering ? 'FORWARD' : undefined
}

async function readChains(
  steps: readonly { readonly family: AddressFamily; readonly chain: string }[],
): Promise<Set<string>> {
  const lines = new Set<string>()
  for (const name of new Set(steps.map(({ family, chain }) => `${family} ${chain}`))) {
    const [family, chain] = name.split(' ') as ['4' | '6', string]
    for (const line of await chainLines(Number(family) as AddressFamily, chain)) {
      lines.add(`${family} ${line}`)
    }
  }
  return lines
}

/** Makes steps in order; runs of rules of one family are one `ip`. Throws at the first that fails. */
async function execute(steps: readonly MeshStep[]): Promise<void> {
  for (const run of inRuns(steps.map((entry) => ({ entry })))) {
    const first = run[0]!.entry
    if (first.kind === 'rule') {
      const commands = run.map(({ entry }) => ruleCommand(entry, true))
      await changeIp(commands, { family: first.family })
    } else if (first.kind === 'route') {
      await changeIp(run.map(({ entry }) => routeCommand(entry, true)))
    } else if (first.kind === 'chain') {
      await changeChain(first, '-I')
    } else {
      writeSysctl(first.name, first.value)
    }
  }
}

/** Cuts a list where one external command must end and the next begin. */
function inRuns<T extends { readonly entry: MeshStep }>(items: readonly T[]): T[][] {
  const runs: T[][] = []
  for (const item of items) {
    const run = runs.at(-1)
    if (run !== undefined && sameRun(run[0]!.entry, item.entry)) run.push(item)
    else runs.push([item])
  }
  return runs
}

/** `ip -force` goes on after a failure, so a run never both adds and removes: the removal of the local
 * table's rule must not happen when its replacement could not be added. */
function sameRun(first: MeshStep, next: MeshStep): boolean {
  if (first.kind === 'route') return next.kind === 'route'
  if (first.kind !== 'rule' || next.kind !== 'rule') return false
  return first.family === next.family && first.add === next.add
}

function ruleCommand(step: MeshStep, forward: boolean): IpCommand {
  if (step.kind !== 'rule') throw new TypeError(`not a rule: ${step.kind}`)
  const add = step.add === forward
  return { line: `rule ${add ? 'add' : 'del'} ${step.rule}`, tolerate: add ? 'exists' : 'missing' }
}

function routeCommand(step: MeshStep, forward: boolean): IpCommand {
  if (step.kind !== 'route') throw new TypeError(`not a route: ${step.kind}`)
  if (forward) return { line: `route replace ${step.route}`, tolerate: 'no source' }
  return { line: `route del ${step.route}`, tolerate: 'missing' }
}

async function changeChain(
  step: MeshStep & { readonly kind: 'chain' },
  verb: '-I' | '-D',
): Promise<void> {
  const program = firewallProgram(step.family)
  const words = ['-w', verb, step.chain, ...step.rule]
  const { status, stderr } = await runCommand(program, words)
  // Taking back what is not there (or a chain that is gone) is done already.
  if (status === 0 || (verb === '-D' && status === 1)) return
  throw new EdgeError('COMMAND_FAILED', program, `${program} ${words.join(' ')}: ${stderr.trim()}`)
}

function restoreSysctl(step: MeshStep & { readonly kind: 'sysctl' }): void {
  if (readSysctl(step.name) !== step.value) return
  writeSysctl(step.name, step.before)
  for (const [name, value] of step.alongside) {
    if (readSysctl(name) !== value) writeSysctl(name, value)
  }
}

/** Takes records back, latest first, and notes each as undone. Goes on over errors and returns the
 * first; only when the local table's rule could not be put back, everything below it stays. */
async function undoRecords(
  journal: Journal<MeshStep>,
  records: readonly JournalRecord<MeshStep>[],
): Promise<unknown> {
  let failed: unknown
  for (const run of inRuns([...records].reverse())) {
    try {
      await undoRun(run.map(({ entry }) => entry))
      journal.undone(run.map(({ id }) => id))
    } catch (error) {
      failed ??= error
      const first = run[0]!.entry
      if (first.kind === 'rule' && !first.add) break
    }
  }
  return failed
}

async function undoRun(entries: readonly MeshStep[]): Promise<void> {
  const first = entries[0]!
  if (first.kind === 'rule') {
    const commands = entries.map((entry) => ruleCommand(entry, false))
    await changeIp(commands, { family: first.family })
  } else if (first.kind === 'route') {
    await changeIp(entries.map((entry) => routeCommand(entry, false)))
  } else if (first.kind === 'chain') {
    await changeChain(first, '-D')
  } else {
    restoreSysctl(first)
  }
}
