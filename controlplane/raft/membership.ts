// Putting a configuration in force: from an applied entry, or from a snapshot.

import { assert } from '../../base/assert.ts'
import { advanceCommit } from './commit.ts'
import { changeConfig } from './confchange.ts'
import { isVoterByLog } from './election.ts'
import type { ConfChange, ConfState, Snapshot } from './messages.ts'
import { NONE } from './messages.ts'
import type { Raft } from './raft.ts'
import { maybeSendAppend } from './replicate.ts'

/** Applies a membership change. Throws a ConfChangeError when it cannot follow the present one. */
export function applyConfChange(raft: Raft, change: ConfChange): ConfState {
  // A new member is probed from the end: it mostly has nothing and answers with where its log ends.
  const next = Math.max(raft.log.lastIndex(), 1)
  for (const { type, index } of raft.log.entriesAfter(raft.inForceIndex(), raft.log.committed)) {
    if (type === 'EntryNormal') continue
    raft.configIndex = index
    break
  }
  switchTo(raft, changeConfig(raft.tracker.config, change), next)
  return raft.tracker.config
}

/** Takes over a snapshot from the leader. False when it brings nothing new.
 *
 * This member need not be in the snapshot's configuration. One that joins may get a snapshot
 * from before it was added, and then the entry that adds it; one that was removed learns of it
 * this way. Until it is a voter by its own configuration it does not campaign. */
export function restoreSnapshot(raft: Raft, snapshot: Snapshot): boolean {
  if (snapshot.index <= raft.log.committed) return false
  assert(raft.role === 'follower', 'only a follower restores a snapshot')
  if (raft.log.matches(snapshot.index, snapshot.term)) {
    // The log has it all already and only did not know that it was committed.
    raft.log.commitTo(snapshot.index)
    return false
  }
  raft.log.restore(snapshot)
  raft.configIndex = snapshot.index
  switchTo(raft, snapshot.confState, raft.log.lastIndex() + 1)
  raft.trace('snapshot-restored', { index: snapshot.index })
  return true
}

/** Puts `config` in force and draws the consequences for a leader. */
export function switchTo(raft: Raft, config: ConfState, nextIndex: number): void {
  raft.tracker.switchTo(config, nextIndex)
  raft.trace('config-switched', { detail: JSON.stringify(config) })
  if (raft.role !== 'leader') return
  const self = raft.tracker.get(raft.id)
  if (self === undefined || self.learner) {
    // It may go on replicating, not counting itself. It must if a change further on in its log
    // makes it a voter again: that log binds its vote, so perhaps nobody else can win before the
    // change is in force.
    if (raft.config.stepDownOnRemoval && !isVoterByLog(raft)) raft.becomeFollower(raft.term, NONE)
    return
  }
  // A leader that has only now become a member counts its own copy from here on, once it is
  // durable.
  if (self.match === 0) raft.send('MsgAppResp', raft.id, { index: raft.log.lastIndex() })
  // Fewer voters may mean that more is committed. New members need not wait for the next heartbeat.
  if (!advanceCommit(raft)) {
    for (const { id } of raft.tracker.members) {
      if (id !== raft.id) maybeSendAppend(raft, id, false)
    }
  }
  if (raft.leadTransferee !== NONE && !raft.tracker.isVoter(raft.leadTransferee)) {
    raft.leadTransferee = NONE
  }
}
