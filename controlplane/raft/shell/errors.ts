// The errors of the shell. Each has a code to decide by, a sentence that says what is the matter,
// and, where somebody has to act, one that says what to do.

import type { NodeId } from '../messages.ts'

/** What a member's directory can be found to be. */
export type StorageErrorCode =
  | 'locked'
  | 'no-state'
  | 'state-exists'
  | 'missing-database'
  | 'truncated'
  | 'corrupt'
  | 'corrupt-entry'
  | 'missing-snapshot'
  | 'lost-writes'
  | 'wrong-key'
  | 'foreign-identity'
  | 'unknown-format'
  | 'restored'
  | 'not-a-backup'
  | 'write-failed'

/** What to do about it. */
const STORAGE_ADVICE: Readonly<Record<StorageErrorCode, string>> = {
  locked: 'Stop that process, or give this one a directory of its own.',
  'no-state': 'Found a cluster, or join one.',
  'state-exists': 'Start without founding or joining, or remove the directory first.',
  'missing-database':
    'Its promises are lost with it. Remove the directory and the member, and join again: it gets ' +
    'a new Raft id.',
  truncated:
    'The disk lost data. Remove the directory and the member, and join again under a new Raft id.',
  corrupt:
    'The disk damaged data. Remove the directory and the member, and join again under a new Raft ' +
    'id.',
  'corrupt-entry':
    'The disk damaged data, or somebody changed it. Remove the directory and the member, and ' +
    'join again under a new Raft id.',
  'missing-snapshot':
    'The log alone is not enough. Remove the directory and the member, and join again under a ' +
    'new Raft id.',
  'lost-writes':
    'The disk lost what it had confirmed, or an old copy was put in its place. Remove the ' +
    'directory and the member, and join again under a new Raft id.',
  'wrong-key': 'Unlock with the key of this member, or restore the key file that belongs to it.',
  'foreign-identity': 'Put back the directory of this member, or start where it belongs.',
  'unknown-format': 'Use the version of weft that wrote it, or a newer one.',
  restored: 'A restored backup can only found a new cluster: start it with force-new-cluster.',
  'not-a-backup': 'Give the path of a file that a backup has written.',
  'write-failed':
    'What the disk holds is unknown until it is read again. Make room or repair the disk, then ' +
    'start again.',
}

/** A member's directory cannot be used as it is. */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  readonly code: StorageErrorCode
  /** What is the matter, without what to do. */
  readonly reason: string

  constructor(code: StorageErrorCode, reason: string) {
    super(`${reason} ${STORAGE_ADVICE[code]}`)
    this.code = code
    this.reason = reason
  }
}

export type MemberErrorCode =
  /** Another member leads, or none: `leader` is who, if known. Nothing happened. */
  | 'not-leader'
  /** This member led and does not any more. The proposal may still take effect, or not. */
  | 'lost-leadership'
  /** The proposal was overruled: it never takes effect. */
  | 'overruled'
  /** Over MAX_PROPOSAL_BYTES. Nothing happened. */
  | 'too-large'
  /** Too much waits already. Nothing happened: try again later. */
  | 'overloaded'
  /** No answer in time. A read: nothing happened. A change: it may still take effect. */
  | 'timeout'
  /** The membership cannot change like this (now): the message says why. Nothing happened. */
  | 'bad-change'
  /** The member was closed, or ended by its disk. A proposal may still take effect. */
  | 'shut-down'

export interface LeaderHint {
  readonly id: NodeId
  readonly address: string
}

/** A request to a member came to nothing, or to an unknown end. */
export class MemberError extends Error {
  override readonly name = 'MemberError'
  readonly code: MemberErrorCode
  readonly leader: LeaderHint | null

  constructor(code: MemberErrorCode, message: string, leader: LeaderHint | null = null) {
    super(message)
    this.code = code
    this.leader = leader
  }
}

export function overruled(): MemberError {
  return new MemberError('overruled', 'another leader overruled the proposal')
}

export function lostLeadership(leader: LeaderHint | null): MemberError {
  const text = 'this member lost its leadership; what was proposed may take effect or not'
  return new MemberError('lost-leadership', text, leader)
}

export function overloaded(reason: string): MemberError {
  return new MemberError('overloaded', `${reason}: try again later`)
}

export function timedOut(reason: string): MemberError {
  return new MemberError('timeout', `${reason} in time`)
}

export function shutDown(): MemberError {
  return new MemberError('shut-down', 'this member has ended')
}
