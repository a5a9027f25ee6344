// Whether, and how soon, a task that ended is followed by another in its slot. How often that
// happened is counted from the slot's history in the store, which the reaper keeps for it: so a
// change of leader does not grant new attempts.

import type { TaskObject } from '../store/objects.ts'
import type { RestartPolicy } from '../store/specs.ts'
import { OLD_TASK_SLACK_MS, OLD_TASK_WAIT_MS, RESTART_DELAY_MS, STOP_GRACE_MS } from './limits.ts'
import type { Goal } from './slots.ts'

const NANOSECONDS_PER_MS = 1e6

export function milliseconds(nanoseconds: number): number {
  return nanoseconds / NANOSECONDS_PER_MS
}

/** `history` is all tasks of the slot, `task` among them. Attempts count per version of the
 * spec. */
export function shouldRestart(
  task: TaskObject,
  history: readonly TaskObject[],
  goal: Goal,
  wallMs: number,
): boolean {
  const policy: RestartPolicy = task.spec.RestartPolicy ?? {}
  const condition = policy.Condition ?? 'any'
  if (condition === 'none') return false
  const isDone = task.status.state === 'complete'
  // A job that is complete is not begun again: "any" means "on-failure" to it.
  if (isDone && (condition === 'on-failure' || goal === 'complete')) return false
  const attempts = policy.MaxAttempts ?? 0
  return attempts === 0 || restarts(task, history, policy, wallMs) < attempts
}

/** How often the slot was filled anew, of late if there is a window. */
function restarts(
  task: TaskObject,
  history: readonly TaskObject[],
  { Window }: RestartPolicy,
  wallMs: number,
): number {
  const same = history.filter(
    (other) => other.specVersion === task.specVersion && other.jobIteration === task.jobIteration,
  )
  if (!Window) return same.length - 1
  const fromMs = Math.min(wallMs, task.status.atMs || wallMs) - milliseconds(Window)
  const first = same.reduce((a, b) => (b.meta.createdMs < a.meta.createdMs ? b : a), task)
  return same.filter((other) => other !== first && other.meta.createdMs >= fromMs).length
}

/** Between the end of a task like this and the start of the next. */
export function restartDelayMs({ spec }: TaskObject): number {
  const delay = spec.RestartPolicy?.Delay
  return delay === undefined ? RESTART_DELAY_MS : milliseconds(delay)
}

/** How long the next task of a slot waits for this one to stop. */
export function stopWaitMs({ spec }: TaskObject): number {
  const grace = spec.ContainerSpec?.StopGracePeriod
  const graceMs = grace === undefined ? STOP_GRACE_MS : milliseconds(grace)
  return Math.max(OLD_TASK_WAIT_MS, graceMs + OLD_TASK_SLACK_MS)
}
