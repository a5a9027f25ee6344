// What SQLite's errors mean for a member: result codes to StorageErrors.

import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { StorageError } from './errors.ts'

// https://www.sqlite.org/rescode.html
export const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
export const SQLITE_FULL = 13
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26

const FAILURES = new Set([SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN])

/** The primary result code of an error that node:sqlite threw; 0 for any other. */
export function sqliteCode(error: unknown): number {
  const code = (error as { errcode?: unknown }).errcode
  return typeof code === 'number' ? code & 0xff : 0
}

/** The error for an operator, if it is about the disk; else the error as it is. */
export function named(error: unknown, path: string): unknown {
  const code = sqliteCode(error)
  const { message } = error as Error
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return damage(path, message)
  if (FAILURES.has(code)) return new StorageError('write-failed', `${path}: ${message}.`)
  return error
}

/** What kind of damage: a file that is shorter than it says of itself is truncated. */
export function damage(path: string, detail: string): StorageError {
  const size = statSync(path).size
  const pages = headerPages(path)
  if (size === 0 || (pages !== null && size < pages.bytes)) {
    const whole = pages === null ? 'a header' : `${pages.bytes} bytes`
    return new StorageError('truncated', `${path} has ${size} bytes, not ${whole}.`)
  }
  return new StorageError('corrupt', `${path} is damaged (${detail}).`)
}

/** The size that the header of a database file states (file format, section 1.3): page size at 16,
 * pages at 28. */
function headerPages(path: string): { bytes: number } | null {
  const header = Buffer.alloc(32)
  const fd = openSync(path, 'r')
  try {
    if (readSync(fd, header, 0, 32, 0) < 32) return null
  } finally {
    closeSync(fd)
  }
  if (header.toString('latin1', 0, 15) !== 'SQLite format 3') return null
  return { bytes: header.readUInt16BE(16) * header.readUInt32BE(28) }
}
