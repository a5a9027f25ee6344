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
