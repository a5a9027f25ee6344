// What a packet does to its connection: next state, later deadline, counters, and for TCP the
// numbers a reset would need.
//
// TCP heads, per direction: the last acknowledgement sent, and the end of the sequence space sent
// so far. What one end has sent and we have passed on is what the other end expects next, so a
// reset to the client carries the server's sequence end, and the other way round (RFC 9293 section
// 3.5.3; RFC 5961 section 3.2 wants the number exact).

import { sequenceBefore, TCP_FIN, TCP_SYN } from '../wire/tcp.ts'
import {
  type ConnTable,
  DEADLINE,
  FLAGS_BYTE,
  HEADS,
  NO_OUTPUT,
  PACKETS_BYTE,
  PROBING,
  PROTOCOL_BYTE,
  SERVER,
  STATE_BYTE,
} from './conn-table.ts'
import type { Connections } from './connections.ts'
import { TCP, UDP } from './flow.ts'
import { PROBE_INTERVAL_TICKS } from './limits.ts'
import { FORWARD_ONLY, nextIndex } from './proto.ts'
import {
  SCTP_ESTABLISHED,
  SCTP_EVENTS,
  SCTP_MACHINE,
  SCTP_STATES,
  sctpEvent,
} from './proto-sctp.ts'
import {
  TCP_CLOSE,
  TCP_ESTABLISHED,
  TCP_EVENT_NONE,
  TCP_EVENTS,
  TCP_MACHINE,
  TCP_STATES,
  TCP_SYN_RECV,
  tcpEvent,
} from './proto-tcp.ts'
import type { RealServer } from './service.ts'
import type { ServiceTable } from './service-table.ts'
import { IN_BYTES, IN_PACKETS, STATISTICS_COLUMNS } from './statistics.ts'
import type { Timeouts } from './timeouts.ts'

/** The packet counter of a connection stops here. While PROBING is set it holds instead PROBE_BASE
 * + 4 * probes sent + one bit per direction that has answered; afterwards it stays
 * "many packets". */
const PROBE_BASE = 240
const PROBES_MAX = 3

const TCP_SEQUENCE = 4
const TCP_ACKNOWLEDGEMENT = 8
const TCP_SIZE = 12
const TCP_FLAGS = 13

/** Words of HEADS: two per direction. */
export const HEAD_ACKNOWLEDGEMENT = 0
export const HEAD_SEQUENCE_END = 1

/** True for a TCP connection of which only the client has said anything: its SYN. */
export function isUnanswered(table: ConnTable, entry: number): boolean {
  const at = entry * table.stride
  return (
    table.bytes[at * 4 + STATE_BYTE] === TCP_SYN_RECV &&
    table.bytes[at * 4 + PROTOCOL_BYTE] === TCP &&
    table.records[at + HEADS + 2 + HEAD_SEQUENCE_END] === 0
  )
}

export class Tracker {
  readonly #connections: Connections
  readonly #services: ServiceTable
  readonly timeouts: Timeouts
  /** The TCP table in force: normal or secure. */
  tcpTable: Uint8Array = TCP_MACHINE.table

  constructor(connections: Connections, services: ServiceTable, timeouts: Timeouts) {
    this.#connections = connections
    this.#services = services
    this.timeouts = timeouts
  }

  /** Applies one packet, or a super-packet that stands for `packets` of them. */
  track(
    family: number,
    entry: number,
    direction: number,
    view: DataView,
    l4At: number,
    end: number,
    packets: number,
    bytes: number,
    tick: number,
  ): void {
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    const byteAt = at * 4
    const protocol = table.bytes[byteAt + PROTOCOL_BYTE]!
    const state = table.bytes[byteAt + STATE_BYTE]!
    let next = state
    if (protocol === TCP) {
      const flags = view.getUint8(l4At + TCP_FLAGS)
      const event = tcpEvent(flags)
      const side = this.#side(table, byteAt, direction)
      next =
        event === TCP_EVENT_NONE
          ? TCP_CLOSE
          : this.tcpTable[nextIndex(side, event, state, TCP_EVENTS, TCP_STATES)]!
      this.#noteHead(table, at, direction, view, l4At, end, flags)
    } else if (protocol !== UDP) {
      const event = sctpEvent(view, l4At, end)
      const side = this.#side(table, byteAt, direction)
      if (event >= 0) {
        next = SCTP_MACHINE.table[nextIndex(side, event, state, SCTP_EVENTS, SCTP_STATES)]!
      }
    }
    if (next !== state) {
      this.#connections.setState(family, entry, next)
      const established = protocol === TCP ? TCP_ESTABLISHED : SCTP_ESTABLISHED
      this.#connections.setActive(family, entry, next === established)
      if (next === established) this.#connections.assure(family, entry)
    } else if (protocol === UDP && direction === 1) this.#connections.assure(family, entry)
    if (
      direction === 0 &&
      table.bytes[byteAt + PACKETS_BYTE]! < PROBE_BASE &&
      (table.bytes[byteAt + FLAGS_BYTE]! & PROBING) === 0
    ) {
      table.bytes[byteAt + PACKETS_BYTE] = Math.min(
        table.bytes[byteAt + PACKETS_BYTE]! + packets,
        PROBE_BASE,
      )
    }
    const server = this.#services.servers[table.records[at + SERVER]!]
    if (next !== state || !this.#stillProbing(table, byteAt, direction)) {
      this.#refresh(table, family, entry, this.timeouts.forServer(protocol, next, server), tick)
    }
    if (server !== null && server !== undefined) this.#count(server, direction, packets, bytes)
  }

  /** Begins or goes on probing an established TCP connection that is due. Returns false when it has
   * been probed often enough without both ends answering. */
  probe(family: number, entry: number, tick: number): boolean {
    const table = this.#connections.tables[family]!
    const byteAt = entry * table.stride * 4
    const flags = table.bytes[byteAt + FLAGS_BYTE]!
    const probing = (flags & PROBING) !== 0
    const probes = probing ? (table.bytes[byteAt + PACKETS_BYTE]! - PROBE_BASE) >> 2 : 0
    if (probes >= PROBES_MAX) return false
    const answered = probing ? table.bytes[byteAt + PACKETS_BYTE]! & 3 : 0
    table.bytes[byteAt + FLAGS_BYTE] = flags | PROBING
    table.bytes[byteAt + PACKETS_BYTE] = PROBE_BASE + (probes + 1) * 4 + answered
    table.records[entry * table.stride + DEADLINE] = tick + PROBE_INTERVAL_TICKS
    return true
  }

  /** Notes that an end under probing has spoken. True while the other one has not. */
  #stillProbing(table: ConnTable, byteAt: number, direction: number): boolean {
    if ((table.bytes[byteAt + FLAGS_BYTE]! & PROBING) === 0) return false
    const value = table.bytes[byteAt + PACKETS_BYTE]! | (1 << direction)
    table.bytes[byteAt + PACKETS_BYTE] = value
    return (value & 3) !== 3
  }

  /** Statistics and timer of a packet without L4 header: a later fragment. */
  trackFragment(
    family: number,
    entry: number,
    direction: number,
    packets: number,
    bytes: number,
    tick: number,
  ): void {
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    const protocol = table.bytes[at * 4 + PROTOCOL_BYTE]!
    const state = table.bytes[at * 4 + STATE_BYTE]!
    const server = this.#services.servers[table.records[at + SERVER]!]
    this.#refresh(table, family, entry, this.timeouts.forServer(protocol, state, server), tick)
    if (server !== null && server !== undefined) this.#count(server, direction, packets, bytes)
  }

  /** Which block of the state table applies; a first reply ends the "only" one. */
  #side(table: ConnTable, byteAt: number, direction: number): number {
    const flags = table.bytes[byteAt + FLAGS_BYTE]!
    if ((flags & NO_OUTPUT) === 0) return direction
    if (direction === 0) return FORWARD_ONLY
    table.bytes[byteAt + FLAGS_BYTE] = flags & ~NO_OUTPUT
    return direction
  }

  #refresh(table: ConnTable, family: number, entry: number, timeout: number, tick: number): void {
    const at = entry * table.stride
    const flagsAt = at * 4 + FLAGS_BYTE
    table.bytes[flagsAt] = table.bytes[flagsAt]! & ~PROBING
    // One more tick, because the present one has begun already.
    const deadline = tick + timeout + 1
    const before = table.records[at + DEADLINE]!
    if (deadline === before) return
    if (deadline > before) {
      table.records[at + DEADLINE] = deadline
      return
    }
    const wheel = this.#connections.wheels[family]!
    wheel.remove(entry)
    table.records[at + DEADLINE] = deadline
    wheel.file(entry)
  }

  #noteHead(
    table: ConnTable,
    at: number,
    direction: number,
    view: DataView,
    l4At: number,
    end: number,
    flags: number,
  ): void {
    const head = at + HEADS + 2 * direction
    const records = table.records
    records[head + HEAD_ACKNOWLEDGEMENT] = view.getInt32(l4At + TCP_ACKNOWLEDGEMENT)
    const size = (view.getUint8(l4At + TCP_SIZE) >> 4) * 4
    const controls = ((flags & TCP_SYN) !== 0 ? 1 : 0) + ((flags & TCP_FIN) !== 0 ? 1 : 0)
    const sequenceEnd = (view.getInt32(l4At + TCP_SEQUENCE) + (end - l4At - size) + controls) | 0
    const before = records[head + HEAD_SEQUENCE_END]!
    // A retransmission must not take the end back; 0 is "nothing seen".
    if (before === 0 || (flags & TCP_SYN) !== 0 || sequenceBefore(before, sequenceEnd)) {
      records[head + HEAD_SEQUENCE_END] = sequenceEnd
    }
  }

  #count(server: RealServer, direction: number, packets: number, bytes: number): void {
    const values = this.#services.statistics.values
    const column = direction === 0 ? IN_PACKETS : IN_PACKETS + 1
    addBoth(values, column, packets, bytes)
    addBoth(values, server.pool.service.row * STATISTICS_COLUMNS + column, packets, bytes)
    addBoth(values, server.row * STATISTICS_COLUMNS + column, packets, bytes)
  }
}

/** Adds to a packet counter and to the byte counter of the same direction. */
function addBoth(values: Float64Array, at: number, packets: number, bytes: number): void {
  values[at] = values[at]! + packets
  values[at + IN_BYTES - IN_PACKETS] = values[at + IN_BYTES - IN_PACKETS]! + bytes
}
