// All that is given out in the cluster, in memory: derived from the store when a leader starts, and
// kept in step with it. What somebody holds is written down under the holder, so that it can be
// given back when the holder is gone, whatever became of it meanwhile.

import type { Logger } from '../../base/log.ts'
import type { ReadTransaction } from '../store/contract.ts'
import {
  type ClusterObject,
  isTerminal,
  type NetworkObject,
  type ServiceObject,
  stateRank,
  type TaskObject,
} from '../store/objects.ts'
import { Addresses } from './addresses.ts'
import type { EndpointSources } from './endpoints.ts'
import { AllocationError } from './errors.ts'
import { claimNetwork, releaseNetwork } from './networks.ts'
import { isNamed, Ports } from './ports.ts'
import { Subnets } from './subnets.ts'
import { Vnis } from './vnis.ts'

/** True when a task needs its addresses no more. */
export function isOver({ status, desiredState }: TaskObject): boolean {
  return isTerminal(status.state) && stateRank(desiredState) > stateRank('running')
}

export class AllocatorState implements EndpointSources {
  readonly vnis: Vnis = new Vnis()
  readonly ports: Ports = new Ports()
  readonly subnets: Subnets
  private readonly networks = new Map<string, NetworkObject>()
  private readonly addresses = new Map<string, Addresses>()
  /** By id of a task or a service: [network, address]. */
  private readonly held = new Map<string, (readonly [string, string])[]>()
  private readonly services = new Map<string, ServiceObject>()

  /** Takes over what is allocated, oldest first, so that new addresses come behind the latest. */
  constructor(tx: ReadTransaction, cluster: ClusterObject, log: Logger) {
    this.subnets = new Subnets(cluster)
    const doubled = (owner: string, what: string): void =>
      log.warn('two hold the same allocation', { owner, what })
    for (const network of byAge(tx.all('networks'))) {
      for (const what of claimNetwork(network, this.vnis, this.subnets)) doubled(network.id, what)
      this.setNetwork(network)
    }
    for (const service of byAge(tx.all('services'))) {
      for (const port of this.adoptService(service)) doubled(service.id, port)
    }
    for (const task of byAge(tx.all('tasks'))) {
      if (isOver(task)) continue
      for (const address of this.adoptTask(task)) doubled(task.id, address)
    }
  }

  /** What the store has of a network. */
  setNetwork(network: NetworkObject): void {
    this.networks.set(network.id, network)
    if (network.allocation === null || this.addresses.has(network.id)) return
    const { Name, IPAM } = network.spec
    this.addresses.set(network.id, new Addresses(Name, network.allocation, IPAM?.Config ?? []))
  }

  removeNetwork(network: NetworkObject): void {
    this.networks.delete(network.id)
    this.addresses.delete(network.id)
    releaseNetwork(network, this.vnis, this.subnets)
  }

  addressesOf(networkId: string): Addresses | null {
    if (!this.networks.has(networkId)) throw new AllocationError(`network ${networkId} not found`)
    return this.addresses.get(networkId) ?? null
  }

  ingress(): string | null {
    for (const { id, spec, pendingDelete } of this.networks.values()) {
      if (spec.Ingress === true && !pendingDelete) return id
    }
    return null
  }

  /** Addresses left on each network. */
  *free(): IterableIterator<readonly [NetworkObject, number]> {
    for (const [id, addresses] of this.addresses) yield [this.networks.get(id)!, addresses.free]
  }

  /** Claims what a service has; returns what it shares. */
  private adoptService(service: ServiceObject): readonly string[] {
    const { id, endpoint, spec } = service
    const owner = { id, name: spec.Name }
    const doubled = endpoint.ports.flatMap((port) =>
      isNamed(port) && !this.ports.claim(port, owner) ? [`port ${port.PublishedPort}`] : [],
    )
    const vips = endpoint.virtualIps.map(({ networkId, address }) => [networkId, address] as const)
    this.services.set(id, service)
    return [...doubled, ...this.claimAll(id, vips)]
  }

  private adoptTask({ id, networks }: TaskObject): readonly string[] {
    const addresses = networks.flatMap(({ networkId, addresses }) =>
      addresses.map((address) => [networkId, address] as const),
    )
    return addresses.length === 0 ? [] : this.claimAll(id, addresses)
  }

  private claimAll(owner: string, pairs: readonly (readonly [string, string])[]): string[] {
    const ours = pairs.filter(([id, address]) => this.addresses.get(id)?.claim(address) === true)
    this.held.set(owner, ours)
    // A network that is gone has no addresses to share.
    const shared = pairs.filter((pair) => this.addresses.has(pair[0]) && !ours.includes(pair))
    return shared.map(([, address]) => address)
  }

  /** A service as it now stands in the store: what it has no more is free. True if there was. */
  setService(service: ServiceObject): boolean {
    const { id, endpoint } = service
    const old = this.services.get(id)
    this.services.set(id, service)
    const keeps = new Set(endpoint.ports.filter(isNamed).map(portText))
    const dropped = (old?.endpoint.ports ?? []).filter(
      (port) => isNamed(port) && !keeps.has(portText(port)),
    )
    for (const port of dropped) this.ports.release(port, id)
    const vips = endpoint.virtualIps.map(({ networkId, address }) => [networkId, address] as const)
    return this.setHeld(id, vips) || dropped.length > 0
  }

  removeService({ id }: ServiceObject): boolean {
    const old = this.services.get(id)
    this.services.delete(id)
    for (const port of old?.endpoint.ports ?? []) if (isNamed(port)) this.ports.release(port, id)
    return this.drop(id) || old !== undefined
  }

  /** A task as it now stands in the store, which was given its addresses or still waits. */
  holdForTask({ id, networks }: Pick<TaskObject, 'id' | 'networks'>): void {
    if (networks.length === 0 || this.held.has(id)) return
    this.held.set(
      id,
      networks.flatMap(({ networkId, addresses }) =>
        addresses.map((address) => [networkId, address] as const),
      ),
    )
  }

  /** Gives back what a task or service holds. True if it held something. */
  drop(owner: string): boolean {
    return this.setHeld(owner, [])
  }

  private setHeld(owner: string, pairs: readonly (readonly [string, string])[]): boolean {
    const keeps = new Set(pairs.map(([networkId, address]) => `${networkId} ${address}`))
    const dropped = (this.held.get(owner) ?? []).filter(
      ([networkId, address]) => !keeps.has(`${networkId} ${address}`),
    )
    for (const [networkId, address] of dropped) this.addresses.get(networkId)?.release(address)
    if (pairs.length === 0) this.held.delete(owner)
    else this.held.set(owner, [...pairs])
    return dropped.length > 0
  }
}

const portText = ({ Protocol, PublishedPort }: { Protocol: string; PublishedPort?: number }) =>
  `${Protocol}/${PublishedPort}`

function byAge<O extends { readonly meta: { readonly createdMs: number } }>(
  objects: readonly O[],
): readonly O[] {
  return [...objects].sort((a, b) => a.meta.createdMs - b.meta.createdMs)
}
