// Private keys in files: one X25519 key as a line of base64, readable by its owner alone.

import { generateKeyPairSync } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { parseKey } from '../dataplane/address.ts'

/** Bytes that are read of a key file; a key needs 45. */
const KEY_FILE_SIZE_MAX = 256
/** Bytes that are asked for at least when a text file is read. */
const READ_STEP: number = 64 * 1024

/** Why a file that a person named cannot be had: the end of a sentence that begins with its path.
 */
export function fileReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const reason = {
    ENOENT: 'there is no such file',
    ENOTDIR: 'there is no such file',
    EACCES: 'no permission',
    EPERM: 'no permission',
    EISDIR: 'is a directory',
    EEXIST: 'exists already and is not overwritten',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
  }[code ?? '']
  return reason ?? message
}

/** A new X25519 private key, 32 bytes. */
export function generatePrivateKey(): Uint8Array {
  const { privateKey } = generateKeyPairSync('x25519')
  return Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url')
}

/** Reads a private key, 32 bytes. Throws an Error with a sentence when the file is not one, or when
 * others than its owner may read it. */
export function readPrivateKey(path: string): Uint8Array {
  let fd: number
  try {
    // Not blocking: a pipe put there must not hold the agent up.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw new Error(`${path}: ${fileReason(error)}`)
  }
  try {
    const { mode } = fstatSync(fd)
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new Error(`${path}: is not a file`)
    if ((mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, '0')
      throw new Error(`${path}: others may read this private key (mode ${shown}); chmod 600 it`)
    }
    const buffer = Buffer.alloc(KEY_FILE_SIZE_MAX)
    const length = readSync(fd, buffer, 0, KEY_FILE_SIZE_MAX, 0)
    const key = parseKey(buffer.toString('latin1', 0, length).trim())
    buffer.fill(0)
    if (key === null) throw new Error(`${path}: holds no private key; "weft keygen" makes one`)
    return key
  } finally {
    closeSync(fd)
  }
}

/** Writes a private key to a new file of mode 0600, whatever the umask. Throws an Error with a
 * sentence; then there is no file. */
export function writePrivateKey(path: string, key: Uint8Array): void {
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    throw new Error(`${path}: ${fileReason(error)}`)
  }
  try {
    writeSync(fd, `${Buffer.from(key).toString('base64')}\n`)
    fsyncSync(fd)
    closeSync(fd)
  } catch (error) {
    closeSync(fd)
    unlinkSync(path)
    throw new Error(`${path}: ${fileReason(error)}`)
  }
}

/** Reads a text file of at most `sizeMax` bytes, and no more of a larger or endless one. Throws an
 * Error with the reason, without the path. */
export function readTextFile(path: string, sizeMax: number): string {
  let bytes: Buffer
  try {
    bytes = readUpTo(path, sizeMax + 1)
  } catch (error) {
    throw new Error(fileReason(error))
  }
  if (bytes.length > sizeMax) throw new Error(`is larger than ${sizeMax} bytes`)
  return bytes.toString('utf8')
}

function readUpTo(path: string, size: number): Buffer {
  const fd = openSync(path, 'r')
  try {
    // The size that is known is a guess: what is no file has none, and it may grow.
    const step = Math.max(fstatSync(fd).size + 1, READ_STEP)
    const pieces: Buffer[] = []
    for (let left = size; left > 0; ) {
      const piece = Buffer.allocUnsafe(Math.min(step, left))
      const length = readSync(fd, piece)
      if (length === 0) break
      pieces.push(piece.subarray(0, length))
      left -= length
    }
    return Buffer.concat(pieces)
  } finally {
    closeSync(fd)
  }
}
