// Elections: starting one, and answering a candidate.
//
// A configuration takes effect when applied, so a member may stand for election by one that others
// have left behind, perhaps by two changes: and of configurations two changes apart, majorities
// need not overlap. So a candidate must win in every configuration from the one it has applied to
// the last in its log. It then wins in a configuration next to the newest one in force, or meets a
// voter whose log has a change that its own lacks.
//
// With preVote a member first asks whether it could win, for a term it does not enter yet; only a
// quorum of yes makes it increment its term. With checkQuorum a member that hears from a leader
// ignores candidates altogether (step.ts). Both keep a member that comes back from a partition from
// deposing a leader that works.

import { decodeConfChange } from './codec.ts'
import { tryChangeConfig } from './confchange.ts'
import { type ConfState, type Message, NONE } from './messages.ts'
import type { Raft } from './raft.ts'
import { sortedUnion } from './tracker.ts'

type CampaignKind = 'pre-election' | 'election' | 'transfer'

/** Starts an election if this member may lead; with preVote it first asks whether it could win. */
export function startElection(raft: Raft, transfer = false): void {
  if (raft.role === 'leader') return
  const obstacle = campaignObstacle(raft)
  if (obstacle !== null) {
    raft.trace('cannot-campaign', { detail: obstacle })
    return
  }
  if (transfer) campaign(raft, 'transfer')
  else campaign(raft, raft.config.preVote ? 'pre-election' : 'election')
}

/** Becomes (pre-)candidate and asks all voters, itself included. */
export function campaign(raft: Raft, kind: CampaignKind): void {
  const pre = kind === 'pre-election'
  if (pre) raft.becomePreCandidate()
  else raft.becomeCandidate()
  const configs = configsInLog(raft)
  raft.tracker.startElection(configs)
  const term = pre ? raft.term + 1 : raft.term
  const index = raft.log.lastIndex()
  const logTerm = raft.log.lastTerm()
  for (const id of sortedUnion(...configs.flatMap((each) => [each.voters, each.votersOutgoing]))) {
    if (id === raft.id) {
      // One's own vote counts like any other: when it is durable.
      raft.send(pre ? 'MsgPreVoteResp' : 'MsgVoteResp', id, { term })
    } else {
      const transfer = kind === 'transfer'
      raft.send(pre ? 'MsgPreVote' : 'MsgVote', id, { term, index, logTerm, transfer })
    }
  }
}

/** The configuration in force, and those that the rest of the log leads to. */
function configsInLog(raft: Raft): ConfState[] {
  const configs = [raft.tracker.config]
  for (const entry of raft.log.entriesAfter(raft.inForceIndex(), raft.log.lastIndex())) {
    if (entry.type === 'EntryNormal') continue
    const change = decodeConfChange(entry)
    const next = change === null ? null : tryChangeConfig(configs.at(-1)!, change)
    if (next !== null) configs.push(next)
  }
  return configs
}

/** True when this member may stand for election: a voter, by the configuration in force or by
 * one in its log, that is not waiting for a snapshot.  The log counts because it binds the
 * member's vote (bindingIndex()): a voter-to-be that has the longest log refuses everybody, so
 * it must be able to win itself. It needs the votes of the configuration in force all the same,
 * so that one must be known. */
export function mayCampaign(raft: Raft): boolean {
  if (raft.log.unstable.snapshot !== null) return false
  if (raft.tracker.isVoter(raft.id)) return true
  return raft.tracker.config.voters.length > 0 && isVoterByLog(raft)
}

/** True for a voter of the configuration in force or of one further on in the log. */
export function isVoterByLog(raft: Raft): boolean {
  return configsInLog(raft).some(
    ({ voters, votersOutgoing }) => voters.includes(raft.id) || votersOutgoing.includes(raft.id),
  )
}

/** Index up to which this member's log speaks for a majority: a voter's to its end, that of a
 * member which is no voter any more (nor will be by its log) as far as it is committed. Entries
 * behind its removal are the others' affair; were it to insist on them, those left could need
 * its vote and never get it. */
function bindingIndex(raft: Raft): number {
  return isVoterByLog(raft) ? raft.log.lastIndex() : raft.log.committed
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
  // Learners answer too. One may have been promoted without knowing it yet, and its vote be needed
  // to elect the leader who will tell it; a candidate asks only those it believes to be voters.
  const binding = bindingIndex(raft)
  const granted = canVote && raft.log.isUpToDate(message.index, message.logTerm, binding)
  raft.send(pre ? 'MsgPreVoteResp' : 'MsgVoteResp', message.from, {
    // A grant echoes the term asked for, which for a pre-vote is not this member's. A refusal
    // carries this member's own, so that a candidate left behind learns of it.
    term: granted ? message.term : raft.term,
    reject: !granted,
  })
  if (granted && !pre) {
    raft.electionElapsed = 0
    raft.vote = message.from
  }
  raft.trace(granted ? 'vote-granted' : 'vote-refused', { peer: message.from })
}

function campaignObstacle(raft: Raft): string | null {
  if (!mayCampaign(raft)) return 'not a voter, or waiting for a snapshot'
  // It would ask voters that it could know to be the wrong ones.
  for (const { type } of raft.log.entriesAfter(raft.log.applied, raft.log.committed)) {
    if (type !== 'EntryNormal') return 'a committed membership change is not applied yet'
  }
  return null
}
