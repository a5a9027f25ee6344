// The frame of the commands that ask the Engine API: `weft NOUN VERB [OPTIONS] …`, with the names,
// options and output of the docker CLI, for machines without it. A noun's file is a list of
// Commands; options are data, so that help and parsing cannot disagree.

import process from 'node:process'
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { didYouMean } from '../../dataplane/suggest.ts'
import { EXIT_FAILURE, EXIT_OK, UsageError } from '../exit.ts'
import { RUN_DIRECTORY_DEFAULT } from '../run-directory.ts'
import type { Verb } from '../verb.ts'
import { ApiClient, ApiRefusal } from './api-client.ts'

export interface CommandOption {
  /** `list` may be given several times. */
  readonly type: 'flag' | 'text' | 'list'
  readonly short?: string
  /** What a text is called in the help: "DURATION". */
  readonly value?: string
  readonly help: string
}

export interface Command {
  /** "ls", "join-token". */
  readonly name: string
  readonly aliases?: readonly string[]
  readonly summary: string
  /** What follows the options: "NODE [NODE...]"; '' = nothing. */
  readonly operands: string
  /** How many operands. */
  readonly count: readonly [min: number, max: number]
  readonly options: Readonly<Record<string, CommandOption>>
  readonly run: (call: CommandCall) => Promise<number>
}

/** Where output goes, and where answers of a person come from. */
export interface Terminal {
  out(text: string): void
  err(text: string): void
  /** One line of input; a terminal shows nothing of it where it is secret. */
  readLine(prompt: string, isSecret: boolean): Promise<string>
}

export class CommandCall {
  readonly api: ApiClient
  readonly operands: readonly string[]
  readonly terminal: Terminal
  readonly #values: Readonly<Record<string, unknown>>

  constructor(
    api: ApiClient,
    operands: readonly string[],
    values: Readonly<Record<string, unknown>>,
    terminal: Terminal,
  ) {
    this.api = api
    this.operands = operands
    this.terminal = terminal
    this.#values = values
  }

  flag(name: string): boolean {
    return this.#values[name] === true
  }

  /** Undefined when it was not given. */
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

  print(line: string): void {
    this.terminal.out(`${line}\n`)
  }
}

/** What the user asked for cannot be: the words go to standard error, the status is 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

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

const COMMON: Readonly<Record<string, CommandOption>> = {
  host: text(
    'ADDRESS',
    'The agent: unix://PATH (default: $WEFT_HOST, else the run directory)',
    'H',
  ),
  help: flag('This text', 'h'),
}

/** The verb of a noun. */
export function verbOf(noun: string, summary: string, commands: readonly Command[]): Verb {
  return {
    usage: nounUsage(noun, summary, commands),
    ownsHelp: true,
    run: (args) => runNoun(noun, summary, commands, args, processTerminal),
  }
}

export async function runNoun(
  noun: string,
  summary: string,
  commands: readonly Command[],
  args: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h') {
    terminal.out(nounUsage(noun, summary, commands))
    return EXIT_OK
  }
  const command = commands.find((one) => one.name === name || one.aliases?.includes(name))
  if (command === undefined) {
    const hint = didYouMean(
      name,
      commands.map((one) => one.name),
    )
    throw new UsageError(`unknown command "${name}"${hint}`)
  }
  const { values, positionals } = parse(command, rest)
  if (values.help === true) {
    terminal.out(commandUsage(noun, command))
    return EXIT_OK
  }
  checkCount(noun, command, positionals.length)
  const host = typeof values.host === 'string' ? values.host : process.env.WEFT_HOST
  const call = new CommandCall(new ApiClient(socketOf(host)), positionals, values, terminal)
  try {
    return await command.run(call)
  } catch (error) {
    if (error instanceof UsageError) throw error
    const isRefusal = error instanceof ApiRefusal
    terminal.err(`${isRefusal ? 'Error response from daemon: ' : ''}${(error as Error).message}\n`)
    return EXIT_FAILURE
  }
}

function parse(
  command: Command,
  args: readonly string[],
): { values: Readonly<Record<string, unknown>>; positionals: string[] } {
  const options: ParseArgsOptionsConfig = {}
  const known = { ...command.options, ...COMMON }
  for (const [name, { type, short }] of Object.entries(known)) {
    options[name] = {
      type: type === 'flag' ? 'boolean' : 'string',
      multiple: type === 'list',
      ...(short === undefined ? {} : { short }),
    }
  }
  const refused = new Set<string>()
  try {
    const given = withValues(args, known, refused)
    const { values, positionals } = parseArgs({ args: given, options, allowPositionals: true })
    for (const name of refused) values[name] ??= false
    return { values, positionals }
  } catch (error) {
    const unknown = /^Unknown option '([^']+)'/.exec((error as Error).message)
    if (unknown === null) throw new UsageError(`${command.name}: ${(error as Error).message}`)
    const names = Object.keys(known).map((one) => `--${one}`)
    const hint = didYouMean(unknown[1]!, names)
    throw new UsageError(`${command.name}: unknown option "${unknown[1]}"${hint}`)
  }
}

/** "--flag=true" and "--flag=false", as the docker CLI takes them; the latter go into `refused`. */
function withValues(
  args: readonly string[],
  known: Readonly<Record<string, CommandOption>>,
  refused: Set<string>,
): string[] {
  const end = args.indexOf('--')
  return args.flatMap((arg, at) => {
    const match = /^--([a-z-]+)=(true|false|1|0)$/.exec(arg)
    if (match === null || (end >= 0 && at > end)) return [arg]
    if (known[match[1]!]?.type !== 'flag') return [arg]
    if (match[2] === 'true' || match[2] === '1') return [`--${match[1]}`]
    refused.add(match[1]!)
    return []
  })
}

function checkCount(noun: string, command: Command, count: number): void {
  const [min, max] = command.count
  if (count >= min && count <= max) return
  const plural = (n: number): string => (n === 1 ? '1 argument' : `${n} arguments`)
  const words =
    max === 0
      ? 'requires no arguments'
      : min === max
        ? `requires exactly ${plural(min)}`
        : count < min
          ? `requires at least ${plural(min)}`
          : `requires at most ${plural(max)}`
  const name = `weft ${noun} ${command.name}`
  throw new UsageError(`"${name}" ${words}; usage: ${name} [OPTIONS] ${command.operands}`.trim())
}

function socketOf(host: string | undefined): string {
  if (host === undefined || host === '') return `${RUN_DIRECTORY_DEFAULT}/weft.sock`
  if (host.startsWith('unix:///')) return host.slice('unix://'.length)
  if (host.startsWith('/')) return host
  throw new UsageError(`--host wants unix:///PATH, not "${host}"; the docker CLI speaks TCP`)
}

function nounUsage(noun: string, summary: string, commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length))
  const lines = commands.map(({ name, summary: what }) => `  ${name.padEnd(width)}  ${what}`)
  return `usage: weft ${noun} COMMAND [OPTIONS]

${summary}

${lines.join('\n')}

"weft ${noun} COMMAND --help" tells a command's options.
`
}

function commandUsage(noun: string, command: Command): string {
  const options = Object.entries({ ...command.options, ...COMMON })
  const heads = options.map(([name, { short, value }]) => {
    const letter = short === undefined ? '    ' : `-${short}, `
    return `  ${letter}--${name}${value === undefined ? '' : ` ${value}`}`
  })
  const width = Math.max(...heads.map((head) => head.length))
  const lines = options.map(([, { help }], i) => `${heads[i]!.padEnd(width)}  ${help}`)
  const names = [command.name, ...(command.aliases ?? [])].join('|')
  return `${`usage: weft ${noun} ${names} [OPTIONS] ${command.operands}`.trim()}

${command.summary}

${lines.join('\n')}
`
}

export const processTerminal: Terminal = {
  out: (words) => void process.stdout.write(words),
  err: (words) => void process.stderr.write(words),
  readLine,
}

/** Longest line that is read. */
const LINE_BYTES_MAX = 64 * 1024

async function readLine(prompt: string, isSecret: boolean): Promise<string> {
  const { stdin } = process
  if (stdin.isTTY) {
    process.stderr.write(prompt)
    if (isSecret) stdin.setRawMode(true)
  }
  try {
    let line = ''
    for await (const chunk of stdin) {
      line += String(chunk)
      if (line.includes('\u0003')) throw new CommandError('interrupted')
      if (/[\r\n]/.test(line) || line.length > LINE_BYTES_MAX) break
    }
    return line.split(/[\r\n]/, 1)[0]!.trim()
  } finally {
    if (stdin.isTTY) {
      if (isSecret) stdin.setRawMode(false)
      process.stderr.write('\n')
    }
    stdin.destroy()
  }
}
