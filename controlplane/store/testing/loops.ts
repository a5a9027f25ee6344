// A leader's surroundings in memory, for tests of control loops: a store, time that is moved by
// hand, and ids and chance from a seed.

import { silentLogger, sinkLogger } from '../../../base/log.ts'
import { prng } from '../../../base/prng.ts'
import { type ManualTimers, manualTimers } from '../../../base/timers.ts'
import {
  StoreError,
  type TableName,
  type Tables,
  type Unversioned,
  type WriteTransaction,
} from '../contract.ts'
import type { ControlLoop, LoopContext } from '../control-loop.ts'
import { newId } from '../ids.ts'
import { counterBytes, localStore } from '../local-store.ts'
import type { MemoryStore } from '../memory-store.ts'

/** 2026-01-01: a wall clock that nobody takes for a monotonic one. */
const WALL_MS = 1_767_225_600_000

export class LoopWorld {
  readonly timers: ManualTimers = manualTimers(0, WALL_MS)
  readonly store: MemoryStore
  readonly context: LoopContext
  /** Warnings of loops. */
  readonly warnings: string[] = []
  private readonly loops: ControlLoop[] = []

  /** Entries from now on that are not applied, as when leadership is lost. */
  losing = 0

  constructor(seed: number = 1) {
    this.store = localStore(this.timers.clock, counterBytes(), {
      propose: () => {
        if (this.losing === 0) return
        this.losing--
        throw new StoreError('lost-leadership', 'leadership was lost')
      },
    })
    const bytes = counterBytes()
    const log = sinkLogger((_, message, fields) => {
      this.warnings.push(`${message}: ${fields.error}`)
    }, 'warn')
    this.context = {
      store: this.store,
      clock: this.timers.clock,
      timers: this.timers,
      random: prng(seed),
      log: seed === 0 ? silentLogger : log,
      newId: () => newId(bytes),
    }
  }

  start(...loops: ControlLoop[]): void {
    for (const loop of loops) {
      this.loops.push(loop)
      loop.start()
    }
  }

  stop(): void {
    for (const loop of this.loops.splice(0)) loop.stop()
  }

  /** Lets `ms` go by in steps, with all that is asynchronous done in between. */
  async run(ms: number, stepMs: number = 10): Promise<void> {
    await settle()
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      this.timers.advance(Math.min(stepMs, leftMs))
      await settle()
    }
  }

  update(write: (tx: WriteTransaction) => void): Promise<void> {
    return this.store.update(write)
  }

  async add<T extends TableName>(table: T, ...objects: Unversioned<Tables[T]>[]): Promise<void> {
    await this.update((tx) => {
      for (const object of objects) tx.create(table, object)
    })
  }

  get<T extends TableName>(table: T, id: string): Tables[T] {
    const object = this.store.view((tx) => tx.get(table, id))
    if (object === undefined) throw new Error(`no ${id} in ${table}`)
    return object
  }

  all<T extends TableName>(table: T): readonly Tables[T][] {
    return this.store.view((tx) => tx.all(table))
  }

  /** Replaces an object by what `change` makes of it. */
  change<T extends TableName>(
    table: T,
    id: string,
    change: (o: Tables[T]) => Tables[T],
  ): Promise<void> {
    return this.update((tx) => tx.update(table, change(tx.get(table, id)!)))
  }
}

/** Everything that promises alone can do is done. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
}
