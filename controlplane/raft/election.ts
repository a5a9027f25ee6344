// Elections: starting one, and answering a candidate.
//
// With preVote a member first asks whether it could win, for a term it does not enter yet; only a quorum
// of yes makes it increment its term. With checkQuorum a member that hears from a leader ignores
// candidates altogether (step.ts). Both keep a member that comes back from a partition from deposing a
// leader that works.

import { type Message, NONE } from './messages.ts'
import type { Raft } from './raft.ts'

export type CampaignKind = 'pre-election' | 'election' | 'transfer'

/** Starts an election if this member may lead. */
export function hup(raft: Raft, kind: CampaignKind): void {
  if (raft.role === 'leader') return
  const obstacle = campaignObstacle(raft)
  if (obstacle !== null) {
    raft.config.trace({ kind: 'cannot-campaign', reason: obstacle, term: raft.term })
    return
  }
  campaign(raft, kind)
}

/** Becomes (pre-)candidate and asks all voters, itself included. */
export function campaign(raft: Raft, kind: CampaignKind): void {
  const pre = kind === 'pre-election'
  if (pre) raft.becomePreCandidate()
  else raft.becomeCandidate()
  const term = pre ? raft.term + 1 : raft.term
  const index = raft.log.lastIndex()
  const logTerm = raft.log.lastTerm()
  for (const id of raft.tracker.voterIds()) {
    if (id === raft.id) {
      // One's own vote counts like any other: when it is durable.
      raft.send(pre ? 'MsgPreVoteResp' : 'MsgVoteResp', id, { term })
    } else {
      const transfer = kind === 'transfer'
      raft.send(pre ? 'MsgPreVote' : 'MsgVote', id, { term, index, logTerm, transfer })
    }
  }
}

/** Answers a MsgVote or MsgPreVote whose term is not below this member's. */
export function answerVote(raft: Raft, message: Message): void {
  const pre = message.type === 'MsgPreVote'
  const canVote =
    // the same vote again, its answer having been lost,
    raft.vote === message.from ||
    // or the first vote of the term, while no leader is known,
    (raft.vote === NONE && raft.lead === NONE) ||
    // or a mere question about a later term.
    (pre && message.term > raft.term)
  // Learners answer too. One may have been promoted without knowing it yet, and its vote be needed to
  // elect the leader who will tell it; a candidate asks only those it believes to be voters.
  const granted = canVote && raft.log.isUpToDate(message.index, message.logTerm)
  raft.send(pre ? 'MsgPreVoteResp' : 'MsgVoteResp', message.from, {
    // A grant echoes the term asked for, which for a pre-vote is not this member's. A refusal carries
    // this member's own, so that a candidate left behind learns of it.
    term: granted ? message.term : raft.term,
    reject: !granted,
  })
  if (granted && !pre) {
    raft.electionElapsed = 0
    raft.vote = message.from
  }
  const kind = granted ? 'vote-granted' : 'vote-refused'
  raft.config.trace({ kind, to: message.from, pre, term: raft.term })
}

function campaignObstacle(raft: Raft): string | null {
  if (!raft.promotable()) return 'not a voter, or waiting for a snapshot'
  // A member that has not applied a committed membership change would ask the wrong voters.
  const unapplied = raft.log.someUnapplied((entry) => entry.type !== 'EntryNormal')
  return unapplied ? 'a committed membership change is not applied yet' : null
}
