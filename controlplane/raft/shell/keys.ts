// Where a member's data key comes from. The key itself never touches the database: it is kept
// wherever the provider keeps it, which may wrap it under a key of its own (autolock).
//
// A change of the key has three steps, and a crash may come between any two:
//
//   1. write({ current: old, pending: new })
//   2. all rows are sealed again under the new key
//   3. write({ current: new, pending: null })
//
// Every row names the key it is sealed under, so whoever starts with a pending key simply goes on
// with step 2.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { StorageError } from './errors.ts'
import { KEY_BYTES, newDataKey } from './seal.ts'

export interface DataKeys {
  readonly current: Uint8Array
  /** Set while the key is being changed: it seals what is new. */
  readonly pending: Uint8Array | null
}

export interface KeyProvider {
  /** The keys, unwrapped. Rejects if that takes a key that is not there. */
  unwrap(): Promise<DataKeys>
  /** Replaces them durably and in one piece. */
  replace(keys: DataKeys): Promise<void>
}

/** Keys in memory. */
export function memoryKeys(current: Uint8Array = newDataKey()): KeyProvider {
  let keys: DataKeys = { current, pending: null }
  return {
    unwrap: async () => keys,
    replace: async (next) => {
      keys = next
    },
  }
}

/** Keys in a file of their own, not wrapped: two lines of base64, the pending key on the second.
 * It is made with a new key when it is not there. For members without node certificates: benches,
 * tests, tools. */
export function fileKeys(path: string): KeyProvider {
  const write = (keys: DataKeys): void => {
    const lines = [keys.current, ...(keys.pending === null ? [] : [keys.pending])]
    const text = lines.map((key) => `${Buffer.from(key).toString('base64')}\n`).join('')
    writeDurably(path, text)
  }
  return {
    unwrap: async () => {
      let text: string
      try {
        text = readFileSync(path, 'utf8')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        const keys = { current: newDataKey(), pending: null }
        write(keys)
        return keys
      }
      const [current, pending] = text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => Buffer.from(line, 'base64'))
      if (
        current?.length !== KEY_BYTES ||
        (pending !== undefined && pending.length !== KEY_BYTES)
      ) {
        throw new StorageError('wrong-key', `${path} holds no data key.`)
      }
      return { current, pending: pending ?? null }
    },
    replace: async (keys) => write(keys),
  }
}

/** Replaces a file in one piece: a new one is written, synced and renamed, and the directory is
 * synced, or the rename might be lost. Readable by its owner alone. */
export function writeDurably(path: string, text: string): void {
  const temporary = `${path}.new`
  const fd = openSync(temporary, 'w', 0o600)
  try {
    writeFileSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(temporary, path)
  syncDirectory(dirname(path))
}

export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
