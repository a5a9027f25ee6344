// `weft service …`: what `docker service` does, its options and its output.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { fileReason } from '../key-file.ts'
import type { Json } from '../stack/json.ts'
import type { ApiClient, Headers } from './api-client.ts'
import type { Command, CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { converge } from './converge.ts'
import { flag, text } from './options.ts'
import { filterQuery, forEachName, inspected, type Versioned } from './requests.ts'
import { CREATE_OPTIONS, UPDATE_OPTIONS } from './service-fields.ts'
import { printServices, SERVICE_LIST_OPTIONS } from './service-list.ts'
import { LOG_OPTIONS, logs } from './service-logs.ts'
import { prettyService } from './service-pretty.ts'
import { authFor, pinImage, resolveReferences, withoutNetworks } from './service-references.ts'
import { createSpec, getAt, type Surroundings, scaledSpec, updatedSpec } from './service-spec.ts'
import { printTasks, type ShownTask, TASK_LIST_OPTIONS } from './task-list.ts'
import { renderTemplate } from './template.ts'

interface Service extends Versioned {
  readonly Spec: Json
  readonly PreviousSpec?: Json
}

/** What creating and updating answer. */
interface Answer {
  readonly ID?: string
  readonly Warnings?: readonly string[] | null
}

const SURROUNDINGS: Surroundings = {
  environment: process.env,
  readText: (path) => {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      throw new CommandError(`open ${path}: ${fileReason(error)}`)
    }
  },
}

function serviceOf(api: ApiClient, name: string, withDefaults = false): Promise<Service> {
  const path = `/services/${encodeURIComponent(name)}`
  return api.ask('GET', `${path}?insertDefaults=${withDefaults}`)
}

function warn(call: CommandCall, warnings: Answer['Warnings']): void {
  for (const warning of warnings ?? []) call.terminal.err(`${warning}\n`)
}

async function pin(call: CommandCall, spec: Json, auth: Headers): Promise<void> {
  if (call.flag('no-resolve-image')) return
  const warning = await pinImage(call.api, spec, auth)
  if (warning !== null) call.terminal.err(`${warning}\n`)
}

async function create(call: CommandCall): Promise<number> {
  const spec = createSpec(call, call.operands, SURROUNDINGS)
  await resolveReferences(call.api, spec)
  const auth = await authFor(call, spec)
  await pin(call, spec, auth)
  const { ID, Warnings } = await call.api.ask<Answer>('POST', '/services/create', spec, auth)
  warn(call, Warnings)
  call.print(ID!)
  if (!call.flag('detach')) await converge(call, ID!, { isQuiet: call.flag('quiet') })
  return 0
}

async function send(
  call: CommandCall,
  { ID, Version }: Versioned,
  spec: Json,
  query: Readonly<Record<string, string>> = {},
  auth: Headers = {},
): Promise<void> {
  const parameters = new URLSearchParams({ version: String(Version.Index), ...query })
  const path = `/services/${ID}/update?${parameters}`
  const answer = await call.api.ask<Answer | undefined>('POST', path, spec, auth)
  warn(call, answer?.Warnings)
}

async function update(call: CommandCall): Promise<number> {
  const [name] = call.operands as [string]
  if (call.flag('rollback')) {
    const apart = new Set(['rollback', 'detach', 'quiet'])
    if (Object.keys(UPDATE_OPTIONS).some((one) => !apart.has(one) && call.isGiven(one))) {
      throw new CommandError('other flags may not be combined with --rollback')
    }
    return rollback(call, { registryAuthFrom: 'spec' })
  }
  const service = await serviceOf(call.api, name)
  const base = await withoutNetworks(call.api, service.Spec, call.list('network-rm'))
  const spec = updatedSpec(base, call, SURROUNDINGS)
  await resolveReferences(call.api, spec)
  const auth = await authFor(call, spec)
  if (call.isGiven('image')) await pin(call, spec, auth)
  await send(call, service, spec, { registryAuthFrom: 'spec' }, auth)
  call.print(name)
  if (!call.flag('detach')) await converge(call, service.ID, { isQuiet: call.flag('quiet') })
  return 0
}

async function rollback(
  call: CommandCall,
  query: Readonly<Record<string, string>> = {},
): Promise<number> {
  const [name] = call.operands as [string]
  const service = await serviceOf(call.api, name)
  await send(call, service, service.Spec, { ...query, rollback: 'previous' })
  call.print(name)
  const options = { isQuiet: call.flag('quiet'), isRollback: true }
  if (!call.flag('detach')) await converge(call, service.ID, options)
  return 0
}

async function scale(call: CommandCall): Promise<number> {
  const wanted = call.operands.map((operand): [string, number] => {
    const at = operand.lastIndexOf('=')
    if (at < 1) {
      throw new CommandError(
        `invalid scale specifier '${operand}': scale specifier must have the form SERVICE=REPLICAS`,
      )
    }
    const [name, value] = [operand.slice(0, at), operand.slice(at + 1)]
    if (!/^\d{1,15}$/.test(value)) {
      throw new CommandError(`${name}: invalid replicas value "${value}"`)
    }
    return [name, Number(value)]
  })
  const scaled: string[] = []
  let status = await forEachName(
    wanted.map(([name]) => name),
    call.terminal.err,
    async (name) => {
      const replicas = new Map(wanted).get(name)!
      const service = await serviceOf(call.api, name)
      await send(call, service, scaledSpec(service.Spec, replicas))
      call.print(`${name} scaled to ${replicas}`)
      scaled.push(service.ID)
    },
  )
  if (call.flag('detach')) return status
  for (const id of scaled) {
    try {
      await converge(call, id)
    } catch (error) {
      call.terminal.err(`${id}: ${(error as Error).message}\n`)
      status = 1
    }
  }
  return status
}

async function ls(call: CommandCall): Promise<number> {
  await printServices(call, call.list('filter'))
  return 0
}

async function ps(call: CommandCall): Promise<number> {
  const ids: string[] = []
  const status = await forEachName(call.operands, call.terminal.err, async (name) => {
    ids.push((await serviceOf(call.api, name)).ID)
  })
  if (ids.length === 0) return status
  const query = filterQuery([...call.list('filter'), ...ids.map((id) => `service=${id}`)])
  await printTasks(call, await call.api.ask<ShownTask[]>('GET', `/tasks?${query}`))
  return status
}

async function inspect(call: CommandCall): Promise<number> {
  const found: Service[] = []
  const status = await forEachName(call.operands, call.terminal.err, async (name) => {
    found.push(await serviceOf(call.api, name, true))
  })
  const format = call.text('format')
  if (call.flag('pretty')) {
    const texts = await Promise.all(
      found.map(async (service) => prettyService(service, await networkNames(call, service))),
    )
    call.terminal.out(texts.join('\n'))
  } else if (format === undefined) call.terminal.out(inspected(found))
  else {
    for (const service of found) {
      call.print(format === 'json' ? JSON.stringify(service) : renderTemplate(format, service))
    }
  }
  return status
}

async function networkNames(call: CommandCall, { Spec }: Service): Promise<string[]> {
  const networks = (getAt(Spec, 'TaskTemplate.Networks') as { Target: string }[] | undefined) ?? []
  const names = networks.map(async ({ Target }) => {
    const { json } = await call.api.call('GET', `/networks/${Target}?scope=swarm`)
    return String((Object(json) as { Name?: string }).Name ?? Target)
  })
  return Promise.all(names)
}

function rm(call: CommandCall): Promise<number> {
  return forEachName(call.operands, call.terminal.err, async (name) => {
    await call.api.ask('DELETE', `/services/${encodeURIComponent(name)}`)
    call.print(name)
  })
}

const WAIT_OPTIONS = {
  detach: flag('Do not wait for the tasks', 'd'),
  quiet: flag('No progress', 'q'),
}

export const SERVICE_COMMANDS: readonly Command[] = [
  {
    name: 'create',
    summary: 'Create a service',
    operands: 'IMAGE [COMMAND] [ARG...]',
    count: [1, 10_000],
    options: CREATE_OPTIONS,
    stopsAtOperand: true,
    run: create,
  },
  {
    name: 'update',
    summary: 'Change a service',
    operands: 'SERVICE',
    count: [1, 1],
    options: UPDATE_OPTIONS,
    run: update,
  },
  {
    name: 'rollback',
    summary: 'Make a service what it was before its last change',
    operands: 'SERVICE',
    count: [1, 1],
    options: WAIT_OPTIONS,
    run: (call) => rollback(call),
  },
  {
    name: 'scale',
    summary: 'Set the number of tasks of services',
    operands: 'SERVICE=REPLICAS [SERVICE=REPLICAS...]',
    count: [1, 1000],
    options: { detach: WAIT_OPTIONS.detach },
    run: scale,
  },
  {
    name: 'ls',
    aliases: ['list'],
    summary: 'List the services',
    operands: '',
    count: [0, 0],
    options: SERVICE_LIST_OPTIONS,
    run: ls,
  },
  {
    name: 'ps',
    summary: 'List the tasks of services',
    operands: 'SERVICE [SERVICE...]',
    count: [1, 1000],
    options: TASK_LIST_OPTIONS,
    run: ps,
  },
  {
    name: 'inspect',
    summary: 'Show all of services',
    operands: 'SERVICE [SERVICE...]',
    count: [1, 1000],
    options: { format: text('FORMAT', 'json or a template', 'f'), pretty: flag('For people') },
    run: inspect,
  },
  {
    name: 'logs',
    summary: 'Show what a service or a task has printed',
    operands: 'SERVICE|TASK',
    count: [1, 1],
    options: LOG_OPTIONS,
    run: logs,
  },
  {
    name: 'rm',
    aliases: ['remove'],
    summary: 'Remove services',
    operands: 'SERVICE [SERVICE...]',
    count: [1, 1000],
    options: {},
    run: rm,
  },
]
