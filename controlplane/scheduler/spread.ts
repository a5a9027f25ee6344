// Which of the nodes that can take a task gets it.
//
// Placement preferences make a tree: each level divides the nodes by the value of a label (a node
// without it has the value ''), in the order in which the preferences are given. A task goes down
// the branch that has the fewest tasks of its service among those with room, to a node of the leaf:
//
//   1. nodes on which this version of the service failed often of late come last;
//   2. then the fewest tasks of the service, 3. then the fewest tasks, 4. then chance.
//
// A leaf is a heap of nodes, so that a task costs O(branches + log nodes) and 30,000 of them over
// 1,000 nodes a moment. After SwarmKit, manager/scheduler (nodeset.go, decision_tree.go), which
// fills branches level by level to the same end.

import type { Prng } from '../../base/prng.ts'
import type { TaskObject } from '../store/objects.ts'
import { Pipeline } from './filters.ts'
import { type NodeInfo, versionKey } from './node-info.ts'

interface Candidate {
  readonly info: NodeInfo
  readonly badness: number
  /** Decides between equals. */
  readonly chance: number
}

interface Branch {
  /** Tasks of the service below. */
  tasks: number
  readonly children: Map<string, Branch>
  /** A heap, at leaves only: the best first. */
  readonly heap: Candidate[]
}

export class Spread {
  private readonly pipeline: Pipeline
  private readonly serviceId: string
  private readonly root: Branch = newBranch()

  /** `task` stands for all tasks that are to be placed: they have the same spec. */
  constructor(task: TaskObject, nodes: Iterable<NodeInfo>, random: Prng, nowMs: number) {
    this.pipeline = new Pipeline(task)
    this.serviceId = task.serviceId
    const readers = preferenceReaders(task)
    const version = versionKey(task)
    for (const info of nodes) {
      // Tasks on nodes that are full count for their branch as well.
      const leaf = this.descendTo(info, readers)
      if (!this.pipeline.accepts(info)) continue
      const badness = info.badness(version, nowMs)
      this.push(leaf, { info, badness, chance: random.nextU32() })
    }
    sweep(this.root)
  }

  /** Takes the best node for one more task, or null. The caller places the task on it before it
   * asks again. */
  next(place: (info: NodeInfo) => void): NodeInfo | null {
    const path: Branch[] = []
    let branch: Branch | null = this.root
    while (branch !== null) {
      path.push(branch)
      if (branch.heap.length > 0) break
      branch = roomiest(branch)
    }
    if (branch === null) return null
    const candidate = this.pop(branch)
    place(candidate.info)
    for (const passed of path) passed.tasks++
    if (this.pipeline.stillAccepts(candidate.info)) this.push(branch, candidate)
    if (branch.heap.length === 0) prune(path)
    return candidate.info
  }

  /** Why no node is left. */
  explain(nodes: Iterable<NodeInfo>): string {
    return this.pipeline.explain(nodes)
  }

  private descendTo(info: NodeInfo, readers: readonly LabelReader[]): Branch {
    const tasks = info.tasksOf(this.serviceId)
    let branch = this.root
    branch.tasks += tasks
    for (const read of readers) {
      const value = read(info)
      let child = branch.children.get(value)
      if (child === undefined) {
        child = newBranch()
        branch.children.set(value, child)
      }
      child.tasks += tasks
      branch = child
    }
    return branch
  }

  private isBetter(a: Candidate, b: Candidate): boolean {
    if (a.badness !== b.badness) return a.badness < b.badness
    const mine = a.info.tasksOf(this.serviceId) - b.info.tasksOf(this.serviceId)
    if (mine !== 0) return mine < 0
    const all = a.info.taskCount - b.info.taskCount
    return all !== 0 ? all < 0 : a.chance < b.chance
  }

  private push({ heap }: Branch, candidate: Candidate): void {
    let at = heap.length
    heap.push(candidate)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.isBetter(candidate, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = candidate
  }

  private pop({ heap }: Branch): Candidate {
    const best = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return best
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && this.isBetter(heap[child + 1]!, heap[child]!)) child++
      if (!this.isBetter(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return best
  }
}

/** One per placement preference, in order: the value that a node has. */
export function preferenceReaders({ spec }: TaskObject): readonly LabelReader[] {
  return (spec.Placement?.Preferences ?? []).flatMap(({ Spread }) =>
    Spread === undefined ? [] : [labelReader(Spread.SpreadDescriptor)],
  )
}

type LabelReader = (info: NodeInfo) => string

/** What the API takes as the subject of a spread; anything else is '' on every node, so that it
 * divides nothing. */
function labelReader(descriptor: string): LabelReader {
  const lower = descriptor.toLowerCase()
  if (lower === 'node.id') return ({ node }) => node.id
  if (lower === 'node.hostname') return ({ node }) => node.description?.hostname ?? ''
  if (lower.startsWith('node.labels.')) {
    const name = descriptor.slice('node.labels.'.length)
    return ({ node }) => node.spec.Labels[name] ?? ''
  }
  if (lower.startsWith('engine.labels.')) {
    const name = descriptor.slice('engine.labels.'.length)
    return ({ node }) => node.description?.engine.labels[name] ?? ''
  }
  return () => ''
}

function newBranch(): Branch {
  return { tasks: 0, children: new Map(), heap: [] }
}

function hasRoom(branch: Branch): boolean {
  return branch.heap.length > 0 || branch.children.size > 0
}

/** The branch with the fewest tasks; every branch has room (`sweep`, `prune`). */
function roomiest(branch: Branch): Branch | null {
  let best: Branch | null = null
  for (const child of branch.children.values()) {
    if (best === null || child.tasks < best.tasks) best = child
  }
  return best
}

/** Takes branches without room out, leaves first. */
function sweep(branch: Branch): void {
  for (const [value, child] of branch.children) {
    sweep(child)
    if (!hasRoom(child)) branch.children.delete(value)
  }
}

/** Takes full branches out, from the leaf upwards. */
function prune(path: readonly Branch[]): void {
  for (let i = path.length - 1; i > 0; i--) {
    if (hasRoom(path[i]!)) return
    const parent = path[i - 1]!
    for (const [value, child] of parent.children) {
      if (child === path[i]) parent.children.delete(value)
    }
  }
}
