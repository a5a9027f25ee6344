// The agents of all nodes, for tests of orchestrators: each tick moves every task on a node that is
// up by one state towards what is desired of it, or lets it end as the test wishes.

import { isTerminal, stateRank, type TaskObject, type TaskState } from '../../store/objects.ts'
import type { LoopWorld } from '../../store/testing/loops.ts'

/** How a task ends when it gets to, or has been in, a state; null = it goes on. */
export type Fate = (task: TaskObject, inStateMs: number) => TaskState | null

const WAY: readonly TaskState[] = [
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
]

export class FakeAgents {
  fate: Fate = () => null
  /** Milliseconds that a task takes to stop. */
  stopMs = 0
  readonly tickMs: number
  private readonly world: LoopWorld
  private cancel: (() => void) | null = null
  private readonly stopping = new Map<string, number>()
  /** Sees every state that a task gets. */
  onState: (task: TaskObject, state: TaskState) => void = () => {}

  constructor(world: LoopWorld, tickMs: number = 10) {
    this.world = world
    this.tickMs = tickMs
  }

  start(): void {
    this.cancel = this.world.timers.after(this.tickMs, () => {
      void this.tick()
      this.start()
    })
  }

  stop(): void {
    this.cancel?.()
  }

  private tick(): Promise<void> {
    const nowMs = this.world.timers.clock.wallMs()
    return this.world.update((tx) => {
      for (const task of tx.all('tasks')) {
        if (task.nodeId === '' || isTerminal(task.status.state)) continue
        if (stateRank(task.status.state) < stateRank('assigned')) continue
        const node = tx.get('nodes', task.nodeId)
        if (node === undefined || node.status.state === 'down') continue
        const state = this.next(task, nowMs)
        if (state === null) continue
        this.onState(task, state)
        tx.update('tasks', { ...task, status: { ...task.status, state, atMs: nowMs } })
      }
    })
  }

  private next(task: TaskObject, nowMs: number): TaskState | null {
    const { state, atMs } = task.status
    if (stateRank(task.desiredState) > stateRank('complete')) {
      const sinceMs = this.stopping.get(task.id) ?? nowMs
      this.stopping.set(task.id, sinceMs)
      return nowMs - sinceMs >= this.stopMs ? 'shutdown' : null
    }
    const end = this.fate(task, nowMs - atMs)
    if (end !== null) return end
    if (state === 'running') return null
    if (state === 'ready' && task.desiredState === 'ready') return null
    return WAY[WAY.indexOf(state) + 1] ?? null
  }
}
