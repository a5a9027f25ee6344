// Rolling updates: brings the slots of a service from an old spec to the new one, some at a time.
//
// A slot is dirty when none of the tasks that are meant to run there is what the spec asks for.
// `Parallelism` slots are under way at once; one is under way until its new task runs (or ends),
// and for `Delay` after. Within a slot:
//
//   stop-first    old task to shut down, new one prepared, run when the old one has stopped
//                 (tend.ts)
//   start-first   new task run beside the old one, which is stopped when the new one runs
//
// A task of the update that ends by itself before it has run for `Monitor` is a failure. When more
// than `MaxFailureRatio` of the slots that were dirty at first failed, the update pauses, is rolled
// back, or goes on (update-status.ts). After the last slot, tasks are watched for one more
// `Monitor` (or Delay and a second, if that is longer) before the update is called complete.
//
// What a leader remembers of a run is lost with it; the next one begins a run over the slots that
// are still dirty. After SwarmKit, manager/orchestrator/update.

import type { ServiceObject, TaskObject } from '../store/objects.ts'
import type { UpdateConfig } from '../store/specs.ts'
import { MONITOR_MS } from './limits.ts'
import type { Action, Plan } from './plan.ts'
import { milliseconds } from './restart-policy.ts'
import type { ServiceView } from './service-view.ts'
import { isAlive, isWanted, type Slot } from './slots.ts'
import { fill } from './tend.ts'
import type { UpdateRun } from './update-run.ts'
import { stateAfterFailure, stateAfterSuccess, statusOf } from './update-status.ts'

const ROLLED = new Set(['rollback_started', 'rollback_paused'])

/** Plans the update of `slots`, all of which are meant to be filled. */
export function planUpdate(slots: readonly Slot[], view: ServiceView, plan: Plan): void {
  const { service, memory } = view
  const state = service.updateStatus?.state
  if (state === 'paused' || state === 'rollback_paused') {
    memory.run = null
    return
  }
  const dirty = slots.filter((slot) => isDirty(slot, view))
  const run = currentRun(view, dirty.length)
  memory.run = run
  if (run === null) {
    if (state === 'updating' || state === 'rollback_started') complete(view, plan)
    return
  }
  follow(run, view)
  const config = configOf(service, run.isRollback)
  if (failed(run, config, view, plan)) return
  if (state === undefined) setStatus(view, plan, statusOf('updating', null, view.wallMs))
  launch(run, dirty, config, view, plan)
}

function configOf({ spec }: ServiceObject, isRollback: boolean): Partial<UpdateConfig> {
  const config = isRollback ? spec.RollbackConfig : spec.UpdateConfig
  return config ?? { Parallelism: 1 }
}

const keyOf = ({ number, nodeId }: Slot): number | string => number ?? nodeId

function isDirty({ tasks }: Slot, view: ServiceView): boolean {
  const wanted = tasks.filter((task) => isWanted(task, view.goal))
  const current = wanted.length > 0 ? wanted : tasks.slice(0, 1)
  return current.every((task) => view.isDirty(task))
}

/** The run under way, a new one if there is something to do, or null. */
function currentRun({ service, memory, nowMs }: ServiceView, dirty: number): UpdateRun | null {
  const isRollback = ROLLED.has(service.updateStatus?.state ?? '')
  const { run } = memory
  const isSame = run?.specVersion === service.specVersion && run.isRollback === isRollback
  if (run !== null && isSame) return run
  if (dirty === 0) return null
  return {
    specVersion: service.specVersion,
    isRollback,
    startedMs: nowMs,
    total: dirty,
    turns: new Map(),
    failed: new Set(),
  }
}

/** Brings what is remembered of turns up to what the store has of their tasks. */
function follow(run: UpdateRun, { tasks, nowMs, goal }: ServiceView): void {
  const byId = new Map<string, TaskObject>(tasks.map((task) => [task.id, task]))
  for (const [id, turn] of run.turns) {
    const task = byId.get(id)
    // Never written: the slot's turn is yet to come. Taken out since: it is over.
    if (task === undefined && !turn.isWritten) run.turns.delete(id)
    turn.isWritten = task !== undefined || turn.isWritten
    const runs = task?.status.state === 'running'
    if (runs) turn.ranMs ??= nowMs
    if (task === undefined || runs || !isAlive(task) || !isWanted(task, goal)) turn.overMs ??= nowMs
  }
}

/** True when failures end the run. It is remembered until the store has the new state. */
function failed(
  run: UpdateRun,
  config: Partial<UpdateConfig>,
  view: ServiceView,
  plan: Plan,
): boolean {
  const monitorMs = monitorOf(config)
  for (const { id, status } of view.tasks) {
    const turn = run.turns.get(id)
    if (turn === undefined || !['complete', 'failed', 'rejected'].includes(status.state)) continue
    if (turn.ranMs === null || view.nowMs - turn.ranMs <= monitorMs) run.failed.add(id)
  }
  if (run.failed.size / run.total <= (config.MaxFailureRatio ?? 0)) return false
  return giveUp([...run.failed].at(-1)!, config, view, plan)
}

function giveUp(
  because: string,
  { FailureAction }: Partial<UpdateConfig>,
  view: ServiceView,
  plan: Plan,
): boolean {
  const { service, wallMs } = view
  const { previousSpec, previousSpecVersion, updateStatus } = service
  const next = stateAfterFailure(updateStatus?.state, FailureAction, previousSpec !== null)
  if (next === null) return false
  const status = statusOf(next, updateStatus, wallMs, because)
  if (next !== 'rollback_started' || previousSpec === null) setStatus(view, plan, status)
  else {
    setService(view, plan, {
      spec: previousSpec,
      specVersion: previousSpecVersion ?? service.specVersion,
      previousSpec: null,
      previousSpecVersion: null,
      updateStatus: status,
    })
  }
  return true
}

function monitorOf({ Monitor, Delay = 0 }: Partial<UpdateConfig>): number {
  const monitorMs = Monitor === undefined ? MONITOR_MS : milliseconds(Monitor)
  const delayMs = milliseconds(Delay)
  return delayMs >= monitorMs ? delayMs + 1_000 : monitorMs
}

/** Begins turns while there is room, and ends the run when nothing is left to do or to watch. */
function launch(
  run: UpdateRun,
  dirty: readonly Slot[],
  config: Partial<UpdateConfig>,
  view: ServiceView,
  plan: Plan,
): void {
  const { nowMs } = view
  const delayMs = milliseconds(config.Delay ?? 0)
  const waits = [...run.turns.values()].map(({ overMs }) =>
    overMs === null ? Number.POSITIVE_INFINITY : overMs + delayMs - nowMs,
  )
  let busy = waits.filter((waitMs) => waitMs > 0).length
  const seen = new Set([...run.turns.values()].map(({ slot }) => slot))
  const left = dirty.filter((slot) => !seen.has(keyOf(slot)))
  const parallelism = config.Parallelism || Number.POSITIVE_INFINITY
  while (busy < parallelism && left.length > 0) {
    begin(left.shift()!, config, run, view, plan)
    busy++
  }
  for (const waitMs of waits) if (waitMs > 0 && Number.isFinite(waitMs)) plan.wakeIn(waitMs)
  if (left.length > 0 || [...run.turns.values()].some(({ overMs }) => overMs === null)) return
  const lastMs = Math.max(
    run.startedMs,
    ...[...run.turns.values()].map(({ overMs }) => overMs ?? 0),
  )
  const watchMs = lastMs + monitorOf(config) - nowMs
  if (watchMs > 0) plan.wakeIn(watchMs)
  else {
    view.memory.run = null
    complete(view, plan)
  }
}

function begin(
  slot: Slot,
  { Order }: Partial<UpdateConfig>,
  run: UpdateRun,
  view: ServiceView,
  plan: Plan,
): void {
  const wanted = slot.tasks.filter((task) => isWanted(task, view.goal))
  const isStartFirst = Order === 'start-first' || wanted.length === 0
  const [create] = fill(slot, view, isStartFirst ? 'running' : 'ready') as [
    Action & { readonly kind: 'create' },
  ]
  // One that runs goes on until the new one does; what did not get so far has no such claim.
  const kept = isStartFirst ? wanted.find(({ status }) => status.state === 'running') : undefined
  const stops = wanted
    .filter((task) => task !== kept)
    .map(({ id }) => ({ kind: 'desire', taskId: id, state: 'shutdown' }) as const)
  plan.add(...stops, create)
  const turn = { slot: keyOf(slot), isWritten: false, ranMs: null, overMs: null }
  run.turns.set(create.task.id, turn)
}

/** The update, if there is one, is over. A job's is at once: it begins anew, replacing nothing. */
export function complete(view: ServiceView, plan: Plan): void {
  const { updateStatus } = view.service
  const state = updateStatus?.state
  if (state !== 'updating' && state !== 'rollback_started') return
  setStatus(view, plan, statusOf(stateAfterSuccess(state), updateStatus, view.wallMs))
}

function setStatus(
  view: ServiceView,
  plan: Plan,
  updateStatus: NonNullable<ServiceObject['updateStatus']>,
): void {
  setService(view, plan, { updateStatus })
}

function setService({ service }: ServiceView, plan: Plan, change: Partial<ServiceObject>): void {
  plan.add({ kind: 'service', seen: service, change })
}
