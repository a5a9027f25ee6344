// The test runner: `npm test` runs every *.test.ts of the checkout, `npm test -- vxlan
// dataplane/compile` only those whose path contains one of the words. A test file is a program that
// prints TAP (package tap); this file starts it with the Node that runs weft, reads its TAP with
// the parser that tap itself uses, and prints a line per file, failures in full, skipped tests with
// their reasons and at the very end `N passed, N failed` (and `, N skipped`), where N counts
// assertions.
//
// Why not the `tap` command: it rebuilds itself on a fresh checkout (its first run then fails with
// TypeScript 7) and preloads hooks that double the time of a short file. `npx tap FILE` works all
// the same.
//
// A file fails when an assertion fails, when it exits with another status than 0, when it asserts
// nothing, when it outlives its time limit, or when it leaves processes of its group behind; each
// of the last four counts as one failed assertion. Files run two at a time, those under test/lab/
// after the others. Beside those two runs a third of the labs that wait more than they work
// (WAITING); the few that load the machine (STORMS), and those that count what it then loses
// (ALONE), come last. Ctrl-C ends what runs and exits 130.

import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { parseArgs } from 'node:util'
import { Parser, type Result } from 'tap-parser'

const JOBS_MAX = 2
const FILE_TIMEOUT_MS = 240_000
const LAB_FILE_TIMEOUT_MS = 600_000
/** How long a process may take to end after it was asked to, and its group after its leader. */
const GRACE_MS = 2_000
/** What is kept of a file's standard error, and of its TAP for the report of failures. */
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024
const STDERR_SHOWN_BYTES = 16 * 1024
const LAB_FOLDER = `test${sep}lab${sep}`
const labs = (...names: string[]): readonly string[] =>
  names.map((name) => `${LAB_FOLDER}${name}.test.ts`)
/** Half a processor each or less: heartbeats, drains and timeouts take their time. */
const WAITING: readonly string[] = labs(
  ...['cluster-crash', 'docker-stack', 'ipvs-command', 'services-deaths', 'docker-restarts'],
  ...['docker-engine', 'services-link', 'docker-attach', 'services-egress'],
)
/** Two at a time, and nothing beside them. */
const STORMS: readonly string[] = labs('chaos', 'raft-processes')
const ALONE: readonly string[] = labs('overlay-bulk', 'services-failures', 'services-no-failure')
/** The longest of those that run together begin first, or one would run on when all others have
 * ended. */
const LONG: readonly string[] = [
  join('test', 'sim', 'sim.test.ts'),
  ...labs('cluster-crash-role', 'demo', 'cluster-docker', 'hostile-peers'),
  ...WAITING,
]

interface Outcome {
  readonly file: string
  readonly passed: number
  /** One sentence or TAP excerpt per failure. */
  readonly failures: readonly string[]
  readonly skipped: readonly string[]
  readonly stderr: string
  readonly seconds: number
}

const running = new Set<ChildProcess>()

/** Test files below `root`, sorted; node_modules, dot folders and nested checkouts are left out. */
function findTests(root: string): string[] {
  const found: string[] = []
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (entry.isFile() && entry.name.endsWith('.test.ts')) found.push(relative(root, path))
      if (!entry.isDirectory() || entry.name === 'node_modules' || entry.name.startsWith('.'))
        continue
      if (!readdirSync(path).includes('.git')) visit(path)
    }
  }
  visit(root)
  return found.sort()
}

/** Signals a whole process group that this program started; false when nothing of it is left. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals | 0): boolean {
  if (child.pid === undefined) return false
  try {
    return process.kill(-child.pid, signal)
  } catch {
    return false
  }
}

async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > deadline) return false
    await new Promise((done) => setTimeout(done, 20))
  }
  return true
}

/** The `not ok` points of a TAP text with the YAML block behind each, summaries of subtests left
 * out. */
function failureExcerpts(tap: string, names: readonly string[]): string[] {
  const lines = tap.split('\n')
  const excerpts: string[] = []
  let next = 0
  for (let i = 0; i < lines.length && next < names.length; i++) {
    const point = /^(\s*)not ok \d+/.exec(lines[i]!)
    // A subtest's own point comes after its parts: its depth is less than that of the line before.
    if (point === null || /^\s*(1\.\.\d+|# time=)/.test(lines[i - 1] ?? '')) continue
    const indent = point[1]!
    const block = [`${names[next++]!}`]
    if (lines[i + 1] === `${indent}  ---`) {
      for (i += 2; i < lines.length && lines[i] !== `${indent}  ...`; i++) {
        block.push(lines[i]!.slice(indent.length))
      }
    }
    excerpts.push(block.join('\n'))
  }
  // Whatever the excerpts did not find is still named.
  return [...excerpts, ...names.slice(next)]
}

/** One test file as a process: its output as it comes, and how it ended. */
class TestProcess {
  readonly file: string
  readonly results: Result[] = []
  readonly parser: Parser = new Parser()
  tap: string = ''
  stderr: string = ''
  /** Ways to fail other than a failed assertion. */
  readonly problems: string[] = []
  private readonly child: ChildProcessByStdio<null, Readable, Readable>
  private readonly limitMs: number
  private isClosed: boolean = false
  private isTimedOut: boolean = false

  constructor(root: string, file: string) {
    this.file = file
    this.limitMs = file.startsWith(LAB_FOLDER) ? LAB_FILE_TIMEOUT_MS : FILE_TIMEOUT_MS
    this.child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file], {
      cwd: root,
      // A group of its own, so that what it starts can be ended with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        // Compiled code kept from run to run halves the time of a short file and of what it starts.
        NODE_COMPILE_CACHE: join(import.meta.dirname, '../node_modules/.cache/weft-test'),
        ...process.env,
        // tap's own limit would cut at 30 s.
        TAP_TIMEOUT: String(this.limitMs / 1000),
        NO_COLOR: '1',
      },
    })
    running.add(this.child)
    this.parser.on('result', (result: Result) => this.results.push(result))
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.parser.write(text)
      if (this.tap.length < OUTPUT_BYTES_MAX) this.tap += text
    })
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_BYTES_MAX)
    })
    this.child.on('close', () => {
      this.isClosed = true
    })
  }

  /** Waits for its end, or ends it at its time limit; with it whatever it left in its group. */
  async end(): Promise<void> {
    const timer = setTimeout(() => {
      this.isTimedOut = true
      signalGroup(this.child, 'SIGTERM')
      void until(() => this.isClosed, GRACE_MS).then(() => signalGroup(this.child, 'SIGKILL'))
    }, this.limitMs)
    await this.exit()
    clearTimeout(timer)
    if (!(await until(() => !signalGroup(this.child, 0), GRACE_MS))) {
      this.problems.push('left processes running')
      signalGroup(this.child, 'SIGKILL')
    }
    await until(() => this.isClosed, GRACE_MS)
    running.delete(this.child)
    this.parser.end()
    const { results: summary } = this.parser
    if (summary?.bailout) this.problems.push(`bailed out: ${String(summary.bailout)}`)
    for (const failure of summary?.failures ?? []) {
      if (failure.tapError && !this.isTimedOut) this.problems.push(`TAP: ${failure.tapError}`)
    }
  }

  private exit(): Promise<void> {
    return new Promise((done) => {
      this.child.on('error', (error) => {
        this.problems.push(`could not be started: ${error.message}`)
        done()
      })
      this.child.on('exit', (code, signal) => {
        if (this.isTimedOut) this.problems.push(`took longer than ${this.limitMs / 1000} s`)
        else if (signal !== null) this.problems.push(`ended by ${signal}`)
        else if (code !== 0 && this.results.every((result) => result.ok)) {
          this.problems.push(`exited with status ${code}`)
        }
        done()
      })
    })
  }
}

const isSkipped = (result: Result): boolean => Boolean(result.skip || result.todo)
const nameOf = (result: Result): string => result.fullname || result.name

async function runFile(root: string, file: string): Promise<Outcome> {
  const startMs = performance.now()
  const test = new TestProcess(root, file)
  await test.end()
  const { results, problems, tap, stderr } = test
  const skipped = results.filter(isSkipped).map((result) => {
    const reason = result.skip || result.todo
    return `${nameOf(result)}${typeof reason === 'string' ? `: ${reason}` : ''}`
  })
  // "1..0 # SKIP reason" skips the file; a plan of no tests without the word only means that none
  // ran.
  const skipAll = /^skip\w*:?\s*(.*)$/i.exec(test.parser.results?.plan.skipReason ?? '')
  if (results.length === 0) {
    if (skipAll !== null) skipped.push(skipAll[1] || 'the whole file')
    else if (problems.length === 0) problems.push('asserted nothing')
  }
  const failed = results.filter((result) => !result.ok && !isSkipped(result)).map(nameOf)
  return {
    file,
    passed: results.filter((result) => result.ok && !isSkipped(result)).length,
    failures: [...failureExcerpts(tap, failed), ...problems],
    skipped,
    stderr,
    seconds: (performance.now() - startMs) / 1000,
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function report(outcome: Outcome): void {
  const { file, passed, failures, skipped } = outcome
  const verdict = failures.length > 0 ? 'FAIL' : passed === 0 ? 'skip' : 'ok  '
  const counts = [`${passed} passed`]
  if (failures.length > 0) counts.push(`${failures.length} failed`)
  if (skipped.length > 0) counts.push(`${skipped.length} skipped`)
  print(`${verdict} ${file}  ${counts.join(', ')}  ${outcome.seconds.toFixed(1)}s`)
  if (failures.length === 0) return
  for (const failure of failures) print(`  not ok: ${failure.replaceAll('\n', '\n    ')}`)
  const stderr = outcome.stderr.slice(-STDERR_SHOWN_BYTES).trimEnd()
  if (stderr !== '') print(`  standard error:\n    ${stderr.replaceAll('\n', '\n    ')}`)
}

/** Runs `files` with `jobs` at a time, reporting each as it ends, and beside them one at a time of
 * `waiting`; where nothing else is left to do, all jobs take of these. */
async function runAll(
  root: string,
  files: readonly string[],
  jobs: number,
  waiting: readonly string[] = [],
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const [queue, waitingQueue] = [[...files], [...waiting]]
  const worker = async (next: () => string | undefined): Promise<void> => {
    for (let file = next(); file !== undefined; file = next()) {
      const outcome = await runFile(root, file)
      report(outcome)
      outcomes.push(outcome)
    }
  }
  await Promise.all([
    worker(() => waitingQueue.shift()),
    ...Array.from({ length: jobs }, () => worker(() => queue.shift() ?? waitingQueue.shift())),
  ])
  return outcomes
}

/** Runs the files in groups of which each begins when the one before has ended. */
async function runGroups(root: string, files: readonly string[]): Promise<Outcome[]> {
  const ordered = [...new Set([...LONG.filter((file) => files.includes(file)), ...files])]
  const apart = new Set([...STORMS, ...ALONE, ...WAITING])
  const isLab = (file: string): boolean => file.startsWith(LAB_FOLDER)
  const of = (list: readonly string[]): string[] => ordered.filter((file) => list.includes(file))
  const outside = ordered.filter((file) => !isLab(file))
  const inside = ordered.filter((file) => isLab(file) && !apart.has(file))
  return [
    ...(await runAll(root, outside, JOBS_MAX)),
    ...(await runAll(root, inside, JOBS_MAX, of(WAITING))),
    ...(await runAll(root, of(STORMS), JOBS_MAX)),
    ...(await runAll(root, of(ALONE), 1)),
  ]
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { root: { type: 'string', default: resolve(import.meta.dirname, '..') } },
    allowPositionals: true,
  })
  const words = positionals.map((word) => word.replace(/^\.\//, ''))
  const files = findTests(values.root).filter(
    (file) => words.length === 0 || words.some((word) => file.includes(word)),
  )
  if (files.length === 0) {
    process.stderr.write(`no test file matches ${words.join(' ') || '*.test.ts'}\n`)
    return 2
  }
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(signal, () => {
      for (const child of running) signalGroup(child, 'SIGTERM')
      void until(() => running.size === 0, GRACE_MS).then(() => {
        for (const child of running) signalGroup(child, 'SIGKILL')
        process.exit(status)
      })
    })
  }

  const outcomes = await runGroups(values.root, files)
  const sum = (size: (outcome: Outcome) => number): number =>
    outcomes.reduce((total, outcome) => total + size(outcome), 0)
  const failed = sum((outcome) => outcome.failures.length)
  const skipped = sum((outcome) => outcome.skipped.length)
  if (skipped > 0) {
    print('\nskipped:')
    for (const { file, skipped: reasons } of outcomes) {
      for (const reason of reasons) print(`  ${file}: ${reason}`)
    }
  }
  print('')
  const tail = skipped > 0 ? `, ${skipped} skipped` : ''
  print(`${sum((outcome) => outcome.passed)} passed, ${failed} failed${tail}`)
  return failed > 0 ? 1 : 0
}

process.exitCode = await main()
