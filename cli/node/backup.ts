// A backup of a manager: what a new swarm can be made of when the old one is lost. A directory of
// its own:
//
//   raft.db            a consistent copy of log and snapshot, sealed (raft/shell/backup.ts)
//   swarm-node.key     the key that seals it, itself sealed where managers lock themselves
//   swarm-root-ca.crt  whom the node trusts
//   state.json         addresses
//
// Without autolock whoever has the directory has the swarm: it is made with mode 0700, its files
// with 0600. Restored it is put where a manager's own files would be, and can only found a new
// swarm (`swarm init --force-new-cluster`), which the others join.

import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '../../controlplane/agent/make-directory.ts'
import { identityPaths } from '../../controlplane/ca/identity.ts'
import { restoreBackup } from '../../controlplane/raft/shell/backup.ts'
import { writeDurably } from '../../controlplane/raft/shell/keys.ts'
import { readTextFile } from '../key-file.ts'
import { STATE_FILE_SIZE_MAX } from './limits.ts'
import type { Manager } from './manager.ts'
import type { NodeFiles } from './node-files.ts'

const RAFT = 'raft.db'
const KEY = 'swarm-node.key'
const ROOT = 'swarm-root-ca.crt'
const STATE = 'state.json'

/** Writes a backup of a manager that runs. Rejects when the directory is there already. */
export async function writeBackup(
  directory: string,
  files: NodeFiles,
  manager: Manager | null,
): Promise<void> {
  if (manager === null)
    throw new Error('this node is no manager that runs: there is nothing to save')
  if (existsSync(directory)) throw new Error(`${directory} is there already`)
  makeDirectory(directory, 0o700)
  try {
    const paths = identityPaths(files.directory)
    const copy = (from: string, name: string): void => {
      writeDurably(join(directory, name), readTextFile(from, STATE_FILE_SIZE_MAX))
    }
    await manager.member.backup(join(directory, RAFT))
    copy(paths.key, KEY)
    copy(paths.root, ROOT)
    copy(files.state, STATE)
  } catch (error) {
    rmSync(directory, { recursive: true, force: true })
    throw error
  }
}

/** Puts a backup where a manager's files are. Throws when the node is part of a swarm already. */
export function takeBackup(directory: string, files: NodeFiles): void {
  for (const name of [RAFT, KEY, ROOT, STATE]) {
    if (!existsSync(join(directory, name))) {
      throw new Error(`${join(directory, name)} is missing: this is no backup`)
    }
  }
  if (files.hasRaft || existsSync(files.state) || existsSync(files.certificates)) {
    throw new Error(`${files.directory} is in use: leave the swarm first`)
  }
  try {
    restoreBackup(join(directory, RAFT), files.raft)
    const paths = identityPaths(files.directory)
    mkdirSync(paths.folder, { recursive: true, mode: 0o700 })
    copyFileSync(join(directory, ROOT), paths.root)
    writeDurably(paths.key, readTextFile(join(directory, KEY), STATE_FILE_SIZE_MAX))
    writeDurably(files.state, readTextFile(join(directory, STATE), STATE_FILE_SIZE_MAX))
  } catch (error) {
    files.removeAll()
    throw error
  }
}
