// What every control loop of the leader is made of. A loop runs while its manager leads: it reads
// the store, decides, writes, and is woken by the store again. Loops know nothing of one another.
//
// A pass is one round of that. Passes of a loop never overlap, so a pass can trust what the loop
// remembers; what it read may be out of date when it writes, so that it looks again within the
// transaction. When a loop is at rest a poke starts a pass at once; under load it waits until pokes
// pause for `quietMs`, at most `maxMs`, and leaves at least as much time to others as its last pass
// took.
//
// A pass that fails (no leader any more, store overloaded, a defect in one loop) is logged, counted
// and tried again after a while: one bad object must not silence a manager. Broken beliefs
// (AssertionError) are not caught.

import { AssertionError } from '../../base/assert.ts'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import type { ReadTransaction, Store, StoreEvent } from './contract.ts'
import { LOOP_RETRY_MS, LOOP_RETRY_MS_MAX } from './limits.ts'

/** What a control loop is given. */
export interface LoopContext {
  readonly store: Store
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Prng
  readonly log: Logger
  /** Makes ids of objects. */
  readonly newId: () => string
}

/** A loop as whoever composes a manager sees it: started when it begins to lead, stopped when it
 * ends. May be started again. */
export interface ControlLoop {
  start(): void
  stop(): void
  /** Plain numbers, read when metrics are scraped. */
  readonly counters: Readonly<Record<string, number>>
}

export interface Pace {
  readonly quietMs: number
  readonly maxMs: number
}

/** "more": work is left, go on as soon as others had their turn. */
export type PassEnd = 'done' | 'more'

export class Passes {
  private readonly context: LoopContext
  private readonly name: string
  private readonly pass: () => Promise<PassEnd>
  private readonly pace: Pace
  private isStarted = false
  private isRunning = false
  /** Somebody asked for a pass since the last began. */
  private isWanted = false
  /** When the first poke of the waiting pass came. */
  private wantedMs = 0
  private pokedMs = 0
  private endedMs = Number.NEGATIVE_INFINITY
  private tookMs = 0
  private failures = 0
  private cancelTimer: (() => void) | null = null
  private unwatch: (() => void) | null = null
  /** Tells passes of an earlier start that they are over. */
  private generation = 0

  constructor(context: LoopContext, name: string, pace: Pace, pass: () => Promise<PassEnd>) {
    this.context = context
    this.name = name
    this.pace = pace
    this.pass = pass
  }

  start(): void {
    this.isStarted = true
    this.generation++
    this.isRunning = false
    this.isWanted = false
    this.failures = 0
    this.tookMs = 0
    this.endedMs = Number.NEGATIVE_INFINITY
    this.poke()
  }

  /** start(), for a loop that follows the store: `readAll` is shown what is there, `see` what
   * changes from then on, without a gap between the two. */
  follow(see: (event: StoreEvent) => void, readAll: (tx: ReadTransaction) => void): void {
    this.unwatch?.()
    this.unwatch = this.context.store.watch(see)
    this.context.store.view(readAll)
    this.start()
  }

  stop(): void {
    this.unwatch?.()
    this.unwatch = null
    this.isStarted = false
    this.generation++
    this.cancelTimer?.()
    this.cancelTimer = null
  }

  /** Asks for a pass soon. */
  poke(): void {
    if (!this.isStarted) return
    this.pokedMs = this.context.clock.nowMs()
    if (this.isWanted) return
    this.isWanted = true
    this.wantedMs = this.pokedMs
    if (this.isRunning || this.failures > 0) return
    const isAtRest = this.pokedMs - this.endedMs >= this.restMs()
    this.arm(isAtRest ? 0 : this.dueMs() - this.pokedMs)
  }

  private restMs(): number {
    return Math.max(this.pace.quietMs, this.tookMs)
  }

  /** When pokes will have paused long enough, if no more come; not beyond the longest wait. */
  private dueMs(): number {
    const latestMs = this.wantedMs + Math.max(this.pace.maxMs, this.tookMs)
    return Math.min(this.pokedMs + this.restMs(), latestMs)
  }

  private arm(delayMs: number): void {
    this.cancelTimer?.()
    const { generation } = this
    this.cancelTimer = this.context.timers.after(Math.max(0, delayMs), () => {
      this.cancelTimer = null
      if (generation !== this.generation || this.isRunning) return
      // Pokes that came meanwhile put it off.
      const leftMs = this.dueMs() - this.context.clock.nowMs()
      const wasAtRest = delayMs === 0
      if (!wasAtRest && this.failures === 0 && leftMs > 0) this.arm(leftMs)
      else void this.run(generation)
    })
  }

  private async run(generation: number): Promise<void> {
    const { clock } = this.context
    this.isRunning = true
    this.isWanted = false
    const startMs = clock.nowMs()
    let error: unknown = null
    let end: PassEnd = 'done'
    try {
      end = await this.pass()
    } catch (caught) {
      if (caught instanceof AssertionError) throw caught
      error = caught
    }
    if (generation !== this.generation) return
    this.isRunning = false
    this.endedMs = clock.nowMs()
    this.tookMs = this.endedMs - startMs
    if (error !== null) this.retry(error)
    else {
      this.failures = 0
      if (end === 'more') this.arm(0)
      else if (this.isWanted) this.arm(this.dueMs() - this.endedMs)
    }
  }

  private retry(error: unknown): void {
    const delayMs = Math.min(LOOP_RETRY_MS_MAX, LOOP_RETRY_MS * 2 ** this.failures)
    this.failures++
    this.context.log.warn('a pass failed', {
      loop: this.name,
      error: error instanceof Error ? error.message : String(error),
      retryMs: delayMs,
    })
    this.arm(delayMs)
  }
}
