// How long a task may drain: its stop grace period, at most 10 s; or what its service asks for by
// the label `weft.drain-timeout` ("30s", "2m", "500ms", "0" = do not drain).

import type { AssignedTask } from '../store/assignment.ts'
import { DRAIN_LABEL_MS_MAX, DRAIN_MS_MAX, STOP_GRACE_MS } from './limits.ts'

export const DRAIN_LABEL = 'weft.drain-timeout'

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Milliseconds; 0 for a task that nobody reaches through a service. */
export function drainTimeoutMs(task: AssignedTask): number {
  if (task.serviceId === '' || task.networks.length === 0) return 0
  const asked = parseDrainTimeout(task.serviceAnnotations.labels[DRAIN_LABEL])
  if (asked !== null) return asked
  const graceNs = task.spec.ContainerSpec?.StopGracePeriod
  const graceMs = graceNs === undefined ? STOP_GRACE_MS : graceNs / 1e6
  return Math.min(Math.max(0, graceMs), DRAIN_MS_MAX)
}

/** Null when nothing, or nothing that is understood, is asked for. */
export function parseDrainTimeout(text: string | undefined): number | null {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text ?? '')
  if (match === null) return null
  const unit = match[2]
  const value = Number(match[1])
  if (unit === undefined) return value === 0 ? 0 : null
  return Math.min(value * UNITS[unit]!, DRAIN_LABEL_MS_MAX)
}
