// Names in the forwarding tables: what a person reads in metrics and logs, unique, and the same in
// every version, because the data plane keeps flows and counters by name.

import type { EndpointItem, NetworkItem, ServiceItem } from '../store/assignment.ts'

/** As dataplane/tables-shape.ts has it. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/
const NAME_LENGTH_MAX = 63
/** Of a network's id: enough to tell a task's networks apart. */
const NETWORK_LENGTH = 8

function fits(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && NAME.test(name)
}

export function networkName({ id, name }: NetworkItem): string {
  return fits(name) ? name : id
}

/** "web.front". Names of services have no dots, so no two pairs make the same name. */
export function serviceName(service: ServiceItem, network: NetworkItem): string {
  const name = `${service.name}.${networkName(network)}`
  return fits(name) ? name : `${service.serviceId}.${network.id.slice(0, NETWORK_LENGTH)}`
}

/** "web.1.3k2….a8f3k2j1", the task's name in `docker ps` and some of its network. */
export function endpointName({ serviceName, slot, taskId, networkId }: EndpointItem): string {
  const tail = `${taskId}.${networkId.slice(0, NETWORK_LENGTH)}`
  const service = slot === null ? serviceName : `${serviceName}.${slot}`
  const room = NAME_LENGTH_MAX - tail.length - 1
  const name = `${service.slice(0, Math.max(0, room))}.${tail}`
  return fits(name) ? name : tail
}

/** Keeps networks of one name apart: one that was removed is there while somebody is on it, and
 * another may have its name already. Who was there first keeps the name; the other goes by its id
 * for as long as it lives, for flows are kept by name. */
export class NetworkNames {
  readonly #owners = new Map<string, string>()
  /** Ids of those that go by it. */
  readonly #nameless = new Set<string>()

  /** The networks under names of their own. */
  apart(networks: ReadonlyMap<string, NetworkItem>): ReadonlyMap<string, NetworkItem> {
    for (const [name, id] of this.#owners) if (!networks.has(id)) this.#owners.delete(name)
    for (const id of this.#nameless) if (!networks.has(id)) this.#nameless.delete(id)
    for (const { id, name } of networks.values()) {
      if (this.#nameless.has(id)) continue
      if (!this.#owners.has(name)) this.#owners.set(name, id)
      else if (this.#owners.get(name) !== id) this.#nameless.add(id)
    }
    if (this.#nameless.size === 0) return networks
    return new Map(
      [...networks].map(([id, item]) => [
        id,
        this.#nameless.has(id) ? { ...item, name: id } : item,
      ]),
    )
  }
}
