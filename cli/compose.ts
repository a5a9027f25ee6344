// The composition root of the data plane: which engine runs behind the agent and which schedulers its
// balancer has. Tests compose the agent with a fake engine instead.

import type { EngineHandle } from '../dataplane/engine-handle.ts'

// Found at run time: the engine's worker must not be loaded by verbs that do not run it.
const ENGINE: string = '../dataplane/engine.ts'

/** Names that the tables may use for a service's scheduler. */
export const SCHEDULERS: readonly string[] = ['rr', 'wrr', 'lc', 'wlc']

/** A new engine, not started. */
export async function createEngine(): Promise<EngineHandle> {
  const { createEngine: create } = (await import(ENGINE)) as { createEngine: () => EngineHandle }
  return create()
}
