// Making the steps of mesh-plan.ts on this host, and taking them back. Each kind of step has its
// command and its inverse here; an inverse does nothing where the step was not made.

import { changeIp, type IpCommand, runCommand } from './command.ts'
import { EdgeError } from './errors.ts'
import type { Journal, JournalRecord } from './journal.ts'
import { firewallProgram } from './mesh-facts.ts'
import type { MeshStep } from './mesh-plan.ts'
import { readSysctl, writeSysctl } from './sysctl.ts'

/** Makes steps in order; runs of rules of one family are one `ip`. Throws at the first that fails.
 */
export async function makeSteps(steps: readonly MeshStep[]): Promise<void> {
  for (const run of inRuns(steps.map((entry) => ({ entry })))) {
    const first = run[0]!.entry
    if (first.kind === 'rule') {
      const commands = run.map(({ entry }) => ruleCommand(entry, true))
      await changeIp(commands, { family: first.family })
    } else if (first.kind === 'route') {
      await changeIp(run.map(({ entry }) => routeCommand(entry, true)))
    } else if (first.kind === 'chain') {
      await changeChain(first, '-I')
    } else if (first.kind === 'sysctl') {
      writeSysctl(first.name, first.value)
    }
  }
}

/** Cuts a list where one external command must end and the next begin. */
function inRuns<T extends { readonly entry: MeshStep }>(items: readonly T[]): T[][] {
  const runs: T[][] = []
  for (const item of items) {
    const run = runs.at(-1)
    if (run !== undefined && sameRun(run[0]!.entry, item.entry)) run.push(item)
    else runs.push([item])
  }
  return runs
}

/** `ip -force` goes on after a failure, so a run never both adds and removes: the removal of the
 * local table's rule must not happen when its replacement could not be added. */
function sameRun(first: MeshStep, next: MeshStep): boolean {
  if (first.kind === 'route') return next.kind === 'route'
  if (first.kind !== 'rule' || next.kind !== 'rule') return false
  return first.family === next.family && first.add === next.add
}

function ruleCommand(step: MeshStep, forward: boolean): IpCommand {
  if (step.kind !== 'rule') throw new TypeError(`not a rule: ${step.kind}`)
  const add = step.add === forward
  return { line: `rule ${add ? 'add' : 'del'} ${step.rule}`, tolerate: add ? 'exists' : 'missing' }
}

function routeCommand(step: MeshStep, forward: boolean): IpCommand {
  if (step.kind !== 'route') throw new TypeError(`not a route: ${step.kind}`)
  if (forward) return { line: `route replace ${step.route}`, tolerate: 'no source' }
  return { line: `route del ${step.route}`, tolerate: 'missing' }
}

async function changeChain(
  step: MeshStep & { readonly kind: 'chain' },
  verb: '-I' | '-D',
): Promise<void> {
  const program = firewallProgram(step.family)
  const table = step.table === undefined ? [] : ['-t', step.table]
  const words = ['-w', ...table, verb, step.chain, ...step.rule]
  const { status, stderr } = await runCommand(program, words)
  // Taking back what is not there (or a chain that is gone) is done already.
  if (status === 0 || (verb === '-D' && status === 1)) return
  throw new EdgeError('COMMAND_FAILED', program, `${program} ${words.join(' ')}: ${stderr.trim()}`)
}

function restoreSysctl(step: MeshStep & { readonly kind: 'sysctl' }): void {
  if (readSysctl(step.name) !== step.value) return
  writeSysctl(step.name, step.before)
  for (const [name, value] of step.alongside) {
    if (readSysctl(name) !== value) writeSysctl(name, value)
  }
}

/** Takes records back, latest first, and notes each as undone. Goes on over errors and returns the
 * first; only when the local table's rule could not be put back, everything below it stays. */
export async function undoRecords(
  journal: Journal<MeshStep>,
  records: readonly JournalRecord<MeshStep>[],
): Promise<unknown> {
  let failed: unknown
  for (const run of inRuns([...records].reverse())) {
    try {
      await undoRun(run.map(({ entry }) => entry))
      journal.undone(run.map(({ id }) => id))
    } catch (error) {
      failed ??= error
      const first = run[0]!.entry
      if (first.kind === 'rule' && !first.add) break
    }
  }
  return failed
}

async function undoRun(entries: readonly MeshStep[]): Promise<void> {
  const first = entries[0]!
  if (first.kind === 'rule') {
    const commands = entries.map((entry) => ruleCommand(entry, false))
    await changeIp(commands, { family: first.family })
  } else if (first.kind === 'route') {
    await changeIp(entries.map((entry) => routeCommand(entry, false)))
  } else if (first.kind === 'chain') {
    await changeChain(first, '-D')
  } else if (first.kind === 'hold') {
    await changeIp([{ line: `link del dev ${first.device}`, tolerate: 'missing' }])
  } else {
    restoreSysctl(first)
  }
}
