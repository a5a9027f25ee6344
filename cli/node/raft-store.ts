// The store on top of Raft: what the store proposes goes into the log, what the log commits is
// applied to the store, on every member alike. The member's errors become the store's.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { MemberError, type MemberErrorCode } from '../../controlplane/raft/shell/errors.ts'
import type { Member, StateMachine } from '../../controlplane/raft/shell/member.ts'
import { StoreError, type StoreErrorCode } from '../../controlplane/store/contract.ts'
import { MemoryStore } from '../../controlplane/store/memory-store.ts'

/** `bad-change` is no answer to a proposal. One that was overruled never takes effect, but who is
 * told "lost-leadership" looks before trying again, which is right for it too. */
const CODES: Readonly<Record<MemberErrorCode, StoreErrorCode>> = {
  'not-leader': 'not-leader',
  'lost-leadership': 'lost-leadership',
  overruled: 'lost-leadership',
  timeout: 'lost-leadership',
  'too-large': 'too-large',
  overloaded: 'overloaded',
  'bad-change': 'shut-down',
  'shut-down': 'shut-down',
}

export class RaftStore {
  readonly store: MemoryStore
  readonly machine: StateMachine
  #member: Member | null = null

  constructor(clock: Clock) {
    const propose = (bytes: Uint8Array): Promise<void> => this.#propose(bytes)
    const store = new MemoryStore({}, { propose }, clock, (size) => randomBytes(size))
    this.store = store
    this.machine = {
      apply: (data, index) => store.apply(data, index),
      snapshot: () => store.snapshot(),
      restore: (bytes) => store.restore(bytes),
    }
  }

  /** The member that the log is kept by; proposals made before are refused. */
  attach(member: Member): void {
    this.#member = member
  }

  async #propose(bytes: Uint8Array): Promise<void> {
    if (this.#member === null) throw new StoreError('shut-down', 'the manager has not started')
    try {
      await this.#member.propose(bytes)
    } catch (error) {
      if (!(error instanceof MemberError)) throw error
      throw new StoreError(CODES[error.code], error.message)
    }
  }
}
