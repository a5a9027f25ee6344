// Databases for tests: made, filled, copied as a crash would leave them, and spoilt.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EMPTY_CONF_STATE, type Entry, type HardState, type Snapshot } from '../../messages.ts'
import { type DatabaseWrite, RaftDatabase, type StoredState } from '../database.ts'
import { createDatabase } from '../database-file.ts'
import { Directory, type Identity } from '../directory.ts'
import type { DataKeys } from '../keys.ts'
import { encodeRecord } from '../record.ts'
import { newDataKey } from '../seal.ts'

export const IDENTITY: Identity = { clusterId: 'cluster', nodeId: 'node', raftId: 4711 }

export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'weft-stored-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export function entry(index: number, term = 1, text = `entry ${index}`): Entry {
  return { index, term, type: 'EntryNormal', data: new TextEncoder().encode(text) }
}

export function snapshotAt(index: number, term = 1): Snapshot {
  const data = new TextEncoder().encode(`state at ${index}`)
  return { index, term, confState: { ...EMPTY_CONF_STATE, voters: [4711] }, data }
}

export function writeOf(
  entries: readonly Entry[],
  fields: Partial<DatabaseWrite> = {},
  hardState: HardState = { term: 1, vote: 0, commit: 1 },
): DatabaseWrite {
  const indexes = entries.map(({ index }) => index)
  return {
    snapshot: null,
    record: encodeRecord({ hardState, entries }),
    first: entries.length === 0 ? 0 : Math.min(...indexes),
    last: entries.length === 0 ? 0 : Math.max(...indexes),
    term: hardState.term,
    ...fields,
  }
}

/** A member's directory with its database, open. */
export class Stored {
  readonly path: string
  readonly keys: DataKeys
  directory: Directory
  database: RaftDatabase

  constructor(
    path: string,
    keys: DataKeys = { current: newDataKey(), pending: null },
    isNew = true,
  ) {
    this.path = path
    this.keys = keys
    this.directory = new Directory(path)
    try {
      if (isNew) createDatabase(this.directory, IDENTITY)
    } catch (error) {
      this.directory.close()
      throw error
    }
    this.database = new RaftDatabase(this.directory, keys)
  }

  /** With a snapshot at 1 and entries 2 to `last`, one write each. */
  fill(last: number): this {
    this.database.load()
    this.database.write(writeOf([], { snapshot: snapshotAt(1) }))
    for (let index = 2; index <= last; index++) this.database.write(writeOf([entry(index)]))
    return this
  }

  /** Writes a snapshot of its own to the end. */
  checkpoint(snapshot: Snapshot, compactTo: number): void {
    this.database.checkpoint({ snapshot, compactTo })
    while (this.database.chore());
  }

  /** What a kill would leave, in a directory of its own. */
  copy(path: string): string {
    mkdirSync(path)
    for (const name of ['identity.json', 'witness', 'raft.db', 'raft.db-wal']) {
      if (existsSync(join(this.path, name))) copyFileSync(join(this.path, name), join(path, name))
    }
    return path
  }

  close(): void {
    this.database.close()
    this.directory.close()
  }
}

/** Opens what is there and reads it; closes it again. */
export function load(path: string, keys: DataKeys): StoredState {
  const directory = new Directory(path)
  try {
    const database = new RaftDatabase(directory, keys)
    try {
      return database.load()
    } finally {
      database.close()
    }
  } finally {
    directory.close()
  }
}

/** Flips a bit of the byte at `at` (from the end if negative). */
export function flip(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[at < 0 ? bytes.length + at : at]! ^= 1
  writeFileSync(path, bytes)
}
