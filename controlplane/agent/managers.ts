// Which manager to call, and when. Pure: the caller has the clock, the dice and the sockets.
//
// A manager that does not lead says who does, and that one is called next, at once. Without such a
// hint any of the managers known is as good as another, but for those that just failed, and those
// whose nodes do not answer: a dead one costs a time limit, and others may still say that it leads.
// After a session ended the first tries are close together, so that a node is back within a second
// of the election of a new leader; later ones are spread over seconds, so that a thousand nodes do
// not storm a cluster that has just come up. An attempt that itself took long says that the other
// end has its hands full, and ends the fast ones.

import type { Prng } from '../../base/prng.ts'
import {
  FAST_RETRY_MS,
  FAST_TRIES,
  RECONNECT_MS_MAX,
  RECONNECT_MS_MIN,
  SLOW_TRY_MS,
} from './limits.ts'

/** Tries in a row, after one more that took `tookMs`. */
export function countTry(tries: number, tookMs: number): number {
  return tookMs < SLOW_TRY_MS ? tries + 1 : Math.max(tries, FAST_TRIES) + 1
}

/** Delay before the next try, after `tries` (from 1) have failed in a row. */
export function retryDelayMs(tries: number, random: Prng): number {
  if (tries <= FAST_TRIES) return random.float() * FAST_RETRY_MS
  const ceiling = Math.min(RECONNECT_MS_MIN * 2 ** (tries - FAST_TRIES), RECONNECT_MS_MAX)
  return ceiling / 2 + (random.float() * ceiling) / 2
}

export class Managers {
  /** From the command line or the last run; kept until the cluster has told its own. */
  #addresses: readonly string[]
  #hint: string | null = null
  /** Addresses that failed since the last success. */
  readonly #failed = new Set<string>()
  /** Times that hints were followed without a success: leaders that name each other lead nowhere.
   *  */
  #hints = 0

  readonly #isSilent: (address: string) => boolean

  /** `isSilent`: the node at an address does not answer just now. */
  constructor(addresses: readonly string[], isSilent: (address: string) => boolean = () => false) {
    this.#addresses = [...new Set(addresses)]
    this.#isSilent = isSilent
  }

  get addresses(): readonly string[] {
    return this.#addresses
  }

  /** What the cluster says its managers are. An empty list is not believed. */
  update(addresses: readonly string[]): void {
    if (addresses.length > 0) this.#addresses = [...new Set(addresses)]
  }

  /** Somebody said who leads. Returns true when it is worth calling that one at once. */
  hint(address: string, by: string): boolean {
    this.#failed.add(by)
    if (address === by || this.#isSilent(address)) return false
    if (this.#hints >= this.#addresses.length + 1) return false
    this.#hints++
    this.#hint = address
    return true
  }

  failed(address: string): void {
    this.#failed.add(address)
  }

  succeeded(): void {
    this.#failed.clear()
    this.#hints = 0
    this.#hint = null
  }

  /** Null when none is known. */
  next(random: Prng): string | null {
    const hint = this.#hint
    this.#hint = null
    if (hint !== null) return hint
    const answering = this.#addresses.filter((address) => !this.#isSilent(address))
    const known = answering.length > 0 ? answering : this.#addresses
    let choice = known.filter((address) => !this.#failed.has(address))
    if (choice.length === 0) {
      // All have failed: another round.
      this.#failed.clear()
      this.#hints = 0
      choice = [...known]
    }
    return choice[random.below(Math.max(1, choice.length))] ?? null
  }
}
