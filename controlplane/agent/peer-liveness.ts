// Which peers answer through the tunnel: from two readings of the data plane's counters of packets,
// what was sent to a peer and what came from it. A peer that was sent something and has sent
// nothing for SILENT_MS is silent; one that sent something since then is heard; of one that was not
// spoken to, nothing is known. A one-way stream of UDP makes a live peer look silent until its
// keep-alive comes: that is why silence alone takes nobody down (dispatcher/liveness.ts).

import { SILENT_MS } from './limits.ts'

export interface PeerTraffic {
  readonly nodeId: string
  readonly received: number
  readonly sent: number
}

interface Seen {
  received: number
  sent: number
  heardMs: number
  /** When it was first sent something that nothing came after; Infinity = there is nothing such. */
  askedMs: number
}

export class PeerLiveness {
  readonly #peers = new Map<string, Seen>()

  /** Takes a reading; returns the node ids of the silent and of the heard. */
  read(traffic: Iterable<PeerTraffic>, nowMs: number): { silent: string[]; heard: string[] } {
    const silent: string[] = []
    const heard: string[] = []
    const present = new Set<string>()
    for (const { nodeId, received, sent } of traffic) {
      present.add(nodeId)
      const seen = this.#peers.get(nodeId)
      if (seen === undefined) {
        const never = Number.NEGATIVE_INFINITY
        this.#peers.set(nodeId, {
          received,
          sent,
          heardMs: never,
          askedMs: Number.POSITIVE_INFINITY,
        })
        continue
      }
      if (received !== seen.received) {
        seen.heardMs = nowMs
        seen.askedMs = Number.POSITIVE_INFINITY
      } else if (sent !== seen.sent && seen.askedMs === Number.POSITIVE_INFINITY) {
        seen.askedMs = nowMs
      }
      seen.received = received
      seen.sent = sent
      if (nowMs - seen.askedMs >= SILENT_MS) silent.push(nodeId)
      else if (nowMs - seen.heardMs < SILENT_MS) heard.push(nodeId)
    }
    for (const nodeId of this.#peers.keys()) if (!present.has(nodeId)) this.#peers.delete(nodeId)
    return { silent, heard }
  }
}
