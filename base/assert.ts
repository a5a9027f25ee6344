// Assertions state what the code believes of itself. A bad packet gets a drop reason and a bad
// request an error; only a broken belief ends here, and nothing catches it: a process whose state
// is wrong must stop before it forwards, stores or votes on the strength of that state.

/** A belief of the code that turned out false. Never caught, except by tests. */
export class AssertionError extends Error {
  override readonly name: string = 'AssertionError'
  readonly code: string = 'WEFT_ASSERTION'
}

/** Throws AssertionError with `message` unless `condition` holds. The message says what was
 * believed. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** Marks the branch that no value may reach: the compiler proves it, the run-time check keeps it
 * proven. */
export function unreachable(value: never, message: string): never {
  throw new AssertionError(`${message}: ${String(value)}`)
}
