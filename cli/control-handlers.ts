// The verbs of the control socket as a running agent answers them. What a client gives is checked
// here; the engine is asked only what makes sense.

import process from 'node:process'
import { ENGINE_CELLS } from '../dataplane/counters.ts'
import type { EngineHandle } from '../dataplane/engine-handle.ts'
import type { ManualService } from '../dataplane/manual-services.ts'
import { readChanges } from '../dataplane/manual-shape.ts'
import type { TimeoutSeconds } from '../dataplane/questions.ts'
import { PERSISTENCE_SECONDS_MAX } from '../ipvs-emulator/limits.ts'
import type { ServicePlace } from '../ipvs-emulator/listing.ts'
import type { ControlVerb, ControlVerbs, ManualPage } from './control-protocol.ts'
import type { Handler } from './control-server.ts'
import { MANUAL_PAGE_ROWS } from './limits.ts'

type Handlers = {
  readonly [Verb in ControlVerb]: (
    given: unknown,
  ) => ControlVerbs[Verb]['answer'] | Promise<ControlVerbs[Verb]['answer']>
}

/** The handlers over an engine. */
export function controlHandlers(
  engine: Omit<EngineHandle, 'start' | 'swap' | 'stop'>,
  version: string,
  backup: (directory: string) => Promise<void> = noBackup,
): ReadonlyMap<string, Handler> {
  const cells = new Float64Array(engine.counters)
  const handlers: Handlers = {
    status: () => ({
      version,
      processId: process.pid,
      tablesVersion: cells[ENGINE_CELLS.tablesVersion]!,
    }),
    backup: async (given) => {
      await backup(text(given, 'directory'))
      return null
    },
    drain: (given) => engine.ask('drain', { endpoint: text(given, 'endpoint') }),
    'ipvs.services': (given) => engine.ask('services', place(given)),
    'ipvs.manual': (given) => manualPage(engine.manualServices(), place(given)),
    'ipvs.connections': (given) => engine.ask('connections', { from: whole(given, 'from') }),
    'ipvs.capacity': () => engine.ask('capacity', null),
    'ipvs.timeouts': () => engine.ask('timeouts', null),
    'ipvs.setTimeouts': (given) => engine.ask('setTimeouts', timeouts(field(given, 'seconds'))),
    'ipvs.zero': (given) => {
      const key = field(given, 'key')
      return engine.ask('zero', { key: key === null ? null : text(given, 'key') })
    },
    'ipvs.change': (given) => {
      const changes = readChanges(field(given, 'changes'))
      if (typeof changes === 'string') throw new Error(changes)
      return engine.changeServices(changes, field(given, 'restoring') === true)
    },
  }
  return new Map(Object.entries(handlers))
}

async function noBackup(): Promise<void> {
  throw new Error('this agent runs a data plane alone: there is nothing to save')
}

function field(given: unknown, name: string): unknown {
  return typeof given === 'object' && given !== null
    ? (given as Record<string, unknown>)[name]
    : undefined
}

function text(given: unknown, name: string): string {
  const value = field(given, name)
  if (typeof value !== 'string') throw new Error(`${name} must be a text`)
  return value
}

function whole(given: unknown, name: string): number {
  const value = field(given, name)
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw new Error(`${name} must be a whole number`)
  }
  return value as number
}

function place(given: unknown): ServicePlace {
  return { service: whole(given, 'service'), server: whole(given, 'server') }
}

function timeouts(value: unknown): TimeoutSeconds {
  const isSeconds = (one: unknown): boolean =>
    Number.isInteger(one) && (one as number) >= 0 && (one as number) <= PERSISTENCE_SECONDS_MAX
  if (!Array.isArray(value) || value.length !== 3 || !value.every(isSeconds)) {
    throw new Error(`seconds must be three numbers from 0 to ${PERSISTENCE_SECONDS_MAX}`)
  }
  return value as unknown as TimeoutSeconds
}

/** A page of the services added by hand; one with many servers is spread over several. */
function manualPage(all: readonly ManualService[], from: ServicePlace): ManualPage {
  const services: ManualService[] = []
  let left = MANUAL_PAGE_ROWS
  let { service: index, server: first } = from
  for (; index < all.length && left > 0; index++, first = 0) {
    const service = all[index]!
    const servers = service.servers.slice(first, first + left)
    services.push({ ...service, servers })
    left -= 1 + servers.length
    if (first + servers.length < service.servers.length) {
      return { services, next: { service: index, server: first + servers.length } }
    }
  }
  return { services, next: index < all.length ? { service: index, server: 0 } : null }
}
