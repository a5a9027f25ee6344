// Options of `service create` and `service update` as a ServiceSpec: the tables of
// service-fields.ts applied, and what is more than one member. Pure; the spec names networks,
// secrets and configs by name, and service-references.ts finds their ids.

import { tagged } from '../stack/image-name.ts'
import type { Json } from '../stack/json.ts'
import { CommandError } from './command-error.ts'
import type { Given } from './options.ts'
import {
  asCapability,
  HEALTH_SCALARS,
  LISTS,
  type ListField,
  MAPS,
  portKey,
  REFUSED,
  RESTART_SCALARS,
  ROLLBACK_SCALARS,
  SCALARS,
  type Scalar,
  UPDATE_SCALARS,
} from './service-fields.ts'
import { asCount, keyValue, ports } from './values.ts'

/** What a command line may look into. */
export interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Throws with a sentence. */
  readonly readText: (path: string) => string
}

const SECOND = 1e9
const FLOW_DEFAULTS: Json = {
  Parallelism: 1,
  FailureAction: 'pause',
  Monitor: 5 * SECOND,
  MaxFailureRatio: 0,
  Order: 'stop-first',
}
const RESTART_DEFAULTS: Json = { Condition: 'any', Delay: 5 * SECOND, MaxAttempts: 0 }
const CONTAINER = 'TaskTemplate.ContainerSpec'

export function getAt(spec: Json, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((at, name) => (at as Json | null | undefined)?.[name] ?? undefined, spec)
}

export function setAt(spec: Json, path: string, value: unknown): void {
  const names = path.split('.')
  const last = names.pop()!
  let at = spec
  for (const name of names) {
    at[name] ??= {}
    at = at[name] as Json
  }
  if (value === undefined) delete at[last]
  else at[last] = value
}

export function createSpec(
  given: Given,
  [image, ...args]: readonly string[],
  around: Surroundings,
): Json {
  refuse(given)
  const spec: Json = {
    Name: given.text('name') ?? '',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        Image: tagged(image!),
        ...(args.length === 0 ? {} : { Args: args }),
        Init: false,
        DNSConfig: {},
      },
      Resources: { Limits: {}, Reservations: {} },
      Placement: {},
      ForceUpdate: 0,
    },
    Mode: createdMode(given),
    EndpointSpec: { Mode: 'vip' },
  }
  applyScalars(spec, given)
  for (const field of LISTS) {
    const values = field.option === 'env' ? environment(given, around) : given.list(field.option)
    addItems(spec, field, field.option, values)
  }
  for (const { option, path } of MAPS) addMembers(spec, path, given.list(option))
  applyHealth(spec, given)
  applyCapabilities(spec, given)
  applyLogDriver(spec, given)
  return spec
}

/** `current` with what was given; it is not changed. */
export function updatedSpec(current: Json, given: Given, around: Surroundings): Json {
  refuse(given)
  const spec = structuredClone(current)
  const image = given.text('image')
  if (image !== undefined) setAt(spec, `${CONTAINER}.Image`, tagged(image))
  const args = given.text('args')
  if (args !== undefined) setAt(spec, `${CONTAINER}.Args`, wordsOf(args, 'args'))
  applyScalars(spec, given)
  updateMode(spec, given)
  for (const field of LISTS) {
    removeItems(spec, field, given)
    const values = given.list(`${field.option}-add`)
    const known = field.option === 'env' ? values.map((one) => variable(one, around)) : values
    addItems(spec, field, `${field.option}-add`, known)
  }
  for (const { option, path } of MAPS) {
    const labels = { ...(getAt(spec, path) as Json | undefined) }
    for (const key of given.list(`${option}-rm`)) delete labels[key]
    if (given.isGiven(`${option}-rm`)) setAt(spec, path, labels)
    addMembers(spec, path, given.list(`${option}-add`))
  }
  applyHealth(spec, given)
  applyCapabilities(spec, given)
  applyLogDriver(spec, given)
  if (given.flag('force')) {
    const count = Number(getAt(spec, 'TaskTemplate.ForceUpdate') ?? 0)
    setAt(spec, 'TaskTemplate.ForceUpdate', count + 1)
  }
  return spec
}

function refuse(given: Given): void {
  for (const [option, why] of Object.entries(REFUSED)) {
    if (given.isGiven(option)) throw new CommandError(`--${option}: ${why}`)
  }
}

function applyScalars(spec: Json, given: Given): void {
  set(spec, given, SCALARS)
  const groups: readonly (readonly [string, readonly Scalar[], Json])[] = [
    ['UpdateConfig', UPDATE_SCALARS, FLOW_DEFAULTS],
    ['RollbackConfig', ROLLBACK_SCALARS, FLOW_DEFAULTS],
    ['TaskTemplate.RestartPolicy', RESTART_SCALARS, RESTART_DEFAULTS],
  ]
  for (const [path, scalars, defaults] of groups) {
    if (!scalars.some(({ option }) => given.isGiven(option))) continue
    if (getAt(spec, path) === undefined) setAt(spec, path, { ...defaults })
    set(spec, given, scalars)
  }
}

function set(spec: Json, given: Given, scalars: readonly Scalar[]): void {
  for (const { option, path, parse } of scalars) {
    if (!given.isGiven(option)) continue
    setAt(spec, path, parse === null ? given.flag(option) : parse(given.text(option)!, option))
  }
}

function wordsOf(line: string, option: string): unknown {
  return SCALARS.find((one) => one.option === 'entrypoint')!.parse!(line, option)
}

// -- mode
// -------------------------------------------------------------------------------------------

function count(given: Given, option: string): number | undefined {
  const text = given.text(option)
  return text === undefined ? undefined : (asCount(text, option) as number)
}

function createdMode(given: Given): Json {
  const mode = given.text('mode') ?? 'replicated'
  const replicas = count(given, 'replicas')
  const concurrent = count(given, 'max-concurrent')
  if (mode === 'global' || mode === 'global-job') {
    const only = 'can only be used with replicated or replicated-job mode'
    if (replicas !== undefined) throw new CommandError(`replicas ${only}`)
    if (given.isGiven('replicas-max-per-node')) {
      throw new CommandError(`replicas-max-per-node ${only}`)
    }
  }
  if (mode !== 'replicated-job' && concurrent !== undefined) {
    throw new CommandError('max-concurrent can only be used with replicated-job mode')
  }
  if (mode === 'replicated') return { Replicated: { ...given1('Replicas', replicas) } }
  if (mode === 'global') return { Global: {} }
  if (mode === 'global-job') return { GlobalJob: {} }
  if (mode !== 'replicated-job') {
    throw new CommandError(`Unknown mode: ${mode}, only replicated and global supported`)
  }
  return {
    ReplicatedJob: {
      ...given1('MaxConcurrent', concurrent ?? replicas),
      ...given1('TotalCompletions', replicas),
    },
  }
}

const given1 = (name: string, value: unknown): Json =>
  value === undefined ? {} : { [name]: value }

function updateMode(spec: Json, given: Given): void {
  const replicas = count(given, 'replicas')
  const concurrent = count(given, 'max-concurrent')
  const { Replicated, ReplicatedJob } = (spec.Mode ?? {}) as Record<string, Json | undefined>
  if (replicas !== undefined) {
    if (Replicated !== undefined) Replicated.Replicas = replicas
    else if (ReplicatedJob !== undefined) ReplicatedJob.TotalCompletions = replicas
    else throw new CommandError('replicas can only be used with replicated or replicated-job mode')
  }
  if (concurrent !== undefined) {
    if (ReplicatedJob === undefined) {
      throw new CommandError('max-concurrent can only be used with replicated-job mode')
    }
    ReplicatedJob.MaxConcurrent = concurrent
  }
}

/** `scale`: the spec with another number of tasks. */
export function scaledSpec(current: Json, replicas: number): Json {
  const spec = structuredClone(current)
  const { Replicated, ReplicatedJob } = (spec.Mode ?? {}) as Record<string, Json | undefined>
  if (Replicated !== undefined) Replicated.Replicas = replicas
  else if (ReplicatedJob !== undefined) ReplicatedJob.TotalCompletions = replicas
  else throw new CommandError('scale can only be used with replicated or replicated-job mode')
  return spec
}

// -- lists and maps
// ---------------------------------------------------------------------------------

function addItems(
  spec: Json,
  { path, parse, keyOf }: ListField,
  option: string,
  values: readonly string[],
): void {
  if (values.length === 0) return
  const items = new Map<string, unknown>()
  for (const item of (getAt(spec, path) as unknown[] | undefined) ?? []) {
    items.set(keyOf(item), item)
  }
  for (const value of values) {
    for (const item of parse(value, option)) items.set(keyOf(item), item)
  }
  setAt(spec, path, [...items.values()])
}

function removeItems(spec: Json, field: ListField, given: Given): void {
  const { option, path, keyOf, removedKeys = (value) => [value] } = field
  const values = given.list(`${option}-rm`)
  const items = getAt(spec, path) as unknown[] | undefined
  if (values.length === 0 || items === undefined) return
  if (option === 'publish') {
    const removed = new Set(values.flatMap((value) => ports(value, 'publish-rm')).map(targetOf))
    const left = items.filter((item) => !removed.has(targetOf(item as Json)))
    setAt(spec, path, left)
    return
  }
  const removed = new Set(values.flatMap((value) => removedKeys(value, `${option}-rm`)))
  setAt(
    spec,
    path,
    items.filter((item) => !removed.has(keyOf(item))),
  )
}

/** Ports are removed by what they lead to, wherever they are published. */
const targetOf = (port: Json): string => portKey({ ...port, PublishedPort: 0 })

function addMembers(spec: Json, path: string, values: readonly string[]): void {
  if (values.length === 0) return
  setAt(spec, path, {
    ...(getAt(spec, path) as Json | undefined),
    ...Object.fromEntries(values.map(keyValue)),
  })
}

/** A name alone has the value that it has here, if it has one. */
function variable(text: string, { environment: known }: Surroundings): string {
  if (text === '' || text.startsWith('=')) {
    throw new CommandError(`invalid environment variable: ${text}`)
  }
  const value = text.includes('=') ? undefined : known[text]
  return value === undefined ? text : `${text}=${value}`
}

function environment(given: Given, around: Surroundings): string[] {
  const lines = given.list('env-file').flatMap((path) =>
    around
      .readText(path)
      .split(/\r?\n/)
      .map((line) => line.trimStart())
      .filter((line) => line !== '' && !line.startsWith('#')),
  )
  const fromFiles = lines.flatMap((line) => {
    const [name] = keyValue(line)
    if (name === '' || /\s/.test(name)) {
      throw new CommandError(`env-file: variable '${name}' contains whitespaces or has no name`)
    }
    const known = variable(line, around)
    return known.includes('=') ? [known] : []
  })
  return [...fromFiles, ...given.list('env').map((one) => variable(one, around))]
}

// -- the rest
// ---------------------------------------------------------------------------------------

function applyHealth(spec: Json, given: Given): void {
  const path = `${CONTAINER}.Healthcheck`
  const command = given.text('health-cmd')
  const hasSettings =
    command !== undefined || HEALTH_SCALARS.some(({ option }) => given.isGiven(option))
  if (given.flag('no-healthcheck')) {
    if (hasSettings) {
      throw new CommandError('--no-healthcheck conflicts with --health-* options')
    }
    setAt(spec, path, { Test: ['NONE'] })
    return
  }
  if (!hasSettings) return
  const now = { ...(getAt(spec, path) as Json | undefined) }
  if ((now.Test as string[] | undefined)?.[0] === 'NONE') delete now.Test
  if (command === '') delete now.Test
  else if (command !== undefined) now.Test = ['CMD-SHELL', command]
  setAt(spec, path, now)
  set(spec, given, HEALTH_SCALARS)
}

/** What is added is dropped no longer, and the other way round. RESET forgets what was before. */
function applyCapabilities(spec: Json, given: Given): void {
  const [adds, drops] = ['cap-add', 'cap-drop'].map((option) =>
    given.list(option).map(asCapability),
  ) as [string[], string[]]
  if (adds.length === 0 && drops.length === 0) return
  const isReset = (name: string): boolean => name === 'CAP_RESET' || name === 'RESET'
  const current = (member: string, given: readonly string[]): Set<string> =>
    new Set(given.some(isReset) ? [] : ((getAt(spec, member) as string[] | undefined) ?? []))
  const [addPath, dropPath] = [`${CONTAINER}.CapabilityAdd`, `${CONTAINER}.CapabilityDrop`]
  const added = current(addPath, adds)
  const dropped = current(dropPath, drops)
  for (const name of drops.filter((one) => !isReset(one))) {
    if (!added.delete(name)) dropped.add(name)
  }
  for (const name of adds.filter((one) => !isReset(one))) {
    if (!dropped.delete(name) || drops.includes(name)) added.add(name)
  }
  setAt(spec, addPath, added.size === 0 ? undefined : [...added].sort())
  setAt(spec, dropPath, dropped.size === 0 ? undefined : [...dropped].sort())
}

function applyLogDriver(spec: Json, given: Given): void {
  const name = given.text('log-driver')
  if (name === undefined) {
    if (given.isGiven('log-opt')) throw new CommandError('--log-opt needs --log-driver')
    return
  }
  const options = Object.fromEntries(given.list('log-opt').map(keyValue))
  setAt(
    spec,
    'TaskTemplate.LogDriver',
    name === ''
      ? undefined
      : { Name: name, ...given1('Options', given.isGiven('log-opt') ? options : undefined) },
  )
}
