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
  const draft = new Draft(config)
  draft.applyAll(changes)
  if (symmetricDifference(config.voters, draft.voters) > 1) {
    throw new ConfChangeError('more than one voter changed without entering joint config')
  }
  return draft.finish(false)
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
  const draft = new Draft({ ...config, votersOutgoing: config.voters })
  draft.applyAll(changes)
  return draft.finish(autoLeave)
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

/** A configuration being changed. Only the incoming half and the learners ever change. */
class Draft {
  readonly voters: Set<NodeId>
  readonly #outgoing: readonly NodeId[]
  readonly #learners: Set<NodeId>
  readonly #learnersNext: Set<NodeId>

  constructor(config: ConfState) {
    this.voters = new Set(config.voters)
    this.#outgoing = config.votersOutgoing
    this.#learners = new Set(config.learners)
    this.#learnersNext = new Set(config.learnersNext)
  }

  applyAll(changes: readonly ConfChangeSingle[]): void {
    for (const change of changes) {
      // Id 0 stands for a change that the layers above voided when they applied it.
      if (change.nodeId !== 0) this.#apply(change)
    }
    if (this.voters.size === 0) throw new ConfChangeError('removed all voters')
  }

  finish(autoLeave: boolean): ConfState {
    return {
      voters: sorted(this.voters),
      votersOutgoing: this.#outgoing,
      learners: sorted(this.#learners),
      learnersNext: sorted(this.#learnersNext),
      autoLeave,
    }
  }

  #apply({ type, nodeId }: ConfChangeSingle): void {
    switch (type) {
      case 'add-voter':
        this.#remove(nodeId)
        this.voters.add(nodeId)
        break
      case 'add-learner':
        this.#remove(nodeId)
        if (this.#outgoing.includes(nodeId)) this.#learnersNext.add(nodeId)
        else this.#learners.add(nodeId)
        break
      case 'remove':
        this.#remove(nodeId)
        break
      case 'update':
        break
    }
  }

  #remove(nodeId: NodeId): void {
    this.voters.delete(nodeId)
    this.#learners.delete(nodeId)
    this.#learnersNext.delete(nodeId)
  }
}

function symmetricDifference(before: readonly NodeId[], after: ReadonlySet<NodeId>): number {
  const kept = before.filter((id) => after.has(id)).length
  return before.length - kept + (after.size - kept)
}

function sorted(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => a - b)
}
