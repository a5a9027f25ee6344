// Tables of tasks, as `node ps`, `service ps` and `stack ps` show them.

import type { CommandCall } from './command.ts'
import { flag, list, type Options, text } from './options.ts'
import { capital } from './requests.ts'
import { type Column, renderList, since } from './table.ts'

export interface ShownTask {
  readonly ID: string
  readonly ServiceID: string
  readonly NodeID: string
  readonly Slot?: number
  readonly CreatedAt: string
  readonly Spec: { readonly ContainerSpec?: { readonly Image: string } }
  readonly DesiredState: string
  readonly JobIteration?: { readonly Index?: number }
  readonly Status: {
    readonly State: string
    readonly Timestamp: string
    readonly Err?: string
    readonly PortStatus?: {
      readonly Ports?: readonly {
        readonly PublishedPort: number
        readonly TargetPort: number
        readonly Protocol: string
      }[]
    }
  }
}

export const TASK_LIST_OPTIONS: Options = {
  filter: list('FILTER', 'Only tasks for which it is so: desired-state=running, …', 'f'),
  format: text('FORMAT', 'table (default), json or a template'),
  'no-trunc': flag('Do not cut ids and errors'),
  'no-resolve': flag('Ids instead of names'),
  quiet: flag('Ids alone', 'q'),
}

interface Row {
  readonly task: ShownTask
  readonly name: string
  readonly host: string
}

const ID_LENGTH = 12
const ERROR_LENGTH = 30

/** Newest first within a slot; older tasks of it are set in. */
export async function printTasks(call: CommandCall, tasks: readonly ShownTask[]): Promise<void> {
  const [services, hosts] = call.flag('no-resolve')
    ? [new Map<string, string>(), new Map<string, string>()]
    : await Promise.all([
        namesOf(call, 'services', new Set(tasks.map(({ ServiceID }) => ServiceID))),
        namesOf(call, 'nodes', new Set(tasks.map(({ NodeID }) => NodeID))),
      ])
  const rows = tasks.map((task): Row => {
    const service = services.get(task.ServiceID) ?? task.ServiceID
    const host = hosts.get(task.NodeID) ?? task.NodeID
    return { task, name: `${service}.${task.Slot || task.NodeID}`, host }
  })
  rows.sort(
    (a, b) =>
      a.name.localeCompare(b.name, 'en', { numeric: true }) ||
      b.task.CreatedAt.localeCompare(a.task.CreatedAt),
  )
  const isTable = call.text('format') === undefined && !call.flag('quiet')
  const shown = rows.map((row, i) =>
    isTable && rows[i - 1]?.name === row.name ? { ...row, name: ` \\_ ${row.name}` } : row,
  )
  const options = { quiet: call.flag('quiet'), format: call.text('format') }
  const columns = taskColumns(call.flag('no-trunc'))
  call.terminal.out(renderList(shown, columns, options, ({ task: { ID } }) => ID))
}

async function namesOf(
  call: CommandCall,
  noun: 'services' | 'nodes',
  ids: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const names = new Map<string, string>()
  for (const id of ids) {
    if (id === '') continue
    const { status, json } = await call.api.call('GET', `/${noun}/${id}`)
    const { Spec, Description } = Object(json) as {
      Spec?: { Name?: string }
      Description?: { Hostname?: string }
    }
    const name = Spec?.Name || Description?.Hostname
    if (status < 400 && name !== undefined) names.set(id, name)
  }
  return names
}

function taskColumns(isWhole: boolean): readonly Column<Row>[] {
  const cut = (words: string, length: number): string =>
    isWhole || words.length <= length ? words : `${words.slice(0, length - 1)}…`
  return [
    {
      title: 'ID',
      name: 'ID',
      text: ({ task: { ID } }) => (isWhole ? ID : ID.slice(0, ID_LENGTH)),
    },
    { title: 'NAME', name: 'Name', text: ({ name }) => name },
    {
      title: 'IMAGE',
      name: 'Image',
      text: ({ task: { Spec } }) => {
        const image = Spec.ContainerSpec?.Image ?? ''
        return isWhole ? image : image.replace(/@sha256:.*$/, '')
      },
    },
    { title: 'NODE', name: 'Node', text: ({ host }) => host },
    {
      title: 'DESIRED STATE',
      name: 'DesiredState',
      text: ({ task: { DesiredState } }) => capital(DesiredState),
    },
    {
      title: 'CURRENT STATE',
      name: 'CurrentState',
      text: ({ task: { Status } }) =>
        `${capital(Status.State)} ${since(Date.parse(Status.Timestamp), Date.now())}`,
    },
    {
      title: 'ERROR',
      name: 'Error',
      text: ({ task: { Status } }) =>
        Status.Err === undefined || Status.Err === '' ? '' : `"${cut(Status.Err, ERROR_LENGTH)}"`,
    },
    {
      title: 'PORTS',
      name: 'Ports',
      text: ({ task: { Status } }) =>
        (Status.PortStatus?.Ports ?? [])
          .map((port) => `*:${port.PublishedPort}->${port.TargetPort}/${port.Protocol}`)
          .join(','),
    },
  ]
}
