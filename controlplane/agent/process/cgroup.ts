// Limits of CPU, memory and process count by control groups, version 2 or 1, whichever this host
// has. A limit that cannot be enforced is refused: a task that believes in one is worse off than a
// task that was never started.

import { existsSync } from 'node:fs'
import { readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Resources } from '../../store/specs.ts'
import { TaskError } from '../executor.ts'
import { makeDirectory } from '../make-directory.ts'

const MOUNT = '/sys/fs/cgroup'
const PARENT = 'weft'
const PERIOD_US = 100_000
const MODE = 0o755

interface Setting {
  /** Hierarchy of version 1. */
  readonly controller: string
  /** [file of version 2, of version 1, value]. */
  readonly files: readonly (readonly [string, string, string])[]
}

function settingsOf({ NanoCPUs, MemoryBytes, Pids }: Resources): Setting[] {
  const settings: Setting[] = []
  if (MemoryBytes) {
    const value = String(MemoryBytes)
    settings.push({
      controller: 'memory',
      files: [['memory.max', 'memory.limit_in_bytes', value]],
    })
  }
  if (NanoCPUs) {
    const quota = String(Math.max(1000, Math.round((NanoCPUs / 1e9) * PERIOD_US)))
    settings.push({
      controller: 'cpu',
      files: [
        ['', 'cpu.cfs_period_us', String(PERIOD_US)],
        ['cpu.max', 'cpu.cfs_quota_us', quota],
      ],
    })
  }
  if (Pids && Pids > 0) {
    settings.push({ controller: 'pids', files: [['pids.max', 'pids.max', String(Pids)]] })
  }
  return settings
}

const isVersion2 = (mount: string): boolean => existsSync(join(mount, 'cgroup.controllers'))

/** The group's directories, one for version 2, one per controller for version 1. */
function directoriesOf(mount: string, id: string, settings: readonly Setting[]): string[] {
  if (isVersion2(mount)) return [join(mount, PARENT, id)]
  return settings.map(({ controller }) => {
    const root = join(mount, controller)
    // A file in any other directory limits nothing.
    if (!existsSync(join(root, 'cgroup.procs'))) throw new Error(`no control groups at ${root}`)
    return join(root, PARENT, id)
  })
}

/** Makes the group of a task; returns the files by which a process joins it, none without limits.
 * Rejects with TaskError. `mount`: where the host has its control groups. */
export async function makeGroup(
  id: string,
  limits: Resources | undefined,
  mount: string = MOUNT,
): Promise<string[]> {
  const settings = settingsOf(limits ?? {})
  if (settings.length === 0) return []
  try {
    const isTwo = isVersion2(mount)
    const directories = directoriesOf(mount, id, settings)
    if (isTwo) await enableControllers(mount, settings)
    for (const directory of directories) makeDirectory(directory, MODE)
    for (const [s, { files }] of settings.entries()) {
      for (const [two, one, value] of files) {
        if (isTwo && two === '') continue
        const written = two === 'cpu.max' && isTwo ? `${value} ${PERIOD_US}` : value
        await writeFile(join(directories[isTwo ? 0 : s]!, isTwo ? two : one), written)
      }
    }
    return directories.map((directory) => join(directory, 'cgroup.procs'))
  } catch (error) {
    throw new TaskError(
      `resource limits cannot be enforced on this node: ${(error as Error).message}`,
    )
  }
}

async function enableControllers(mount: string, settings: readonly Setting[]): Promise<void> {
  const wanted = settings.map(({ controller }) => `+${controller}`).join(' ')
  makeDirectory(join(mount, PARENT), MODE)
  for (const directory of [mount, join(mount, PARENT)]) {
    await writeFile(join(directory, 'cgroup.subtree_control'), wanted)
  }
}

/** Removes what makeGroup() made; nothing of the task runs any more. */
export async function removeGroup(id: string): Promise<void> {
  const roots = isVersion2(MOUNT)
    ? [MOUNT]
    : (await readdir(MOUNT).catch(() => [])).map((name) => join(MOUNT, name))
  for (const root of roots) await rmdir(join(root, PARENT, id)).catch(() => {})
}

/** Whether the kernel killed something of the task for want of memory. */
export async function wasOutOfMemory(id: string): Promise<boolean> {
  const file = isVersion2(MOUNT)
    ? join(MOUNT, PARENT, id, 'memory.events')
    : join(MOUNT, 'memory', PARENT, id, 'memory.oom_control')
  const text = await readFile(file, 'utf8').catch(() => '')
  return /oom_kill [1-9]/.test(text)
}
