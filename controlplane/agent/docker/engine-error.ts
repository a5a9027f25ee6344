// What the engine answers when it does not do what it is asked, as what it means for a task.

import { TaskError } from '../executor.ts'

/** The HTTP status of an answer; 0 = there was none. */
export function statusOf(error: unknown): number {
  return (error as { statusCode?: number }).statusCode ?? 0
}

/** The engine's own words, without what the client library puts around them. */
export function wordsOf(error: unknown): string {
  const { json, message } = error as Error & { json?: { message?: unknown } }
  return typeof json?.message === 'string' ? json.message : message
}

/** What the engine refused is the task's failure; an engine that is not there may come back. */
export function engineError(error: unknown): TaskError {
  if (error instanceof TaskError) return error
  return new TaskError(wordsOf(error), { temporary: statusOf(error) === 0 })
}

/** For catch(): lets these statuses pass. */
export function ignore(...statuses: readonly number[]): (error: unknown) => void {
  return (error) => {
    if (!statuses.includes(statusOf(error))) throw engineError(error)
  }
}
