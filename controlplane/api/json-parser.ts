// A JSON parser whose complaints are those of Go's encoding/json, because the docker CLI and the
// SDKs show them, and whose numbers keep their text. Members keep order and duplicates: the decoder
// (decode.ts) matches names as Go does.
//
// Bounded: JSON_DEPTH_MAX levels; the text is bounded by whoever read it.

import { badRequest } from './errors.ts'
import { JSON_DEPTH_MAX } from './limits.ts'

/** A number as it was written. */
export class JsonNumber {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

export class JsonObject {
  readonly members: readonly (readonly [string, JsonValue])[]

  constructor(members: readonly (readonly [string, JsonValue])[]) {
    this.members = members
  }
}

export type JsonValue = null | boolean | string | JsonNumber | JsonObject | readonly JsonValue[]

/** As Go's complaints call a value. */
export function kindOf(value: JsonValue): string {
  if (value instanceof JsonNumber) return 'number'
  if (typeof value === 'string') return 'string'
  if (typeof value === 'boolean') return 'bool'
  return Array.isArray(value) ? 'array' : 'object'
}

const SPACE = /[ \t\r\n]*/y
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
/** A string without escapes, the common case. Control characters are not allowed. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what ends it
const PLAIN_STRING = /"[^"\\\u0000-\u001f]*"/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what ends it
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const LITERALS: readonly (readonly [string, null | boolean])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
]

/** Parses the one value in `text`. Throws an ApiError 400. */
export function parseJson(text: string): JsonValue {
  const parser = new Parser(text)
  const value = parser.value(0)
  parser.space()
  if (!parser.isAtEnd) throw badRequest('unexpected content after JSON')
  return value
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#text.length
  }

  space(): void {
    this.#match(SPACE)
  }

  value(depth: number): JsonValue {
    if (depth > JSON_DEPTH_MAX) throw badRequest('exceeded max depth')
    this.space()
    const next = this.#text[this.#at]
    if (next === '{') return this.#object(depth)
    if (next === '[') return this.#array(depth)
    if (next === '"') return this.#string()
    for (const [word, value] of LITERALS) {
      if (next === word[0]) return this.#literal(word, value)
    }
    if (next === '-' || (next !== undefined && next >= '0' && next <= '9')) return this.#number()
    throw this.#unexpected('looking for beginning of value')
  }

  #object(depth: number): JsonObject {
    const members: [string, JsonValue][] = []
    this.#at += 1
    this.space()
    if (this.#take('}')) return new JsonObject(members)
    for (;;) {
      this.space()
      if (this.#text[this.#at] !== '"') {
        throw this.#unexpected('looking for beginning of object key string')
      }
      const key = this.#string()
      this.space()
      if (!this.#take(':')) throw this.#unexpected('after object key')
      members.push([key, this.value(depth + 1)])
      this.space()
      if (this.#take('}')) return new JsonObject(members)
      if (!this.#take(',')) throw this.#unexpected('after object key:value pair')
    }
  }

  #array(depth: number): JsonValue[] {
    const items: JsonValue[] = []
    this.#at += 1
    this.space()
    if (this.#take(']')) return items
    for (;;) {
      items.push(this.value(depth + 1))
      this.space()
      if (this.#take(']')) return items
      if (!this.#take(',')) throw this.#unexpected('after array element')
    }
  }

  #string(): string {
    const plain = this.#match(PLAIN_STRING)
    if (plain !== null) return plain.slice(1, -1)
    const text = this.#match(STRING)
    if (text !== null) return JSON.parse(text)
    // Not well-formed: find where.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what ends it
    this.#match(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*/y)
    if (this.#text[this.#at] !== '\\') throw this.#unexpected('in string literal')
    this.#at += 1
    if (this.#text[this.#at] !== 'u') throw this.#unexpected('in string escape code')
    this.#match(/u[0-9a-fA-F]*/y)
    throw this.#unexpected('in \\u hexadecimal character escape')
  }

  #number(): JsonNumber {
    const text = this.#match(NUMBER)
    if (text === null) {
      this.#at += 1
      throw this.#unexpected('in numeric literal')
    }
    return new JsonNumber(text)
  }

  #literal(word: string, value: null | boolean): null | boolean {
    for (const expected of word) {
      if (this.#text[this.#at] !== expected) {
        throw this.#unexpected(`in literal ${word} (expecting '${expected}')`)
      }
      this.#at += 1
    }
    return value
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false
    this.#at += 1
    return true
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    if (found === null) return null
    this.#at = pattern.lastIndex
    return found[0]
  }

  #unexpected(where: string): Error {
    if (this.isAtEnd) return badRequest('unexpected EOF')
    const character = String.fromCodePoint(this.#text.codePointAt(this.#at)!)
    return badRequest(`invalid character ${quoteCharacter(character)} ${where}`)
  }
}

/** As Go quotes a character in its errors. */
function quoteCharacter(character: string): string {
  if (character === "'") return `'\\''`
  if (character === '"') return `'"'`
  const quoted = JSON.stringify(character).slice(1, -1)
  return `'${quoted.replace(/^\\u00/, '\\x')}'`
}
