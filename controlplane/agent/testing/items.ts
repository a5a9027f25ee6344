// Items of an assignment for tests of the agent: the least that is valid.

import type { EndpointItem, NetworkItem, PeerItem, ServiceItem } from '../../store/assignment.ts'

export function peer(nodeId: string, changes: Partial<PeerItem> = {}): PeerItem {
  return {
    nodeId,
    hostname: nodeId,
    publicKey: Buffer.alloc(32, nodeId).toString('base64'),
    endpoint: `127.0.0.${1 + (nodeId.charCodeAt(0) % 200)}:4789`,
    relays: false,
    ...changes,
  }
}

export function network(id: string, changes: Partial<NetworkItem> = {}): NetworkItem {
  const number = Number(/\d+/.exec(id)?.[0] ?? 0)
  return {
    id,
    name: `net-${id}`,
    vni: 4096 + number,
    subnets: [{ subnet: `10.0.${number}.0/24`, gateway: `10.0.${number}.1` }],
    mtu: null,
    encrypted: true,
    multicast: false,
    ingress: false,
    internal: false,
    ...changes,
  }
}

export function endpoint(
  taskId: string,
  networkId: string,
  nodeId: string,
  address: string,
  changes: Partial<EndpointItem> = {},
): EndpointItem {
  return {
    taskId,
    networkId,
    nodeId,
    serviceId: 's1',
    serviceName: 'web',
    slot: 1,
    hostname: '',
    addresses: [address],
    aliases: [],
    state: 'serving',
    ...changes,
  }
}

export function service(networkId: string, changes: Partial<ServiceItem> = {}): ServiceItem {
  return {
    serviceId: 's1',
    networkId,
    name: 'web',
    mode: 'vip',
    vips: [],
    aliases: [],
    ports: [],
    labels: {},
    ...changes,
  }
}

/** Items by the ids that the dispatcher gives them. */
export function byId<T>(items: readonly (readonly [string, T])[]): ReadonlyMap<string, T> {
  return new Map(items)
}
