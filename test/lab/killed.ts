// An agent that is killed in the middle of something, for the tests of that.

import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { pause } from '../../cli/lab/wait.ts'

export type Outcome = 'done' | 'refused'

/** Begins something, kills the agent after `delayMs`, and starts it again. */
export async function killed(
  node: SwarmNode,
  delayMs: number,
  begin: () => Promise<unknown>,
): Promise<Outcome> {
  const begun = begin().then(
    (): Outcome => 'done',
    (): Outcome => 'refused',
  )
  await pause(delayMs)
  await node.crash()
  const outcome = await begun
  await node.start()
  return outcome
}

export async function localState(node: SwarmNode): Promise<string> {
  return (await node.info()).Swarm.LocalNodeState
}
