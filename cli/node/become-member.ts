// How a manager gets into the Raft group, on the joining side: it learns from any manager who the
// members are, so that it can answer the leader, and asks the leader to be taken in, again and
// again until it votes. Whom to ask is known from the token's side or from the sessions; who does
// not lead names who does.

import type { ServiceError } from '@grpc/grpc-js'
import { status as Status } from '@grpc/grpc-js'
import type { Logger } from '../../base/log.ts'
import type { IdentityHolder } from '../../controlplane/proto/identity.ts'
import { askMembers, askToJoin, controlClientTo, leaderNamed } from './control-channel.ts'
import { JOIN_RETRY_MS, JOIN_RETRY_MS_MAX } from './limits.ts'
import type { Manager } from './manager.ts'
import { sleep } from './system.ts'

export interface JoiningParts {
  readonly manager: Manager
  readonly identity: IdentityHolder
  readonly clusterId: string
  readonly address: string
  /** Managers to ask, "address:port". */
  readonly managers: () => readonly string[]
  readonly signal: AbortSignal
  readonly log: Logger
}

/** How it ended: `gone` = this Raft id was removed, come back under another. */
export type Joining = 'member' | 'gone' | 'aborted'

export async function becomeMember(parts: JoiningParts): Promise<Joining> {
  const { manager, signal, log } = parts
  let hint: string | null = null
  for (let attempt = 0; !signal.aborted; attempt++) {
    if (manager.isVoter) return 'member'
    const others = parts.managers().filter((address) => address !== parts.address)
    const address: string | undefined = hint ?? others[attempt % Math.max(1, others.length)]
    hint = null
    if (address !== undefined) {
      try {
        await ask(address, parts)
        // The change is in force at the leader; it is here a moment later.
        await untilVoter(manager, signal)
        if (manager.isVoter) return 'member'
      } catch (error) {
        if ((error as ServiceError).code === Status.NOT_FOUND) return 'gone'
        hint = leaderNamed(error)
        log.warn('not taken in by a manager yet', { address, error: (error as Error).message })
        if (hint !== null && hint !== address) continue
      }
    }
    await sleep(Math.min(JOIN_RETRY_MS * 2 ** Math.min(attempt, 8), JOIN_RETRY_MS_MAX), signal)
  }
  return 'aborted'
}

async function ask(address: string, parts: JoiningParts): Promise<void> {
  const { manager, identity, clusterId } = parts
  const client = controlClientTo(address, identity, clusterId)
  try {
    const members = await askMembers(client)
    await manager.member.learnPeers(members.filter(({ id }) => id !== manager.member.id))
    await askToJoin(client, manager.member.id, parts.address)
  } finally {
    client.close()
  }
}

async function untilVoter(manager: Manager, signal: AbortSignal): Promise<void> {
  for (let i = 0; i < 100 && !manager.isVoter && !signal.aborted; i++) await sleep(20)
}
