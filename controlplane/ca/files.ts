// Replacing a small file so that after a crash at any point either the old or the new one is there,
// whole: write a temporary file beside it, flush it, rename it over, flush the folder. Synchronous,
// as it is rare and whoever asks must not go on before it is done.

import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { CaError } from './errors.ts'

/** Bits of a mode that give group or others any right. */
const OTHERS = 0o077

/** Replaces `path` by `text`, with `mode`. A temporary file that a crash left is replaced too. */
export function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.tmp`
  try {
    unlinkSync(temporary)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const file = openSync(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    mode,
  )
  try {
    const bytes = Buffer.from(text, 'utf8')
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(temporary, path)
  flushFolder(dirname(path))
}

/** Removes `path` for good; it need not exist. */
export function removeFile(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  flushFolder(dirname(path))
}

function flushFolder(path: string): void {
  const folder = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** The text of `path`, or null when it does not exist. Throws CaError FAILED_PRECONDITION when it
 * is larger than `sizeMax` or, if it is `isSecret`, when others than its owner have any right to
 * it. */
export function readFile(path: string, sizeMax: number, isSecret = false): string | null {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  try {
    const { size, mode } = fstatSync(file)
    if (size > sizeMax) {
      throw new CaError('FAILED_PRECONDITION', `${path} is larger than ${sizeMax} bytes`)
    }
    if (isSecret && (mode & OTHERS) !== 0) {
      const rights = (mode & 0o777).toString(8)
      throw new CaError('FAILED_PRECONDITION', `${path} has mode ${rights}: chmod 600 it`)
    }
    const bytes = Buffer.alloc(size)
    let at = 0
    while (at < size) {
      const count = readSync(file, bytes, at, size - at, at)
      if (count === 0) break
      at += count
    }
    return bytes.toString('utf8', 0, at)
  } finally {
    closeSync(file)
  }
}
