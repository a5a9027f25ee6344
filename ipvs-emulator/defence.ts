// Defences against floods, as in IPVS (ip_vs_ctl.c update_defense_level(), ip_vs_conn.c
// ip_vs_random_dropentry()): while room is short, connections that never came to anything are
// dropped early, some new ones are refused, and TCP uses the table that believes no forged ACK.
//
// Where the kernel looks at free memory, this looks at free entries of the connection table:
// "short" means that less than an eighth is left. Each switch is 0 off, 1 on when short (2 while it
// is), 3 always on. Whatever the switches say, a full table makes room by ending half-open
// connections (connections.ts).

import {
  CONTROLLER,
  DEADLINE,
  FLAGS_BYTE,
  PACKETS_BYTE,
  PROTOCOL_BYTE,
  SERVER,
  STATE_BYTE,
  TEMPLATE,
} from './conn-table.ts'
import type { Connections } from './connections.ts'
import { SCTP, TCP } from './flow.ts'
import {
  DROP_ENTRY_SHARE,
  DROP_ENTRY_SLICE,
  DROP_ENTRY_SLICE_DROPS,
  SHORT_SHARE,
} from './limits.ts'
import { SCTP_ESTABLISHED, SCTP_INIT, SCTP_INIT1 } from './proto-sctp.ts'
import { TCP_ESTABLISHED, TCP_SYN_RECV, TCP_SYNACK } from './proto-tcp.ts'
import type { ServiceTable } from './service-table.ts'
import type { Settings } from './settings.ts'
import { type Timeouts, ticksOf } from './timeouts.ts'

const ALWAYS = 3
const IDLE_TICKS: number = ticksOf(60)
/** A connection with more packets than this is no flood's. */
const PACKETS_MAX = 8

/** Entries below which room is short, and entries left, of the fuller of the two tables. */
function room(connections: Connections): { threshold: number; left: number } {
  const [four, six] = connections.tables
  const fuller = four.count >= six.count ? four : six
  return { threshold: fuller.capacity / SHORT_SHARE, left: fuller.capacity - fuller.count }
}

/** Every how many-th new connection drop_packet drops; 0 = none. */
export function dropRate(settings: Settings, connections: Connections): number {
  if (settings.dropPacket === 0 || settings.dropPacket === 1) return 0
  if (settings.dropPacket === ALWAYS) return settings.amDropRate
  const { threshold, left } = room(connections)
  return left >= threshold ? 0 : Math.max(Math.floor(threshold / (threshold - left)), 1)
}

export class Defence {
  readonly #settings: Settings
  readonly #connections: Connections
  readonly #services: ServiceTable
  readonly #timeouts: Timeouts
  readonly #random: () => number
  /** Candidates still to pass by until one is dropped, by number of packets. */
  readonly #countdown: Int32Array = new Int32Array(PACKETS_MAX + 1)
  /** Entries of the present second's share still to be looked at, and where. */
  readonly #left: [number, number] = [0, 0]
  readonly #at: [number, number] = [1, 1]
  /** Connections dropped by drop_entry. */
  dropped = 0

  constructor(
    settings: Settings,
    connections: Connections,
    services: ServiceTable,
    timeouts: Timeouts,
    random: () => number,
  ) {
    this.#settings = settings
    this.#connections = connections
    this.#services = services
    this.#timeouts = timeouts
    this.#random = random
  }

  /** To be called each second: turns the automatic switches and starts drop_entry's look-round. */
  second(): void {
    const { threshold, left } = room(this.#connections)
    const short = left < threshold
    const settings = this.#settings
    settings.dropEntry = turned(settings.dropEntry, short)
    settings.dropPacket = turned(settings.dropPacket, short)
    settings.secureTcp = turned(settings.secureTcp, short)
    if (settings.dropEntry < 2) return
    for (let family = 0; family < 2; family++) {
      const table = this.#connections.tables[family]!
      this.#left[family] = Math.ceil((table.high - 1) / DROP_ENTRY_SHARE)
      if (table.high > 1) this.#at[family] = 1 + (this.#random() % (table.high - 1))
    }
  }

  /** True while any switch is on, so that second() must be called. */
  get armed(): boolean {
    const { dropEntry, dropPacket, secureTcp } = this.#settings
    return dropEntry + dropPacket + secureTcp > 0
  }

  /** True while TCP must use the secure table. */
  get secure(): boolean {
    return this.#settings.secureTcp >= 2
  }

  /** Does one slice of the look-round. True when it is over. */
  work(tick: number): boolean {
    const droppedMax = this.dropped + DROP_ENTRY_SLICE_DROPS
    for (let family = 0; family < 2; family++) {
      for (let i = 0; i < DROP_ENTRY_SLICE && this.#left[family]! > 0; i++) {
        if (this.dropped >= droppedMax) return false
        const table = this.#connections.tables[family]!
        const entry = this.#at[family]!
        this.#at[family] = entry + 1 >= table.high ? 1 : entry + 1
        this.#left[family]!--
        if (this.#condemned(family, entry, tick)) this.#drop(family, entry, tick)
      }
    }
    return this.#left[0] === 0 && this.#left[1] === 0
  }

  #condemned(family: number, entry: number, tick: number): boolean {
    const table = this.#connections.tables[family]!
    const byteAt = entry * table.stride * 4
    const protocol = table.bytes[byteAt + PROTOCOL_BYTE]!
    if (protocol === 0) return false
    if ((table.bytes[byteAt + FLAGS_BYTE]! & TEMPLATE) !== 0) {
      return this.#connections.isLooseTemplate(family, entry)
    }
    const state = table.bytes[byteAt + STATE_BYTE]!
    if (protocol === TCP) {
      if (state === TCP_SYN_RECV || state === TCP_SYNACK) return true
      if (state !== TCP_ESTABLISHED) return false
    } else if (protocol === SCTP) {
      if (state === SCTP_INIT1 || state === SCTP_INIT) return true
      if (state !== SCTP_ESTABLISHED) return false
    }
    return this.#idleAndYoung(family, entry, protocol, state, tick)
  }

  /** todrop_entry(): idle for a minute and of few packets; the fewer, the likelier. */
  #idleAndYoung(
    family: number,
    entry: number,
    protocol: number,
    state: number,
    tick: number,
  ): boolean {
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    const server = this.#services.servers[table.records[at + SERVER]!]
    const timeout = this.#timeouts.forServer(protocol, state, server)
    const refreshed = table.records[at + DEADLINE]! - timeout
    if (tick - refreshed < IDLE_TICKS) return false
    const packets = table.bytes[at * 4 + PACKETS_BYTE]!
    if (packets === 0 || packets > PACKETS_MAX) return false
    this.#countdown[packets] = this.#countdown[packets]! - 1
    if (this.#countdown[packets]! > 0) return false
    this.#countdown[packets] = packets
    return true
  }

  #drop(family: number, entry: number, tick: number): void {
    const table = this.#connections.tables[family]!
    const controller = table.records[entry * table.stride + CONTROLLER]!
    this.#connections.release(family, entry, true)
    this.dropped++
    if (controller !== 0 && this.#connections.isLooseTemplate(family, controller)) {
      this.#connections.refile(family, controller, tick)
    }
  }
}

function turned(value: number, short: boolean): number {
  return value === 1 || value === 2 ? (short ? 2 : 1) : value
}
