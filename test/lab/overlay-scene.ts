// What most overlay tests share: hosts with agents, containers with hands, and the agents' own
// counts.

import type { Agent } from '../../cli/lab/agent.ts'
import { type Sample, sumOf } from '../../cli/lab/metrics.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'

/** Drops of one reason, or of all. */
export async function dropsOf(agent: Agent, reason?: string): Promise<number> {
  return dropsIn(await agent.metrics(), reason)
}

export function dropsIn(samples: readonly Sample[], reason?: string): number {
  return sumOf(samples, 'weft_drops_total', reason === undefined ? {} : { reason })
}

/** What came in less what became of it: 0 when every packet is accounted for. */
export function unaccounted(samples: readonly Sample[]): number {
  const sum = (name: string): number => sumOf(samples, `weft_${name}`)
  const came = sum('frames_received_total') + sum('datagrams_received_total')
  const became = ['forwarded_total', 'answered_total', 'control_total', 'merged_total']
  return (
    came +
    sum('replicated_total') -
    became.reduce((total, name) => total + sum(name), 0) -
    dropsIn(samples) -
    sum('staged_frames')
  )
}

/** Waits until an agent has counted at least `count` more drops of a reason than `before`. */
export async function dropsReach(
  agent: Agent,
  reason: string,
  before: number,
  count: number,
): Promise<number> {
  let seen = before
  const look = async (): Promise<boolean> => {
    seen = await dropsOf(agent, reason)
    return seen >= before + count
  }
  await waitFor(look, { what: `${count} drops "${reason}" of ${agent.node}` }).catch(
    (error: Error) => {
      throw new Error(`${error.message}; there were ${seen - before}`)
    },
  )
  return seen - before
}

/** Tables in which one peer is found at another place (undefined: it calls first). */
export function placed(
  tables: ForwardingTables,
  peer: string,
  endpoint: string | undefined,
): ForwardingTables {
  const peers = tables.peers.map((each) => {
    if (each.name !== peer) return each
    const { endpoint: _, ...rest } = each
    return endpoint === undefined ? rest : { ...rest, endpoint }
  })
  return { ...tables, peers }
}

/** Increase of each drop reason between two looks; reasons that did not move are left out. */
export function dropsBetween(
  before: readonly Sample[],
  after: readonly Sample[],
): Record<string, number> {
  const moved: Record<string, number> = {}
  for (const { name, labels, value } of after) {
    if (name !== 'weft_drops_total') continue
    const reason = labels.reason ?? ''
    const more = value - dropsIn(before, reason)
    if (more > 0) moved[reason] = more
  }
  return moved
}

/** Waits until the agent's books balance (every packet accounted for), and returns what is left:
 * 0. */
export async function balance(agent: Agent): Promise<number> {
  let left = Number.NaN
  const look = async (): Promise<boolean> => {
    left = unaccounted(await agent.metrics())
    return left === 0
  }
  await waitFor(look, { what: `the books of ${agent.node} to balance` }).catch(() => {})
  return left
}
