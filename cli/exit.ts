// How the command ends: statuses, and the error that a wrong command line is.

export const EXIT_OK: number = 0
/** What was asked for could not be done. */
export const EXIT_FAILURE: number = 1
/** The command line or a file is wrong; nothing was begun. */
export const EXIT_USAGE: number = 2
/** The agent has ended to be started again at once: published ports are held for the next one. */
export const EXIT_RESTART: number = 75

/** A command line that cannot be understood: a sentence, and what to look at. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError'
  /** The command of the verb whose help tells more ("create" of "weft service create"). */
  readonly command: string | undefined

  constructor(message: string, command?: string) {
    super(message)
    this.command = command
  }
}
