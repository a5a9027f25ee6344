// What a verb of the command line is: a file that exports these, and its arguments by node:util.

import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { didYouMean } from '../dataplane/suggest.ts'
import { UsageError } from './exit.ts'

export interface Verb {
  /** What `weft VERB --help` prints. */
  readonly usage: string
  /** True when -h and --help among the arguments are the verb's own business. */
  readonly ownsHelp?: boolean
  /** Runs the verb and returns the exit status. */
  run(args: readonly string[]): Promise<number>
}

export interface Arguments {
  /** Every option given, by name; a repeatable one is a list. */
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>
  readonly positionals: readonly string[]
}

/** Parses a verb's arguments. `help` is always known. Throws UsageError with a hint. */
export function parseArguments(
  args: readonly string[],
  options: ParseArgsOptionsConfig,
): Arguments {
  const known: ParseArgsOptionsConfig = { ...options, help: { type: 'boolean', short: 'h' } }
  try {
    return parseArgs({ args: [...args], options: known, allowPositionals: true })
  } catch (error) {
    const unknown = /^Unknown option '([^']+)'/.exec((error as Error).message)
    if (unknown === null) throw new UsageError((error as Error).message)
    const names = Object.keys(known).map((name) => `--${name}`)
    throw new UsageError(`unknown option "${unknown[1]}"${didYouMean(unknown[1]!, names)}`)
  }
}

/** The one text value of an option, undefined when it was not given. */
export function textOption(values: Arguments['values'], name: string): string | undefined {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}
