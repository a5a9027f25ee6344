// One object of the store to the items it becomes (store/assignment.ts). Pure; null where an object
// is not far enough to be told.

import type {
  AssignedTask,
  DataItem,
  EndpointItem,
  EndpointState,
  NetworkItem,
  PeerItem,
  ServiceItem,
} from '../store/assignment.ts'
import {
  type ConfigObject,
  isTerminal,
  type NetworkObject,
  type NodeObject,
  type SecretObject,
  type ServiceObject,
  stateRank,
  type TaskNetwork,
  type TaskObject,
} from '../store/objects.ts'

const MTU_OPTION = 'com.docker.network.driver.mtu'

export function assignedTask(task: TaskObject): AssignedTask {
  const { meta: _meta, status: _status, ...assigned } = task
  return assigned
}

export function dataItem({ id, spec }: SecretObject | ConfigObject): DataItem {
  return { id, name: spec.Name, data: spec.Data ?? '', templating: spec.Templating ?? null }
}

export function peerItem({ id, tunnel, description, role, status }: NodeObject): PeerItem | null {
  if (tunnel === null) return null
  return {
    nodeId: id,
    hostname: description?.hostname ?? '',
    relays: role === 'manager' && status.state === 'ready' && tunnel.endpoint !== null,
    ...tunnel,
  }
}

export function networkItem({ id, spec, allocation }: NetworkObject): NetworkItem | null {
  if (allocation === null) return null
  const options = spec.Options ?? {}
  const mtu = Number(options[MTU_OPTION] ?? Number.NaN)
  return {
    id,
    name: spec.Name,
    vni: allocation.vni,
    subnets: allocation.subnets.map(({ subnet, gateway }) => ({
      subnet,
      gateway: withoutPrefix(gateway),
    })),
    mtu: Number.isInteger(mtu) ? mtu : null,
    // `-o encrypted` alone is an empty text, and means yes, as in Swarm.
    encrypted: options.encrypted !== 'false',
    multicast: options.multicast === 'true',
    ingress: spec.Ingress === true,
    internal: spec.Internal === true,
  }
}

/** Null while the task has no address, or when nothing of it runs any more. Where its node is away
 * nobody must use it, but it is to be there when the node is back. */
export function endpointItem(
  task: TaskObject,
  network: TaskNetwork,
  isAway: boolean,
): EndpointItem | null {
  const state = isAway && endpointState(task) !== null ? 'idle' : endpointState(task)
  if (state === null || network.addresses.length === 0) return null
  return {
    taskId: task.id,
    networkId: network.networkId,
    nodeId: task.nodeId,
    serviceId: task.serviceId,
    serviceName: task.serviceAnnotations.name,
    slot: task.slot,
    hostname: task.spec.ContainerSpec?.Hostname ?? '',
    addresses: network.addresses.map(withoutPrefix),
    aliases: network.aliases,
    state,
  }
}

function endpointState({ status, desiredState, nodeId }: TaskObject): EndpointState | null {
  if (nodeId === '' || stateRank(status.state) < stateRank('assigned')) return null
  if (isTerminal(status.state)) return null
  if (status.state !== 'running') return 'idle'
  if (stateRank(desiredState) > stateRank('complete')) return 'draining'
  return status.isServing ? 'serving' : 'draining'
}

/** One for each network that the service is on. */
export function serviceItems(service: ServiceObject, ingressId: string | null): ServiceItem[] {
  const { spec, endpoint, id } = service
  const asked = spec.TaskTemplate.Networks ?? spec.Networks ?? []
  const aliases = new Map(asked.map(({ Target, Aliases }) => [Target, Aliases ?? []]))
  const vips = new Map<string, string[]>()
  for (const { networkId, address } of endpoint.virtualIps) {
    vips.set(networkId, [...(vips.get(networkId) ?? []), withoutPrefix(address)])
  }
  const ports = endpoint.ports.filter(({ PublishMode }) => PublishMode === 'ingress')
  const networks = new Set([...aliases.keys(), ...vips.keys()])
  if (ports.length > 0 && ingressId !== null) networks.add(ingressId)
  return [...networks].map((networkId) => ({
    serviceId: id,
    networkId,
    name: spec.Name,
    mode: spec.EndpointSpec?.Mode ?? 'vip',
    vips: vips.get(networkId) ?? [],
    aliases: aliases.get(networkId) ?? [],
    ports: networkId === ingressId ? ports : [],
    labels: spec.Labels,
  }))
}

function withoutPrefix(address: string): string {
  const slash = address.indexOf('/')
  return slash < 0 ? address : address.slice(0, slash)
}
