// Carries out mesh-plan.ts on this host, and takes it back. One instance per network namespace, on
// the main thread: it makes the TUN, keeps the journal and runs `ip`. The engine's worker gets the
// TUN's descriptor and knows nothing of the rest.
//
// Life: open (lock, repair what a killed predecessor left, make the TUN), apply whenever the
// published ports or addresses change, verify from time to time if wished, undoAll at the end.
// Calls queue up behind one another, so undoAll may be called at any moment, also while apply is
// under way.
//
// Or hold at the end, for an agent that follows at once: then open takes over instead of repairing.
// From the moment the TUN is attached again it keeps what comes, and the first apply changes only
// what is wished otherwise, so there is no instant at which the rules do not hold.
//
// Every change is in the journal before it is made. Its inverse does nothing when the change is not
// there, so a change that was written down and not made is harmless. A setting is restored only if
// it still has the value that we gave it.

import { existsSync } from 'node:fs'
import { Turns } from '../../base/turns.ts'
import { changeIp, type IpCommand } from './command.ts'
import { EdgeError } from './errors.ts'
import { type Journal, type JournalRecord, openJournal } from './journal.ts'
import { MESH_HOLD_SECONDS, MESH_RULE_COUNT_MAX } from './limits.ts'
import { readChains, readFacts } from './mesh-facts.ts'
import {
  diffMesh,
  factsBefore,
  type HostFacts,
  isSatisfied,
  MESH_DEVICE_ADDRESS,
  MESH_TABLE,
  type MeshStep,
  type MeshWish,
  planMesh,
} from './mesh-plan.ts'
import { makeSteps, undoRecords } from './mesh-steps.ts'
import { namespaceIdentity } from './netns.ts'
import { readSysctl, writeSysctl } from './sysctl.ts'
import { type OpenedDevice, openTun, setPersistent } from './tuntap.ts'

export interface MeshHostOptions {
  /** Name of the TUN, default "weft0". */
  readonly tunName?: string
  /** MTU of the TUN in bytes, default 1500. */
  readonly mtu?: number
  /** Where the journal is kept, default "/run/weft". */
  readonly runDirectory?: string
  /** How long hold() holds, default MESH_HOLD_SECONDS. */
  readonly holdSeconds?: number
}

export interface MeshHost {
  /** The TUN into which published ports are steered. Its descriptor belongs to whoever reads it;
   * close it after undoAll() or hold(). */
  readonly device: OpenedDevice
  /** Changes of a predecessor that open() took back. */
  readonly repairedCount: number
  /** Whether open() took over ports that a predecessor held. */
  readonly tookOver: boolean
  /** Makes the host as wished: adds first, removes then. All or nothing: on an error what this call
   * added is taken back. Throws EdgeError NO_PERMISSION, COMMAND_*, JOURNAL, LIMIT. */
  apply(wish: MeshWish): Promise<void>
  /** Makes again what somebody else removed since. Returns how many changes that took. */
  verify(): Promise<number>
  /** Takes everything back, removes the TUN and gives the lock up. Goes on over errors and throws
   * the first at the end; the journal then keeps what could not be undone. */
  undoAll(): Promise<void>
  /** Leaves the published ports to the next agent and gives the lock up: when the TUN's descriptor
   * is closed, what comes to them is dropped silently until openMeshHost() takes over or
   * MESH_HOLD_SECONDS have passed. The egress is taken back. Returns the number of ports; with
   * none, it is undoAll(). On an error undoAll() is still due. */
  hold(): Promise<number>
}

/** Repairs, then makes the TUN and changes nothing else yet; or takes over what is held. Throws
 * EdgeError ALREADY_RUNNING, JOURNAL, and what openTun throws. */
export async function openMeshHost(options: MeshHostOptions = {}): Promise<MeshHost> {
  const { tunName = 'weft0', mtu = 1500, runDirectory = '/run/weft' } = options
  const { holdSeconds = MESH_HOLD_SECONDS } = options
  const { path, identity } = journalPlace(runDirectory)
  const journal = openJournal<MeshStep>(path, identity)
  try {
    const isHeld = journal.leftover.some(({ entry }) => {
      return entry.kind === 'hold' && entry.device === tunName
    })
    const repairedCount = isHeld ? 0 : await repair(journal)
    const facts = await readFacts(tunName)
    // Not in the journal: the TUN goes with its descriptor, however this process ends.
    const device = openTun({ name: tunName, persistent: false })
    const made = isHeld ? takeOver(journal) : []
    const host = new LinuxMeshHost(journal, device, facts, { repairedCount, holdSeconds, made })
    try {
      await configureTun(device.name, mtu)
      // Somebody may have changed something, or the hold was over.
      if (isHeld) await host.verify()
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

/** Takes back what a killed predecessor left, for an agent that publishes nothing itself.
 * Returns the number of changes. Throws EdgeError ALREADY_RUNNING, JOURNAL, COMMAND_*. */
export async function repairMeshHost(runDirectory: string): Promise<number> {
  const { path, identity } = journalPlace(runDirectory)
  if (!existsSync(path)) return 0
  const journal = openJournal<MeshStep>(path, identity)
  try {
    return await repair(journal)
  } finally {
    journal.close()
  }
}

/** What a predecessor that held its ports had made: now ours. The journal would grow from agent to
 * agent, and one that is too large is not read. */
function takeOver(journal: Journal<MeshStep>): JournalRecord<MeshStep>[] {
  const holds = journal.leftover.filter(({ entry }) => entry.kind === 'hold')
  journal.undone(holds.map(({ id }) => id))
  journal.rewrite()
  return journal.leftover.filter(({ entry }) => entry.kind !== 'hold')
}

function journalPlace(runDirectory: string): { path: string; identity: string } {
  const identity = namespaceIdentity()
  return { path: `${runDirectory}/mesh-${identity.replace(/^.*\//, '')}.journal`, identity }
}

async function repair(journal: Journal<MeshStep>): Promise<number> {
  const { leftover } = journal
  const failed = await undoRecords(journal, leftover)
  if (failed !== undefined) throw failed
  journal.clear()
  return leftover.length
}

interface OpenState {
  readonly repairedCount: number
  readonly holdSeconds: number
  /** What was taken over. */
  readonly made: readonly JournalRecord<MeshStep>[]
}

class LinuxMeshHost implements MeshHost {
  readonly device: OpenedDevice
  readonly repairedCount: number
  readonly tookOver: boolean
  private readonly journal: Journal<MeshStep>
  private readonly facts: HostFacts
  private readonly holdSeconds: number
  private made: JournalRecord<MeshStep>[]
  private wish: MeshWish = { addresses: [], ports: [] }
  private readonly turns: Turns = new Turns()
  private closed = false

  constructor(journal: Journal<MeshStep>, device: OpenedDevice, now: HostFacts, state: OpenState) {
    const { repairedCount, holdSeconds, made } = state
    this.journal = journal
    this.device = device
    this.holdSeconds = holdSeconds
    this.repairedCount = repairedCount
    this.made = [...made]
    this.tookOver = made.length > 0
    const entries = made.map(({ entry }) => entry)
    this.facts = factsBefore(entries, now)
  }

  apply(wish: MeshWish): Promise<void> {
    return this.turns.take(() => this.applyNow(wish))
  }

  verify(): Promise<number> {
    return this.turns.take(async () => {
      const missing = await this.unsatisfied(this.made.map(({ entry }) => entry))
      await makeSteps(missing)
      return missing.length
    })
  }

  undoAll(): Promise<void> {
    return this.turns.take(() => this.undoNow())
  }

  hold(): Promise<number> {
    return this.turns.take(async () => {
      if (this.closed) return 0
      const { ports } = this.wish
      if (ports.length === 0) {
        await this.undoNow()
        return 0
      }
      await this.applyNow({ ...this.wish, egress: false })
      const { name } = this.device
      this.made.push(...this.journal.append([{ kind: 'hold', device: name }]))
      // Before it is persistent, or the hold of an agent that is killed here would have no end.
      await routeToTun(name, this.holdSeconds)
      setPersistent(this.device, true)
      this.closed = true
      this.journal.close()
      return ports.length
    })
  }

  private async undoNow(): Promise<void> {
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
  }

  private async applyNow(wish: MeshWish): Promise<void> {
    if (this.closed) throw new Error('apply after undoAll')
    checkMeshWish(wish)
    const wanted = planMesh(wish, this.facts, this.device.name)
    const { make, undo, replaced } = diffMesh(
      wanted,
      this.made.map(({ entry }) => entry),
    )
    // What is there already, and not by us, is not ours to take back either.
    const steps = await this.unsatisfied(make)
    const records = this.journal.append(steps)
    try {
      await makeSteps(steps)
    } catch (error) {
      await undoRecords(this.journal, records)
      throw error
    }
    const obsolete = undo.map((index) => this.made[index]!).reverse()
    const superseded = replaced.map((index) => this.made[index]!)
    const gone = new Set([...obsolete, ...superseded])
    this.made = [...this.made.filter((record) => !gone.has(record)), ...records]
    this.journal.undone(superseded.map(({ id }) => id))
    this.wish = wish
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

/** Throws EdgeError LIMIT for a wish that takes more rules than a host is given. */
export function checkMeshWish({ ports, addresses }: MeshWish): void {
  if (ports.length * (addresses.length + 1) <= MESH_RULE_COUNT_MAX) return
  const what = `${ports.length} published ports on ${addresses.length} addresses`
  throw new EdgeError('LIMIT', 'ports', `${what} are more than ${MESH_RULE_COUNT_MAX} rules`)
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
    // While it is held nobody is at its other end, which is "link down" to the kernel.
    ['ipv4/conf/NAME/ignore_routes_with_linkdown', '0'],
    ['ipv6/conf/NAME/ignore_routes_with_linkdown', '0'],
  ] as const) {
    writeSysctl(setting.replace('NAME', name), value)
  }
  await changeIp([{ line: `link set dev ${name} mtu ${mtu} up` }])
  await routeToTun(name, null)
}

/** The address and the routes of the TUN; for ever, or with their end. */
async function routeToTun(name: string, seconds: number | null): Promise<void> {
  const lifetime = seconds === null ? '' : ` valid_lft ${seconds} preferred_lft ${seconds}`
  const route = `route replace default dev ${name} table ${MESH_TABLE}`
  await changeIp([
    { line: `addr replace ${MESH_DEVICE_ADDRESS} dev ${name} scope host${lifetime}` },
    { line: route },
  ])
  if (readSysctl(`ipv6/conf/${name}/disable_ipv6`) === '0') {
    const line = seconds === null ? route : `${route} expires ${seconds}`
    await changeIp([{ line }], { family: 6 })
  }
}
