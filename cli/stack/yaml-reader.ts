// Typed access to a YAML document, with the place of every value: a compose file that is wrong is
// told line and column, and the path of keys that leads there. All problems are gathered before
// anything is done.

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  Pair,
  parseDocument,
  Scalar,
  YAMLMap,
  YAMLSeq,
} from 'yaml'
import { interpolate } from './interpolate.ts'

export interface Place {
  readonly line: number
  readonly column: number
}

export interface Problem extends Place {
  /** "services.web.ports[0]"; '' for the document. */
  readonly path: string
  readonly message: string
}

/** Files larger than this are no compose files. */
export const YAML_BYTES_MAX: number = 4 * 1024 * 1024
/** Aliases that one document may expand to: YAML can say "a billion" in a few lines. */
const ALIASES_MAX = 1000

/** Everything that is wrong with files, file by file, each in its order. */
export class ComposeError extends Error {
  readonly problems: readonly Problem[]

  constructor(files: readonly YamlFile[]) {
    const problems: Problem[] = []
    const lines: string[] = []
    for (const { name, problems: found } of files) {
      const sorted = [...found].sort((a, b) => a.line - b.line || a.column - b.column)
      problems.push(...sorted)
      for (const { line, column, path, message } of sorted) {
        const where = path === '' ? '' : `${path}: `
        lines.push(`${name}:${line}:${column}: ${where}${message}`)
      }
    }
    super(lines.join('\n'))
    this.name = 'ComposeError'
    this.problems = problems
  }
}

/** Throws ComposeError when anything is wrong with any of `files`. */
export function checkFiles(files: readonly YamlFile[]): void {
  if (files.some(({ problems }) => problems.length > 0)) throw new ComposeError(files)
}

/** Files of the nodes below values that were made of several files. */
const origins = new WeakMap<Node, YamlFile>()

/** A document and what is wrong with it so far. */
export class YamlFile {
  readonly name: string
  readonly problems: Problem[] = []
  readonly root: Value
  /** For variables in texts. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly #document: Document.Parsed
  readonly #lines: LineCounter = new LineCounter()

  constructor(
    name: string,
    text: string,
    environment: Readonly<Record<string, string | undefined>> = {},
  ) {
    this.name = name
    this.environment = environment
    this.#document = parseDocument(text, { lineCounter: this.#lines, merge: true })
    for (const { message, pos } of this.#document.errors) {
      const { line, col } = this.#lines.linePos(pos[0])
      const sentence = message.split('\n')[0]!.replace(/ at line \d+.*$/, '')
      this.problems.push({ line, column: col, path: '', message: sentence })
    }
    if (this.problems.length === 0) {
      try {
        this.#document.toJS({ maxAliasCount: ALIASES_MAX })
      } catch (error) {
        this.problems.push({ line: 1, column: 1, path: '', message: (error as Error).message })
      }
    }
    this.root = new Value(this, this.#document.contents as Node | null, '')
  }

  /** Throws ComposeError when anything is wrong. */
  check(): void {
    checkFiles([this])
  }

  placeOf(node: Node | null): Place {
    const { line, col } = this.#lines.linePos(node?.range?.[0] ?? 0)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }

  resolve(node: Node | null): Node | null {
    return isAlias(node) ? ((node.resolve(this.#document) as Node | undefined) ?? null) : node
  }
}

/** One value of the document. Readers return a default for what is wrong, after they noted it. */
export class Value {
  readonly file: YamlFile
  readonly path: string
  readonly #node: Node | null

  constructor(file: YamlFile, node: Node | null, path: string) {
    this.file = (node === null ? undefined : origins.get(node)) ?? file
    this.#node = this.file.resolve(node)
    this.path = path
  }

  /** A mapping of values of any files, in the place of this one. */
  mapping(entries: Iterable<readonly [string, Value]>): Value {
    const map = new YAMLMap()
    for (const [key, value] of entries) {
      const node = value.#origin()
      // A key is where its value is: the file that it came from says more than none.
      const name = new Scalar(key)
      name.range = node.range ?? null
      origins.set(name, value.file)
      map.items.push(new Pair(name, node))
    }
    return this.#made(map)
  }

  /** A list of values of any files, in the place of this one. */
  sequence(items: readonly Value[]): Value {
    const list = new YAMLSeq()
    for (const item of items) list.items.push(item.#origin())
    return this.#made(list)
  }

  /** The entries of a mapping, or of a list of "key=value", a key without a value being null. */
  keyed(separator: string): [string, Value][] {
    if (!this.isList) return this.entries()
    return this.list().map((item): [string, Value] => {
      const node = item.#node
      const text = isScalar(node) ? String(node.value) : item.text()
      const at = text.indexOf(separator)
      const value = at < 0 ? null : text.slice(at + separator.length)
      return [at < 0 ? text : text.slice(0, at), item.#made(new Scalar(value))]
    })
  }

  #origin(): Node {
    const node = this.#node ?? new Scalar(null)
    origins.set(node, this.file)
    return node
  }

  #made(node: Node): Value {
    node.range = this.#node?.range ?? null
    origins.set(node, this.file)
    return new Value(this.file, node, this.path)
  }

  /** Absent, or null. */
  get isMissing(): boolean {
    return this.#node === null || (isScalar(this.#node) && this.#node.value === null)
  }

  get isMap(): boolean {
    return isMap(this.#node)
  }

  get isList(): boolean {
    return isSeq(this.#node)
  }

  get isText(): boolean {
    return isScalar(this.#node) && typeof this.#node.value === 'string'
  }

  problem(message: string): void {
    this.file.problems.push({ ...this.file.placeOf(this.#node), path: this.path, message })
  }

  get(key: string): Value {
    const path = this.path === '' ? key : `${this.path}.${key}`
    const own = this.#pairs().find((pair) => keyText(pair) === key)
    if (own !== undefined) return new Value(this.file, own.value as Node | null, path)
    for (const merged of this.#merged()) {
      const found = merged.get(key)
      if (!found.isMissing) return new Value(this.file, found.#node, path)
    }
    return new Value(this.file, null, path)
  }

  #pairs(): readonly Pair[] {
    return isMap(this.#node) ? this.#node.items : []
  }

  /** What "<<" brings in, later ones behind. */
  #merged(): Value[] {
    return this.#pairs()
      .filter((pair) => keyText(pair) === MERGE)
      .flatMap(({ value }) => {
        const merged = new Value(this.file, value as Node | null, this.path)
        return merged.isList ? merged.list() : [merged]
      })
  }

  /** Entries of a mapping; of anything else none, which is noted. */
  entries(): [string, Value][] {
    if (this.isMissing) return []
    if (!isMap(this.#node)) {
      this.problem('must be a mapping')
      return []
    }
    return this.keys().map((key) => [key, this.get(key)])
  }

  /** Keys in the order of the file, then those that were merged in (<<). */
  keys(): string[] {
    const own = this.#pairs().map(keyText)
    const merged = this.#merged().flatMap((value) => value.keys())
    return [...new Set([...own.filter((key) => key !== MERGE), ...merged])]
  }

  list(): Value[] {
    if (this.isMissing) return []
    if (!isSeq(this.#node)) {
      this.problem('must be a list')
      return []
    }
    return this.#node.items.map(
      (item, n) => new Value(this.file, item as Node, `${this.path}[${n}]`),
    )
  }

  /** Text, or a number or boolean as it would be written. */
  text(otherwise = ''): string {
    if (this.isMissing) return otherwise
    if (isScalar(this.#node)) {
      const { value, source } = this.#node as { value: unknown; source?: string }
      if (typeof value === 'string') return this.#interpolated(value)
      if (typeof value === 'number' || typeof value === 'boolean') return source ?? String(value)
    }
    this.problem('must be text')
    return otherwise
  }

  #interpolated(text: string): string {
    try {
      return interpolate(text, this.file.environment)
    } catch (error) {
      this.problem((error as Error).message)
      return text
    }
  }

  optionalText(): string | undefined {
    return this.isMissing ? undefined : this.text()
  }

  integer(
    least: number = Number.MIN_SAFE_INTEGER,
    most: number = Number.MAX_SAFE_INTEGER,
  ): number | undefined {
    if (this.isMissing) return undefined
    const text = this.text()
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    this.problem(
      least > Number.MIN_SAFE_INTEGER && most < Number.MAX_SAFE_INTEGER
        ? `must be an integer from ${least} to ${most}`
        : 'must be an integer',
    )
    return undefined
  }

  flag(): boolean | undefined {
    if (this.isMissing) return undefined
    const text = this.text()
    if (text === 'true' || text === 'false') return text === 'true'
    this.problem('must be a boolean')
    return undefined
  }

  /** One of `words`. */
  word<W extends string>(words: readonly W[]): W | undefined {
    if (this.isMissing) return undefined
    const text = this.text()
    const found = words.find((word) => word === text)
    if (found === undefined) this.problem(`must be one of ${words.join(', ')}`)
    return found
  }

  texts(): string[] {
    return this.list().map((value) => value.text())
  }

  /** A list, or one text. */
  textOrTexts(): string[] {
    return this.isText ? [this.text()] : this.texts()
  }

  /** A mapping, or a list of "key=value"; a key without a value gives undefined. */
  pairs(separator = '='): [string, string | undefined][] {
    if (this.isMissing) return []
    if (this.isList) {
      return this.texts().map((text) => {
        const at = text.indexOf(separator)
        return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)]
      })
    }
    return this.entries().map(([key, value]) => [key, value.optionalText()])
  }

  /** The same as an object, '' for keys without a value. */
  labels(): Record<string, string> {
    return Object.fromEntries(this.pairs().map(([key, value]) => [key, value ?? '']))
  }

  /** Notes every key that is not among `known`. Keys beginning with "x-" are the user's own. */
  allow(known: readonly string[]): void {
    for (const key of this.keys()) {
      if (known.includes(key) || key.startsWith('x-')) continue
      this.get(key).atKey(this, key).problem(`Additional property ${key} is not allowed`)
    }
  }

  /** The place of a key instead of that of its value. */
  atKey(parent: Value, key: string): Value {
    const pair = parent.#pairs().find((candidate) => keyText(candidate) === key)
    return new Value(this.file, (pair?.key as Node | undefined) ?? null, this.path)
  }
}

const MERGE = '<<'

/** The library marks a merge by a symbol of that name. */
function keyText({ key }: Pair): string {
  const value = isScalar(key) ? key.value : key
  return typeof value === 'symbol' ? (value.description ?? '') : String(value)
}
