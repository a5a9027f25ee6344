// Shapes: what a JSON value must look like, as data. A Shape is built from the small vocabulary
// below (object, list, text, integer, flag) and check() walks a value along it, telling every
// departure with its path. Nothing here knows of networks; tables-shape.ts says what tables look
// like.
//
// Goals: all problems of a file in one go, each with the path a person would use to find it
// (`networks[1].subnets[0]`); no exception and no deep recursion for any value: the walk follows
// the shape, never the value.

import { didYouMean } from './suggest.ts'

export interface Problem {
  /** "networks[1].subnets[0]"; empty for the value as a whole. */
  readonly path: string
  /** A sentence without its final stop. */
  readonly message: string
}

/** Takes problems; the collector behind it bounds how many are kept. */
export type Report = (path: string, message: string) => void

/** A rule for one text or number: null when it holds, else the words that tell what is wanted. */
export type Rule<T> = (value: T) => string | null

export type Shape =
  /** A secret text is never repeated in a message. */
  | { readonly kind: 'text'; readonly rule: Rule<string>; readonly secret: boolean }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  | { readonly kind: 'flag' }
  | { readonly kind: 'either'; readonly text: Shape; readonly integer: Shape }
  | {
      readonly kind: 'list'
      readonly item: Shape
      readonly min: number
      readonly max: number
    }
  | { readonly kind: 'object'; readonly fields: Readonly<Record<string, Field>> }

export interface Field {
  readonly shape: Shape
  readonly required: boolean
}

export function text(rule: Rule<string>): Shape {
  return { kind: 'text', rule, secret: false }
}

export function secret(rule: Rule<string>): Shape {
  return { kind: 'text', rule, secret: true }
}

export function integer(min: number, max: number): Shape {
  return { kind: 'integer', min, max }
}

export const flag: Shape = { kind: 'flag' }

export function either(textShape: Shape, integerShape: Shape): Shape {
  return { kind: 'either', text: textShape, integer: integerShape }
}

export function list(item: Shape, limits: { min?: number; max: number }): Shape {
  return { kind: 'list', item, min: limits.min ?? 0, max: limits.max }
}

export function object(fields: Readonly<Record<string, Field>>): Shape {
  return { kind: 'object', fields }
}

export function required(shape: Shape): Field {
  return { shape, required: true }
}

export function optional(shape: Shape): Field {
  return { shape, required: false }
}

/** How long a value may be when a message repeats it. */
const SHOWN_LENGTH_MAX = 60

/** A value as a message shows it. */
export function shown(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  const whole = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return whole.length > SHOWN_LENGTH_MAX ? `${whole.slice(0, SHOWN_LENGTH_MAX)}...` : whole
}

export function at(path: string, key: string | number): string {
  if (typeof key === 'number') return `${path}[${key}]`
  const named = /^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key)
  return path === '' ? named : `${path}.${named}`
}

function checkObject(
  value: object,
  fields: Readonly<Record<string, Field>>,
  path: string,
  report: Report,
): void {
  const known = Object.keys(fields)
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(fields, key)) continue
    report(at(path, key.slice(0, SHOWN_LENGTH_MAX)), `unknown key${didYouMean(key, known)}`)
  }
  for (const [key, field] of Object.entries(fields)) {
    if (!Object.hasOwn(value, key)) {
      if (field.required) report(at(path, key), 'is missing')
      continue
    }
    check((value as Record<string, unknown>)[key], field.shape, at(path, key), report)
  }
}

/** Walks `value` along `shape` and reports each departure. */
export function check(value: unknown, shape: Shape, path: string, report: Report): void {
  switch (shape.kind) {
    case 'flag':
      if (typeof value !== 'boolean') report(path, `must be true or false, not ${shown(value)}`)
      return
    case 'integer':
      if (!Number.isInteger(value) || Object.is(value, -0)) {
        report(path, `must be a whole number, not ${shown(value)}`)
      } else if ((value as number) < shape.min || (value as number) > shape.max) {
        report(path, `must be ${shape.min} to ${shape.max}, not ${shown(value)}`)
      }
      return
    case 'text': {
      if (typeof value !== 'string') {
        report(path, `must be text${shape.secret ? '' : `, not ${shown(value)}`}`)
        return
      }
      const complaint = shape.rule(value)
      if (complaint !== null) {
        report(path, shape.secret ? complaint : `${complaint}, not ${shown(value)}`)
      }
      return
    }
    case 'either':
      check(value, typeof value === 'number' ? shape.integer : shape.text, path, report)
      return
    case 'list':
      if (!Array.isArray(value)) {
        report(path, `must be a list, not ${shown(value)}`)
        return
      }
      if (value.length < shape.min) report(path, `needs at least ${shape.min} entry`)
      if (value.length > shape.max) {
        report(path, `has ${value.length} entries, at most ${shape.max} are supported`)
        return
      }
      for (let i = 0; i < value.length; i++) check(value[i], shape.item, at(path, i), report)
      return
    case 'object':
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        report(path, `must be an object, not ${shown(value)}`)
        return
      }
      checkObject(value, shape.fields, path, report)
  }
}
