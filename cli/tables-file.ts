// A tables file on its way to the engine: read, parsed, validated, its key read, compiled. Either
// all of it succeeds or there is a list of problems; nothing in between.

import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { compileTables } from '../dataplane/compile.ts'
import type { CompiledTables } from '../dataplane/compiled.ts'
import { TABLES_FILE_SIZE_MAX } from '../dataplane/limits.ts'
import type { ForwardingTables } from '../dataplane/tables.ts'
import { type Problem, validateTables } from '../dataplane/validate.ts'
import { ownKeyProblem } from '../dataplane/validate-nodes.ts'
import { readPrivateKey, readTextFile } from './key-file.ts'

/** Longest text in which a mistake is looked for that JSON.parse does not place, characters. */
const SEARCHED_TEXT_MAX = 1024 * 1024

export interface LoadedTables {
  /** The file's text, to see later whether it has changed. */
  readonly text: string
  readonly compiled: CompiledTables
  /** True when the file holds a key and others than its owner may read it. */
  readonly isSecretExposed: boolean
}

/** A tables file that cannot be used. A problem with an empty path is one of the file as a whole.
 */
export class TablesError extends Error {
  override readonly name: string = 'TablesError'
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    super('the tables file is refused')
    this.problems = problems
  }
}

function refuse(path: string, message: string): never {
  throw new TablesError([{ path, message }])
}

/** Where JSON.parse gave up. Its own message quotes the text, which may hold a key. */
function jsonProblem(text: string, error: unknown): string {
  let position = positionOf(text, error)
  if (position === text.length) return 'is not JSON: it ends too early'
  if (position === null && text.length > SEARCHED_TEXT_MAX) return 'is not JSON: unexpected text'
  position ??= searchPosition(text)
  const before = text.slice(0, position).split('\n')
  const column = before.at(-1)!.length + 1
  return `is not JSON: unexpected text in line ${before.length}, column ${column}`
}

/** The position that JSON.parse names, the text's length where it wanted more of it; null where it
 * names none. */
function positionOf(text: string, error: unknown): number | null {
  const { message } = error as Error
  if (/^(Unexpected end|Unterminated)/.test(message)) return text.length
  const position = /position (\d+)/.exec(message)
  return position === null ? null : Number(position[1])
}

/** Where the first text stands that no JSON goes on with: up to there it merely ends too early. */
function searchPosition(text: string): number {
  let fine = 0
  let wrong = text.length
  while (wrong - fine > 1) {
    const middle = (fine + wrong) >>> 1
    if (mayGoOn(text.slice(0, middle))) fine = middle
    else wrong = middle
  }
  return fine
}

function mayGoOn(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch (error) {
    return positionOf(text, error) === text.length
  }
}

function privateKeyOf(file: string, tables: ForwardingTables): Uint8Array | null {
  if (tables.node.privateKeyFile === undefined) return null
  // A relative path is meant from where the tables file is.
  const path = resolve(dirname(file), tables.node.privateKeyFile)
  let key: Uint8Array
  try {
    key = readPrivateKey(path)
  } catch (error) {
    refuse('node.privateKeyFile', (error as Error).message)
  }
  const problem = ownKeyProblem(tables, key)
  if (problem !== null) throw new TablesError([problem])
  return key
}

/** Loads `file`. `schedulers` names the balancer's. Throws TablesError with every problem found. */
export function loadTables(file: string, schedulers: readonly string[]): LoadedTables {
  let text: string
  try {
    text = readTextFile(file, TABLES_FILE_SIZE_MAX)
  } catch (error) {
    refuse('', (error as Error).message)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    refuse('', jsonProblem(text, error))
  }
  const { tables, problems } = validateTables(value, { schedulers })
  if (tables === null) throw new TablesError(problems)
  const compiled = compileTables(tables, { privateKey: privateKeyOf(file, tables) })
  const { privateKey, presharedKey, presharedKeys } = tables.node
  const hasSecret = [privateKey, presharedKey, presharedKeys].some((key) => key !== undefined)
  return { text, compiled, isSecretExposed: hasSecret && (statSync(file).mode & 0o077) !== 0 }
}
