// Latencies as counts per bucket: cheap to add to, read when metrics are scraped.

/** Upper bounds in milliseconds; what is longer than the last is counted as well. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000,
]

/** What a scrape reads. `counts` has one more number than there are bounds; not cumulative. */
export interface HistogramValues {
  readonly boundsMs: readonly number[]
  readonly counts: readonly number[]
  readonly count: number
  readonly sumMs: number
}

export class Histogram {
  readonly #counts: number[] = new Array<number>(LATENCY_BOUNDS_MS.length + 1).fill(0)
  #count = 0
  #sumMs = 0

  add(ms: number): void {
    let bucket = 0
    while (bucket < LATENCY_BOUNDS_MS.length && ms > LATENCY_BOUNDS_MS[bucket]!) bucket++
    this.#counts[bucket]!++
    this.#count++
    this.#sumMs += ms
  }

  values(): HistogramValues {
    const [count, sumMs] = [this.#count, this.#sumMs]
    return { boundsMs: LATENCY_BOUNDS_MS, counts: [...this.#counts], count, sumMs }
  }
}
