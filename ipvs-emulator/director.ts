// The face that the packet loop sees. See DirectorOptions and the methods' comments; the tables behind it
// are conn-table.ts (flows), service-table.ts (services), sched-*.ts (choice) and nat.ts (rewriting).

import type { BalancerConfig } from './config.ts'

/** Direction of a packet within its flow. */
export const FORWARD = 0
export const REPLY = 1

export interface DirectorOptions {
  /** Clock reading at creation; every later time must not be smaller. Milliseconds, any origin. */
  readonly nowMs: number
  /** Uniform 32-bit unsigned numbers: hash keys, random choice, port search. */
  readonly random: () => number
  /** Limit of connections per address family, default CONNECTIONS_DEFAULT. */
  readonly connectionsMax?: number
  /** A TCP flow lost its real server: send a RST to both ends (resetHeads gives the numbers), the entry is
   * gone when the call returns. */
  readonly orphan?: (connection: number) => void
  /** Room for counters that others read while the loop runs (a view of a SharedArrayBuffer);
   * STATISTICS_COLUMNS per row. Default: private memory. */
  readonly statistics?: Float64Array
}

// A connection handle is a non-negative integer, valid until the entry expires (at the earliest in the
// next advance(), apply(), schedule() or insertTracked()).
export interface Director {
  /** Direction found by the last lookup() or relatedIcmp(): FORWARD or REPLY. */
  readonly direction: number
  /** Refusals by verdict: refused[-verdict]. */
  readonly refused: Float64Array
  /** Connections held. */
  readonly connectionCount: number

  /** Replaces services and real servers; keeps what kept its key. Throws ConfigError, changing nothing. */
  apply(config: BalancerConfig, nowMs: number): void
  /** Index of a service by its key, -1 when there is none. Stable while the key stays. */
  serviceIndex(key: string): number
  /** Service for a packet: by mark, then exact (protocol, address, port), then port 0. -1 = none. */
  findService(
    zone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    mark: number,
  ): number

  /** Connection of a packet seen in `zone`, or -1; sets `direction`. Fragments other than the first are
   * found by their datagram's first fragment. */
  lookup(
    zone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
  ): number
  /** Chooses a real server and makes a connection for a packet that lookup() did not find. Returns the
   * connection or a verdict (verdict.ts). `masquerade` true also rewrites the client's address to the
   * service's masquerade address (hairpin flows get that by themselves). */
  schedule(
    zone: number,
    service: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    nowMs: number,
    masquerade: boolean,
  ): number
  /** Remembers a flow without rewriting it: forward as in this packet in `zone`, replies in `replyZone`.
   * Returns the connection (existing if there is one) or a verdict. */
  insertTracked(
    zone: number,
    replyZone: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    protocol: number,
    end: number,
    nowMs: number,
  ): number
  /** Rewrites addresses, ports and checksums in place. `partial`: the L4 checksum field holds only the
   * pseudo-header sum (virtio NEEDS_CSUM). */
  translate(
    connection: number,
    direction: number,
    view: DataView,
    ipAt: number,
    l4At: number,
    end: number,
    partial: boolean,
  ): void
  /** Runs the state machine, refreshes the timer, counts. `bytes` as the service should count them. */
  track(
    connection: number,
    direction: number,
    view: DataView,
    l4At: number,
    end: number,
    packets: number,
    bytes: number,
    nowMs: number,
  ): void
  /** ICMP error about a flow: rewrites outer and embedded packet. Returns connection or -1, sets direction. */
  relatedIcmp(zone: number, view: DataView, ipAt: number, icmpAt: number, end: number): number
  /** Expires what is due, at most `budget` entries. Returns when to call again (ms), -1 = nothing to do. */
  advance(nowMs: number, budget: number): number

  /** A number the engine keeps with each connection (out port, peer); 0 at first. */
  data(connection: number): number
  setData(connection: number, value: number): void
  /** Index of the real server, -1 for tracked flows. */
  realServerOf(connection: number): number
  /** Index of the service, -1 for tracked flows. */
  serviceOf(connection: number): number
}
