// What goes wrong, and when. Each kind of fault comes at random times of its own, drawn from its
// own stream.
//
// Two limits keep the cluster one that Raft promises anything about: only one voter's disk may be
// lost at a time, and only while the membership is at rest; and a membership change leaves a
// majority whose disks are whole. Beyond that there is no mercy: all members may be down at once.

import type { Prng } from '../../base/prng.ts'
import {
  type ConfChange,
  type ConfChangeSingle,
  type ConfState,
  NO_BYTES,
  type NodeId,
} from '../../controlplane/raft/messages.ts'
import { exponential, type FaultKind, pick, stream } from './options.ts'
import type { Member, World } from './world.ts'

const MEMBERS_MAX = 9
const VOTERS_MAX = 7
/** Of so many changes of role or leader, one is followed by a crash. */
const TURNS_PER_CRASH = 16
const LEAVE: ConfChange = { transition: 'auto', changes: [], context: NO_BYTES }
const TRANSITIONS = ['auto', 'joint-implicit', 'joint-explicit'] as const

export class Faults {
  readonly #world: World
  readonly #random: Prng
  readonly #turnRandom: Prng
  #ended = false
  /** Index of the newest membership change that a leader took in. */
  #newestChange = 0

  constructor(world: World) {
    this.#world = world
    this.#random = stream(world.options.seed, 4)
    this.#turnRandom = stream(world.options.seed, 6)
    for (const [kind, meanMs] of world.options.faults) this.#later(kind, meanMs)
    if (world.options.faults.has('crash')) world.onTurn = (member) => this.#crashAtTurn(member)
  }

  /** Everything is mended, everybody who can runs, and nothing goes wrong any more. */
  end(): void {
    this.#ended = true
    const world = this.#world
    world.calm = true
    world.network.calm()
    for (const member of world.members) {
      member.disk.full = false
      member.diskSlowness = 1
      member.clockRate = 1 + (member.clockRate - 1) / 10
      member.pausedUntil = Math.min(member.pausedUntil, world.now)
      member.start()
    }
  }

  /** Leaves a joint configuration that waits for it. */
  leaveJoint(): void {
    const leader = this.#world.leader()
    const config = leader?.driver?.confState
    if (config === undefined || config.votersOutgoing.length === 0 || config.autoLeave) return
    this.#propose(leader!, LEAVE)
  }

  #later(kind: FaultKind, meanMs: number): void {
    this.#world.schedule(exponential(this.#random, meanMs), kind, () => {
      if (this.#ended) return
      this.#strike(kind)
      this.#later(kind, meanMs)
    })
  }

  #strike(kind: FaultKind): void {
    const random = this.#random
    const member = pick(random, this.#world.members)
    switch (kind) {
      case 'crash':
        this.#crash()
        break
      case 'pause':
        this.#world.counts.pauses++
        member.pausedUntil = this.#world.now + exponential(random, pick(random, [50, 300, 1500]))
        this.#world.note(`${member.id} pauses until ${member.pausedUntil.toFixed(0)}`)
        break
      case 'partition':
        this.#partition()
        break
      case 'full-disk':
        member.disk.full = true
        this.#after(exponential(random, 800), `disk of ${member.id} has room`, () => {
          member.disk.full = false
        })
        break
      case 'slow-disk':
        member.diskSlowness = 30
        this.#after(exponential(random, 800), `disk of ${member.id} is quick`, () => {
          member.diskSlowness = 1
        })
        break
      case 'rot':
        this.#rot()
        break
      case 'membership':
        this.#changeMembership()
        break
      case 'transfer':
        this.#transfer()
        break
    }
  }

  #after(delayMs: number, what: string, run: () => void): void {
    this.#world.schedule(delayMs, what, run)
  }

  /** One member, now and then several, sometimes all. */
  #crash(): void {
    const random = this.#random
    const share = pick(random, [0, 0, 0, 0, 50, 100])
    const leader = this.#world.leader()
    const aimed = leader !== null && random.below(2) === 0
    const first = aimed ? leader : pick(random, this.#world.members)
    for (const member of this.#world.members) {
      if (member !== first && random.below(100) >= share) continue
      member.crash()
      const downMs = exponential(random, pick(random, [5, 100, 500]))
      this.#after(downMs, `restart ${member.id}`, () => member.start())
    }
  }

  /** Crashes that come when what a member has just promised, or been promised, is on its way to
   * the disk. */
  #crashAtTurn(member: Member): void {
    const random = this.#turnRandom
    if (this.#ended || random.below(TURNS_PER_CRASH) > 0) return
    const { life } = member
    this.#after(exponential(random, this.#world.options.diskMeanMs), `crash ${member.id}`, () => {
      if (this.#ended || member.life !== life) return
      member.crash()
      const downMs = exponential(random, 5)
      this.#after(downMs, `restart ${member.id}`, () => member.start())
    })
  }

  #partition(): void {
    const { network, members, counts } = this.#world
    const random = this.#random
    counts.partitions++
    const ids = members.map(({ id }) => id)
    const alone = random.below(2) === 0 ? (this.#world.leader()?.id ?? 1) : pick(random, ids)
    const halves = random.below(2) === 0
    // Halves are drawn by lot; else one member is alone, or has company of one.
    const company = random.below(3) === 0 ? pick(random, ids) : alone
    const side = (id: NodeId): boolean =>
      halves ? ((coin >> id) & 1) === 1 : id === alone || id === company
    const coin = random.nextU32()
    const oneWay = random.below(3) === 0
    const links: (readonly [NodeId, NodeId])[] = []
    for (const from of ids) {
      for (const to of ids) {
        if (side(from) && !side(to)) {
          links.push([from, to])
          if (!oneWay) links.push([to, from])
        }
      }
    }
    const flaps = random.below(4) === 0 ? 1 + random.below(8) : 1
    const eachMs = flaps > 1 ? 150 : pick(random, [300, 2000, 4000])
    let delayMs = 0
    for (let i = 0; i < flaps; i++) {
      this.#after(delayMs, `cut ${links.join(' ')}`, () => {
        if (!this.#ended) for (const [from, to] of links) network.cut(from, to)
      })
      delayMs += exponential(random, eachMs)
      this.#after(delayMs, 'mend', () => {
        for (const [from, to] of links) network.mend(from, to)
      })
      delayMs += exponential(random, eachMs)
    }
  }

  #rot(): void {
    const { members } = this.#world
    const config = this.#world.leader()?.driver?.confState
    if (config === undefined || config.voters.length < 3 || config.votersOutgoing.length > 0) return
    const voters = config.voters.map((id) => members[id - 1]!)
    const { keepsCommit } = this.#world.options
    // In force, and in force again after a restart: a member that lost its commit index goes by an
    // older configuration until it learns better, and that one may need the lost voter.
    const isAtRest = voters.every(
      ({ driver, disk }) =>
        driver !== null &&
        driver.appliedIndex >= this.#newestChange &&
        disk.durableCommit(keepsCommit) >= this.#newestChange &&
        String(driver.confState.voters) === String(config.voters) &&
        driver.confState.votersOutgoing.length === 0,
    )
    if (!isAtRest) return
    const victim = pick(this.#random, voters)
    this.#world.counts.rotten++
    victim.crash()
    victim.disk.rot()
    victim.start()
  }

  #transfer(): void {
    const asked = pick(this.#random, this.#world.members)
    const to = pick(this.#random, this.#world.members)
    if (asked.driver === null || asked.pausedUntil > this.#world.now) return
    this.#world.counts.transfers++
    asked.driver.transferLeader(to.id)
    asked.look()
  }

  #changeMembership(): void {
    const leader = this.#world.leader()
    if (leader?.driver === null || leader === null) return
    if (leader.pausedUntil > this.#world.now) return
    const config = leader.driver.confState
    if (config.votersOutgoing.length > 0) {
      this.leaveJoint()
      return
    }
    const changes = this.#drawChanges(config)
    if (changes.length === 0 || !this.#keepsMajority(config, changes)) return
    const transition = pick(this.#random, TRANSITIONS)
    this.#propose(leader, { transition, changes, context: NO_BYTES })
    // Trouble just then is worth more than at other times.
    const trouble = pick(this.#random, ['crash', 'partition', 'pause', null, null, null] as const)
    if (trouble === null) return
    this.#after(exponential(this.#random, 40), `${trouble} in the midst of it`, () => {
      if (!this.#ended) this.#strike(trouble)
    })
  }

  #propose(leader: Member, change: ConfChange): void {
    const result = leader.driver?.changeMembership(change)
    if (result !== undefined && result.index > 0) {
      this.#newestChange = Math.max(this.#newestChange, result.index)
    }
    const list = change.changes.map(({ type, nodeId }) => `${type} ${nodeId}`).join(', ')
    this.#world.note(`${leader.id} is asked to change: ${list || 'leave joint'}`)
    leader.look()
  }

  #drawChanges(config: ConfState): ConfChangeSingle[] {
    const random = this.#random
    const { members } = this.#world
    const changes: ConfChangeSingle[] = []
    // A lost member is replaced, sooner or later.
    const lost = config.voters.find((id) => members[id - 1]!.lost)
    if (lost !== undefined && random.below(2) === 0) changes.push({ type: 'remove', nodeId: lost })
    const wanted = 1 + random.below(random.below(2) === 0 ? 1 : 3)
    for (let i = 0; i < wanted; i++) {
      const type = pick(random, ['add-voter', 'add-voter', 'add-learner', 'remove'] as const)
      const known = [...config.voters, ...config.learners]
      if (type === 'remove') {
        changes.push({ type, nodeId: pick(random, known) })
      } else if (random.below(2) === 0 && members.length < MEMBERS_MAX) {
        changes.push({ type, nodeId: this.#world.addMember().id })
      } else {
        changes.push({ type, nodeId: pick(random, known) })
      }
    }
    const once = new Map(changes.map((change) => [change.nodeId, change]))
    return [...once.values()]
  }

  #keepsMajority({ voters }: ConfState, changes: readonly ConfChangeSingle[]): boolean {
    const after = new Set(voters)
    for (const { type, nodeId } of changes) {
      if (type === 'add-voter') after.add(nodeId)
      else after.delete(nodeId)
    }
    const whole = [...after].filter((id) => !this.#world.members[id - 1]!.lost)
    return after.size > 0 && after.size <= VOTERS_MAX && 2 * whole.length > after.size
  }
}
