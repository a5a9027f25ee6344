// The cluster that tests of the packet loop run on, described once and seen from each node in turn:
// three nodes with keys (a, b, c) and a plain VTEP (p); a network of each kind; an endpoint of each
// on most nodes; services over both families; published ports.

import { createHash } from 'node:crypto'
import { keyPairOf } from '../../vxlan/curve.ts'
import type {
  BalancerSettings,
  ForwardingTables,
  Network,
  PublishedPort,
  Service,
} from '../tables.ts'

export interface ClusterNode {
  readonly name: string
  /** True for a VTEP that knows only RFC 7348: others have no key of it. */
  readonly plain?: boolean
  /** True when others do not know where it is until it calls. */
  readonly hidden?: boolean
  /** It relays for others. */
  readonly relays?: boolean
  /** Others keep the way to it open. */
  readonly keepaliveSeconds?: number
  /** Name of the node that relays to it. */
  readonly relay?: string
}

export interface ClusterEndpoint {
  readonly name: string
  readonly node: string
  readonly network: string
  readonly addresses: readonly string[]
  /** False: known to the tables, but its interface is not there. Default true. */
  readonly attached?: boolean
}

export interface Cluster {
  readonly version: number
  readonly nodes: readonly ClusterNode[]
  readonly networks: readonly Network[]
  readonly endpoints: readonly ClusterEndpoint[]
  readonly services: readonly Service[]
  readonly publishedPorts: readonly PublishedPort[]
  readonly balancer?: BalancerSettings
  /** Zones by node. */
  readonly zones?: Readonly<Record<string, string>>
}

function endpoint(
  name: string,
  node: string,
  network: string,
  subnet: number,
  host: number,
): ClusterEndpoint {
  const v6 = `fd00:${subnet}::${host.toString(16)}`
  const v4 = subnet === 255 ? `10.255.0.${host}` : `10.${subnet}.0.${host}`
  return { name, node, network, addresses: [v4, v6] }
}

export const CLUSTER: Cluster = {
  version: 1,
  nodes: [{ name: 'a' }, { name: 'b' }, { name: 'c' }, { name: 'p', plain: true }],
  networks: [
    { name: 'front', vni: 100, subnets: ['10.1.0.0/16', 'fd00:1::/64'] },
    { name: 'cast', vni: 200, subnets: ['10.2.0.0/16', 'fd00:2::/64'], multicast: true },
    {
      name: 'clear',
      vni: 300,
      subnets: ['10.3.0.0/16', 'fd00:3::/64'],
      encrypted: false,
      multicast: true,
    },
    { name: 'ingress', vni: 400, subnets: ['10.255.0.0/16', 'fd00:255::/64'], ingress: true },
  ],
  endpoints: [
    endpoint('front-a', 'a', 'front', 1, 11),
    endpoint('front-a2', 'a', 'front', 1, 12),
    endpoint('front-b', 'b', 'front', 1, 21),
    endpoint('front-c', 'c', 'front', 1, 31),
    { ...endpoint('front-away', 'a', 'front', 1, 13), attached: false },
    endpoint('cast-a', 'a', 'cast', 2, 11),
    endpoint('cast-a2', 'a', 'cast', 2, 12),
    endpoint('cast-b', 'b', 'cast', 2, 21),
    endpoint('cast-c', 'c', 'cast', 2, 31),
    endpoint('clear-a', 'a', 'clear', 3, 11),
    endpoint('clear-b', 'b', 'clear', 3, 21),
    endpoint('clear-p', 'p', 'clear', 3, 41),
    endpoint('ingress-a', 'a', 'ingress', 255, 11),
    endpoint('ingress-b', 'b', 'ingress', 255, 21),
  ],
  services: [
    {
      name: 'web',
      network: 'front',
      vips: ['10.1.0.2', 'fd00:1::2'],
      ports: [
        { protocol: 'tcp', port: 80, targetPort: 8080 },
        { protocol: 'udp', port: 53 },
      ],
      backends: [{ endpoint: 'front-b' }],
    },
    {
      name: 'near',
      network: 'front',
      vips: ['10.1.0.3', 'fd00:1::3'],
      ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }],
      backends: [{ endpoint: 'front-a2' }],
    },
    {
      name: 'empty',
      network: 'front',
      vips: ['10.1.0.4', 'fd00:1::4'],
      ports: [
        { protocol: 'tcp', port: 80 },
        { protocol: 'udp', port: 53 },
      ],
      backends: [],
    },
    {
      name: 'published',
      network: 'ingress',
      vips: [],
      backends: [{ endpoint: 'ingress-b' }],
    },
    {
      name: 'published-empty',
      network: 'ingress',
      vips: [],
      backends: [],
    },
  ],
  publishedPorts: [
    { protocol: 'tcp', port: 8080, service: 'published', targetPort: 80 },
    { protocol: 'udp', port: 5353, service: 'published', targetPort: 53 },
    { protocol: 'tcp', port: 8081, service: 'published-empty' },
  ],
}

/** Private key of a node: a hash of its name. */
export function privateKeyOf(node: string): Uint8Array {
  return createHash('sha256').update(`key of ${node}`).digest()
}

/** Underlay address of a node: 192.0.2.x (RFC 5737) by the letter of its name. */
export function underlayOf(node: string): string {
  return `192.0.2.${node.charCodeAt(0)}`
}

/** Where the network finds a node's socket. */
export function placeOf(node: string): string {
  return `${underlayOf(node)}:4789`
}

/** What one node is told of the cluster. */
export function tablesOf(cluster: Cluster, node: string): ForwardingTables {
  return {
    version: cluster.version,
    node: {
      name: node,
      privateKey: Buffer.from(privateKeyOf(node)).toString('base64'),
      addresses: [underlayOf(node)],
      ...(cluster.nodes.some(({ name, relays }) => name === node && relays)
        ? { relays: true }
        : {}),
      ...zoneOf(cluster, node),
      ...(cluster.balancer === undefined ? {} : { balancer: cluster.balancer }),
    },
    peers: cluster.nodes
      .filter(({ name }) => name !== node)
      .map(({ name, plain, hidden, relay, keepaliveSeconds }) => ({
        name,
        ...zoneOf(cluster, name),
        ...(keepaliveSeconds === undefined ? {} : { keepaliveSeconds }),
        ...(hidden === true ? {} : { endpoint: placeOf(name) }),
        ...(relay === undefined || relay === node ? {} : { relay }),
        ...(plain === true ? {} : { publicKey: publicKeyText(name) }),
      })),
    networks: cluster.networks,
    endpoints: cluster.endpoints.map(({ attached, ...rest }) =>
      rest.node === node && attached !== false
        ? { ...rest, interface: { name: rest.name.replace('-', '').slice(0, 15) } }
        : rest,
    ),
    services: cluster.services,
    publishedPorts: cluster.publishedPorts,
  }
}

function zoneOf(cluster: Cluster, node: string): { zone?: string } {
  const zone = cluster.zones?.[node]
  return zone === undefined ? {} : { zone }
}

function publicKeyText(node: string): string {
  return Buffer.from(keyPairOf(privateKeyOf(node)).publicKey).toString('base64')
}
