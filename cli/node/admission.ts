// How a node becomes a voter of the Raft group, on the leader: it is called back under the address
// that it gives (one that does not work would cost a vote), listens until it has the log, and only
// then votes. One after another: a membership changes by one at a time. Asking again goes on from
// where the last attempt ended.

import { status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Member } from '../../controlplane/raft/shell/member.ts'
import type { Store } from '../../controlplane/store/contract.ts'
import { ControlError } from './control-service.ts'
import { CATCH_UP_ENTRIES, CATCH_UP_MS, CATCH_UP_POLL_MS, JOINS_WAITING_MAX } from './limits.ts'
import { sleep } from './system.ts'

export interface AdmissionParts {
  readonly store: Store
  readonly member: () => Member
  /** Somebody has become a voter. */
  readonly onChange: () => void
  readonly clock: Clock
  readonly log: Logger
}

export class Admission {
  readonly #parts: AdmissionParts
  #turn: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(parts: AdmissionParts) {
    this.#parts = parts
  }

  /** Rejects with ControlError or MemberError. */
  join(nodeId: string, id: number, address: string): Promise<void> {
    if (this.#waiting >= JOINS_WAITING_MAX) {
      throw new ControlError(Status.UNAVAILABLE, 'too many managers join at once: try again')
    }
    this.#waiting += 1
    const done = this.#turn.then(() => this.#join(nodeId, id, address))
    this.#turn = done
      .catch(() => {})
      .finally(() => {
        this.#waiting -= 1
      })
    return done
  }

  async #join(nodeId: string, id: number, address: string): Promise<void> {
    const member = this.#parts.member()
    const { membership } = member
    this.#checkWanted(nodeId)
    if (!member.speaksFor(nodeId, id)) {
      throw new ControlError(Status.NOT_FOUND, `the Raft id ${id} is gone: take another`)
    }
    const known = membership.members().find((one) => one.id === id)
    const isVoter = membership.config().voters.includes(id)
    if (isVoter && known?.address === address) return
    await this.#callBack(id, address)
    if (known === undefined) {
      // What the node was before: it has lost that membership, or it would not ask for another. And
      // who was at this address before: another has answered there, as a node does that left by
      // force and joined again.
      for (const old of membership.members()) {
        const isGone = old.nodeId === nodeId || old.address === address
        if (isGone) await membership.change({ kind: 'remove', id: old.id })
      }
      await membership.change({ kind: 'add-learner', member: { id, address, nodeId } })
    } else if (known.address !== address) {
      await membership.change({ kind: 'move', id, address })
    }
    if (!isVoter) {
      await this.#caughtUp(id)
      await this.#mustStayWanted(nodeId, id)
      await membership.change({ kind: 'promote', id })
    }
    this.#parts.log.info('a manager has joined', { node: nodeId, raftId: id, address })
    this.#parts.onChange()
  }

  #checkWanted(nodeId: string): void {
    const node = this.#parts.store.view((tx) => tx.get('nodes', nodeId))
    if (node?.role === 'manager' && node.spec.Role === 'manager') return
    throw new ControlError(Status.PERMISSION_DENIED, `node ${nodeId} is not to be a manager`)
  }

  /** Who was demoted while it listened, when it was no member yet for whoever took it out, is taken
   * out here. */
  async #mustStayWanted(nodeId: string, id: number): Promise<void> {
    const { membership } = this.#parts.member()
    try {
      this.#checkWanted(nodeId)
    } catch (error) {
      const isIn = membership.members().some((one) => one.id === id)
      if (isIn) await membership.change({ kind: 'remove', id })
      throw error
    }
  }

  async #callBack(id: number, address: string): Promise<void> {
    let found: number
    try {
      found = (await this.#parts.member().membership.probe(address)).id
    } catch (error) {
      throw new ControlError(
        Status.FAILED_PRECONDITION,
        `could not connect to prospective new cluster member using its advertised address: ` +
          `${address}: ${(error as Error).message}`,
      )
    }
    if (found === id) return
    throw new ControlError(
      Status.FAILED_PRECONDITION,
      `another member answers at the advertised address ${address}`,
    )
  }

  async #caughtUp(id: number): Promise<void> {
    const { clock, member } = this.#parts
    const untilMs = clock.nowMs() + CATCH_UP_MS
    for (;;) {
      const behind = member().membership.behind(id) ?? Number.POSITIVE_INFINITY
      // In a short log a newcomer without anything is not far behind either.
      const hasSome = behind < member().metrics().lastIndex
      if (hasSome && behind <= CATCH_UP_ENTRIES) return
      if (clock.nowMs() >= untilMs || !member().isLeader) {
        throw new ControlError(Status.UNAVAILABLE, 'the log did not arrive in time: try again')
      }
      await sleep(CATCH_UP_POLL_MS)
    }
  }
}
