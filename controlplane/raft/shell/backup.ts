// Taking a backup back. A backup (Member.backup) is one file: the database of a member as it was at
// one moment, sealed under that member's data key, which is not in it. Keep the key file with it.
//
// A member must never come back from an old copy of its directory: it would break the promises it
// made since. So what is restored can only found a new cluster, under a new Raft id: start it with
// force-new-cluster, and let the others join that.

import { chmodSync, closeSync, copyFileSync, fsyncSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { checkDatabase, hasState, readMeta } from './database-file.ts'
import { Directory, type Identity } from './directory.ts'
import { StorageError } from './errors.ts'
import { syncDirectory } from './keys.ts'
import { named } from './sqlite-errors.ts'

/** Says whose backup `path` is. Throws a StorageError if it is none, or damaged. */
export function readBackup(path: string): Identity {
  let db: DatabaseSync
  try {
    db = new DatabaseSync(path, { readOnly: true })
  } catch (error) {
    throw new StorageError('not-a-backup', `${path} cannot be opened: ${(error as Error).message}.`)
  }
  try {
    const identity = checkDatabase(db, path)
    if (readMeta(db, 'restored') !== '1') {
      throw new StorageError('not-a-backup', `${path} is a member's own database.`)
    }
    return identity
  } catch (error) {
    throw named(error, path)
  } finally {
    db.close()
  }
}

/** Makes `directory` from the backup at `path`. There must be no state in it yet. */
export function restoreBackup(path: string, directory: string): Identity {
  const identity = readBackup(path)
  if (hasState(directory)) {
    throw new StorageError('state-exists', `${directory} holds a member's state already.`)
  }
  const target = new Directory(directory)
  try {
    copyFileSync(path, target.databasePath)
    chmodSync(target.databasePath, 0o600)
    const fd = openSync(target.databasePath, 'r+')
    fsyncSync(fd)
    closeSync(fd)
    syncDirectory(directory)
  } finally {
    target.close()
  }
  return identity
}
