// Whether a service has become what it is to be, and what to tell of that on the way: the lines of
// the docker CLI (cli/command/service/progress) where its output is no terminal, each when it
// changes.
//
//   look at service, tasks up to date, nodes --> step() --> lines, and whether to look again
//
// A service that runs as wanted is watched for another while, its monitor period, before it counts
// as converged.

import type { ShownTask } from './task-list.ts'

/** When the update has no monitor period of its own. */
const MONITOR_MS = 5000
const ERROR_LENGTH = 75

export interface ShownService {
  readonly ID: string
  readonly Spec: {
    readonly Name: string
    readonly Mode: {
      readonly Replicated?: { readonly Replicas?: number }
      readonly Global?: object
      readonly ReplicatedJob?: { readonly TotalCompletions?: number }
      readonly GlobalJob?: object
    }
    readonly UpdateConfig?: { readonly Monitor?: number }
  }
  readonly UpdateStatus?: { readonly State?: string; readonly Message?: string }
  readonly JobStatus?: { readonly JobIteration?: { readonly Index?: number } }
}

/** What one look has found. */
export interface Look {
  readonly service: ShownService
  /** Tasks of the service's newest version. */
  readonly tasks: readonly ShownTask[]
  /** Ids of nodes that are not down. */
  readonly nodes: ReadonlySet<string>
  readonly nowMs: number
}

export interface Step {
  readonly lines: readonly string[]
  readonly end: 'converged' | 'over' | null
  /** Why it will not become so; then `end` is set. */
  readonly error: string | null
}

const STATES: readonly string[] = [
  ...['new', 'allocated', 'pending', 'assigned', 'accepted', 'preparing', 'ready', 'starting'],
  ...['running', 'complete', 'shutdown', 'failed', 'rejected'],
]
const rank = (state: string): number => STATES.indexOf(state)
const isOver = (state: string): boolean => rank(state) > rank('running')

export class Progress {
  #isRollback = false
  #isConverged = false
  #convergedMs: number | null = null
  readonly #told = new Map<string, string>()
  readonly #isRequested: boolean

  /** `isRollback`: a rollback is what was asked for. */
  constructor(isRollback = false) {
    this.#isRequested = isRollback
  }

  step(look: Look): Step {
    const lines: string[] = []
    const ended = this.#status(look, lines)
    if (ended !== null) return { lines, ...ended }
    const { Mode, UpdateConfig } = look.service.Spec
    const isJob = Mode.ReplicatedJob !== undefined || Mode.GlobalJob !== undefined
    this.#isConverged = isJob ? this.#job(look, lines) : this.#tasks(look, lines)
    if (isJob && this.#isConverged) {
      return { lines: [...lines, 'job complete'], end: 'converged', error: null }
    }
    if (!this.#isConverged) {
      if (this.#convergedMs !== null) this.#tell(lines, 'verify', 'Detected task failure')
      this.#convergedMs = null
      return { lines, end: null, error: null }
    }
    this.#convergedMs ??= look.nowMs
    const monitor = UpdateConfig?.Monitor ?? 0
    const leftMs = (monitor > 0 ? monitor / 1e6 : MONITOR_MS) - (look.nowMs - this.#convergedMs)
    if (leftMs < 0) {
      this.#tell(lines, 'verify', `Service ${look.service.ID} converged`)
      return { lines, end: 'converged', error: null }
    }
    const seconds = Math.max(1, Math.ceil(leftMs / 1000))
    const words = `Waiting ${seconds} seconds to verify that tasks are stable...`
    this.#tell(lines, 'verify', words)
    return { lines, end: null, error: null }
  }

  #tell(lines: string[], id: string, words: string): void {
    if (this.#told.get(id) === words) return
    this.#told.set(id, words)
    lines.push(`${id}: ${words}`)
  }

  /** What the update's own state says; null: nothing that ends the wait. */
  #status({ service }: Look, lines: string[]): Omit<Step, 'lines'> | null {
    const { State, Message = '' } = service.UpdateStatus ?? {}
    const failed = (words: string) => ({ end: 'over', error: `${words}: ${Message}` }) as const
    switch (State) {
      case 'updating':
        this.#isRollback = false
        return null
      case 'completed':
        return this.#isConverged ? null : { end: 'over', error: null }
      case 'paused':
        return failed('service update paused')
      case 'rollback_started':
        if (!this.#isRollback && Message !== '') this.#tell(lines, 'rollback', Message)
        this.#isRollback = true
        return null
      case 'rollback_paused':
        return failed('service rollback paused')
      case 'rollback_completed':
        if (this.#isConverged) return null
        return this.#isRequested ? { end: 'over', error: null } : failed('service rolled back')
      default:
        return null
    }
  }

  #tasks(look: Look, lines: string[]): boolean {
    const { Replicated } = look.service.Spec.Mode
    const isGlobal = Replicated === undefined
    const places = this.#places(look, isGlobal)
    const wanted = isGlobal ? places.size : (Replicated.Replicas ?? 1)
    const running = [...places.values()].filter(
      ({ DesiredState, Status }) => !isOver(DesiredState) && Status.State === 'running',
    ).length
    if (isGlobal && wanted === 0) {
      this.#tell(lines, 'overall progress', 'waiting for new tasks')
      return false
    }
    const action = this.#isRollback ? 'rolling back update' : 'overall progress'
    this.#tell(lines, action, `${running} out of ${wanted} tasks`)
    for (const [place, task] of places) {
      const id = isGlobal ? place.slice(0, 12) : `${place}/${wanted}`
      this.#tell(lines, id, stateOf(task))
    }
    return running === wanted
  }

  /** The task that counts for each slot or node. */
  #places({ tasks, nodes }: Look, isGlobal: boolean): Map<string, ShownTask> {
    const places = new Map<string, ShownTask>()
    for (const task of tasks) {
      if (rank(task.DesiredState) < 0 || rank(task.Status.State) < 0) continue
      if (task.NodeID !== '' && !nodes.has(task.NodeID)) continue
      if (isGlobal && task.NodeID === '') continue
      const place = isGlobal ? task.NodeID : String(task.Slot ?? 0)
      const before = places.get(place)
      if (before === undefined || comesBefore(task, before)) places.set(place, task)
    }
    return new Map([...places].sort(([a], [b]) => (isGlobal ? a.localeCompare(b) : +a - +b)))
  }

  #job({ service, tasks }: Look, lines: string[]): boolean {
    const iteration = service.JobStatus?.JobIteration?.Index ?? 0
    const current = tasks.filter(({ JobIteration }) => (JobIteration?.Index ?? 0) === iteration)
    const place = ({ Slot, NodeID }: ShownTask): string => `${Slot ?? ''} ${NodeID}`
    const complete = current.filter(({ Status }) => Status.State === 'complete')
    const { ReplicatedJob } = service.Spec.Mode
    const wanted =
      ReplicatedJob !== undefined
        ? (ReplicatedJob.TotalCompletions ?? 1)
        : new Set(current.map(place)).size
    const done = new Set(complete.map(ReplicatedJob === undefined ? place : ({ ID }) => ID)).size
    if (ReplicatedJob === undefined && wanted === 0) {
      this.#tell(lines, 'job progress', 'waiting for new tasks')
      return false
    }
    this.#tell(lines, 'job progress', `${done} out of ${wanted} complete`)
    const active = current.filter(({ DesiredState, Status }) => {
      return !isOver(Status.State) && DesiredState !== 'remove' && DesiredState !== 'shutdown'
    })
    this.#tell(lines, 'active tasks', String(active.length))
    return done >= wanted
  }
}

function comesBefore(task: ShownTask, other: ShownTask): boolean {
  const [desired, otherDesired] = [rank(task.DesiredState), rank(other.DesiredState)]
  if (desired !== otherDesired) return desired < otherDesired
  return rank(task.Status.State) < rank(other.Status.State)
}

function stateOf({ Status, DesiredState }: ShownTask): string {
  const { Err = '', State } = Status
  if (Err !== '') return Err.length > ERROR_LENGTH ? `${Err.slice(0, ERROR_LENGTH - 1)}…` : Err
  return isOver(DesiredState) || isOver(State) ? '' : State
}
