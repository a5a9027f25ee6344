// What several schedulers share.

import type { RealServer } from './service.ts'

export function nothing(): void {}

/** Load of a server as lc, wlc, lblc, lblcr and twos see it: an active connection weighs 256
 * inactive ones (ip_vs_dest_conn_overhead()). */
export function overhead(server: RealServer): number {
  return server.active * 256 + server.inactive
}

/** The eligible server with the least overhead per weight, the first among equals; null without
 * any. */
export function leastOverheadPerWeight(servers: readonly RealServer[]): RealServer | null {
  let least: RealServer | null = null
  let leastOverhead = 0
  for (let i = 0; i < servers.length; i++) {
    const server = servers[i]!
    if (!server.eligible) continue
    const load = overhead(server)
    if (least === null || leastOverhead * server.weight > load * least.weight) {
      least = server
      leastOverhead = load
    }
  }
  return least
}

/** True when `server` has more active connections than its weight while another has less than half
 * of its own (is_overloaded() of lblc and lblcr). */
export function overloadedAgainst(server: RealServer, servers: readonly RealServer[]): boolean {
  if (server.active <= server.weight) return false
  for (let i = 0; i < servers.length; i++) {
    if (servers[i]!.active * 2 < servers[i]!.weight) return true
  }
  return false
}
