// How many managers there are, and whether the cluster can do without one.

import type { ReadTransaction } from '../store/contract.ts'
import type { NodeObject } from '../store/objects.ts'

export interface ManagerCounts {
  readonly reachable: number
  readonly unreachable: number
}

/** Members of the Raft group. */
export function managerCounts(tx: ReadTransaction): ManagerCounts {
  const members = tx.all('nodes').filter(({ manager }) => manager !== null)
  const reachable = members.filter(isReachable).length
  return { reachable, unreachable: members.length - reachable }
}

/** True when a majority of the others can be reached. */
export function canDoWithout(tx: ReadTransaction, node: NodeObject): boolean {
  const { reachable, unreachable } = managerCounts(tx)
  const left = reachable + unreachable - 1
  return reachable - (isReachable(node) ? 1 : 0) > left / 2
}

function isReachable({ manager }: NodeObject): boolean {
  return manager?.reachability === 'reachable'
}
