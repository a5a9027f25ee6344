// The simulator by hand: `npm run sim -- --seed N --runs M [--seconds S] [--mutate NAME]`.
// Runs the seeds N to N + M - 1. A seed that fails prints the rule, the last events and the command
// that replays it; the exit status is then 1. With --mutate the core is broken on purpose.

import { parseArgs } from 'node:util'
import { MUTATIONS } from './mutations.ts'
import { type Outcome, simulate } from './simulate.ts'
import type { Counts } from './world.ts'

const USAGE = 'usage: npm run sim -- --seed N --runs M [--seconds S] [--mutate NAME] [--keep-going]'

const OPTIONS = {
  seed: { type: 'string', default: '1' },
  runs: { type: 'string', default: '1' },
  seconds: { type: 'string' },
  mutate: { type: 'string' },
  'keep-going': { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h' },
} as const

function read() {
  try {
    return parseArgs({ options: OPTIONS }).values
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`)
    process.exit(2)
  }
}

const values = read()
if (values.help === true) {
  console.log(USAGE)
  process.exit(0)
}

function number(name: string, text: string): number {
  const value = Number(text)
  if (!(Number.isFinite(value) && value >= 0)) {
    console.error(`--${name} takes a number, not ${text}`)
    process.exit(2)
  }
  return value
}

const first = number('seed', values.seed)
const runs = number('runs', values.runs)
const seconds = values.seconds === undefined ? undefined : number('seconds', values.seconds)
if (values.mutate !== undefined) {
  const mutation = MUTATIONS.get(values.mutate)
  if (mutation === undefined) {
    console.error(`--mutate takes one of ${[...MUTATIONS.keys()].join(', ')}`)
    process.exit(2)
  }
  mutation()
}

const totals: Partial<Record<keyof Counts, number>> = {}
let elections = 0
let committed = 0
let virtualMs = 0
let longestCalmMs = 0
let failed = 0
let done = 0
const started = performance.now()
for (let seed = first; seed < first + runs; seed++) {
  const outcome = simulate(seed, seconds)
  done++
  for (const [name, count] of Object.entries(outcome.counts)) {
    totals[name as keyof Counts] = (totals[name as keyof Counts] ?? 0) + count
  }
  elections += outcome.elections
  committed += outcome.committed
  virtualMs += outcome.virtualMs
  longestCalmMs = Math.max(longestCalmMs, outcome.calmMs)
  if (outcome.failure === null) continue
  failed++
  report(outcome)
  if (!values['keep-going']) break
}
const tookSeconds = (performance.now() - started) / 1000
const rate = (done / tookSeconds).toFixed(1)
console.log(
  `${done} runs, ${failed} failed, ${tookSeconds.toFixed(1)} s (${rate} a second), ` +
    `${(virtualMs / 1000).toFixed(0)} s of virtual time, ` +
    `longest calm ${longestCalmMs.toFixed(0)} ms`,
)
const counts = Object.entries({ ...totals, elections, committed })
console.log(counts.map(([name, count]) => `${name} ${count}`).join(', '))
process.exitCode = failed > 0 ? 1 : 0

function report({ seed, failure, trace }: Outcome): void {
  const options = [
    values.seconds === undefined ? '' : ` --seconds ${values.seconds}`,
    values.mutate === undefined ? '' : ` --mutate ${values.mutate}`,
  ]
  console.log(`the last events, in virtual milliseconds:\n${trace.join('\n')}\n`)
  console.log(`seed ${seed} breaks ${failure?.rule}\n${failure?.what}`)
  console.log(`replay: npm run sim -- --seed ${seed}${options.join('')}\n`)
}
