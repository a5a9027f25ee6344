// Runs etcd's quorum tests against our arithmetic:
//
//   node test/conformance/raft-quorum.ts FILE...
//
// Outputs must be equal line for line. As in etcd's own harness, results that must not change under
// a change of viewpoint (the halves swapped, joined with nothing or with itself, an index that is
// too low anyhow lowered) are checked besides, and a violation shows in the output.

import type { NodeId } from '../../controlplane/raft/messages.ts'
import {
  type AckedIndexer,
  jointIndex,
  jointVote,
  majorityIndex,
  majorityVote,
} from '../../controlplane/raft/quorum.ts'
import type { Argument, Directive } from './datadriven.ts'
import { compareLines, type FileResult, mainWith, runFile, Unsupported } from './runner.ts'

interface Input {
  readonly voters: readonly NodeId[]
  /** Null when no second half is given at all. */
  readonly outgoing: readonly NodeId[] | null
  /** By voter; no entry where the test gives `_`. */
  readonly values: ReadonlyMap<NodeId, string>
}

export function runQuorumFile(path: string): FileResult {
  return runFile(path, runDirective)
}

function runDirective(directive: Directive): string | null {
  const input = readInput(directive.args)
  const { command } = directive
  if (command !== 'committed' && command !== 'vote') throw new Unsupported(command)
  const lines = command === 'committed' ? committed(input) : vote(input)
  return compareLines(directive.expected, lines)
}

function readInput(args: readonly Argument[]): Input {
  const listOf = (name: string): readonly string[] | null =>
    args.find(({ key }) => key === name)?.values ?? null
  for (const { key } of args) {
    if (!['cfg', 'cfgj', 'idx', 'votes'].includes(key)) throw new Unsupported(key)
  }
  const voters = sortedIds(listOf('cfg') ?? [])
  const second = listOf('cfgj')
  const outgoing = second === null ? null : sortedIds(second.filter((id) => id !== 'zero'))
  const given = listOf('idx') ?? listOf('votes') ?? []
  // Values are given in the order in which the ids first appear, not by id.
  const order = [...new Set([...(listOf('cfg') ?? []), ...(second ?? [])])].filter(
    (id) => id !== 'zero',
  )
  const values = new Map<NodeId, string>()
  order.forEach((id, i) => {
    const value = given[i]
    if (value !== undefined && value !== '_') values.set(Number(id), value)
  })
  return { voters, outgoing, values }
}

function committed({ voters, outgoing, values }: Input): string[] {
  const indexes = new Map([...values].map(([id, value]) => [id, Number(value)]))
  const acked = indexer(indexes)
  if (outgoing !== null) {
    const index = jointIndex({ voters, votersOutgoing: outgoing }, acked)
    const swapped = jointIndex({ voters: outgoing, votersOutgoing: voters }, acked)
    const all = sortedIds([...voters, ...outgoing].map(String))
    return [...table(all, indexes), ...odd(swapped, index, 'via symmetry'), text(index)]
  }
  const index = majorityIndex(voters, acked)
  const lines = table(voters, indexes)
  lines.push(...odd(byCounting(voters, acked), index, 'via alternative computation'))
  const alone = jointIndex({ voters, votersOutgoing: [] }, acked)
  lines.push(...odd(alone, index, 'via zero-joint quorum'))
  const doubled = jointIndex({ voters, votersOutgoing: voters }, acked)
  lines.push(...odd(doubled, index, 'via self-joint quorum'))
  for (const id of voters) {
    const own = indexes.get(id) ?? 0
    if (own === 0 || own >= index) continue
    for (const lower of [own - 1, 0]) {
      const lowered = majorityIndex(voters, indexer(new Map([...indexes, [id, lower]])))
      lines.push(...odd(lowered, index, `overlaying ${id}->${lower}`))
    }
  }
  lines.push(text(index))
  // The table of an empty quorum has no line of its own.
  return voters.length === 0 ? [lines.join('')] : lines
}

function vote({ voters, outgoing, values }: Input): string[] {
  const votes = new Map([...values].map(([id, value]) => [id, value === 'y']))
  const name = (result: string): string => `Vote${result[0]!.toUpperCase()}${result.slice(1)}`
  if (outgoing === null) return [name(majorityVote(voters, votes))]
  const result = jointVote({ voters, votersOutgoing: outgoing }, votes)
  const swapped = jointVote({ voters: outgoing, votersOutgoing: voters }, votes)
  const lines = [name(result)]
  return swapped === result ? lines : [`${name(swapped)} <-- via symmetry`, ...lines]
}

/** The same by another road: the highest index that enough voters have reached. */
export function byCounting(voters: readonly NodeId[], acked: AckedIndexer): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY
  const indexes = voters.map((id) => acked.ackedIndex(id) ?? 0)
  const reached = (index: number): number => indexes.filter((each) => each >= index).length
  return Math.max(0, ...indexes.filter((index) => reached(index) > voters.length / 2))
}

/** A bar per voter, as long as the number of voters whose index is lower. */
function table(voters: readonly NodeId[], indexes: ReadonlyMap<NodeId, number>): string[] {
  const count = voters.length
  if (count === 0) return ['<empty majority quorum>']
  const lines = [`${' '.repeat(count)}    idx`]
  for (const id of voters) {
    const index = indexes.get(id)
    const below = voters.filter((other) => (indexes.get(other) ?? 0) < (index ?? 0)).length
    const bar =
      index === undefined ? '?'.padEnd(count + 1) : `${'x'.repeat(below)}>`.padEnd(count + 1)
    lines.push(`${bar} ${String(index ?? 0).padStart(5)}    (id=${id})`)
  }
  return lines
}

function odd(actual: number, expected: number, how: string): string[] {
  return actual === expected ? [] : [`${text(actual)} <-- ${how}`]
}

function text(index: number): string {
  return index === Number.POSITIVE_INFINITY ? '∞' : String(index)
}

function indexer(indexes: ReadonlyMap<NodeId, number>): AckedIndexer {
  return { ackedIndex: (id) => indexes.get(id) }
}

function sortedIds(ids: readonly string[]): NodeId[] {
  return [...new Set(ids.map(Number))].sort((a, b) => a - b)
}

if (import.meta.main) mainWith(runQuorumFile)
