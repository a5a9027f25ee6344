// What a member asks of whatever carries its messages. The product's transport is gRPC over mutual
// TLS; tests use the double in memory-transport.ts. Both are held to what is written here.
//
// - Messages may be lost, doubled and reordered: Raft bears it, so a transport repeats none by
//   itself. It must not change one, deliver it to somebody else, or take `from` on trust: a message
//   reaches onMessage() only if the peer that sent it proved to be the member it names.
// - send() never waits and never throws. Each peer has a bounded queue; what does not fit, or
//   cannot be delivered, is dropped and reported by onUnreachable() (once per outage or so, not
//   once per message: the leader then probes instead of streaming).
// - MsgSnap is different: it may be hundreds of megabytes, and while it is under way the leader
//   sends its receiver nothing else. It travels in chunks on a call of its own, one at a time per
//   peer, with a deadline per chunk instead of one for the whole. Its fate is reported exactly once
//   for every MsgSnap given to send(), by onSnapshotReport().
// - A peer that asks as a member of another cluster, or that was removed, is refused. "You were
//   removed" is an answer of its own: it ends a member, so only a peer that is itself a member of
//   the same cluster is believed, and a broken connection never counts as one.

import type { Message, NodeId } from '../messages.ts'

export interface TransportHandlers {
  /** A message from an authenticated member. */
  onMessage(message: Message): void
  /** The last messages to `id` did not get through. */
  onUnreachable(id: NodeId): void
  /** The MsgSnap to `id` was delivered and taken whole, or not. */
  onSnapshotReport(id: NodeId, delivered: boolean): void
  /** The members say that this member was removed: it must stop, and never come back under its
   * id. */
  onRemoved(): void
}

/** What a transport tells of one peer when metrics are scraped. */
export interface PeerStatus {
  readonly id: NodeId
  readonly address: string
  readonly connected: boolean
  readonly queuedMessages: number
  readonly queuedBytes: number
  /** Messages dropped since the start. */
  readonly dropped: number
  /** Of the snapshot under way: bytes acknowledged, and in all; both 0 when there is none. */
  readonly snapshotSentBytes: number
  readonly snapshotTotalBytes: number
}

/** Who answers at an address. */
export interface ProbeAnswer {
  readonly id: NodeId
}

export interface Transport {
  /** Begins to deliver. Called once, before everything else. */
  start(handlers: TransportHandlers): void
  /** Takes a message for `message.to`. Unknown receivers count as unreachable. */
  send(message: Message): void
  /** All members but this one, with their addresses (host:port). Streams to those that left are
   * closed; a changed address reconnects. */
  setPeers(peers: ReadonlyMap<NodeId, string>): void
  /** Members that were removed and must be told so when they knock. */
  setRemoved(ids: ReadonlySet<NodeId>): void
  /** Asks who answers at `address`; rejects when nobody does within `timeoutMs`. A leader dials a
   * joiner back before it adds it: an address that does not work would cost the cluster a vote. */
  probe(address: string, timeoutMs: number): Promise<ProbeAnswer>
  peers(): readonly PeerStatus[]
  /** Ends all streams. What is queued is dropped; nothing is delivered any more. */
  close(): Promise<void>
}
