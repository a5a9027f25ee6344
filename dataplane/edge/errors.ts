// What the edge throws on its cold paths. An EdgeError names the thing that could not be had, and
// says what to do about it: it is printed as it is, to somebody who has not read this code.

import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/** Why an operation of the edge failed; stable, for programs. */
export type EdgeErrorCode =
  | 'NAMESPACE_MISSING'
  | 'NAMESPACE_FORBIDDEN'
  | 'DEVICE_TAKEN'
  | 'DEVICE_MISSING'
  | 'TUN_MISSING'
  | 'TUN_FORBIDDEN'
  | 'NO_PERMISSION'
  | 'BAD_NAME'
  | 'COMMAND_MISSING'
  | 'COMMAND_FAILED'
  | 'JOURNAL'
  | 'ALREADY_RUNNING'
  | 'LIMIT'
  | 'SYSTEM'

export class EdgeError extends Error {
  override readonly name: string = 'EdgeError'
  readonly code: EdgeErrorCode
  /** The namespace, device, file or command in question. */
  readonly subject: string
  /** What the reader can do, a sentence; empty when there is nothing to advise. */
  readonly remedy: string

  constructor(code: EdgeErrorCode, subject: string, what: string, remedy = '', cause?: unknown) {
    super(remedy === '' ? what : `${what}; ${remedy}`, cause === undefined ? {} : { cause })
    this.code = code
    this.subject = subject
    this.remedy = remedy
  }
}

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, errno]) => [errno, name]),
)

/** "ENOENT" for 2 or -2. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`
}

/** "no such file or directory (ENOENT)" for 2 or -2. */
export function errnoSentence(errno: number): string {
  const known = getSystemErrorMap().get(-Math.abs(errno))
  return known === undefined ? errnoName(errno) : `${known[1]} (${known[0]})`
}

/** A system call that failed for a reason that no caller has better words for. */
export function systemError(call: string, subject: string, errno: number): EdgeError {
  return new EdgeError('SYSTEM', subject, `${call} ${subject}: ${errnoSentence(errno)}`)
}
