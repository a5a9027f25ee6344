// The role that a node has follows the role that it should have (NodeSpec.Role), on the leader, one
// node at a time. The order is what matters:
//
//   promote   role := manager. The node sees it in its session, renews its certificate, which is a
//             manager's now, and joins the Raft group.
//   demote    first out of the Raft group, then role := worker. The other way round a node with a
//             worker's certificate would still vote. A leader does not demote itself: it hands
//             over, and the next one goes on from here.
//
// A removal that would cost the group its majority is refused by the group; it is tried again until
// it can be done or is not wanted any more. A node that is wanted back as a manager while it is
// being taken out comes back as a new member, as a Raft id that was removed never returns.

import { type Logger, silentLogger } from '../../base/log.ts'
import type { Store, WriteTransaction } from '../store/contract.ts'
import type { NodeObject } from '../store/objects.ts'
import { words } from './errors.ts'
import { ROLE_RETRY_MS } from './limits.ts'
import { Loop, type Sleep } from './loop.ts'

/** What is asked of the Raft group, here on its leader. */
export interface RaftGroup {
  /** This member's own Raft id. */
  readonly self: number
  /** Raft ids of the node's members, voting or not. The node's object says it later. */
  membersOf(nodeId: string): readonly number[]
  /** Rejects when the rest would be too few to go on. */
  remove(raftId: number): Promise<void>
  /** Makes another member the leader. */
  handOver(): Promise<void>
}

export interface RoleManagerOptions {
  readonly store: Store
  readonly raft: RaftGroup
  readonly sleep: Sleep
  readonly log?: Logger
}

/** A pause without anything to do: the watch ends it. */
const IDLE_MS = 60_000

export class RoleManager {
  readonly #options: RoleManagerOptions
  readonly #log: Logger
  readonly #loop: Loop
  #endWatch: (() => void) | null = null

  constructor(options: RoleManagerOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#loop = new Loop({
      sleep: options.sleep,
      step: () => this.#step(),
      onError: (error) => this.#log.warn('a role could not be changed', { error: words(error) }),
      retryMs: ROLE_RETRY_MS,
    })
  }

  /** To be called when this node becomes leader. */
  start(): void {
    this.#endWatch ??= this.#options.store.watch((event) => {
      const isAbout =
        event.kind === 'reset' ||
        event.changes.some(
          (change) => change.table === 'nodes' && change.kind !== 'remove' && isDue(change.object),
        )
      if (isAbout) this.#loop.wake()
    })
    this.#loop.start()
  }

  async stop(): Promise<void> {
    this.#endWatch?.()
    this.#endWatch = null
    await this.#loop.stop()
  }

  async #step(): Promise<number> {
    const due = this.#options.store.view((tx) => tx.all('nodes')).filter(isDue)
    let isDone = true
    // The leader comes last: after it has handed over, this loop does not go on.
    for (const node of due.sort((a, b) => Number(this.#isSelf(a)) - Number(this.#isSelf(b)))) {
      try {
        await this.#change(node)
      } catch (error) {
        isDone = false
        const fields = { node: node.id, role: node.spec.Role, error: words(error) }
        this.#log.warn('a role could not be changed', fields)
      }
    }
    return isDone ? IDLE_MS : ROLE_RETRY_MS
  }

  async #change(node: NodeObject): Promise<void> {
    const { store } = this.#options
    if (node.spec.Role === 'manager') {
      await store.update((tx) => {
        const now = tx.get('nodes', node.id)
        if (now?.spec.Role === 'manager') tx.update('nodes', { ...now, role: 'manager' })
      })
      return
    }
    if (await this.#leaveGroup(node)) await store.update((tx) => makeWorker(tx, node))
  }

  /** True when the node is out of the Raft group. */
  async #leaveGroup(node: NodeObject): Promise<boolean> {
    const { raft } = this.#options
    if (this.#isSelf(node)) {
      this.#log.info('handing over before this node is demoted', { node: node.id })
      await raft.handOver()
      return false
    }
    for (const raftId of raft.membersOf(node.id)) await raft.remove(raftId)
    return true
  }

  #isSelf({ id }: NodeObject): boolean {
    const { raft } = this.#options
    return raft.membersOf(id).includes(raft.self)
  }
}

function isDue({ spec, role }: NodeObject): boolean {
  return spec.Role !== role
}

/** Also when it is wanted back by now: then it is promoted anew, and joins as another member. One
 * that has become another member meanwhile is left alone. */
function makeWorker(tx: WriteTransaction, node: NodeObject): void {
  const now = tx.get('nodes', node.id)
  if (now === undefined || now.manager?.raftId !== node.manager?.raftId) return
  tx.update('nodes', { ...now, role: 'worker', manager: null })
}
