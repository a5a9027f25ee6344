// One thread, one calendar, virtual time. The world takes the next event, lets one member handle
// it, and has the checker look at what changed. Everything that happens follows from the seed.
//
// A member is a Driver, its disk and its state machine. When it crashes, the driver is dropped and
// what the disk had not synced is lost or torn; events meant for the former life find that it is
// over. A member that is paused handles nothing; what comes in waits and is handled all at once
// when it wakes up.
//
// What goes wrong, and when, is decided in faults.ts; who asks for what, in clients.ts.

import type { Prng } from '../../base/prng.ts'
import { decodeMessage, encodeMessage } from '../../controlplane/raft/codec.ts'
import { Driver, type DriverHost, type LogWrite } from '../../controlplane/raft/driver.ts'
import { foundingState, type MemoryStorage } from '../../controlplane/raft/memory-storage.ts'
import {
  type ConfState,
  EMPTY_CONF_STATE,
  type Entry,
  type Message,
  type NodeId,
  type Snapshot,
} from '../../controlplane/raft/messages.ts'
import type { BasicStatus, Ready } from '../../controlplane/raft/types.ts'
import { describeMessage } from '../conformance/describe.ts'
import { Disk } from './disk.ts'
import { EventQueue, type Timed } from './event-queue.ts'
import { Checker } from './invariants.ts'
import { Network } from './network.ts'
import {
  ELECTION_TICKS,
  exponential,
  HEARTBEAT_TICKS,
  type SimOptions,
  stream,
  TICK_MS,
} from './options.ts'
import { type Command, decodeCommand, StateMachine } from './state-machine.ts'

/** Events kept for the report of a failure. */
const TRACE_EVENTS = 60
/** One message in this many takes the way through the codec. */
const CODEC_SHARE = 16
/** A write fails when the disk is full after this long. */
const FULL_DISK_MS = 1

interface SimEvent extends Timed {
  readonly what: string
  /** 0 for what is no member's. */
  readonly member: NodeId
  /** Of the member, at which this is aimed; 0 for any. */
  readonly life: number
  readonly message: Message | null
  readonly run: (() => void) | null
}

/** How often things happened: a run in which nothing went wrong proves nothing. */
export interface Counts {
  events: number
  crashes: number
  torn: number
  rotten: number
  fullDisks: number
  pauses: number
  partitions: number
  snapshots: number
  checkpoints: number
  configChanges: number
  jointConfigs: number
  transfers: number
  writes: number
  reads: number
  unknown: number
  refused: number
  overruled: number
}

export class World {
  readonly options: SimOptions
  readonly network: Network
  readonly checker: Checker
  readonly members: Member[] = []
  readonly counts: Counts = {
    events: 0,
    crashes: 0,
    torn: 0,
    rotten: 0,
    fullDisks: 0,
    pauses: 0,
    partitions: 0,
    snapshots: 0,
    checkpoints: 0,
    configChanges: 0,
    jointConfigs: 0,
    transfers: 0,
    writes: 0,
    reads: 0,
    unknown: 0,
    refused: 0,
    overruled: 0,
  }
  /** Called when `member` has applied `command`. */
  onApplied: (member: Member, command: Command) => void = () => {}
  /** Called when `member` has another role, or another leader. */
  onTurn: (member: Member) => void = () => {}
  now = 0
  calm = false
  readonly #queue = new EventQueue<SimEvent>()
  readonly #codecRandom: Prng
  #moments = 0

  constructor(options: SimOptions) {
    this.options = options
    this.network = new Network(stream(options.seed, 1), options.network)
    this.#codecRandom = stream(options.seed, 2)
    const voters = Array.from({ length: options.founders }, (_, i) => i + 1)
    const { snapshot, hardState } = foundingState({ ...EMPTY_CONF_STATE, voters })
    this.checker = new Checker(snapshot)
    for (let i = 0; i < options.founders; i++)
      this.addMember((disk) => disk.format(snapshot, hardState))
  }

  /** A new member with an id never used before. Without `prepare` its disk is empty. */
  addMember(prepare: (disk: Disk) => void = () => {}): Member {
    const member = new Member(this, this.members.length + 1)
    this.members.push(member)
    prepare(member.disk)
    member.start()
    return member
  }

  member(id: NodeId): Member | undefined {
    return this.members[id - 1]
  }

  /** The running member that leads in the highest term. */
  leader(): Member | null {
    let leader: Member | null = null
    for (const member of this.members) {
      if (member.driver === null || member.status.role !== 'leader') continue
      if (leader === null || member.status.term > leader.status.term) leader = member
    }
    return leader
  }

  /** A point in the order of calls and returns: never the same twice. */
  moment(): number {
    return ++this.#moments
  }

  /** Something of no member's: a fault, a client. */
  schedule(delayMs: number, what: string, run: () => void): void {
    this.push(delayMs, what, 0, 0, null, run)
  }

  push(
    delayMs: number,
    what: string,
    member: NodeId,
    life: number,
    message: Message | null,
    run: (() => void) | null,
  ): void {
    this.#queue.push({ at: this.now + delayMs, order: 0, what, member, life, message, run })
  }

  send(message: Message): void {
    this.checker.sent(message)
    const { from } = message
    const copies = this.network.send(message)
    for (const { message: copy, delayMs } of copies) {
      const viaCodec = this.#codecRandom.below(CODEC_SHARE) === 0
      const arriving = viaCodec ? decodeMessage(encodeMessage(copy)) : copy
      this.push(delayMs, 'deliver', message.to, 0, arriving, null)
    }
    const sender = this.member(from)!
    if (message.type === 'MsgSnap') this.#reportSnapshot(sender, message, copies.length > 0)
    else if (copies.length === 0 && this.#codecRandom.below(4) === 0) {
      this.push(10, 'report-unreachable', from, sender.life, null, () =>
        sender.driver?.reportUnreachable(message.to),
      )
    }
  }

  /** The transport tells what became of a snapshot; it may be wrong, or come before the answer. */
  #reportSnapshot(sender: Member, { to }: Message, arrived: boolean): void {
    this.counts.snapshots++
    const ok = arrived !== (this.#codecRandom.below(16) === 0)
    const delayMs = 1 + exponential(this.#codecRandom, 50)
    this.push(delayMs, 'report-snapshot', sender.id, sender.life, null, () =>
      sender.driver?.reportSnapshot(to, ok),
    )
  }

  /** Handles events until `until` says stop (asked before each) or `limitMs` is reached. True if
   * the former. */
  run(limitMs: number, until: () => boolean = () => false): boolean {
    for (;;) {
      if (until()) return true
      const event = this.#queue.pop()
      if (event === undefined) return false
      if (event.at > limitMs) {
        this.#queue.push(event)
        this.now = limitMs
        return false
      }
      this.now = event.at
      this.#dispatch(event)
    }
  }

  #dispatch(event: SimEvent): void {
    const member = this.member(event.member)
    if (member === undefined) {
      this.note(event.what)
      event.run?.()
      return
    }
    if (member.driver === null || (event.life !== 0 && event.life !== member.life)) return
    if (member.pausedUntil > this.now) {
      const delayMs = member.pausedUntil - this.now
      this.push(delayMs, event.what, event.member, event.life, event.message, event.run)
      return
    }
    this.counts.events++
    if (event.message === null) {
      if (event.what !== 'tick') this.note(`${event.member} ${event.what}`)
      event.run?.()
    } else {
      this.note(event.message)
      member.receive(event.message)
    }
    member.look()
  }

  // Messages are described only when somebody wants to read about them.
  readonly #recent: (Message | string)[] = []
  readonly #recentAt: number[] = []
  #recentNext = 0

  /** Writes something into the trace. */
  note(item: Message | string): void {
    this.#recent[this.#recentNext] = item
    this.#recentAt[this.#recentNext] = this.now
    this.#recentNext = (this.#recentNext + 1) % TRACE_EVENTS
  }

  /** The last events, oldest first. */
  trace(): string[] {
    const lines: string[] = []
    for (let i = 0; i < TRACE_EVENTS; i++) {
      const at = (this.#recentNext + i) % TRACE_EVENTS
      const item = this.#recent[at]
      if (item === undefined) continue
      const text = typeof item === 'string' ? item : describeMessage(item)
      lines.push(`${this.#recentAt[at]!.toFixed(3).padStart(10)} ${text}`)
    }
    return lines
  }
}

export class Member implements DriverHost {
  readonly id: NodeId
  readonly disk: Disk
  readonly machine: StateMachine = new StateMachine()
  driver: Driver | null = null
  /** Its disk is damaged: it never comes back. */
  lost = false
  life = 0
  pausedUntil = 0
  /** As of its last event. */
  status!: BasicStatus
  /** Share of true time that its clock shows. */
  clockRate: number
  diskSlowness = 1
  readonly #world: World
  readonly #random: Prng
  readonly #storageRandom: Prng

  constructor(world: World, id: NodeId) {
    this.id = id
    this.#world = world
    this.#random = stream(world.options.seed, 100 + id)
    this.#storageRandom = stream(world.options.seed, 1000 + id)
    this.disk = new Disk(this.#storageRandom)
    const { drift } = world.options
    this.clockRate = 1 + (this.#random.below(2 * drift + 1) - drift) / 1000
  }

  /** Starts from the disk, or finds that it is lost. */
  start(): void {
    if (this.driver !== null || this.lost) return
    const storage = this.disk.open(this.#world.options.keepsCommit)
    if (storage === null) {
      this.lost = true
      this.#world.note(`${this.id} finds its disk damaged`)
      return
    }
    this.life++
    const { preVote, checkQuorum } = this.#world.options
    const snapshot = storage.snapshot()
    this.machine.restore(snapshot?.data ?? new Uint8Array(0))
    const driver = this.#makeDriver(storage)
    this.driver = driver
    const lease = { checkQuorum, electionTicks: ELECTION_TICKS, preVote }
    const { checker } = this.#world
    checker.started(this.id, this.disk, driver.confState, driver.appliedIndex, lease)
    if (driver.appliedIndex > 0) checker.stands(this.id, driver.appliedIndex, this.machine.digest)
    this.status = driver.node.basicStatus()
    this.#scheduleTick()
  }

  #makeDriver(storage: MemoryStorage): Driver {
    const { options } = this.#world
    const { maxMessageBytes, maxInflightMessages, maxUncommittedBytes } = options
    return new Driver(
      {
        id: this.id,
        storage,
        random: this.#random,
        electionTicks: ELECTION_TICKS,
        heartbeatTicks: HEARTBEAT_TICKS,
        maxMessageBytes,
        maxInflightMessages,
        maxUncommittedBytes,
        preVote: options.preVote,
        checkQuorum: options.checkQuorum,
        stepDownOnRemoval: true,
        checkpointEntries: options.checkpointEntries,
        keptEntries: options.keptEntries,
        incarnation: this.life,
      },
      this,
    )
  }

  #scheduleTick(): void {
    const { life } = this
    this.#world.push(TICK_MS / this.clockRate, 'tick', this.id, life, null, () => {
      this.#world.checker.ticked(this.id)
      this.#scheduleTick()
      this.driver?.tick()
    })
  }

  crash(): void {
    if (this.driver === null) return
    this.#world.counts.crashes++
    this.driver.stop()
    this.driver = null
    this.pausedUntil = 0
    const torn = this.disk.tornCount
    this.disk.crash()
    this.#world.counts.torn += this.disk.tornCount - torn
  }

  receive(message: Message): void {
    const before = this.status
    this.driver?.receive(message)
    if (this.driver === null) return
    this.status = this.driver.node.basicStatus()
    this.#world.checker.received(message, before, this.status)
  }

  /** Has the checker look at this member, after any event. */
  look(): void {
    if (this.driver === null) return
    this.status = this.driver.node.basicStatus()
    this.#world.checker.after(this.id, this.status)
  }

  // What the driver asks of its host.

  send(message: Message): void {
    this.#world.send(message)
  }

  write(writes: readonly LogWrite[], sync: boolean, done: (error: string | null) => void): void {
    const { life } = this
    for (const { checkpoint } of writes) if (checkpoint !== null) this.#world.counts.checkpoints++
    if (!this.disk.write(writes)) {
      this.#world.counts.fullDisks++
      this.#world.push(FULL_DISK_MS, 'disk full', this.id, life, null, () => done('no space left'))
      return
    }
    const count = this.disk.cachedCount
    const meanMs = this.#world.options.diskMeanMs * this.diskSlowness
    const delayMs = sync ? exponential(this.#storageRandom, meanMs) : 0
    this.#world.push(delayMs, sync ? 'synced' : 'written', this.id, life, null, () => {
      if (sync) this.disk.sync(count)
      done(null)
    })
  }

  defer(run: () => void): void {
    const delayMs = exponential(this.#storageRandom, this.#world.options.applyMeanMs)
    this.#world.push(delayMs, 'apply', this.id, this.life, null, run)
  }

  apply(entry: Entry): void {
    const { checker } = this.#world
    checker.applying(this.id, entry)
    const isCommand = entry.type === 'EntryNormal' && entry.data.length > 0
    const command = isCommand ? decodeCommand(entry.data) : null
    if (command !== null) this.machine.apply(command)
    checker.stands(this.id, entry.index, this.machine.digest)
    if (command !== null) this.#world.onApplied(this, command)
  }

  configure(config: ConfState, index: number): void {
    const { checker, counts } = this.#world
    counts.configChanges++
    if (config.votersOutgoing.length > 0) counts.jointConfigs++
    checker.configured(this.id, index, config)
  }

  checkpoint(): Uint8Array {
    return this.machine.serialize()
  }

  restore(snapshot: Snapshot): void {
    this.machine.restore(snapshot.data)
    this.#world.checker.stands(this.id, snapshot.index, this.machine.digest)
  }

  observe(ready: Ready): void {
    const role = this.driver?.node.basicStatus().role ?? 'follower'
    this.#world.checker.ready(this.id, ready, role)
    if (ready.softState !== null) this.#world.onTurn(this)
  }

  failed(reason: string): void {
    this.#world.note(`${this.id} ends: ${reason}`)
    this.crash()
    this.#world.schedule(500, `restart ${this.id}`, () => this.start())
  }
}
