// Counters that may be read while they are written: rows of doubles, by default in private memory,
// else in what the caller shares with the thread that exports metrics. A 64-bit aligned double is
// written in one piece on every machine that Node runs on; sums across columns may be off by the
// packet under way.

import { ConfigError } from './config.ts'
import { REAL_SERVERS_MAX, SERVICES_MAX } from './limits.ts'
import { Rates } from './rates.ts'
import { ACTIVE_CONNECTIONS, STATISTICS_COLUMNS } from './statistics-columns.ts'

export * from './statistics-columns.ts'

/** Row of the sum over everything. */
export const TOTAL_ROW = 0

const ROWS_FIRST = 64
const ROWS_MAX: number = 1 + SERVICES_MAX + REAL_SERVERS_MAX

/** Memory to share with readers, for as many rows as there can be; only what is used is
 * resident. */
export function statisticsMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(ROWS_MAX * STATISTICS_COLUMNS * Float64Array.BYTES_PER_ELEMENT)
}

export class Statistics {
  /** The rows; replaced when private memory grows. */
  values: Float64Array
  readonly rates: Rates = new Rates(this)
  readonly #shared: boolean
  readonly #free: number[] = []
  #rows = 1

  /** `shared`: memory to use, STATISTICS_COLUMNS per row; its size is then the limit. */
  constructor(shared: Float64Array | undefined) {
    this.#shared = shared !== undefined
    this.values = shared ?? new Float64Array(ROWS_FIRST * STATISTICS_COLUMNS)
    if (this.values.length < STATISTICS_COLUMNS) throw new ConfigError('statistics', 'no row fits')
  }

  /** Rows in use or free, the total's included. */
  get rows(): number {
    return this.#rows
  }

  /** Rows that can still be allocated. */
  get room(): number {
    const limit = this.#shared ? Math.floor(this.values.length / STATISTICS_COLUMNS) : ROWS_MAX
    return limit - this.#rows + this.#free.length
  }

  /** Takes a row of zeros; `room` must have been asked. */
  allocate(): number {
    const row = this.#free.pop() ?? this.#rows++
    if ((row + 1) * STATISTICS_COLUMNS > this.values.length) {
      const larger = new Float64Array(this.values.length * 2)
      larger.set(this.values)
      this.values = larger
    }
    this.clear(row)
    return row
  }

  free(row: number): void {
    this.clear(row)
    this.#free.push(row)
  }

  clear(row: number): void {
    this.values.fill(0, row * STATISTICS_COLUMNS, (row + 1) * STATISTICS_COLUMNS)
    this.rates.clear(row)
  }

  /** Sets the counters of a row to zero (ipvsadm -Z), not its gauges. */
  zero(row: number): void {
    this.values.fill(0, row * STATISTICS_COLUMNS, row * STATISTICS_COLUMNS + ACTIVE_CONNECTIONS)
    this.rates.clear(row)
  }

  add(row: number, column: number, amount: number): void {
    const i = row * STATISTICS_COLUMNS + column
    this.values[i] = this.values[i]! + amount
  }

  get(row: number, column: number): number {
    return this.values[row * STATISTICS_COLUMNS + column]!
  }
}
