// Changing who belongs to the cluster: which change follows from a request, and which are refused
// because the cluster would suffer.
//
// - An id that was removed never comes back; a node that lost its disk comes under a new one.
// - A newcomer is dialled first (an address that does not work would cost a vote), listens as a
//   learner until it has the log, and only then votes.
// - A removal that leaves fewer voters in reach than a majority of those that stay is refused.
// - The leader does not remove itself: it hands over first, so that nobody waits for an election.

import type { ConfChangeSingle, ConfChangeTransition, ConfState, NodeId } from '../messages.ts'
import type { ProgressStatus } from '../progress.ts'
import { MemberError } from './errors.ts'
import { MAX_ADDRESS_LENGTH, MAX_ID_LENGTH, MAX_MEMBERS } from './limits.ts'
import type { MemberAddress, MemberBook } from './members.ts'

export type ChangeRequest =
  | { readonly kind: 'add-learner'; readonly member: MemberAddress }
  | { readonly kind: 'add-voter'; readonly member: MemberAddress }
  /** A learner becomes a voter. */
  | { readonly kind: 'promote'; readonly id: NodeId }
  /** A voter becomes a learner. */
  | { readonly kind: 'demote'; readonly id: NodeId }
  /** `force` removes it even if the rest may not be enough to go on. */
  | { readonly kind: 'remove'; readonly id: NodeId; readonly force?: boolean }
  | { readonly kind: 'move'; readonly id: NodeId; readonly address: string }

export interface Membership {
  members(): readonly MemberAddress[]
  config(): ConfState
  /** Resolves once the change is in force here. Rejects with a MemberError. */
  change(request: ChangeRequest): Promise<void>
  /** Who answers at `address`. */
  probe(address: string): Promise<{ readonly id: NodeId }>
  /** On the leader: entries that `id` has not confirmed; null if it is no member. */
  behind(id: NodeId): number | null
}

export interface PlannedChange {
  readonly transition: ConfChangeTransition
  readonly changes: readonly ConfChangeSingle[]
  /** What is to be known of those that are added or moved. */
  readonly members: readonly MemberAddress[]
}

/** Host names, IPv4 addresses or bracketed IPv6 addresses, then a port. */
const ADDRESS_PATTERN = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([1-9]\d{0,4})$/

/** The change that `request` asks for. Throws a MemberError if it cannot or must not be made. */
export function planChange(
  request: ChangeRequest,
  book: MemberBook,
  config: ConfState,
  progress: readonly ProgressStatus[],
  self: NodeId,
): PlannedChange {
  switch (request.kind) {
    case 'add-learner':
    case 'add-voter':
      return planAddition(request.kind, request.member, book, config)
    case 'promote': {
      mustBe(config.learners.includes(request.id), `${request.id} is no learner`)
      return plan('add-voter', request.id)
    }
    case 'demote': {
      mustBe(config.voters.includes(request.id), `${request.id} is no voter`)
      checkLoss(request.id, config, progress, self)
      return plan('add-learner', request.id)
    }
    case 'remove': {
      mustBe(book.get(request.id) !== null, `${request.id} is no member`)
      if (config.voters.includes(request.id) && request.force !== true) {
        checkLoss(request.id, config, progress, self)
      }
      return plan('remove', request.id)
    }
    case 'move': {
      const member = book.get(request.id)
      mustBe(member !== null, `${request.id} is no member`)
      const moved = { ...member!, address: checkAddress(request.address) }
      mustBe(!isTaken(moved, book), `${moved.address} is another member's address`)
      return plan('update', request.id, [moved])
    }
  }
}

function planAddition(
  type: 'add-learner' | 'add-voter',
  member: MemberAddress,
  book: MemberBook,
  config: ConfState,
): PlannedChange {
  const { id, nodeId } = member
  checkAddress(member.address)
  mustBe(Number.isSafeInteger(id) && id > 0 && id <= Number.MAX_SAFE_INTEGER - 2, `${id} is no id`)
  mustBe(nodeId.length > 0 && nodeId.length <= MAX_ID_LENGTH, 'a member has a node')
  mustBe(!book.removed().has(id), `${id} was removed: a node comes back under a new Raft id`)
  mustBe(!config.voters.includes(id), `${id} is a voter already`)
  mustBe(!isTaken(member, book), `${member.address} is another member's address`)
  mustBe(book.all().length < MAX_MEMBERS, `a cluster has at most ${MAX_MEMBERS} members`)
  return plan(type, id, [member])
}

/** Checks that enough voters are in reach without `id`. */
function checkLoss(
  id: NodeId,
  { voters }: ConfState,
  progress: readonly ProgressStatus[],
  self: NodeId,
): void {
  mustBe(voters.length > 1, 'the last voter cannot go')
  mustBe(id !== self, 'a leader hands over before it goes: transfer the leadership')
  const staying = voters.filter((voter) => voter !== id)
  const active = new Set(progress.filter((p) => p.reachable).map((p) => p.id))
  const reachable = staying.filter((voter) => voter === self || active.has(voter)).length
  const needed = Math.floor(staying.length / 2) + 1
  const text = `without ${id} only ${reachable} of ${staying.length} voters are in reach`
  mustBe(reachable >= needed, `${text}, and ${needed} are needed`)
}

function plan(
  type: ConfChangeSingle['type'],
  nodeId: NodeId,
  members: readonly MemberAddress[] = [],
): PlannedChange {
  return { transition: 'auto', changes: [{ type, nodeId }], members }
}

function isTaken({ id, address }: MemberAddress, book: MemberBook): boolean {
  return book.all().some((other) => other.address === address && other.id !== id)
}

/** Returns `address`. Throws a MemberError if nobody could be reached at it. */
export function checkAddress(address: string): string {
  const port = Number(ADDRESS_PATTERN.exec(address)?.[2] ?? 0)
  const isGood = address.length <= MAX_ADDRESS_LENGTH && port > 0 && port <= 65_535
  mustBe(isGood, `${JSON.stringify(address.slice(0, MAX_ADDRESS_LENGTH))} is no address`)
  return address
}

function mustBe(condition: boolean, otherwise: string): void {
  if (!condition) throw new MemberError('bad-change', otherwise)
}
