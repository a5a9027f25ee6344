// From a death to its consequences, link by link, as the agents' logs tell it (level debug): when
// each of them came, in milliseconds after the death. What is not in the logs is not in the chain.

import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import type { Yield } from '../harness.ts'

export const TASK_LINKS = [
  'task: end seen',
  'task: leader told',
  'task: assignments sent',
  'task: last tables in force',
] as const

export const NODE_LINKS = [
  'node: first silent',
  'node: last silent',
  'node: away',
  'node: last tables in force',
  'node: down',
] as const

export const LEADER_LINKS = [
  'leader: another leads',
  'leader: away',
  'leader: last tables in force',
  'leader: down',
] as const

interface Line {
  readonly node: string
  /** After the death. */
  readonly ms: number
  readonly text: string
}

/** Lines of the nodes' logs from the death on, in order. */
function linesSince(nodes: readonly SwarmNode[], sinceMs: number): Line[] {
  const lines: Line[] = []
  for (const node of nodes) {
    for (const line of node.log.split('\n')) {
      const match = /^(\S+Z) \w+ +(.*)$/.exec(line)
      if (match === null) continue
      const ms = Date.parse(match[1]!) - sinceMs
      if (ms >= 0) lines.push({ node: node.name, ms, text: match[2]! })
    }
  }
  return lines.sort((a, b) => a.ms - b.ms)
}

/** The first assignments sent at `ms` or later, and when the last node forwarded by them. */
function tables(lines: readonly Line[], ms: number): { sent?: number; inForce?: number } {
  const sent = lines.find((line) => line.ms >= ms && line.text.startsWith('assignments sent'))
  if (sent === undefined) return {}
  const flush = Number(/flush=(\d+)/.exec(sent.text)?.[1])
  const first = new Map<string, number>()
  for (const { node, ms: atMs, text } of lines) {
    const assignment = Number(/^tables in force assignment=(\d+)/.exec(text)?.[1])
    if (assignment >= flush && atMs >= sent.ms && !first.has(node)) first.set(node, atMs)
  }
  return { sent: sent.ms, ...(first.size === 0 ? {} : { inForce: Math.max(...first.values()) }) }
}

function defined(links: Readonly<Record<string, number | undefined>>): Yield {
  return Object.fromEntries(
    Object.entries(links).filter((link): link is [string, number] => link[1] !== undefined),
  )
}

function finder(
  nodes: readonly SwarmNode[],
  id: string,
  sinceMs: number,
): { readonly lines: readonly Line[]; readonly of: (text: string) => number[] } {
  const lines = linesSince(nodes, sinceMs)
  const of = (start: string): number[] =>
    lines.filter(({ text }) => text.startsWith(start) && text.includes(id)).map(({ ms }) => ms)
  return { lines, of }
}

/** The links of a task's death. */
export function taskChain(nodes: readonly SwarmNode[], taskId: string, sinceMs: number): Yield {
  const { lines, of } = finder(nodes, taskId, sinceMs)
  const [told] = of('a task has ended')
  const { sent, inForce } = told === undefined ? {} : tables(lines, told)
  return defined({
    'task: end seen': of('a task failed')[0],
    'task: leader told': told,
    'task: assignments sent': sent,
    'task: last tables in force': inForce,
  })
}

/** The links of the leader's death. */
export function leaderChain(nodes: readonly SwarmNode[], nodeId: string, sinceMs: number): Yield {
  const { lines, of } = finder(nodes, nodeId, sinceMs)
  const [away] = of('node away')
  return defined({
    'leader: another leads': lines.find(({ text }) => text.startsWith('this manager leads'))?.ms,
    'leader: away': away,
    'leader: last tables in force': away === undefined ? undefined : tables(lines, away).inForce,
    'leader: down': of('node down')[0],
  })
}

/** The links of a node's death; `nodes` are those that live. */
export function nodeChain(nodes: readonly SwarmNode[], nodeId: string, sinceMs: number): Yield {
  const { lines, of } = finder(nodes, nodeId, sinceMs)
  const silent = of('a peer is silent')
  const [away] = of('node away')
  return defined({
    'node: first silent': silent[0],
    'node: last silent': silent.at(-1),
    'node: away': away,
    'node: last tables in force': away === undefined ? undefined : tables(lines, away).inForce,
    'node: down': of('node down')[0],
  })
}
