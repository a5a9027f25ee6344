// The disk's thread: it owns the directory and the database, and waits for the disk so that nobody
// else has to. Requests are done in the order they come, and answered one by one.

import { closeSync, fsyncSync, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { backup } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { RaftDatabase, type StoredState } from './database.ts'
import { compareIdentity, createDatabase, readMeta, sealBackup } from './database-file.ts'
import { Directory } from './directory.ts'
import { StorageError } from './errors.ts'
import { syncDirectory } from './keys.ts'
import { BACKUP_STEP_PAGES } from './limits.ts'
import type { PlainError, StorageReply, StorageRequest, StorageStart } from './storage-protocol.ts'

const port = parentPort!
let directory: Directory
let database: RaftDatabase
let backups: Promise<void> = Promise.resolve()

function reply(id: number, fields: Partial<StorageReply> = {}): void {
  port.postMessage({ id, error: null, tookMs: 0, finished: true, state: null, ...fields })
}

function plain(error: unknown): PlainError {
  if (error instanceof StorageError) return { code: error.code, reason: error.reason }
  return { code: null, reason: (error as Error).message }
}

function start(options: StorageStart): StoredState {
  const { founding, keys, expected, takesRestored } = options
  directory = new Directory(options.directory)
  if (founding !== null) createDatabase(directory, founding.identity)
  database = new RaftDatabase(directory, keys)
  compareIdentity(database.identity, expected, directory.path)
  if (!takesRestored && readMeta(database.handle, 'restored') === '1') {
    throw new StorageError('restored', `${directory.path} was restored from a backup.`)
  }
  if (founding !== null) {
    database.setFirstPeers(founding.firstPeers)
    if (founding.write !== null) database.write(founding.write)
  }
  const state = database.load()
  if (keys.pending !== null) while (!database.resealSome());
  return state
}

function handle(request: StorageRequest): void {
  const { id } = request
  const began = performance.now()
  switch (request.kind) {
    case 'write':
      database.write(request.write)
      reply(id, { tookMs: performance.now() - began })
      database.tidyUp()
      break
    case 'change-key':
      database.changeKey(request.keys)
      reply(id)
      break
    case 'reseal':
      reply(id, { finished: database.resealSome() })
      break
    case 'refound':
      database.refound(request.identity, request.write)
      reply(id)
      break
    case 'first-peers':
      database.setFirstPeers(request.text)
      reply(id)
      break
    case 'backup':
      backups = backups.then(() => copy(id, request.path))
      break
    case 'close':
      void backups.then(() => end(id))
      break
  }
}

function end(id: number): void {
  try {
    database.close()
    directory.close()
    reply(id)
  } catch (error) {
    reply(id, { error: plain(error) })
  }
  port.close()
}

/** Copies the database as it is at one moment, while writes go on. */
async function copy(id: number, path: string): Promise<void> {
  let isMade = false
  try {
    closeSync(openSync(path, 'wx', 0o600))
    isMade = true
    await backup(database.handle, path, { rate: BACKUP_STEP_PAGES })
    sealBackup(path)
    const fd = openSync(path, 'r+')
    fsyncSync(fd)
    closeSync(fd)
    syncDirectory(dirname(path))
    reply(id)
  } catch (error) {
    if (isMade) rmSync(path, { force: true })
    reply(id, { error: plain(error) })
  }
}

port.on('message', (request: StorageRequest) => {
  try {
    handle(request)
  } catch (error) {
    reply(request.id, { error: plain(error) })
  }
})

try {
  reply(0, { state: start(workerData) })
} catch (error) {
  reply(0, { error: plain(error) })
  // What was opened goes with the thread; its locks, too.
  process.exit()
}
