// What a service gets: its published ports, and a VIP on each of its networks, the ingress network
// first when it publishes through the routing mesh. What it has and still needs it keeps.

import { equalJson } from '../store/equal-json.ts'
import type { ServiceEndpoint, ServiceObject, VirtualIp } from '../store/objects.ts'
import { isPredefined } from '../store/predefined-networks.ts'
import type { Addresses } from './addresses.ts'
import { AllocationError, type Taken } from './errors.ts'
import { isNamed, isSamePort, type Ports } from './ports.ts'

/** What endpoints are allocated from. */
export interface EndpointSources {
  readonly ports: Ports
  /** Null when the network has no allocation yet; throws AllocationError when there is none. */
  addressesOf(networkId: string): Addresses | null
  /** Id of the ingress network, if there is one. */
  ingress(): string | null
}

/** Ids of the networks that tasks of `spec` are to be on, without the ingress network. */
export function networkTargets(
  networks: readonly { readonly Target: string }[] | undefined,
): readonly string[] {
  const targets = (networks ?? []).map(({ Target }) => Target)
  return [...new Set(targets)].filter((target) => !isPredefined(target))
}

export function publishesIngress({ spec }: Pick<ServiceEndpoint, 'spec'>): boolean {
  return (spec.Ports ?? []).some(({ PublishMode }) => PublishMode === 'ingress')
}

export function publishesHost({ spec }: Pick<ServiceEndpoint, 'spec'>): boolean {
  return (spec.Ports ?? []).some(({ PublishMode }) => PublishMode === 'host')
}

/** True when the service has what it asks for. */
export function isEndpointDone(service: ServiceObject, ingressId: string | null): boolean {
  const { endpoint, spec } = service
  if (!equalJson(endpoint.spec, spec.EndpointSpec ?? {})) return false
  const ports = spec.EndpointSpec?.Ports ?? []
  if (endpoint.ports.length !== ports.length) return false
  const arePortsDone = ports.every((port, i) => {
    const given = endpoint.ports[i]!
    if (isNamed(port)) return given.PublishedPort === port.PublishedPort
    return isSamePort(port, given) && (port.PublishMode === 'host' || isNamed(given))
  })
  if (!arePortsDone) return false
  const has = new Set(endpoint.virtualIps.map(({ networkId }) => networkId))
  const wants = vipNetworks(service, ingressId)
  return has.size === wants.length && wants.every((id) => id !== null && has.has(id))
}

/** Null when a network is not ready yet. Throws AllocationError, and takes nothing then. */
export function allocateEndpoint(
  service: ServiceObject,
  sources: EndpointSources,
  taken: Taken,
): ServiceEndpoint | null {
  // Nothing is taken before everything can be: what is given back is not given again for long.
  const networks = vipNetworks(service, sources.ingress()).map((networkId) => {
    if (networkId === null) throw new AllocationError('there is no ingress network')
    return { networkId, addresses: sources.addressesOf(networkId) }
  })
  if (networks.some(({ addresses }) => addresses === null)) return null
  try {
    const ports = sources.ports.take(service, taken)
    const virtualIps = networks.flatMap(({ networkId, addresses }) => {
      const kept = service.endpoint.virtualIps.filter((vip) => vip.networkId === networkId)
      if (kept.length > 0) return kept
      const vips = takeVips(networkId, addresses!, taken)
      // Nobody asks a VIP of the ingress network: it has one because Swarm's API shows one.
      if (networkId !== sources.ingress()) return vips
      for (const { address } of vips.slice(1)) addresses!.release(address)
      return vips.slice(0, 1)
    })
    return { spec: service.spec.EndpointSpec ?? {}, ports, virtualIps }
  } catch (error) {
    taken.release()
    throw error
  }
}

function takeVips(networkId: string, addresses: Addresses, taken: Taken): VirtualIp[] {
  return addresses.take().map((address) => {
    taken.push(() => addresses.release(address))
    return { networkId, address }
  })
}

/** Null stands for an ingress network that does not exist. */
function vipNetworks({ spec }: ServiceObject, ingressId: string | null): (string | null)[] {
  const endpoint = spec.EndpointSpec ?? {}
  if (endpoint.Mode === 'dnsrr') return []
  const own = networkTargets(spec.TaskTemplate.Networks ?? spec.Networks)
  if (!publishesIngress({ spec: endpoint })) return [...own]
  return [ingressId, ...own.filter((id) => id !== ingressId)]
}
