// The loop around a RawNode: persist, send, apply. It owns no clock, socket or file. Whoever runs
// it ticks it, hands it messages and requests, and lends it a DriverHost, whose answers may come
// later. So the same loop can run on a real disk and on a simulated one.
//
// - Writes: one at a time. What gathers while one is under way goes out together as the next (group
//   commit), so the slower the disk, the larger the batches.
// - `messages` leave at once, in parallel with the write; `messagesAfterAppend` once it is durable.
// - Applying is deferred through the host, and reported Ready by Ready.
// - Reads: one round of ReadIndex at a time for all reads that wait. A round that is not answered
//   within an election timeout is asked again under a new context.
// - Checkpoints: after every `checkpointEntries` applied entries (more if the state is large: see
//   `checkpointGrowth`) the state machine is written out, and the log is dropped up to
//   `keptEntries` before it, once the checkpoint is written.
// - A failed write stops the member for good: what its disk holds is unknown.
//
// Not here: encryption, transport, files, retries of proposals.

import { assert } from '../../base/assert.ts'
import { decodeConfChange } from './codec.ts'
import type { Config } from './config.ts'
import { entryBytes } from './limits.ts'
import type { MemoryStorage } from './memory-storage.ts'
import type {
  ConfChange,
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  Snapshot,
} from './messages.ts'
import { RawNode } from './raw-node.ts'
import type { ProposeResult, Ready, Refusal } from './types.ts'

/** A step of the disk's work. Its parts become durable together, or in the order of the fields. */
export interface LogWrite {
  /** From the leader: replaces the whole log. */
  readonly snapshot: Snapshot | null
  /** They replace what is stored at and behind the index of the first. */
  readonly entries: readonly Entry[]
  readonly hardState: HardState | null
  /** Of this member's own state machine; the log may then go up to `compactTo`. */
  readonly checkpoint: Snapshot | null
  readonly compactTo: number
}

export interface DriverHost {
  send(message: Message): void
  /** Writes in order. `done` is called later, once all is durable (or, without `sync`, at least
   * written in order before all that follows), or with the reason why not. */
  write(writes: readonly LogWrite[], sync: boolean, done: (error: string | null) => void): void
  /** Calls `run` soon, but not now. */
  defer(run: () => void): void
  /** Applies a committed entry that is no membership change. */
  apply(entry: Entry): void
  /** A membership change took effect. */
  configure(config: ConfState, index: number): void
  /** The state machine as bytes, and back. */
  checkpoint(): Uint8Array
  restore(snapshot: Snapshot): void
  /** Told about every Ready before anything is done about it: for metrics and checks. */
  observe(ready: Ready): void
  /** The member stopped because its disk failed. */
  failed(reason: string): void
}

export interface DriverConfig extends Omit<Config, 'storage' | 'pipelinedWrites'> {
  /** What the disk held at the start; kept up as the cache that the core reads. */
  readonly storage: MemoryStorage
  readonly checkpointEntries: number
  /** A checkpoint costs what the state weighs, so it waits until the entries applied since the last
   * one weigh this many times as much (thesis, 5.1.3): what is written is then at most a share of
   * 1 / checkpointGrowth more than the log. Default 0: only entries count. */
  readonly checkpointGrowth?: number
  /** However large the state: the log in memory, and the time of a restart, stay bounded. */
  readonly maxCheckpointEntries?: number
  readonly maxCheckpointBytes?: number
  readonly keptEntries: number
  /** Never the same twice for one member, or a late answer to a read of its former life would be
   * taken for one of this. At most 2^20; each life has room for 2^32 rounds of reads. */
  readonly incarnation: number
}

/** `applied`: it is in the state machine. `lost`: it never will be. `unknown`: a snapshot went
 * past it. */
export type Outcome = 'applied' | 'lost' | 'unknown'

export interface Proposal {
  readonly data: Uint8Array
  /** Called only if the proposal was given an index here. */
  readonly settle: (outcome: Outcome, index: number) => void
}

interface Work {
  readonly ready: Ready | null
  readonly write: LogWrite | null
  readonly sync: boolean
}

interface Waiting {
  readonly term: number
  readonly settle: Proposal['settle']
}

interface ReadRound {
  readonly context: number
  readonly reads: (() => void)[]
  ageTicks: number
}

const CONTEXT_BYTES = 8
const CONTEXTS_PER_INCARNATION = 2 ** 32

export class Driver {
  readonly node: RawNode
  readonly #config: DriverConfig
  readonly #host: DriverHost
  #stopped = false
  #unwritten: Work[] = []
  #writing = false
  #unapplied: Ready[] = []
  #applyScheduled = false
  readonly #proposals = new Map<number, Waiting>()
  #contexts: number
  #round: ReadRound | null = null
  #newReads: (() => void)[] = []
  #confirmed: { readonly index: number; readonly reads: readonly (() => void)[] }[] = []
  #checkpointIndex: number
  /** Since the last checkpoint. */
  #appliedBytes = 0
  confState: ConfState
  appliedIndex: number

  /** Starts from `config.storage`; the host's state machine must stand where its snapshot does. */
  constructor(config: DriverConfig, host: DriverHost) {
    this.#config = config
    this.#host = host
    this.confState = config.storage.initialState().confState
    this.appliedIndex = config.storage.snapshot()?.index ?? 0
    this.#checkpointIndex = this.appliedIndex
    this.#contexts = config.incarnation * CONTEXTS_PER_INCARNATION
    this.node = new RawNode({ ...config, applied: this.appliedIndex, pipelinedWrites: true })
    this.node.appliesAhead = true
  }

  /** Nothing happens any more; what the host still calls back is ignored. */
  stop(): void {
    this.#stopped = true
  }

  /** To be called in a fixed rhythm. */
  tick(): void {
    if (this.#stopped) return
    this.node.tick()
    const round = this.#round
    if (round !== null && ++round.ageTicks > this.#config.electionTicks) {
      this.#round = null
      this.#newReads.unshift(...round.reads)
    }
    this.#startReads()
    this.#pump()
  }

  receive(message: Message): Refusal | null {
    if (this.#stopped) return null
    const refusal = this.node.step(message)
    this.#pump()
    return refusal
  }

  /** Proposes `data`. `settle` is called only if the result names an index. */
  propose(data: Uint8Array, settle: (outcome: Outcome) => void): ProposeResult {
    return this.proposeBatch([{ data, settle }])
  }

  /** Proposes several entries in one append: all are taken, or none. The result names the first;
   * each is settled by itself. */
  proposeBatch(batch: readonly Proposal[]): ProposeResult {
    const result = this.node.proposeBatch(batch.map(({ data }) => data))
    const { term } = result
    if (result.index > 0) {
      for (let i = 0; i < batch.length; i++) {
        // This member led before and its log has been cut back since. Elsewhere the old entry may
        // live on.
        this.#proposals.get(result.index + i)?.settle('unknown', result.index + i)
        this.#proposals.set(result.index + i, { term, settle: batch[i]!.settle })
      }
    }
    this.#pump()
    return result
  }

  changeMembership(change: ConfChange): ProposeResult {
    const result = this.node.proposeConfChange(change)
    this.#pump()
    return result
  }

  /** Calls `serve` once reading the state machine is linearizable. May take for ever. */
  read(serve: () => void): void {
    this.#newReads.push(serve)
    this.#startReads()
    this.#pump()
  }

  campaign(): void {
    if (this.#stopped) return
    this.node.campaign()
    this.#pump()
  }

  forgetLeader(): void {
    if (this.#stopped) return
    this.node.forgetLeader()
    this.#pump()
  }

  transferLeader(to: NodeId): void {
    this.node.transferLeader(to)
    this.#pump()
  }

  reportUnreachable(id: NodeId): void {
    if (this.#stopped) return
    this.node.reportUnreachable(id)
    this.#pump()
  }

  reportSnapshot(id: NodeId, ok: boolean): void {
    if (this.#stopped) return
    this.node.reportSnapshot(id, ok)
    this.#pump()
  }

  #pump(): void {
    while (!this.#stopped && this.node.hasReady()) {
      const ready = this.node.ready()
      this.#host.observe(ready)
      for (const message of ready.messages) this.#host.send(message)
      for (const { index, context } of ready.readStates) this.#confirmRound(index, context)
      this.#unwritten.push({ ready, write: writeOf(ready), sync: ready.mustSync })
      this.#unapplied.push(ready)
      this.#scheduleApply()
      this.#startWrite()
    }
    this.#startWrite()
  }

  #startWrite(): void {
    if (this.#writing || this.#stopped || this.#unwritten.length === 0) return
    const batch = this.#unwritten
    this.#unwritten = []
    this.#writing = true
    const writes: LogWrite[] = []
    for (const { write } of batch) if (write !== null) writes.push(write)
    if (writes.length === 0) {
      this.#written(batch)
      return
    }
    const sync = batch.some((work) => work.sync)
    this.#host.write(writes, sync, (error) => {
      if (this.#stopped) return
      if (error === null) {
        this.#written(batch)
        this.#pump()
      } else {
        this.#stopped = true
        this.#host.failed(error)
      }
    })
  }

  #written(batch: readonly Work[]): void {
    this.#writing = false
    for (const { ready, write } of batch) {
      if (write !== null) this.#cache(write)
      if (ready === null) continue
      if (ready.snapshot !== null) this.#restore(ready.snapshot)
      for (const message of ready.messagesAfterAppend) this.#host.send(message)
      this.node.persisted()
    }
    this.#scheduleApply()
  }

  #cache({ snapshot, entries, hardState, checkpoint, compactTo }: LogWrite): void {
    const { storage } = this.#config
    if (snapshot !== null) storage.applySnapshot(snapshot)
    if (entries.length > 0) storage.append(entries)
    if (hardState !== null) storage.hardState = hardState
    if (checkpoint !== null && checkpoint.index >= storage.firstIndex()) {
      storage.createSnapshot(checkpoint)
      storage.compact(compactTo)
    }
  }

  #restore(snapshot: Snapshot): void {
    assert(
      this.#unapplied.every(({ committedEntries }) => committedEntries.length === 0),
      'no entries may be under way when a snapshot is restored',
    )
    this.#host.restore(snapshot)
    this.#host.configure(snapshot.confState, snapshot.index)
    this.confState = snapshot.confState
    this.appliedIndex = snapshot.index
    this.#checkpointIndex = snapshot.index
    this.#appliedBytes = 0
    for (const [index, { settle }] of this.#proposals) {
      if (index > snapshot.index) continue
      this.#proposals.delete(index)
      settle('unknown', index)
    }
    this.#serveReads()
  }

  #scheduleApply(): void {
    // Readies without committed entries only have to keep their place.
    while (this.#unapplied[0]?.committedEntries.length === 0) {
      this.#unapplied.shift()
      this.node.applied()
    }
    if (this.#applyScheduled || this.#unapplied.length === 0) return
    this.#applyScheduled = true
    this.#host.defer(() => {
      this.#applyScheduled = false
      if (this.#stopped) return
      this.#applyNext()
      this.#scheduleApply()
      this.#pump()
    })
  }

  #applyNext(): void {
    const ready = this.#unapplied.shift()
    if (ready === undefined) return
    for (const entry of ready.committedEntries) {
      if (entry.type === 'EntryNormal') {
        this.#host.apply(entry)
      } else {
        const change = decodeConfChange(entry)
        assert(change !== null, 'a committed membership change can be read')
        this.confState = this.node.applyConfChange(change)
        this.#host.apply(entry)
        this.#host.configure(this.confState, entry.index)
      }
      this.appliedIndex = entry.index
      this.#appliedBytes += entryBytes(entry)
      const waiting = this.#proposals.get(entry.index)
      if (waiting === undefined) continue
      this.#proposals.delete(entry.index)
      waiting.settle(waiting.term === entry.term ? 'applied' : 'lost', entry.index)
    }
    this.node.applied()
    this.#serveReads()
    this.#maybeCheckpoint()
  }

  #maybeCheckpoint(): void {
    const { storage, keptEntries } = this.#config
    const index = this.appliedIndex
    if (!this.#isCheckpointDue(index)) return
    // What is in a checkpoint must be durable here. Until the disk has caught up nothing more is
    // applied ahead of it.
    this.node.appliesAhead = index <= storage.lastIndex()
    if (!this.node.appliesAhead) return
    const term = storage.term(index)
    assert(typeof term === 'number', 'what is applied is stored')
    this.#checkpointIndex = index
    this.#appliedBytes = 0
    const checkpoint = { index, term, confState: this.confState, data: this.#host.checkpoint() }
    const compactTo = Math.max(0, index - keptEntries)
    const write = { snapshot: null, entries: [], hardState: null, checkpoint, compactTo }
    this.#unwritten.push({ ready: null, write, sync: true })
  }

  #isCheckpointDue(index: number): boolean {
    const {
      checkpointEntries,
      checkpointGrowth = 0,
      maxCheckpointEntries = Number.POSITIVE_INFINITY,
      maxCheckpointBytes = Number.POSITIVE_INFINITY,
      storage,
    } = this.#config
    const entries = index - this.#checkpointIndex
    if (entries < checkpointEntries) return false
    const bytes = this.#appliedBytes
    if (entries >= maxCheckpointEntries || bytes >= maxCheckpointBytes) return true
    return bytes >= checkpointGrowth * (storage.snapshot()?.data.length ?? 0)
  }

  #startReads(): void {
    if (this.#round !== null || this.#newReads.length === 0) return
    const context = ++this.#contexts
    const bytes = new Uint8Array(CONTEXT_BYTES)
    new DataView(bytes.buffer).setFloat64(0, context)
    // Refused: the next tick tries again.
    if (this.node.readIndex(bytes) !== null) return
    this.#round = { context, reads: this.#newReads, ageTicks: 0 }
    this.#newReads = []
  }

  #confirmRound(index: number, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const round = this.#round
    // Answers to rounds that were given up may come late.
    if (round === null || view.getFloat64(0) !== round.context) return
    this.#round = null
    this.#confirmed.push({ index, reads: round.reads })
    this.#serveReads()
    this.#startReads()
  }

  #serveReads(): void {
    while (this.#confirmed.length > 0 && this.#confirmed[0]!.index <= this.appliedIndex) {
      for (const serve of this.#confirmed.shift()!.reads) serve()
    }
  }
}

function writeOf({ snapshot, entries, hardState }: Ready): LogWrite | null {
  if (snapshot === null && entries.length === 0 && hardState === null) return null
  return { snapshot, entries, hardState, checkpoint: null, compactTo: 0 }
}
