// Making a directory whose path somebody named.

import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Makes a directory and what is missing above it; one that is there stays as it is. Unlike a
 * recursive mkdir of node:fs, which does not end where a file system refuses names by saying that
 * they are not there, as /proc does. Throws the system's error. */
export function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const parent = dirname(path)
    if (code === 'ENOENT' && parent !== path) {
      makeDirectory(parent, mode)
      mkdirSync(path, { mode })
    } else if (code !== 'EEXIST' || !statSync(path).isDirectory()) {
      throw error
    }
  }
}
