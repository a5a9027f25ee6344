// Linearizable reads without log entries (Raft thesis, section 6.4).
//
// The leader notes its commit index when a read arrives and must then learn that it still was the
// leader after that moment: a round of heartbeats answered by a quorum proves it. Reads queue up; a
// heartbeat carries the position of the newest read, and its answer confirms that read and all
// before it. What a quorum has confirmed is the same arithmetic as what a quorum has stored, hence
// jointIndex().

import type { NodeId } from './messages.ts'
import { type AckedIndexer, jointIndex, type Voters } from './quorum.ts'

export interface PendingRead {
  /** Commit index at the moment the read arrived. */
  readonly index: number
  /** The member that asked. */
  readonly from: NodeId
  readonly context: Uint8Array
}

export class ReadQueue implements AckedIndexer {
  #pending: PendingRead[] = []
  // Reads are numbered from 1 in order of arrival; #pending[i] has number #confirmed + 1 + i.
  #confirmed = 0
  readonly #acked = new Map<NodeId, number>()

  get size(): number {
    return this.#pending.length
  }

  /** Number of the newest unconfirmed read; 0 when there is none. */
  get position(): number {
    return this.#pending.length === 0 ? 0 : this.#confirmed + this.#pending.length
  }

  add(read: PendingRead): void {
    this.#pending.push(read)
  }

  /** `from` answered a heartbeat that carried `position`. */
  acknowledge(from: NodeId, position: number): void {
    const previous = this.#acked.get(from) ?? 0
    if (position > previous) this.#acked.set(from, position)
  }

  ackedIndex(id: NodeId): number | undefined {
    return this.#acked.get(id)
  }

  /** Takes out the reads that a quorum of `config` has confirmed. */
  confirm(config: Voters): PendingRead[] {
    const confirmed = jointIndex(config, this)
    if (confirmed <= this.#confirmed) return []
    const reads = this.#pending.splice(0, confirmed - this.#confirmed)
    this.#confirmed += reads.length
    return reads
  }
}
