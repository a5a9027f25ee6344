// From a change of the store to what `docker events` says of it: which tables are told, and which
// differences become attributes (moby, daemon/cluster/events.go).

import type { Change, TableName } from '../store/contract.ts'
import type { NodeObject, ServiceObject } from '../store/objects.ts'

export interface SwarmEvent {
  readonly Type: string
  readonly Action: string
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> }
  readonly scope: 'swarm'
  /** Seconds, and nanoseconds, since 1970. */
  readonly time: number
  readonly timeNano: number
}

type Attributes = Readonly<Record<string, string>>
type Told = 'nodes' | 'services' | 'networks' | 'secrets' | 'configs'

const TYPES: Readonly<Record<Told, string>> = {
  nodes: 'node',
  services: 'service',
  networks: 'network',
  secrets: 'secret',
  configs: 'config',
}

/** Null when the update is not worth an event. */
const DIFFERENCES: {
  readonly nodes: (now: NodeObject, old: NodeObject) => Attributes | null
  readonly services: (now: ServiceObject, old: ServiceObject) => Attributes | null
} = {
  nodes: (now, old) => {
    const found = {
      ...pair('availability', now.spec.Availability, old.spec.Availability),
      ...pair('role', now.spec.Role, old.spec.Role),
      ...pair('state', now.status.state, old.status.state),
      ...pair('leader', String(now.manager?.isLeader), String(old.manager?.isLeader)),
      ...pair('reachability', now.manager?.reachability, old.manager?.reachability),
    }
    const isUserSpec = JSON.stringify(now.spec) !== JSON.stringify(old.spec)
    return isUserSpec || Object.keys(found).length > 0 ? found : null
  },
  services: (now, old) => ({
    ...pair('replicas', replicas(now), replicas(old)),
    ...pair('image', image(now), image(old)),
    ...pair('updatestate', now.updateStatus?.state, old.updateStatus?.state),
  }),
}

export function eventsOf(
  change: Change,
  atMs: number,
): { readonly event: SwarmEvent; readonly labels: Attributes }[] {
  if (!isTold(change.table)) return []
  const attributes = attributesOf(change)
  if (attributes === null) return []
  const { id, spec } = change.object as { id: string; spec: { Name?: string; Labels: Attributes } }
  const event: SwarmEvent = {
    Type: TYPES[change.table],
    Action: actionOf(change),
    Actor: { ID: id, Attributes: { name: nameOf(change) || spec.Name || '', ...attributes } },
    scope: 'swarm',
    time: Math.trunc(atMs / 1000),
    timeNano: Math.trunc(atMs * 1e6),
  }
  return [{ event, labels: spec.Labels }]
}

/** A service and a network that wait for their removal are gone for the user. */
function actionOf(change: Change): string {
  return isGoing(change) ? 'remove' : change.kind
}

function isGoing(change: Change): boolean {
  if (change.kind !== 'update') return false
  if (change.table !== 'services' && change.table !== 'networks') return false
  return change.object.pendingDelete && !change.old.pendingDelete
}

function attributesOf(change: Change): Attributes | null {
  if (isGoing(change)) return {}
  if (change.table === 'services' || change.table === 'networks') {
    // It was told when its removal began.
    const { pendingDelete } = change.object
    if (pendingDelete) return null
  }
  if (change.kind !== 'update') return {}
  if (change.table === 'nodes') return DIFFERENCES.nodes(change.object, change.old)
  if (change.table === 'services') return DIFFERENCES.services(change.object, change.old)
  return {}
}

function nameOf(change: Change): string | undefined {
  return change.table === 'nodes' ? change.object.description?.hostname : undefined
}

function isTold(table: TableName): table is Told {
  return Object.hasOwn(TYPES, table)
}

function pair(name: string, now: string | undefined, old: string | undefined): Attributes {
  if (now === old) return {}
  return { [`${name}.new`]: now ?? '', ...(old === undefined ? {} : { [`${name}.old`]: old }) }
}

function replicas({ spec }: ServiceObject): string | undefined {
  return spec.Mode.Replicated === undefined ? undefined : String(spec.Mode.Replicated.Replicas)
}

function image({ spec }: ServiceObject): string | undefined {
  return spec.TaskTemplate.ContainerSpec?.Image
}
