// A topology: nodes, networks, tasks, services and published ports said once, and the tables.json
// of every node derived from it. Pure: it makes nothing. Addresses are handed out in order: the
// first host address of a subnet is the gateway, tasks and VIPs take the next ones.

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { Address4, Address6 } from 'ip-address'
import type {
  Backend,
  Endpoint,
  ForwardingTables,
  Network,
  Peer,
  PublishedPort,
  Service,
  ServicePort,
} from '../../dataplane/tables.ts'

/** UDP port of the underlay, as in tables.ts. */
const UNDERLAY_PORT = 4789
/** Name of the network that published ports use, made at the first publish(). */
const INGRESS = 'ingress'
const INGRESS_VNI = 4096
const INGRESS_SUBNETS = ['10.255.0.0/16', 'fd00:255::/64']

export interface NodePlan {
  readonly name: string
  /** Underlay address under which the other nodes reach it; absent = it calls first. */
  readonly address?: string
  /** Addresses on which published ports answer, default [address]. */
  readonly addresses?: readonly string[]
  readonly port?: number
  readonly keepaliveSeconds?: number
  /** True for a plain RFC 7348 VTEP such as a kernel vxlan interface: a peer without a key. */
  readonly plain?: boolean
}

export interface TaskPlan {
  readonly name: string
  readonly node: string
  readonly networks: readonly string[]
  /** Namespace of its interfaces, default /run/netns/NAME. */
  readonly netns?: string
  /** Route everything through the first network. */
  readonly defaultRoute?: boolean
}

export interface ServicePlan {
  readonly name: string
  readonly network: string
  readonly tasks: readonly string[]
  readonly ports?: readonly ServicePort[]
  readonly scheduler?: string
  /** Number of VIPs: one per subnet by default, 0 for none. */
  readonly vip?: boolean
}

export interface PublishPlan {
  readonly protocol: 'tcp' | 'udp'
  readonly port: number
  readonly service: string
  readonly targetPort?: number
  readonly proxyProtocol?: 'v1' | 'v2'
}

interface KeyPair {
  readonly privateKey: string
  readonly publicKey: string
}

/** A new X25519 key pair; both halves base64 of 32 bytes. */
export function newKeyPair(): KeyPair {
  const { privateKey } = generateKeyPairSync('x25519')
  const jwk = privateKey.export({ format: 'jwk' })
  const base64 = (text: string | undefined): string =>
    Buffer.from(text ?? '', 'base64url').toString('base64')
  return { privateKey: base64(jwk.d), publicKey: base64(jwk.x) }
}

/** The address of a subnet with host part `index`, e.g. ('10.7.0.0/24', 5) -> '10.7.0.5'. */
export function addressAt(subnet: string, index: number): string {
  const is6 = subnet.includes(':')
  const net = is6 ? new Address6(subnet) : new Address4(subnet)
  const start = net.startAddress().bigInt()
  if (start + BigInt(index) >= net.endAddress().bigInt()) {
    throw new Error(`${subnet} has no host ${index}`)
  }
  const address = start + BigInt(index)
  return is6 ? Address6.fromBigInt(address).correctForm() : Address4.fromBigInt(address).address
}

function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

export class Topology {
  /** Rises with every change, as ForwardingTables.version does. */
  version = 1
  readonly nodes: Map<string, NodePlan & KeyPair> = new Map()
  readonly networks: Map<string, Network> = new Map()
  readonly endpoints: Map<string, Endpoint> = new Map()
  readonly services: Map<string, Service> = new Map()
  readonly published: PublishedPort[] = []
  readonly presharedKey: string = randomBytes(32).toString('base64')
  /** Next free host part per network; 1 is the gateway. */
  readonly #next = new Map<string, number>()
  readonly #tasks = new Map<string, TaskPlan>()

  #changed(): void {
    this.version++
  }

  node(plan: NodePlan): void {
    if (this.nodes.has(plan.name)) throw new Error(`there is a node ${plan.name} already`)
    this.nodes.set(plan.name, { ...plan, ...newKeyPair() })
    this.#changed()
  }

  /** Changes what is known of a node, for example its underlay address. */
  changeNode(name: string, change: Partial<NodePlan>): void {
    this.nodes.set(name, { ...must(this.nodes, name, 'node'), ...change })
    this.#changed()
  }

  network(network: Network): void {
    if (this.networks.has(network.name)) {
      throw new Error(`there is a network ${network.name} already`)
    }
    this.networks.set(network.name, network)
    this.#next.set(network.name, 2)
    this.#changed()
  }

  #addresses(network: string): string[] {
    const index = this.#next.get(network) ?? 2
    this.#next.set(network, index + 1)
    return must(this.networks, network, 'network').subnets.map((subnet) => addressAt(subnet, index))
  }

  /** Adds a task: one endpoint TASK.NETWORK and one interface eth0, eth1, … per network. */
  task(plan: TaskPlan): void {
    must(this.nodes, plan.node, 'node')
    this.#tasks.set(plan.name, plan)
    for (const network of plan.networks) this.#attach(plan, network)
    this.#changed()
  }

  #attach(plan: TaskPlan, network: string): void {
    const name = `${plan.name}.${network}`
    const rank = [...this.endpoints.keys()].filter((key) => key.startsWith(`${plan.name}.`)).length
    this.endpoints.set(name, {
      name,
      network,
      node: plan.node,
      addresses: this.#addresses(network),
      interface: {
        netns: plan.netns ?? `/run/netns/${plan.name}`,
        name: `eth${rank}`,
        ...(plan.defaultRoute && rank === 0 ? { defaultRoute: true } : {}),
      },
    })
  }

  /** Removes a task's endpoints and takes it out of every service. */
  removeTask(task: string): void {
    for (const name of [...this.endpoints.keys()]) {
      if (name.startsWith(`${task}.`)) this.endpoints.delete(name)
    }
    for (const [name, service] of this.services) {
      const backends = service.backends.filter((b) => !b.endpoint.startsWith(`${task}.`))
      this.services.set(name, { ...service, backends })
    }
    this.#tasks.delete(task)
    this.#changed()
  }

  /** Address number `which` (one per subnet) of a task on a network. */
  addressOf(task: string, network: string, which: number = 0): string {
    const address = must(this.endpoints, `${task}.${network}`, 'endpoint').addresses[which]
    if (address === undefined) throw new Error(`${task} has no address ${which} on ${network}`)
    return address
  }

  /** Adds a service with a VIP per subnet of its network. Returns the VIPs. */
  service(plan: ServicePlan): readonly string[] {
    const vips = (plan.vip ?? true) ? this.#addresses(plan.network) : []
    this.services.set(plan.name, {
      name: plan.name,
      network: plan.network,
      vips,
      ...(plan.ports ? { ports: plan.ports } : {}),
      ...(plan.scheduler ? { scheduler: plan.scheduler } : {}),
      backends: plan.tasks.map((task) => ({ endpoint: `${task}.${plan.network}` })),
    })
    this.#changed()
    return vips
  }

  /** Changes a backend's weight in every service that has it; 0 quiesces. */
  weight(task: string, weight: number): void {
    for (const [name, service] of this.services) {
      const backends = service.backends.map(
        (b): Backend => (b.endpoint.startsWith(`${task}.`) ? { ...b, weight } : b),
      )
      this.services.set(name, { ...service, backends })
    }
    this.#changed()
  }

  /** Adds or removes a task as a backend of a service (and of its published twin). */
  backend(service: string, task: string, present: boolean): void {
    for (const name of [service, `${service}.${INGRESS}`]) {
      const entry = this.services.get(name)
      if (!entry) continue
      const endpoint = `${task}.${entry.network}`
      const others = entry.backends.filter((b) => b.endpoint !== endpoint)
      this.services.set(name, { ...entry, backends: present ? [...others, { endpoint }] : others })
    }
    this.#changed()
  }

  /** Publishes a service's port on every node: its tasks join the ingress network, where a service
   * SERVICE.ingress without a VIP stands for it. */
  publish(plan: PublishPlan): void {
    const service = must(this.services, plan.service, 'service')
    if (!this.networks.has(INGRESS)) {
      const subnets = INGRESS_SUBNETS
      this.network({ name: INGRESS, vni: INGRESS_VNI, subnets, ingress: true })
    }
    const name = `${plan.service}.${INGRESS}`
    if (!this.services.has(name)) {
      const tasks = service.backends.map((b) => b.endpoint.slice(0, -service.network.length - 1))
      for (const task of tasks) {
        if (!this.endpoints.has(`${task}.${INGRESS}`)) {
          this.#attach(must(this.#tasks, task, 'task'), INGRESS)
        }
      }
      const scheduler = service.scheduler ? { scheduler: service.scheduler } : {}
      this.service({ name, network: INGRESS, tasks, vip: false, ...scheduler })
    }
    this.published.push({ ...plan, service: name })
    this.#changed()
  }

  /** The whole table of one node. Interfaces are told only to the node that has them. */
  tables(nodeName: string): ForwardingTables {
    const node = must(this.nodes, nodeName, 'node')
    const addresses = node.addresses ?? (node.address === undefined ? [] : [node.address])
    return {
      version: this.version,
      node: {
        name: nodeName,
        listenPort: node.port ?? UNDERLAY_PORT,
        privateKey: node.privateKey,
        presharedKey: this.presharedKey,
        addresses,
      },
      peers: [...this.nodes.values()].filter((n) => n.name !== nodeName).map(peerOf),
      networks: [...this.networks.values()],
      endpoints: [...this.endpoints.values()].map((endpoint) => {
        if (endpoint.node === nodeName) return endpoint
        const { interface: _, ...rest } = endpoint
        return rest
      }),
      services: [...this.services.values()],
      publishedPorts: [...this.published],
    }
  }
}

function peerOf(node: NodePlan & KeyPair): Peer {
  return {
    name: node.name,
    ...(node.plain ? {} : { publicKey: node.publicKey }),
    ...(node.address === undefined
      ? {}
      : { endpoint: hostPort(node.address, node.port ?? UNDERLAY_PORT) }),
    ...(node.keepaliveSeconds === undefined ? {} : { keepaliveSeconds: node.keepaliveSeconds }),
  }
}

function must<T>(map: ReadonlyMap<string, T>, name: string, kind: string): T {
  const value = map.get(name)
  if (value === undefined) throw new Error(`there is no ${kind} ${name}`)
  return value
}
