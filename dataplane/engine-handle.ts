// The engine as the process that composes it sees it: something to start, to hand new tables to and
// to stop. dataplane/engine.ts implements it with a worker thread; tests of the command line with a
// fake.
//
// Order: start() once, then swap() any number of times, one at a time, then stop(). stop() may come
// at any moment, also while start() or swap() has not settled; it undoes everything on the host
// that was made so far and settles after that. A second stop() returns the first one's promise.

import type { Logger } from '../base/log.ts'
import type { CompiledTables } from './compiled.ts'
import type { CounterRow } from './counters.ts'

export interface EngineOptions {
  /** Directory for the journal of host changes and other state that a restart needs. */
  readonly runDirectory: string
  /** Local port (its endpoint's name), or "underlay", to the pcap file to write. */
  readonly captures: ReadonlyMap<string, string>
  readonly log: Logger
  /** Called at most once, when the engine has ended by itself: nothing forwards any more. */
  readonly onFailure: (error: Error) => void
}

export interface EngineHandle {
  /** Resolves when packets flow. Rejects with an EdgeError whose message a person can act on; then
   * nothing is left behind and stop() need not be called. */
  start(tables: CompiledTables, options: EngineOptions): Promise<void>
  /** Replaces the tables whole. Rejects when the host refuses what they ask for (a namespace that
   * is not there); then the tables that ran before still run. */
  swap(tables: CompiledTables): Promise<void>
  stop(): Promise<void>
  /** The counters' memory (counters.ts). */
  readonly counters: SharedArrayBuffer
  /** The rows of `counters` that the running tables have. */
  counterRows(): readonly CounterRow[]
}
