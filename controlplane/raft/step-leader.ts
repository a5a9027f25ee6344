// A leader: takes proposals and reads, and moves its members along as they answer.

import { decodeConfChange } from './codec.ts'
import { advanceCommit } from './commit.ts'
import { isJoint, leavesJoint, tryChangeConfig } from './confchange.ts'
import {
  type ConfChange,
  type Entry,
  type Message,
  NO_BYTES,
  NONE,
  type NodeId,
} from './messages.ts'
import type { Progress } from './progress.ts'
import type { Draft, Raft } from './raft.ts'
import { confirmReads, takeRead } from './reads.ts'
import { broadcastAppend, maybeSendAppend, sendAppend } from './replicate.ts'
import type { Refusal } from './types.ts'

export function stepLeader(raft: Raft, message: Message): Refusal | null {
  switch (message.type) {
    case 'MsgProp':
      return propose(raft, message.entries)
    case 'MsgReadIndex':
      return takeRead(raft, message)
    default:
      break
  }
  const progress = raft.tracker.get(message.from)
  if (progress === undefined) return null
  switch (message.type) {
    case 'MsgAppResp':
      progress.recentActive = true
      if (message.reject) handleRejection(raft, progress, message)
      else handleAcceptance(raft, progress, message.index)
      break
    case 'MsgHeartbeatResp':
      handleHeartbeatResponse(raft, progress, message)
      break
    case 'MsgTransferLeader':
      transferTo(raft, progress)
      break
    default:
      break
  }
  return null
}

/** Steps down when no quorum was heard from since the last check. */
export function checkQuorum(raft: Raft): void {
  if (!raft.tracker.quorumActive()) {
    raft.trace('quorum-lost')
    raft.becomeFollower(raft.term, NONE)
  }
  for (const member of raft.tracker.members) {
    if (member.id !== raft.id) member.nextRound()
  }
}

function propose(raft: Raft, entries: readonly Entry[]): Refusal | null {
  if (raft.tracker.get(raft.id) === undefined) return 'removed'
  if (raft.leadTransferee !== NONE) return 'transferring'
  let pendingConfIndex = raft.pendingConfIndex
  const drafts: Draft[] = []
  const changes: number[] = []
  for (const entry of entries) {
    if (entry.type === 'EntryNormal') {
      drafts.push(entry)
      continue
    }
    const change = decodeConfChange(entry)
    if (change === null) return 'malformed'
    const reason = confChangeObstacle(raft, pendingConfIndex, change)
    if (reason !== null && !raft.config.disableConfChangeValidation) {
      raft.trace('conf-change-refused', { detail: reason })
      drafts.push({ type: 'EntryNormal', data: NO_BYTES })
    } else {
      pendingConfIndex = raft.log.lastIndex() + drafts.length + 1
      changes.push(pendingConfIndex)
      drafts.push(entry)
    }
  }
  if (!raft.appendDrafts(drafts)) return 'too-many-uncommitted-bytes'
  raft.pendingConfIndex = pendingConfIndex
  raft.tailChanges.push(...changes)
  broadcastAppend(raft)
  return null
}

/** Why `change` may not be proposed. As nothing is pending, it will be applied to the
 * configuration in force, so the check is exact: what passes can be applied by every member. */
function confChangeObstacle(raft: Raft, pendingIndex: number, change: ConfChange): string | null {
  if (pendingIndex > raft.log.applied) {
    return `the change at ${pendingIndex} may not be applied (applied: ${raft.log.applied})`
  }
  const { config } = raft.tracker
  if (isJoint(config) && !leavesJoint(change)) return 'the joint configuration must be left first'
  if (!isJoint(config) && leavesJoint(change)) return 'there is no joint configuration to leave'
  return tryChangeConfig(config, change) === null ? 'it would leave no sound configuration' : null
}

function handleRejection(raft: Raft, progress: Progress, message: Message): void {
  // Where our own terms are above the follower's term at its hint, the logs cannot agree: its terms
  // up to there are at most that. Skip back over all of it (the follower did the same with its
  // log).
  const next =
    message.logTerm > 0
      ? raft.log.findConflictByTerm(message.rejectHint, message.logTerm).index
      : message.rejectHint
  if (!progress.maybeDecreaseTo(message.index, next)) return
  if (progress.state === 'replicate') progress.becomeProbe()
  sendAppend(raft, progress.id)
}

function handleAcceptance(raft: Raft, progress: Progress, index: number): void {
  // A probe that only confirms what was known still shows that the logs agree there.
  const confirmed = progress.match === index && progress.state === 'probe'
  if (!progress.maybeUpdate(index) && !confirmed) return
  if (progress.state === 'probe') {
    progress.becomeReplicate()
  } else if (progress.state === 'replicate') {
    progress.inflights.freeUpTo(index)
  } else if (progress.match + 1 >= raft.log.firstIndex()) {
    // Whatever snapshot it restored, and from whomever: the log can take over from here.
    progress.becomeReplicate()
  } else if (progress.match >= progress.pendingSnapshot) {
    // It has the snapshot, but the log was compacted beyond it meanwhile: it needs another.
    progress.becomeProbe()
  }

  const self = progress.id === raft.id
  if (!advanceCommit(raft) && !self && progress.canBumpCommit(raft.log.committed)) {
    // The next heartbeat would tell it too, but later.
    sendAppend(raft, progress.id)
  }
  if (!self) {
    // The window may have opened for more than one message.
    while (maybeSendAppend(raft, progress.id, false)) {}
  }
  if (progress.id === raft.leadTransferee && progress.match === raft.log.lastIndex()) {
    raft.send('MsgTimeoutNow', progress.id)
  }
}

function handleHeartbeatResponse(raft: Raft, progress: Progress, message: Message): void {
  progress.recentActive = true
  progress.flowPaused = false
  // A member that is caught up but in probe (after a report that it was unreachable) gets an empty
  // message too, whose acknowledgement brings it back to replicate.
  if (progress.match < raft.log.lastIndex() || progress.state === 'probe') {
    sendAppend(raft, progress.id)
  }
  if (message.readPosition === 0) return
  confirmReads(raft, message.from, message.readPosition)
}

/** The last messages to `id` were not delivered: what was sent optimistically is probably lost. */
export function handleUnreachable(raft: Raft, id: NodeId): void {
  const progress = raft.role === 'leader' ? raft.tracker.get(id) : undefined
  if (progress?.state === 'replicate') progress.becomeProbe()
}

/** The snapshot to `id` was delivered, or was not. */
export function handleSnapshotFate(raft: Raft, id: NodeId, delivered: boolean): void {
  const progress = raft.role === 'leader' ? raft.tracker.get(id) : undefined
  if (progress?.state !== 'snapshot') return
  // After a failure the snapshot's index is no base to go on from.
  if (!delivered) progress.pendingSnapshot = 0
  progress.becomeProbe()
  // Delivered: its acknowledgement is due. Failed: not again before the next heartbeat.
  progress.flowPaused = true
}

function transferTo(raft: Raft, progress: Progress): void {
  const target = progress.id
  if (progress.learner || target === raft.leadTransferee) return
  // Naming the leader itself only calls off a transfer under way.
  raft.leadTransferee = NONE
  if (target === raft.id) return
  // It has one election timeout; then proposals are taken again (tick in step.ts).
  raft.electionElapsed = 0
  raft.leadTransferee = target
  if (progress.match === raft.log.lastIndex()) raft.send('MsgTimeoutNow', target)
  else sendAppend(raft, target)
}
