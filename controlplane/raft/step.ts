// What every role does with a message: the rules about terms come first, then votes, then the
// role's own. And the clock.

import { advanceCommit } from './commit.ts'
import { answerVote, mayCampaign, startElection } from './election.ts'
import { type Message, makeMessage, NONE } from './messages.ts'
import type { Raft } from './raft.ts'
import { broadcastHeartbeat } from './replicate.ts'
import { stepCandidate } from './step-candidate.ts'
import { stepFollower } from './step-follower.ts'
import { checkQuorum, stepLeader } from './step-leader.ts'
import type { Refusal } from './types.ts'

export function step(raft: Raft, message: Message): Refusal | null {
  // Requests have no term: they are no part of the protocol between leader and followers.
  if (message.term > raft.term) {
    if (!enterHigherTerm(raft, message)) return null
  } else if (message.term < raft.term && message.term !== 0) {
    answerLowerTerm(raft, message)
    return null
  }
  switch (message.type) {
    case 'MsgVote':
    case 'MsgPreVote':
      answerVote(raft, message)
      return null
    default:
      break
  }
  if (raft.role === 'leader') return stepLeader(raft, message)
  if (raft.role === 'follower') return stepFollower(raft, message)
  return stepCandidate(raft, message)
}

/** One tick of the clock. */
export function tick(raft: Raft): void {
  raft.electionElapsed++
  if (raft.role !== 'leader') {
    if (raft.electionElapsed >= raft.electionTimeoutTicks && mayCampaign(raft)) {
      raft.electionElapsed = 0
      startElection(raft)
    }
    return
  }
  raft.heartbeatElapsed++
  if (raft.electionElapsed >= raft.config.electionTicks) {
    raft.electionElapsed = 0
    if (raft.config.checkQuorum) checkQuorum(raft)
    // A transfer that took this long has failed: take proposals again.
    raft.leadTransferee = NONE
  }
  // The quorum check may have ended the leadership.
  if (raft.role === 'leader' && raft.heartbeatElapsed >= raft.config.heartbeatTicks) {
    raft.heartbeatElapsed = 0
    broadcastHeartbeat(raft)
  }
}

/** `index` is applied to the state machine: `entryBytes` of entries, `payloadBytes` of data. */
export function applied(raft: Raft, index: number, entryBytes: number, payloadBytes: number): void {
  raft.log.appliedTo(Math.max(index, raft.log.applied), entryBytes)
  raft.uncommittedBytes = Math.max(0, raft.uncommittedBytes - payloadBytes)
  // What is applied now may have held back the commit index.
  if (raft.role === 'leader') advanceCommit(raft)
  if (
    raft.role === 'leader' &&
    raft.tracker.config.autoLeave &&
    raft.log.applied >= raft.pendingConfIndex
  ) {
    // The joint configuration is applied: propose to leave it. Refused while leadership is being
    // transferred; then the next applied entry, or the next leader, tries again.
    const entry = { term: 0, index: 0, type: 'EntryConfChangeV2', data: new Uint8Array(0) } as const
    step(raft, makeMessage('MsgProp', NONE, { from: raft.id, entries: [entry] }))
  }
  if (raft.heldSnapshot !== null && !raft.log.isApplying) {
    const held = raft.heldSnapshot
    raft.heldSnapshot = null
    step(raft, held)
  }
}

/** Follows a message into its higher term. False when the message is to be ignored. */
function enterHigherTerm(raft: Raft, message: Message): boolean {
  const { type, term, from } = message
  if (type === 'MsgVote' || type === 'MsgPreVote') {
    // While a leader is heard from, a candidate is ignored, unless the leader itself asked for it.
    const inLease =
      raft.config.checkQuorum &&
      raft.lead !== NONE &&
      raft.electionElapsed < raft.config.electionTicks
    if (inLease && !message.transfer) {
      raft.trace('vote-ignored-in-lease', { peer: from })
      return false
    }
  }
  // A pre-vote asks about a term that nobody has entered, and a grant echoes it. (A refusal carries
  // the term its sender really is in.)
  if (type === 'MsgPreVote' || (type === 'MsgPreVoteResp' && !message.reject)) return true
  const fromLeader = type === 'MsgApp' || type === 'MsgHeartbeat' || type === 'MsgSnap'
  raft.becomeFollower(term, fromLeader ? from : NONE)
  return true
}

function answerLowerTerm(raft: Raft, message: Message): void {
  const { checkQuorum, preVote } = raft.config
  if ((checkQuorum || preVote) && (message.type === 'MsgApp' || message.type === 'MsgHeartbeat')) {
    // A leader of a lower term that still reaches us. Without checkQuorum and preVote our next
    // candidacy would raise its term; with them others ignore our candidacy. So we tell it our
    // term, and it steps down, or we would stay outside for good.
    raft.send('MsgAppResp', message.from)
  } else if (message.type === 'MsgPreVote') {
    // Not answering could leave two members with different terms and logs refusing each other for
    // ever, when preVote is switched on in a running cluster.
    raft.send('MsgPreVoteResp', message.from, { term: raft.term, reject: true })
  }
}
