// The leader's side of replication: what to send to whom, within what flow control allows.

import { assert } from '../../base/assert.ts'
import { payloadBytes } from './log.ts'
import type { Entry, NodeId } from './messages.ts'
import type { Progress } from './progress.ts'
import type { Raft } from './raft.ts'

/** Sends the entries that `to` lacks, or an empty MsgApp with the commit index when it lacks
 * none and `evenIfEmpty`, or a snapshot when they are compacted. True when anything was sent. */
export function maybeSendAppend(raft: Raft, to: NodeId, evenIfEmpty: boolean): boolean {
  const progress = raft.tracker.get(to)
  if (progress === undefined || progress.paused) return false
  const previous = progress.next - 1
  const previousTerm = raft.log.term(previous)
  if (typeof previousTerm !== 'number') return maybeSendSnapshot(raft, progress)

  // Into a full window goes only an empty message. Without it a follower that lost all messages in
  // flight would never say so, and the window would never open again.
  const windowFull = progress.state === 'replicate' && progress.inflights.full
  let entries: readonly Entry[] = []
  if (!windowFull) {
    const found = raft.log.entriesFrom(progress.next, raft.config.maxMessageBytes)
    if (typeof found === 'string') return maybeSendSnapshot(raft, progress)
    entries = found
  }
  if (entries.length === 0 && !evenIfEmpty) return false
  const commit = raft.log.committed
  raft.send('MsgApp', to, { index: previous, logTerm: previousTerm, entries, commit })
  progress.sentEntries(entries.length, payloadBytes(entries))
  progress.sentCommit(commit)
  return true
}

export function sendAppend(raft: Raft, to: NodeId): void {
  maybeSendAppend(raft, to, true)
}

/** Tells every other member what it lacks, at least the commit index. */
export function broadcastAppend(raft: Raft): void {
  for (const { id } of raft.tracker.members) {
    if (id !== raft.id) sendAppend(raft, id)
  }
}

/** Sends a heartbeat to every other member, which also asks to confirm the reads queued up. */
export function broadcastHeartbeat(raft: Raft): void {
  const readPosition = raft.reads.position
  for (const progress of raft.tracker.members) {
    if (progress.id === raft.id) continue
    // Beyond `match` the member's log may differ from ours, so it must not commit there.
    const commit = Math.min(progress.match, raft.log.committed)
    raft.send('MsgHeartbeat', progress.id, { commit, readPosition })
    progress.sentCommit(commit)
  }
}

function maybeSendSnapshot(raft: Raft, progress: Progress): boolean {
  // A snapshot is large: not to somebody who may be gone.
  if (!progress.recentActive) return false
  const snapshot = raft.log.snapshot()
  if (snapshot === null) return false
  assert(snapshot.index > 0, 'a snapshot covers at least one entry')
  progress.becomeSnapshot(snapshot.index)
  raft.send('MsgSnap', progress.id, { snapshot })
  raft.trace('snapshot-sent', { peer: progress.id, index: snapshot.index })
  return true
}
