// /services: what users want to run. A service is written here, once it was checked as a whole; the
// orchestrators make tasks of it.

import type { ReadTransaction, Store, WriteTransaction } from '../store/contract.ts'
import { newId } from '../store/ids.ts'
import type { ServiceObject } from '../store/objects.ts'
import type { ContainerSpec, ServiceMode, ServiceSpec } from '../store/specs.ts'
import type { Call, Environment, Reply } from './call.ts'
import { inTime } from './cluster-access.ts'
import { ApiError, badRequest, failedPrecondition, notFound, rpcError } from './errors.ts'
import { forVersion } from './older-clients.ts'
import {
  type Filters,
  matchesLabels,
  matchesOne,
  matchesPrefix,
  readFilters,
  strictBoolValue,
  versionValue,
} from './query.ts'
import { byId } from './render.ts'
import { resolve } from './resolve.ts'
import { type Route, read, write } from './route.ts'
import {
  checkNetworkPlace,
  checkPorts,
  checkReferences,
  explained,
  withNetworkIds,
} from './service-check.ts'
import { serviceJson } from './service-json.ts'
import { completeServiceSpec, type GivenServiceSpec } from './service-spec.ts'
import { SERVICE_SPEC } from './types-service.ts'

const FILTER_KEYS = ['id', 'label', 'mode', 'name', 'runtime']
const REGISTRY_AUTH_LENGTH_MAX = 64 * 1024

export const isShown = ({ pendingDelete }: { readonly pendingDelete: boolean }): boolean =>
  !pendingDelete

function modeName({ Replicated, Global, ReplicatedJob }: ServiceMode): string {
  if (Replicated !== undefined) return 'replicated'
  if (Global !== undefined) return 'global'
  return ReplicatedJob !== undefined ? 'replicated-job' : 'global-job'
}

function isWanted({ id, spec }: ServiceObject, filters: Filters): boolean {
  return (
    matchesPrefix(filters, 'id', id) &&
    matchesPrefix(filters, 'name', spec.Name) &&
    matchesLabels(filters, 'label', spec.Labels) &&
    matchesOne(filters, 'mode', [modeName(spec.Mode)]) &&
    matchesOne(filters, 'runtime', [spec.TaskTemplate.Runtime])
  )
}

function list(call: Call, _: Environment, store: Store): Reply {
  const filters = readFilters(call.query, FILTER_KEYS, call.minor, 400)
  const withStatus = strictBoolValue(call.query, 'status')
  const json = store.view((tx) =>
    byId(tx.all('services').filter(isShown))
      .filter((service) => isWanted(service, filters))
      .map((service) => serviceJson(tx, service, { withStatus })),
  )
  return { status: 200, json }
}

function inspect(call: Call, _: Environment, store: Store): Reply {
  const withDefaults = strictBoolValue(call.query, 'insertDefaults')
  const json = store.view((tx) =>
    serviceJson(tx, resolve(tx, 'services', call.params[0]!, isShown), { withDefaults }),
  )
  return { status: 200, json }
}

async function readSpec(
  call: Call,
  { node }: Environment,
): Promise<{ readonly asked: GivenServiceSpec; readonly given: ServiceSpec }> {
  const asked = forVersion(await call.json<GivenServiceSpec>(SERVICE_SPEC), call.minor)
  return { asked, given: completeServiceSpec(asked, (size) => node.random(size)) }
}

/** Docker's base64url JSON; kept as it came, for the pull. */
function registryAuth({ request }: Call): string | null {
  const auth = request.headers['x-registry-auth'] ?? ''
  if (auth === '') return null
  if (auth.length > REGISTRY_AUTH_LENGTH_MAX) throw badRequest('X-Registry-Auth is too long')
  return auth
}

function withPullOptions(spec: ServiceSpec, pull: ContainerSpec['PullOptions']): ServiceSpec {
  const { TaskTemplate } = spec
  if (pull === undefined || TaskTemplate.ContainerSpec === undefined) return spec
  const ContainerSpec = { ...TaskTemplate.ContainerSpec, PullOptions: pull }
  return { ...spec, TaskTemplate: { ...TaskTemplate, ContainerSpec } }
}

async function create(call: Call, env: Environment, store: Store): Promise<Reply> {
  const { given } = await readSpec(call, env)
  const auth = registryAuth(call)
  const id = newId((size) => env.node.random(size))
  const nowMs = env.node.clock.wallMs()
  await inTime(
    store.update((tx) => {
      const pulled = auth === null ? given : withPullOptions(given, { RegistryAuth: auth })
      const spec = withNetworkIds(tx, pulled)
      checkPorts(tx, spec, '')
      checkReferences(tx, spec)
      const { Name, Mode } = spec
      if (tx.find('services', 'name', Name.toLowerCase()).length > 0) {
        throw rpcError(
          'AlreadyExists',
          `name conflicts with an existing object: service ${Name} already exists`,
        )
      }
      tx.create('services', {
        id,
        spec,
        specVersion: 0,
        previousSpec: null,
        previousSpecVersion: null,
        endpoint: { spec: {}, ports: [], virtualIps: [] },
        updateStatus: null,
        jobStatus: isJob(Mode) ? { iteration: 0, lastExecutionMs: nowMs } : null,
        pendingDelete: false,
      })
    }),
  )
  const warnings = call.minor <= 41 ? {} : { Warnings: null }
  return { status: 201, json: { ID: id, ...warnings } }
}

function isJob({ ReplicatedJob, GlobalJob }: ServiceMode): boolean {
  return ReplicatedJob !== undefined || GlobalJob !== undefined
}

async function update(call: Call, env: Environment, store: Store): Promise<Reply> {
  const version = versionValue(
    call.query,
    (reason) => `invalid service version '${call.query.get('version') ?? ''}': ${reason}`,
  )
  const rollback = call.query.get('rollback') ?? ''
  if (rollback !== '' && rollback !== 'previous') {
    throw new ApiError(500, `unrecognized rollback option ${rollback}`)
  }
  const { asked, given } = await readSpec(call, env)
  const nowMs = env.node.clock.wallMs()
  const { id } = store.view((tx) => resolve(tx, 'services', call.params[0]!, isShown))
  await inTime(
    store.update((tx) => {
      const service = existing(tx, id)
      const spec = withNetworkIds(tx, withPullOptions(given, pullOptions(call, service)))
      checkNetworkPlace(tx, service, asked)
      const changed = changedService(tx, service, spec, rollback !== '', nowMs, version)
      tx.update('services', { ...changed, meta: { ...service.meta, version } })
    }),
  )
  return { status: 200, json: { Warnings: null } }
}

/** Credentials are never shown, so a client cannot send them back: they are carried over. */
function pullOptions(call: Call, service: ServiceObject): ContainerSpec['PullOptions'] {
  const auth = registryAuth(call)
  if (auth !== null) return { RegistryAuth: auth }
  const from = call.query.get('registryAuthFrom') ?? ''
  if (from === '' || from === 'spec') return service.spec.TaskTemplate.ContainerSpec?.PullOptions
  if (from !== 'previous-spec') throw new ApiError(500, 'unsupported registryAuthFrom value')
  if (service.previousSpec === null) {
    throw new ApiError(500, 'service does not have a previous spec')
  }
  return service.previousSpec.TaskTemplate.ContainerSpec?.PullOptions
}

function changedService(
  tx: WriteTransaction,
  service: ServiceObject,
  spec: ServiceSpec,
  isRollback: boolean,
  nowMs: number,
  version: number,
): ServiceObject {
  if (!isSame(service.spec.EndpointSpec, spec.EndpointSpec)) checkPorts(tx, spec, service.id)
  checkReferences(tx, spec)
  if (modeName(service.spec.Mode) !== modeName(spec.Mode)) {
    throw rpcError('Unimplemented', 'service mode change is not allowed')
  }
  if (service.spec.Name !== spec.Name) {
    throw rpcError('Unimplemented', 'renaming services is not supported')
  }
  const { jobStatus } = service
  const nextJob =
    jobStatus === null ? null : { iteration: jobStatus.iteration + 1, lastExecutionMs: nowMs }
  const previous = { previousSpec: service.spec, previousSpecVersion: service.specVersion }
  if (!isRollback) {
    // An update in progress is over with this one.
    return {
      ...service,
      ...previous,
      spec,
      specVersion: version,
      updateStatus: null,
      jobStatus: nextJob,
    }
  }
  if (service.previousSpec === null) {
    throw failedPrecondition(`service ${service.id} does not have a previous spec`)
  }
  checkPrevious(tx, service, service.previousSpec)
  return {
    ...service,
    ...previous,
    spec: service.previousSpec,
    specVersion: service.previousSpecVersion ?? 0,
    updateStatus: {
      state: 'rollback_started',
      startedMs: nowMs,
      completedMs: null,
      message: 'manually requested rollback',
    },
    jobStatus: nextJob,
  }
}

/** What the spec refers to may be gone by now, and its ports another's: its tasks would stop for
 * ones that cannot start. */
function checkPrevious(tx: ReadTransaction, { id, spec }: ServiceObject, old: ServiceSpec): void {
  if (!isSame(spec.EndpointSpec, old.EndpointSpec)) checkPorts(tx, old, id)
  checkReferences(tx, withNetworkIds(tx, old))
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

async function remove({ params }: Call, _: Environment, store: Store): Promise<Reply> {
  const { id } = store.view((tx) => resolve(tx, 'services', params[0]!, isShown))
  await inTime(
    store.update((tx) => tx.update('services', { ...existing(tx, id), pendingDelete: true })),
  )
  return { status: 200 }
}

function existing(tx: ReadTransaction, id: string): ServiceObject {
  const service = tx.get('services', id)
  if (service === undefined || service.pendingDelete) throw notFound('service', id)
  return service
}

type Write = (call: Call, env: Environment, store: Store) => Promise<Reply>

function explaining(work: Write): Write {
  return async (call, env, store) => {
    try {
      return await work(call, env, store)
    } catch (error) {
      throw await explained(error, env.engine)
    }
  }
}

export const SERVICE_ROUTES: readonly Route[] = [
  read('/services', list),
  write('POST', '/services/create', explaining(create)),
  read('/services/{}', inspect),
  write('POST', '/services/{}/update', explaining(update)),
  write('DELETE', '/services/{}', remove),
]
