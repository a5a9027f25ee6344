// Options of the commands that ask the Engine API, as data, and how a command line is read against
// them: as the docker CLI does (pflag). An option's value may begin with "-"; a flag may be given
// as "--flag=false"; a command that hands a command line on stops at its first operand.

import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { didYouMean } from '../../dataplane/suggest.ts'
import { UsageError } from '../exit.ts'

export interface CommandOption {
  /** `list` may be given several times. */
  readonly type: 'flag' | 'text' | 'list'
  readonly short?: string
  /** What a text is called in the help: "DURATION". */
  readonly value?: string
  readonly help: string
}

export type Options = Readonly<Record<string, CommandOption>>

export const flag = (help: string, short?: string): CommandOption => ({
  type: 'flag',
  help,
  ...(short === undefined ? {} : { short }),
})

export const text = (value: string, help: string, short?: string): CommandOption => ({
  type: 'text',
  value,
  help,
  ...(short === undefined ? {} : { short }),
})

export const list = (value: string, help: string, short?: string): CommandOption => ({
  ...text(value, help, short),
  type: 'list',
})

/** What was given on a command line. */
export interface Given {
  /** True where the flag is on. */
  flag(name: string): boolean
  /** Undefined when it was not given. */
  text(name: string): string | undefined
  list(name: string): readonly string[]
  /** Also true of a flag that was turned off. */
  isGiven(name: string): boolean
}

/** Values by option name, as node:util's parseArgs gives them. */
export class GivenOptions implements Given {
  readonly #values: Readonly<Record<string, unknown>>

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values
  }

  flag(name: string): boolean {
    return this.#values[name] === true
  }

  text(name: string): string | undefined {
    const value = this.#values[name]
    return typeof value === 'string' ? value : undefined
  }

  list(name: string): readonly string[] {
    const value = this.#values[name]
    return Array.isArray(value) ? value.map(String) : []
  }

  isGiven(name: string): boolean {
    return this.#values[name] !== undefined
  }
}

export interface CommandLine {
  readonly given: Given
  readonly operands: readonly string[]
}

/** Words of strconv.ParseBool. */
const WORDS: Readonly<Record<string, boolean>> = Object.fromEntries([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true]),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false]),
])

/** Throws UsageError. `stopsAtOperand`: everything behind the first operand is one as well. */
export function parseCommandLine(
  known: Options,
  args: readonly string[],
  stopsAtOperand: boolean,
): CommandLine {
  const config: ParseArgsOptionsConfig = {}
  for (const [name, { type, short }] of Object.entries(known)) {
    config[name] = {
      type: type === 'flag' ? 'boolean' : 'string',
      multiple: type === 'list',
      ...(short === undefined ? {} : { short }),
    }
  }
  const { words, operands, refused } = split(args, known, stopsAtOperand)
  try {
    const { values } = parseArgs({ args: words, options: config })
    for (const name of refused) values[name] ??= false
    return { given: new GivenOptions(values), operands }
  } catch (error) {
    const unknown = /^Unknown option '([^']+)'/.exec((error as Error).message)
    if (unknown === null) throw new UsageError((error as Error).message)
    const names = Object.keys(known).map((one) => `--${one}`)
    const hint = didYouMean(unknown[1]!, names)
    throw new UsageError(`unknown option "${unknown[1]}"${hint}`)
  }
}

interface Split {
  /** Options alone, each value joined to its option. */
  readonly words: string[]
  readonly operands: string[]
  /** Flags given as false. */
  readonly refused: Set<string>
}

function split(args: readonly string[], known: Options, stopsAtOperand: boolean): Split {
  const byLetter = new Map(Object.entries(known).map(([name, { short }]) => [short, name]))
  const found: Split = { words: [], operands: [], refused: new Set() }
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!
    if (arg === '--') {
      found.operands.push(...args.slice(at + 1))
      break
    }
    if (arg === '-' || !arg.startsWith('-')) {
      found.operands.push(...(stopsAtOperand ? args.slice(at) : [arg]))
      if (stopsAtOperand) break
      continue
    }
    const [, long, letter, value] = /^(?:--([^=]+)|-([^-=]))(?:=(.*))?$/s.exec(arg) ?? []
    const name = long ?? byLetter.get(letter)
    const option = name !== undefined && Object.hasOwn(known, name) ? known[name] : undefined
    if (option === undefined) found.words.push(arg)
    else if (option.type === 'flag') addFlag(found, name!, value)
    else if (value !== undefined) found.words.push(`--${name}=${value}`)
    else if (at + 1 < args.length) found.words.push(`--${name}=${args[++at]}`)
    else found.words.push(arg)
  }
  return found
}

function addFlag({ words, refused }: Split, name: string, value: string | undefined): void {
  const word = value === undefined ? true : Object.hasOwn(WORDS, value) ? WORDS[value] : undefined
  if (word === undefined) throw new UsageError(`invalid argument "${value}" for "--${name}"`)
  if (word) words.push(`--${name}`)
  else refused.add(name)
}
