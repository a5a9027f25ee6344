// What a task wrote: kept, with times, rotated, and followed.
//
// The task writes into two plain files, `out` and `err`, which outlive the agent. The agent reads
// on where it stopped and appends line by line to `log`, giving each the time at which it was read:
//
//   log      o 1764100000123456789 4711 12\n<12 bytes>   stream, ns since 1970, how far `out`
//            e 1764100000223456789 99 7\n<7 bytes>       has been read by then, length of the line
//   log.1    older, then log.2 ...
//
// The place in `out` stands with the line, so a kill at any moment neither loses nor doubles one.
// What has been read of `out` is given back to the file system by punching holes: cutting the file
// would lose what is written meanwhile.

import {
  appendFileSync,
  closeSync,
  existsSync,
  type FSWatcher,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  watch,
} from 'node:fs'
import { join } from 'node:path'
import type { LogLine, LogOptions } from '../executor.ts'
import {
  FOLLOWER_LINES_MAX,
  LOG_FILE_BYTES,
  LOG_FILES,
  LOG_LINE_BYTES_MAX,
  LOG_PUNCH_BYTES,
} from './limits.ts'
import { execute, type StartProgram } from './shell.ts'

const STREAMS = { o: 'stdout', e: 'stderr' } as const
type Mark = keyof typeof STREAMS
const RAW = { o: 'out', e: 'err' } as const
const CHUNK_BYTES = 64 * 1024
const NEWLINE = 0x0a

export interface LogLimits {
  readonly fileBytes: number
  readonly files: number
}

/** Docker's options of its json-file driver: max-size ("10m") and max-file. Throws RangeError. */
export function logLimits(options: Readonly<Record<string, string>> = {}): LogLimits {
  const size = options['max-size']
  const match = size === undefined ? null : /^(\d+)([kmg]?)b?$/i.exec(size)
  if (size !== undefined && match === null) throw new RangeError(`invalid max-size "${size}"`)
  const unit = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[match?.[2]?.toLowerCase() ?? ''] ?? 1
  const files = Number(options['max-file'] ?? LOG_FILES)
  if (!Number.isInteger(files) || files < 1) throw new RangeError('invalid max-file')
  return {
    fileBytes: match === null ? LOG_FILE_BYTES : Math.max(4096, Number(match[1]) * unit),
    files,
  }
}

/** Somebody who reads along: lines that he has not taken yet. */
interface Follower {
  queue: LogLine[]
  wake: () => void
}

interface Source {
  readonly mark: Mark
  /** How far it has been read into lines. */
  at: number
  punched: number
}

export interface TaskLogParts {
  /** Nanoseconds since 1970. */
  readonly wallNs: () => bigint
  readonly startProgram: StartProgram
}

export class TaskLog {
  readonly #directory: string
  readonly #limits: LogLimits
  readonly #parts: TaskLogParts
  readonly #sources: readonly Source[]
  readonly #followers = new Set<Follower>()
  #size: number
  #watcher: FSWatcher | null = null
  #isClosed = false
  #lastNs = 0n

  constructor(directory: string, limits: LogLimits, parts: TaskLogParts) {
    this.#directory = directory
    this.#limits = limits
    this.#parts = parts
    const read = readPlaces(this.#segments())
    cutTorn(join(directory, 'log'))
    this.#sources = [
      { mark: 'o', at: read.o, punched: 0 },
      { mark: 'e', at: read.e, punched: 0 },
    ]
    this.#size = existsSync(join(directory, 'log')) ? statSync(join(directory, 'log')).size : 0
  }

  /** Reads what is written from now on. */
  open(): void {
    if (this.#watcher !== null || this.#isClosed) return
    this.#watcher = watch(this.#directory, (_, name) => {
      if (name === 'out' || name === 'err') this.collect(false)
    })
    this.#watcher.on('error', () => {})
    this.collect(false)
  }

  /** Takes over what was written; with `isOver` also a last line that has no end. */
  collect(isOver: boolean): void {
    for (const source of this.#sources) {
      this.#read(source, isOver)
      this.#punch(source)
    }
    for (const follower of this.#followers) if (follower.queue.length > 0) follower.wake()
  }

  close(): void {
    this.#isClosed = true
    this.#watcher?.close()
    this.#watcher = null
    for (const { wake } of [...this.#followers]) wake()
  }

  async *lines(options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    const wanted = (line: LogLine): boolean =>
      (line.stream === 'stdout' ? options.stdout : options.stderr) &&
      BigInt(line.timestampNs) >= BigInt(Math.trunc(options.sinceMs * 1e6))
    const follower: Follower = { queue: [], wake: () => {} }
    const onAbort = (): void => follower.wake()
    // Old lines are read in the same turn as following begins: there is no gap and no overlap.
    this.#followers.add(follower)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const old = this.#segments()
        .flatMap((path) => readSegment(path).lines)
        .filter(wanted)
      yield* options.tail < 0 ? old : old.slice(Math.max(0, old.length - options.tail))
      while (options.follow && !signal.aborted) {
        const fresh = follower.queue
        follower.queue = []
        yield* fresh.filter(wanted)
        if (follower.queue.length > 0 || signal.aborted) continue
        if (this.#isClosed) return
        await new Promise<void>((resolve) => {
          follower.wake = resolve
        })
      }
    } finally {
      this.#followers.delete(follower)
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Files of the log, oldest first. */
  #segments(): string[] {
    const paths: string[] = []
    for (let n = this.#limits.files - 1; n >= 1; n--) paths.push(`${this.#directory}/log.${n}`)
    paths.push(`${this.#directory}/log`)
    return paths.filter((path) => existsSync(path))
  }

  #read(source: Source, isOver: boolean): void {
    let fd: number
    try {
      fd = openSync(join(this.#directory, RAW[source.mark]), 'r')
    } catch {
      return
    }
    try {
      const { size } = fstatSync(fd)
      const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(0, size - source.at)))
      while (source.at < size) {
        const got = readSync(fd, chunk, 0, chunk.length, source.at)
        if (got === 0) break
        const used = this.#append(source, chunk.subarray(0, got), isOver && source.at + got >= size)
        if (used === 0) break
      }
    } finally {
      closeSync(fd)
    }
  }

  /** Appends the whole lines of `bytes`; returns how much of it that was. What the disk does not
   * take is read again. */
  #append(source: Source, bytes: Buffer, isLast: boolean): number {
    let parts: Buffer[] = []
    let told: [bigint, Buffer][] = []
    let size = 0
    let start = 0
    let written = 0
    const flush = (): boolean => {
      if (!this.#write(Buffer.concat(parts))) return false
      for (const [ns, line] of told) this.#tell(source.mark, ns, line)
      parts = []
      told = []
      size = 0
      written = start
      return true
    }
    while (start < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, start)
      let end = newline < 0 ? bytes.length : newline + 1
      if (end - start > LOG_LINE_BYTES_MAX) end = start + LOG_LINE_BYTES_MAX
      else if (newline < 0 && !isLast) break
      const line = bytes.subarray(start, end)
      const ns = this.#nextNs()
      const header = Buffer.from(`${source.mark} ${ns} ${source.at + end} ${line.length}\n`)
      parts.push(header, line)
      told.push([ns, line])
      size += header.length + line.length
      start = end
      if (size >= this.#limits.fileBytes / 4 && !flush()) break
    }
    if (size > 0) flush()
    source.at += written
    return written
  }

  /** False when the disk does not take it, as a full one: nothing of it is in the log then. */
  #write(block: Buffer): boolean {
    const path = join(this.#directory, 'log')
    try {
      this.#rotate(block.length)
      appendFileSync(path, block, { mode: 0o600 })
    } catch {
      cutAt(path, this.#size)
      return false
    }
    this.#size += block.length
    return true
  }

  #tell(mark: Mark, ns: bigint, line: Buffer): void {
    if (this.#followers.size === 0) return
    const data = Buffer.from(line)
    const told = { stream: STREAMS[mark], timestampNs: String(ns), attributes: {}, data }
    for (const { queue } of this.#followers) {
      // Who does not keep up misses the oldest: the task must not wait for its readers.
      if (queue.length >= FOLLOWER_LINES_MAX) queue.splice(0, FOLLOWER_LINES_MAX / 2)
      queue.push(told)
    }
  }

  /** Never the same twice: followers go by it. */
  #nextNs(): bigint {
    const now = this.#parts.wallNs()
    this.#lastNs = now > this.#lastNs ? now : this.#lastNs + 1n
    return this.#lastNs
  }

  #rotate(more: number): void {
    if (this.#size === 0 || this.#size + more <= this.#limits.fileBytes) return
    const { files } = this.#limits
    const path = (n: number): string => join(this.#directory, n === 0 ? 'log' : `log.${n}`)
    rmSync(path(files - 1), { force: true })
    for (let n = files - 2; n >= 0; n--) if (existsSync(path(n))) renameSync(path(n), path(n + 1))
    this.#size = 0
  }

  #punch(source: Source): void {
    if (source.at - source.punched < LOG_PUNCH_BYTES) return
    const length = source.at - (source.at % 4096)
    source.punched = length
    const path = join(this.#directory, RAW[source.mark])
    const words = ['--punch-hole', '--offset', '0', '--length', String(length), path]
    // A file system without holes keeps the bytes: nothing is lost but room.
    execute(this.#parts.startProgram, 'fallocate', words).catch(() => {})
  }
}

const HEADER = /^([oe]) (\d+) (\d+) (\d+)$/

interface Framed extends LogLine {
  readonly mark: Mark
  readonly place: number
}

interface Segment {
  readonly lines: readonly Framed[]
  /** Where the last whole line ends. */
  readonly end: number
}

/** Lines of one file; a torn end is passed over. */
function readSegment(path: string): Segment {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch {
    return { lines: [], end: 0 }
  }
  const lines: Framed[] = []
  let at = 0
  while (at < bytes.length) {
    const end = bytes.indexOf(NEWLINE, at)
    const match = end < 0 ? null : HEADER.exec(bytes.toString('latin1', at, end))
    if (match === null) break
    const [, mark, timestampNs, place, length] = match as unknown as string[]
    const data = bytes.subarray(end + 1, end + 1 + Number(length))
    if (data.length < Number(length)) break
    const stream = STREAMS[mark as Mark]
    lines.push({
      stream,
      timestampNs: timestampNs!,
      attributes: {},
      data,
      mark: mark as Mark,
      place: Number(place),
    })
    at = end + 1 + data.length
  }
  return { lines, end: at }
}

/** Cuts off a line that was being written when the agent was killed: it is read again. */
function cutTorn(path: string): void {
  if (!existsSync(path)) return
  const { end } = readSegment(path)
  if (end < statSync(path).size) truncateSync(path, end)
}

/** Takes away what was written of a block that did not fit. */
function cutAt(path: string, size: number): void {
  try {
    truncateSync(path, size)
  } catch {
    // There is none yet.
  }
}

/** How far each stream had been read when the last lines were written. */
function readPlaces(segments: readonly string[]): Record<Mark, number> {
  const places: Record<Mark, number> = { o: 0, e: 0 }
  for (const path of segments) {
    for (const { mark, place } of readSegment(path).lines) places[mark] = place
  }
  return places
}
