// `weft stack …`: compose files deployed, listed and removed, as `docker stack` does.

import { setTimeout as sleep } from 'node:timers/promises'
import { NAMESPACE_LABEL } from '../stack/convert-service.ts'
import type { Command, CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { flag, list, text } from './options.ts'
import { filterQuery } from './requests.ts'
import { printServices, SERVICE_LIST_OPTIONS } from './service-list.ts'
import { checkNamespace, deploy, stackFilter } from './stack-deploy.ts'
import { type Column, renderList } from './table.ts'
import { printTasks, type ShownTask, TASK_LIST_OPTIONS } from './task-list.ts'

interface Labelled {
  readonly Spec: { readonly Name: string; readonly Labels?: Readonly<Record<string, string>> }
}

interface Row {
  readonly name: string
  readonly count: number
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', name: 'Name', text: ({ name }) => name },
  { title: 'SERVICES', name: 'Services', text: ({ count }) => String(count) },
  { title: 'ORCHESTRATOR', name: 'Orchestrator', text: () => 'Swarm' },
  { title: 'NAMESPACE', name: 'Namespace', text: () => '' },
]

async function ls(call: CommandCall): Promise<number> {
  const query = filterQuery([`label=${NAMESPACE_LABEL}`])
  const services = await call.api.ask<Labelled[]>('GET', `/services?${query}`)
  const counts = new Map<string, number>()
  for (const { Spec } of services) {
    const name = Spec.Labels?.[NAMESPACE_LABEL]
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  const rows = [...counts]
    .map(([name, count]): Row => ({ name, count }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
  const options = { quiet: false, format: call.text('format') }
  call.terminal.out(renderList(rows, COLUMNS, options, ({ name }) => name, ['Name', 'Services']))
  return 0
}

async function ps(call: CommandCall): Promise<number> {
  const [namespace] = call.operands as [string]
  checkNamespace(namespace)
  const query = filterQuery([...call.list('filter'), stackFilter(namespace)])
  const tasks = await call.api.ask<ShownTask[]>('GET', `/tasks?${query}`)
  if (tasks.length === 0) throw new CommandError(`nothing found in stack: ${namespace}`)
  await printTasks(call, tasks)
  return 0
}

async function services(call: CommandCall): Promise<number> {
  const [namespace] = call.operands as [string]
  checkNamespace(namespace)
  const filters = [...call.list('filter'), stackFilter(namespace)]
  const count = await printServices(call, filters, false)
  if (count === 0) call.terminal.err(`Nothing found in stack: ${namespace}\n`)
  return 0
}

/** What a stack consists of, in the order in which it can be taken away. */
const PARTS: readonly (readonly [noun: string, path: string])[] = [
  ['service', '/services'],
  ['secret', '/secrets'],
  ['config', '/configs'],
  ['network', '/networks'],
]
const LOOK_MS = 200

interface Part {
  readonly ID?: string
  readonly Id?: string
  readonly Name?: string
  readonly Spec?: { readonly Name: string }
}

async function rm(call: CommandCall): Promise<number> {
  let status = 0
  for (const namespace of call.operands) {
    checkNamespace(namespace)
    if (!(await remove(call, namespace))) status = 1
  }
  if (status !== 0) return status
  // The docker CLI waits only where it is told to.
  if (call.isGiven('detach') && !call.flag('detach')) {
    for (const namespace of call.operands) await untilGone(call, namespace)
  }
  return 0
}

/** False when something of it could not be removed, which was told. */
async function remove(call: CommandCall, namespace: string): Promise<boolean> {
  const query = filterQuery([stackFilter(namespace)])
  const found = await Promise.all(
    PARTS.map(async ([, path]) => call.api.ask<Part[]>('GET', `${path}?${query}`)),
  )
  if (found.every((parts) => parts.length === 0)) {
    call.terminal.err(`Nothing found in stack: ${namespace}\n`)
    return true
  }
  let isWhole = true
  for (const [i, [noun, path]] of PARTS.entries()) {
    const parts = [...found[i]!].sort((a, b) => nameOf(a).localeCompare(nameOf(b)))
    for (const part of parts) {
      call.print(`Removing ${noun} ${nameOf(part)}`)
      try {
        await call.api.ask('DELETE', `${path}/${part.ID ?? part.Id}`)
      } catch (error) {
        isWhole = false
        const why = (error as Error).message
        call.terminal.err(`Failed to remove ${noun} ${part.ID ?? part.Id}: ${why}\n`)
      }
    }
  }
  if (!isWhole) call.terminal.err(`Failed to remove some resources from stack: ${namespace}\n`)
  return isWhole
}

const nameOf = ({ Name, Spec }: Part): string => Spec?.Name ?? Name ?? ''

async function untilGone(call: CommandCall, namespace: string): Promise<void> {
  const query = filterQuery([stackFilter(namespace)])
  while ((await call.api.ask<unknown[]>('GET', `/tasks?${query}`)).length > 0) await sleep(LOOK_MS)
}

export const STACK_COMMANDS: readonly Command[] = [
  {
    name: 'deploy',
    aliases: ['up'],
    summary: 'Deploy a compose file, or bring a stack up to date with it',
    operands: 'STACK',
    count: [1, 1],
    options: {
      'compose-file': list(
        'FILE',
        'A compose file; "-" = standard input; later ones go over earlier ones',
        'c',
      ),
      detach: flag('Do not wait for the services (default true)', 'd'),
      prune: flag('Remove services that the file no longer has'),
      quiet: flag('No progress', 'q'),
      'resolve-image': text('WHEN', 'Ask the registry: always (default), changed or never'),
      'with-registry-auth': flag('Hand on what "docker login" keeps for the registries'),
    },
    run: deploy,
  },
  {
    name: 'ls',
    aliases: ['list'],
    summary: 'List the stacks',
    operands: '',
    count: [0, 0],
    options: { format: text('FORMAT', 'table (default), json or a template') },
    run: ls,
  },
  {
    name: 'ps',
    summary: 'List the tasks of a stack',
    operands: 'STACK',
    count: [1, 1],
    options: TASK_LIST_OPTIONS,
    run: ps,
  },
  {
    name: 'services',
    summary: 'List the services of a stack',
    operands: 'STACK',
    count: [1, 1],
    options: SERVICE_LIST_OPTIONS,
    run: services,
  },
  {
    name: 'rm',
    aliases: ['remove', 'down'],
    summary: 'Remove stacks',
    operands: 'STACK [STACK...]',
    count: [1, 1000],
    options: { detach: flag('Do not wait for the tasks (default true)', 'd') },
    run: rm,
  },
]
