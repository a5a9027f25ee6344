// What of a service's spec depends on the rest of the cluster: its networks, secrets, configs and
// published ports. Checked inside the transaction that writes the service, so that nothing which
// was found can be gone (swarmkit, manager/controlapi/service.go).

import type { ReadTransaction } from '../store/contract.ts'
import type { ServiceObject } from '../store/objects.ts'
import { isPredefined } from '../store/predefined-networks.ts'
import type { NetworkAttachmentConfig, PortConfig, ServiceSpec } from '../store/specs.ts'
import type { EngineClient } from './engine-client.ts'
import { ApiError, badRequest, invalidArgument, rpcError } from './errors.ts'
import { resolve } from './resolve.ts'
import type { GivenServiceSpec } from './service-spec.ts'

/** The spec with ids in the place of its networks' names. Throws for what is not there. */
export function withNetworkIds(tx: ReadTransaction, spec: ServiceSpec): ServiceSpec {
  const { Networks } = spec.TaskTemplate
  if (Networks === undefined) return spec
  const resolved = Networks.map((attachment) => networkTarget(tx, attachment))
  checkPredefined(spec, resolved)
  const atTop = spec.Networks === undefined ? {} : { Networks: resolved }
  return { ...spec, ...atTop, TaskTemplate: { ...spec.TaskTemplate, Networks: resolved } }
}

function networkTarget(
  tx: ReadTransaction,
  attachment: NetworkAttachmentConfig,
): NetworkAttachmentConfig {
  const target = attachment.Target ?? ''
  // Every id begins with nothing.
  if (target === '') throw badRequest('a network to attach to must have a Target')
  if (isPredefined(target)) return attachment
  const { id, spec } = findNetwork(tx, target)
  if (spec.Ingress === true) {
    throw invalidArgument(
      `Service cannot be explicitly attached to the ingress network ${JSON.stringify(spec.Name)}`,
    )
  }
  return { ...attachment, Target: id }
}

/** Who is on a network of the nodes themselves is on no other, and has no ports to publish: there
 * is nothing between them and the node, or nothing at all. */
function checkPredefined(spec: ServiceSpec, networks: readonly NetworkAttachmentConfig[]): void {
  const name = networks.map(({ Target }) => Target).find(isPredefined)
  if (name === undefined) return
  if (networks.length > 1) {
    throw invalidArgument(`a service on the network "${name}" cannot be on other networks`)
  }
  if (name === 'bridge' || (spec.EndpointSpec?.Ports ?? []).length === 0) return
  throw invalidArgument(`a service on the network "${name}" cannot publish ports`)
}

/** Networks at the old place, the service's top, can only be changed by moving them into the
 * template (swarmkit, controlapi/service.go). */
export function checkNetworkPlace(
  tx: ReadTransaction,
  { spec }: ServiceObject,
  asked: GivenServiceSpec,
): void {
  const ids = (networks: readonly NetworkAttachmentConfig[] = []): string =>
    JSON.stringify(networks.map((attachment) => networkTarget(tx, attachment)))
  const top = { was: ids(spec.Networks), is: ids(asked.Networks) }
  const inTask = spec.Networks === undefined ? spec.TaskTemplate.Networks : []
  const task = { was: ids(inTask), is: ids(asked.TaskTemplate.Networks) }
  if (top.was === top.is || task.was !== task.is) return
  throw rpcError('Unimplemented', 'networks must be migrated to TaskSpec before being changed')
}

/** The Docker Engine does not give this error a status of its own: it is a 500. */
class UnknownNetwork extends ApiError {
  readonly target: string

  constructor(target: string, message: string) {
    super(500, message)
    this.target = target
  }
}

function findNetwork(tx: ReadTransaction, target: string) {
  try {
    return resolve(tx, 'networks', target, ({ pendingDelete }) => !pendingDelete)
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error
    throw new UnknownNetwork(target, error.message)
  }
}

/** `error`, or what is wrong with a network that the cluster does not know and the engine does. */
export async function explained(error: unknown, engine: EngineClient | null): Promise<unknown> {
  if (!(error instanceof UnknownNetwork) || engine === null) return error
  const path = `/networks/${encodeURIComponent(error.target)}`
  const { status, body } = await engine.call('GET', path).catch(() => ({ status: 0, body: null }))
  if (status !== 200) return error
  return new ApiError(
    403,
    `The network ${(body as { Name?: string } | null)?.Name ?? error.target} cannot be used with ` +
      'services. Only networks scoped to the swarm can be used, such as those created with the ' +
      'overlay driver.',
  )
}

export function checkReferences(tx: ReadTransaction, { TaskTemplate }: ServiceSpec): void {
  const { Secrets = [], Configs = [] } = TaskTemplate.ContainerSpec ?? {}
  const secrets = Secrets.filter(
    ({ SecretID, SecretName }) => tx.get('secrets', SecretID)?.spec.Name !== SecretName,
  )
  checkNone(
    'secret',
    secrets.map(({ SecretName }) => SecretName),
  )
  const configs = Configs.filter(
    ({ ConfigID, ConfigName }) => tx.get('configs', ConfigID)?.spec.Name !== ConfigName,
  )
  checkNone(
    'config',
    configs.map(({ ConfigName }) => ConfigName),
  )
}

function checkNone(noun: string, missing: readonly string[]): void {
  if (missing.length === 0) return
  throw invalidArgument(`${noun}${missing.length > 1 ? 's' : ''} not found: ${missing.join(', ')}`)
}

/** Ports of mode "host" may be shared: the scheduler keeps their tasks apart. An ingress port is
 * on every node and cannot be. `ownId`: the service itself; '' for a new one. */
export function checkPorts(tx: ReadTransaction, spec: ServiceSpec, ownId: string): void {
  const wanted = new Map<string, PortConfig['PublishMode']>()
  for (const port of spec.EndpointSpec?.Ports ?? []) {
    if (isNamed(port)) wanted.set(keyOf(port), port.PublishMode)
  }
  if (wanted.size === 0) return
  for (const service of tx.all('services')) {
    if (service.id === ownId || service.pendingDelete) continue
    for (const port of portsOf(service)) {
      const mode = wanted.get(keyOf(port))
      if (mode === undefined || (mode === 'host' && port.PublishMode === 'host')) continue
      const how = port.PublishMode === 'host' ? 'a host-published port' : 'an ingress port'
      throw invalidArgument(
        `port '${port.PublishedPort}' is already in use by service '${service.spec.Name}' ` +
          `(${service.id}) as ${how}`,
      )
    }
  }
}

function portsOf({ spec, endpoint }: ServiceObject): PortConfig[] {
  return [...(spec.EndpointSpec?.Ports ?? []), ...endpoint.ports].filter(isNamed)
}

function isNamed({ PublishedPort }: PortConfig): boolean {
  return PublishedPort !== undefined && PublishedPort !== 0
}

function keyOf({ PublishedPort, Protocol }: PortConfig): string {
  return `${PublishedPort}/${Protocol}`
}
