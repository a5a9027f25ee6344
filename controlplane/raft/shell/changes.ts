// Membership changes that were proposed and are not applied yet. The core puts an empty entry in
// the place of one that cannot follow; which it was shows when the index is applied.

import type { Entry } from '../messages.ts'
import { lostLeadership, MemberError, overruled, timedOut } from './errors.ts'

interface Pending {
  readonly index: number
  readonly term: number
  readonly untilMs: number
  readonly resolve: () => void
  readonly reject: (error: MemberError) => void
}

export class PendingChanges {
  #pending: Pending[] = []

  wait(index: number, term: number, untilMs: number): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#pending.push({ index, term, untilMs, resolve, reject }),
    )
  }

  applied(entry: Entry): void {
    if (this.#pending.length === 0) return
    for (const change of this.#take(({ index }) => index === entry.index)) {
      if (entry.term !== change.term) change.reject(overruled())
      else if (entry.type !== 'EntryNormal') change.resolve()
      else change.reject(new MemberError('bad-change', 'another change of members is under way'))
    }
  }

  /** A snapshot went past them. */
  passed(index: number): void {
    for (const { reject } of this.#take((change) => change.index <= index)) {
      reject(lostLeadership(null))
    }
  }

  expire(nowMs: number): void {
    for (const { reject } of this.#take(({ untilMs }) => untilMs <= nowMs)) {
      reject(timedOut('the change of members was not confirmed'))
    }
  }

  rejectAll(error: () => MemberError): void {
    for (const { reject } of this.#take(() => true)) reject(error())
  }

  #take(which: (change: Pending) => boolean): readonly Pending[] {
    const taken = this.#pending.filter(which)
    if (taken.length > 0) this.#pending = this.#pending.filter((change) => !which(change))
    return taken
  }
}
