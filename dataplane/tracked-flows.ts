// What becomes of the flows through the mesh that other nodes balance, and that are noted here for
// the sake of their replies (balance.ts, track()). The balancer's own flows end with their real
// server; these have none, and when the endpoint that they go to leaves this node, nobody is left
// to say that they are over. So after a swap that took an endpoint away all flows are looked at,
// some in each turn of the loop, and those to nobody end.

import type { Director } from '../ipvs-emulator/director.ts'
import { type Flow, makeFlow } from '../ipvs-emulator/flow.ts'
import { type CompiledTables, NONE } from './compiled.ts'
import { EXPIRY_BUDGET } from './engine-limits.ts'
import type { Topology } from './topology.ts'

/** First number of a connection. */
const FIRST = 2

export class TrackedFlows {
  private readonly director: Director
  private readonly topology: Topology
  /** Addresses of the endpoints that are here, with the zone of their network. */
  private here: ReadonlySet<string> = new Set()
  /** The connection that the walk comes to next, -1 = there is no walk. */
  private next = -1
  private readonly flow: Flow = makeFlow()

  constructor(director: Director, topology: Topology) {
    this.director = director
    this.topology = topology
  }

  /** Takes over the endpoints of new tables, which the topology has. */
  swap(tables: CompiledTables): void {
    const zones = tables.networks.map(({ name }) => this.topology.networkIds.find(name) + 1)
    const here = new Set<string>()
    for (const { peer, network, addresses } of tables.endpoints) {
      if (peer !== NONE) continue
      for (const address of addresses) here.add(placeOf(zones[network]!, wordsOf(address)))
    }
    for (const place of this.here) if (!here.has(place)) this.next = FIRST
    this.here = here
  }

  /** Flows have come from elsewhere: they are looked at, too. */
  look(): void {
    this.next = FIRST
  }

  /** Goes on with the walk, if there is one. True while it is not at its end. */
  walk(): boolean {
    if (this.next < 0) return false
    const { director, flow } = this
    const { connections } = director
    const [four, six] = connections.tables
    const end = 2 * Math.max(four.high, six.high)
    const stop = Math.min(this.next + EXPIRY_BUDGET, end)
    for (let connection = this.next; connection < stop; connection++) {
      if (!director.holds(connection) || director.realServerOf(connection) >= 0) continue
      connections.readFlow(flow, connection & 1, connection >>> 1)
      const words = flow.target.subarray(0, (connection & 1) === 0 ? 1 : 4)
      if (!this.here.has(placeOf(flow.replyZone, words))) director.end(connection)
    }
    this.next = stop < end ? stop : -1
    return this.next >= 0
  }
}

function wordsOf({ bytes }: { readonly bytes: Uint8Array }): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => view.getInt32(4 * i))
}

function placeOf(zone: number, words: Int32Array): string {
  return `${zone} ${words.join(' ')}`
}
