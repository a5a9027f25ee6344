// A candidate or pre-candidate: counts votes, and yields to whoever leads this term.

import { campaign } from './election.ts'
import { type Message, NONE } from './messages.ts'
import type { Raft } from './raft.ts'
import { broadcastAppend } from './replicate.ts'
import { stepFollower } from './step-follower.ts'
import type { Refusal } from './types.ts'

export function stepCandidate(raft: Raft, message: Message): Refusal | null {
  // Late answers to the pre-vote must not count in the election, nor the other way round.
  const expected = raft.role === 'pre-candidate' ? 'MsgPreVoteResp' : 'MsgVoteResp'
  switch (message.type) {
    case 'MsgProp':
      return 'no-leader'
    case 'MsgApp':
    case 'MsgHeartbeat':
    case 'MsgSnap':
      // There is a leader of this very term, so this election is lost.
      raft.becomeFollower(message.term, message.from)
      return stepFollower(raft, message)
    case expected:
      countVote(raft, message)
      return null
    default:
      return null
  }
}

function countVote(raft: Raft, message: Message): void {
  raft.tracker.recordVote(message.from, !message.reject)
  const result = raft.tracker.voteResult()
  if (result === 'won') {
    // One's own vote arrives when it is durable. The others alone may be a quorum; but a leader
    // whose term is not durable could crash, and be elected once more in the same term.
    if (!raft.tracker.hasVoted(raft.id)) return
    if (raft.role === 'pre-candidate') {
      campaign(raft, 'election')
    } else {
      raft.becomeLeader()
      broadcastAppend(raft)
    }
  } else if (result === 'lost') {
    // The term stays: answers to a pre-vote may carry the next one.
    raft.becomeFollower(raft.term, NONE)
  }
}
