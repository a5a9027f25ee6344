// A service for people: `service inspect --pretty`. The order and the heads of the docker CLI's.

import type { Json } from '../stack/json.ts'
import { getAt } from './service-spec.ts'

const seconds = (ns: unknown): string => {
  const s = Number(ns ?? 0) / 1e9
  return s >= 60 && s % 60 === 0 ? `${Math.floor(s / 60)}m0s` : `${s}s`
}

/** A head, and what follows it; a line of its own where nothing does. */
type Line = readonly [head: string, value?: unknown]

const given = (head: string, value: unknown): Line[] => {
  if (value === undefined || value === null || value === '' || value === 0) return []
  if (Array.isArray(value)) return value.length === 0 ? [] : [[head, value.join(' ')]]
  return [[head, value]]
}

function modeLines(service: Json): Line[] {
  const mode = (getAt(service, 'Spec.Mode') ?? {}) as Record<string, Json | undefined>
  const { Replicated, Global, ReplicatedJob } = mode
  if (Replicated !== undefined) {
    return [
      ['Service Mode:', 'Replicated'],
      [' Replicas:', Replicated.Replicas],
    ]
  }
  if (ReplicatedJob !== undefined) {
    return [
      ['Service Mode:', 'Replicated Job'],
      [' Max Concurrent:', ReplicatedJob.MaxConcurrent],
      [' Total Completions:', ReplicatedJob.TotalCompletions],
    ]
  }
  return [['Service Mode:', Global === undefined ? 'Global Job' : 'Global']]
}

function flowLines(head: string, config: Json | undefined): Line[] {
  if (config === undefined) return []
  return [
    [head],
    [' Parallelism:', config.Parallelism ?? 0],
    ...given(' Delay:', config.Delay ? seconds(config.Delay) : undefined),
    [' On failure:', config.FailureAction],
    [' Monitoring Period:', seconds(config.Monitor)],
    [' Max failure ratio:', config.MaxFailureRatio ?? 0],
    [head.startsWith('Update') ? ' Update order:' : ' Rollback order:', config.Order],
  ]
}

function containerLines(service: Json): Line[] {
  const container = (getAt(service, 'Spec.TaskTemplate.ContainerSpec') ?? {}) as Json
  const files = (kind: 'Secret' | 'Config'): Line[] =>
    ((container[`${kind}s`] as Json[] | undefined) ?? []).map((one) => [
      `${kind}:`,
      `${one[`${kind}Name`]} -> ${getAt(one, 'File.Name') ?? ''}`,
    ])
  const mounts = (container.Mounts as Json[] | undefined) ?? []
  return [
    ['ContainerSpec:'],
    [' Image:', container.Image],
    ...given(' Args:', container.Args),
    ...given(' Command:', container.Command),
    ...given(' Env:', container.Env),
    ...given(' Dir:', container.Dir),
    ...given(' User:', container.User),
    ...given(' Hostname:', container.Hostname),
    ...given(' Init:', container.Init),
    ...(mounts.length === 0 ? [] : [['Mounts:'] as Line]),
    ...mounts.flatMap((mount): Line[] => [
      [' Target:', mount.Target],
      ...given('  Source:', mount.Source),
      ['  ReadOnly:', mount.ReadOnly ?? false],
      ['  Type:', mount.Type],
    ]),
    ...files('Secret'),
    ...files('Config'),
    ...given(' Cap add:', container.CapabilityAdd),
    ...given(' Cap drop:', container.CapabilityDrop),
  ]
}

function resourceLines(service: Json): Line[] {
  const part = (head: string, path: string): Line[] => {
    const found = (getAt(service, `Spec.TaskTemplate.Resources.${path}`) ?? {}) as Json
    const lines = [
      ...given('  CPU:', Number(found.NanoCPUs ?? 0) / 1e9),
      ...given('  Memory:', memory(found.MemoryBytes)),
      ...given('  Pids:', found.Pids),
    ]
    return lines.length === 0 ? [] : [[head], ...lines]
  }
  return [['Resources:'], ...part(' Reservations:', 'Reservations'), ...part(' Limits:', 'Limits')]
}

/** "64MiB", as docker/go-units has it. */
function memory(bytes: unknown): string | undefined {
  if (typeof bytes !== 'number' || bytes === 0) return undefined
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let [value, unit] = [bytes, 0]
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${Number(value.toPrecision(4))}${units[unit]}`
}

function healthLines(service: Json): Line[] {
  const check = getAt(service, 'Spec.TaskTemplate.ContainerSpec.Healthcheck') as Json | undefined
  if (check === undefined) return []
  const time = (head: string, value: unknown): Line[] =>
    given(head, value ? seconds(value) : undefined)
  return [
    ['Healthcheck:'],
    ...time(' Interval:', check.Interval),
    ...given(' Retries:', check.Retries),
    ...time(' StartPeriod:', check.StartPeriod),
    ...time(' Timeout:', check.Timeout),
    ...given(' Tests:', undefined),
    ...((check.Test as string[] | undefined) ?? []).map((word): Line => [`  Test = ${word}`]),
  ]
}

/** `service` as the API shows it, with its networks' names. */
export function prettyService(service: object, networks: readonly string[]): string {
  const all = service as Json
  const spec = all.Spec as Json
  const labels = Object.entries((spec.Labels ?? {}) as Record<string, string>)
  const status = all.UpdateStatus as Json | undefined
  const ports = (getAt(all, 'Endpoint.Ports') as Json[] | undefined) ?? []
  const constraints = getAt(spec, 'TaskTemplate.Placement.Constraints') as string[] | undefined
  const most = getAt(spec, 'TaskTemplate.Placement.MaxReplicas')
  const driver = getAt(spec, 'TaskTemplate.LogDriver') as Json | undefined
  const lines: Line[] = [
    ['ID:', all.ID],
    ['Name:', spec.Name],
    ...(labels.length === 0 ? [] : [['Labels:'] as Line]),
    ...labels.map(([name, value]): Line => [` ${name}=${value}`]),
    ...modeLines(all),
    ...(status?.State === undefined
      ? []
      : ([
          ['UpdateStatus:'],
          [' State:', status.State],
          ...given(' Started:', status.StartedAt),
          ...given(' Completed:', status.CompletedAt),
          [' Message:', status.Message],
        ] as Line[])),
    ['Placement:'],
    ...given(' Constraints:', constraints === undefined ? undefined : `[${constraints.join(' ')}]`),
    ...given(' Max Replicas Per Node:', most),
    ...flowLines('UpdateConfig:', spec.UpdateConfig as Json | undefined),
    ...flowLines('RollbackConfig:', spec.RollbackConfig as Json | undefined),
    ...containerLines(all),
    ...given('Log Driver:', driver?.Name),
    ...resourceLines(all),
    ...given('Networks:', networks),
    ['Endpoint Mode:', getAt(all, 'Endpoint.Spec.Mode') ?? 'vip'],
    ...(ports.length === 0 ? [] : [['Ports:'] as Line]),
    ...ports.flatMap((port): Line[] => [
      [' PublishedPort =', port.PublishedPort ?? 0],
      ['  Protocol =', port.Protocol],
      ['  TargetPort =', port.TargetPort],
      ['  PublishMode =', port.PublishMode],
    ]),
    ...healthLines(all),
  ]
  return lines
    .map(([head, value]) => (value === undefined ? `${head}\n` : `${withTab(head)}${value}\n`))
    .join('')
}

/** Values of the first level are under each other. */
const withTab = (head: string): string =>
  head.startsWith(' ') ? `${head} ` : `${head}${'\t'.repeat(head.length < 8 ? 2 : 1)}`
