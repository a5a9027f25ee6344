// The data plane's counters: float64 cells in a SharedArrayBuffer, written by the packet loop and
// read by whoever scrapes, without a lock and without disturbing the loop. (A float64 counts
// exactly to 2^53; an aligned 8-byte read is never torn on the machines we support.)
//
// The cells form rows of COUNTER_COLUMNS. A row belongs to (kind, name), e.g. (peer, "host2"), and
// keeps its place and its value across table swaps; the loop holds its first cell and writes
// `cells[row + RX_BYTES] += n`. The owner of the rows is the loop's thread: after each swap it
// tells the readers the list of rows. A freed row is zeroed and given out again only when no other
// is left. The first rows are fixed: for the engine, the drop reasons and the states of flows, one
// cell each.

import { STATE_COUNT_CELLS } from '../ipvs-emulator/state-counts.ts'
import { DROP_REASONS } from './drop-reasons.ts'

export const COUNTER_COLUMNS = 8

// Columns of a row of kind network, peer, vip, backend, published. Receive and transmit are seen
// from the thing named: a backend receives requests and transmits replies.
export const RX_PACKETS = 0
export const RX_BYTES = 1
export const TX_PACKETS = 2
export const TX_BYTES = 3
export const FLOWS_NEW = 4

/** Cells of the engine itself, from cell 0. */
export const ENGINE_CELLS = {
  /** Frames read from devices, and datagrams received: what came in. */
  framesIn: 0,
  datagramsIn: 1,
  /** What became of them, together with the drops: handed on, answered by the node itself,
   * control. */
  forwarded: 2,
  answered: 3,
  control: 4,
  /** Frames waiting for a session. */
  staged: 5,
  loops: 6,
  /** Seconds spent working and waiting. */
  busySeconds: 7,
  waitSeconds: 8,
  flowsOpen: 9,
  flowsNew: 10,
  flowsEvicted: 11,
  resets: 12,
  socketRefused: 13,
  handshakesInitiated: 14,
  handshakesCompleted: 15,
  handshakesFailed: 16,
  handshakesRefused: 17,
  rekeys: 18,
  cookiesSent: 19,
  roamed: 20,
  keepalives: 21,
  tablesVersion: 22,
  tablesRefused: 23,
  datagramsTruncated: 24,
  /** Frames and datagrams that copies for several receivers added to what came in. */
  replicated: 25,
  /** Datagrams that were merged into others and go on as part of them. */
  merged: 27,
  /** Seconds spent looking for work in vain instead of sleeping (spinner.ts). */
  spinSeconds: 28,
  /** New flows that drop_packet dropped, and flows that drop_entry did. */
  droppedNew: 30,
  droppedFlows: 31,
  /** Flows taken over from before a restart, and those of them that had no place any more. */
  flowsRestored: 33,
  flowsLost: 34,
  /** Idle flows whose ends were asked for a sign of life. */
  probes: 29,
  /** SYNs that a backend refused and another got. */
  retries: 32,
  /** Datagrams of other nodes that were passed on to other nodes (relay.ts). */
  relayed: 35,
  /** PROXY headers sent, those sent again included. */
  proxyHeaders: 37,
  /** ICMP errors from outside that were passed on to backends of published ports. */
  outsideErrors: 38,
  /** Turns of the loop that took longer than SLOW_TURN_SECONDS. */
  slowTurns: 36,
  /** Longest turn of the loop since the start, in seconds. */
  turnSecondsMax: 26,
} as const

const ENGINE_SIZE = 48
/** Cell of drop reason 0; reason r is at DROP_CELLS + r. */
export const DROP_CELLS: number = ENGINE_SIZE
const DROP_SIZE = 64
/** Open flows by state: cell i of state-counts.ts is at STATE_CELLS + i. */
export const STATE_CELLS: number = DROP_CELLS + DROP_SIZE
const FIXED_SIZE: number = STATE_CELLS + STATE_COUNT_CELLS

export type CounterKind = 'network' | 'peer' | 'vip' | 'backend' | 'published'

export interface CounterRow {
  readonly kind: CounterKind
  readonly name: string
  /** First cell. */
  readonly row: number
}

/** Rows at most: 4 MB of address space, resident only where written. */
export const COUNTER_ROWS_MAX = 65536

/** Memory for `rows` rows, all zero. */
export function counterMemory(rows: number = COUNTER_ROWS_MAX): SharedArrayBuffer {
  return new SharedArrayBuffer((FIXED_SIZE + rows * COUNTER_COLUMNS) * 8)
}

export class Counters {
  readonly cells: Float64Array
  private readonly rows: Map<string, CounterRow> = new Map()
  private readonly freed: number[] = []
  private next: number = FIXED_SIZE

  constructor(memory: SharedArrayBuffer | ArrayBuffer) {
    this.cells = new Float64Array(memory)
    if (DROP_SIZE < DROP_REASONS.length) throw new Error('too many drop reasons')
  }

  /** First cell of the row of (kind, name), new if need be. When no row is left, things share
   * the last one: counting wrong is better than refusing to forward. */
  row(kind: CounterKind, name: string): number {
    const key = `${kind}/${name}`
    const known = this.rows.get(key)
    if (known !== undefined) return known.row
    let row = this.next
    if (row + COUNTER_COLUMNS <= this.cells.length) this.next += COUNTER_COLUMNS
    else row = this.freed.shift() ?? this.cells.length - COUNTER_COLUMNS
    this.rows.set(key, { kind, name, row })
    return row
  }

  /** Frees the rows of one kind whose names are not in `kept`. */
  retain(kind: CounterKind, kept: ReadonlySet<string>): void {
    for (const [key, row] of this.rows) {
      if (row.kind !== kind || kept.has(row.name)) continue
      this.rows.delete(key)
      this.cells.fill(0, row.row, row.row + COUNTER_COLUMNS)
      this.freed.push(row.row)
    }
  }

  /** All rows, for the readers. */
  list(): CounterRow[] {
    return [...this.rows.values()]
  }

  drop(reason: number): void {
    this.cells[DROP_CELLS + reason]!++
  }
}
