// The networks that every node has and nobody makes. A service on one of them is on it alone: its
// tasks share the node's own network (host), are on the engine's bridge, as without any network
// (bridge), or on nothing (none). They are no objects of the store; their names are their ids.

import type { TaskSpec } from './specs.ts'

export type PredefinedNetwork = 'host' | 'bridge' | 'none'

const NAMES: ReadonlySet<string> = new Set(['host', 'bridge', 'none'])

export function isPredefined(target: string): target is PredefinedNetwork {
  return NAMES.has(target)
}

/** The one that tasks of `spec` are on, if any. */
export function predefinedNetwork({
  Networks,
}: Pick<TaskSpec, 'Networks'>): PredefinedNetwork | null {
  return (Networks ?? []).map(({ Target }) => Target).find(isPredefined) ?? null
}
