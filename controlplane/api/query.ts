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

/** Unlike other switches of the API, these are Go's strconv.ParseBool; absent = false. */
export function strictBoolValue(query: URLSearchParams, name: string): boolean {
  const text = query.get(name) ?? ''
  if (['', '0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true
  throw badRequest(
    `invalid value for ${name}: ${text}: strconv.ParseBool: parsing ${JSON.stringify(text)}: ` +
      'invalid syntax',
  )
}

const INT64_MAX = 2n ** 63n - 1n

/** Seconds since 1970 with decimals. Throws Go's complaint behind `before`, and 500: the Docker
 * Engine has no status for it. */
export function secondsValue(text: string, before = ''): number {
  const [whole = '', ...decimals] = text.split('.')
  const isNumber = /^[+-]?\d+$/.test(whole)
  if (isNumber && BigInt(whole.replace('+', '')) > INT64_MAX) {
    throw new ApiError(500, `${before}${parseFault(whole)}: value out of range`)
  }
  const odd = isNumber ? decimals.find((part) => !/^\d+$/.test(part)) : whole
  if (odd === undefined && decimals.length <= 1) return Number(text)
  throw new ApiError(500, `${before}${parseFault(odd ?? text)}: invalid syntax`)
}

function parseFault(text: string): string {
  return `strconv.ParseInt: parsing ${JSON.stringify(text)}`
}

/** Values by key, each key with at least one. */
export type Filters = ReadonlyMap<string, readonly string[]>

/** Parses `?filters=`; `accepted` are the keys that the endpoint knows, null = any. Engines up to
 * 20.10 answered `unreadableStatus` to filters that are no JSON, later ones 400. */
export function readFilters(
  query: URLSearchParams,
  accepted: readonly string[] | null,
  apiMinor: number,
  unreadableStatus = 500,
): Filters {
  const text = query.get('filters') ?? ''
  if (text === '') return new Map()
  const filters = parseFilters(text, apiMinor, unreadableStatus)
  for (const key of filters.keys()) {
    if (accepted === null || accepted.includes(key)) continue
    throw badRequest(apiMinor <= 41 ? `Invalid filter '${key}'` : `invalid filter '${key}'`)
  }
  // A key without values holds for everything.
  return new Map([...filters].filter(([, values]) => values.length > 0))
}

function parseFilters(
  text: string,
  apiMinor: number,
  unreadableStatus: number,
): Map<string, string[]> {
  try {
    const value = parseJson(text)
    if (value === null) return new Map()
    if (!(value instanceof JsonObject)) throw mismatch(value, 'map[string]map[string]bool')
    const filters = new Map<string, string[]>()
    for (const [key, wanted] of value.members) {
      filters.set(key, [...(filters.get(key) ?? []), ...valuesOf(wanted)])
    }
    return filters
  } catch (error) {
    if (apiMinor > 41) throw badRequest('invalid filter')
    const { message } = error as Error
    const words = message === 'unexpected EOF' ? 'unexpected end of JSON input' : message
    throw new ApiError(unreadableStatus, words)
  }
}

/** The keys of a map count whatever their booleans say. */
function valuesOf(wanted: JsonValue): string[] {
  if (wanted === null) return []
  if (wanted instanceof JsonObject) {
    const odd = wanted.members.find(([, isOn]) => typeof isOn !== 'boolean' && isOn !== null)
    if (odd !== undefined) throw mismatch(odd[1], 'bool')
    return wanted.members.map(([value]) => value)
  }
  const isTexts =
    Array.isArray(wanted) && wanted.every((value) => typeof value === 'string' || value === null)
  if (!isTexts) throw mismatch(wanted, 'map[string]bool')
  return (wanted as (string | null)[]).map((value) => value ?? '')
}

function mismatch(value: JsonValue, type: string): ApiError {
  return badRequest(`json: cannot unmarshal ${kindOf(value)} into Go value of type ${type}`)
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

const DURATION = /^(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+$/
const PART = /([\d.]+)(ns|us|µs|ms|s|m|h)/g
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}
const DATE =
  /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d(?:\.\d{1,9})?))?)?)?(Z|[+-]\d\d:\d\d)?$/

/** The filter `until`: an age ("24h"), seconds since 1970 or a date. In milliseconds since 1970;
 * null where it is not set. */
export function untilFilter(filters: Filters, nowMs: number, apiMinor: number): number | null {
  const [text, ...more] = filters.get('until') ?? []
  if (text === undefined) return null
  const ms = more.length > 0 ? null : timeOf(text, nowMs)
  if (ms !== null) return ms
  const words =
    more.length > 0
      ? 'more than one until filter specified'
      : `failed to parse value as time or duration: ${JSON.stringify(text)}`
  throw new ApiError(apiMinor <= 41 ? 500 : 400, words)
}

function timeOf(text: string, nowMs: number): number | null {
  if (DURATION.test(text)) {
    const parts = [...text.matchAll(PART)]
    return parts.reduce((left, [, count, unit]) => left - Number(count) * UNIT_MS[unit!]!, nowMs)
  }
  if (/^\d{1,15}(?:\.\d{1,9})?$/.test(text)) return Number(text) * 1000
  const match = DATE.exec(text)
  if (match === null) return null
  const [, day, hour = '00', minute = '00', second = '00', zone = ''] = match
  const ms = Date.parse(`${day}T${hour}:${minute}:${second}${zone}`)
  return Number.isNaN(ms) ? null : ms
}
