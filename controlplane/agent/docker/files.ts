// Secrets and configs of a task as files on the host, which are mounted into its container
// read-only. They lie in a directory of the task's own on a tmpfs, which root alone may enter.

import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AssignedTask } from '../../store/assignment.ts'
import { TaskError, type TaskHost } from '../executor.ts'
import { filesOf } from '../task-context.ts'

export interface PlacedFile {
  /** On the host. */
  readonly path: string
  /** In the container. */
  readonly target: string
}

/** Writes them anew. Throws a TaskError for one that is not there, or whose template is wrong. */
export async function writeTaskFiles(
  directory: string,
  task: AssignedTask,
  host: TaskHost,
): Promise<PlacedFile[]> {
  let files: ReturnType<typeof filesOf>
  try {
    files = filesOf(task, host)
  } catch (error) {
    throw new TaskError((error as Error).message)
  }
  const own = join(directory, task.id)
  if (files.length > 0) await mkdir(own, { recursive: true, mode: 0o700 })
  const placed: PlacedFile[] = []
  for (const [f, file] of files.entries()) {
    const path = join(own, String(f))
    await rm(path, { force: true })
    await writeFile(path, file.bytes, { mode: 0o600 })
    await chown(path, file.uid, file.gid)
    await chmod(path, file.mode)
    placed.push({ path, target: file.target })
  }
  return placed
}

export async function removeTaskFiles(directory: string, taskId: string): Promise<void> {
  await rm(join(directory, taskId), { recursive: true, force: true })
}
