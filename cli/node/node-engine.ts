// The engine of a node that may be in one swarm after another: the same EngineHandle for whoever
// asks it (control socket, metrics), a new packet loop behind it whenever one has to start anew.
// The counters' memory stays, zeroed.
//
// A loop that has ended by itself is started again by the next tables, which tables-sync hands over
// until they are taken.

import type { Logger } from '../../base/log.ts'
import { Turns } from '../../base/turns.ts'
import type { BalancerRows } from '../../dataplane/balanced-services.ts'
import type { CompiledTables } from '../../dataplane/compiled.ts'
import { type CounterRow, counterMemory } from '../../dataplane/counters.ts'
import { repairMeshHost } from '../../dataplane/edge/mesh-host.ts'
import type { ChangeResult, EngineEnd, EngineHandle } from '../../dataplane/engine-handle.ts'
import type { ManualChange, ManualService } from '../../dataplane/manual-services.ts'
import type { QuestionName, Questions } from '../../dataplane/questions.ts'
import { statisticsMemory } from '../../ipvs-emulator/statistics.ts'
import { fixedFieldProblems } from '../agent.ts'
import { EngineThread, repairHost } from '../engine-thread.ts'

const NO_ROWS: BalancerRows = {
  backends: [],
  rows: new Int32Array(0),
  weights: new Int32Array(0),
}
const NO_LOOP = 'the packet loop does not run: this node has no network yet'

export interface NodeEngineOptions {
  readonly runDirectory: string
  readonly log: Logger
  /** The loop has ended by itself: hand the tables over again. */
  readonly onFailure: (error: Error) => void
}

export class NodeEngine implements Omit<EngineHandle, 'start' | 'swap'> {
  readonly counters: SharedArrayBuffer = counterMemory()
  readonly statistics: SharedArrayBuffer = statisticsMemory()
  readonly #options: NodeEngineOptions
  #thread: EngineThread | null = null
  #running: CompiledTables | null = null
  #isUsed = false
  /** Starts and ends are made one after another: a loop that is starting can be stopped. */
  readonly #turns = new Turns()

  constructor(options: NodeEngineOptions) {
    this.#options = options
  }

  /** Puts tables into force. Rejects with what the host said; what ran before runs on then, unless
   * the loop had to start anew. */
  apply(tables: CompiledTables): Promise<void> {
    return this.#turns.take(() => this.#apply(tables))
  }

  /** Ends the loop; the host is then as `end` says, also where another agent left something and no
   * loop has run since. */
  stop(end: EngineEnd = 'undo'): Promise<void> {
    return this.#turns.take(async () => {
      if (this.#thread !== null) await this.#end(end)
      else if (end !== 'hold') await this.#repair(end)
    })
  }

  async #repair(end: 'undo' | 'keep'): Promise<void> {
    const { runDirectory, log } = this.#options
    try {
      const isKept = end === 'keep'
      const count = await (isKept ? repairMeshHost(runDirectory) : repairHost(runDirectory, log))
      if (count > 0) log.info('repaired what an earlier agent left', { changes: count })
    } catch (error) {
      log.warn('the host could not be repaired', { error: (error as Error).message })
    }
  }

  async #apply(tables: CompiledTables): Promise<void> {
    const { runDirectory, log, onFailure } = this.#options
    const isFixed =
      this.#running !== null && fixedFieldProblems(this.#running.node, tables.node).length === 0
    if (this.#thread !== null && isFixed) {
      await this.#thread.swap(tables)
    } else {
      await this.#end('keep')
      // Memory that nobody has written to costs nothing, and would if it were zeroed.
      if (this.#isUsed) {
        new Uint8Array(this.counters).fill(0)
        new Uint8Array(this.statistics).fill(0)
      }
      this.#isUsed = true
      const thread = new EngineThread(this.counters, this.statistics)
      await thread.start(tables, {
        runDirectory,
        captures: new Map(),
        log,
        onFailure: (error) => {
          log.error('the data plane has failed', { error: error.message })
          if (this.#thread === thread) this.#thread = null
          thread.stop('keep').then(
            () => onFailure(error),
            () => onFailure(error),
          )
        },
      })
      this.#thread = thread
    }
    this.#running = tables
  }

  get tables(): CompiledTables | null {
    return this.#thread === null ? null : this.#running
  }

  async #end(end: EngineEnd): Promise<void> {
    const thread = this.#thread
    this.#thread = null
    this.#running = null
    await thread?.stop(end)
  }

  ask<Name extends QuestionName>(
    name: Name,
    given: Questions[Name]['given'],
  ): Promise<Questions[Name]['answer']> {
    return this.#thread?.ask(name, given) ?? Promise.reject(new Error(NO_LOOP))
  }

  changeServices(changes: readonly ManualChange[], restoring: boolean): Promise<ChangeResult> {
    return this.#thread?.changeServices(changes, restoring) ?? Promise.reject(new Error(NO_LOOP))
  }

  manualServices(): readonly ManualService[] {
    return this.#thread?.manualServices() ?? []
  }

  counterRows(): readonly CounterRow[] {
    return this.#thread?.counterRows() ?? []
  }

  balancerRows(): BalancerRows {
    return this.#thread?.balancerRows() ?? NO_ROWS
  }
}
