// Membership changes as the data files write them: v1 adds voter 1, l2 learner 2, r3 removes 3, u4
// updates.

import type { ConfChangeSingle, ConfChangeType } from '../../controlplane/raft/messages.ts'
import { Unsupported } from './runner.ts'

const TYPES: Record<string, ConfChangeType> = {
  v: 'add-voter',
  l: 'add-learner',
  r: 'remove',
  u: 'update',
}

/** The changes in `lines`, separated by blanks. */
export function parseChanges(lines: readonly string[]): ConfChangeSingle[] {
  const tokens = lines
    .join(' ')
    .split(/\s+/)
    .filter((token) => token !== '')
  return tokens.map((token) => {
    const type = TYPES[token[0]!]
    const nodeId = Number(token.slice(1))
    if (type === undefined || !Number.isSafeInteger(nodeId)) {
      throw new Unsupported(`membership change ${token}`)
    }
    return { type, nodeId }
  })
}
