// What the packet loop keeps of each peer: columns indexed by the peer's stable number, so that a
// datagram costs a few array reads. Sessions (keys, timers) are vxlan/'s; this is only how to get
// there, what fits the path, and the message that the current burst is building for it.

import { PEERS_MAX } from './engine-limits.ts'

export class Peers {
  /** Number of the peer's session in the session table; -1 for a plain VTEP. */
  readonly session: Int32Array = new Int32Array(PEERS_MAX).fill(-1)
  /** Underlay endpoint handle of a plain VTEP, or the configured one; -1 = none. */
  readonly endpoint: Int32Array = new Int32Array(PEERS_MAX).fill(-1)
  /** Largest inner IP packet that the path to this peer carries sealed. */
  readonly packetMax: Int32Array = new Int32Array(PEERS_MAX)
  /** First counter cell of the peer, see counters.ts. */
  readonly row: Int32Array = new Int32Array(PEERS_MAX)

  // The message under construction, valid while generation[peer] is the transmitter's.
  readonly generation: Float64Array = new Float64Array(PEERS_MAX)
  readonly openMessage: Int32Array = new Int32Array(PEERS_MAX)
  readonly openSegment: Int32Array = new Int32Array(PEERS_MAX)
  readonly openCount: Int32Array = new Int32Array(PEERS_MAX)
  /** Datagrams of the current burst, and how many of them held a frame. */
  readonly burstDatagrams: Int32Array = new Int32Array(PEERS_MAX)
  readonly burstFrames: Int32Array = new Int32Array(PEERS_MAX)
}
