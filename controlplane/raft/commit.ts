// What follows when more is committed.

import type { Raft } from './raft.ts'
import { releaseHeldReads } from './reads.ts'
import { broadcastAppend } from './replicate.ts'

/** Advances the leader's commit index if a quorum allows, and tells everybody. True if it did. */
export function advanceCommit(raft: Raft): boolean {
  if (!raft.maybeCommit()) return false
  releaseHeldReads(raft)
  broadcastAppend(raft)
  return true
}
