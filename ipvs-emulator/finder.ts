// Which connection does this packet belong to? By its own addresses and ports, by those of the
// packet that an ICMP error quotes, or, for a fragment behind the first, by its datagram's first
// fragment; and whether the connection found may still serve it.
//
// A table of millions of connections lies in main memory, and a look-up waits for it twice: for a
// slot of the index, then for the record. A caller with several packets at hand announces them
// (expect()) and has all their memory loaded at once (load()), so that the waits overlap.

import { opensTcp } from '../wire/tcp.ts'
import {
  ADDRESSES,
  CONTROLLER,
  type ConnTable,
  FLAGS_BYTE,
  NO_OUTPUT,
  PORTS,
  PROTOCOL_BYTE,
  REPLY_PORTS,
  REWRITES,
  SERVER,
  STATE_BYTE,
} from './conn-table.ts'
import type { Connections } from './connections.ts'
import { FORWARD, IPV4, IPV6, SCTP, TCP, UDP } from './flow.ts'
import type { Fragments } from './fragments.ts'
import { rewriteIcmpError } from './icmp-nat.ts'
import { EXPECT_MAX } from './limits.ts'
import { isLaterFragment } from './packet.ts'
import { CHUNK_INIT, SCTP_CLOSED, SCTP_HEADER_SIZE } from './proto-sctp.ts'
import { TCP_CLOSE, TCP_FIN_WAIT, TCP_TIME_WAIT } from './proto-tcp.ts'
import { type Quoted, readQuoted } from './quoted.ts'
import type { ServiceTable } from './service-table.ts'
import type { Settings } from './settings.ts'
import { isUnanswered } from './tracker.ts'

const TCP_SIZE_MIN = 20
const UDP_SIZE = 8
const IPV4_FRAGMENT = 6
/** More fragments, or an offset. */
const IPV4_ANY_FRAGMENT = 0x3fff
const IPV6_HEADER_SIZE = 40

export class Finder {
  /** Direction found by the last lookup() or relatedIcmp(). */
  direction: number = FORWARD
  readonly #connections: Connections
  readonly #services: ServiceTable
  readonly #settings: Settings
  readonly #fragments: Fragments
  /** Called for a flow whose real server is gone; it must end it. */
  readonly #orphan: (family: number, entry: number) => void
  readonly #quoted: Quoted = { l4At: 0, protocol: 0 }
  /** Source and target of an IPv6 packet. */
  readonly #addresses: Int32Array = new Int32Array(8)
  /** Hashes of announced packets, per family. */
  readonly #hashes: readonly Int32Array[] = [new Int32Array(EXPECT_MAX), new Int32Array(EXPECT_MAX)]
  readonly #expected: Int32Array = new Int32Array(2)
  #loaded = 0

  constructor(
    connections: Connections,
    services: ServiceTable,
    settings: Settings,
    fragments: Fragments,
    orphan: (family: number, entry: number) => void,
  ) {
    this.#connections = connections
    this.#services = services
    this.#settings = settings
    this.#fragments = fragments
    this.#orphan = orphan
  }

  /** Director.lookup(). */
  lookup(
    zone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    tick: number,
  ): number {
    const ipv4 = view.getUint8(ipAt) >> 4 === 4
    // Whole IPv4 packets and IPv6 packets without extension headers are the rule.
    const plain = ipv4
      ? (view.getUint16(ipAt + IPV4_FRAGMENT) & IPV4_ANY_FRAGMENT) === 0
      : l4At - ipAt === IPV6_HEADER_SIZE
    if (!plain && isLaterFragment(view, ipAt, l4At)) {
      return this.#lookupFragment(zone, view, ipAt, l4At, protocol, tick)
    }
    if (end - l4At < (protocol === TCP ? TCP_SIZE_MIN : UDP_SIZE)) return -1
    const tables = this.#connections.tables
    const ports = view.getInt32(l4At)
    let reference: number
    if (ipv4) {
      const source = view.getInt32(ipAt + 12)
      reference = tables[0].find4(zone, protocol, source, view.getInt32(ipAt + 16), ports)
    } else {
      this.#readAddresses(view, ipAt + 8, ipAt + 24)
      reference = tables[1].find6(zone, protocol, this.#addresses, ports)
    }
    if (reference < 0) return -1
    const family = ipv4 ? IPV4 : IPV6
    const entry = reference >>> 1
    this.direction = reference & 1
    if (!this.#usable(family, entry, view, l4At, end, protocol)) return -1
    const connection = entry * 2 + family
    if (!plain) {
      const direction = this.direction
      this.#fragments.noteFirst(zone, protocol, view, ipAt, l4At, connection, direction, tick)
    }
    return connection
  }

  /** Director.expect(). */
  expect(zone: number, view: DataView, ipAt: number, l4At: number, protocol: number): void {
    const tables = this.#connections.tables
    const ipv4 = view.getUint8(ipAt) >> 4 === 4
    const family = ipv4 ? IPV4 : IPV6
    const place = this.#expected[family]!
    if (place === EXPECT_MAX) return
    const ports = view.getInt32(l4At)
    let hash: number
    if (ipv4) {
      const source = view.getInt32(ipAt + 12)
      hash = tables[0].hash4(zone, protocol, source, view.getInt32(ipAt + 16), ports)
    } else {
      this.#readAddresses(view, ipAt + 8, ipAt + 24)
      hash = tables[1].hash6(zone, protocol, this.#addresses, ports)
    }
    this.#hashes[family]![place] = hash
    this.#expected[family] = place + 1
  }

  /** Director.load(). */
  load(): void {
    for (let family = IPV4; family <= IPV6; family++) {
      const count = this.#expected[family]!
      if (count === 0) continue
      const table = this.#connections.tables[family]!
      // Kept, so that the loads are not optimized away.
      this.#loaded = table.prefetch(this.#hashes[family]!, count)
      this.#expected[family] = 0
    }
  }

  /** What the last load() read; it means nothing. */
  get loaded(): number {
    return this.#loaded
  }

  /** Director.relatedIcmp(). */
  relatedIcmp(zone: number, view: DataView, ipAt: number, icmpAt: number, end: number): number {
    const quotedAt = icmpAt + 8
    const quoted = this.#quoted
    if (!readQuoted(quoted, view, quotedAt, end)) return -1
    const { l4At, protocol } = quoted
    // What it quotes may say anything: templates have protocol numbers, too.
    if (protocol !== TCP && protocol !== UDP && protocol !== SCTP) return -1
    const tables = this.#connections.tables
    const ports = view.getInt32(l4At)
    const swapped = (ports >>> 16) | (ports << 16)
    const ipv4 = view.getUint8(ipAt) >> 4 === 4
    if ((view.getUint8(quotedAt) >> 4 === 4) !== ipv4) return -1
    let reference: number
    if (ipv4) {
      const source = view.getInt32(quotedAt + 16)
      reference = tables[0].find4(zone, protocol, source, view.getInt32(quotedAt + 12), swapped)
    } else {
      this.#readAddresses(view, quotedAt + 24, quotedAt + 8)
      reference = tables[1].find6(zone, protocol, this.#addresses, swapped)
    }
    if (reference < 0) return -1
    const family = ipv4 ? IPV4 : IPV6
    const entry = reference >>> 1
    const table = tables[family]
    this.direction = reference & 1
    if ((table.bytes[entry * table.stride * 4 + FLAGS_BYTE]! & REWRITES) !== 0) {
      rewriteIcmpError(table, entry, this.direction, protocol, view, ipAt, icmpAt, l4At, end)
    }
    return entry * 2 + family
  }

  #readAddresses(view: DataView, sourceAt: number, targetAt: number): void {
    const addresses = this.#addresses
    for (let i = 0; i < 4; i++) {
      addresses[i] = view.getInt32(sourceAt + 4 * i)
      addresses[4 + i] = view.getInt32(targetAt + 4 * i)
    }
  }

  /** False when the connection found must not serve this packet; it has then been ended. */
  #usable(
    family: number,
    entry: number,
    view: DataView,
    l4At: number,
    end: number,
    protocol: number,
  ): boolean {
    const table = this.#connections.tables[family]!
    const at = entry * table.stride
    if (this.#services.goneCount > 0) {
      const server = this.#services.servers[table.records[at + SERVER]!]
      if (server?.gone === true) {
        if (this.#isStranded(family, entry) && opens(view, l4At, end, protocol)) {
          this.#connections.release(family, entry, true)
        } else this.#orphan(family, entry)
        return false
      }
    }
    if (this.direction !== FORWARD || protocol === UDP) return true
    const over = this.#isOver(table, at, protocol)
    if (!over && !this.#settings.expireNodestConn && !this.#isStranded(family, entry)) return true
    if (!opens(view, l4At, end, protocol)) return true
    if (!over && this.#services.servers[table.records[at + SERVER]!]?.weight !== 0) return true
    // A copy of the SYN that comes late begins nothing, and without the shift what else comes late
    // would mean nothing to its receiver.
    const { proxyHeaders } = this.#connections
    const connection = entry * 2 + family
    if (proxyHeaders.count !== 0 && proxyHeaders.isBegunBy(connection, view, l4At)) return true
    this.#connections.release(family, entry, true)
    return false
  }

  /** True for a connection whose server has not answered: once that takes no more new ones, a SYN
   * that the client repeats is better scheduled afresh, where the service may try others. A
   * persistent client's connection stays where it was. */
  #isStranded(family: number, entry: number): boolean {
    const table = this.#connections.tables[family]!
    if (this.direction !== FORWARD || !isUnanswered(table, entry)) return false
    const at = entry * table.stride
    if (table.records[at + CONTROLLER] !== 0) return false
    const server = this.#services.servers[table.records[at + SERVER]!]
    return server?.pool.service.config.retryRefused === true
  }

  /** True when a packet that opens a connection is to be scheduled afresh rather than given to
   * this one (is_new_conn_expected() and conn_reuse_mode). A persistent client's connection stays
   * where it was. */
  #isOver(table: ConnTable, at: number, protocol: number): boolean {
    const mode = this.#settings.connReuseMode
    if (mode === 0) return false
    const state = table.bytes[at * 4 + STATE_BYTE]!
    if (protocol === TCP) {
      const unanswered =
        state === TCP_FIN_WAIT &&
        (mode & 2) !== 0 &&
        (table.bytes[at * 4 + FLAGS_BYTE]! & NO_OUTPUT) !== 0
      if (state !== TCP_TIME_WAIT && state !== TCP_CLOSE && !unanswered) return false
    } else if (protocol !== SCTP || state !== SCTP_CLOSED) return false
    return table.records[at + CONTROLLER] === 0
  }

  #lookupFragment(
    zone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    tick: number,
  ): number {
    const connection = this.#fragments.findLater(zone, protocol, view, ipAt, l4At, tick)
    if (connection < 0) return -1
    // The note may have outlived its connection, and the entry may serve another by now.
    const table = this.#connections.tables[connection & 1]!
    const at = (connection >>> 1) * table.stride
    this.direction = this.#fragments.direction
    const portsAt = at + (this.direction === FORWARD ? PORTS : REPLY_PORTS)
    const sourceAt = at + ADDRESSES + (this.direction === FORWARD ? 0 : 3 * table.words)
    if (
      table.bytes[at * 4 + PROTOCOL_BYTE] !== protocol ||
      table.records[portsAt] !== this.#fragments.ports ||
      table.records[sourceAt] !== view.getInt32(ipAt + ((connection & 1) === IPV4 ? 12 : 8))
    )
      return -1
    return connection
  }
}

/** True for a packet by which a client opens a connection. */
function opens(view: DataView, l4At: number, end: number, protocol: number): boolean {
  if (protocol === TCP) return opensTcp(view, l4At)
  const chunk = l4At + SCTP_HEADER_SIZE
  return chunk + 4 <= end && view.getUint8(chunk) === CHUNK_INIT
}
