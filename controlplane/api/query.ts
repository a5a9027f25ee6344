// Query parameters as the Docker Engine reads them: booleans of any spelling, versions, filters in
// the form of the CLI ({"label":{"a=b":true}}) and of the SDKs ({"label":["a=b"]}).

import { ApiError, badRequest } from './errors.ts'
import { JsonObject, type JsonValue, kindOf, parseJson } from './json-parser.ts'

const FALSE = new Set(['', '0', 'no', 'false', 'none'])

/** Anything but a handful of words is true (moby, daemon/server/httputils/form.go). */
export function boolValue(query: URLSearchParams, name: string): boolean {
  return !FALSE.has((query.get(name) ?? '').trim().toLowerCase())
}

/** As boolValue; absent = `absent`. */
export function boolValueOr(query: URLSearchParams, name: string, absent: boolean): boolean {
  return query.has(name) ? boolValue(query, name) : absent
}

/** Of `?version=`. `noun` as in "invalid swarm version". */
export function versionValue(
  query: URLSearchParams,
  complaint: (reason: string) => string,
): number {
  const text = query.get('version') ?? ''
  if (/^\d+$/.test(text)) {
    if (BigInt(text) < 1n << 64n) return Number(text)
    throw badRequest(
      complaint(`strconv.ParseUint: parsing ${JSON.stringify(text)}: value out of range`),
    )
  }
  throw badRequest(complaint(`strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`))
}

/** Values by key, each key with at least one. */
export type Filters = ReadonlyMap<string, readonly string[]>

/** Parses `?filters=`; `accepted` are the keys that the endpoint knows. */
export function readFilters(
  query: URLSearchParams,
  accepted: readonly string[],
  apiMinor: number,
): Filters {
  const text = query.get('filters') ?? ''
  const filters = text === '' ? new Map<string, string[]>() : parseFilters(text, apiMinor)
  for (const key of filters.keys()) {
    if (accepted.includes(key)) continue
    throw badRequest(apiMinor <= 41 ? `Invalid filter '${key}'` : `invalid filter '${key}'`)
  }
  return filters
}

function parseFilters(text: string, apiMinor: number): Map<string, string[]> {
  const value = read(text, apiMinor)
  if (!(value instanceof JsonObject)) throw mismatch(value, 'map[string]map[string]bool', apiMinor)
  const filters = new Map<string, string[]>()
  for (const [key, wanted] of value.members) {
    const values = valuesOf(wanted, apiMinor)
    if (values.length > 0) filters.set(key, [...(filters.get(key) ?? []), ...values])
  }
  return filters
}

function valuesOf(wanted: unknown, apiMinor: number): string[] {
  if (wanted instanceof JsonObject) {
    return wanted.members.filter(([, isOn]) => isOn !== false).map(([value]) => value)
  }
  if (Array.isArray(wanted) && wanted.every((value) => typeof value === 'string')) return wanted
  throw mismatch(wanted, 'map[string]bool', apiMinor)
}

function mismatch(value: unknown, type: string, apiMinor: number): ApiError {
  const kind = kindOf(value as JsonValue)
  return unreadable(`json: cannot unmarshal ${kind} into Go value of type ${type}`, apiMinor)
}

function read(text: string, apiMinor: number): unknown {
  try {
    return parseJson(text)
  } catch (error) {
    throw unreadable((error as Error).message, apiMinor)
  }
}

/** Engines up to 20.10 answered 500 to filters that are no JSON, later ones 400. */
function unreadable(message: string, apiMinor: number): ApiError {
  return apiMinor <= 41 ? new ApiError(500, message) : badRequest(message)
}

/** True when the filter is not set, or one of its values is `value` or the beginning of it. */
export function matchesPrefix(filters: Filters, key: string, value: string): boolean {
  const wanted = filters.get(key)
  return wanted === undefined || wanted.some((prefix) => value.startsWith(prefix))
}

/** True when the filter is not set, or one of its values is one of `values`. */
export function matchesOne(filters: Filters, key: string, values: readonly string[]): boolean {
  const wanted = filters.get(key)
  return wanted === undefined || wanted.some((value) => values.includes(value))
}

/** Every value of the filter must hold: "key" = has it, "key=value" = has it with this value. */
export function matchesLabels(
  filters: Filters,
  key: string,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return (filters.get(key) ?? []).every((wanted) => {
    const at = wanted.indexOf('=')
    const name = at < 0 ? wanted : wanted.slice(0, at)
    if (labels === undefined || !Object.hasOwn(labels, name)) return false
    return at < 0 || labels[name] === wanted.slice(at + 1)
  })
}
