// npm run bench -- NAME [--json] [--rounds N] [--seconds S]
//
// Finds bench/NAME.ts, fetches what its peers need from outside (that must be before the lab is
// entered, for a lab has no way out), enters a lab unless the benchmark needs none, measures, and
// prints one JSON object or a table. Progress goes to standard error.

import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { enterLab, insideLab, labObstacle } from '../cli/lab/enter.ts'
import { Lab } from '../cli/lab/lab.ts'
import { type Bench, describeMachine, measure, rowsOf, table } from './harness.ts'
import { ROUNDS, ROUNDS_MAX, SECONDS, SECONDS_MAX } from './limits.ts'
import { fetchPeers } from './peers/newest.ts'

const USAGE = 'usage: npm run bench -- NAME [--json] [--rounds N] [--seconds S] [--peers a,b]'

function fail(sentence: string): never {
  process.stderr.write(`${sentence}\n`)
  process.exit(2)
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** Every file of this folder that is a bench says so in its name's absence from this list. */
const NOT_BENCHES = new Set(['harness', 'limits', 'run', 'statistics'])

function benches(): string[] {
  const folder = fileURLToPath(new URL('.', import.meta.url))
  return readdirSync(folder)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.slice(0, -3))
    .filter((name) => !NOT_BENCHES.has(name))
    .sort()
}

function wholeNumber(
  text: string | undefined,
  name: string,
  fallback: number,
  max: number,
): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > max) {
    fail(`--${name} is a whole number from 1 to ${max}, not "${text}".\n${USAGE}`)
  }
  return value
}

/** Agents start as the launcher starts them: with Node's compile cache, filled by the launcher
 * itself. */
function warmAgents(): void {
  const root = fileURLToPath(new URL('..', import.meta.url))
  process.env.NODE_COMPILE_CACHE ??= `${root}node_modules/.cache/weft`
  execFileSync(`${root}weft`, ['version'], { stdio: 'ignore' })
}

interface Command {
  readonly name: string
  readonly json: boolean
  readonly rounds: number
  readonly seconds: number
  readonly peers: ReadonlySet<string> | undefined
}

function commandLine(): Command {
  const options = {
    json: { type: 'boolean' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    peers: { type: 'string' },
  } as const
  let parsed: ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>
  try {
    parsed = parseArgs({ options, allowPositionals: true })
  } catch (error) {
    fail(`${(error as Error).message}\n${USAGE}`)
  }
  const { values, positionals } = parsed
  const known = benches()
  const name = positionals[0]
  if (name === undefined || positionals.length > 1 || !known.includes(name)) {
    const wrong =
      name === undefined ? 'Which bench?' : `There is no bench "${positionals.join(' ')}".`
    fail(`${wrong} There are: ${known.join(', ')}.\n${USAGE}`)
  }
  return {
    name,
    json: values.json ?? false,
    rounds: wholeNumber(values.rounds, 'rounds', ROUNDS, ROUNDS_MAX),
    seconds: wholeNumber(values.seconds, 'seconds', SECONDS, SECONDS_MAX),
    peers: values.peers === undefined ? undefined : new Set(values.peers.split(',')),
  }
}

async function main(): Promise<void> {
  const command = commandLine()
  const { bench } = (await import(`./${command.name}.ts`)) as { bench: Bench }
  if (bench.lab !== false) {
    const obstacle = labObstacle()
    if (obstacle !== undefined) fail(obstacle)
    if (!insideLab()) {
      warmAgents()
      if (bench.hasPeers !== false) fetchPeers(say)
    }
    enterLab()
  }
  const lab = bench.lab === false ? null : new Lab()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => Promise.resolve(lab?.close()).finally(() => process.exit(130)))
  }
  try {
    const machine = describeMachine()
    const everybody =
      bench.lab === false ? await bench.contestants() : await bench.contestants(lab!)
    const contestants = everybody.filter(
      (one) => one.name === 'weft' || command.peers === undefined || command.peers.has(one.name),
    )
    const all = await measure(contestants, command.rounds, command.seconds, say)
    const { rounds, seconds } = command
    const rows = rowsOf(bench, all)
    const report = { bench: bench.name, question: bench.question, machine, rounds, seconds, rows }
    process.stdout.write(command.json ? `${JSON.stringify(report)}\n` : `\n${table(report)}`)
  } finally {
    await lab?.close()
  }
}

await main()
process.exit(0)
