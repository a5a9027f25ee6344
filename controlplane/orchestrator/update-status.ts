// The states of an update and the words that users see of them, as a table. What begins one from
// outside is the API's: a new spec has no update status, a requested rollback has
// "rollback_started" with the message "manually requested rollback".

import type { ServiceObject, UpdateState } from '../store/objects.ts'
import type { UpdateConfig } from '../store/specs.ts'

type Status = NonNullable<ServiceObject['updateStatus']>

/** `because`: the task that an update failed on. */
export const MESSAGES: Readonly<Record<UpdateState, (because: string) => string>> = {
  updating: () => 'update in progress',
  completed: () => 'update completed',
  paused: (id) => `update paused due to failure or early termination of task ${id}`,
  rollback_started: (id) => `update rolled back due to failure or early termination of task ${id}`,
  rollback_completed: () => 'rollback completed',
  rollback_paused: (id) => `rollback paused due to failure or early termination of task ${id}`,
}

/** What a failure leads to, by the state it comes in. A rollback is never rolled back. */
export function stateAfterFailure(
  state: UpdateState | undefined,
  action: UpdateConfig['FailureAction'],
  hasPrevious: boolean,
): UpdateState | null {
  if (action === 'continue') return null
  if (state === 'rollback_started') return 'rollback_paused'
  return action === 'rollback' && hasPrevious ? 'rollback_started' : 'paused'
}

export function stateAfterSuccess(state: UpdateState | undefined): UpdateState {
  return state === 'rollback_started' ? 'rollback_completed' : 'completed'
}

const IS_OVER: ReadonlySet<UpdateState> = new Set<UpdateState>(['completed', 'rollback_completed'])

export function statusOf(
  state: UpdateState,
  before: Status | null,
  wallMs: number,
  because: string = '',
): Status {
  return {
    state,
    startedMs: before?.startedMs ?? wallMs,
    completedMs: IS_OVER.has(state) ? wallMs : null,
    message: MESSAGES[state](because),
  }
}
