// The core, broken on purpose, one rule at a time. Each mutation replaces a method of a core class
// (or of the disk below it) in this process and returns what puts it back. The files of the core
// stay as they are.
//
// A simulator is worth what it finds. mutations.test.ts demands that each of these is found, and
// says after how many runs.

import { Driver } from '../../controlplane/raft/driver.ts'
import { RaftLog } from '../../controlplane/raft/log.ts'
import type { Entry, Message, NodeId } from '../../controlplane/raft/messages.ts'
import { majorityIndex } from '../../controlplane/raft/quorum.ts'
import { Raft } from '../../controlplane/raft/raft.ts'
import { RawNode } from '../../controlplane/raft/raw-node.ts'
import { type PendingRead, ReadQueue } from '../../controlplane/raft/read-queue.ts'
import { Tracker } from '../../controlplane/raft/tracker.ts'
import { Disk } from './disk.ts'

export type Mutation = () => () => void

/** Replaces a method, or the getter or setter of that name; the replacement is given the
 * original. */
function patch<C extends object, K extends keyof C>(
  prototype: C,
  name: K,
  make: (original: C[K]) => C[K],
): () => void {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name)
  if (descriptor === undefined) throw new Error(`there is no method ${String(name)} to replace`)
  Object.defineProperty(prototype, name, { ...descriptor, value: make(descriptor.value) })
  return () => {
    Object.defineProperty(prototype, name, descriptor)
  }
}

/** The leader counts its own copy when it appends, not when that is durable. */
function countSelfBeforeFsync(): () => void {
  return patch(
    Raft.prototype,
    'appendDrafts',
    (original) =>
      function (this: Raft, drafts) {
        const taken = original.call(this, drafts)
        if (taken) {
          this.tracker.get(this.id)?.maybeUpdate(this.log.lastIndex())
          this.maybeCommit()
        }
        return taken
      },
  )
}

/** A member answers before its disk has what it answers for. */
function answerBeforeFsync(): () => void {
  return patch(
    RawNode.prototype,
    'ready',
    (original) =>
      function (this: RawNode) {
        const ready = original.call(this)
        const messages = [...ready.messages, ...ready.messagesAfterAppend]
        return { ...ready, messages, messagesAfterAppend: [] }
      },
  )
}

/** An entry of an earlier term is committed by counting its copies (the paper's figure 8). */
function commitOldTerm(): () => void {
  return patch(
    Raft.prototype,
    'maybeCommit',
    () =>
      function (this: Raft) {
        const index = this.tracker.committedIndex()
        if (index <= this.log.committed) return false
        this.log.commitTo(index)
        return true
      },
  )
}

function loseFromHardState(name: 'vote' | 'term'): () => void {
  return patch(
    Disk.prototype,
    'write',
    (original) =>
      function (this: Disk, writes) {
        const kept = this.hardState
        return original.call(
          this,
          writes.map((write) => {
            if (write.hardState === null) return write
            return { ...write, hardState: { ...write.hardState, [name]: kept[name] } }
          }),
        )
      },
  )
}

/** A vote is given to whoever asks first, however old its log. */
function voteForOldLog(): () => void {
  return patch(RaftLog.prototype, 'isUpToDate', () => () => true)
}

/** Entries are applied as soon as they are committed, though the own disk may not have them. */
function applyBeforeDurable(): () => void {
  const restores = (['hasNextCommitted', 'nextCommitted', 'acceptApplying'] as const).map(
    (name) => {
      if (name === 'acceptApplying') {
        return patch(
          RaftLog.prototype,
          name,
          (original) =>
            function (this: RaftLog, entries) {
              original.call(this, entries, true)
            },
        )
      }
      return patch(
        RaftLog.prototype,
        name,
        (original) =>
          function (this: RaftLog) {
            return (original as (allow: boolean) => never).call(this, true)
          },
      )
    },
  )
  return () => {
    for (const restore of restores) restore()
  }
}

/** A follower cuts its log behind every append, also where nothing conflicts: a late, short
 * message takes back what was acknowledged. */
function cutWithoutConflict(): () => void {
  return patch(
    RaftLog.prototype,
    'maybeAppend',
    () =>
      function (this: RaftLog, index: number, term: number, entries: readonly Entry[]) {
        if (!this.matches(index, term)) return false
        if (entries.length > 0) this.unstable.truncateAndAppend(entries)
        return true
      },
  )
}

/** The log before a new entry is not compared by term. */
function ignorePreviousTerm(): () => void {
  return patch(
    RaftLog.prototype,
    'maybeAppend',
    (original) =>
      function (this: RaftLog, index: number, term: number, entries: readonly Entry[]) {
        const ours = this.term(index)
        return original.call(this, index, typeof ours === 'number' ? ours : term, entries)
      },
  )
}

/** A joint configuration commits by its new half alone. */
function commitByOneHalf(): () => void {
  return patch(
    Tracker.prototype,
    'committedIndex',
    () =>
      function (this: Tracker) {
        return majorityIndex(this.config.voters, this)
      },
  )
}

/** A joint configuration elects by its new half alone. */
function electByOneHalf(): () => void {
  return patch(
    Tracker.prototype,
    'startElection',
    (original) =>
      function (this: Tracker, configs) {
        original.call(
          this,
          configs.map(({ voters }) => ({ voters, votersOutgoing: [] })),
        )
      },
  )
}

/** A candidate looks at the configuration in force only, not at those in its log. */
function electByAppliedConfig(): () => void {
  return patch(
    Tracker.prototype,
    'startElection',
    (original) =>
      function (this: Tracker, configs) {
        original.call(this, configs.slice(0, 1))
      },
  )
}

/** Copies of learners count towards the quorum. */
function countLearners(): () => void {
  return patch(
    Tracker.prototype,
    'committedIndex',
    () =>
      function (this: Tracker) {
        const { voters, learners } = this.config
        const acked = [...voters, ...learners].map((id) => this.ackedIndex(id) ?? 0)
        acked.sort((a, b) => b - a)
        return acked[Math.floor(voters.length / 2)] ?? 0
      },
  )
}

/** The leader answers reads without asking whether it still leads. */
function readWithoutQuorum(): () => void {
  return patch(Tracker.prototype, 'isSoleVoter', () => () => true)
}

/** One answer confirms a read, whoever gives it: all that was acknowledged counts for everybody. */
function readByOneAnswer(): () => void {
  return patch(
    ReadQueue.prototype,
    'confirm',
    (original) =>
      function (this: ReadQueue, config): PendingRead[] {
        const all = [...config.voters, ...config.votersOutgoing]
        const newest = Math.max(...all.map((id) => this.ackedIndex(id) ?? 0))
        for (const id of all) this.acknowledge(id, newest)
        return original.call(this, config)
      },
  )
}

/** A member votes though it hears from its leader. */
function forgetLease(): () => void {
  return patch(
    RawNode.prototype,
    'step',
    (original) =>
      function (this: RawNode, message: Message) {
        if (message.type === 'MsgVote' || message.type === 'MsgPreVote') this.forgetLeader()
        return original.call(this, message)
      },
  )
}

/** The leader tells followers its commit index though it does not know that their logs agree. */
function commitBeyondMatch(): () => void {
  return patch(
    Raft.prototype,
    'send',
    (original) =>
      function (this: Raft, type, to: NodeId, fields = {}) {
        const beyond = type === 'MsgHeartbeat' ? { ...fields, commit: this.log.committed } : fields
        original.call(this, type, to, beyond)
      },
  )
}

/** The votes of one candidacy are counted in the next. */
function keepOldVotes(): () => void {
  return patch(Tracker.prototype, 'resetVotes', () => () => {})
}

/** A candidate leads by the votes of others, its own term not yet durable. */
function leadBeforeOwnVote(): () => void {
  return patch(Tracker.prototype, 'hasVoted', () => () => true)
}

/** The members of a quorum may be one fewer. */
function smallerQuorum(): () => void {
  return patch(
    Tracker.prototype,
    'voteResult',
    (original) =>
      function (this: Tracker) {
        const votes = original.call(this)
        return votes === 'pending' && this.config.voters.length > 1 ? 'won' : votes
      },
  )
}

/** A read is served as soon as it is confirmed, though the state machine may lag behind it. */
function readBeforeApplied(): () => void {
  return patch(
    RawNode.prototype,
    'ready',
    (original) =>
      function (this: RawNode) {
        const ready = original.call(this)
        return { ...ready, readStates: ready.readStates.map((read) => ({ ...read, index: 0 })) }
      },
  )
}

/** Proposals to a leader that lost its office are taken for applied when something is at their
 * index. */
function acknowledgeAnyTerm(): () => void {
  return patch(
    Driver.prototype,
    'propose',
    (original) =>
      function (this: Driver, data, settle) {
        return original.call(this, data, (outcome) => {
          settle(outcome === 'lost' ? 'applied' : outcome)
        })
      },
  )
}

export const MUTATIONS: ReadonlyMap<string, Mutation> = new Map<string, Mutation>([
  ['count-self-before-fsync', countSelfBeforeFsync],
  ['answer-before-fsync', answerBeforeFsync],
  ['commit-old-term', commitOldTerm],
  ['vote-not-persisted', () => loseFromHardState('vote')],
  ['term-not-persisted', () => loseFromHardState('term')],
  ['vote-for-old-log', voteForOldLog],
  ['apply-before-durable', applyBeforeDurable],
  ['cut-without-conflict', cutWithoutConflict],
  ['ignore-previous-term', ignorePreviousTerm],
  ['commit-by-one-half', commitByOneHalf],
  ['elect-by-one-half', electByOneHalf],
  ['elect-by-applied-config', electByAppliedConfig],
  ['count-learners', countLearners],
  ['read-without-quorum', readWithoutQuorum],
  ['read-by-one-answer', readByOneAnswer],
  ['read-before-applied', readBeforeApplied],
  ['forget-lease', forgetLease],
  ['commit-beyond-match', commitBeyondMatch],
  ['keep-old-votes', keepOldVotes],
  ['lead-before-own-vote', leadBeforeOwnVote],
  ['smaller-quorum', smallerQuorum],
  ['acknowledge-any-term', acknowledgeAnyTerm],
])
