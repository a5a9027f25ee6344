// Generic resources: things that a node has and tasks reserve, known by a kind. A node has either a
// number of a kind ("SSD=3") or named ones ("GPU=UUID1", "GPU=UUID2"); a task asks for a number.
// What a task was given is written down in it: of named resources the names, else the number.
// After SwarmKit, api/genericresource.

import type { GenericResource } from '../store/specs.ts'

/** What is free on a node, by kind. */
export class GenericPool {
  private readonly counts = new Map<string, number>()
  private readonly names = new Map<string, Set<string>>()

  constructor(resources: readonly GenericResource[]) {
    this.put(resources)
  }

  /** How many of `kind` are free. */
  free(kind: string): number {
    return this.names.get(kind)?.size ?? this.counts.get(kind) ?? 0
  }

  /** True when every resource asked for is free. */
  has(wanted: readonly GenericResource[]): boolean {
    return sums(wanted).every(([kind, count]) => this.free(kind) >= count)
  }

  /** Takes what is asked for, which must be free; returns what exactly was taken. */
  take(wanted: readonly GenericResource[]): GenericResource[] {
    return sums(wanted).flatMap(([kind, count]): GenericResource[] => {
      const names = this.names.get(kind)
      if (names === undefined) {
        this.counts.set(kind, this.free(kind) - count)
        return [{ DiscreteResourceSpec: { Kind: kind, Value: count } }]
      }
      const taken = [...names].slice(0, count)
      for (const name of taken) names.delete(name)
      return taken.map((Value) => ({ NamedResourceSpec: { Kind: kind, Value } }))
    })
  }

  /** Takes exactly what a task was given earlier, whether or not the node still has it. */
  takeAssigned(assigned: readonly GenericResource[]): void {
    for (const { NamedResourceSpec: named, DiscreteResourceSpec: discrete } of assigned) {
      if (named !== undefined) this.names.get(named.Kind)?.delete(named.Value)
      if (discrete !== undefined && !this.names.has(discrete.Kind)) {
        this.counts.set(discrete.Kind, this.free(discrete.Kind) - discrete.Value)
      }
    }
  }

  private put(resources: readonly GenericResource[]): void {
    for (const { NamedResourceSpec: named, DiscreteResourceSpec: discrete } of resources) {
      if (named !== undefined) {
        const names = this.names.get(named.Kind) ?? new Set()
        this.names.set(named.Kind, names.add(named.Value))
      }
      if (discrete !== undefined) {
        this.counts.set(discrete.Kind, (this.counts.get(discrete.Kind) ?? 0) + discrete.Value)
      }
    }
  }
}

/** Numbers wanted, by kind. A named resource that is asked for counts as one of its kind. */
function sums(wanted: readonly GenericResource[]): [string, number][] {
  const counts = new Map<string, number>()
  for (const { NamedResourceSpec: named, DiscreteResourceSpec: discrete } of wanted) {
    if (named !== undefined) counts.set(named.Kind, (counts.get(named.Kind) ?? 0) + 1)
    if (discrete !== undefined) {
      counts.set(discrete.Kind, (counts.get(discrete.Kind) ?? 0) + discrete.Value)
    }
  }
  return [...counts]
}
