// The disk's thread: it owns the directory and the database, and waits for the disk so that nobody
// else has to. Requests are done in the order they come, and answered one by one.

import { closeSync, fsyncSync, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { backup } from 'node:sqlite'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { RaftDatabase, type StoredState } from './database.ts'
import { compareIdentity, createDatabase, readMeta, sealBackup } from './database-file.ts'
import { Directory } from './directory.ts'
import { StorageError } from './errors.ts'
import { syncDirectory } from './keys.ts'
import { BACKUP_STEP_PAGES } from './limits.ts'
import { Mailbox } from './mailbox.ts'
import type { PlainError, StorageReply, StorageRequest, StorageStart } from './storage-protocol.ts'

const port = parentPort!
const mailbox = new Mailbox((workerData as StorageStart).mailbox)
let directory: Directory
let database: RaftDatabase
let backups: Promise<void> = Promise.resolve()
let backupCount = 0
/** Until the backup under way has done its first step. */
let beginning: Promise<void> | null = null
let isClosing = false
let isOpen = true
let isServing = false
/** Keeps the event loop from ending while a backup is under way. */
const AWAKE_MS = 60_000

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
      break
    case 'checkpoint':
      database.checkpoint(request.checkpoint)
      reply(id)
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
      backupCount++
      backups = backups.then(() => copy(id, request.path)).finally(() => backupCount--)
      break
    case 'close':
      isClosing = true
      backups = backups.then(() => end(id))
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
  isOpen = false
}

/** Copies the database as it is at one moment, while writes go on. */
async function copy(id: number, path: string): Promise<void> {
  let isMade = false
  try {
    closeSync(openSync(path, 'wx', 0o600))
    isMade = true
    await begunBackup(path)
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

/** SQLite copies in another thread. Its first step must not fall into a transaction of ours: node
 * takes the lock that it meets there for a failure. Later steps wait for theirs. */
function begunBackup(path: string): Promise<number> {
  const begun = Promise.withResolvers<void>()
  const progress = (): void => begun.resolve()
  const copying = backup(database.handle, path, { rate: BACKUP_STEP_PAGES, progress })
  beginning = begun.promise
  return copying.finally(() => begun.resolve())
}

/** The letter that waits, if one does. */
function writeLetter(): void {
  const letter = mailbox.read()
  if (letter === null) return
  const began = performance.now()
  try {
    database.commit({ snapshot: null, ...letter })
  } catch (error) {
    reply(-1, { error: plain(error) })
    mailbox.answer(null)
    return
  }
  mailbox.answer(performance.now() - began)
  // Somebody waits for the answer, nobody for the witness.
  try {
    database.confirm()
  } catch (error) {
    reply(-1, { error: plain(error) })
  }
}

function readPort(): void {
  for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port)) {
    const request: StorageRequest = next.message
    try {
      handle(request)
    } catch (error) {
      reply(request.id, { error: plain(error) })
    }
  }
}

/** Sleeps and works. Only a backup needs the event loop. */
async function serve(): Promise<void> {
  const awake = setInterval(() => {}, AWAKE_MS)
  while (isOpen) {
    if (beginning !== null) {
      await beginning
      beginning = null
    }
    writeLetter()
    readPort()
    if (!isOpen) break
    if (!isClosing && database.chore()) continue
    if (isClosing || backupCount > 0) await Promise.race([mailbox.doze(), backups])
    else mailbox.sleep()
  }
  clearInterval(awake)
  port.close()
}

try {
  reply(0, { state: start(workerData) })
  isServing = true
  await serve()
} catch (error) {
  reply(isServing ? -1 : 0, { error: plain(error) })
  // What was opened goes with the thread; its locks, too.
  process.exit()
}
