// Which nodes can take a task, as a list of filters that are asked in order. The first that a node
// does not pass is why the task cannot go there; how many nodes each turned away, most first, is
// the explanation that `docker service ps` shows. Names, order and words are Swarm's
// (SwarmKit, manager/scheduler/filter.go and pipeline.go).

import {
  type Constraint,
  ConstraintError,
  meetsConstraints,
  normalArchitecture,
  parseConstraints,
} from '../store/constraint.ts'
import type { TaskObject } from '../store/objects.ts'
import type { Placement } from '../store/specs.ts'
import { hostPortsOf, type NodeInfo, reservationsOf } from './node-info.ts'

export type Check = (info: NodeInfo) => boolean

export interface Filter {
  readonly name: string
  /** The question to ask of each node, or null when the filter does not matter to the task. */
  readonly prepare: (task: TaskObject) => Check | null
  /** True when a placement on a node can change the answer for that node. */
  readonly isDynamic: boolean
  readonly explain: (nodes: number) => string
}

const on = (nodes: number): string => (nodes === 1 ? 'on 1 node' : `on ${nodes} nodes`)

export const FILTERS: readonly Filter[] = [
  {
    name: 'ready',
    prepare: () => (info) =>
      info.node.status.state === 'ready' && info.node.spec.Availability === 'active',
    isDynamic: false,
    explain: (nodes) =>
      nodes === 1
        ? '1 node not available for new tasks'
        : `${nodes} nodes not available for new tasks`,
  },
  {
    name: 'resource',
    prepare: prepareResources,
    isDynamic: true,
    explain: (nodes) => `insufficient resources ${on(nodes)}`,
  },
  {
    name: 'plugin',
    prepare: preparePlugins,
    isDynamic: false,
    explain: (nodes) => `missing plugin ${on(nodes)}`,
  },
  {
    name: 'constraint',
    prepare: prepareConstraints,
    isDynamic: false,
    explain: (nodes) => `scheduling constraints not satisfied ${on(nodes)}`,
  },
  {
    name: 'platform',
    prepare: preparePlatforms,
    isDynamic: false,
    explain: (nodes) => `unsupported platform ${on(nodes)}`,
  },
  {
    name: 'host-port',
    prepare: prepareHostPorts,
    isDynamic: true,
    explain: (nodes) => `host-mode port already in use ${on(nodes)}`,
  },
  {
    name: 'max-replicas',
    prepare: prepareMaxReplicas,
    isDynamic: true,
    explain: () => 'max replicas per node limit exceed',
  },
]

/** The filters, made ready for tasks of one spec. */
export class Pipeline {
  private readonly all: readonly { readonly filter: Filter; readonly check: Check }[]
  private readonly dynamic: readonly Check[]

  constructor(task: TaskObject) {
    const ready = FILTERS.map((filter) => ({ filter, check: filter.prepare(task) }))
    this.all = ready.filter((one): one is { filter: Filter; check: Check } => one.check !== null)
    this.dynamic = this.all.flatMap(({ filter, check }) => (filter.isDynamic ? [check] : []))
  }

  /** True when the node can take a task. */
  accepts(info: NodeInfo): boolean {
    return this.all.every(({ check }) => check(info))
  }

  /** The same of a node that was accepted before and got tasks since. */
  stillAccepts(info: NodeInfo): boolean {
    return this.dynamic.every((check) => check(info))
  }

  /** Why none of `nodes` takes a task; '' when there is no node, or one would. */
  explain(nodes: Iterable<NodeInfo>): string {
    const counts = new Map<Filter, number>()
    for (const info of nodes) {
      const refusing = this.all.find(({ check }) => !check(info))
      if (refusing === undefined) continue
      counts.set(refusing.filter, (counts.get(refusing.filter) ?? 0) + 1)
    }
    return [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([filter, count]) => filter.explain(count))
      .join('; ')
  }
}

function prepareResources(task: TaskObject): Check | null {
  const wanted = reservationsOf(task)
  const isNothing =
    !wanted.NanoCPUs && !wanted.MemoryBytes && (wanted.GenericResources ?? []).length === 0
  return isNothing ? null : (info) => info.fits(wanted)
}

/** Drivers that every node has: its own, or the executor's. */
const BUILT_IN_VOLUME_DRIVERS = new Set(['', 'local'])
const BUILT_IN_LOG_DRIVERS = new Set(['', 'none', 'json-file', 'local'])

/** A plugin without a tag is its ":latest". */
const untagged = (name: string): string => name.replace(/:latest$/, '')

function preparePlugins(task: TaskObject): Check | null {
  const volumes = (task.spec.ContainerSpec?.Mounts ?? []).flatMap(({ Type, VolumeOptions }) => {
    const name = VolumeOptions?.DriverConfig?.Name ?? ''
    return Type === 'volume' && !BUILT_IN_VOLUME_DRIVERS.has(name) ? [name] : []
  })
  const logging = task.logDriver?.Name ?? ''
  const wanted = volumes.map((name) => `Volume/${untagged(name)}`)
  if (!BUILT_IN_LOG_DRIVERS.has(logging)) wanted.push(`Log/${untagged(logging)}`)
  if (wanted.length === 0) return null
  return ({ node }) => {
    const plugins = node.description?.engine.plugins ?? []
    return wanted.every((key) => plugins.some((p) => `${p.type}/${untagged(p.name)}` === key))
  }
}

function prepareConstraints(task: TaskObject): Check | null {
  const texts = task.spec.Placement?.Constraints ?? []
  if (texts.length === 0) return null
  let constraints: readonly Constraint[]
  try {
    constraints = parseConstraints(texts)
  } catch (error) {
    if (error instanceof ConstraintError) return () => false
    throw error
  }
  return ({ node }) => meetsConstraints(node, constraints)
}

function preparePlatforms(task: TaskObject): Check | null {
  const platforms = task.spec.Placement?.Platforms ?? []
  if (platforms.length === 0) return null
  return ({ node }) => platforms.some((platform) => runsOn(platform, node.description?.platform))
}

type Platform = NonNullable<Placement['Platforms']>[number]

/** What an image leaves open runs anywhere. */
function runsOn(
  { OS: os = '', Architecture: architecture = '' }: Platform,
  actual: { readonly os: string; readonly architecture: string } | undefined,
): boolean {
  if (os !== '' && os.toLowerCase() !== actual?.os.toLowerCase()) return false
  if (architecture === '') return true
  return normalArchitecture(architecture) === normalArchitecture(actual?.architecture ?? '')
}

function prepareHostPorts(task: TaskObject): Check | null {
  const ports = hostPortsOf(task)
  return ports.length === 0 ? null : (info) => !ports.some((key) => info.hasHostPort(key))
}

function prepareMaxReplicas(task: TaskObject): Check | null {
  const max = task.spec.Placement?.MaxReplicas ?? 0
  return max === 0 ? null : (info) => info.tasksOf(task.serviceId) < max
}
