// Reads at the leader: from the request to the answer. The queue itself is in read-queue.ts.

import { MAX_HELD_READS } from './limits.ts'
import type { Message, NodeId } from './messages.ts'
import type { Raft } from './raft.ts'
import type { PendingRead } from './read-queue.ts'
import { broadcastHeartbeat } from './replicate.ts'
import type { Refusal } from './types.ts'

/** Takes a read request: it is answered when a quorum has confirmed the leader. */
export function takeRead(raft: Raft, message: Message): Refusal | null {
  if (raft.heldReads.length + raft.reads.size >= MAX_HELD_READS) return 'too-many-reads'
  const read = { from: message.from, context: message.context, index: raft.log.committed }
  // Until an entry of this term is committed, the leader does not know what its predecessors
  // committed (thesis, section 6.4). This holds even for a lone voter: it may have lost its commit
  // index.
  if (!raft.committedInCurrentTerm()) raft.heldReads.push(read)
  else startReads(raft, [read])
  return null
}

/** Starts the reads that waited for the leader's first commit of its term, if that has come. */
export function releaseHeldReads(raft: Raft): void {
  if (raft.heldReads.length === 0 || !raft.committedInCurrentTerm()) return
  const held = raft.heldReads
  raft.heldReads = []
  startReads(
    raft,
    held.map((read) => ({ ...read, index: raft.log.committed })),
  )
}

function startReads(raft: Raft, reads: readonly PendingRead[]): void {
  if (raft.config.readOnly === 'lease' || raft.tracker.isSoleVoter(raft.id)) {
    for (const read of reads) answerRead(raft, read)
    return
  }
  for (const read of reads) raft.reads.add(read)
  raft.reads.acknowledge(raft.id, raft.reads.position)
  broadcastHeartbeat(raft)
}

function answerRead(raft: Raft, { from, index, context }: PendingRead): void {
  if (from === raft.id) raft.readStates.push({ index, context })
  else raft.send('MsgReadIndexResp', from, { index, context })
}

/** `from` answered the heartbeat that asked to confirm the reads up to `position`. */
export function confirmReads(raft: Raft, from: NodeId, position: number): void {
  raft.reads.acknowledge(from, position)
  for (const read of raft.reads.confirm(raft.tracker.config)) answerRead(raft, read)
}
