// A network of the cluster as /networks shows it, beside those of the local engine.

import { createHash } from 'node:crypto'
import { isIPv4 } from 'node:net'
import type { ReadTransaction } from '../store/contract.ts'
import type { NetworkObject, TaskNetwork, TaskObject } from '../store/objects.ts'
import type { PredefinedNetwork } from '../store/predefined-networks.ts'
import { time } from './render.ts'

const VNI_OPTION = 'com.docker.network.driver.overlay.vxlanid_list'

/** The user's options, and the VNI that was chosen. */
export function networkOptions({ spec, allocation }: NetworkObject): Record<string, string> {
  return {
    ...(allocation === null ? {} : { [VNI_OPTION]: String(allocation.vni) }),
    ...spec.Options,
  }
}

export function networkJson(network: NetworkObject, minor: number): Record<string, unknown> {
  const { id, meta, spec, allocation } = network
  const labels = Object.keys(spec.Labels).length === 0 ? null : spec.Labels
  return {
    Name: spec.Name,
    Id: id,
    Created: time(meta.createdMs),
    Scope: 'swarm',
    Driver: 'overlay',
    ...(minor < 48 ? {} : { EnableIPv4: spec.EnableIPv4 ?? true }),
    EnableIPv6: spec.EnableIPv6 ?? false,
    IPAM: {
      Driver: spec.IPAM?.Driver ?? 'default',
      Options: spec.IPAM?.Options ?? null,
      Config: ipamConfig(spec.IPAM?.Config ?? [], allocation),
    },
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    Ingress: spec.Ingress ?? false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: networkOptions(network),
    Labels: labels,
  }
}

/** A network that every node has; its name is its id. */
export function predefinedJson(name: PredefinedNetwork, minor: number): Record<string, unknown> {
  return {
    Name: name,
    Id: name,
    Created: time(0),
    Scope: 'swarm',
    Driver: name === 'none' ? 'null' : name,
    ...(minor < 48 ? {} : { EnableIPv4: true }),
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: null,
    Labels: { 'com.docker.swarm.predefined': 'true' },
  }
}

/** What was allocated once it is, what was asked for until then. */
function ipamConfig(
  asked: NonNullable<NonNullable<NetworkObject['spec']['IPAM']>['Config']>,
  allocation: NetworkObject['allocation'],
): readonly object[] {
  if (allocation === null) return asked
  return allocation.subnets.map(({ subnet, gateway, ipRange }) => {
    const auxiliary = asked.find(({ Subnet }) => Subnet === subnet)?.AuxiliaryAddresses
    return {
      Subnet: subnet,
      ...(ipRange === undefined ? {} : { IPRange: ipRange }),
      Gateway: gateway,
      ...(auxiliary === undefined ? {} : { AuxiliaryAddresses: auxiliary }),
    }
  })
}

/** `docker network inspect`: with the tasks on this node, and the nodes that have some; `verbose`
 * adds the services and all their tasks. */
export function networkDetails(
  tx: ReadTransaction,
  network: NetworkObject,
  { nodeId, minor, verbose }: { nodeId: string; minor: number; verbose: boolean },
): Record<string, unknown> {
  const attached = tx
    .find('tasks', 'network', network.id)
    .filter(({ status }) => status.state === 'running' || status.state === 'starting')
  const here = attached.filter((task) => task.nodeId === nodeId)
  const peers = peersJson(tx, attached)
  const services = verbose ? servicesJson(tx, network, attached) : {}
  return {
    ...networkJson(network, minor),
    ...(here.length === 0 ? {} : { Containers: containersJson(here, network.id) }),
    ...(peers.length === 0 ? {} : { Peers: peers }),
    ...(Object.keys(services).length === 0 ? {} : { Services: services }),
  }
}

function containersJson(tasks: readonly TaskObject[], networkId: string): Record<string, unknown> {
  const entries = tasks.map((task) => {
    const { addresses } = attachment(task, networkId)
    const v4 = addresses.find((address) => isIPv4(bare(address))) ?? ''
    const container = {
      Name: nameOf(task),
      EndpointID: endpointId(task, networkId),
      MacAddress: macOf(bare(v4)),
      IPv4Address: v4,
      IPv6Address: addresses.find((address) => !isIPv4(bare(address))) ?? '',
    }
    return [task.status.container?.id ?? task.id, container]
  })
  return Object.fromEntries(entries)
}

/** Nodes by the first digits of a hash of their ids, as libnetwork names its peers. */
function peersJson(tx: ReadTransaction, tasks: readonly TaskObject[]): readonly object[] {
  const nodeIds = [...new Set(tasks.map(({ nodeId }) => nodeId))].sort()
  return nodeIds.flatMap((id) => {
    const node = tx.get('nodes', id)
    if (node === undefined) return []
    return [{ Name: digest(id).slice(0, 12), IP: node.status.address }]
  })
}

function servicesJson(
  tx: ReadTransaction,
  network: NetworkObject,
  tasks: readonly TaskObject[],
): Record<string, unknown> {
  const services = tx
    .find('services', 'network', network.id)
    .filter(({ pendingDelete }) => !pendingDelete)
  const entries = services.map((service) => {
    const vip = service.endpoint.virtualIps.find(({ networkId }) => networkId === network.id)
    const own = tasks.filter(({ serviceId }) => serviceId === service.id)
    const json = {
      VIP: vip === undefined ? '' : bare(vip.address),
      Ports: service.endpoint.ports.map(
        ({ PublishedPort, TargetPort }) => `Target: ${TargetPort}, Publish: ${PublishedPort ?? 0}`,
      ),
      LocalLBIndex: 0,
      Tasks: own.map((task) => ({
        Name: nameOf(task),
        EndpointID: endpointId(task, network.id),
        EndpointIP: bare(attachment(task, network.id).addresses[0] ?? ''),
        Info: { 'Host IP': tx.get('nodes', task.nodeId)?.status.address ?? '' },
      })),
    }
    return [service.spec.Name, json]
  })
  return Object.fromEntries(entries)
}

function attachment({ networks }: TaskObject, networkId: string): TaskNetwork {
  const found = networks.find((network) => network.networkId === networkId)
  return found ?? { networkId, addresses: [], aliases: [] }
}

function nameOf({ id, slot, nodeId, serviceAnnotations: { name } }: TaskObject): string {
  return `${name}.${slot ?? nodeId}.${id}`
}

/** "10.0.1.3/24" -> "10.0.1.3". */
function bare(address: string): string {
  return address.split('/', 1)[0]!
}

/** 02:42 and the IPv4 address, as the data plane derives it. */
function macOf(address: string): string {
  if (!isIPv4(address)) return ''
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))
  return ['02', '42', ...bytes].join(':')
}

/** weft has no objects for endpoints: a name that stays the same is enough. */
function endpointId({ id }: TaskObject, networkId: string): string {
  return digest(`${id}.${networkId}`)
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
