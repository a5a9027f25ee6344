// /secrets and /configs: the same noun twice. Both are bytes under a name that never change; only
// their labels do. They differ in how large they may be and in whether the bytes are ever shown.

import type { ReadTransaction, Store, WriteTransaction } from '../store/contract.ts'
import { newId } from '../store/ids.ts'
import type { ConfigObject, SecretObject } from '../store/objects.ts'
import type { ConfigSpec, SecretSpec } from '../store/specs.ts'
import type { Call, Environment, Reply } from './call.ts'
import { inTime } from './cluster-access.ts'
import { inOrder, type Struct } from './decode.ts'
import { badRequest, invalidArgument, notFound, rpcError } from './errors.ts'
import { CONFIG_BYTES_MAX, SECRET_BYTES_MAX } from './limits.ts'
import { type Filters, matchesLabels, matchesOne, matchesPrefix, readFilters } from './query.ts'
import { byId, head } from './render.ts'
import { resolve } from './resolve.ts'
import { type Route, read, write } from './route.ts'
import { CONFIG_SPEC, SECRET_SPEC } from './types-resource.ts'

const FILTER_KEYS = ['id', 'label', 'name', 'names']
/** swarmkit, api/validation/secrets.go. */
const NAME = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/
const NAME_LENGTH_MAX = 64

interface Kind {
  readonly table: 'secrets' | 'configs'
  readonly noun: 'secret' | 'config'
  readonly shape: Struct
  readonly bytesMax: number
  /** Index of services and tasks that refer to one. */
  readonly index: 'secret' | 'config'
  readonly isShown: boolean
}

const SECRETS: Kind = {
  table: 'secrets',
  noun: 'secret',
  shape: SECRET_SPEC,
  bytesMax: SECRET_BYTES_MAX,
  index: 'secret',
  isShown: false,
}

const CONFIGS: Kind = {
  table: 'configs',
  noun: 'config',
  shape: CONFIG_SPEC,
  bytesMax: CONFIG_BYTES_MAX,
  index: 'config',
  isShown: true,
}

type Spec = SecretSpec & ConfigSpec
type Blob = SecretObject | ConfigObject

function blobJson({ isShown, shape }: Kind, blob: Blob): Record<string, unknown> {
  const { Data, ...spec } = blob.spec
  return { ...head(blob), Spec: inOrder(shape, isShown ? blob.spec : spec) }
}

function isWanted({ id, spec }: Blob, filters: Filters): boolean {
  return (
    matchesPrefix(filters, 'id', id) &&
    matchesPrefix(filters, 'name', spec.Name) &&
    matchesOne(filters, 'names', [spec.Name]) &&
    matchesLabels(filters, 'label', spec.Labels)
  )
}

function list(kind: Kind, call: Call, store: Store): Reply {
  const filters = readFilters(call.query, FILTER_KEYS, call.minor)
  const all: readonly Blob[] = store.view((tx) => tx.all(kind.table))
  const shown = byId(all.filter((blob) => isWanted(blob, filters)))
  return { status: 200, json: shown.map((blob) => blobJson(kind, blob)) }
}

function inspect(kind: Kind, { params }: Call, store: Store): Reply {
  const blob = store.view((tx) => resolve(tx, kind.table, params[0]!))
  return { status: 200, json: blobJson(kind, blob) }
}

async function create(kind: Kind, call: Call, env: Environment, store: Store): Promise<Reply> {
  const spec = await call.json<Partial<Spec> & Pick<Spec, 'Labels'>>(kind.shape)
  const checked = checkSpec(kind, spec)
  const id = newId((size) => env.node.random(size))
  await inTime(
    store.update((tx) => {
      if (tx.find(kind.table, 'name', checked.Name.toLowerCase()).length > 0) {
        throw rpcError('AlreadyExists', `${kind.noun} ${checked.Name} already exists`)
      }
      tx.create(kind.table, { id, spec: checked })
    }),
  )
  return { status: 201, json: { ID: id } }
}

function checkSpec(kind: Kind, spec: Partial<Spec> & Pick<Spec, 'Labels'>): Spec {
  const { Name = '', Data = '', Driver } = spec
  if (Name === '') throw invalidArgument('name must be provided')
  if (Name.length > NAME_LENGTH_MAX || !NAME.test(Name)) {
    throw invalidArgument(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character ' +
        'must be [a-zA-Z0-9]',
    )
  }
  if (Driver !== undefined && (Driver.Name ?? '') === '') {
    throw invalidArgument('secret driver must have a name')
  }
  if (Driver !== undefined) {
    // The swarm keeps secrets by itself: there are no drivers.
    throw rpcError('Unknown', `plugin ${JSON.stringify(Driver.Name)} not found`)
  }
  const size = sizeOfBase64(Data)
  if (size === 0 || size >= kind.bytesMax) {
    throw invalidArgument(
      `${kind.noun} data must be larger than 0 and less than ${kind.bytesMax} bytes`,
    )
  }
  return { ...spec, Name, Data }
}

function sizeOfBase64(text: string): number {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  return (text.length / 4) * 3 - padding
}

async function update(kind: Kind, call: Call, store: Store): Promise<Reply> {
  const given = await call.json<Partial<Spec> & Pick<Spec, 'Labels'>>(kind.shape)
  const text = call.query.get('version') ?? ''
  if (!/^\d{1,19}$/.test(text)) throw badRequest(`invalid ${kind.noun} version`)
  const version = Number(text)
  const { id } = store.view((tx) => resolve(tx, kind.table, call.params[0]!))
  await inTime(
    store.update((tx) => {
      const blob = existing(tx, kind, id)
      const isSame =
        given.Name === blob.spec.Name && (given.Data === undefined || given.Data === blob.spec.Data)
      if (!isSame) throw invalidArgument('only updates to Labels are allowed')
      const spec = { ...blob.spec, Labels: given.Labels }
      tx.update(kind.table, { ...blob, spec, meta: { ...blob.meta, version } })
    }),
  )
  return { status: 200 }
}

async function remove(kind: Kind, { params }: Call, store: Store): Promise<Reply> {
  const { id } = store.view((tx) => resolve(tx, kind.table, params[0]!))
  await inTime(
    store.update((tx) => {
      const { spec } = existing(tx, kind, id)
      const users = tx.find('services', kind.index, id).filter((user) => !user.pendingDelete)
      if (users.length > 0) {
        const names = users.map((user) => user.spec.Name).sort()
        const noun = names.length === 1 ? 'service' : 'services'
        throw invalidArgument(
          `${kind.noun} '${spec.Name}' is in use by the following ${noun}: ${names.join(', ')}`,
        )
      }
      tx.remove(kind.table, id)
    }),
  )
  return { status: 204 }
}

function existing(tx: ReadTransaction | WriteTransaction, kind: Kind, id: string): Blob {
  const blob: Blob | undefined = tx.get(kind.table, id)
  if (blob === undefined) throw notFound(kind.noun, id)
  return blob
}

function routesOf(kind: Kind): readonly Route[] {
  const base = `/${kind.table}`
  return [
    read(base, (call, _, store) => list(kind, call, store)),
    write('POST', `${base}/create`, (call, env, store) => create(kind, call, env, store)),
    read(`${base}/{}`, (call, _, store) => inspect(kind, call, store)),
    write('POST', `${base}/{}/update`, (call, _, store) => update(kind, call, store)),
    write('DELETE', `${base}/{}`, (call, _, store) => remove(kind, call, store)),
  ]
}

export const BLOB_ROUTES: readonly Route[] = [...routesOf(SECRETS), ...routesOf(CONFIGS)]
