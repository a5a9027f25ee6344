// Who leads, as it is told to the layers above: a member says that it leads only when everything
// its predecessors committed is applied, and takes it back at once.

import type { NodeId } from '../messages.ts'
import type { BasicStatus, Ready } from '../types.ts'
import { Listeners } from './listeners.ts'

export interface Leadership {
  readonly term: number
  /** 0 while nobody is known to lead. */
  readonly leader: NodeId
  /** This member leads and has applied all that its predecessors committed. */
  readonly leads: boolean
}

export class LeadershipWatch {
  readonly changes: Listeners<Leadership> = new Listeners()
  now: Leadership = { term: 0, leader: 0, leads: false }
  /** Elections this member stood for, pre-votes included. */
  elections = 0
  leaderChanges = 0
  /** While this member leads: it says so when this index is applied, its own first entry. */
  #leadsFrom: number | null = null

  /** Looks at what the core says. True if this member may have led and does not. */
  observe({ softState, hardState }: Ready, { id, term, lastIndex }: BasicStatus): boolean {
    if (hardState !== null && hardState.term !== this.now.term) {
      this.#announce({ ...this.now, term })
    }
    if (softState === null) return false
    const { role, lead } = softState
    if (role === 'pre-candidate' || role === 'candidate') this.elections++
    if (lead !== this.now.leader) this.leaderChanges++
    this.#leadsFrom = role === 'leader' ? lastIndex : null
    this.#announce({ term, leader: role === 'leader' ? id : lead, leads: false })
    return role !== 'leader'
  }

  applied(index: number): void {
    if (this.#leadsFrom === null || index < this.#leadsFrom || this.now.leads) return
    this.#announce({ ...this.now, leads: true })
  }

  #announce(leadership: Leadership): void {
    this.now = leadership
    // The core is in the middle of something and must not be called from there.
    queueMicrotask(() => this.changes.emit(leadership))
  }
}
