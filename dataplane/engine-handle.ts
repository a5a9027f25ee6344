// The engine as the process that composes it sees it: something to start, to hand new tables to and
// to stop. dataplane/engine.ts implements it with a worker thread; tests of the command line with a
// fake.
//
// Order: start() once, then swap() any number of times, one at a time, then stop(). stop() may come
// at any moment, also while start() or swap() has not settled; it undoes everything on the host
// that was made so far and settles after that. A second stop() returns the first one's promise.
// stop('keep') is for an agent whose tasks go on: it leaves their devices to the next start().
// stop('hold') is for an agent that another one follows at once: it leaves the published ports as
// well, and what comes to them in between is dropped silently.
//
// Draining. swap() resolves when the packet loop runs the tables, which is the acknowledgement that
// their version is in force; `ask('drain', { endpoint })` then tells how many flows an endpoint
// still has on this node. A drain is over when that is 0 on every node, or when the caller's
// deadline has passed; what is open then is reset when the endpoint leaves the tables.

import type { Logger } from '../base/log.ts'
import type { BalancerRows } from './balanced-services.ts'
import type { CompiledTables } from './compiled.ts'
import type { CounterRow } from './counters.ts'
import type { ManualChange, ManualError, ManualService } from './manual-services.ts'
import type { QuestionName, Questions } from './questions.ts'

export interface EngineOptions {
  /** Directory for the journal of host changes and other state that a restart needs. */
  readonly runDirectory: string
  /** Local port (its endpoint's name), or "underlay", to the pcap file to write. */
  readonly captures: ReadonlyMap<string, string>
  readonly log: Logger
  /** Called at most once, when the engine has ended by itself: nothing forwards any more. */
  readonly onFailure: (error: Error) => void
}

/** How a list of changes ended. */
export interface ChangeResult {
  /** How many were made. */
  readonly made: number
  /** Why the one after them was not; null = all were made. */
  readonly error: ManualError | null
}

/** What stop() does with the host: takes everything back, or all but the devices, or nothing. */
export type EngineEnd = 'undo' | 'keep' | 'hold'

export interface EngineHandle {
  /** Resolves when packets flow. Rejects with an EdgeError whose message a person can act on; then
   * nothing of it is left behind and stop() need not be called. Devices of an agent before this one
   * stay; so does what that one held, unless this one has come to it. */
  start(tables: CompiledTables, options: EngineOptions): Promise<void>
  /** Replaces the tables whole. Rejects when the host refuses what they ask for (a namespace that
   * is not there); then the tables that ran before still run. */
  swap(tables: CompiledTables): Promise<void>
  stop(end?: EngineEnd): Promise<void>
  /** Asks the packet loop (questions.ts); it answers between two turns. Rejects when there is no
   * loop. */
  ask<Name extends QuestionName>(
    name: Name,
    given: Questions[Name]['given'],
  ): Promise<Questions[Name]['answer']>
  /** Changes the services that are added by hand, in order, up to the first that is refused.
   * `restoring`: see ManualServices.apply(). Resolves when those made are in force. */
  changeServices(changes: readonly ManualChange[], restoring: boolean): Promise<ChangeResult>
  /** The services added by hand, and the keys of those of the tables. */
  manualServices(): readonly ManualService[]
  /** The counters' memory (counters.ts). */
  readonly counters: SharedArrayBuffer
  /** The rows of `counters` that the running tables have. */
  counterRows(): readonly CounterRow[]
  /** The balancer's statistics (ipvs-emulator/statistics-columns.ts), row 0 the sum of all. */
  readonly statistics: SharedArrayBuffer
  /** The rows of `statistics` that the backends of the running tables have. */
  balancerRows(): BalancerRows
}
