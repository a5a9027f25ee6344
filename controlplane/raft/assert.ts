// Broken invariants end the member: going on with a log that contradicts itself could lose what others
// believe to be committed.

/** Throws when `condition` is false, which means a bug or lost data, never bad input. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`raft: ${message}`)
}
