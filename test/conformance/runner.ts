// What the data-driven adapters have in common: running a file, comparing, reporting.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { argv, env, exit, stdout } from 'node:process'
import { type Directive, parseDirectives } from './datadriven.ts'

export interface FileResult {
  readonly directives: number
  /** One text per difference or unsupported directive. */
  readonly failures: readonly string[]
}

/** A directive, argument or value that the adapter does not know. Counts as a failure. */
export class Unsupported extends Error {}

/** Runs every directive of a file. `run` returns null or what is wrong. */
export function runFile(path: string, run: (directive: Directive) => string | null): FileResult {
  let directives: readonly Directive[]
  try {
    directives = parseDirectives(basename(path), readFileSync(path, 'utf8'))
  } catch (error) {
    return { directives: 0, failures: [error instanceof Error ? error.message : String(error)] }
  }
  const failures: string[] = []
  for (const directive of directives) {
    const failure = attempt(run, directive)
    if (failure !== null) failures.push(`${directive.place}: ${directive.command}: ${failure}`)
  }
  return { directives: directives.length, failures }
}

/** Null when the lines are equal but for blanks at their ends, else the first difference. */
export function compareLines(
  expected: readonly string[],
  actual: readonly string[],
): string | null {
  const count = Math.max(expected.length, actual.length)
  for (let i = 0; i < count; i++) {
    if (expected[i]?.trimEnd() === actual[i]?.trimEnd()) continue
    return (
      `line ${i + 1} differs\n    expected: ${expected[i] ?? '<end>'}` +
      `\n    actual:   ${actual[i] ?? '<end>'}`
    )
  }
  return null
}

/** Runs the files named on the command line; the exit code is 1 if anything failed. */
export function mainWith(run: (path: string) => FileResult): never {
  let failed = 0
  for (const path of argv.slice(2)) {
    const { directives, failures } = run(path)
    failed += failures.length
    const verdict = failures.length === 0 ? 'ok' : `${failures.length} failed`
    stdout.write(`${basename(path)}: ${directives} directives, ${verdict}\n`)
    for (const failure of failures) stdout.write(`  ${failure}\n`)
  }
  if (argv.length === 2) stdout.write('no files given\n')
  exit(failed === 0 && argv.length > 2 ? 0 : 1)
}

/** The files of etcd's test data in folder `kind`, or the reason why there are none. The data is
 * not part of the project: it is looked for in WEFT_ETCD_RAFT_TESTDATA and beside the
 * repository. */
export function testDataFiles(kind: string): { files: string[]; missing: string | null } {
  const root = join(import.meta.dirname, '..', '..')
  const places = [
    env.WEFT_ETCD_RAFT_TESTDATA,
    join(root, '..', 'shared', 'testdata', 'etcd-raft'),
    join(root, '..', '..', 'shared', 'testdata', 'etcd-raft'),
  ]
  for (const place of places) {
    if (place === undefined || !existsSync(join(place, kind))) continue
    const names = readdirSync(join(place, kind)).filter((name) => name.endsWith('.txt'))
    return { files: names.sort().map((name) => join(place, kind, name)), missing: null }
  }
  return { files: [], missing: `etcd's test data (${kind}) is not there` }
}

function attempt(
  run: (directive: Directive) => string | null,
  directive: Directive,
): string | null {
  try {
    return run(directive)
  } catch (error) {
    if (error instanceof Unsupported) return `not supported: ${error.message}`
    return `threw: ${error instanceof Error ? error.stack : String(error)}`
  }
}
