// Logging as an interface: a message that is constant text, and fields that vary. Whoever composes
// the process decides where lines go; everything else takes a Logger and defaults to silence.
// Fields keep a name for one meaning everywhere (`peer`, `network`, `reason`, `error`, units last
// as in `elapsedMs`).
//
// Not for the packet path: what happens per packet is a counter.

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

export interface Logger {
  /** True when a line of this level would be written: ask before building costly fields. */
  enabled(level: LogLevel): boolean
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  /** A logger that adds `fields` to each of its lines. */
  with(fields: LogFields): Logger
}

/** Takes one finished line's parts: the edge behind a Logger. */
export type LogSink = (level: LogLevel, message: string, fields: LogFields) => void

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 }

/** The default: says nothing. */
export const silentLogger: Logger = {
  enabled: () => false,
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  with: () => silentLogger,
}

/** A logger that hands lines of `minimum` and above to `sink`. */
export function sinkLogger(
  sink: LogSink,
  minimum: LogLevel = 'info',
  common: LogFields = {},
): Logger {
  const write = (level: LogLevel, message: string, fields?: LogFields): void => {
    if (RANK[level] < RANK[minimum]) return
    sink(level, message, fields === undefined ? common : { ...common, ...fields })
  }
  return {
    enabled: (level) => RANK[level] >= RANK[minimum],
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
    with: (fields) => sinkLogger(sink, minimum, { ...common, ...fields }),
  }
}
