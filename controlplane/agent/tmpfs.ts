// Where secrets lie: never on a disk.

import { statfs } from 'node:fs/promises'
import { run, type StartProgram } from './process/shell.ts'

/** f_type of a tmpfs (include/uapi/linux/magic.h). */
const TMPFS_MAGIC = 0x01021994

/** Mounts a tmpfs on a directory that is on none. Rejects when it cannot be had. */
export async function ensureTmpfs(directory: string, startProgram: StartProgram): Promise<void> {
  const { type } = await statfs(directory)
  if (type === TMPFS_MAGIC) return
  await run(startProgram, 'mount', '-t', 'tmpfs', '-o', 'mode=0700', 'tmpfs', directory)
}
