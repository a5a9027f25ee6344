// Small integers for names that live on across table swaps. A flow remembers its endpoint or peer
// by such a number, so a number freed by a swap must not mean somebody else while a flow may still
// hold it: it rests in quarantine for longer than any flow outlives what it refers to.

import { assert } from '../base/assert.ts'

/** Longest idle timeout of a flow (TCP established, 900 s), and some. */
const QUARANTINE_MS = 1_000_000

export class StableIds {
  private readonly ids: Map<string, number> = new Map()
  private readonly freed: { id: number; atMs: number }[] = []
  private next = 0
  private readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  /** Number of a name, new if need be. */
  intern(name: string, nowMs: number): number {
    const known = this.ids.get(name)
    if (known !== undefined) return known
    const oldest = this.freed[0]
    let id: number
    if (
      oldest !== undefined &&
      (nowMs - oldest.atMs > QUARANTINE_MS || this.next === this.capacity)
    ) {
      this.freed.shift()
      id = oldest.id
    } else {
      assert(this.next < this.capacity, 'more names than the validated tables can hold')
      id = this.next++
    }
    this.ids.set(name, id)
    return id
  }

  /** Names and their numbers. */
  entries(): Iterable<[string, number]> {
    return this.ids
  }

  /** Number of a name, -1 when it has none. */
  find(name: string): number {
    return this.ids.get(name) ?? -1
  }

  /** Frees the numbers of all names that are not in `kept`; calls `gone` for each. */
  retain(kept: ReadonlySet<string>, nowMs: number, gone: (id: number, name: string) => void): void {
    for (const [name, id] of this.ids) {
      if (kept.has(name)) continue
      this.ids.delete(name)
      this.freed.push({ id, atMs: nowMs })
      gone(id, name)
    }
  }
}
