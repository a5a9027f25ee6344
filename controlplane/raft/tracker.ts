// The configuration in force, a Progress for each of its members, and the votes of the election
// under way. Members are visited by ascending id, so that a run is reproducible message for
// message.

import { assert } from '../../base/assert.ts'
import { Inflights } from './inflights.ts'
import { type ConfState, EMPTY_CONF_STATE, type NodeId } from './messages.ts'
import { Progress } from './progress.ts'
import {
  type AckedIndexer,
  allOf,
  jointIndex,
  jointVote,
  type VoteResult,
  type Voters,
} from './quorum.ts'

export class Tracker implements AckedIndexer {
  readonly #maxInflightMessages: number
  readonly #maxInflightBytes: number
  #config: ConfState = EMPTY_CONF_STATE
  #members: readonly Progress[] = []
  #byId = new Map<NodeId, Progress>()
  #electorates: readonly Voters[] = []
  #votes = new Map<NodeId, boolean>()

  constructor(maxInflightMessages: number, maxInflightBytes: number) {
    this.#maxInflightMessages = maxInflightMessages
    this.#maxInflightBytes = maxInflightBytes
  }

  get config(): ConfState {
    return this.#config
  }

  /** By ascending id. */
  get members(): readonly Progress[] {
    return this.#members
  }

  get(id: NodeId): Progress | undefined {
    return this.#byId.get(id)
  }

  ackedIndex(id: NodeId): number | undefined {
    return this.#byId.get(id)?.match
  }

  /** Highest index a quorum has durable. */
  committedIndex(): number {
    return jointIndex(this.#config, this)
  }

  isVoter(id: NodeId): boolean {
    return this.#config.voters.includes(id) || this.#config.votersOutgoing.includes(id)
  }

  /** True when `id` alone makes every quorum. */
  isSoleVoter(id: NodeId): boolean {
    const { voters, votersOutgoing } = this.#config
    return voters.length === 1 && voters[0] === id && votersOutgoing.length === 0
  }

  /** Puts `config` in force. Members that stay keep their progress; new ones begin at
   * `nextIndex`. */
  switchTo(config: ConfState, nextIndex: number): void {
    const ids = sortedUnion(config.voters, config.votersOutgoing, config.learners)
    const byId = new Map<NodeId, Progress>()
    for (const id of ids) {
      const learner = config.learners.includes(id)
      let progress = this.#byId.get(id)
      if (progress === undefined) {
        progress = this.#newProgress(id, learner, 0, nextIndex)
        // Until it had a chance to answer it counts as active, or the next quorum check might
        // depose a leader for having added members.
        progress.recentActive = true
      }
      progress.learner = learner
      byId.set(id, progress)
    }
    this.#config = config
    this.#byId = byId
    this.#members = [...byId.values()]
  }

  /** Forgets everything known about the members, as at the beginning of a term. `self` is known
   * to have the whole log. */
  reset(self: NodeId, lastIndex: number): void {
    const byId = new Map<NodeId, Progress>()
    for (const { id, learner } of this.#members) {
      const match = id === self ? lastIndex : 0
      byId.set(id, this.#newProgress(id, learner, match, lastIndex + 1))
    }
    this.#byId = byId
    this.#members = [...byId.values()]
    this.resetVotes()
  }

  resetVotes(): void {
    this.#votes = new Map()
  }

  /** The election begun by resetVotes() must be won in every one of `configs`. */
  startElection(configs: readonly Voters[]): void {
    this.#electorates = configs
  }

  /** True for a member of the configuration, and for one whose vote the election needs. */
  knows(id: NodeId): boolean {
    const votes = ({ voters, votersOutgoing }: Voters): boolean =>
      voters.includes(id) || votersOutgoing.includes(id)
    return this.#byId.has(id) || this.#electorates.some(votes)
  }

  /** The first vote of a member counts; later ones are duplicates. */
  recordVote(id: NodeId, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted)
  }

  hasVoted(id: NodeId): boolean {
    return this.#votes.has(id)
  }

  voteResult(): VoteResult {
    return allOf(this.#electorates.map((voters) => jointVote(voters, this.#votes)))
  }

  /** True when a quorum was heard from since the last check. */
  quorumActive(): boolean {
    const active = new Map<NodeId, boolean>()
    for (const member of this.#members) {
      if (!member.learner) active.set(member.id, member.recentActive)
    }
    return jointVote(this.#config, active) === 'won'
  }

  #newProgress(id: NodeId, learner: boolean, match: number, next: number): Progress {
    assert(match < next, 'progress: match must be below next')
    const inflights = new Inflights(this.#maxInflightMessages, this.#maxInflightBytes)
    return new Progress(id, learner, match, next, inflights)
  }
}

/** All ids of the lists, ascending. */
export function sortedUnion(...lists: readonly (readonly NodeId[])[]): NodeId[] {
  return [...new Set(lists.flat())].sort((a, b) => a - b)
}
