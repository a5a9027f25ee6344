// The frame of the commands that ask the Engine API: `weft NOUN VERB [OPTIONS] …`, with the names,
// options and output of the docker CLI, for machines without it. A noun's file is a list of
// Commands; options are data, so that help and parsing cannot disagree.

import process from 'node:process'
import { didYouMean } from '../../dataplane/suggest.ts'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UsageError } from '../exit.ts'
import { RUN_DIRECTORY_DEFAULT } from '../run-directory.ts'
import type { Verb } from '../verb.ts'
import { ApiClient, ApiRefusal } from './api-client.ts'
import { CommandError } from './command-error.ts'
import {
  type CommandLine,
  flag,
  type Given,
  type Options,
  parseCommandLine,
  text,
} from './options.ts'

export interface Command {
  /** "ls", "join-token". */
  readonly name: string
  readonly aliases?: readonly string[]
  readonly summary: string
  /** What follows the options: "NODE [NODE...]"; '' = nothing. */
  readonly operands: string
  /** How many operands. */
  readonly count: readonly [min: number, max: number]
  readonly options: Options
  /** What stands behind the first operand is a command line, and none of ours. */
  readonly stopsAtOperand?: boolean
  readonly run: (call: CommandCall) => Promise<number>
}

/** Where output goes, and where answers of a person come from. */
export interface Terminal {
  out(text: string): void
  err(text: string): void
  /** One line of input; a terminal shows nothing of it where it is secret. */
  readLine(prompt: string, isSecret: boolean): Promise<string>
}

export class CommandCall implements Given {
  readonly api: ApiClient
  readonly operands: readonly string[]
  readonly terminal: Terminal
  readonly #given: Given

  constructor(api: ApiClient, { given, operands }: CommandLine, terminal: Terminal) {
    this.api = api
    this.operands = operands
    this.terminal = terminal
    this.#given = given
  }

  flag(name: string): boolean {
    return this.#given.flag(name)
  }

  text(name: string): string | undefined {
    return this.#given.text(name)
  }

  list(name: string): readonly string[] {
    return this.#given.list(name)
  }

  isGiven(name: string): boolean {
    return this.#given.isGiven(name)
  }

  print(line: string): void {
    this.terminal.out(`${line}\n`)
  }
}

const AGENT = text(
  'ADDRESS',
  'The agent: unix://PATH (default: $WEFT_HOST, else the run directory)',
  'H',
)

/** What the agent's address is called: a command may have a --host of its own. */
function agentOption({ options }: Command): string {
  return options.host === undefined ? 'host' : 'agent'
}

function optionsOf(command: Command): Options {
  return { ...command.options, [agentOption(command)]: AGENT, help: flag('This text', 'h') }
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
  if (name === undefined) {
    terminal.err(nounUsage(noun, summary, commands))
    return EXIT_USAGE
  }
  if (name === '--help' || name === '-h') {
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
  try {
    const line = parseCommandLine(optionsOf(command), rest, command.stopsAtOperand === true)
    if (line.given.flag('help')) {
      terminal.out(commandUsage(noun, command))
      return EXIT_OK
    }
    checkCount(command, line.operands.length)
    const host = line.given.text(agentOption(command)) ?? process.env.WEFT_HOST
    return await command.run(new CommandCall(new ApiClient(socketOf(host)), line, terminal))
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(error.message, command.name)
    const isRefusal = error instanceof ApiRefusal
    terminal.err(`${isRefusal ? 'Error response from daemon: ' : ''}${(error as Error).message}\n`)
    return EXIT_FAILURE
  }
}

function checkCount(command: Command, count: number): void {
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
  throw new UsageError(max === 0 ? words : `${words} (${command.operands})`)
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
  const options = Object.entries(optionsOf(command))
  const heads = options.map(([name, { short, value }]) => {
    const letter = short === undefined ? '    ' : `-${short}, `
    return `  ${letter}--${name}${value === undefined ? '' : ` ${value}`}`
  })
  const width = Math.max(...heads.map((head) => head.length))
  const lines = options.map(([, { help }], i) => {
    const margin = `\n${' '.repeat(width + 2)}`
    return `${heads[i]!.padEnd(width)}  ${wrap(help, USAGE_COLUMNS - width - 2).join(margin)}`
  })
  const names = [command.name, ...(command.aliases ?? [])].join('|')
  return `${`usage: weft ${noun} ${names} [OPTIONS] ${command.operands}`.trim()}

${command.summary}

${lines.join('\n')}
`
}

/** As many columns as a terminal has at least. */
const USAGE_COLUMNS = 80

/** Lines of whole words; one that is longer than a line has a line of its own. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line === undefined || line.length + 1 + word.length > columns) lines.push(word)
    else lines[lines.length - 1] = `${line} ${word}`
  }
  return lines
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
