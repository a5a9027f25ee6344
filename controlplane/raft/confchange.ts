// Membership changes as pure functions from configuration to configuration (Raft thesis, chapter
// 4).
//
// A simple change alters at most one voter, so that old and new majorities always overlap. Anything
// more goes through a joint configuration, in which both the old voters (outgoing) and the new
// (incoming) must agree:
//
//   voters=(1 2 3)  --enterJoint(+4 -1)-->  voters=(2 3 4)&&(1 2 3)
//                   --leaveJoint-------->  voters=(2 3 4)
//
// Voters and learners never overlap. A voter of the outgoing half that is to become a learner
// therefore waits in learnersNext until the joint configuration is left.
//
// Unlike the Raft paper, and like etcd, a configuration takes effect when its entry is applied, not
// when it is appended. That is safe because a leader has at most one unapplied change in its log
// (step-leader.ts) and a candidate must win in every configuration in its log (election.ts).

import type { ConfChange, ConfChangeSingle, ConfState, NodeId } from './messages.ts'

/** A change that cannot follow the configuration it was applied to. */
export class ConfChangeError extends Error {
  override readonly name = 'ConfChangeError'
}

export function isJoint(config: ConfState): boolean {
  return config.votersOutgoing.length > 0
}

/** True for the change that leaves a joint configuration: the empty set. */
export function leavesJoint(change: ConfChange): boolean {
  return change.transition === 'auto' && change.changes.length === 0
}

/** True for a change that passes through a joint configuration. */
export function needsJoint(change: ConfChange): boolean {
  return change.transition !== 'auto' || change.changes.length > 1
}

/** The configuration after `change`, by whichever of the three ways it asks for. */
export function changeConfig(config: ConfState, change: ConfChange): ConfState {
  if (leavesJoint(change)) return leaveJoint(config)
  if (needsJoint(change)) {
    return enterJoint(config, change.transition !== 'joint-explicit', change.changes)
  }
  return changeSimply(config, change.changes)
}

/** The same, but null for a change that cannot follow `config`. */
export function tryChangeConfig(config: ConfState, change: ConfChange): ConfState | null {
  try {
    return changeConfig(config, change)
  } catch (error) {
    if (error instanceof ConfChangeError) return null
    throw error
  }
}

/** Applies changes that together alter at most one voter. */
export function changeSimply(config: ConfState, changes: readonly ConfChangeSingle[]): ConfState {
  if (isJoint(config)) {
    throw new ConfChangeError("can't apply simple config change in joint config")
  }
  const next = withChanges(config, changes)
  if (differenceSize(config.voters, next.voters) > 1) {
    throw new ConfChangeError('more than one voter changed without entering joint config')
  }
  return next
}

/** Makes the present voters the outgoing half and applies the changes to the incoming half. */
export function enterJoint(
  config: ConfState,
  autoLeave: boolean,
  changes: readonly ConfChangeSingle[],
): ConfState {
  if (isJoint(config)) throw new ConfChangeError('config is already joint')
  if (config.voters.length === 0) {
    throw new ConfChangeError("can't make a zero-voter config joint")
  }
  return withChanges({ ...config, votersOutgoing: config.voters, autoLeave }, changes)
}

/** Drops the outgoing half; those who waited in learnersNext become learners. */
export function leaveJoint(config: ConfState): ConfState {
  if (!isJoint(config)) throw new ConfChangeError("can't leave a non-joint config")
  return {
    voters: config.voters,
    votersOutgoing: [],
    learners: sorted(new Set([...config.learners, ...config.learnersNext])),
    learnersNext: [],
    autoLeave: false,
  }
}

/** What is wrong with a configuration that came from a snapshot or from disk; null when nothing
 * is. */
export function configFault(config: ConfState): string | null {
  const { voters, votersOutgoing, learners, learnersNext } = config
  for (const ids of [voters, votersOutgoing, learners, learnersNext]) {
    if (ids.some((id, i) => id <= (ids[i - 1] ?? 0)))
      return 'ids must be positive, sorted and unique'
  }
  const waiting = learnersNext.find((id) => !votersOutgoing.includes(id))
  if (waiting !== undefined) return `${waiting} is in learnersNext, but not an outgoing voter`
  const twice = learners.find((id) => voters.includes(id) || votersOutgoing.includes(id))
  if (twice !== undefined) return `${twice} is both learner and voter`
  if (config.autoLeave && !isJoint(config)) return 'autoLeave in a config that is not joint'
  return null
}

/** `config` with the changes made to its incoming half and its learners, one after the other. */
function withChanges(config: ConfState, changes: readonly ConfChangeSingle[]): ConfState {
  const voters = new Set(config.voters)
  const learners = new Set(config.learners)
  const learnersNext = new Set(config.learnersNext)
  for (const { type, nodeId } of changes) {
    // Id 0 stands for a change that the layers above voided when they applied it.
    if (nodeId === 0 || type === 'update') continue
    for (const ids of [voters, learners, learnersNext]) ids.delete(nodeId)
    if (type === 'add-voter') voters.add(nodeId)
    if (type !== 'add-learner') continue
    if (config.votersOutgoing.includes(nodeId)) learnersNext.add(nodeId)
    else learners.add(nodeId)
  }
  if (voters.size === 0) throw new ConfChangeError('removed all voters')
  return {
    ...config,
    voters: sorted(voters),
    learners: sorted(learners),
    learnersNext: sorted(learnersNext),
  }
}

/** How many ids are in one list but not in the other. */
function differenceSize(a: readonly NodeId[], b: readonly NodeId[]): number {
  return a.filter((id) => !b.includes(id)).length + b.filter((id) => !a.includes(id)).length
}

function sorted(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => a - b)
}
