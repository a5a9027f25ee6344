// The engine's twins of overlay networks: what a container is attached to. A twin has the overlay's
// name, subnets and gateways, the driver weft and a label with the overlay's id. It is made when
// the first container needs it and goes with the last.

import type Docker from 'dockerode'
import { Turns } from '../../../base/turns.ts'
import type { NetworkItem } from '../../store/assignment.ts'
import { ENGINE_NETWORK_LABEL } from '../../store/labels.ts'
import { inBody } from './in-body.ts'
import { DRIVER_NAME, NETWORK_OPTION } from './network-driver.ts'

interface TwinInfo {
  readonly Id: string
  readonly Name: string
  readonly Labels?: Readonly<Record<string, string>> | null
}

const ID_LENGTH = 12
/** The engine's own network through which containers reach the outside. */
const GATEWAY_BRIDGE = 'docker_gwbridge'
const BRIDGE_OPTION = 'com.docker.network.bridge'

export class EngineNetworks {
  readonly #docker: Docker
  /** Twins that are known to be there: name by id of the overlay. */
  readonly #names = new Map<string, string>()
  /** Who uses a twin, by id of the overlay. */
  readonly #users = new Map<string, Set<string>>()
  /** Twins are made one after another: two tasks may want the same one at once. */
  readonly #turns = new Turns()

  constructor(docker: Docker) {
    this.#docker = docker
  }

  /** The engine's name of the network's twin, which is made if it is not there, and stays until
   * release() was called for everybody who uses it. */
  ensure(network: NetworkItem, user: string): Promise<string> {
    this.use(network.id, user)
    const known = this.#names.get(network.id)
    if (known !== undefined) return Promise.resolve(known)
    return this.#turns.take(async () => {
      const name = this.#names.get(network.id) ?? (await this.#make(network))
      this.#names.set(network.id, name)
      return name
    })
  }

  /** Somebody has been using the network since before this agent began. */
  use(networkId: string, user: string): void {
    const users = this.#users.get(networkId) ?? new Set()
    this.#users.set(networkId, users.add(user))
  }

  /** The engine does not know it, whatever was known here. */
  doubt(networkId: string): void {
    this.#names.delete(networkId)
  }

  /** Takes away the twin of a network that nothing here uses any more. */
  release(networkId: string, user: string): Promise<void> {
    const users = this.#users.get(networkId)
    users?.delete(user)
    if (users !== undefined && users.size > 0) return Promise.resolve()
    this.#users.delete(networkId)
    return this.#turns.take(async () => {
      if (this.#users.has(networkId)) return
      this.#names.delete(networkId)
      for (const twin of await this.#twins()) {
        if (twin.Labels?.[ENGINE_NETWORK_LABEL] === networkId) await this.#remove(twin)
      }
    })
  }

  /** Takes away the twins that an earlier agent left and nobody uses. */
  sweep(): Promise<void> {
    return this.#turns.take(async () => {
      for (const twin of await this.#twins()) {
        if (!this.#users.has(twin.Labels?.[ENGINE_NETWORK_LABEL] ?? '')) await this.#remove(twin)
      }
    })
  }

  /** Rejects when the engine cannot have the bridge by which containers reach the outside. It is
   * made as Docker itself would, with no traffic between containers. */
  async ensureGatewayBridge(): Promise<void> {
    const all = (await this.#docker.listNetworks()) as TwinInfo[]
    if (all.some(({ Name }) => Name === GATEWAY_BRIDGE)) return
    const options = {
      Name: GATEWAY_BRIDGE,
      Driver: 'bridge',
      CheckDuplicate: true,
      Options: {
        [`${BRIDGE_OPTION}.name`]: GATEWAY_BRIDGE,
        [`${BRIDGE_OPTION}.enable_icc`]: 'false',
        [`${BRIDGE_OPTION}.enable_ip_masquerade`]: 'true',
      },
    }
    await this.#docker.createNetwork(inBody(options))
  }

  /** A container that a user has made may be on it, running or not. */
  async #remove({ Id }: TwinInfo): Promise<void> {
    const filters = { network: [Id] }
    const users = await this.#docker.listContainers({ all: true, filters })
    if (users.length > 0) return
    await this.#docker
      .getNetwork(Id)
      .remove()
      .catch(() => {})
  }

  async #make(network: NetworkItem): Promise<string> {
    const all = (await this.#docker.listNetworks()) as TwinInfo[]
    const twin = all.find(({ Labels }) => Labels?.[ENGINE_NETWORK_LABEL] === network.id)
    if (twin !== undefined) return twin.Name
    const isTaken = all.some(({ Name }) => Name === network.name)
    const name = isTaken ? `${network.name}-${network.id.slice(0, ID_LENGTH)}` : network.name
    await this.#docker.createNetwork(inBody(twinOptions(name, network)))
    return name
  }

  async #twins(): Promise<TwinInfo[]> {
    const filters = { label: [ENGINE_NETWORK_LABEL] }
    return (await this.#docker.listNetworks({ filters })) as TwinInfo[]
  }
}

function twinOptions(name: string, network: NetworkItem): Docker.NetworkCreateOptions {
  return {
    Name: name,
    Driver: DRIVER_NAME,
    CheckDuplicate: true,
    Attachable: true,
    EnableIPv6: network.subnets.some(({ subnet }) => subnet.includes(':')),
    Labels: { [ENGINE_NETWORK_LABEL]: network.id },
    Options: { [NETWORK_OPTION]: network.id },
    IPAM: {
      Driver: DRIVER_NAME,
      Options: { [NETWORK_OPTION]: network.id },
      Config: network.subnets.map(({ subnet, gateway }) => ({
        Subnet: subnet,
        ...(gateway === '' ? {} : { Gateway: gateway }),
      })),
    },
  }
}
