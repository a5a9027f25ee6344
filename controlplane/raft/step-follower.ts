// A follower: takes what the leader sends, and passes requests on to it.

import { startElection } from './election.ts'
import { restoreSnapshot } from './membership.ts'
import { type Message, NONE } from './messages.ts'
import type { Raft } from './raft.ts'
import type { Refusal } from './types.ts'

export function stepFollower(raft: Raft, message: Message): Refusal | null {
  switch (message.type) {
    case 'MsgApp':
      hearFrom(raft, message)
      handleAppend(raft, message)
      return null
    case 'MsgHeartbeat':
      hearFrom(raft, message)
      raft.log.commitTo(message.commit)
      raft.send('MsgHeartbeatResp', message.from, { readPosition: message.readPosition })
      return null
    case 'MsgSnap':
      hearFrom(raft, message)
      handleSnapshot(raft, message)
      return null
    case 'MsgProp':
      if (raft.lead === NONE) return 'no-leader'
      if (raft.config.disableProposalForwarding) return 'not-forwarding'
      raft.send('MsgProp', raft.lead, { from: message.from, entries: message.entries })
      return null
    case 'MsgReadIndex':
      if (raft.lead === NONE) return 'no-leader'
      raft.send('MsgReadIndex', raft.lead, { from: message.from, context: message.context })
      return null
    case 'MsgTransferLeader':
      if (raft.lead === NONE) return 'no-leader'
      // `from` names the member that is to lead, whoever sends it.
      raft.send('MsgTransferLeader', raft.lead, { from: message.from })
      return null
    case 'MsgReadIndexResp':
      raft.readStates.push({ index: message.index, context: message.context })
      return null
    case 'MsgTimeoutNow':
      // No pre-vote: the leader itself asks, so this member is surely not coming back from a
      // partition.
      startElection(raft, true)
      return null
    default:
      return null
  }
}

/** Lets this follower vote before its election timeout, though it knows a leader. */
export function forgetLeader(raft: Raft): void {
  // A lease rests on followers not voting while they know a leader.
  if (raft.role === 'follower' && raft.config.readOnly !== 'lease') raft.lead = NONE
}

function hearFrom(raft: Raft, message: Message): void {
  raft.electionElapsed = 0
  raft.lead = message.from
}

function handleAppend(raft: Raft, message: Message): void {
  const { from, index, logTerm, entries, commit } = message
  if (index < raft.log.committed) {
    // Old news. Saying how far we are lets the leader catch up with us.
    raft.send('MsgAppResp', from, { index: raft.log.committed })
    return
  }
  if (raft.log.maybeAppend(index, logTerm, entries)) {
    const last = index + entries.length
    // What follows `last` in this log may still conflict, so it does not commit by this message.
    raft.log.commitTo(Math.min(commit, last))
    raft.send('MsgAppResp', from, { index: last })
    return
  }
  // Terms never fall along a log. So the logs cannot agree anywhere above the last index whose term
  // is at most the leader's at `index`: that is the hint. A long divergent tail costs one round
  // trip per term in it, not one per entry.
  const hint = raft.log.findConflictByTerm(Math.min(index, raft.log.lastIndex()), logTerm)
  raft.send('MsgAppResp', from, {
    index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  })
  raft.trace('append-refused', { peer: from, index })
}

function handleSnapshot(raft: Raft, message: Message): void {
  if (message.snapshot === null) return
  if (raft.log.isApplying) {
    // The caller is about to apply entries, perhaps a membership change, to what it has. Were the
    // configuration replaced now, that change would be applied to the wrong one.
    raft.heldSnapshot = message
    return
  }
  const restored = restoreSnapshot(raft, message.snapshot)
  const index = restored ? raft.log.lastIndex() : raft.log.committed
  raft.send('MsgAppResp', message.from, { index })
}
