// What the nodes' objects say of the managers among them: Raft id, address, who leads, who can be
// reached. On the leader, which has it from its Raft member; written only when it has changed.
//
// It follows the membership and not the other way round: who is no voter (any more) has no
// ManagerStatus, whatever became of it, so a swarm that went on alone after force-new-cluster shows
// the others as what they are.

import { type Logger, silentLogger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type { Member } from '../../controlplane/raft/shell/member.ts'
import type { ReadTransaction, Store } from '../../controlplane/store/contract.ts'
import type { ManagerStatus, NodeObject } from '../../controlplane/store/objects.ts'
import { MANAGER_STATUS_MS } from './limits.ts'

export interface ManagerStatusParts {
  readonly store: Store
  readonly member: Pick<Member, 'status'>
  readonly timers: Timers
  readonly log?: Logger
}

export class ManagerStatusLoop {
  readonly #parts: ManagerStatusParts
  readonly #log: Logger
  #cancel: (() => void) | null = null
  #isRunning = false
  #isWriting = false

  constructor(parts: ManagerStatusParts) {
    this.#parts = parts
    this.#log = parts.log ?? silentLogger
  }

  start(): void {
    this.#isRunning = true
    this.poke()
  }

  stop(): void {
    this.#isRunning = false
    this.#cancel?.()
    this.#cancel = null
  }

  /** Looks now; the next look comes by itself. */
  poke(): void {
    if (!this.#isRunning) return
    this.#cancel?.()
    this.#cancel = this.#parts.timers.after(MANAGER_STATUS_MS, () => this.poke())
    if (!this.#isWriting) void this.#write()
  }

  async #write(): Promise<void> {
    const { store } = this.#parts
    const due = store.view((tx) => this.#due(tx))
    if (due.length === 0) return
    this.#isWriting = true
    try {
      await store.update((tx) => {
        for (const [id, manager] of this.#due(tx)) {
          tx.update('nodes', { ...tx.get('nodes', id)!, manager })
        }
      })
    } catch (error) {
      this.#log.debug('the managers were not written down', { error: (error as Error).message })
    } finally {
      this.#isWriting = false
    }
  }

  /** Nodes whose object does not say what is so. */
  #due(tx: ReadTransaction): [string, ManagerStatus | null][] {
    const now = new Map<string, ManagerStatus>()
    for (const one of this.#parts.member.status().members) {
      if (!one.isVoter) continue
      now.set(one.nodeId, {
        raftId: one.id,
        address: one.address,
        isLeader: one.isLeader,
        reachability: one.isReachable ? 'reachable' : 'unreachable',
      })
    }
    return tx
      .all('nodes')
      .map((node): [NodeObject, ManagerStatus | null] => [node, now.get(node.id) ?? null])
      .filter(([node, manager]) => !isSame(node.manager, manager))
      .map(([{ id }, manager]) => [id, manager])
  }
}

function isSame(one: ManagerStatus | null, other: ManagerStatus | null): boolean {
  return JSON.stringify(inOrder(one)) === JSON.stringify(inOrder(other))
}

function inOrder(status: ManagerStatus | null): readonly unknown[] {
  if (status === null) return []
  return [status.raftId, status.address, status.isLeader, status.reachability]
}
