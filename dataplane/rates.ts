// Rates of counters, estimated as IPVS does (net/netfilter/ipvs/ip_vs_est.c): at each sample the
// rate since the last one is taken, and a quarter of its distance to the mean is added to the mean,
// so that the mean forgets half of a change in about 5 s at one sample every 2 s.
//
// The estimator only reads the cells, and only those it is asked to follow. Whoever holds it
// decides when samples are taken (RATE_SAMPLE_MS is what the weight is made for); intervals may
// vary.

export const RATE_SAMPLE_MS: number = 2000
/** Share of the distance that a sample adds. */
const WEIGHT = 1 / 4

interface Followed {
  value: number
  perSecond: number
  /** False until a second sample: there is no rate yet. */
  isKnown: boolean
}

export class RateEstimator {
  private followed: Map<number, Followed> = new Map()
  private sampledMs: number = Number.NaN
  private readonly cells: Float64Array

  constructor(cells: Float64Array) {
    this.cells = cells
  }

  /** Takes a sample of the cells numbered in `wanted`; those no longer wanted are forgotten. A cell
   * that went down was given to something new and begins anew. */
  sample(wanted: Iterable<number>, nowMs: number): void {
    const seconds = (nowMs - this.sampledMs) / 1000
    const next = new Map<number, Followed>()
    for (const cell of wanted) {
      const value = this.cells[cell]!
      const last = this.followed.get(cell)
      if (last === undefined || value < last.value || !(seconds > 0)) {
        next.set(cell, last?.value === value ? last : { value, perSecond: 0, isKnown: false })
        continue
      }
      const perSecond = (value - last.value) / seconds
      last.perSecond = last.isKnown
        ? last.perSecond + WEIGHT * (perSecond - last.perSecond)
        : perSecond
      last.isKnown = true
      last.value = value
      next.set(cell, last)
    }
    this.followed = next
    this.sampledMs = nowMs
  }

  /** Units per second of a cell, 0 while unknown. */
  perSecond(cell: number): number {
    return this.followed.get(cell)?.perSecond ?? 0
  }
}
