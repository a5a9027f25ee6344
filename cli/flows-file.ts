// The file in which flows outlive a restart of the agent: written when it stops in order, read once
// by the next start and removed, because after that it is history. A file that cannot be trusted or
// is too large is not read.

import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import type { Logger } from '../base/log.ts'
import { FLOWS_FILE_SIZE_MAX } from './limits.ts'

const NAME = 'flows.state'

/** Writes the file whole, mode 0600. Throws when it cannot be written. */
export function saveFlowsFile(runDirectory: string, bytes: Uint8Array): void {
  const file = join(runDirectory, NAME)
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 })
  const fd = openSync(`${file}.new`, 'w', 0o600)
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(`${file}.new`, file)
}

/** Reads the file and removes it; null when there is none that can be used. */
export function takeFlowsFile(runDirectory: string, log: Logger): Uint8Array<ArrayBuffer> | null {
  const file = join(runDirectory, NAME)
  let fd: number
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') log.warn('the saved flows are lost', { file, error: message })
    return null
  }
  try {
    const stat = fstatSync(fd)
    const isOurs = stat.isFile() && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0
    if (!isOurs || stat.size > FLOWS_FILE_SIZE_MAX) {
      log.warn('the saved flows are lost', { file, problem: 'is not a file of ours' })
      return null
    }
    const bytes = new Uint8Array(stat.size)
    let at = 0
    while (at < bytes.length) {
      const count = readSync(fd, bytes, at, bytes.length - at, at)
      if (count === 0) break
      at += count
    }
    return bytes
  } catch (error) {
    log.warn('the saved flows are lost', { file, error: (error as Error).message })
    return null
  } finally {
    closeSync(fd)
    unlinkSync(file)
  }
}
