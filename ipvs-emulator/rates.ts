// Rates by IPVS's estimator (ip_vs_est.c): every two seconds the counters' growth goes into an
// exponentially weighted average with weight 1/4, so that a rate shows what the last eight seconds
// were like. As in the kernel the averages are scaled integers: connections and packets per second
// by 2^10, bytes by 2^5. The first value after a jump is a quarter of the true rate.

import { IN_BYTES, STATISTICS_COLUMNS } from './statistics-columns.ts'

/** What the estimator reads: rows of counters. */
export interface Counters {
  readonly values: Float64Array
  readonly rows: number
}

/** Columns with a rate: connections, packets in and out, bytes in and out. */
export const RATE_COLUMNS = 5
/** How often estimate() is to be called. */
export const ESTIMATE_INTERVAL_SECONDS = 2

/** Growth in two seconds times 2^9 is growth per second times 2^10; bytes likewise with 2^4 and
 * 2^5. */
const COUNT_FACTOR = 512
const BYTE_FACTOR = 16

export class Rates {
  readonly #counters: Counters
  #last: Float64Array = new Float64Array(0)
  #averages: Float64Array = new Float64Array(0)
  /** Next row of the sample being taken. */
  #row: number = Number.POSITIVE_INFINITY
  #share = 1
  #moved = false
  /** False when the last sample changed no average: without traffic the next one will not either.
   */
  active = false

  constructor(counters: Counters) {
    this.#counters = counters
  }

  /** Takes one sample of every row, at once. */
  estimate(): void {
    this.begin(ESTIMATE_INTERVAL_SECONDS)
    this.work(Number.POSITIVE_INFINITY)
  }

  /** Begins a sample, `seconds` after the last one began; work() takes it. */
  begin(seconds: number): void {
    const rows = this.#counters.values.length / STATISTICS_COLUMNS
    if (this.#last.length < rows * RATE_COLUMNS) this.#grow(rows * RATE_COLUMNS)
    this.#share = ESTIMATE_INTERVAL_SECONDS / seconds
    this.#row = 0
    this.#moved = false
  }

  /** Goes on with the sample for at most `rows` rows. True when it is taken. */
  work(rows: number): boolean {
    const end = Math.min(this.#row + rows, this.#counters.rows)
    for (; this.#row < end; this.#row++) this.#sample(this.#row)
    if (this.#row < this.#counters.rows) return false
    this.active = this.#moved
    return true
  }

  #sample(row: number): void {
    const values = this.#counters.values
    for (let column = 0; column < RATE_COLUMNS; column++) {
      const i = row * RATE_COLUMNS + column
      const value = values[row * STATISTICS_COLUMNS + column]!
      const before = this.#averages[i]!
      // A counter that went back belongs to somebody new, or was zeroed.
      const growth = value >= this.#last[i]! ? value - this.#last[i]! : value
      if (growth === 0 && before === 0) continue
      const factor = column < IN_BYTES ? COUNT_FACTOR : BYTE_FACTOR
      // The share is 1 but where the clock has skipped an interval.
      const sample = this.#share === 1 ? growth * factor : Math.floor(growth * factor * this.#share)
      this.#last[i] = value
      const average = before + Math.floor((sample - before) / 4)
      this.#averages[i] = average
      if (average !== before) this.#moved = true
    }
  }

  /** Rate of a row's column per second, rounded as the kernel does. */
  get(row: number, column: number): number {
    const average = this.#averages[row * RATE_COLUMNS + column] ?? 0
    return column < IN_BYTES
      ? Math.floor((average + 0x1ff) / 1024)
      : Math.floor((average + 0xf) / 32)
  }

  /** Forgets a row, because it is given to somebody else or its counters were zeroed. */
  clear(row: number): void {
    const from = row * RATE_COLUMNS
    this.#last.fill(0, from, from + RATE_COLUMNS)
    this.#averages.fill(0, from, from + RATE_COLUMNS)
  }

  #grow(length: number): void {
    const last = new Float64Array(length)
    last.set(this.#last)
    this.#last = last
    const averages = new Float64Array(length)
    averages.set(this.#averages)
    this.#averages = averages
  }
}
