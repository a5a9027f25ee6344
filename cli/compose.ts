// The composition root of the data plane: which engine runs behind the agent and which schedulers
// its balancer has. Tests compose the agent with a fake engine instead.

import type { EngineHandle } from '../dataplane/engine-handle.ts'
import { SCHEDULERS as BALANCER_SCHEDULERS } from '../ipvs-emulator/sched.ts'
import { EngineThread } from './engine-thread.ts'

/** Names that the tables may use for a service's scheduler. */
export const SCHEDULERS: readonly string[] = [...BALANCER_SCHEDULERS.keys()]

/** A new engine, not started. */
export function createEngine(): EngineHandle {
  return new EngineThread()
}
