// What the allocator writes: a step per network, service or task, which takes what it needs when it
// is planned, looks again when it is written, and gives back when it was not written. A plan that
// cannot be made throws AllocationError, with an empty sentence where something is merely not there
// yet.

import type { ReadTransaction, WriteTransaction } from '../store/contract.ts'
import {
  type NetworkObject,
  type ServiceObject,
  stateRank,
  type TaskNetwork,
  type TaskObject,
} from '../store/objects.ts'
import {
  allocateEndpoint,
  isEndpointDone,
  networkTargets,
  publishesHost,
  publishesIngress,
} from './endpoints.ts'
import { AllocationError, Taken } from './errors.ts'
import { allocateNetwork, releaseNetwork } from './networks.ts'
import type { AllocatorState } from './state.ts'

export interface Step {
  readonly kind: 'networks' | 'services' | 'tasks'
  readonly id: string
  /** Throws when what was seen has changed. */
  readonly write: (tx: WriteTransaction) => void
  readonly undo: () => void
  /** It allocates nothing, it only says why not. */
  readonly isExplanation?: true
}

/** By id, why something has no allocation. */
type Refusals = ReadonlyMap<string, string>

export function networkStep(
  state: AllocatorState,
  network: NetworkObject | undefined,
): Step | null {
  if (network === undefined || network.allocation !== null || network.pendingDelete) return null
  const { id } = network
  const allocation = allocateNetwork(network, state.vnis, state.subnets)
  return {
    kind: 'networks',
    id,
    write(tx) {
      const now = tx.get('networks', id)
      if (now === undefined || now.allocation !== null) throw new Error('the network changed')
      tx.update('networks', { ...now, allocation })
    },
    undo: () => releaseNetwork({ ...network, allocation }, state.vnis, state.subnets),
  }
}

export function serviceStep(
  state: AllocatorState,
  service: ServiceObject,
  refusedNetworks: Refusals,
): Step {
  const { id, meta } = service
  const taken = new Taken()
  const endpoint = allocateEndpoint(service, state, taken)
  // The network's allocation will bring the service back.
  if (endpoint === null) throw new AllocationError(whyNetworkWaits(state, service, refusedNetworks))
  return {
    kind: 'services',
    id,
    write(tx) {
      const now = tx.get('services', id)
      if (now?.meta.version !== meta.version) throw new Error('the service changed')
      tx.update('services', { ...now, endpoint })
    },
    undo: () => taken.release(),
  }
}

function whyNetworkWaits(
  state: AllocatorState,
  { spec }: ServiceObject,
  refused: Refusals,
): string {
  const targets = networkTargets(spec.TaskTemplate.Networks ?? spec.Networks)
  const ingress = state.ingress()
  const ids = ingress === null ? targets : [ingress, ...targets]
  return ids.map((id) => refused.get(id) ?? '').find((why) => why !== '') ?? ''
}

export function taskStep(
  state: AllocatorState,
  tx: ReadTransaction,
  task: TaskObject,
  refused: { readonly networks: Refusals; readonly services: Refusals },
  nowMs: number,
): Step | null {
  if (task.status.state !== 'new') return null
  if (stateRank(task.desiredState) > stateRank('complete')) return null
  const service = task.serviceId === '' ? null : tx.get('services', task.serviceId)
  // The orchestrator ends it.
  if (service === undefined || service?.pendingDelete === true) return null
  if (service !== null && !isEndpointDone(service, state.ingress())) {
    throw new AllocationError(refused.services.get(service.id) ?? '')
  }
  const taken = new Taken()
  const networks = takeNetworks(state, task, service, refused.networks, taken)
  return {
    kind: 'tasks',
    id: task.id,
    write(tx) {
      const now = tx.get('tasks', task.id)
      if (now?.status.state !== 'new') throw new Error('the task changed')
      const endpoint = service === null ? now.endpoint : service.endpoint
      const message = 'pending task scheduling'
      const status = { ...now.status, state: 'pending', atMs: nowMs, message, error: '' } as const
      tx.update('tasks', { ...now, networks, endpoint, status })
    },
    undo: () => taken.release(),
  }
}

function takeNetworks(
  state: AllocatorState,
  task: TaskObject,
  service: ServiceObject | null,
  refused: Refusals,
  taken: Taken,
): TaskNetwork[] {
  const targets = networkTargets(task.spec.Networks ?? service?.spec.Networks)
  const ingress = state.ingress()
  const isPublished = service !== null && publishesIngress(service.endpoint)
  const ids = isPublished && ingress !== null ? [ingress, ...targets] : targets
  const sources = [...new Set(ids)].map((networkId) => {
    const addresses = state.addressesOf(networkId)
    if (addresses === null) throw new AllocationError(refused.get(networkId) ?? '')
    return { networkId, addresses }
  })
  try {
    const networks = sources.map(({ networkId, addresses }) => {
      const given = addresses.take()
      taken.push(() => {
        for (const address of given) addresses.release(address)
      })
      const attachment = task.spec.Networks?.find(({ Target }) => Target === networkId)
      return { networkId, addresses: given, aliases: attachment?.Aliases ?? [] }
    })
    const isHosted = service !== null && publishesHost(service.endpoint)
    if (!isHosted || isPublished || ingress === null) return networks
    return [...takeForHostPorts(state, ingress, taken), ...networks]
  } catch (error) {
    taken.release()
    throw error
  }
}

/** An address by which the node's data plane reaches ports of mode "host". Nodes with an engine do
 * without it, so a task does not wait for one. */
function takeForHostPorts(state: AllocatorState, networkId: string, taken: Taken): TaskNetwork[] {
  const addresses = state.addressesOf(networkId)
  if (addresses === null || addresses.free === 0) return []
  const given = addresses.take()
  taken.push(() => {
    for (const address of given) addresses.release(address)
  })
  return [{ networkId, addresses: given, aliases: [], forHostPorts: true }]
}

/** Writes into a task why it waits. */
export function explanationStep(id: string, error: string): Step {
  return {
    kind: 'tasks',
    id,
    write(tx) {
      const now = tx.get('tasks', id)
      if (now?.status.state !== 'new') throw new Error('the task changed')
      tx.update('tasks', { ...now, status: { ...now.status, error } })
    },
    undo() {},
    isExplanation: true,
  }
}
