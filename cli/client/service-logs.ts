// `weft service logs`: the log stream of a service or a task, with who said each line in front.
//
// The stream's frames (docker-api, "attach"): one byte 1 = stdout, 2 = stderr, 3 = an error of the
// stream; three bytes 0; length, 4 bytes big-endian; the line. A line begins with its time where
// that was asked for, then with details, "k=v,k=v" in query escapes.

import type { IncomingMessage } from 'node:http'
import { durationNs } from '../stack/units.ts'
import type { ApiClient } from './api-client.ts'
import { ApiRefusal } from './api-client.ts'
import type { CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { flag, type Options, text } from './options.ts'

export const LOG_OPTIONS: Options = {
  details: flag('What else is known of a line'),
  follow: flag('Go on as more comes', 'f'),
  'no-resolve': flag('Ids instead of names'),
  'no-task-ids': flag('No ids of tasks'),
  'no-trunc': flag('Do not cut ids'),
  raw: flag('The lines alone'),
  since: text('TIME', 'From then on: 2026-01-02T13:23:37Z, or 42m ago'),
  tail: text('N', 'That many lines of the end (default all)', 'n'),
  timestamps: flag('With their times', 't'),
}

/** A frame longer than this is no log line of ours. */
const FRAME_BYTES_MAX: number = 16 * 1024 * 1024
const HEADER_SIZE = 8
const ID_LENGTH = 12

export interface Frame {
  readonly stream: number
  readonly payload: Buffer
}

/** Frames of a stream, whatever pieces it comes in. Throws for what is no such stream. */
export async function* frames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Frame> {
  let rest = Buffer.alloc(0)
  for await (const chunk of stream) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    for (;;) {
      if (rest.length < HEADER_SIZE) break
      const size = rest.readUInt32BE(4)
      if (rest[0]! > 3 || size > FRAME_BYTES_MAX) throw new CommandError('the log is damaged')
      if (rest.length < HEADER_SIZE + size) break
      yield { stream: rest[0]!, payload: rest.subarray(HEADER_SIZE, HEADER_SIZE + size) }
      rest = rest.subarray(HEADER_SIZE + size)
    }
  }
  if (rest.length > 0) throw new CommandError('the log ends within a line')
}

/** "42m" ago, an instant, or seconds since 1970, as the API wants it. */
export function sinceSeconds(given: string, nowMs: number): string {
  const ago = durationNs(given)
  if (ago !== undefined) return ((nowMs - ago / 1e6) / 1000).toFixed(3)
  if (/^\d{1,12}(\.\d{1,9})?$/.test(given)) return given
  const at = Date.parse(given)
  if (Number.isNaN(at)) throw new CommandError(`invalid value for "since": ${given}`)
  return (at / 1000).toFixed(3)
}

interface Source {
  /** "services" or "tasks". */
  readonly noun: string
  readonly id: string
  readonly isTty: boolean
  /** Digits of the highest slot: names are padded to it. */
  readonly digits: number
}

interface SpecOfTask {
  readonly ContainerSpec?: { readonly TTY?: boolean }
}

async function sourceOf(api: ApiClient, name: string): Promise<Source> {
  const path = encodeURIComponent(name)
  try {
    const { ID, Spec } = await api.ask<{
      ID: string
      Spec: { TaskTemplate: SpecOfTask; Mode: { Replicated?: { Replicas?: number } } }
    }>('GET', `/services/${path}`)
    const isTty = Spec.TaskTemplate.ContainerSpec?.TTY === true
    const digits = String(Spec.Mode.Replicated?.Replicas ?? 1).length
    return { noun: 'services', id: ID, isTty, digits }
  } catch (error) {
    if (!(error instanceof ApiRefusal) || error.status !== 404) throw error
  }
  const { status, json } = await api.call('GET', `/tasks/${path}`)
  if (status >= 400) throw new CommandError(`no such task or service: ${name}`)
  const task = json as { ID: string; Spec: SpecOfTask; Slot?: number }
  const isTty = task.Spec.ContainerSpec?.TTY === true
  return { noun: 'tasks', id: task.ID, isTty, digits: String(task.Slot ?? 1).length }
}

export async function logs(call: CommandCall): Promise<number> {
  const source = await sourceOf(call.api, call.operands[0]!)
  const isRaw = call.flag('raw')
  if (source.isTty && !isRaw) {
    throw new CommandError('tty service logs only supported with --raw')
  }
  const tail = call.text('tail') ?? 'all'
  if (!/^(all|\d{1,9})$/.test(tail)) throw new CommandError(`invalid value for "tail": ${tail}`)
  const query = new URLSearchParams({ stdout: '1', stderr: '1', tail })
  if (!isRaw || call.flag('details')) query.set('details', '1')
  if (call.flag('follow')) query.set('follow', '1')
  if (call.flag('timestamps')) query.set('timestamps', '1')
  const since = call.text('since')
  if (since !== undefined) query.set('since', sinceSeconds(since, Date.now()))
  const response = await call.api.open('GET', `/${source.noun}/${source.id}/logs?${query}`)
  if ((response.statusCode ?? 0) >= 400) throw await refusal(response)
  if (source.isTty) {
    for await (const chunk of response) call.terminal.out(String(chunk))
    return 0
  }
  const names = new Names(call, source.digits)
  for await (const { stream, payload } of frames(response)) {
    const line = payload.toString('utf8')
    if (stream === 3) throw new CommandError(`error from daemon in stream: ${line.trimEnd()}`)
    const words = isRaw ? line : await decorated(call, names, line)
    if (stream === 2) call.terminal.err(words)
    else call.terminal.out(words)
  }
  return 0
}

async function refusal(response: IncomingMessage) {
  let text = ''
  for await (const chunk of response) text = (text + Buffer.from(chunk).toString()).slice(0, 65_536)
  try {
    text = (JSON.parse(text) as { message: string }).message
  } catch {
    // Words that are no JSON are words as well.
  }
  return new ApiRefusal(response.statusCode ?? 0, text)
}

const SWARM = 'com.docker.swarm'

async function decorated(call: CommandCall, names: Names, line: string): Promise<string> {
  const hasTime = call.flag('timestamps')
  const match = (hasTime ? /^(\S+) (\S+) (.*)$/s : /^()(\S+) (.*)$/s).exec(line)
  if (match === null) throw new CommandError(`a line of the log is not as it should be: ${line}`)
  const [, time, context, rest] = match as unknown as [string, string, string, string]
  const details = new Map(
    context.split(',').map((pair): [string, string] => {
      const [key, value = ''] = pair.split('=')
      return [unescaped(key!), unescaped(value)]
    }),
  )
  const who = await names.of(details)
  const more = [...details]
    .filter(([key]) => !key.startsWith(`${SWARM}.`))
    .map(([key, value]) => `${key}=${value}`)
  const shown = call.flag('details') && more.length > 0 ? `${more.join(',')} ` : ''
  return `${hasTime ? `${time} ` : ''}${who}    | ${shown}${rest}`
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

/** "web.3.taskid@host", each part asked for once. */
class Names {
  readonly #call: CommandCall
  readonly #digits: number
  readonly #known = new Map<string, string>()

  constructor(call: CommandCall, digits: number) {
    this.#call = call
    this.#digits = digits
  }

  async of(details: ReadonlyMap<string, string>): Promise<string> {
    const id = (noun: string): string => {
      const found = details.get(`${SWARM}.${noun}.id`)
      if (found === undefined) {
        throw new CommandError(`missing ${noun} id in the details of a line`)
      }
      return found
    }
    const [node, service, task] = [id('node'), id('service'), id('task')]
    const key = `${node} ${service} ${task}`
    const known = this.#known.get(key) ?? (await this.#make(node, service, task))
    this.#known.set(key, known)
    return known
  }

  async #make(node: string, service: string, task: string): Promise<string> {
    const isResolved = !this.#call.flag('no-resolve')
    const ask = async (path: string): Promise<Record<string, unknown>> => {
      const { status, json } = await this.#call.api.call('GET', path)
      return status < 400 ? (Object(json) as Record<string, unknown>) : {}
    }
    const found = await ask(`/tasks/${task}`)
    const slot = Number(found.Slot ?? 0)
    const name = isResolved ? (await ask(`/services/${service}`)).Spec : undefined
    const host = isResolved ? (await ask(`/nodes/${node}`)).Description : undefined
    const place = slot === 0 ? node : String(slot)
    const shown = this.#call.flag('no-trunc') ? task : task.slice(0, ID_LENGTH)
    const id = this.#call.flag('no-task-ids') ? '' : `.${shown}`
    const padding = slot === 0 ? '' : ' '.repeat(Math.max(0, this.#digits - place.length))
    const serviceName = String((name as { Name?: string } | undefined)?.Name ?? service)
    const hostname = String((host as { Hostname?: string } | undefined)?.Hostname ?? node)
    return `${serviceName}.${place}${id}@${hostname}${padding}`
  }
}
