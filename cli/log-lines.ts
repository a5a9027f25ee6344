// Log lines: where base/log.ts's entries become text. One line each to standard error, either
//
//   2026-01-31T12:00:00.000Z info  tables running version=7 networks=3
//   {"time":"2026-01-31T12:00:00.000Z","level":"info","message":"tables running","version":7,...}
//
// A value that could be taken for something else (white space, quotes, "=", control characters) is
// written as JSON text, so that a line stays a line and a field a field.

import process from 'node:process'
import { type LogFields, type Logger, type LogLevel, sinkLogger } from '../base/log.ts'

export type LogFormat = 'text' | 'json'

export const LOG_FORMATS: readonly LogFormat[] = ['text', 'json']
export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

function fieldText(value: string | number | boolean | null): string {
  const text = String(value)
  return typeof value === 'string' && !/^[^\s"=\p{C}]+$/u.test(text) ? JSON.stringify(text) : text
}

/** One line, without its end. Fields that are undefined are left out. */
export function logLine(
  format: LogFormat,
  time: Date,
  level: LogLevel,
  message: string,
  fields: LogFields,
): string {
  const stamp = time.toISOString()
  if (format === 'json') return JSON.stringify({ time: stamp, level, message, ...fields })
  const parts = [stamp, level.padEnd(5), message.replace(/\p{C}/gu, ' ')]
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) parts.push(`${name}=${fieldText(value)}`)
  }
  return parts.join(' ')
}

/** A logger to standard error. */
export function stderrLogger(format: LogFormat, minimum: LogLevel): Logger {
  return sinkLogger((level, message, fields) => {
    process.stderr.write(`${logLine(format, new Date(), level, message, fields)}\n`)
  }, minimum)
}
