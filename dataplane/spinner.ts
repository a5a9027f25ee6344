// When to look again at once instead of going to sleep. A core that went idle takes tens of
// microseconds to come back, twice per message in a ping-pong; looking for as long as the next
// packet is likely to take avoids that. But looking costs the core, and on a busy machine somebody
// else needs it. So:
//
//   - Spin only while packets have lately come sooner than SPIN_MS after the loop ran out of work
//     (a moving
//     average of these gaps). An idle agent, and one with sparse traffic, never spins.
//   - Between two looks the loop yields the core. When that takes longer than YIELD_CONTENDED_MS,
//     somebody
//     else ran: stop spinning for a while, twice as long each time it happens again.
//   - A spin that ends without a packet counts as a gap of twice its length, so that the average
//     forgets.
//
// The decision is here, pure; the loop does the looking.

/** Longest time spent looking. About twice what waking an idle core costs. */
export const SPIN_MS = 0.08
/** A yield that took longer let another thread work rather than answer a message. */
export const YIELD_CONTENDED_MS = 0.2
/** How long spinning rests after contention: at first and at most. */
export const REST_MS_MIN = 5
export const REST_MS_MAX = 640
/** Weight of the newest gap in the average. */
const GAP_WEIGHT = 1 / 8
/** Gaps are capped here, so that one long silence is forgotten after a few short gaps. */
const GAP_MS_MAX = 1

export class Spinner {
  private gapMs: number = GAP_MS_MAX
  private restUntilMs = 0
  private restMs: number = REST_MS_MIN

  /** Whether to look before sleeping, now that there is no work. */
  wanted(nowMs: number): boolean {
    return this.gapMs < SPIN_MS && nowMs >= this.restUntilMs
  }

  /** Work came `gapMs` after the loop had run out of it, spinning or asleep. */
  worked(gapMs: number): void {
    const capped = Math.min(gapMs, GAP_MS_MAX)
    this.gapMs += (capped - this.gapMs) * GAP_WEIGHT
  }

  /** A spin of `spentMs` found nothing. */
  missed(spentMs: number): void {
    this.worked(2 * spentMs)
  }

  /** A whole spin without contention ended with work: the machine has room. */
  calm(): void {
    if (this.restMs > REST_MS_MIN) this.restMs /= 2
  }

  /** A yield took so long that others must have needed the core. */
  contended(nowMs: number): void {
    this.restUntilMs = nowMs + this.restMs
    if (this.restMs < REST_MS_MAX) this.restMs *= 2
  }
}
