// Goal: whatever JSON stands where, a request is read as a Docker Engine reads it: the same is
// taken, the same refused in the same words. Method: for each field that the tables of our decoder
// name, a dozen values of every kind in its place, to a real dockerd and to us (engine-twins.ts).
// What is newer than the engine, or refused by us on purpose, is left out by name, with the reason
// beside it. Needs dockerd and root; skipped elsewhere.

import t, { type Test } from 'tap'
import type { Shape, Struct } from '../../controlplane/api/decode.ts'
import { CONFIG_SPEC, SECRET_SPEC } from '../../controlplane/api/types-resource.ts'
import { SERVICE_SPEC } from '../../controlplane/api/types-service.ts'
import { NODE_SPEC, SWARM_SPEC } from '../../controlplane/api/types-swarm.ts'
import { startTwins, type Twins, whyNoEngine } from './engine-twins.ts'

/** JSON texts, one of each kind and the odd ones. */
const VALUES: readonly string[] = [
  '"text"',
  '5',
  '-5',
  '1.5',
  '1e400',
  '99999999999999999999',
  'true',
  'null',
  '[]',
  '{}',
  '[5]',
  '{"a":5}',
]

/** Fields that an engine of API 1.41 does not have. */
const NEWER: readonly string[] = [
  'AppArmor',
  'ClusterOptions',
  'CreateMountpoint',
  'ImageOptions',
  'MemorySwappiness',
  'NoNewPrivileges',
  'OomScoreAdj',
  'ReadOnlyForceRecursive',
  'ReadOnlyNonRecursive',
  'Seccomp',
  'StartInterval',
  'Subpath',
  'SwapBytes',
  'TmpfsOptions.Options',
]

/** The end of a field's path, and the values that are left out there. */
const WISHED: readonly (readonly [path: string, values: RegExp])[] = [
  // The engine takes them, and its tasks fail: a mount without a target or a bind without a source.
  ['Mounts.0', /null|^\{/],
  ['Mounts.0.*', /./],
  ['StopGracePeriod', /^-5/],
  // The engine ends the connection without an answer.
  ['Secrets.0', /null/],
  ['Configs.0', /null/],
  ['Ulimits.0', /null/],
  ['Ulimits.0.*', /./],
  ['GenericResources.0', /null|^\{/],
  ['GenericResources.0.*', /null/],
  ['ExternalCAs.0', /null/],
  // The engine counts networks that every node has among those that '' may mean.
  ['Networks.0', /null|^\{/],
  ['Networks.0.*', /./],
  // A rollback is checked as an update is.
  ['RollbackConfig.*', /^-5|1\.5|^5|99/],
  // Ports without a target, and words that are none.
  ['Ports.0', /null|^\{/],
  ['Ports.0.*', /./],
  // Go reads a list of numbers as bytes.
  ['Data', /^\[/],
  // A test has no root certificate to sign with.
  ['SigningCAKey', /text/],
]

type Path = readonly (string | 0)[]

function* pathsOf(shape: Shape, path: Path = []): Generator<Path> {
  yield path
  if (shape.kind === 'list') yield* pathsOf(shape.of, [...path, 0])
  if (shape.kind === 'map') yield* pathsOf(shape.of, [...path, 'k'])
  if (shape.kind !== 'struct') return
  for (const [name, field] of Object.entries(shape.fields)) {
    const inner: Path = [...path, name]
    if (!NEWER.some((newer) => inner.join('.').endsWith(newer))) yield* pathsOf(field.shape, inner)
  }
}

function isLeftOut(path: Path, value: string): boolean {
  const text = path.join('.')
  return WISHED.some(([end, values]) => {
    const isHere = end.endsWith('.*')
      ? text.includes(`${end.slice(0, -2)}.`) || text.startsWith(end.slice(0, -1))
      : text === end || text.endsWith(`.${end}`)
    return isHere && values.test(value)
  })
}

/** `base` as JSON with the text `value` at `path`. */
function withValue(base: unknown, path: Path, value: string): string {
  const mark = 'the value goes here'
  const put = (at: unknown, [head, ...rest]: Path): unknown => {
    if (head === undefined) return mark
    if (head === 0) return [put(undefined, rest)]
    const object = typeof at === 'object' && at !== null && !Array.isArray(at) ? at : {}
    return { ...object, [head]: put((object as Record<string, unknown>)[head], rest) }
  }
  return JSON.stringify(put(base, path)).replace(JSON.stringify(mark), value)
}

interface Sweep {
  readonly path: string
  readonly shape: Struct
  readonly base: unknown
  /** Where what was made is deleted again. */
  readonly folder?: string
}

async function sweep(twins: Twins, { path, shape, base, folder }: Sweep): Promise<number> {
  let requests = 0
  for (const place of pathsOf(shape)) {
    for (const value of VALUES) {
      if (isLeftOut(place, value)) continue
      requests += 1
      const { real, ours } = await twins.compare(['POST', path, withValue(base, place, value)])
      if (folder === undefined) continue
      if (real.status === 201) await twins.callReal('DELETE', `${folder}/${idOf(real.text)}`)
      if (ours.status === 201) await twins.callOurs('DELETE', `${folder}/${idOf(ours.text)}`)
    }
  }
  return requests
}

function idOf(text: string): string {
  return (JSON.parse(text) as { readonly ID: string }).ID
}

const SWEEPS: readonly Sweep[] = [
  {
    path: '/services/create',
    shape: SERVICE_SPEC,
    base: {
      Name: 'x',
      TaskTemplate: { ContainerSpec: { Image: 'busybox' } },
      Mode: { Replicated: { Replicas: 0 } },
    },
    folder: '/services',
  },
  {
    path: '/secrets/create',
    shape: SECRET_SPEC,
    base: { Name: 's', Data: 'YQ==' },
    folder: '/secrets',
  },
  {
    path: '/configs/create',
    shape: CONFIG_SPEC,
    base: { Name: 's', Data: 'YQ==' },
    folder: '/configs',
  },
  {
    path: '/nodes/nope/update?version=1',
    shape: NODE_SPEC,
    base: { Role: 'manager', Availability: 'active' },
  },
  { path: '/swarm/update?version=999', shape: SWARM_SPEC, base: { Name: 'default' } },
]

t.test('every kind of value in every field', { skip: whyNoEngine() }, async (t: Test) => {
  const twins = await startTwins(t)
  await twins.init()
  for (const one of SWEEPS) t.ok((await sweep(twins, one)) > 50, `${one.path} was asked`)
})
