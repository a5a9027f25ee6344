// What happens with time: connections end when their timers say so, flows of real servers that are
// gone are found, and once a second the defences, slow starts and rate estimates take their turn.
//
// Every call does a bounded amount of work; what is left over is told by the returned tick.

import { DEADLINE, FLAGS_BYTE, PROTOCOL_BYTE, SERVER, STATE_BYTE, TEMPLATE } from './conn-table.ts'
import { type Connections, HELD } from './connections.ts'
import type { Defence } from './defence.ts'
import { IPV4, IPV6, TCP } from './flow.ts'
import {
  ESTIMATE_ROWS,
  INDEX_MOVE_PER_ADVANCE,
  ORPHANS_PER_ADVANCE,
  PROBE_COST,
  SWEEP_PER_ADVANCE,
  TICK_MS,
} from './limits.ts'
import { TCP_ESTABLISHED, TCP_MACHINE, TCP_SECURE_TABLE } from './proto-tcp.ts'
import { ESTIMATE_INTERVAL_SECONDS } from './rates.ts'
import type { ServiceTable } from './service-table.ts'
import { ticksOf } from './timeouts.ts'
import type { Tracker } from './tracker.ts'

/** A template that still controls connections when it expires is kept this much longer. */
const TEMPLATE_POSTPONE_TICKS: number = ticksOf(60)

export class Janitor {
  readonly #connections: Connections
  readonly #services: ServiceTable
  readonly #tracker: Tracker
  readonly #defence: Defence
  readonly #orphan: (connection: number) => boolean
  readonly #probe: ((connection: number) => void) | null
  #second = 0
  /** The second in which the last sample for the rates began. */
  #estimated = 0
  #sweepFamily: number = IPV4
  #sweepAt = 1

  constructor(
    connections: Connections,
    services: ServiceTable,
    tracker: Tracker,
    defence: Defence,
    orphan: (connection: number) => boolean,
    probe: ((connection: number) => void) | null,
  ) {
    this.#connections = connections
    this.#services = services
    this.#tracker = tracker
    this.#defence = defence
    this.#orphan = orphan
    this.#probe = probe
  }

  /** Ends what is due at `tick`, looking at no more than about `budget` connections. Returns the
   * tick of the next thing to do (`tick` itself when work is left), or -1 when nothing waits. */
  advance(tick: number, budget: number): number {
    let left = budget
    let next = -1
    for (let family = IPV4; family <= IPV6; family++) {
      const wheel = this.#connections.wheels[family]!
      this.#connections.tables[family]!.move(INDEX_MOVE_PER_ADVANCE)
      for (;;) {
        const entry = wheel.take(tick, left)
        left = wheel.left
        if (entry === 0) break
        left -= this.#due(family, entry, tick)
      }
      const filed = wheel.next()
      if (filed >= 0 && (next < 0 || filed < next)) next = filed
    }
    const idle = this.#housekeeping(tick)
    if (this.#services.goneCount > 0) this.#sweep(SWEEP_PER_ADVANCE)
    if (!idle || this.#services.goneCount > 0) return tick
    const { rates } = this.#services.statistics
    if (rates.active || this.#connections.count > 0) {
      const due = ticksOf(this.#estimated + ESTIMATE_INTERVAL_SECONDS)
      if (next < 0 || due < next) next = due
    }
    if (this.#defence.armed || this.#services.slowCount > 0) {
      const second = Math.ceil(((this.#second + 1) * 1000) / TICK_MS)
      if (next < 0 || second < next) next = second
    }
    return next
  }

  /** What is not expiry: schedulers' pending work, and what is done once a second. True when all is
   * done. */
  #housekeeping(tick: number): boolean {
    const second = Math.floor((tick * TICK_MS) / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#defence.second()
      this.#services.second(tick)
      if (second - this.#estimated >= ESTIMATE_INTERVAL_SECONDS) {
        this.#services.statistics.rates.begin(second - this.#estimated)
        this.#estimated = second
      }
      this.#tracker.tcpTable = this.#defence.secure ? TCP_SECURE_TABLE : TCP_MACHINE.table
    }
    const built = this.#services.work()
    const estimated = this.#services.statistics.rates.work(ESTIMATE_ROWS)
    return this.#defence.work(tick) && built && estimated
  }

  /** A connection has reached its deadline and is out of its timer bucket. Returns what that costs
   * beyond the look at it, in looks. */
  #due(family: number, entry: number, tick: number): number {
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    const template = (table.bytes[at * 4 + FLAGS_BYTE]! & TEMPLATE) !== 0
    if (template && table.records[at + HELD]! > 0) {
      table.records[at + DEADLINE] = tick + TEMPLATE_POSTPONE_TICKS
      this.#connections.wheels[family]!.file(entry)
      return 0
    }
    if (this.#probed(family, entry, tick)) {
      this.#connections.wheels[family]!.file(entry)
      return PROBE_COST
    }
    this.#connections.release(family, entry, false)
    return 0
  }

  /** True when the connection is kept for the time being because its ends were just asked to
   * answer. */
  #probed(family: number, entry: number, tick: number): boolean {
    if (this.#probe === null) return false
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    if (table.bytes[at * 4 + PROTOCOL_BYTE] !== TCP) return false
    if (table.bytes[at * 4 + STATE_BYTE] !== TCP_ESTABLISHED) return false
    const server = this.#services.servers[table.records[at + SERVER]!]
    if (server?.gone === true || (server?.pool.service.idleTicks ?? 0) !== 0) return false
    if (!this.#tracker.probe(family, entry, tick)) return false
    // Of a flow without a server, who balances it asks the ends; what they answer comes by here.
    if (server !== null && server !== undefined) this.#probe(entry * 2 + family)
    return true
  }

  /** Looks at the next `count` entries for flows whose real server is gone, and ends no more than
   * ORPHANS_PER_ADVANCE: each may be worth two packets. */
  #sweep(count: number): void {
    let ended = 0
    for (let i = 0; i < count && this.#services.goneCount > 0; i++) {
      if (ended === ORPHANS_PER_ADVANCE) return
      const table = this.#connections.tables[this.#sweepFamily]!
      if (this.#sweepAt >= table.high) {
        this.#sweepFamily ^= 1
        this.#sweepAt = 1
        continue
      }
      const entry = this.#sweepAt++
      const at = entry * table.stride
      if (table.bytes[at * 4 + PROTOCOL_BYTE] === 0) continue
      if (this.#services.servers[table.records[at + SERVER]!]?.gone === true) {
        this.endOrphan(this.#sweepFamily, entry)
        ended++
      }
    }
  }

  /** Ends a flow whose real server is gone: TCP is reported, and may go on with another server;
   * others end at once, and templates when they control nothing more. */
  endOrphan(family: number, entry: number): void {
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    const template = (table.bytes[at * 4 + FLAGS_BYTE]! & TEMPLATE) !== 0
    if (template && table.records[at + HELD]! > 0) return
    const isTcp = table.bytes[at * 4 + PROTOCOL_BYTE] === TCP
    // The entry of one that goes on may be another connection's by now.
    if (isTcp && this.#orphan(entry * 2 + family)) return
    this.#connections.release(family, entry, true)
  }
}
