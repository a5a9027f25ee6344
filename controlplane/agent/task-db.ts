// What a node remembers of its tasks, so that an agent that starts again takes over those that run
// instead of making new ones: the task as it was assigned and its status, one row per task.
//
// Secrets and configs are not in it: they stay in memory, and come again with the assignment.
// Registry credentials are part of a task's spec and are left out as well. The file is the agent's
// alone (0600). A file that is damaged is set aside: the managers know how far each task was. On a
// disk that takes nothing (full, or read-only) everything goes on, and the managers alone know what
// was not written.
//
// A status is written before it is told. After a power cut the last ones may be missing
// (synchronous=NORMAL); the controllers then find the task further on than we thought, which is
// what they are made for.

import { chmodSync, renameSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Logger } from '../../base/log.ts'
import type { AssignedTask } from '../store/assignment.ts'
import type { TaskStatus } from '../store/objects.ts'

const IN_MEMORY = ':memory:'
// https://www.sqlite.org/rescode.html
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26
const NOT_WRITTEN = 'what the node knows of its tasks cannot be written; going on without'

export interface RememberedTask {
  readonly task: AssignedTask
  readonly status: TaskStatus
}

export interface TaskMemory {
  load(): readonly RememberedTask[]
  put(task: AssignedTask, status: TaskStatus): void
  delete(taskId: string): void
  close(): void
}

/** Remembers nothing: for tests. */
export function forgetfulMemory(): TaskMemory {
  return { load: () => [], put: () => {}, delete: () => {}, close: () => {} }
}

export class TaskDb implements TaskMemory {
  readonly #db: DatabaseSync
  readonly #put: StatementSync
  readonly #delete: StatementSync
  readonly #log: Logger
  /** The log says already that nothing can be written. */
  #isTold = false

  /** `file` is made when it is not there. */
  constructor(file: string, log: Logger) {
    const db = openOrDoWithout(file, log)
    this.#log = log
    this.#db = db
    this.#put = db.prepare('INSERT OR REPLACE INTO tasks (id, task, status) VALUES (?, ?, ?)')
    this.#delete = db.prepare('DELETE FROM tasks WHERE id = ?')
  }

  load(): readonly RememberedTask[] {
    const rows = this.#db.prepare('SELECT task, status FROM tasks').all()
    return rows.flatMap((row): RememberedTask[] => {
      try {
        return [{ task: JSON.parse(String(row.task)), status: JSON.parse(String(row.status)) }]
      } catch {
        return []
      }
    })
  }

  put(task: AssignedTask, status: TaskStatus): void {
    const text = JSON.stringify(withoutCredentials(task))
    this.#write(() => this.#put.run(task.id, text, JSON.stringify(status)))
  }

  delete(taskId: string): void {
    this.#write(() => this.#delete.run(taskId))
  }

  #write(work: () => void): void {
    try {
      work()
      this.#isTold = false
    } catch (error) {
      if (!this.#isTold) this.#log.error(NOT_WRITTEN, { error: (error as Error).message })
      this.#isTold = true
    }
  }

  close(): void {
    this.#db.close()
  }
}

function openOrDoWithout(file: string, log: Logger): DatabaseSync {
  try {
    return open(file)
  } catch (failure) {
    const error = (failure as Error).message
    if (!isDamaged(failure)) {
      log.error(NOT_WRITTEN, { file, error })
      return open(IN_MEMORY)
    }
    const aside = `${file}.unreadable`
    log.error('the memory of tasks cannot be read; starting without it', { file, aside, error })
    renameSync(file, aside)
    return open(file)
  }
}

function isDamaged(error: unknown): boolean {
  const code = ((error as { errcode?: number }).errcode ?? 0) & 0xff
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB
}

function open(file: string): DatabaseSync {
  const db = new DatabaseSync(file)
  try {
    if (file !== IN_MEMORY) chmodSync(file, 0o600)
    db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL')
    db.exec('CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, task TEXT, status TEXT)')
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

function withoutCredentials(task: AssignedTask): AssignedTask {
  const { ContainerSpec: container, ...spec } = task.spec
  if (container === undefined) return task
  const { PullOptions: _, ...rest } = container
  return { ...task, spec: { ...spec, ContainerSpec: rest } }
}
