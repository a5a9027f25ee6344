// How `weft ipvs` fails: as ipvsadm does, with a line on standard error and a status.

/** An option or argument is wrong, or options contradict one another. */
export const STATUS_OPTION: number = 2
/** The table says no, or the arguments cannot be read at all: -1 as a process ends with it. */
export const STATUS_REFUSED: number = 255
/** A service to be listed is not there. */
export const STATUS_NOT_THERE: number = 1

export class IpvsFailure extends Error {
  override readonly name: string = 'IpvsFailure'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** The hint for a command line that makes no sense. */
export function tryHelp(): IpvsFailure {
  const how = "Try `weft ipvs -h' or 'weft ipvs --help' for more information."
  return new IpvsFailure(STATUS_REFUSED, how)
}
