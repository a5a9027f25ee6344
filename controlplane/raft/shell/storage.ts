// A member's disk, seen from its own thread: requests go to a worker (storage-worker.ts) and are
// answered later; nothing here waits.
//
// Only what promises something goes to the disk. A write without `sync` (the commit index alone
// moved) is remembered and goes along with the next one: losing it in a crash costs a little
// catching up, a transaction for it would cost as much as a commit.
//
// A failed write is final. What the disk holds is then unknown (a failed fsync may have dropped the
// pages and will report success the next time it is asked), so nothing more is written, and `fatal`
// ends the process.

import { Worker } from 'node:worker_threads'
import { Histogram } from '../../../base/histogram.ts'
import type { Logger } from '../../../base/log.ts'
import { Turns } from '../../../base/turns.ts'
import type { LogWrite } from '../driver.ts'
import { MemoryStorage } from '../memory-storage.ts'
import type { Entry, HardState, Snapshot } from '../messages.ts'
import type { Checkpoint, DatabaseWrite, StoredState } from './database.ts'
import type { Identity } from './directory.ts'
import { StorageError } from './errors.ts'
import type { DataKeys, KeyProvider } from './keys.ts'
import { SLOW_WRITE_MS } from './limits.ts'
import { LETTER_BYTES, Mailbox } from './mailbox.ts'
import { encodeRecord } from './record.ts'
import { newDataKey } from './seal.ts'
import type { PlainError, StorageReply, StorageRequest, StorageStart } from './storage-protocol.ts'

export interface StorageOptions extends Omit<StorageStart, 'keys' | 'mailbox'> {
  readonly keys: KeyProvider
  /** Called once, when the disk fails. */
  readonly fatal: (error: StorageError) => void
  readonly logger: Logger
}

/** A request without its number. */
type Unnumbered = StorageRequest extends infer R
  ? R extends unknown
    ? Omit<R, 'id'>
    : never
  : never

/** Replies about the letter in the mailbox. */
const LETTER_ID = -1

interface Waiting {
  readonly resolve: (reply: StorageReply) => void
  readonly reject: (error: Error) => void
}

export class MemberStorage {
  /** As of the start, or of refound(). */
  state: StoredState
  readonly writeLatency: Histogram = new Histogram()
  /** Requests the disk has not answered yet. */
  queued = 0
  readonly #worker: Worker
  readonly #mailbox: Mailbox
  readonly #keys: KeyProvider
  readonly #fatal: (error: StorageError) => void
  readonly #logger: Logger
  readonly #waiting = new Map<number, Waiting>()
  #hardState: HardState
  #lastId = 0
  /** Changes of the data key. */
  readonly #rotations = new Turns()
  readonly #exited: Promise<void>
  #ended = false
  /** The disk failed: whatever is still answered counts for nothing. */
  #halted = false

  private constructor(
    worker: Worker,
    mailbox: Mailbox,
    options: StorageOptions,
    state: StoredState,
  ) {
    this.#worker = worker
    this.#mailbox = mailbox
    this.#keys = options.keys
    this.#fatal = options.fatal
    this.#logger = options.logger
    this.state = state
    this.#hardState = state.hardState
    worker.on('message', (reply: StorageReply) => this.#answered(reply))
    worker.on('error', (error) => this.#failed(error.message))
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        if (!this.#ended) this.#failed('its thread ended')
        resolve()
      })
    })
  }

  /** Opens a member's directory, or makes it first. Rejects with a StorageError that names what is
   * wrong with it. */
  static async open(options: StorageOptions): Promise<MemberStorage> {
    const { directory, expected, founding, takesRestored } = options
    const keys = await options.keys.unwrap()
    const mailbox = new Mailbox()
    const { memory } = mailbox
    const start = { directory, keys, expected, founding, takesRestored, mailbox: memory }
    const worker = new Worker(new URL('./storage-worker.ts', import.meta.url), {
      workerData: start satisfies StorageStart,
    })
    const first = await new Promise<StorageReply>((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })
    worker.removeAllListeners('error')
    if (first.error !== null || first.state === null) {
      await worker.terminate()
      throw revive(first.error)
    }
    const storage = new MemberStorage(worker, mailbox, options, first.state)
    // The worker has finished a change of keys that was under way.
    if (keys.pending !== null) {
      await options.keys.replace({ current: keys.pending, pending: null })
    }
    return storage
  }

  /** The part of the log that the core reads. */
  cache(): MemoryStorage {
    const storage = new MemoryStorage()
    const { snapshot, entries, hardState } = this.state
    if (snapshot !== null) storage.applySnapshot(snapshot)
    storage.append(entries)
    const commit = Math.max(hardState.commit, snapshot?.index ?? 0)
    storage.hardState = { ...hardState, commit }
    return storage
  }

  /** See DriverHost.write(). */
  write(writes: readonly LogWrite[], sync: boolean, done: (error: string | null) => void): void {
    for (const { hardState } of writes) if (hardState !== null) this.#hardState = hardState
    if (!sync) {
      queueMicrotask(() => done(null))
      return
    }
    const { write, checkpoint } = databaseWrite(writes, this.#hardState)
    if (checkpoint !== null) this.#startCheckpoint(checkpoint)
    if (write.snapshot === null && write.record.length <= LETTER_BYTES && !this.#ended) {
      this.queued++
      this.#mailbox.post(write, (tookMs) => {
        this.queued--
        // Why it failed comes through the port.
        if (tookMs === null || this.#halted) return
        this.#wrote(tookMs)
        done(null)
      })
      return
    }
    this.#send({ kind: 'write', write }, [write.record.buffer as ArrayBuffer]).then(
      ({ tookMs }) => {
        this.#wrote(tookMs)
        done(null)
      },
      (error: Error) => {
        done(error.message)
        this.#failed(error.message)
      },
    )
  }

  #wrote(tookMs: number): void {
    this.writeLatency.add(tookMs)
    if (tookMs > SLOW_WRITE_MS) this.#logger.warn('the disk is slow', { elapsedMs: tookMs })
  }

  /** A member's own snapshot is nobody's promise: the log goes on while it is written. */
  #startCheckpoint(checkpoint: Checkpoint): void {
    this.#send({ kind: 'checkpoint', checkpoint }).catch((error: Error) =>
      this.#failed(error.message),
    )
  }

  /** Replaces the data key by a new one: see keys.ts. Resolves when nothing is sealed under the old
   * one any more. */
  rotateKey(): Promise<void> {
    return this.#rotations.take(async () => {
      const { current } = await this.#keys.unwrap()
      const keys: DataKeys = { current, pending: newDataKey() }
      await this.#keys.replace(keys)
      await this.#send({ kind: 'change-key', keys })
      while (!(await this.#send({ kind: 'reseal' })).finished);
      await this.#keys.replace({ current: keys.pending!, pending: null })
    })
  }

  /** Writes a consistent copy to `path`, which must not exist. */
  async backup(path: string): Promise<void> {
    await this.#send({ kind: 'backup', path })
  }

  /** Makes this the directory of the only member of a cluster: force-new-cluster. */
  async refound(identity: Identity, snapshot: Snapshot, hardState: HardState): Promise<void> {
    await this.#send({ kind: 'refound', identity, write: foundingWrite(snapshot, hardState) })
    this.#hardState = hardState
    this.state = { ...this.state, identity, snapshot, hardState, entries: [], firstPeers: '' }
  }

  async setFirstPeers(text: string): Promise<void> {
    await this.#send({ kind: 'first-peers', text })
  }

  /** Waits for what is under way, and gives the directory back. */
  async close(): Promise<void> {
    if (this.#ended) return
    await this.#rotations.take(() => Promise.resolve())
    const closing = this.#send({ kind: 'close' })
    this.#ended = true
    await closing.catch(() => {})
    await this.#exited
  }

  #send(request: Unnumbered, transfer: readonly ArrayBuffer[] = []): Promise<StorageReply> {
    if (this.#ended) return Promise.reject(new StorageError('write-failed', 'It is closed.'))
    const id = ++this.#lastId
    this.queued++
    this.#worker.postMessage({ ...request, id }, transfer)
    this.#mailbox.ringForPort()
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
  }

  #answered(reply: StorageReply): void {
    if (reply.id === LETTER_ID) this.#failed(reply.error?.reason ?? 'no reason given')
    const waiting = this.#waiting.get(reply.id)
    if (waiting === undefined) return
    this.#waiting.delete(reply.id)
    this.queued--
    if (reply.error === null) waiting.resolve(reply)
    else waiting.reject(revive(reply.error))
  }

  #failed(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#halted = true
    const directory = this.state.identity.raftId
    const error = new StorageError('write-failed', `Member ${directory} cannot write: ${reason}.`)
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
    void this.#worker.terminate()
    this.#fatal(error)
  }
}

function revive(error: PlainError | null): Error {
  if (error === null) return new Error('the disk gave no answer')
  return error.code === null ? new Error(error.reason) : new StorageError(error.code, error.reason)
}

/** Many steps as one transaction. Later ones win. */
function databaseWrite(
  writes: readonly LogWrite[],
  hardState: HardState,
): { write: DatabaseWrite; checkpoint: Checkpoint | null } {
  let snapshot: Snapshot | null = null
  let checkpoint: Checkpoint | null = null
  let entries: Entry[] = []
  for (const write of writes) {
    if (write.snapshot !== null) {
      snapshot = write.snapshot
      checkpoint = null
      entries = []
    }
    for (const entry of write.entries) entries.push(entry)
    if (write.checkpoint !== null && write.checkpoint.index >= (snapshot?.index ?? 0)) {
      checkpoint = { snapshot: write.checkpoint, compactTo: write.compactTo }
    }
  }
  return { write: { snapshot, ...recordOf(entries, hardState) }, checkpoint }
}

/** What a founder starts with. */
export function foundingWrite(snapshot: Snapshot, hardState: HardState): DatabaseWrite {
  return { snapshot, ...recordOf([], hardState) }
}

function recordOf(
  entries: readonly Entry[],
  hardState: HardState,
): Pick<DatabaseWrite, 'record' | 'first' | 'last' | 'term'> {
  let first = entries[0]?.index ?? 0
  let last = 0
  for (const { index } of entries) {
    first = Math.min(first, index)
    last = Math.max(last, index)
  }
  return { record: encodeRecord({ hardState, entries }), first, last, term: hardState.term }
}
