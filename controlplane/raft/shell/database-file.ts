// The file behind a member's database: how it is made, opened and recognised.

import { closeSync, existsSync, openSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import {
  checkIdentity,
  DATABASE_NAME,
  type Directory,
  IDENTITY_NAME,
  type Identity,
} from './directory.ts'
import { StorageError } from './errors.ts'
import { CHECKPOINT_PAGES } from './limits.ts'
import { damage, named, SQLITE_FULL, sqliteCode } from './sqlite-errors.ts'

const FORMAT = '1'
export const PAGE_BYTES: number = 4096

// STRICT, so that a value of the wrong type is an error at once.
const SCHEMA = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE log (
    seq INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, term INTEGER NOT NULL,
    key TEXT NOT NULL, sealed BLOB NOT NULL
  ) STRICT;
  CREATE TABLE snapshot (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, parts INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE part (
    id INTEGER PRIMARY KEY, idx INTEGER NOT NULL, n INTEGER NOT NULL,
    key TEXT NOT NULL, sealed BLOB NOT NULL
  ) STRICT;
`

// EXCLUSIVE keeps the index of the write-ahead log in memory instead of a shared file. Checkpoints
// come when the writer says so.
const SETTINGS = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA wal_autocheckpoint = 0;
  PRAGMA trusted_schema = OFF;
  PRAGMA cell_size_check = ON;
`

/** Makes the database of a new member. Its identity goes on record when it is first loaded. */
export function createDatabase(directory: Directory, identity: Identity): void {
  checkIdentity(identity)
  const path = directory.databasePath
  if (hasState(directory.path)) {
    throw new StorageError('state-exists', `${directory.path} holds a member's state already.`)
  }
  for (const end of ['', '-wal', '-journal']) rmSync(`${path}${end}`, { force: true })
  closeSync(openSync(path, 'wx', 0o600))
  const db = new DatabaseSync(path)
  try {
    db.exec(SETTINGS)
    db.exec(`BEGIN; ${SCHEMA}`)
    putIdentity(db, identity)
    writeMeta(db, 'format', FORMAT)
    db.exec('COMMIT')
  } finally {
    db.close()
  }
}

/** True when `folder` holds a member's state, whole or damaged. What a crash left of one that was
 * being made does not count: nobody was promised anything. */
export function hasState(folder: string): boolean {
  if (existsSync(join(folder, IDENTITY_NAME))) return true
  const path = join(folder, DATABASE_NAME)
  if (!existsSync(path) || statSync(path).size === 0) return false
  try {
    const db = new DatabaseSync(path)
    try {
      const sql = 'SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM snapshot) AS n'
      return Number(db.prepare(sql).get()?.n) > 0
    } finally {
      db.close()
    }
  } catch (error) {
    return !/no such table/.test((error as Error).message)
  }
}

/** Opens the database of `directory`, whole, and finds out whose it is. Throws a StorageError that
 * names what is wrong. */
export function openDatabase(directory: Directory): { db: DatabaseSync; identity: Identity } {
  const path = directory.databasePath
  const expected = directory.readIdentity()
  if (!existsSync(path)) {
    if (expected === null) throw new StorageError('no-state', `${directory.path} holds no state.`)
    const reason = `${path} is gone, but this is the directory of member ${expected.raftId}.`
    throw new StorageError('missing-database', reason)
  }
  if (statSync(path).size === 0) throw damage(path, 'there is nothing')
  const db = new DatabaseSync(path)
  try {
    db.exec(SETTINGS)
    const identity = checkDatabase(db, path)
    stretchLog(db)
    // A crash may have come before the new identity was on record.
    const isFormer = readMeta(db, 'former_raft_id') === String(expected?.raftId)
    if (expected !== null && !isFormer) compareIdentity(identity, expected, path)
    return { db, identity }
  } catch (error) {
    db.close()
    throw named(error, path)
  }
}

/** Makes the write-ahead log as long as it will get, so that writes go over what is there: a sync
 * of a file that does not grow has no metadata to write, and takes two thirds of the time. */
function stretchLog(db: DatabaseSync): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    db.exec('CREATE TABLE stretch (bytes BLOB)')
    db.prepare('INSERT INTO stretch VALUES (zeroblob(?))').run(CHECKPOINT_PAGES * PAGE_BYTES)
    db.exec('DROP TABLE stretch; COMMIT; PRAGMA wal_checkpoint(RESTART)')
  } catch (error) {
    // On a disk that is nearly full, writes are slower as long as there is room for them.
    if (sqliteCode(error) !== SQLITE_FULL) throw error
    if (db.isTransaction) db.exec('ROLLBACK')
  }
}

/** The identity in a database that is whole. */
export function checkDatabase(db: DatabaseSync, path: string): Identity {
  const tables = db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'").get()
  if (Number(tables?.n) === 0) throw damage(path, 'there are no tables')
  const check = Object.values(db.prepare('PRAGMA quick_check(1)').get() ?? {})[0]
  if (check !== 'ok') throw damage(path, String(check))
  const format = readMeta(db, 'format')
  if (format !== FORMAT) {
    throw new StorageError('unknown-format', `${path} has format ${format}, not ${FORMAT}.`)
  }
  const identity = {
    clusterId: readMeta(db, 'cluster_id') ?? '',
    nodeId: readMeta(db, 'node_id') ?? '',
    raftId: Number(readMeta(db, 'raft_id')),
  }
  try {
    checkIdentity(identity)
  } catch {
    throw new StorageError('corrupt', `${path} does not say whose it is.`)
  }
  return identity
}

/** Throws unless what was found is what was expected. */
export function compareIdentity(found: Identity, expected: Partial<Identity>, path: string): void {
  for (const name of ['clusterId', 'nodeId', 'raftId'] as const) {
    if (expected[name] === undefined || expected[name] === found[name]) continue
    const reason = `${path} has ${name} ${found[name]}, not ${expected[name]}.`
    throw new StorageError('foreign-identity', reason)
  }
}

/** Within a transaction. The former Raft id stays on record until the next change. */
export function putIdentity(db: DatabaseSync, { clusterId, nodeId, raftId }: Identity): void {
  writeMeta(db, 'former_raft_id', readMeta(db, 'raft_id') ?? '')
  writeMeta(db, 'cluster_id', clusterId)
  writeMeta(db, 'node_id', nodeId)
  writeMeta(db, 'raft_id', String(raftId))
}

export function readMeta(db: DatabaseSync, name: string): string | null {
  const row = db.prepare('SELECT value FROM meta WHERE name = ?').get(name)
  return row === undefined ? null : String(row.value)
}

export function writeMeta(db: DatabaseSync, name: string, value: string): void {
  db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(name, value)
}

/** Marks a finished backup as one, checks it, and makes it a single file. */
export function sealBackup(path: string): void {
  const db = new DatabaseSync(path)
  try {
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE')
    checkDatabase(db, path)
    writeMeta(db, 'restored', '1')
  } finally {
    db.close()
  }
}
