// What every object's JSON begins with, and times as Go writes them.

import type { AnyObject } from '../store/contract.ts'

/** RFC 3339 with as many decimals as are needed: "2026-11-23T10:10:48.287Z". */
export function time(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0+Z$/, 'Z')
}

/** How Go writes a time that was never set. */
export const NO_TIME = '0001-01-01T00:00:00Z'

export function head({ id, meta }: AnyObject): Record<string, unknown> {
  return {
    ID: id,
    Version: version(meta.version),
    CreatedAt: time(meta.createdMs),
    UpdatedAt: time(meta.updatedMs),
  }
}

/** Go leaves a zero out. */
export function version(index: number): { readonly Index?: number } {
  return index === 0 ? {} : { Index: index }
}

/** In order of their ids, as a real manager lists them. */
export function byId<O extends { readonly id: string }>(objects: readonly O[]): O[] {
  return [...objects].sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** `object` without the members that are undefined, empty text, 0 or false: Go's omitempty. */
export function omitEmpty<O extends object>(object: O): Partial<O> {
  const kept = Object.entries(object).filter(
    ([, value]) => value !== undefined && value !== '' && value !== 0 && value !== false,
  )
  return Object.fromEntries(kept) as Partial<O>
}
