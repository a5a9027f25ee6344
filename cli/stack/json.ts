// Pieces of a request, and what in them says nothing.

import { durationNs } from './units.ts'
import type { Value } from './yaml-reader.ts'

export type Json = Record<string, unknown>

/** An object without the members that say nothing. */
export function compact(object: Json): Json {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => {
      if (value === undefined || value === null) return false
      if (Array.isArray(value)) return value.length > 0
      return typeof value !== 'object' || Object.keys(value).length > 0
    }),
  )
}

export function duration(value: Value): number | undefined {
  const text = value.optionalText()
  if (text === undefined) return undefined
  const parsed = durationNs(text)
  if (parsed === undefined) value.problem(`invalid duration "${text}"`)
  return parsed
}
