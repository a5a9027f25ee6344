// When what was removed ends: a service when none of its tasks can run any more, a network when
// nobody is on it. Until then it keeps its addresses, but no longer its name.

import type { ReadTransaction, WriteTransaction } from '../store/contract.ts'
import { isTerminal, stateRank, type TaskObject } from '../store/objects.ts'

/** True when no task of the service can still run. */
export function isServiceOver(tx: ReadTransaction, id: string): boolean {
  return tx.find('tasks', 'service', id).every((task) => isTaskOver(tx, task))
}

/** A node that is down keeps no name and no subnet taken: what may run there yet is stopped when it
 * comes back. */
function isTaskOver(tx: ReadTransaction, task: TaskObject): boolean {
  if (isTerminal(task.status.state)) return true
  if (stateRank(task.desiredState) <= stateRank('complete')) return false
  if (task.nodeId === '' || stateRank(task.status.state) < stateRank('assigned')) return true
  const node = tx.get('nodes', task.nodeId)
  return node === undefined || node.status.state === 'down'
}

export function endService(tx: WriteTransaction, id: string): void {
  const service = tx.get('services', id)
  if (service?.pendingDelete === true && isServiceOver(tx, id)) tx.remove('services', id)
}

export function isNetworkOver(tx: ReadTransaction, id: string): boolean {
  return (
    tx.find('services', 'network', id).length === 0 &&
    tx.find('tasks', 'network', id).every((task) => isTaskOver(tx, task))
  )
}

export function endNetwork(tx: WriteTransaction, id: string): void {
  const network = tx.get('networks', id)
  if (network?.pendingDelete === true && isNetworkOver(tx, id)) tx.remove('networks', id)
}
