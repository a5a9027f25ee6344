// A member's directory: whose it is, who uses it, and how far it got.
//
//   lock            held exclusively by the process that uses the directory
//   pid             of that process, for the message to a second one
//   identity.json   node, cluster and Raft id
//   witness         number of the last record that was made durable, beside the database
//   raft.db(-wal)   the log and the snapshot: database.ts
//
// The directory is the owner's alone (0700), and so are its files (0600).
//
// The lock is SQLite's on an empty database: a lock of the kernel, which goes with the process
// however it ends. A file that merely exists would outlive a kill -9.
//
// The witness. SQLite takes a damaged record of its write-ahead log for the torn end of it, and
// drops whatever follows without a word: right after a crash, wrong when the disk rotted or
// somebody removed the file. So the number of every record that was confirmed is written into a
// file beside it, without a sync of its own: it may lag behind after a power failure but never runs
// ahead. A database that ends before its witness lost confirmed writes.
//
//   witness   f64 record, u32 CRC of it                                            (big-endian)

import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { StorageError } from './errors.ts'
import { writeDurably } from './keys.ts'
import { MAX_ID_LENGTH } from './limits.ts'
import { SQLITE_BUSY, sqliteCode } from './sqlite-errors.ts'

/** Who a member is. Each is stored with the data and sealed into it. */
export interface Identity {
  readonly clusterId: string
  readonly nodeId: string
  /** Drawn at random, never used again: not after a removal, not after the disk was lost. */
  readonly raftId: number
}

const FORMAT = 1
const WITNESS_BYTES = 12
const ID_PATTERN = /^[A-Za-z0-9._-]+$/

export const DATABASE_NAME = 'raft.db'
export const IDENTITY_NAME = 'identity.json'

/** Throws a RangeError for an identity that nobody can have. */
export function checkIdentity({ clusterId, nodeId, raftId }: Identity): void {
  for (const id of [clusterId, nodeId]) {
    if (!ID_PATTERN.test(id) || id.length > MAX_ID_LENGTH) throw new RangeError(`not an id: ${id}`)
  }
  if (!Number.isSafeInteger(raftId) || raftId < 1 || raftId > Number.MAX_SAFE_INTEGER - 2) {
    throw new RangeError(`not a Raft id: ${raftId}`)
  }
}

/** A directory in use by this process. */
export class Directory {
  readonly path: string
  readonly #lock: DatabaseSync
  #witness: number | null = null

  /** Makes the directory if need be, and takes it. Throws a StorageError when another process has
   * it. */
  constructor(path: string) {
    this.path = path
    mkdirSync(path, { recursive: true, mode: 0o700 })
    chmodSync(path, 0o700)
    const name = this.#own('lock')
    const lock = new DatabaseSync(name)
    try {
      lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    } catch (error) {
      lock.close()
      if (sqliteCode(error) !== SQLITE_BUSY) throw error
      throw new StorageError('locked', `${path} is in use by process ${readPid(path)}.`)
    }
    this.#lock = lock
    writePid(path)
  }

  /** The path of a file in here, which is made if it is not there, readable by its owner alone. One
   * that is there is not opened: closing it again would give up this process's locks on it. */
  #own(name: string): string {
    const path = join(this.path, name)
    if (existsSync(path)) chmodSync(path, 0o600)
    else closeSync(openSync(path, 'a', 0o600))
    return path
  }

  get databasePath(): string {
    return join(this.path, DATABASE_NAME)
  }

  /** The identity on record, or null. */
  readIdentity(): Identity | null {
    const path = join(this.path, IDENTITY_NAME)
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw error
    }
    try {
      const { format, clusterId, nodeId, raftId } = JSON.parse(text)
      if (format !== FORMAT) throw new StorageError('unknown-format', `${path} has another format.`)
      const identity = { clusterId: String(clusterId), nodeId: String(nodeId), raftId }
      checkIdentity(identity)
      return identity
    } catch (error) {
      if (error instanceof StorageError) throw error
      throw new StorageError('corrupt', `${path} cannot be read.`)
    }
  }

  writeIdentity(identity: Identity): void {
    const text = `${JSON.stringify({ format: FORMAT, ...identity }, null, 2)}\n`
    writeDurably(join(this.path, IDENTITY_NAME), text)
  }

  /** The record that was last confirmed, as far as is known; 0 when nothing is. A witness that
   * cannot be read says nothing: what it vouches for is judged by itself. */
  confirmedRecord(): number {
    const fd = this.#openWitness()
    const bytes = Buffer.alloc(WITNESS_BYTES)
    if (fstatSync(fd).size < WITNESS_BYTES) return 0
    readSync(fd, bytes, 0, WITNESS_BYTES, 0)
    if (crc32(bytes.subarray(0, 8)) !== bytes.readUInt32BE(8)) return 0
    return bytes.readDoubleBE(0)
  }

  /** Notes that `record` is durable. */
  confirm(record: number): void {
    const bytes = Buffer.allocUnsafe(WITNESS_BYTES)
    bytes.writeDoubleBE(record, 0)
    bytes.writeUInt32BE(crc32(bytes.subarray(0, 8)), 8)
    writeSync(this.#openWitness(), bytes, 0, WITNESS_BYTES, 0)
  }

  #openWitness(): number {
    if (this.#witness === null) {
      const path = this.#own('witness')
      this.#witness = openSync(path, 'r+')
    }
    return this.#witness
  }

  /** Gives the directory back. */
  close(): void {
    if (this.#witness !== null) closeSync(this.#witness)
    this.#witness = null
    rmSync(join(this.path, 'pid'), { force: true })
    this.#lock.close()
  }
}

/** For the words of whoever finds the directory in use; a full disk keeps nobody from using it. */
function writePid(path: string): void {
  try {
    writeFileSync(join(path, 'pid'), `${process.pid}\n`, { mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}

function readPid(path: string): string {
  try {
    const text = readFileSync(join(path, 'pid'), 'utf8').trim()
    return /^\d{1,10}$/.test(text) ? text : '(unknown)'
  } catch {
    return '(unknown)'
  }
}
