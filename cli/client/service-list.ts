// Tables of services, as `service ls` and `stack services` show them.

import type { CommandCall } from './command.ts'
import { flag, list, type Options, text } from './options.ts'
import type { ShownService } from './progress.ts'
import { filterQuery } from './requests.ts'
import { type Column, renderList } from './table.ts'

interface ListedService extends ShownService {
  readonly Spec: ShownService['Spec'] & {
    readonly TaskTemplate: {
      readonly ContainerSpec?: { readonly Image: string }
      readonly Placement?: { readonly MaxReplicas?: number }
    }
  }
  readonly Endpoint?: {
    readonly Ports?: readonly {
      readonly PublishedPort?: number
      readonly TargetPort: number
      readonly Protocol: string
      readonly PublishMode?: string
    }[]
  }
  readonly ServiceStatus?: {
    readonly RunningTasks?: number
    readonly DesiredTasks?: number
    readonly CompletedTasks?: number
  }
}

export const SERVICE_LIST_OPTIONS: Options = {
  filter: list('FILTER', 'Only services for which it is so: name=, label=, mode=', 'f'),
  format: text('FORMAT', 'table (default), json or a template'),
  quiet: flag('Ids alone', 'q'),
}

const ID_LENGTH = 12

function modeOf({ Spec: { Mode } }: ListedService): string {
  if (Mode.Global !== undefined) return 'global'
  if (Mode.ReplicatedJob !== undefined) return 'replicated job'
  return Mode.GlobalJob !== undefined ? 'global job' : 'replicated'
}

function replicasOf({ Spec, ServiceStatus = {} }: ListedService): string {
  const { RunningTasks = 0, DesiredTasks = 0, CompletedTasks = 0 } = ServiceStatus
  const { ReplicatedJob, GlobalJob } = Spec.Mode
  const counts = `${RunningTasks}/${DesiredTasks}`
  if (ReplicatedJob !== undefined) {
    return `${counts} (${CompletedTasks}/${ReplicatedJob.TotalCompletions ?? 1} completed)`
  }
  if (GlobalJob !== undefined) {
    return `${counts} (${CompletedTasks}/${DesiredTasks + CompletedTasks} completed)`
  }
  const most = Spec.TaskTemplate.Placement?.MaxReplicas ?? 0
  return most > 0 ? `${counts} (max ${most} per node)` : counts
}

const COLUMNS: readonly Column<ListedService>[] = [
  { title: 'ID', name: 'ID', text: ({ ID }) => ID.slice(0, ID_LENGTH) },
  { title: 'NAME', name: 'Name', text: ({ Spec }) => Spec.Name },
  { title: 'MODE', name: 'Mode', text: modeOf },
  { title: 'REPLICAS', name: 'Replicas', text: replicasOf },
  {
    title: 'IMAGE',
    name: 'Image',
    text: ({ Spec }) => (Spec.TaskTemplate.ContainerSpec?.Image ?? '').replace(/@sha256:.*$/, ''),
  },
  {
    title: 'PORTS',
    name: 'Ports',
    text: ({ Endpoint }) =>
      (Endpoint?.Ports ?? [])
        .filter(({ PublishMode = 'ingress' }) => PublishMode === 'ingress')
        .map((port) => `*:${port.PublishedPort ?? 0}->${port.TargetPort}/${port.Protocol}`)
        .join(', '),
  },
]

/** Returns how many there are; `ifNone`: whether a table without lines is shown. */
export async function printServices(
  call: CommandCall,
  filters: readonly string[],
  ifNone = true,
): Promise<number> {
  const query = filterQuery(filters)
  const path = `/services?status=true${query === '' ? '' : `&${query}`}`
  const services = await call.api.ask<ListedService[]>('GET', path)
  if (services.length === 0 && !ifNone) return 0
  services.sort((a, b) => a.Spec.Name.localeCompare(b.Spec.Name, 'en', { numeric: true }))
  const options = { quiet: call.flag('quiet'), format: call.text('format') }
  const idOf = ({ ID }: ListedService): string => ID.slice(0, ID_LENGTH)
  call.terminal.out(renderList(services, COLUMNS, options, idOf))
  return services.length
}
