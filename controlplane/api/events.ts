// GET /events: the cluster's events (event-log.ts) and the local engine's, in one stream of JSON
// lines. Filters of one key are alternatives; keys must all hold.

import type { Call, Environment, Reply } from './call.ts'
import { badRequest } from './errors.ts'
import type { EventLog, LoggedEvent } from './event-log.ts'
import { EVENTS_QUEUED_MAX } from './limits.ts'
import type { ApiRequest } from './node-control.ts'
import { type Filters, matchesLabels, readFilters, secondsValue } from './query.ts'
import { here, type Route } from './route.ts'

const NAMED_TYPES = ['service', 'node', 'secret', 'config', 'network'] as const
/** Those of containers and the like match nothing of the cluster; others are not looked at. */
const FOREIGN_KEYS = ['container', 'daemon', 'image', 'plugin', 'volume']

function events(call: Call, env: Environment): Reply {
  const sinceMs = timeOf(call.query, 'since')
  const untilMs = timeOf(call.query, 'until')
  if (sinceMs !== null && untilMs !== null && untilMs < sinceMs) {
    throw badRequest(
      `\`since\` time (${call.query.get('since')}) cannot be after \`until\` time ` +
        `(${call.query.get('until')})`,
    )
  }
  const filters = readFilters(call.query, null, call.minor)
  const isPast = untilMs !== null && untilMs <= env.node.clock.wallMs()
  const own = swarmLines(env, filters, { sinceMs, untilMs, isPast }, call.request.signal)
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    stream: merged([own, engineLines(env, call.request)], isPast),
  }
}

interface Range {
  readonly sinceMs: number | null
  readonly untilMs: number | null
  /** True when nothing new can come. */
  readonly isPast: boolean
}

/** "1795425110.123456789", or null where it is absent. Throws for anything else. */
function timeOf(query: URLSearchParams, name: string): number | null {
  const text = query.get(name) ?? ''
  return text === '' ? null : secondsValue(text) * 1000
}

export function isWanted({ event, labels }: LoggedEvent, filters: Filters): boolean {
  const { Type, Action, Actor, scope } = event
  if (FOREIGN_KEYS.some((key) => filters.has(key))) return false
  if (!matches(filters, 'type', (value) => value === Type)) return false
  if (!matches(filters, 'scope', (value) => value === scope)) return false
  if (!matches(filters, 'event', (value) => value === Action)) return false
  if (!matches(filters, 'id', (value) => value === Actor.ID)) return false
  const names = NAMED_TYPES.filter((key) => filters.has(key))
  const isNamed = (value: string): boolean =>
    value === Actor.ID || value === Actor.Attributes.name || Actor.ID.startsWith(value)
  if (names.some((key) => key !== Type || !matches(filters, key, isNamed))) return false
  return matchesLabels(filters, 'label', { ...labels, ...Actor.Attributes })
}

function matches(filters: Filters, key: string, holds: (value: string) => boolean): boolean {
  return filters.get(key)?.some(holds) ?? true
}

async function* swarmLines(
  { events: log, node }: Environment,
  filters: Filters,
  { sinceMs, untilMs, isPast }: Range,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const isInTime = ({ atMs }: LoggedEvent): boolean => untilMs === null || atMs <= untilMs
  const old = sinceMs === null ? [] : log.kept().filter(({ atMs }) => atMs >= sinceMs)
  const live = isPast ? null : queueOf(log, signal, untilMs, node.clock.wallMs())
  try {
    for (const logged of old) {
      if (isInTime(logged) && isWanted(logged, filters)) yield line(logged)
    }
    if (live === null) return
    for (;;) {
      const logged = await live.next()
      if (logged === null) return
      if (isInTime(logged) && isWanted(logged, filters)) yield line(logged)
    }
  } finally {
    live?.end()
  }
}

interface EventQueue {
  /** Null at the end: the client is gone or too slow, or `until` has come. */
  next(): Promise<LoggedEvent | null>
  end(): void
}

function queueOf(
  log: EventLog,
  signal: AbortSignal,
  untilMs: number | null,
  nowMs: number,
): EventQueue {
  const queued: LoggedEvent[] = []
  let isOver = signal.aborted
  let wake: () => void = () => {}
  const end = (): void => {
    isOver = true
    stop()
    signal.removeEventListener('abort', end)
    clearTimeout(timer)
    wake()
  }
  const stop = log.listen((logged) => {
    queued.push(logged)
    if (queued.length > EVENTS_QUEUED_MAX) end()
    wake()
  })
  signal.addEventListener('abort', end)
  const waitMs = untilMs === null ? null : Math.min(untilMs - nowMs, 2 ** 31 - 1)
  const timer = waitMs === null ? undefined : setTimeout(end, waitMs)
  return {
    async next() {
      while (queued.length === 0 && !isOver) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      return isOver ? null : queued.shift()!
    },
    end,
  }
}

function line({ event }: LoggedEvent): Uint8Array {
  return Buffer.from(`${JSON.stringify(event)}\n`)
}

/** The engine's own stream, cut at ends of lines. Nothing where there is no engine. */
async function* engineLines(
  { engine, log }: Environment,
  request: ApiRequest,
): AsyncGenerator<Uint8Array> {
  if (engine === null) return
  try {
    const { status, body } = await engine.pass(request)
    if (status !== 200) return
    let rest = Buffer.alloc(0)
    for await (const chunk of body) {
      const data = Buffer.concat([rest, chunk])
      const end = data.lastIndexOf(0x0a) + 1
      rest = data.subarray(end)
      if (end > 0) yield data.subarray(0, end)
    }
  } catch (error) {
    log.debug("the local engine's events ended", { error: String(error) })
  }
}

/** All of several streams, as it comes. It ends with the first, our own, or, where all of them are
 * bounded, with the last. */
async function* merged(
  sources: readonly AsyncGenerator<Uint8Array>[],
  isBounded: boolean,
): AsyncGenerator<Uint8Array> {
  const next = (source: AsyncGenerator<Uint8Array>) =>
    source.next().then((result) => ({ source, result }))
  const waiting = new Map(sources.map((source) => [source, next(source)]))
  try {
    while (waiting.size > 0) {
      const { source, result } = await Promise.race(waiting.values())
      if (result.done !== true) {
        waiting.set(source, next(source))
        yield result.value
      } else {
        waiting.delete(source)
        if (!isBounded && source === sources[0]) return
      }
    }
  } finally {
    for (const source of sources) void source.return(undefined)
  }
}

export const EVENT_ROUTES: readonly Route[] = [here('GET', '/events', events)]
