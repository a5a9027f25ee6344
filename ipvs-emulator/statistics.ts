// Counters that may be read while they are written: rows of doubles, by default in private memory, else in
// what the caller shares with the thread that exports metrics. A 64-bit aligned double is written in one
// piece on every machine that Node runs on; sums across columns may be off by the packet under way.

import { ConfigError } from './config.ts'
import { REAL_SERVERS_MAX, SERVICES_MAX } from './limits.ts'

export const CONNECTIONS = 0
export const IN_PACKETS = 1
export const OUT_PACKETS = 2
export const IN_BYTES = 3
export const OUT_BYTES = 4
/** Gauges: connections now. */
export const ACTIVE_CONNECTIONS = 5
export const INACTIVE_CONNECTIONS = 6
/** Gauge: persistence templates now. */
export const PERSISTENT_CONNECTIONS = 7
export const STATISTICS_COLUMNS = 8

/** Row of the sum over everything. */
export const TOTAL_ROW = 0

const ROWS_FIRST = 64
const ROWS_MAX: number = 1 + SERVICES_MAX + REAL_SERVERS_MAX

export class Statistics {
  /** The rows; replaced when private memory grows. */
  values: Float64Array
  readonly #shared: boolean
  readonly #free: number[] = []
  #rows = 1

  /** `shared`: memory to use, STATISTICS_COLUMNS per row; its size is then the limit. */
  constructor(shared: Float64Array | undefined) {
    this.#shared = shared !== undefined
    this.values = shared ?? new Float64Array(ROWS_FIRST * STATISTICS_COLUMNS)
    if (this.values.length < STATISTICS_COLUMNS) throw new ConfigError('statistics', 'no row fits')
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
  }

  /** Sets the counters of a row to zero (ipvsadm -Z), not its gauges. */
  zero(row: number): void {
    this.values.fill(0, row * STATISTICS_COLUMNS, row * STATISTICS_COLUMNS + ACTIVE_CONNECTIONS)
  }

  add(row: number, column: number, amount: number): void {
    const i = row * STATISTICS_COLUMNS + column
    this.values[i] = this.values[i]! + amount
  }

  get(row: number, column: number): number {
    return this.values[row * STATISTICS_COLUMNS + column]!
  }
}
