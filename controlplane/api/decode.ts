// Decoding JSON by a description of the type, as Go's encoding/json decodes it by reflection
// (moby's types), so that one table of fields says three things: which names a request may use, in
// any case; what a value must be, with Go's complaint when it is not; and what is left out of an
// answer when it is empty. What comes out is the object that the store keeps and the API shows.
//
//   - A member whose name no field has, even when case is ignored, is left out.
//   - null leaves a value as it is, or empties what may be absent.
//   - The first mismatch is reported, after the whole text was found to be JSON.
//   - Integers above 2^53 lose their last digits: nothing here counts that far. None grows by that:
//     the largest of 64 bits would be shown as one more than Go's clients can read.

import { badRequest } from './errors.ts'
import { JsonNumber, JsonObject, type JsonValue, kindOf, parseJson } from './json-parser.ts'

/** How Go names a type in its complaints, and what belongs into it. */
export type Shape =
  | { readonly kind: 'string' | 'bool' | 'float'; readonly go: string }
  | { readonly kind: 'integer'; readonly go: string; readonly min: bigint; readonly max: bigint }
  /** Base64 text. */
  | { readonly kind: 'bytes'; readonly go: string }
  | { readonly kind: 'list' | 'map'; readonly go: string; readonly of: Shape }
  | Struct

export interface Struct {
  readonly kind: 'struct'
  readonly go: string
  readonly fields: Readonly<Record<string, Field>>
}

/** `omit`: left out when empty or zero. `keep`: always there. `pointer`: there when it was given,
 * even if empty or zero. */
export interface Field {
  readonly shape: Shape
  readonly presence: 'omit' | 'keep' | 'pointer'
}

const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127

export const STRING: Shape = { kind: 'string', go: 'string' }
export const BOOL: Shape = { kind: 'bool', go: 'bool' }
export const FLOAT32: Shape = { kind: 'float', go: 'float32' }
export const BYTES: Shape = { kind: 'bytes', go: '[]uint8' }

function integer(go: string, bits: number, isSigned: boolean): Shape {
  const span = 1n << BigInt(bits)
  if (!isSigned) return { kind: 'integer', go, min: 0n, max: span - 1n }
  return { kind: 'integer', go, min: -span / 2n, max: span / 2n - 1n }
}

export const INT: Shape = integer('int', 64, true)
export const INT64: Shape = integer('int64', 64, true)
export const UINT64: Shape = integer('uint64', 64, false)
export const UINT32: Shape = integer('uint32', 32, false)
/** Nanoseconds. */
export const DURATION: Shape = integer('time.Duration', 64, true)
export const FILE_MODE: Shape = integer('fs.FileMode', 32, false)

export const list = (of: Shape): Shape => ({ kind: 'list', go: `[]${of.go}`, of })
export const map = (of: Shape): Shape => ({ kind: 'map', go: `map[string]${of.go}`, of })
/** A list of Go's pointers: its complaints name them. */
export const listOfPointers = (of: Shape): Shape => ({ kind: 'list', go: `[]*${of.go}`, of })
/** A string of a type of its own. */
export const named = (go: string): Shape => ({ kind: 'string', go })
export const keep = (shape: Shape): Field => ({ shape, presence: 'keep' })
export const pointer = (shape: Shape): Field => ({ shape, presence: 'pointer' })

export const LABELS: Shape = map(STRING)
export const STRINGS: Shape = list(STRING)

/** `go`: with its package, as "swarm.ServiceSpec". A bare shape is a field that is left out when
 * empty. */
export function struct(go: string, fields: Readonly<Record<string, Shape | Field>>): Struct {
  const entries = Object.entries(fields).map(([name, field]): [string, Field] => [
    name,
    'presence' in field ? field : { shape: field, presence: 'omit' },
  ])
  return { kind: 'struct', go, fields: Object.fromEntries(entries) }
}

/** Decodes `text`. Throws an ApiError 400 with Go's words. */
export function decodeJson(shape: Struct, text: string): unknown {
  return decodeValue(shape, parseJson(text))
}

/** `value` with its members in the order of the table, as Go writes them; others come last. */
export function inOrder<V>(shape: Shape, value: V): V {
  if (shape.kind === 'list' && Array.isArray(value)) {
    return value.map((item) => inOrder(shape.of, item)) as V
  }
  if (shape.kind !== 'struct' || typeof value !== 'object' || value === null) return value
  const given = value as Readonly<Record<string, unknown>>
  const known = Object.entries(shape.fields).filter(([name]) => given[name] !== undefined)
  const ordered = known.map(([name, field]) => [name, inOrder(field.shape, given[name])])
  const others = Object.entries(given).filter(([name]) => !Object.hasOwn(shape.fields, name))
  return Object.fromEntries([...ordered, ...others]) as V
}

function decodeValue(shape: Shape, value: JsonValue): unknown {
  const decoder = new Decoder()
  const decoded = decoder.value(shape, value, [], '')
  if (decoder.mismatch !== null) throw badRequest(`json: cannot unmarshal ${decoder.mismatch}`)
  return decoded
}

class Decoder {
  /** The first one. */
  mismatch: string | null = null

  /** `path`: names of the fields that lead here; `owner`: the struct that the last is in. */
  value(shape: Shape, value: JsonValue, path: readonly string[], owner: string): unknown {
    if (shape.kind === 'struct') return this.#struct(shape, value, path, owner)
    if (value === null) return zero(shape)
    switch (shape.kind) {
      case 'string':
        return typeof value === 'string' ? value : this.#wrong(shape, value, path, owner)
      case 'bool':
        return typeof value === 'boolean' ? value : this.#wrong(shape, value, path, owner)
      case 'float':
        return this.#float(shape, value, path, owner)
      case 'integer':
        return this.#integer(shape, value, path, owner)
      case 'bytes':
        return this.#bytes(shape, value, path, owner)
      case 'list':
        if (!Array.isArray(value)) return this.#wrong(shape, value, path, owner)
        return (value as JsonValue[]).map((item) => this.value(shape.of, item, path, owner))
      case 'map': {
        if (!(value instanceof JsonObject)) return this.#wrong(shape, value, path, owner)
        const entries = value.members.map(([key, item]): [string, unknown] => [
          key,
          this.value(shape.of, item, path, owner),
        ])
        // In the order in which Go writes a map.
        return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      }
    }
  }

  #struct(shape: Struct, value: JsonValue, path: readonly string[], owner: string): unknown {
    const isObject = value instanceof JsonObject
    if (!isObject && value !== null) this.#wrong(shape, value, path, owner)
    const given = matchMembers(shape, isObject ? value : new JsonObject([]))
    const name = shape.go.slice(shape.go.indexOf('.') + 1)
    const decoded: Record<string, unknown> = {}
    for (const [field, { shape: inner, presence }] of Object.entries(shape.fields)) {
      const member = given.get(field) ?? null
      if (presence === 'pointer' && member === null) continue
      if (presence !== 'pointer' && member === null && inner.kind === 'struct') {
        if (presence === 'omit') continue
      }
      const result = this.value(inner, member, [...path, field], name)
      if (presence === 'omit' && isEmpty(result)) continue
      decoded[field] = result
    }
    return decoded
  }

  /** Kept as it was written: 0.3 and not the nearest of 32 bits. */
  #float(shape: Shape, value: JsonValue, path: readonly string[], owner: string): unknown {
    if (!(value instanceof JsonNumber)) return this.#wrong(shape, value, path, owner)
    const number = Number(value.text)
    if (Math.abs(number) <= FLOAT32_MAX) return number
    return this.#wrong(shape, value, path, owner, ` ${value.text}`)
  }

  #integer(
    shape: Shape & { readonly kind: 'integer' },
    value: JsonValue,
    path: readonly string[],
    owner: string,
  ): unknown {
    if (!(value instanceof JsonNumber)) return this.#wrong(shape, value, path, owner)
    const isWhole = /^-?\d{1,20}$/.test(value.text)
    const exact = isWhole ? BigInt(value.text) : null
    if (exact === null || exact < shape.min || exact > shape.max) {
      return this.#wrong(shape, value, path, owner, ` ${value.text}`)
    }
    return withinDigits(exact, shape)
  }

  #bytes(shape: Shape, value: JsonValue, path: readonly string[], owner: string): unknown {
    if (typeof value !== 'string') return this.#wrong(shape, value, path, owner)
    const text = value.replaceAll(/[\r\n]/g, '')
    const bad = /[^A-Za-z0-9+/]/.exec(text.replace(/={1,2}$/, ''))
    if (bad !== null || text.length % 4 !== 0) {
      throw badRequest(`illegal base64 data at input byte ${bad?.index ?? text.length & ~3}`)
    }
    return text
  }

  #wrong(
    shape: Shape,
    value: JsonValue,
    path: readonly string[],
    owner: string,
    literal = '',
  ): unknown {
    if (this.mismatch === null) {
      const where = path.length === 0 ? 'value' : `struct field ${owner}.${path.join('.')}`
      this.mismatch = `${kindOf(value)}${literal} into Go ${where} of type ${shape.go}`
    }
    return zero(shape)
  }
}

/** The number next to `exact` whose text is within the bounds. */
function withinDigits(
  exact: bigint,
  { min, max }: { readonly min: bigint; readonly max: bigint },
): number {
  const near = Number(exact)
  // Below 1e21, so without an exponent.
  const shown = BigInt(String(near))
  return shown >= min && shown <= max ? near : near * (1 - Number.EPSILON / 2)
}

/** Members by the field that they belong to; the last of several counts. An exact name goes before
 * one that differs in case. */
function matchMembers(shape: Struct, object: JsonObject): Map<string, JsonValue> {
  const given = new Map<string, JsonValue>()
  for (const [key, value] of object.members) {
    const field = Object.hasOwn(shape.fields, key) ? key : folded(shape).get(key.toLowerCase())
    if (field !== undefined && (value !== null || !given.has(field))) given.set(field, value)
  }
  return given
}

const FOLDED = new WeakMap<Struct, ReadonlyMap<string, string>>()

function folded(shape: Struct): ReadonlyMap<string, string> {
  let names = FOLDED.get(shape)
  if (names === undefined) {
    names = new Map(Object.keys(shape.fields).map((name) => [name.toLowerCase(), name]))
    FOLDED.set(shape, names)
  }
  return names
}

function zero(shape: Shape): unknown {
  switch (shape.kind) {
    case 'string':
    case 'bytes':
      return ''
    case 'bool':
      return false
    case 'float':
    case 'integer':
      return 0
    case 'list':
      return []
    default:
      return {}
  }
}

function isEmpty(value: unknown): boolean {
  if (value === '' || value === 0 || value === false || value === null) return true
  if (Array.isArray(value)) return value.length === 0
  return typeof value === 'object' && Object.keys(value as object).length === 0
}
