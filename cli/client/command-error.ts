// The error that a command ends with.

/** What the user asked for cannot be: the words go to standard error, the status is 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}
