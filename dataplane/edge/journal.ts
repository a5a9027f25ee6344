// A journal of changes to the host: what was about to be done, one JSON line each, written before
// it is done. Whoever finds an unfinished journal can take back everything in it, in reverse. It
// belongs to one network namespace of one boot; a journal of another is history and is dropped
// unread. While it is open it is locked, and the lock goes with the process, however that ends.
//
//     {"journal":"weft","version":1,"identity":"<boot id>/<namespace cookie>"}
//     {"id":1,"entry":{...}}
//     {"undone":1}
//
// What was undone is history. A journal that holds much more of it than of anything else is written
// anew, so that an agent may run for years.
//
// The page cache survives a killed process and /run does not survive a reboot, so nothing is
// synced.

import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { EdgeError } from './errors.ts'
import * as libc from './libc.ts'
import { JOURNAL_HISTORY_MAX, JOURNAL_SIZE_MAX } from './limits.ts'

const VERSION = 1

export interface JournalRecord<T> {
  readonly id: number
  readonly entry: T
}

export interface Journal<T> {
  /** What a predecessor left: done or about to be done, not undone; in order. */
  readonly leftover: readonly JournalRecord<T>[]
  /** Writes entries down before they are done. Returns their records. Throws EdgeError JOURNAL. */
  append(entries: readonly T[]): JournalRecord<T>[]
  /** Notes that records were undone. */
  undone(ids: readonly number[]): void
  /** Leaves history out: a new journal takes the place of this one, and whoever dies in the middle
   * leaves the old or the new one. Throws EdgeError JOURNAL. */
  rewrite(): void
  /** Empties the journal: nothing is left to undo. */
  clear(): void
  /** Gives the lock back. */
  close(): void
}

/** Opens and locks the journal at `path` (mode 0600, directory 0700 when it has to be made). Throws
 * EdgeError ALREADY_RUNNING when another process has it, JOURNAL when it cannot be trusted or read.
 */
export function openJournal<T>(path: string, identity: string): Journal<T> {
  const fd = openFile(path)
  try {
    const locked = libc.flock(fd, libc.LOCK_EX | libc.LOCK_NB)
    // One that was rewritten between open and lock is somebody's, too.
    if (locked < 0 || statSync(path).ino !== fstatSync(fd).ino) {
      throw new EdgeError(
        'ALREADY_RUNNING',
        path,
        `another agent is at work in this network namespace (it holds ${path})`,
        'end it first, or give this one its own namespace',
      )
    }
    const stat = fstatSync(fd)
    const trusted = stat.isFile() && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0
    if (!trusted || stat.size > JOURNAL_SIZE_MAX) {
      throw new EdgeError('JOURNAL', path, `${path} is not a journal of ours`, 'remove it')
    }
    const text = readFileSync(fd, 'utf8')
    const records = parseJournal<T>(text, path, identity)
    // A torn last line goes; the rest stays until it is undone, lest another death lose it.
    if (records.length > 0) ftruncateSync(fd, Buffer.byteLength(text.replace(/[^\n]*$/, '')))
    return new FileJournal<T>(fd, path, identity, records)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function openFile(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const { O_RDWR, O_CREAT, O_APPEND, O_NOFOLLOW } = constants
    return openSync(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600)
  } catch (cause) {
    const what = `journal ${path} cannot be opened: ${(cause as Error).message}`
    throw new EdgeError('JOURNAL', path, what, 'name a run directory that can be written', cause)
  }
}

/** What is left to undo of a journal's text. Exported for its test. */
export function parseJournal<T>(text: string, path: string, identity: string): JournalRecord<T>[] {
  const lines = text.split('\n')
  // What follows the last line end was being written when the process died: its change was not
  // made.
  lines.pop()
  if (lines.length === 0) return []
  const open = new Map<number, JournalRecord<T>>()
  for (const [index, line] of lines.entries()) {
    const record = parseLine(line, path, index + 1)
    if (index === 0) {
      if (record.journal !== 'weft' || record.version !== VERSION) {
        throw new EdgeError('JOURNAL', path, `${path} is of another version`, 'remove it')
      }
      if (record.identity !== identity) return []
    } else if (typeof record.undone === 'number') {
      open.delete(record.undone)
    } else if (typeof record.id === 'number') {
      open.set(record.id, { id: record.id, entry: record.entry as T })
    }
  }
  return [...open.values()]
}

function parseLine(line: string, path: string, number: number): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Said below.
  }
  const remedy = 'look at what it says with `ip rule`, then remove it'
  throw new EdgeError('JOURNAL', path, `${path} is damaged in line ${number}`, remedy)
}

class FileJournal<T> implements Journal<T> {
  readonly leftover: readonly JournalRecord<T>[]
  private fd: number
  private readonly path: string
  private readonly identity: string
  private nextId = 1
  private closed = false
  /** What is not undone, by id. */
  private readonly live: Map<number, JournalRecord<T>>
  /** Records undone since the journal was written anew. */
  private history = 0

  constructor(fd: number, path: string, identity: string, leftover: JournalRecord<T>[]) {
    this.fd = fd
    this.path = path
    this.leftover = leftover
    this.identity = identity
    this.live = new Map(leftover.map((record) => [record.id, record]))
    if (leftover.length === 0) this.clear()
    for (const { id } of leftover) this.nextId = Math.max(this.nextId, id + 1)
  }

  append(entries: readonly T[]): JournalRecord<T>[] {
    const records = entries.map((entry) => ({ id: this.nextId++, entry }))
    this.write(records)
    for (const record of records) this.live.set(record.id, record)
    return records
  }

  undone(ids: readonly number[]): void {
    this.write(ids.map((id) => ({ undone: id })))
    for (const id of ids) this.live.delete(id)
    this.history += ids.length
    if (this.history > JOURNAL_HISTORY_MAX) this.rewrite()
  }

  rewrite(): void {
    const name = `${this.path}.new`
    const fd = openFile(name)
    const before = this.fd
    this.fd = fd
    try {
      libc.flock(fd, libc.LOCK_EX | libc.LOCK_NB)
      ftruncateSync(fd, 0)
      this.write([this.head(), ...this.live.values()])
      renameSync(name, this.path)
    } catch (error) {
      this.fd = before
      closeSync(fd)
      throw error
    }
    closeSync(before)
    this.history = 0
  }

  clear(): void {
    ftruncateSync(this.fd, 0)
    this.write([this.head()])
    this.live.clear()
    this.history = 0
  }

  private head(): object {
    return { journal: 'weft', version: VERSION, identity: this.identity }
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    closeSync(this.fd)
  }

  private write(lines: readonly object[]): void {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    try {
      if (text !== '') writeSync(this.fd, text)
    } catch (cause) {
      const what = `journal ${this.path} cannot be written: ${(cause as Error).message}`
      throw new EdgeError('JOURNAL', this.path, what, 'make room on its file system', cause)
    }
  }
}
