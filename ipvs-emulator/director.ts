// The face that the packet loop sees: one object per worker that knows which connection a packet
// belongs to, makes new ones, and rewrites packets between what the client sees and what the real
// server sees.
//
//   packet of a flow   lookup() -> translate() -> track()
//   first packet       findService(), or the caller knows -> schedule() -> translate() -> track()
//   ICMP error         relatedIcmp()
//   now and then       advance()
//
// What is behind it: finder.ts (whose packet), conn-table.ts (flows), connections.ts (their life),
// service-table.ts (services), opener.ts and sched-*.ts (new flows, and who gets them), nat.ts
// (rewriting), tracker.ts and proto-*.ts (states), timer-wheel.ts and janitor.ts (time).
//
// A zone is an isolated address space: flows of different zones never meet, equal addresses or not.
// A connection handle is a non-negative integer, valid until the connection ends, which happens
// only inside advance(), schedule(), insertTracked(), end(), and lookup() of that very flow.
//
// Nothing here allocates per packet. No method throws on account of a packet, but headers must have
// passed their checks (checkIpv4(), checkTcp() and so on). Bad configuration throws ConfigError.

import { type BalancerConfig, ConfigError } from './config.ts'
import {
  type ConnTable,
  DATA,
  FLAGS_BYTE,
  type OnLarge,
  PROTOCOL_BYTE,
  REWRITES,
  SERVER,
  ZONES,
} from './conn-table.ts'
import { Connections } from './connections.ts'
import { Defence } from './defence.ts'
import { Finder } from './finder.ts'
import { FORWARD, IPV4, IPV6 } from './flow.ts'
import { Fragments } from './fragments.ts'
import { HeldSyns } from './held-syns.ts'
import { Janitor } from './janitor.ts'
import { CONNECTIONS_DEFAULT, CONNECTIONS_MAX, TICK_MS } from './limits.ts'
import { rewrite } from './nat.ts'
import { Opener } from './opener.ts'
import { isLaterFragment } from './packet.ts'
import type { ProxyHeaders } from './proxy-headers.ts'
import { writeProbe, writeReset } from './reset.ts'
import { ServiceTable } from './service-table.ts'
import { defaultSettings, type Settings } from './settings.ts'
import { Timeouts } from './timeouts.ts'
import { Tracker } from './tracker.ts'
import { VERDICT_NAMES } from './verdict.ts'

export { FORWARD, REPLY } from './flow.ts'

export interface DirectorOptions {
  /** Clock reading at creation; no later time may be smaller. Milliseconds, any origin. */
  readonly nowMs: number
  /** Uniform 32-bit unsigned numbers: hash keys, random choice, port search. */
  readonly random: () => number
  /** Limit of connections per address family, 1 to CONNECTIONS_MAX, default CONNECTIONS_DEFAULT. */
  readonly connectionsMax?: number
  /** A TCP flow has lost its real server: move it to another (retry()) and return true, or send a
   * reset to both ends (writeReset()) and return false. Then the connection is gone when the call
   * returns. The callee must not call the director otherwise but for reading. */
  readonly orphan?: (connection: number) => boolean
  /** An established TCP flow has been idle for its whole timeout: send a keep-alive probe to both
   * ends (writeProbe()). It is ended after a minute unless both answer. Not called for services
   * with idleSeconds; without this callback, idle flows simply end. */
  readonly probe?: (connection: number) => void
  /** Room for counters that others read while the loop runs (a view of a SharedArrayBuffer),
   * STATISTICS_COLUMNS per row. Default: private memory that grows. */
  readonly statistics?: Float64Array
  /** Room for the number of connections by state, STATE_COUNT_CELLS. Default: private. */
  readonly states?: Float64Array
  /** Told of the memory of tables that have become large: for huge pages. */
  readonly onLargeTable?: OnLarge
}

export class Director {
  /** Direction found by the last lookup() or relatedIcmp(). */
  direction: number = FORWARD
  /** Refusals by verdict: refused[-verdict]. */
  readonly refused: Float64Array = new Float64Array(VERDICT_NAMES.length)
  readonly settings: Settings = defaultSettings()
  readonly services: ServiceTable
  readonly connections: Connections
  readonly timeouts: Timeouts = new Timeouts()
  /** For the caller of retry() to keep SYNs in. */
  readonly heldSyns: HeldSyns = new HeldSyns()
  readonly #tracker: Tracker
  readonly #fragments: Fragments
  readonly #opener: Opener
  readonly defence: Defence
  readonly #finder: Finder
  readonly #janitor: Janitor
  readonly #startMs: number
  #tick = 0

  constructor(options: DirectorOptions) {
    this.#startMs = options.nowMs
    this.services = new ServiceTable(options.statistics, options.random)
    const capacity = options.connectionsMax ?? CONNECTIONS_DEFAULT
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > CONNECTIONS_MAX) {
      throw new ConfigError('connectionsMax', `${capacity} is not 1 to ${CONNECTIONS_MAX}`)
    }
    const { random, states, onLargeTable } = options
    this.connections = new Connections(capacity, this.services, random, states, onLargeTable)
    this.#tracker = new Tracker(this.connections, this.services, this.timeouts)
    this.#fragments = new Fragments(options.random)
    this.#opener = new Opener(this.connections, this.services, this.settings, options.random)
    this.defence = new Defence(
      this.settings,
      this.connections,
      this.services,
      this.timeouts,
      options.random,
    )
    this.#janitor = new Janitor(
      this.connections,
      this.services,
      this.#tracker,
      this.defence,
      options.orphan ?? (() => false),
      options.probe ?? null,
    )
    this.#finder = new Finder(
      this.connections,
      this.services,
      this.settings,
      this.#fragments,
      (family, entry) => this.#janitor.endOrphan(family, entry),
    )
  }

  /** Flows of services with proxyProtocol: judge() before track(), shiftForward() and shiftReply()
   * after translate(), unquote() after relatedIcmp(), due() now and then. */
  get proxyHeaders(): ProxyHeaders {
    return this.connections.proxyHeaders
  }

  /** Connections held, templates included. */
  get connectionCount(): number {
    return this.connections.count
  }

  /** Replaces services and real servers by `config`. What kept its key keeps connections,
   * statistics and scheduler state. Flows of real servers that went are ended by the next packet or
   * advance(). Throws ConfigError, changing nothing. */
  apply(config: BalancerConfig, nowMs: number): void {
    this.#setTime(nowMs)
    this.services.apply(config, this.#tick)
  }

  /** Index of a service by its key, -1 when there is none. Stable while the key
   * stays configured. */
  serviceIndex(key: string): number {
    return this.services.indexOf(key)
  }

  /** Service for a packet: by mark (0 = none), then exact (protocol, address, port), then port 0;
   * -1. */
  findService(
    zone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    mark: number,
  ): number {
    const marked = this.services.virtuals.byMark(mark)
    if (marked >= 0) return marked
    const virtuals = this.services.virtuals
    const port = view.getUint16(l4At + 2)
    if (view.getUint8(ipAt) >> 4 === 4) {
      return virtuals.find(zone, protocol, IPV4, view.getInt32(ipAt + 16), 0, 0, 0, port)
    }
    return virtuals.find(
      zone,
      protocol,
      IPV6,
      view.getInt32(ipAt + 24),
      view.getInt32(ipAt + 28),
      view.getInt32(ipAt + 32),
      view.getInt32(ipAt + 36),
      port,
    )
  }

  /** Connection of a packet seen in `zone`, or -1; sets `direction`. A fragment behind the first is
   * found through its first one. [ipAt, end) is the whole packet, `l4At` where its
   * payload begins. */
  lookup(
    zone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
  ): number {
    const finder = this.#finder
    const connection = finder.lookup(zone, view, ipAt, l4At, protocol, end, this.#tick)
    this.direction = finder.direction
    return connection
  }

  /** Announces a packet that lookup() will be asked about soon, at most EXPECT_MAX at a time (more
   * are ignored); not for fragments behind the first. For a caller that has several packets at
   * hand: after load() their look-ups find in the cache what they need. With a million connections
   * each would wait for main memory twice; so the waits overlap. */
  expect(zone: number, view: DataView, ipAt: number, l4At: number, protocol: number): void {
    this.#finder.expect(zone, view, ipAt, l4At, protocol)
  }

  /** Loads what the look-ups of the packets announced will read, and forgets them. */
  load(): void {
    this.#finder.load()
  }

  /** Chooses a real server and makes a connection for a packet that lookup() did not find. Returns
   * the connection or a verdict (verdict.ts). `masquerade` also rewrites the client's address, to
   * the service's masquerade address; flows of a client to itself (hairpin) get that
   * by themselves. */
  schedule(
    zone: number,
    serviceIndex: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    nowMs: number,
    masquerade: boolean,
  ): number {
    this.#setTime(nowMs)
    const tick = this.#tick
    const connection = this.#opener.schedule(
      zone,
      serviceIndex,
      view,
      ipAt,
      l4At,
      protocol,
      end,
      tick,
      masquerade,
    )
    if (connection < 0) return this.#refuse(connection)
    this.#fragments.noteFirst(zone, protocol, view, ipAt, l4At, connection, FORWARD, tick)
    return connection
  }

  /** Remembers a flow that another director balanced: forward as in this packet in `zone`, replies
   * in `replyZone`. Any packet may begin it. It is not rewritten; but where replies could not be
   * told from those to an open flow, a TCP SYN whose `zone` is another than `replyZone` gets a free
   * port of the client. Returns the connection (the existing one if there is one) or a verdict. */
  insertTracked(
    zone: number,
    replyZone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    nowMs: number,
  ): number {
    this.#setTime(nowMs)
    const tick = this.#tick
    const opener = this.#opener
    const connection = opener.track(zone, replyZone, view, ipAt, l4At, protocol, end, tick)
    if (connection < 0) return this.#refuse(connection)
    this.#fragments.noteFirst(zone, protocol, view, ipAt, l4At, connection, FORWARD, tick)
    return connection
  }

  /** Rewrites addresses, ports and checksums in place. `partial`: the L4 checksum field holds only
   * the pseudo-header sum (virtio NEEDS_CSUM). */
  translate(
    connection: number,
    direction: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    end: number,
    partial: boolean,
  ): void {
    const table = this.connections.tables[connection & 1]!
    const entry = connection >>> 1
    const byteAt = entry * table.stride * 4
    if ((table.bytes[byteAt + FLAGS_BYTE]! & REWRITES) === 0) return
    const protocol = table.bytes[byteAt + PROTOCOL_BYTE]!
    const later = isLaterFragment(view, ipAt, l4At)
    rewrite(table, entry, direction, protocol, view, ipAt, l4At, end, partial, later)
  }

  /** Runs the state machine, refreshes the timer, counts. A super-packet is one call with the
   * `packets` and `bytes` it stands for. May be called before or after translate(). */
  track(
    connection: number,
    direction: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    end: number,
    packets: number,
    bytes: number,
    nowMs: number,
  ): void {
    this.#setTime(nowMs)
    const entry = connection >>> 1
    const family = connection & 1
    if (isLaterFragment(view, ipAt, l4At)) {
      this.#tracker.trackFragment(family, entry, direction, packets, bytes, this.#tick)
    } else {
      const tick = this.#tick
      this.#tracker.track(family, entry, direction, view, l4At, end, packets, bytes, tick)
    }
  }

  /** ICMP error about a flow: rewrites the outer packet and the one it quotes. Returns the
   * connection, or -1 (then nothing was changed); `direction` is the way the error travels. */
  relatedIcmp(zone: number, view: DataView, ipAt: number, icmpAt: number, end: number): number {
    const finder = this.#finder
    const connection = finder.relatedIcmp(zone, view, ipAt, icmpAt, end)
    this.direction = finder.direction
    return connection
  }

  /** Ends what is due, looking at no more than about `budget` connections. Returns when to call
   * again on the clock of `nowMs` (`nowMs` itself when work is left), or -1 when nothing waits. */
  advance(nowMs: number, budget: number): number {
    this.#setTime(nowMs)
    const next = this.#janitor.advance(this.#tick, budget)
    return next < 0 ? -1 : Math.max(this.#startMs + next * TICK_MS, nowMs)
  }

  /** The director's present, on the clock of `nowMs`, to a tick. */
  get nowMs(): number {
    return this.#startMs + this.#tick * TICK_MS
  }

  /** Ends a connection now. */
  end(connection: number): void {
    this.connections.release(connection & 1, connection >>> 1, true)
  }

  /** Writes at `out` the reset that travels in `direction` of a TCP connection, a whole IP packet
   * as its receiver must see it. Returns its length, 40 or 60 bytes. */
  writeReset(connection: number, direction: number, view: DataView, out: number): number {
    const shift = direction === FORWARD ? this.proxyHeaders.shiftOf(connection) : 0
    return writeReset(this.#table(connection), connection >>> 1, direction, view, out, shift)
  }

  /** Writes at `out` the keep-alive probe that travels in `direction`. Returns its length, 40 or
   * 60. */
  writeProbe(connection: number, direction: number, view: DataView, out: number): number {
    const shift = direction === FORWARD ? this.proxyHeaders.shiftOf(connection) : 0
    return writeProbe(this.#table(connection), connection >>> 1, direction, view, out, shift)
  }

  /** To be asked when a real server answers a SYN with RST or an ICMP error, before track(), or
   * when it is gone before it has answered: makes a connection to another server in place of this
   * one and returns it, so that the caller can drop the refusal and send the SYN on: its own copy
   * (heldSyns) or the client's next. -1: the client must know. Only for services with retryRefused,
   * only before a server has spoken. */
  retry(connection: number, nowMs: number): number {
    this.#setTime(nowMs)
    return this.#opener.retry(connection, this.#tick)
  }

  /** A number that the engine keeps with each connection; 0 at first. */
  data(connection: number): number {
    const table = this.#table(connection)
    return table.records[(connection >>> 1) * table.stride + DATA]!
  }

  /** The connection whose number is the first >= `from` in use, -1 when there is none: to walk over
   * all. */
  nextConnection(from: number): number {
    const [four, six] = this.connections.tables
    for (
      let connection = Math.max(from, 2);
      connection >> 1 < Math.max(four.high, six.high);
      connection++
    ) {
      if (this.holds(connection)) return connection
    }
    return -1
  }

  /** True when `connection`, any number >= 2, is one in use. */
  holds(connection: number): boolean {
    const table = this.#table(connection)
    const entry = connection >>> 1
    return entry < table.high && table.bytes[entry * table.stride * 4 + PROTOCOL_BYTE] !== 0
  }

  /** Ticks from the director's present until `deadline`, a tick; negative when it is past. */
  ticksUntil(deadline: number): number {
    return deadline - this.#tick
  }

  /** The tick that comes `ticks` after the director's present. */
  tickIn(ticks: number): number {
    return this.#tick + ticks
  }

  setData(connection: number, value: number): void {
    const table = this.#table(connection)
    table.records[(connection >>> 1) * table.stride + DATA] = value
  }

  /** True when translate() changes the packets of this connection. */
  rewrites(connection: number): boolean {
    const table = this.#table(connection)
    return (table.bytes[(connection >>> 1) * table.stride * 4 + FLAGS_BYTE]! & REWRITES) !== 0
  }

  /** Index of the real server, -1 for tracked flows. */
  realServerOf(connection: number): number {
    const table = this.#table(connection)
    const index = table.records[(connection >>> 1) * table.stride + SERVER]!
    return index === 0 ? -1 : index
  }

  /** Index of the service, -1 for tracked flows. */
  serviceOf(connection: number): number {
    const server = this.services.servers[this.realServerOf(connection)]
    return server === null || server === undefined ? -1 : server.pool.service.index
  }

  /** Zone in which the client's packets are seen. */
  zoneOf(connection: number): number {
    const table = this.#table(connection)
    return table.records[(connection >>> 1) * table.stride + ZONES]! >>> 16
  }

  /** Key of a service by its index, "" when there is none. */
  serviceKey(service: number): string {
    return this.services.services[service]?.key ?? ''
  }

  /** Key of a real server by its index, "" when there is none. */
  realServerKey(server: number): string {
    return this.services.servers[server]?.key ?? ''
  }

  #table(connection: number): ConnTable {
    return this.connections.tables[connection & 1]!
  }

  #refuse(verdict: number): number {
    this.refused[-verdict] = this.refused[-verdict]! + 1
    return verdict
  }

  #setTime(nowMs: number): void {
    this.#tick = Math.floor((nowMs - this.#startMs) / TICK_MS)
  }
}
