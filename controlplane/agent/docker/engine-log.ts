// The engine's log of a container, as lines. Without a terminal the engine sends frames,
//
//     stream(1: 1 stdout, 2 stderr)  0  0  0  length(4, big-endian)  "2026-…Z text\n"
//
// with one the text alone. Either way each piece begins with its time, and behind it with what the
// log driver adds ("labels", "env"), as "k=v,k=v" in the escapes of a query. A long line comes in
// several pieces, of which only the last ends in a line feed: they are put together again, up to a
// limit.

import type { LogLine } from '../executor.ts'
import { LOG_FRAME_BYTES_MAX, LOG_LINE_BYTES_MAX } from './limits.ts'

const HEADER_BYTES = 8
const NEWLINE = 0x0a
const SPACE = 0x20
/** "2026-11-25T20:44:37.324630484Z", and room for an offset. */
const TIME_BYTES_MAX = 40

type Stream = LogLine['stream']

/** Pieces of a log: whole lines, or parts of a long one. */
interface Piece {
  readonly stream: Stream
  readonly bytes: Buffer
}

interface OpenLine {
  readonly timestampNs: string
  readonly attributes: LogLine['attributes']
  readonly parts: Buffer[]
  size: number
}

/** Lines of `chunks`. Throws an Error for bytes that are no log. */
export async function* engineLines(
  chunks: AsyncIterable<unknown>,
  isTerminal: boolean,
): AsyncGenerator<LogLine> {
  const open = new Map<Stream, OpenLine>()
  for await (const { stream, bytes } of isTerminal ? textPieces(chunks) : frames(chunks)) {
    const { timestampNs, data: rest } = timed(bytes)
    const { attributes, data } = detailed(rest)
    const line = open.get(stream) ?? { timestampNs, attributes, parts: [], size: 0 }
    line.parts.push(data)
    line.size += data.length
    open.set(stream, line)
    if (data.at(-1) !== NEWLINE && line.size < LOG_LINE_BYTES_MAX) continue
    open.delete(stream)
    yield lineOf(stream, line)
  }
  for (const [stream, line] of open) if (line.size > 0) yield lineOf(stream, line)
}

function lineOf(stream: Stream, { timestampNs, attributes, parts }: OpenLine): LogLine {
  return { stream, timestampNs, attributes, data: Buffer.concat(parts) }
}

async function* frames(chunks: AsyncIterable<unknown>): AsyncGenerator<Piece> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer])
    let at = 0
    while (rest.length - at >= HEADER_BYTES) {
      const kind = rest[at]!
      const size = rest.readUInt32BE(at + 4)
      if (kind > 3 || size > LOG_FRAME_BYTES_MAX) throw new Error('the log is not understood')
      const end = at + HEADER_BYTES + size
      if (rest.length < end) break
      const bytes = rest.subarray(at + HEADER_BYTES, end)
      // 3 is an error of the engine's, in plain words.
      if (kind === 3) throw new Error(bytes.toString('utf8').trim())
      yield { stream: kind === 2 ? 'stderr' : 'stdout', bytes }
      at = end
    }
    rest = rest.subarray(at)
  }
}

async function* textPieces(chunks: AsyncIterable<unknown>): AsyncGenerator<Piece> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of chunks) {
    rest = Buffer.concat([rest, chunk as Buffer])
    let at = 0
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE, at)) {
      yield { stream: 'stdout', bytes: rest.subarray(at, end + 1) }
      at = end + 1
    }
    rest = rest.subarray(at)
    if (rest.length < LOG_LINE_BYTES_MAX) continue
    yield { stream: 'stdout', bytes: rest }
    rest = Buffer.alloc(0)
  }
  if (rest.length > 0) yield { stream: 'stdout', bytes: rest }
}

/** Splits "TIME text". What has no time gets time 0. */
function timed(bytes: Buffer): { timestampNs: string; data: Buffer } {
  const space = bytes.subarray(0, TIME_BYTES_MAX).indexOf(SPACE)
  const timestampNs = space < 0 ? null : nanoseconds(bytes.toString('latin1', 0, space))
  if (timestampNs === null) return { timestampNs: '0', data: bytes }
  return { timestampNs, data: bytes.subarray(space + 1) }
}

/** Splits "k=v,k=v text"; there may be nothing before the space. */
function detailed(bytes: Buffer): { attributes: LogLine['attributes']; data: Buffer } {
  const space = bytes.indexOf(SPACE)
  const pairs = bytes.toString('latin1', 0, Math.max(0, space)).split(',')
  const entries = pairs.flatMap((pair): [string, string][] => {
    const at = pair.indexOf('=')
    return at < 0 ? [] : [[unescaped(pair.slice(0, at)), unescaped(pair.slice(at + 1))]]
  })
  return { attributes: Object.fromEntries(entries), data: bytes.subarray(space + 1) }
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

/** Nanoseconds since 1970 of an RFC 3339 time, decimal; null when it is none. */
export function nanoseconds(text: string): string | null {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text)
  if (match === null) return null
  const [, seconds, fraction = '', zone] = match
  const ms = Date.parse(`${seconds}${zone}`)
  if (Number.isNaN(ms)) return null
  return String(BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0')))
}
