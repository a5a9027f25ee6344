// The log and the snapshot of a member in SQLite. Synchronous: it lives in a worker thread
// (storage-worker.ts), and tests use it as it is.
//
//   meta      name, value     format, identity, number of starts, first peers
//   log       seq, first, last, term, key, sealed     one row per durable write: record.ts
//   snapshot  idx, term, key, sealed                  at most one row: encodeSnapshot()
//
// One write is one transaction: snapshot, record, and the removal of what a snapshot makes
// superfluous become durable together or not at all. With journal_mode WAL and synchronous FULL
// that is one append and one sync of SQLite's write-ahead log; it is copied into the database
// between writes, not within them.
//
// Rows are removed only from the front: a row may cut back what rows before it hold, so it must not
// go before them. Numbers of rows have no gap, or something is missing.
//
// What opening must tell apart:
//   - a write that a crash interrupted: SQLite rolls it back, nobody was promised anything.
//   - lost confirmed writes: the last record is older than the directory's witness.
//   - a damaged file (SQLite notices) or row (its seal does not open).
//   - a log without the snapshot it follows; another member's database; another key.

import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'
import { decodeSnapshot, encodeSnapshot } from '../codec.ts'
import { EMPTY_HARD_STATE, type Entry, type HardState, type Snapshot } from '../messages.ts'
import { openDatabase, PAGE_BYTES, putIdentity, readMeta, writeMeta } from './database-file.ts'
import { checkIdentity, type Directory, type Identity } from './directory.ts'
import { StorageError } from './errors.ts'
import type { DataKeys } from './keys.ts'
import { CHECKPOINT_PAGES, RESEAL_ROWS } from './limits.ts'
import { decodeRecord } from './record.ts'
import { keyIdOf, open, Sealer } from './seal.ts'
import { named } from './sqlite-errors.ts'

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
  /** Replaces the snapshot, and with `dropsLog` the whole log. */
  readonly snapshot: Snapshot | null
  readonly dropsLog: boolean
  /** Records whose entries all lie at or before this index may go. */
  readonly compactTo: number
  /** encodeRecord(), the lowest and highest index in it (0 for no entries) and the last term. */
  readonly record: Uint8Array
  readonly first: number
  readonly last: number
  readonly term: number
}

interface LogRow {
  readonly seq: number
  readonly first: number
  readonly last: number
  readonly term: number
  readonly key: string
  readonly sealed: Uint8Array
}

export class RaftDatabase {
  readonly handle: DatabaseSync
  readonly #directory: Directory
  readonly #keys = new Map<string, Uint8Array>()
  readonly #insertRecord: StatementSync
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  #identity: Identity
  #sealer: Sealer
  #seq = 0
  #walPages = 0

  /** Opens the database of `directory` and checks that it is whole and this member's. Throws a
   * StorageError that names what is wrong. */
  constructor(directory: Directory, keys: DataKeys) {
    this.#directory = directory
    this.#sealer = this.#useKeys(keys)
    const { db, identity } = openDatabase(directory)
    this.handle = db
    this.#identity = identity
    this.#begin = db.prepare('BEGIN IMMEDIATE')
    this.#commit = db.prepare('COMMIT')
    this.#insertRecord = db.prepare(
      'INSERT INTO log (seq, first, last, term, key, sealed) VALUES (?, ?, ?, ?, ?, ?)',
    )
  }

  get identity(): Identity {
    return this.#identity
  }

  #useKeys(keys: DataKeys): Sealer {
    for (const key of [keys.current, keys.pending]) {
      if (key !== null) this.#keys.set(keyIdOf(key), key)
    }
    return new Sealer(keys.pending ?? keys.current)
  }

  /** Reads all there is, and counts the start. Throws a StorageError that names what is wrong. */
  load(): StoredState {
    try {
      const snapshot = this.#loadSnapshot()
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

  #loadSnapshot(): Snapshot | null {
    const rows = this.handle.prepare('SELECT idx, term, key, sealed FROM snapshot').all()
    const row = rows[0]
    if (row === undefined) return null
    const [index, term] = [Number(row.idx), Number(row.term)]
    const what = `The snapshot at ${index}`
    const plain = this.#open(row, this.#snapshotPlace(index, term), what)
    try {
      const snapshot = decodeSnapshot(plain)
      if (snapshot.index === index && snapshot.term === term) return snapshot
    } catch {
      // Falls through to the same complaint.
    }
    throw new StorageError('corrupt', `${what} is not one.`)
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
      const record = decodeRecord(this.#open(value, this.#logPlace(row), what))
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

  #open(row: Record<string, SQLOutputValue>, place: string, what: string): Uint8Array {
    const keyId = String(row.key)
    const key = this.#keys.get(keyId)
    if (key === undefined) {
      const known = [...this.#keys.keys()].join(' and ')
      const reason = `${what} is sealed under the key ${keyId}; this process has ${known}.`
      throw new StorageError('wrong-key', reason)
    }
    const plain = open(key, row.sealed as Uint8Array, place)
    if (plain === null) throw new StorageError('corrupt-entry', `${what} fails its seal.`)
    return plain
  }

  #logPlace({ seq, first, last, term }: Omit<LogRow, 'key' | 'sealed'>): string {
    const { clusterId, raftId } = this.#identity
    return `weft raft log|${clusterId}|${raftId}|${seq}|${first}|${last}|${term}`
  }

  #snapshotPlace(index: number, term: number): string {
    const { clusterId, raftId } = this.#identity
    return `weft raft snapshot|${clusterId}|${raftId}|${index}|${term}`
  }

  /** Makes `write` durable. A failure throws, and leaves it open what the disk holds. */
  write(write: DatabaseWrite): void {
    this.#begin.run()
    this.#put(write)
  }

  /** Begins the life of another member: `write` takes the place of everything. */
  refound(identity: Identity, write: DatabaseWrite): void {
    checkIdentity(identity)
    this.#begin.run()
    putIdentity(this.handle, identity)
    this.handle.exec("DELETE FROM meta WHERE name IN ('restored', 'first_peers')")
    this.#identity = identity
    this.#put(write)
    this.#directory.writeIdentity(identity)
  }

  /** Ends the transaction that was begun. */
  #put({ snapshot, dropsLog, compactTo, record, first, last, term }: DatabaseWrite): void {
    const seq = this.#seq + 1
    if (dropsLog) this.handle.exec('DELETE FROM log')
    if (snapshot !== null) this.#putSnapshot(snapshot)
    const { keyId } = this.#sealer
    const sealed = this.#sealer.seal(record, this.#logPlace({ seq, first, last, term }))
    this.#insertRecord.run(seq, first, last, term, keyId, sealed)
    if (compactTo > 0) this.#compact(compactTo, seq)
    this.#commit.run()
    this.#seq = seq
    this.#walPages += 2 + Math.ceil((sealed.length + (snapshot?.data.length ?? 0)) / PAGE_BYTES)
    this.#directory.confirm(seq)
  }

  #putSnapshot(snapshot: Snapshot): void {
    const { index, term } = snapshot
    const sealed = this.#sealer.seal(encodeSnapshot(snapshot), this.#snapshotPlace(index, term))
    this.handle.exec('DELETE FROM snapshot')
    this.handle
      .prepare('INSERT INTO snapshot (idx, term, key, sealed) VALUES (?, ?, ?, ?)')
      .run(index, term, this.#sealer.keyId, sealed)
  }

  /** Removes the records from the front whose entries all lie at or before `index`; never the
   * `newest`, which has the hard state. */
  #compact(index: number, newest: number): void {
    const keep = this.handle.prepare('SELECT min(seq) AS seq FROM log WHERE last > ?').get(index)
    const end = Math.min(Number(keep?.seq ?? newest), newest)
    this.handle.prepare('DELETE FROM log WHERE seq < ?').run(end)
  }

  /** Copies the write-ahead log into the database if it has grown long. Between writes. */
  tidyUp(): void {
    if (this.#walPages < CHECKPOINT_PAGES) return
    this.handle.exec('PRAGMA wal_checkpoint(PASSIVE)')
    this.#walPages = 0
  }

  /** Seals with the pending key from now on; resealSome() does the rest. */
  changeKey(keys: DataKeys): void {
    this.#sealer = this.#useKeys(keys)
  }

  /** Seals some of the rows under other keys again. True when none is left. */
  resealSome(): boolean {
    const { keyId } = this.#sealer
    this.#begin.run()
    const rows = this.handle
      .prepare('SELECT * FROM log WHERE key <> ? ORDER BY seq LIMIT ?')
      .all(keyId, RESEAL_ROWS)
    const update = this.handle.prepare('UPDATE log SET key = ?, sealed = ? WHERE seq = ?')
    for (const row of rows) {
      const place = this.#logPlace(row as unknown as LogRow)
      const plain = this.#open(row, place, `Record ${row.seq} of the log`)
      update.run(keyId, this.#sealer.seal(plain, place), row.seq as number)
    }
    const old = this.handle.prepare('SELECT * FROM snapshot WHERE key <> ?').get(keyId)
    if (old !== undefined) {
      const place = this.#snapshotPlace(Number(old.idx), Number(old.term))
      const sealed = this.#sealer.seal(this.#open(old, place, 'The snapshot'), place)
      this.handle.prepare('UPDATE snapshot SET key = ?, sealed = ?').run(keyId, sealed)
    }
    this.#commit.run()
    if (rows.length === RESEAL_ROWS) return false
    const key = this.#keys.get(keyId)!
    this.#keys.clear()
    this.#keys.set(keyId, key)
    return true
  }

  setFirstPeers(text: string): void {
    writeMeta(this.handle, 'first_peers', text)
  }

  close(): void {
    this.handle.close()
  }
}
