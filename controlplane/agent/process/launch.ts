// Starts a task's run.sh, detached from the agent, and with a terminal where the task wants one.

import { spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { TERMINAL_MASTER, TERMINAL_SLAVE } from './script.ts'

/** A pseudo-terminal as two descriptors. */
export interface Terminal {
  readonly master: number
  readonly slave: number
}

/** Resolves when run.sh has begun. `openTerminal` null: without one. */
export async function launch(
  directory: string,
  openTerminal: (() => Terminal) | null,
): Promise<void> {
  for (const name of ['out', 'err', 'state']) {
    await (await open(join(directory, name), 'a', 0o600)).close()
  }
  const terminal = openTerminal?.() ?? null
  const stdio: ('ignore' | number)[] = ['ignore', 'ignore', 'ignore']
  if (terminal !== null) {
    stdio[3] = 'ignore'
    stdio[4] = 'ignore'
    stdio[TERMINAL_MASTER] = terminal.master
    stdio[TERMINAL_SLAVE] = terminal.slave
  }
  try {
    const child = spawn('/bin/sh', ['./run.sh'], {
      cwd: directory,
      detached: true,
      stdio,
      env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
    })
    await new Promise<void>((started, fail) => {
      child.once('spawn', started)
      child.once('error', fail)
    })
    child.unref()
  } finally {
    if (terminal !== null) for (const fd of [terminal.master, terminal.slave]) closeSync(fd)
  }
}
