// What was proposed and is not applied yet. Proposals of one turn of the event loop go to the log
// as one append; each is answered by itself.

import { Histogram } from '../../../base/histogram.ts'
import type { Proposal } from '../driver.ts'
import type { ProposeResult } from '../types.ts'
import { lostLeadership, MemberError, overloaded, overruled } from './errors.ts'
import { MAX_PENDING_PROPOSALS, MAX_PROPOSAL_BYTES } from './limits.ts'

interface Pending extends Proposal {
  readonly sinceMs: number
  readonly reject: (error: MemberError) => void
}

export interface ProposalsHost {
  /** Hands a batch to the log. */
  readonly append: (batch: readonly Proposal[]) => ProposeResult
  readonly notLeader: () => MemberError
}

export class Proposals {
  /** From being proposed to being applied here. */
  readonly latency: Histogram = new Histogram()
  readonly #host: ProposalsHost
  readonly #pending = new Set<Pending>()
  #batch: Pending[] = []

  constructor(host: ProposalsHost) {
    this.#host = host
  }

  get count(): number {
    return this.#pending.size
  }

  /** Resolves with the index once `data` is applied here. */
  add(data: Uint8Array): Promise<{ readonly index: number }> {
    const refusal = this.#refusal(data)
    if (refusal !== null) return Promise.reject(refusal)
    return new Promise((resolve, reject) => {
      const proposal: Pending = {
        data,
        sinceMs: performance.now(),
        reject,
        settle: (outcome, index) => {
          // Given up before.
          if (!this.#pending.delete(proposal)) return
          if (outcome === 'applied') {
            this.latency.add(performance.now() - proposal.sinceMs)
            resolve({ index })
          } else {
            reject(outcome === 'lost' ? overruled() : lostLeadership(null))
          }
        },
      }
      // One that is alone goes at once. While others are under way, those of one turn of the event
      // loop gather: they would only wait for the disk one by one.
      const isAlone = this.#pending.size === 0
      this.#pending.add(proposal)
      this.#batch.push(proposal)
      if (isAlone) queueMicrotask(() => this.#append())
      else if (this.#batch.length === 1) setImmediate(() => this.#append())
    })
  }

  /** Gives all of them up. */
  rejectAll(error: () => MemberError): void {
    for (const { reject } of this.#pending) reject(error())
    this.#pending.clear()
  }

  #refusal(data: Uint8Array): MemberError | null {
    if (data.length > MAX_PROPOSAL_BYTES) {
      const text = `a proposal of ${data.length} bytes is over the limit of ${MAX_PROPOSAL_BYTES}`
      return new MemberError('too-large', text)
    }
    // Empty entries are the leaders' own.
    if (data.length === 0) return new MemberError('bad-change', 'an empty proposal says nothing')
    return this.#pending.size < MAX_PENDING_PROPOSALS ? null : overloaded('too many proposals wait')
  }

  #append(): void {
    // What was given up meanwhile is not proposed.
    const batch = this.#batch.filter((proposal) => this.#pending.has(proposal))
    this.#batch = []
    if (batch.length === 0) return
    const { refusal } = this.#host.append(batch)
    if (refusal === null) return
    const isFull = refusal === 'too-many-uncommitted-bytes'
    for (const proposal of batch) {
      this.#pending.delete(proposal)
      proposal.reject(isFull ? overloaded('too much is uncommitted') : this.#host.notLeader())
    }
  }
}
