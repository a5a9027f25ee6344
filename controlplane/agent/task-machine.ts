// The life of a task on its node, as a table: from where it is and what is wanted, to what is to be
// done next; from how that ended, to where it is then. SwarmKit's agent/exec Do(), without the
// doing.
//
// A task's state only goes forward. What is wanted (desiredState) is the cluster's to say: `ready`
// (prepared, and waiting for its predecessor to stop), `running` or `complete` (a job), or anything
// above, which means stopped.

import { stateRank, type TaskState, type TaskStatus } from '../store/objects.ts'
import { STATUS_TEXT_MAX } from './limits.ts'

/** `pass-*` takes no work: a state that tells others what comes next. */
export type TaskAction =
  | 'accept'
  | 'pass-preparing'
  | 'prepare'
  | 'pass-starting'
  | 'start'
  | 'wait'
  | 'shutdown'
  | 'nothing'

type Wanted = 'ready' | 'run' | 'stop'
type Row = Readonly<Record<Wanted, TaskAction>>

const DEAD: Row = { ready: 'nothing', run: 'nothing', stop: 'nothing' }

const TABLE: Readonly<Record<TaskState, Row>> = {
  // Not ours yet.
  new: DEAD,
  pending: DEAD,
  assigned: { ready: 'accept', run: 'accept', stop: 'shutdown' },
  accepted: { ready: 'pass-preparing', run: 'pass-preparing', stop: 'shutdown' },
  preparing: { ready: 'prepare', run: 'prepare', stop: 'shutdown' },
  ready: { ready: 'nothing', run: 'pass-starting', stop: 'shutdown' },
  starting: { ready: 'start', run: 'start', stop: 'shutdown' },
  running: { ready: 'wait', run: 'wait', stop: 'shutdown' },
  complete: DEAD,
  shutdown: DEAD,
  failed: DEAD,
  rejected: DEAD,
  remove: DEAD,
  orphaned: DEAD,
}

/** Where an action leads when it succeeds, with the words of `docker inspect`. */
const OUTCOMES: Readonly<Record<TaskAction, readonly [TaskState, string] | null>> = {
  accept: ['accepted', 'accepted'],
  'pass-preparing': ['preparing', 'preparing'],
  prepare: ['ready', 'prepared'],
  'pass-starting': ['starting', 'starting'],
  start: ['running', 'started'],
  wait: ['complete', 'finished'],
  shutdown: ['shutdown', 'shutdown'],
  nothing: null,
}

function wanted(desired: TaskState): Wanted {
  if (stateRank(desired) < stateRank('running')) return 'ready'
  return stateRank(desired) <= stateRank('complete') ? 'run' : 'stop'
}

/** What is to be done with a task that is in `state`. */
export function nextAction(state: TaskState, desired: TaskState): TaskAction {
  return TABLE[state][wanted(desired)]
}

/** The status after `action` has succeeded. */
export function succeeded(status: TaskStatus, action: TaskAction, nowMs: number): TaskStatus {
  const outcome = OUTCOMES[action]
  if (outcome === null) return status
  const [state, message] = outcome
  return { ...status, state, message, error: '', atMs: nowMs, isServing: state === 'running' }
}

/** The status after a step has failed for good. Before the start it was the node that could not;
 * from then on it is the task that failed. */
export function failed(status: TaskStatus, error: string, nowMs: number): TaskStatus {
  const before = stateRank(status.state) < stateRank('starting')
  return {
    ...status,
    state: before ? 'rejected' : 'failed',
    error: cut(error),
    atMs: nowMs,
    isServing: false,
  }
}

/** The status while a step is tried again. */
export function retrying(status: TaskStatus, error: string, nowMs: number): TaskStatus {
  return { ...status, error: cut(error), atMs: nowMs }
}

/** The status of a task that the node hears of for the first time. */
export function firstStatus(state: TaskState, nowMs: number): TaskStatus {
  return {
    state,
    atMs: nowMs,
    message: '',
    error: '',
    container: null,
    hostPorts: [],
    isServing: state === 'running',
  }
}

function cut(text: string): string {
  return text.length <= STATUS_TEXT_MAX ? text : `${text.slice(0, STATUS_TEXT_MAX - 1)}…`
}
