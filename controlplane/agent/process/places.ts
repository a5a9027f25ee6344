// Where the process runtime keeps what belongs to a task, and how all of it is taken away.

import { existsSync } from 'node:fs'
import { readFile, readlink, realpath, rm, statfs } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { TaskError } from '../executor.ts'
import { makeDirectory } from '../make-directory.ts'
import { removeGroup } from './cgroup.ts'
import { disconnectEgress, type Egress } from './egress.ts'
import type { Plan } from './plan.ts'

/** Where things are on this node. */
export interface Directories {
  readonly tasks: string
  readonly images: string
  readonly volumes: string
  /** On a tmpfs. */
  readonly files: string
  /** Network namespaces, each held by a mount. */
  readonly namespaces: string
}

/** Makes network namespaces and lets them go, each held by a mount on a file. */
export interface NetworkNamespaces {
  /** Makes the file, too. Throws when it may not be had. */
  make(path: string): void
  release(path: string): void
}

export interface Places {
  readonly directories: Directories
  readonly namespaces: NetworkNamespaces
  /** Null: this node has no means for it. */
  readonly egress: Egress | null
}

/** f_type of a namespace's file (include/uapi/linux/magic.h). */
const NSFS_MAGIC = 0x6e736673

/** True for a file on which a namespace is mounted; false for an empty one, from before a crash or
 * a boot. */
export async function isNamespace(path: string): Promise<boolean> {
  const found = await statfs(path).catch(() => null)
  return found?.type === NSFS_MAGIC
}

/** Where a path of the host leads that may be a link, also one that leads nowhere. */
export async function linkedPath(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    const link = await readlink(path).catch(() => '')
    return resolve(dirname(path), link === '' ? path : link)
  }
}

/** On the host's own network its name servers are a task's, unless it names others. */
export async function hostResolvConf(plan: Pick<Plan, 'resolvConf'>): Promise<string> {
  if (/^nameserver /m.test(plan.resolvConf)) return plan.resolvConf
  return readFile('/etc/resolv.conf', 'utf8').catch(() => plan.resolvConf)
}

/** Takes away all that is left of a task that does not run any more. */
export async function removeTraces(
  taskId: string,
  { directories, namespaces, egress }: Places,
): Promise<void> {
  await disconnectEgress(egress, taskId, join(directories.tasks, taskId))
  const namespace = join(directories.namespaces, taskId)
  if (await isNamespace(namespace)) namespaces.release(namespace)
  await rm(namespace, { force: true })
  await removeGroup(taskId)
  await rm(join(directories.files, taskId), { recursive: true, force: true })
  await rm(join(directories.tasks, taskId), { recursive: true, force: true })
}

/** Checks the source of a bind mount, and makes it if it is to be made. Throws TaskError. */
export function bindSource(path: string, isToBeMade: boolean): string {
  if (!isAbsolute(path)) throw new TaskError('invalid bind mount source')
  const invalid = 'invalid mount config for type "bind"'
  try {
    if (isToBeMade && !existsSync(path)) makeDirectory(path, 0o755)
  } catch (error) {
    throw new TaskError(`${invalid}: ${(error as Error).message}`)
  }
  if (existsSync(path)) return path
  throw new TaskError(`${invalid}: bind source path does not exist: ${path}`)
}
