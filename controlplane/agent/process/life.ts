// The processes of a task as the host shows them: whether run.sh still lives (and is the same
// process, not another with its number), which process is the task's first, and how it ended.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Field 22 of /proc/PID/stat, the 20th behind the name: when the process began (proc(5)). */
const START_TIME = 19

function statFields(text: string): string[] {
  return text.trim().split(' ')
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/** Process id of the task's run.sh while it lives, 0 when it does not. */
export function supervisorOf(directory: string): number {
  const text = read(join(directory, 'pid'))
  const match = /^(\d+) (.*)$/.exec(text?.trim() ?? '')
  if (match === null) return 0
  const now = read(`/proc/${match[1]}/stat`)
  if (now === null) return 0
  const fields = statFields(now.slice(now.lastIndexOf(')') + 2))
  const isSame = fields[START_TIME] === statFields(match[2]!)[START_TIME]
  return isSame && fields[0] !== 'Z' ? Number(match[1]) : 0
}

/** Exit status of the task; null while it has none. */
export function exitStatus(directory: string): number | null {
  const text = read(join(directory, 'exit'))
  return text === null ? null : Number(text)
}

/** What inside.sh said: '' = nothing yet, 'running', or why it could not start. */
export function stateText(directory: string): string {
  return (read(join(directory, 'state')) ?? '').trim()
}

function childrenOf(pid: number): number[] {
  const text = read(`/proc/${pid}/task/${pid}/children`) ?? ''
  return text.trim().split(' ').filter(Boolean).map(Number)
}

/** The first process inside the task's PID namespace, as the host numbers it; 0 = none. It is the
 * child of unshare, which is the child of run.sh. */
export function firstProcess(directory: string): number {
  const supervisor = supervisorOf(directory)
  if (supervisor === 0) return 0
  for (const child of childrenOf(supervisor)) {
    const [first] = childrenOf(child)
    if (first !== undefined) return first
  }
  return 0
}

/** Sends a signal; false when the process is not there. */
export function send(pid: number, signal: string): boolean {
  if (pid <= 0) return false
  try {
    process.kill(pid, `SIG${signal}` as NodeJS.Signals)
    return true
  } catch {
    return false
  }
}
