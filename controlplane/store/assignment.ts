// What a manager tells a node: the items of its assignment. The dispatcher makes them of the
// store's objects, the node's agent keeps them as a set. An item travels as JSON, by kind and id,
// and is complete: a later one of the same kind and id replaces it, nothing has to be merged.
//
// Not in an item is what changes often and what its reader knows better: the observed status of a
// task is the node's own to tell.

import type { TaskObject } from './objects.ts'
import type { Driver, PortConfig } from './specs.ts'

/** A task of the node from `assigned` on, until the cluster forgets it. */
export type AssignedTask = Omit<TaskObject, 'meta' | 'status'>

/** A secret or config that a task of the node uses. */
export interface DataItem {
  readonly id: string
  readonly name: string
  /** Base64. */
  readonly data: string
  readonly templating: Driver | null
}

/** The task was taken out of service: no node gives it new flows. Id: the task's. */
export interface DrainedItem {
  readonly taskId: string
  /** None is open any more either: it may be stopped now. */
  readonly isIdle: boolean
}

/** A node's data plane. Id: the node's. */
export interface PeerItem {
  readonly nodeId: string
  readonly hostname: string
  /** X25519, base64. */
  readonly publicKey: string
  /** "address:port"; null = behind NAT. */
  readonly endpoint: string | null
  readonly zone?: string
  /** Behind NAT: where managers hear it. */
  readonly seenAt?: string
  /** A manager that is up and that everybody reaches: it relays between nodes behind NAT. */
  readonly relays: boolean
}

/** A network that concerns the node: one of its tasks is on it, or it is the ingress network. */
export interface NetworkItem {
  readonly id: string
  readonly name: string
  readonly vni: number
  readonly subnets: readonly { readonly subnet: string; readonly gateway: string }[]
  /** The user's; null = the data plane's default. */
  readonly mtu: number | null
  readonly encrypted: boolean
  readonly multicast: boolean
  readonly ingress: boolean
  readonly internal: boolean
}

/** `idle`: it has its addresses and is in no service, for it has not begun, or its node is away.
 * `serving`: all of it. `draining`: open flows go on, new ones go elsewhere. */
export type EndpointState = 'idle' | 'serving' | 'draining'

/** One task, of any node, on one of the node's networks. Id: `taskId.networkId`. */
export interface EndpointItem {
  readonly taskId: string
  readonly networkId: string
  readonly nodeId: string
  /** '' for an attachment. */
  readonly serviceId: string
  readonly serviceName: string
  readonly slot: number | null
  readonly hostname: string
  /** Without prefix length. */
  readonly addresses: readonly string[]
  readonly aliases: readonly string[]
  readonly state: EndpointState
}

/** One service on one of the node's networks. Id: `serviceId.networkId`. */
export interface ServiceItem {
  readonly serviceId: string
  readonly networkId: string
  readonly name: string
  readonly mode: 'vip' | 'dnsrr'
  /** Virtual addresses on this network, without prefix length. */
  readonly vips: readonly string[]
  readonly aliases: readonly string[]
  /** Ports published by the routing mesh; on the ingress network alone. */
  readonly ports: readonly PortConfig[]
  readonly labels: Readonly<Record<string, string>>
}

export interface Items {
  readonly task: AssignedTask
  readonly secret: DataItem
  readonly config: DataItem
  readonly drained: DrainedItem
  readonly peer: PeerItem
  readonly network: NetworkItem
  readonly endpoint: EndpointItem
  readonly service: ServiceItem
}
export type ItemKind = keyof Items

export const ITEM_KINDS: readonly ItemKind[] = [
  'task',
  'secret',
  'config',
  'drained',
  'peer',
  'network',
  'endpoint',
  'service',
]

/** Id of an endpoint or service item. */
export function onNetwork(id: string, networkId: string): string {
  return `${id}.${networkId}`
}
