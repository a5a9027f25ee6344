// The face of the consensus core: a pure state machine that is told of ticks, messages and
// requests, and answers with a Ready, the list of what the caller must do next. It does no I/O, has
// no clock and starts nothing by itself. docs/raft.md is the manual.
//
//   node.tick() | node.step(message) | node.propose(data) | ...      any number of times
//   while (node.hasReady()) {
//     const ready = node.ready()
//     1. send ready.messages                        (may overlap with 2)
//     2. make snapshot, entries, hardState durable  (fsync if ready.mustSync)
//     3. send ready.messagesAfterAppend
//     4. apply ready.snapshot, then ready.committedEntries (membership changes: applyConfChange())
//     node.advance()
//   }
//
// With `pipelinedWrites` the caller need not wait for the disk before it takes the next Ready.
// Instead of advance() it calls persisted() once for each Ready when steps 2 and 3 (and applying
// ready.snapshot) are done, and applied() once for each when its committedEntries are applied; each
// in the order of the Readies, the two independently.

import { assert } from '../../base/assert.ts'
import { encodeConfChange } from './codec.ts'
import { ConfChangeError, configFault } from './confchange.ts'
import { type Config, resolveConfig } from './config.ts'
import { startElection } from './election.ts'
import { payloadBytes, totalBytes } from './log.ts'
import { applyConfChange, switchTo } from './membership.ts'
import {
  type ConfChange,
  type ConfChangeSingle,
  type ConfState,
  type Entry,
  type HardState,
  kindOf,
  type Message,
  makeMessage,
  NO_BYTES,
  NONE,
  type NodeId,
  type SoftState,
} from './messages.ts'
import { progressStatus } from './progress.ts'
import { type Draft, Raft } from './raft.ts'
import { applied, step, tick } from './step.ts'
import { forgetLeader } from './step-follower.ts'
import { handleSnapshotFate, handleUnreachable } from './step-leader.ts'
import type { BasicStatus, ProposeResult, Ready, Refusal, Status, WriteReceipt } from './types.ts'

export class RawNode {
  readonly #raft: Raft
  readonly #pipelined: boolean
  /** With pipelinedWrites: while this node leads, entries that a quorum of others holds are handed
   * out for applying before its own disk has them, so that it alone cannot hold them up. May be
   * changed at any time. */
  appliesAhead = false
  #softState: SoftState
  #hardState: HardState
  #writes: WriteReceipt[] = []
  #applies: (readonly Entry[])[] = []

  /** Starts from what `config.storage` holds. Throws a RangeError for an impossible setting, a
   * ConfChangeError for an impossible stored configuration. */
  constructor(config: Config) {
    const resolved = resolveConfig(config)
    const { hardState, confState } = resolved.storage.initialState()
    const fault = configFault(confState)
    if (fault !== null) throw new ConfChangeError(fault)
    const raft = new Raft(resolved)
    switchTo(raft, confState, Math.max(raft.log.lastIndex(), 1))
    if (hardState.term !== 0 || hardState.commit !== 0) {
      raft.log.restoreCommitted(hardState.commit)
      raft.term = hardState.term
      raft.vote = hardState.vote
    }
    if (resolved.applied > 0) raft.log.appliedTo(resolved.applied, 0)
    raft.becomeFollower(raft.term, NONE)
    this.#raft = raft
    this.#pipelined = resolved.pipelinedWrites
    this.#softState = softStateOf(raft)
    this.#hardState = hardStateOf(raft)
  }

  /** Advances the logical clock by one tick. */
  tick(): void {
    tick(this.#raft)
  }

  /** Starts an election now, as if the election timeout had passed. */
  campaign(): void {
    startElection(this.#raft)
  }

  /** Proposes `data` for the log. */
  propose(data: Uint8Array): ProposeResult {
    return this.#propose([{ type: 'EntryNormal', data }])
  }

  /** Proposes several entries in one append; all are taken or none. The result names the first. */
  proposeBatch(batch: readonly Uint8Array[]): ProposeResult {
    return this.#propose(batch.map((data) => ({ type: 'EntryNormal', data })))
  }

  /** Proposes a change of membership. A change that cannot follow the current configuration is
   * replaced by an empty normal entry at the same index. */
  proposeConfChange(change: ConfChange | ConfChangeSingle): ProposeResult {
    const type = 'changes' in change ? 'EntryConfChangeV2' : 'EntryConfChange'
    return this.#propose([{ type, data: encodeConfChange(asSet(change)) }])
  }

  /** Switches to the configuration after `change`; to be called when its entry is applied,
   * unless the caller decides to void it. Returns the new configuration, for the caller's next
   * snapshot. */
  applyConfChange(change: ConfChange | ConfChangeSingle): ConfState {
    return applyConfChange(this.#raft, asSet(change))
  }

  /** Takes a message from another member. */
  step(message: Message): Refusal | null {
    const isResponse = kindOf(message.type) === 'response'
    if (isResponse && !this.#raft.tracker.knows(message.from)) return 'unknown-peer'
    if (!isWellFormed(message)) return 'malformed'
    return step(this.#raft, message)
  }

  /** True when ready() has something to do. */
  hasReady(): boolean {
    const raft = this.#raft
    return (
      raft.messages.length > 0 ||
      raft.messagesAfterAppend.length > 0 ||
      raft.log.unstable.hasNextEntries() ||
      raft.log.hasNextCommitted(this.#allowsUnstable()) ||
      raft.log.unstable.nextSnapshot() !== null ||
      raft.readStates.length > 0 ||
      !isSame(softStateOf(raft), this.#softState) ||
      !isSame(hardStateOf(raft), this.#hardState)
    )
  }

  /** True if committed entries may be handed out for applying before they are durable here. */
  #allowsUnstable(): boolean {
    return !this.#pipelined || (this.appliesAhead && this.#raft.role === 'leader')
  }

  /** Hands out the outstanding work. Must be followed by advance() before it is called again
   * (or, with pipelinedWrites, at some time by persisted() and applied()). */
  ready(): Ready {
    assert(this.#pipelined || this.#writes.length === 0, 'ready() again before advance()')
    const raft = this.#raft
    const hardState = hardStateOf(raft)
    const softState = softStateOf(raft)
    const entries = raft.log.unstable.nextEntries()
    const snapshot = raft.log.unstable.nextSnapshot()
    const allowsUnstable = this.#allowsUnstable()
    const committedEntries = raft.log.nextCommitted(allowsUnstable)
    const unstable = raft.log.unstable.entryCount > 0
    const receipt: WriteReceipt = {
      term: raft.term,
      messages: raft.messagesAfterAppend,
      lastIndex: unstable ? raft.log.lastIndex() : 0,
      lastTerm: unstable ? raft.log.lastTerm() : 0,
      snapshot,
    }
    const ready: Ready = {
      softState: isSame(softState, this.#softState) ? null : softState,
      hardState: isSame(hardState, this.#hardState) ? null : hardState,
      readStates: raft.readStates,
      entries,
      snapshot,
      committedEntries,
      messages: raft.messages,
      messagesAfterAppend: receipt.messages.filter(({ to }) => to !== raft.id),
      mustSync:
        entries.length > 0 ||
        snapshot !== null ||
        hardState.term !== this.#hardState.term ||
        hardState.vote !== this.#hardState.vote,
      receipt,
    }
    this.#writes.push(receipt)
    this.#applies.push(committedEntries)
    this.#softState = softState
    this.#hardState = hardState
    raft.readStates = []
    raft.messages = []
    raft.messagesAfterAppend = []
    raft.log.unstable.acceptInProgress()
    raft.log.acceptApplying(committedEntries, allowsUnstable)
    return ready
  }

  /** Says that the last Ready is durable, sent and applied. */
  advance(): void {
    assert(!this.#pipelined, 'advance() is not for pipelinedWrites')
    this.persisted()
    this.applied()
  }

  /** With pipelinedWrites: the oldest Ready not yet reported is durable, its snapshot applied. */
  persisted(): void {
    const write = this.#writes.shift()
    assert(write !== undefined, 'persisted() without a Ready')
    const raft = this.#raft
    for (const message of write.messages) {
      if (message.to === raft.id) step(raft, message)
    }
    // In a later term the tail may have been replaced, and replaced again by entries like the first
    // ones, whose own write is still to come. So only a write that was handed out in this term
    // tells where the durable log ends. Each term begins with a write (its hard state), so there
    // will be one.
    if (write.lastIndex > 0 && write.term === raft.term) {
      raft.log.unstable.stableTo(write.lastIndex, write.lastTerm)
    }
    if (write.snapshot !== null) {
      // Valid in any term: what a snapshot holds is committed.
      raft.log.unstable.stableSnapshotTo(write.snapshot.index)
      applied(raft, write.snapshot.index, 0, 0)
    }
  }

  /** With pipelinedWrites: the committed entries of the oldest Ready not yet reported are
   * applied. */
  applied(): void {
    const entries = this.#applies.shift()
    assert(entries !== undefined, 'applied() without a Ready')
    const last = entries.at(-1)
    if (last !== undefined) {
      applied(this.#raft, last.index, totalBytes(entries), payloadBytes(entries))
    }
  }

  basicStatus(): BasicStatus {
    const raft = this.#raft
    return {
      id: raft.id,
      ...hardStateOf(raft),
      ...softStateOf(raft),
      applied: raft.log.applied,
      lastIndex: raft.log.lastIndex(),
      leadTransferee: raft.leadTransferee,
    }
  }

  status(): Status {
    const raft = this.#raft
    const leads = raft.role === 'leader'
    return {
      ...this.basicStatus(),
      config: raft.tracker.config,
      progress: leads ? raft.tracker.members.map(progressStatus) : [],
    }
  }

  /** Says that the last message to `id` could not be delivered. */
  reportUnreachable(id: NodeId): void {
    handleUnreachable(this.#raft, id)
  }

  /** Says whether the snapshot to `id` arrived. Without it the member stays paused. */
  reportSnapshot(id: NodeId, ok: boolean): void {
    handleSnapshotFate(this.#raft, id, ok)
  }

  /** Asks the leader (this or another member) to hand its office to `to`. */
  transferLeader(to: NodeId): Refusal | null {
    return step(this.#raft, makeMessage('MsgTransferLeader', this.#raft.id, { from: to }))
  }

  /** Forgets the leader, so that this follower grants votes before the election timeout. */
  forgetLeader(): void {
    forgetLeader(this.#raft)
  }

  /** Asks for a linearizable read point; the answer comes as a ReadState with the same
   * `context`, or not at all if leadership changes or a message is lost: repeat after a
   * timeout, with a new context. */
  readIndex(context: Uint8Array): Refusal | null {
    const from = this.#raft.id
    return step(this.#raft, makeMessage('MsgReadIndex', NONE, { from, context }))
  }

  /** Replaces the election timeout drawn for this round, until the next is drawn. For tests. */
  setElectionTimeout(ticks: number): void {
    this.#raft.electionTimeoutTicks = ticks
  }

  #propose(drafts: readonly Draft[]): ProposeResult {
    const raft = this.#raft
    const before = raft.log.lastIndex()
    const entries = drafts.map(({ type, data }) => ({ term: 0, index: 0, type, data }))
    const message = makeMessage('MsgProp', NONE, { from: raft.id, entries })
    const refusal = entries.length === 0 ? 'malformed' : step(raft, message)
    const appended = refusal === null && raft.role === 'leader'
    return { refusal, index: appended ? before + 1 : 0, term: appended ? raft.term : 0 }
  }
}

/** Entries must follow one another without a gap, and terms never fall nor exceed the message's. */
function isWellFormed(message: Message): boolean {
  const kind = kindOf(message.type)
  if ((kind === 'leader' || kind === 'candidate') && message.term === 0) return false
  if (message.type === 'MsgProp') return message.entries.length > 0
  if (message.type === 'MsgSnap') {
    const { snapshot } = message
    return snapshot !== null && snapshot.index > 0 && configFault(snapshot.confState) === null
  }
  if (message.type !== 'MsgApp') return true
  let { index, logTerm: term } = message
  for (const entry of message.entries) {
    index++
    if (entry.index !== index || entry.term < term || entry.term > message.term) return false
    term = entry.term
  }
  return true
}

function asSet(change: ConfChange | ConfChangeSingle): ConfChange {
  if ('changes' in change) return change
  return { transition: 'auto', changes: [change], context: NO_BYTES }
}

function softStateOf({ lead, role }: Raft): SoftState {
  return { lead, role }
}

function hardStateOf({ term, vote, log }: Raft): HardState {
  return { term, vote, commit: log.committed }
}

function isSame<T extends object>(a: T, b: T): boolean {
  return (Object.keys(a) as (keyof T)[]).every((name) => a[name] === b[name])
}
