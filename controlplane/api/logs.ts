// /services/{id}/logs and /tasks/{id}/logs: lines of containers all over the cluster, in the frames
// of `docker logs`. The leader's log broker gathers them (NodeServices.logs); this file picks the
// tasks and writes frames.
//
//   stream (1 byte: 1 stdout, 2 stderr, 3 error)  zero (3)  length (4, big-endian)  payload
//
// One frame is one line: the CLI's printing depends on it. A service with a TTY has no frames.

import type { Store } from '../store/contract.ts'
import type { Call, Environment, Reply } from './call.ts'
import { ApiError } from './errors.ts'
import type { LogLine, LogSubscription } from './node-control.ts'
import { boolValue, secondsValue } from './query.ts'
import { resolve } from './resolve.ts'
import { type Route, write } from './route.ts'
import { isShown } from './services.ts'

const HEADER_SIZE = 8
const STREAMS = { stdout: 1, stderr: 2 } as const
const ERROR_STREAM = 3
const MULTIPLEXED = 'application/vnd.docker.multiplexed-stream'
const RAW = 'application/vnd.docker.raw-stream'

interface Selected {
  readonly serviceIds: readonly string[]
  readonly taskIds: readonly string[]
  readonly isTty: boolean
}

function ofService({ params }: Call, store: Store): Selected {
  return store.view((tx) => {
    const { id, spec } = resolve(tx, 'services', params[0]!, isShown)
    const isTty = spec.TaskTemplate.ContainerSpec?.TTY ?? false
    return { serviceIds: [id], taskIds: [], isTty }
  })
}

function ofTask({ params }: Call, store: Store): Selected {
  return store.view((tx) => {
    const { id, spec } = resolve(tx, 'tasks', params[0]!)
    return { serviceIds: [], taskIds: [id], isTty: spec.ContainerSpec?.TTY ?? false }
  })
}

/** Refuses what was asked wrongly before it looks for what was asked for. */
function reply(call: Call, env: Environment, select: () => Selected): Reply {
  const { query, minor, request } = call
  const asked = {
    follow: boolValue(query, 'follow'),
    stdout: boolValue(query, 'stdout'),
    stderr: boolValue(query, 'stderr'),
  }
  if (!asked.stdout && !asked.stderr) {
    throw new ApiError(500, 'Bad parameters: you must choose at least one stream')
  }
  const selected = select()
  const subscription: LogSubscription = {
    serviceIds: selected.serviceIds,
    taskIds: selected.taskIds,
    ...asked,
    sinceMs: sinceOf(query.get('since') ?? ''),
    tail: tailOf(query.get('tail') ?? ''),
  }
  const shown = {
    details: boolValue(query, 'details'),
    timestamps: boolValue(query, 'timestamps'),
    isTty: selected.isTty,
  }
  const lines = env.services.logs(subscription, request.signal)
  // Engines before 1.42 gave no type.
  const type = selected.isTty ? RAW : MULTIPLEXED
  return {
    status: 200,
    headers: minor < 42 ? {} : { 'content-type': type },
    stream: frames(lines, shown),
  }
}

/** Seconds since 1970 with decimals; null = from the beginning. */
function sinceOf(text: string): number | null {
  if (text === '' || text === '0') return null
  return secondsValue(text, 'could not parse since timestamp: ') * 1000
}

function tailOf(text: string): number | null {
  if (text === '' || text === 'all') return null
  if (/^-\d{1,9}$/.test(text)) throw new ApiError(500, 'negative tail values not supported')
  if (!/^\d{1,9}$/.test(text)) {
    throw new ApiError(500, 'tail value must be a positive integer or "all"')
  }
  return Number(text)
}

interface Shown {
  readonly details: boolean
  readonly timestamps: boolean
  readonly isTty: boolean
}

async function* frames(lines: AsyncIterable<LogLine>, shown: Shown): AsyncGenerator<Uint8Array> {
  try {
    for await (const line of lines) {
      const payload = payloadOf(line, shown)
      yield shown.isTty ? payload : frame(STREAMS[line.stream], payload)
    }
  } catch (error) {
    // The status is sent long since: the stream itself has to say it.
    const text = error instanceof Error ? error.message : String(error)
    if (!shown.isTty) yield frame(ERROR_STREAM, Buffer.from(text))
  }
}

function frame(stream: number, payload: Uint8Array): Uint8Array {
  const header = Buffer.alloc(HEADER_SIZE)
  header[0] = stream
  header.writeUInt32BE(payload.length, 4)
  return Buffer.concat([header, payload])
}

function payloadOf(line: LogLine, { details, timestamps }: Shown): Buffer {
  const before = (timestamps ? `${timestamp(line)} ` : '') + (details ? `${detailsOf(line)} ` : '')
  return Buffer.concat([Buffer.from(before), line.text, Buffer.from('\n')])
}

/** RFC 3339 with nine decimals, always. */
function timestamp({ atMs, atNanos }: LogLine): string {
  const whole = Math.floor(atMs)
  const nanos = String(atNanos % 1e6).padStart(6, '0')
  return new Date(whole).toISOString().replace('Z', `${nanos}Z`)
}

/** "k=v,k=v" in order of the keys, escaped as in a query. */
function detailsOf({ nodeId, serviceId, taskId, attributes }: LogLine): string {
  const all: Readonly<Record<string, string>> = {
    ...attributes,
    'com.docker.swarm.node.id': nodeId,
    'com.docker.swarm.service.id': serviceId,
    'com.docker.swarm.task.id': taskId,
  }
  return Object.keys(all)
    .sort()
    .map((key) => `${queryEscape(key)}=${queryEscape(all[key]!)}`)
    .join(',')
}

/** As Go's url.QueryEscape. */
function queryEscape(text: string): string {
  return encodeURIComponent(text)
    .replaceAll('%20', '+')
    .replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
}

export const LOG_ROUTES: readonly Route[] = [
  // Only the leader hears of logs: it is the agents' manager.
  write('GET', '/services/{}/logs', (call, env, store) =>
    reply(call, env, () => ofService(call, store)),
  ),
  write('GET', '/tasks/{}/logs', (call, env, store) => reply(call, env, () => ofTask(call, store))),
]
