// The log and the snapshot of a member in SQLite. Synchronous: it lives in a worker thread
// (storage-worker.ts), and tests use it as it is.
//
//   meta      name, value     format, identity, number of starts, first peers
//   log       seq, first, last, term, key, sealed     one row per durable write: record.ts
//   snapshot, part                                    snapshot-store.ts
//
// A write is one transaction: with journal_mode WAL and synchronous FULL, one append and one sync
// of SQLite's write-ahead log. Everything else happens between writes and in small pieces (chore):
// this member's own snapshots are written, what they make superfluous is removed, and SQLite's log
// is copied into the database.
//
// Rows are removed only from the front: a row may cut back what rows before it hold, so it must not
// go before them. Numbers of rows have no gap, or something is missing.
//
// What opening must tell apart:
//   - a write that a crash interrupted: SQLite rolls it back, nobody was promised anything.
//   - lost confirmed writes: the last record is older than the directory's witness.
//   - a damaged file (SQLite notices) or row (its seal does not open).
//   - a log without the snapshot it follows; another member's database; another key.

import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { EMPTY_HARD_STATE, type Entry, type HardState, type Snapshot } from '../messages.ts'
import { openDatabase, PAGE_BYTES, putIdentity, readMeta, writeMeta } from './database-file.ts'
import { checkIdentity, type Directory, type Identity } from './directory.ts'
import { StorageError } from './errors.ts'
import type { DataKeys } from './keys.ts'
import { CHECKPOINT_PAGES, RESEAL_ROWS, SWEEP_RECORDS } from './limits.ts'
import { decodeRecord } from './record.ts'
import { SnapshotStore } from './snapshot-store.ts'
import { named } from './sqlite-errors.ts'
import { type SealedRow, Vault } from './vault.ts'

/** What a start finds. */
export interface StoredState {
  readonly identity: Identity
  /** Starts of this member, this one included. */
  readonly incarnation: number
  readonly hardState: HardState
  readonly snapshot: Snapshot | null
  /** What follows the snapshot. */
  readonly entries: readonly Entry[]
  /** What a joiner was told of the members when it came; empty for others. */
  readonly firstPeers: string
}

/** One durable write. */
export interface DatabaseWrite {
  /** From the leader: takes the place of the whole log, and of any other snapshot. */
  readonly snapshot: Snapshot | null
  /** encodeRecord(), the lowest and highest index in it (0 for no entries) and the last term. */
  readonly record: Uint8Array
  readonly first: number
  readonly last: number
  readonly term: number
}

/** This member's own snapshot; records up to `compactTo` may go once it is there. */
export interface Checkpoint {
  readonly snapshot: Snapshot
  readonly compactTo: number
}

interface LogRow extends SealedRow {
  readonly seq: number
  readonly first: number
  readonly last: number
  readonly term: number
}

export class RaftDatabase {
  readonly handle: DatabaseSync
  readonly #directory: Directory
  readonly #vault: Vault
  readonly #snapshots: SnapshotStore
  readonly #insertRecord: StatementSync
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  #identity: Identity
  #seq = 0
  #walBytes: number
  #checkpoint: Checkpoint | null = null
  #nextCheckpoint: Checkpoint | null = null
  /** Records with a lower number and nothing behind this index may go. */
  #sweepTo = 0

  /** Opens the database of `directory` and checks that it is whole and this member's. Throws a
   * StorageError that names what is wrong. */
  constructor(directory: Directory, keys: DataKeys) {
    this.#directory = directory
    this.#vault = new Vault(keys)
    const { db, identity } = openDatabase(directory)
    this.handle = db
    this.#identity = identity
    // All members write the same. They should not copy it into their databases at the same time:
    // a commit waits for the quickest of them.
    this.#walBytes = (identity.raftId % CHECKPOINT_PAGES) * PAGE_BYTES
    this.#snapshots = new SnapshotStore(db, this.#vault, () => this.#owner())
    this.#begin = db.prepare('BEGIN IMMEDIATE')
    this.#commit = db.prepare('COMMIT')
    this.#insertRecord = db.prepare(
      'INSERT INTO log (seq, first, last, term, key, sealed) VALUES (?, ?, ?, ?, ?, ?)',
    )
  }

  get identity(): Identity {
    return this.#identity
  }

  /** Reads all there is, and counts the start. Throws a StorageError that names what is wrong. */
  load(): StoredState {
    try {
      const snapshot = this.#snapshots.load()
      const { hardState, entries } = this.#loadLog(snapshot?.index ?? 0)
      const confirmed = this.#directory.confirmedRecord()
      if (this.#seq < confirmed) {
        const reason = `Record ${confirmed} was confirmed, but the log ends with ${this.#seq}.`
        throw new StorageError('lost-writes', reason)
      }
      const first = entries[0]?.index
      if (snapshot === null && first !== undefined) {
        throw new StorageError('missing-snapshot', `The log begins at ${first}, with no snapshot.`)
      }
      if (hardState.commit > (entries.at(-1)?.index ?? snapshot?.index ?? 0)) {
        throw new StorageError('lost-writes', 'The log ends before what was committed.')
      }
      const incarnation = Number(readMeta(this.handle, 'incarnation') ?? 0) + 1
      writeMeta(this.handle, 'incarnation', String(incarnation))
      const firstPeers = readMeta(this.handle, 'first_peers') ?? ''
      // Last: with an identity on record, a directory without its database is a lost one.
      this.#directory.writeIdentity(this.#identity)
      return { identity: this.#identity, incarnation, hardState, snapshot, entries, firstPeers }
    } catch (error) {
      throw named(error, this.#directory.databasePath)
    }
  }

  #loadLog(base: number): { hardState: HardState; entries: Entry[] } {
    const entries: Entry[] = []
    let hardState = EMPTY_HARD_STATE
    this.#seq = 0
    const select = this.handle.prepare('SELECT * FROM log ORDER BY seq')
    for (const value of select.iterate()) {
      const row = value as unknown as LogRow
      if (this.#seq !== 0 && row.seq !== this.#seq + 1) {
        throw new StorageError('corrupt', `Record ${this.#seq + 1} of the log is missing.`)
      }
      this.#seq = row.seq
      const what = `Record ${row.seq} of the log (entries ${row.first} to ${row.last})`
      const record = decodeRecord(this.#vault.open(row, this.#logPlace(row), what))
      if (record === null) throw new StorageError('corrupt', `${what} is not one.`)
      hardState = record.hardState
      for (const entry of record.entries) {
        // Before the snapshot there may be anything, but it, too, cuts back what stood behind it.
        if (entry.index <= base) {
          entries.length = 0
          continue
        }
        const at = entry.index - base - 1
        if (at > entries.length) {
          throw new StorageError(
            entries.length === 0 ? 'missing-snapshot' : 'corrupt',
            `The log has no entry ${base + 1 + entries.length}, but ${entry.index}.`,
          )
        }
        entries.length = at
        entries.push(entry)
      }
    }
    return { hardState, entries }
  }

  #owner(): string {
    return `${this.#identity.clusterId}|${this.#identity.raftId}`
  }

  #logPlace({ seq, first, last, term }: Omit<LogRow, keyof SealedRow>): string {
    return `weft raft log|${this.#owner()}|${seq}|${first}|${last}|${term}`
  }

  /** Makes `write` durable, and notes that it was promised. */
  write(write: DatabaseWrite): void {
    this.commit(write)
    this.confirm()
  }

  /** Makes `write` durable. A failure throws, and leaves it open what the disk holds. */
  commit(write: DatabaseWrite): void {
    // A record alone is one statement, and as such a transaction.
    if (write.snapshot === null) {
      this.#putRecord(write)
    } else {
      this.#begin.run()
      this.#putAndEnd(write)
    }
  }

  /** Notes in the directory's witness that what was committed was promised. */
  confirm(): void {
    this.#directory.confirm(this.#seq)
  }

  /** Begins the life of another member: `write` takes the place of everything. */
  refound(identity: Identity, write: DatabaseWrite): void {
    checkIdentity(identity)
    this.#begin.run()
    putIdentity(this.handle, identity)
    this.handle.exec("DELETE FROM meta WHERE name IN ('restored', 'first_peers')")
    this.#identity = identity
    this.#putAndEnd(write)
    this.confirm()
    this.#directory.writeIdentity(identity)
  }

  /** Ends the transaction that was begun. */
  #putAndEnd(write: DatabaseWrite): void {
    if (write.snapshot !== null) {
      this.handle.exec('DELETE FROM log')
      this.#walBytes += this.#snapshots.replace(write.snapshot)
      this.#checkpoint = null
      this.#nextCheckpoint = null
      this.#sweepTo = 0
    }
    this.#putRecord(write)
    this.#commit.run()
  }

  #putRecord({ record, first, last, term }: DatabaseWrite): void {
    const seq = this.#seq + 1
    const { key, sealed } = this.#vault.seal(record, this.#logPlace({ seq, first, last, term }))
    this.#insertRecord.run(seq, first, last, term, key, sealed)
    this.#seq = seq
    this.#walBytes += 2 * PAGE_BYTES + sealed.length
  }

  /** Begins to write this member's own snapshot: chore() does the rest. One that is under way is
   * finished first, and of those that wait the newest is enough. */
  checkpoint(checkpoint: Checkpoint): void {
    if (this.#checkpoint !== null) {
      this.#nextCheckpoint = checkpoint
      return
    }
    this.#checkpoint = checkpoint
    this.#snapshots.begin(checkpoint.snapshot)
  }

  /** Does a little of what can be done between writes. False when there is nothing to do. */
  chore(): boolean {
    if (this.#walBytes >= CHECKPOINT_PAGES * PAGE_BYTES) {
      this.handle.exec('PRAGMA wal_checkpoint(PASSIVE)')
      this.#walBytes = 0
    } else if (this.#snapshots.isBusy) {
      const { bytes, completed } = this.#snapshots.step()
      this.#walBytes += bytes
      if (completed !== null) this.#checkpointDone()
    } else if (this.#sweepTo > 0) {
      this.#sweepLog()
    } else {
      return false
    }
    return true
  }

  #checkpointDone(): void {
    this.#sweepTo = this.#checkpoint?.compactTo ?? 0
    this.#checkpoint = null
    const next = this.#nextCheckpoint
    this.#nextCheckpoint = null
    if (next !== null) this.checkpoint(next)
  }

  /** Removes records from the front whose entries all lie at or before the mark; never the newest,
   * which has the hard state. */
  #sweepLog(): void {
    const sql = 'SELECT seq FROM log WHERE last > ? ORDER BY seq LIMIT 1'
    const keep = Number(this.handle.prepare(sql).get(this.#sweepTo)?.seq ?? this.#seq)
    const first = Number(this.handle.prepare('SELECT min(seq) AS seq FROM log').get()?.seq ?? 0)
    const end = Math.min(keep, this.#seq, first + SWEEP_RECORDS)
    this.handle.prepare('DELETE FROM log WHERE seq < ?').run(end)
    if (end < first + SWEEP_RECORDS) this.#sweepTo = 0
  }

  /** Seals with the pending key from now on; resealSome() does the rest. */
  changeKey(keys: DataKeys): void {
    this.#vault.change(keys)
  }

  /** Seals some of the rows under other keys again. True when none is left. */
  resealSome(): boolean {
    this.#begin.run()
    const rows = this.handle
      .prepare('SELECT * FROM log WHERE key <> ? ORDER BY seq LIMIT ?')
      .all(this.#vault.keyId, RESEAL_ROWS) as unknown as LogRow[]
    const update = this.handle.prepare('UPDATE log SET key = ?, sealed = ? WHERE seq = ?')
    for (const row of rows) {
      const place = this.#logPlace(row)
      const plain = this.#vault.open(row, place, `Record ${row.seq} of the log`)
      const { key, sealed } = this.#vault.seal(plain, place)
      update.run(key, sealed, row.seq)
    }
    const isDone = this.#snapshots.resealSome() && rows.length < RESEAL_ROWS
    this.#commit.run()
    if (isDone) this.#vault.forgetOthers()
    return isDone
  }

  setFirstPeers(text: string): void {
    writeMeta(this.handle, 'first_peers', text)
  }

  close(): void {
    this.handle.close()
  }
}
