// The leader's view of one member, and the flow control that follows from it.
//
//   probe      Where the logs agree is a guess. One MsgApp at a time; the next goes when a
//              heartbeat was answered. An acceptance leads to replicate, a rejection to a better
//              guess.
//   replicate  The logs agree at `match`. Entries are sent without waiting, within the window.
//   snapshot   What the member needs is compacted away. Nothing is sent until it acknowledges an
//              index that the log can continue from, or the caller reports the snapshot's fate.
//
//             acceptance                         entries compacted
//    probe -----------------> replicate    any --------------------> snapshot
//      ^                          |                                     |
//      +---- rejection, loss -----+      snapshot reported  ------> probe (behind the snapshot)
//                                        acceptance         ------> replicate
//
// Invariants: match < next, and sentCommit < next in replicate.

import type { Inflights } from './inflights.ts'
import type { NodeId } from './messages.ts'

export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export class Progress {
  readonly id: NodeId
  state: ProgressState = 'probe'
  learner: boolean
  /** Highest index known to be durable there. */
  match: number
  /** Next index to send. */
  next: number
  /** Heard from since the last quorum check. */
  recentActive = false
  /** The same for the check before. */
  #wasActive = false
  /** Nothing is sent until the member answers a heartbeat or acknowledges something. */
  flowPaused = false
  /** In snapshot: the index of the snapshot on its way. */
  pendingSnapshot = 0
  readonly inflights: Inflights
  // Highest commit index the member was told; only a hint that saves empty messages.
  #sentCommit = 0

  constructor(id: NodeId, learner: boolean, match: number, next: number, inflights: Inflights) {
    this.id = id
    this.learner = learner
    this.match = match
    this.next = next
    this.inflights = inflights
  }

  /** Heard from not long ago, whenever that is asked. (Just after a quorum check `recentActive` is
   * false for everybody.) */
  get reachable(): boolean {
    return this.recentActive || this.#wasActive
  }

  /** Begins another round of the quorum check. */
  nextRound(): void {
    this.#wasActive = this.recentActive
    this.recentActive = false
  }

  get paused(): boolean {
    return this.state === 'snapshot' || this.flowPaused
  }

  becomeProbe(): void {
    // A snapshot that was reported as delivered is where to go on; otherwise what is known to
    // match.
    const base = this.state === 'snapshot' ? this.pendingSnapshot : 0
    this.#enter('probe')
    this.next = Math.max(this.match, base) + 1
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1)
  }

  becomeReplicate(): void {
    this.#enter('replicate')
    this.next = this.match + 1
  }

  becomeSnapshot(snapshotIndex: number): void {
    this.#enter('snapshot')
    this.pendingSnapshot = snapshotIndex
    this.next = snapshotIndex + 1
    this.#sentCommit = snapshotIndex
  }

  /** Records a MsgApp with `count` entries of `bytes` bytes of data from `next` on. */
  sentEntries(count: number, bytes: number): void {
    if (this.state === 'replicate') {
      if (count > 0) {
        this.next += count
        this.inflights.add(this.next - 1, bytes)
      }
      // A message into a full window counts as a probe: one per answered heartbeat.
      this.flowPaused = this.inflights.full
    } else if (count > 0) {
      this.flowPaused = true
    }
  }

  /** True when telling the member `commit` could move its commit index further than it was told. */
  canBumpCommit(commit: number): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1
  }

  sentCommit(commit: number): void {
    this.#sentCommit = commit
  }

  /** The member acknowledged `index`. False when that is old news. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false
    this.match = index
    this.next = Math.max(this.next, index + 1)
    this.flowPaused = false
    return true
  }

  /** The member refused a MsgApp at `rejected` and suggests `hint`. False when the refusal is
   * stale. */
  maybeDecreaseTo(rejected: number, hint: number): boolean {
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false
      this.next = this.match + 1
    } else {
      // Probes go one at a time, so a refusal of anything but the last probe is a late duplicate.
      if (this.next - 1 !== rejected) return false
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1)
      this.flowPaused = false
    }
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1)
    return true
  }

  #enter(state: ProgressState): void {
    this.flowPaused = false
    this.pendingSnapshot = 0
    this.state = state
    this.inflights.reset()
  }
}

/** The leader's view of one member. */
export interface ProgressStatus
  extends Readonly<
    Pick<
      Progress,
      'id' | 'state' | 'learner' | 'match' | 'next' | 'recentActive' | 'pendingSnapshot'
    >
  > {
  /** No entries are sent at present. */
  readonly paused: boolean
  readonly reachable: boolean
  readonly inflightMessages: number
  readonly inflightFull: boolean
}

/** A copy for people and metrics. */
export function progressStatus(progress: Progress): ProgressStatus {
  const { inflights, ...own } = progress
  return {
    ...own,
    paused: progress.paused,
    reachable: progress.reachable,
    inflightMessages: inflights.count,
    inflightFull: inflights.count > 0 && inflights.full,
  }
}
