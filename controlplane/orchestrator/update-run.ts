// What a leader remembers of an update that is under way (update.ts).

/** A slot that is, or was, under way. */
export interface Turn {
  readonly slot: number | string
  /** The store has had the new task. */
  isWritten: boolean
  /** When its task was first seen to run, if it was. */
  ranMs: number | null
  /** When its task was first seen to run or to have ended. */
  overMs: number | null
}

export interface UpdateRun {
  readonly specVersion: number
  readonly isRollback: boolean
  readonly startedMs: number
  /** Dirty slots at the start. */
  readonly total: number
  /** By id of the new task. */
  readonly turns: Map<string, Turn>
  /** Tasks that failed too early, in order. */
  readonly failed: Set<string>
}
