// A member of the cluster, as the layers above see it: propose bytes, read without staleness, watch
// what is applied, change who belongs to it. docs/raft.md is the manual.
//
// It is the driver with a disk, a transport and a clock. What it adds:
//
// - Proposals asked for in one turn of the event loop go into the log as one append and to the disk
//   as one transaction. A promise resolves when the entry is applied here.
// - Only the leader takes proposals. Elsewhere the answer is who leads: passing a proposal on would
//   leave its fate unknown.
// - When leadership is lost, what waits is given up at once ("lost-leadership": it may still take
//   effect). A proposal has no timeout: a leader without its quorum steps down by itself.
// - Leadership is announced once all of the earlier leaders' entries are applied, and its loss at
//   once, before anything else is applied.
// - The book of addresses follows the membership and feeds the transport.
//
// What the layers above do: keep the state, decide who may join, forward what a leader must do.

import { Histogram } from '../../../base/histogram.ts'
import type { Logger } from '../../../base/log.ts'
import type { Prng } from '../../../base/prng.ts'
import { decodeConfChange } from '../codec.ts'
import { Driver, type DriverHost } from '../driver.ts'
import type { ConfState, Entry, Message, NodeId, Snapshot } from '../messages.ts'
import type { Ready } from '../types.ts'
import { PendingChanges } from './changes.ts'
import {
  type LeaderHint,
  lostLeadership,
  MemberError,
  overloaded,
  shutDown,
  timedOut,
} from './errors.ts'
import { type Leadership, LeadershipWatch } from './leadership.ts'
import * as limits from './limits.ts'
import { Listeners } from './listeners.ts'
import type { MemberAddress } from './members.ts'
import { decodeContext, encodeContext, joinSnapshot, MemberBook, splitSnapshot } from './members.ts'
import { type Membership, planChange } from './membership.ts'
import { Outbox } from './outbox.ts'
import { Proposals } from './proposals.ts'
import type { MemberMetrics, MemberStatus } from './status.ts'
import type { MemberStorage } from './storage.ts'
import type { Transport } from './transport-contract.ts'

/** What the log is for. It must do the same everywhere: no clock, no randomness, no throwing. */
export interface StateMachine {
  /** Applies one entry; `index` goes up, with gaps. */
  apply(data: Uint8Array, index: number): void
  /** The whole state as bytes, as of what was applied. */
  snapshot(): Uint8Array
  /** Replaces the whole state by what snapshot() gave, here or elsewhere. */
  restore(bytes: Uint8Array, index: number): void
}

export interface MemberOptions {
  readonly machine: StateMachine
  readonly random: Prng
  readonly logger: Logger
  /** Applied entries between snapshots, and entries kept before one. */
  readonly snapshotEntries: number
  readonly keptEntries: number
  readonly tickMs: number
}

interface PendingRead {
  readonly untilMs: number
  readonly reject: (error: MemberError) => void
}

export class Member {
  readonly id: NodeId
  readonly clusterId: string
  readonly nodeId: string
  /** Called whenever the leader changes, or leads. Never from within a call to this member. */
  readonly leadership: Listeners<Leadership>
  /** Called with the index after every entry that was applied, and after a snapshot. */
  readonly applied: Listeners<number> = new Listeners()
  /** Called once this member is no member any more. It should be closed some seconds later: until
   * the others have learned of the removal they may need its vote. */
  readonly removed: Listeners<void> = new Listeners()
  readonly #options: MemberOptions
  readonly #storage: MemberStorage
  readonly #transport: Transport
  readonly #driver: Driver
  #book = new MemberBook()
  readonly #outbox: Outbox
  readonly #proposals: Proposals
  readonly #reads = new Set<PendingRead>()
  readonly #changes = new PendingChanges()
  readonly #leadership = new LeadershipWatch()
  readonly #applyLatency = new Histogram()
  #timer: ReturnType<typeof setInterval> | null = null
  #isRemoved = false
  #deferrals = 0
  /** Ticks until this member gives up a leader that it suspects; 0 while it does not. */
  #suspicionTicks = 0
  #closing: Promise<void> | null = null

  /** Use openMember(). */
  constructor(options: MemberOptions, storage: MemberStorage, transport: Transport) {
    const { identity, incarnation, snapshot } = storage.state
    this.id = identity.raftId
    this.clusterId = identity.clusterId
    this.nodeId = identity.nodeId
    this.#options = options
    this.#storage = storage
    this.#transport = transport
    this.#outbox = new Outbox((message) => transport.send(message))
    this.leadership = this.#leadership.changes
    this.#proposals = new Proposals({
      append: (batch) => this.#driver.proposeBatch(batch),
      notLeader: () => this.#notLeader(),
    })
    if (snapshot !== null) this.#restore(snapshot)
    this.#driver = new Driver(
      {
        id: this.id,
        storage: storage.cache(),
        random: options.random,
        electionTicks: limits.ELECTION_TICKS,
        heartbeatTicks: limits.HEARTBEAT_TICKS,
        maxMessageBytes: limits.MAX_MESSAGE_BYTES,
        maxCommittedBytesPerReady: limits.MAX_APPLY_BYTES,
        maxUncommittedBytes: limits.MAX_UNCOMMITTED_BYTES,
        maxInflightMessages: limits.MAX_INFLIGHT_MESSAGES,
        maxInflightBytes: limits.MAX_INFLIGHT_BYTES,
        preVote: true,
        checkQuorum: true,
        stepDownOnRemoval: true,
        disableProposalForwarding: true,
        checkpointEntries: options.snapshotEntries,
        keptEntries: options.keptEntries,
        checkpointGrowth: limits.SNAPSHOT_GROWTH,
        maxCheckpointEntries: limits.MAX_SNAPSHOT_ENTRIES,
        maxCheckpointBytes: limits.MAX_SNAPSHOT_LOG_BYTES,
        incarnation,
        trace: ({ kind, ...fields }) => options.logger.debug(`raft: ${kind}`, fields),
      },
      this.#host(),
    )
    transport.start({
      onMessage: (message) => this.#receive(message),
      onUnreachable: (id) => this.#unreachable(id),
      onSnapshotReport: (id, delivered) => this.#driver.reportSnapshot(id, delivered),
      onRemoved: () => this.#leave(),
    })
    this.#tellTransport()
    this.#timer = setInterval(() => this.#tick(), options.tickMs)
  }

  // What the layers above ask for.

  /** Puts `data` into the log. Resolves with its index once it is applied here; rejects with a
   * MemberError. */
  propose(data: Uint8Array): Promise<{ readonly index: number }> {
    if (this.#closing !== null) return Promise.reject(shutDown())
    const leads = this.#driver.node.basicStatus().role === 'leader'
    return leads ? this.#proposals.add(data) : Promise.reject(this.#notLeader())
  }

  /** Resolves with an index once everything up to it is applied here: what is then read from the
   * state machine is not older than any write that had been acknowledged anywhere when this was
   * called. On any member. */
  readBarrier(timeoutMs: number = limits.READ_TIMEOUT_MS): Promise<number> {
    if (this.#closing !== null) return Promise.reject(shutDown())
    if (this.#reads.size >= limits.MAX_PENDING_READS) {
      return Promise.reject(overloaded('too many reads wait'))
    }
    return new Promise((resolve, reject) => {
      const read: PendingRead = { untilMs: performance.now() + timeoutMs, reject }
      this.#reads.add(read)
      this.#driver.read(() => {
        if (this.#reads.delete(read)) resolve(this.#driver.appliedIndex)
      })
    })
  }

  /** Hands the office over to `to`, or to whoever is furthest. Resolves when another member leads.
   * Only on the leader. */
  async transferLeadership(to?: NodeId): Promise<void> {
    this.#mustLead()
    const target = to ?? this.#successor()
    if (target === null || !this.#driver.confState.voters.includes(target)) {
      throw new MemberError('bad-change', 'there is no such voter to hand over to')
    }
    if (target === this.id) return
    this.#driver.transferLeader(target)
    const untilMs = performance.now() + 2 * limits.ELECTION_TICKS * this.#options.tickMs
    await this.leadership.until(
      ({ leader }) => leader !== this.id && leader !== 0,
      untilMs,
      () => timedOut('no other member took over'),
    )
  }

  /** Starts an election now. */
  campaign(): void {
    if (this.#closing === null) this.#driver.campaign()
  }

  /** The membership, and how to change it. Changes are for the leader alone. */
  get membership(): Membership {
    return {
      members: () => this.#book.all(),
      config: () => this.#driver.confState,
      change: (request) => this.#change(request),
      probe: (address) => this.#transport.probe(address, limits.PROBE_TIMEOUT_MS),
      behind: (id) => this.#behind(id),
    }
  }

  get isLeader(): boolean {
    return this.#leadership.now.leads
  }

  get appliedIndex(): number {
    return this.#driver.appliedIndex
  }

  /** Resolves once `index` is applied here. */
  async waitApplied(index: number, timeoutMs: number = limits.READ_TIMEOUT_MS): Promise<void> {
    if (this.appliedIndex >= index) return
    await this.applied.until(
      (at) => at >= index,
      performance.now() + timeoutMs,
      () => timedOut(`index ${index} is not applied yet`),
    )
  }

  /** Who leads, as far as is known. */
  leader(): LeaderHint | null {
    const { lead } = this.#driver.node.basicStatus()
    const member = this.#book.get(lead)
    return lead === 0 ? null : { id: lead, address: member?.address ?? '' }
  }

  status(): MemberStatus {
    const { confState } = this.#driver
    const { progress, ...status } = this.#driver.node.status()
    const reachable = new Set(progress.filter((p) => p.reachable).map(({ id }) => id))
    for (const peer of this.#transport.peers()) if (peer.connected) reachable.add(peer.id)
    const members = this.#book.all().map((member) => ({
      ...member,
      isVoter: confState.voters.includes(member.id),
      isLeader: member.id === status.lead,
      isReachable: member.id === this.id || reachable.has(member.id),
    }))
    return { ...status, applied: this.appliedIndex, isRemoved: this.#isRemoved, members, progress }
  }

  /** Read when metrics are scraped. */
  metrics(): MemberMetrics {
    const { term, role, lead, commit, lastIndex } = this.#driver.node.basicStatus()
    return {
      term,
      role,
      leader: lead,
      committedIndex: commit,
      appliedIndex: this.appliedIndex,
      lastIndex,
      elections: this.#leadership.elections,
      leaderChanges: this.#leadership.leaderChanges,
      pendingProposals: this.#proposals.count,
      pendingReads: this.#reads.size,
      queuedWrites: this.#storage.queued,
      commitLatency: this.#proposals.latency.values(),
      applyLatency: this.#applyLatency.values(),
      writeLatency: this.#storage.writeLatency.values(),
      peers: this.#transport.peers(),
    }
  }

  /** True if the node `nodeId` may speak for the member `id`: the book says so, or does not know
   * that member yet. Who is behind must be able to hear from a newer one, or it stays behind; that
   * the node is a manager of this cluster is for the transport to check. */
  speaksFor(nodeId: string, id: NodeId): boolean {
    const member = this.#book.get(id)
    return member === null ? !this.#book.removed().has(id) : member.nodeId === nodeId
  }

  /** A consistent copy of the log and the snapshot, while everything goes on: see backup.ts. */
  backup(path: string): Promise<void> {
    return this.#storage.backup(path)
  }

  /** Replaces the key that seals the log and the snapshot by a new one. */
  rotateKey(): Promise<void> {
    return this.#storage.rotateKey()
  }

  /** Tells a joiner who the members are; the leader tells it again, but must be answered. */
  async learnPeers(members: readonly MemberAddress[]): Promise<void> {
    await this.#storage.setFirstPeers(JSON.stringify(members))
    for (const member of members) if (this.#book.get(member.id) === null) this.#book.put(member)
    this.#tellTransport()
  }

  /** Ends everything, and gives the directory back. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#driver.stop()
    this.#outbox.close()
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#rejectAll(shutDown)
    await this.#transport.close()
    await this.#storage.close()
  }

  /** Stops at once, because the disk failed: nothing may be promised any more. */
  halt(): void {
    this.#closing ??= Promise.resolve()
    this.#driver.stop()
    this.#outbox.close()
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#rejectAll(shutDown)
    void this.#transport.close()
  }

  // Membership.

  #change(request: Parameters<Membership['change']>[0]): Promise<void> {
    this.#mustLead()
    const { confState, node } = this.#driver
    const plan = planChange(request, this.#book, confState, node.status().progress, this.id)
    const context = encodeContext(plan.members)
    const result = this.#driver.changeMembership({ ...plan, context })
    if (result.refusal !== null || result.index === 0) throw this.#notLeader()
    const untilMs = performance.now() + limits.CHANGE_TIMEOUT_MS
    return this.#changes.wait(result.index, result.term, untilMs)
  }

  #behind(id: NodeId): number | null {
    const { progress, lastIndex } = this.#driver.node.status()
    const member = progress.find((p) => p.id === id)
    return member === undefined ? null : lastIndex - member.match
  }

  /** The voter that has most of the log. */
  #successor(): NodeId | null {
    const { progress } = this.#driver.node.status()
    const voters = progress.filter(({ id, learner }) => id !== this.id && !learner)
    const active = voters.filter(({ reachable }) => reachable)
    return active.sort((a, b) => b.match - a.match)[0]?.id ?? null
  }

  // The loop.

  #tick(): void {
    const nowMs = performance.now()
    for (const read of this.#reads) {
      if (read.untilMs > nowMs) continue
      this.#reads.delete(read)
      const isKnown = this.#driver.node.basicStatus().lead !== 0
      read.reject(isKnown ? timedOut('the read was not confirmed') : this.#notLeader())
    }
    this.#changes.expire(nowMs)
    this.leadership.expire(nowMs)
    this.applied.expire(nowMs)
    this.#driver.tick()
    this.#suspect()
  }

  /** A process that ends breaks its connections, so the leader's end shows long before an election
   * timeout has passed. The suspicion may be wrong (the leader still reaches this member, or the
   * others): then a heartbeat ends it, or the others refuse the pre-vote, and nothing has
   * happened. */
  #unreachable(id: NodeId): void {
    this.#driver.reportUnreachable(id)
    const { role, lead } = this.#driver.node.basicStatus()
    if (role !== 'follower' || lead !== id || this.#suspicionTicks > 0) return
    const { SUSPICION_TICKS } = limits
    this.#suspicionTicks = SUSPICION_TICKS + this.#options.random.below(SUSPICION_TICKS + 1)
    this.#driver.forgetLeader()
  }

  #suspect(): void {
    if (this.#suspicionTicks === 0) return
    const { role, lead } = this.#driver.node.basicStatus()
    if (role !== 'follower' || lead !== 0) this.#suspicionTicks = 0
    else if (--this.#suspicionTicks === 0) this.#driver.campaign()
  }

  #receive(message: Message): void {
    const refusal = this.#driver.receive(message)
    if (refusal === null) return
    const { type, from } = message
    this.#options.logger.debug('raft: message refused', { type, from, reason: refusal })
  }

  #host(): DriverHost {
    return {
      send: (message) => this.#outbox.send(message),
      write: (...write) => this.#write(...write),
      defer: (run) => this.#defer(run),
      apply: (entry) => this.#apply(entry),
      configure: (config, index) => this.#configure(config, index),
      checkpoint: () => joinSnapshot(this.#book, this.#options.machine.snapshot()),
      restore: (snapshot) => this.#restored(snapshot),
      observe: (ready) => this.#observe(ready),
      failed: () => this.halt(),
    }
  }

  /** What a leader writes its followers write too: their messages leave when this turn of the event
   * loop ends, and only then is the disk's thread woken, which would take a processor from them. */
  #write(...write: Parameters<DriverHost['write']>): void {
    const leads = this.#driver.node.basicStatus().role === 'leader'
    if (leads) setImmediate(() => this.#storage.write(...write))
    else this.#storage.write(...write)
  }

  /** Applying what was committed follows at once, unless there is so much that the event loop would
   * have to wait for it. */
  #defer(run: () => void): void {
    if (this.#deferrals++ < limits.DEFERRALS_AT_ONCE) {
      queueMicrotask(run)
      return
    }
    setImmediate(() => {
      this.#deferrals = 0
      run()
    })
  }

  #apply(entry: Entry): void {
    const began = performance.now()
    if (entry.type !== 'EntryNormal') {
      const { context } = decodeConfChange(entry) ?? {}
      for (const member of decodeContext(context)) this.#book.put(member)
    } else if (entry.data.length > 0) {
      this.#options.machine.apply(entry.data, entry.index)
    }
    this.#applyLatency.add(performance.now() - began)
    this.#changes.applied(entry)
    this.applied.emit(entry.index)
    this.#leadership.applied(entry.index)
  }

  #configure(config: ConfState, _index: number): void {
    this.#book.follow(config)
    this.#tellTransport()
    if (this.#book.removed().has(this.id)) this.#leave()
  }

  #restored(snapshot: Snapshot): void {
    this.#restore(snapshot)
    this.#changes.passed(snapshot.index)
    this.applied.emit(snapshot.index)
  }

  #restore(snapshot: Snapshot): void {
    const { book, machine } = splitSnapshot(snapshot.data)
    this.#book = book
    if (machine !== null) this.#options.machine.restore(machine, snapshot.index)
  }

  #tellTransport(): void {
    const others = this.#book.all().filter(({ id }) => id !== this.id)
    this.#transport.setPeers(new Map(others.map(({ id, address }) => [id, address])))
    this.#transport.setRemoved(this.#book.removed())
  }

  #observe(ready: Ready): void {
    if (!this.#leadership.observe(ready, this.#driver.node.basicStatus())) return
    const error = (): MemberError => lostLeadership(this.leader())
    this.#proposals.rejectAll(error)
    this.#changes.rejectAll(error)
  }

  #leave(): void {
    if (this.#isRemoved) return
    this.#isRemoved = true
    queueMicrotask(() => this.removed.emit())
  }

  #mustLead(): void {
    if (this.#closing !== null) throw shutDown()
    if (this.#driver.node.basicStatus().role !== 'leader') throw this.#notLeader()
  }

  #notLeader(): MemberError {
    const hint = this.leader()
    const leader = hint?.id === this.id ? null : hint
    return new MemberError('not-leader', 'this member does not lead', leader)
  }

  #rejectAll(error: () => MemberError): void {
    this.#proposals.rejectAll(error)
    this.#changes.rejectAll(error)
    for (const { reject } of this.#reads) reject(error())
    this.#reads.clear()
    this.leadership.rejectAll(error)
    this.applied.rejectAll(error)
  }
}
