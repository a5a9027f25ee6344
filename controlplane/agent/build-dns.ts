// From the node's assignment to the names that its containers can ask for (dns/zone.ts). Pure.
//
//     web, alias     virtual addresses; all tasks' where there are none (dnsrr)
//     tasks.web      every task's, also tasks.ALIAS
//     web.1.<task>   one task, which is also its name backwards; its hostname, where it has one
//
// A task has a name from the moment it is reachable, and is in its service's answers only while it
// serves: what starts or drains is not among them.

import type { EndpointItem, NetworkItem, ServiceItem } from '../store/assignment.ts'
import type { DnsClient, DnsNetwork, DnsRecord, DnsTables } from './dns/zone.ts'

export interface DnsInput {
  readonly nodeId: string
  readonly networks: ReadonlyMap<string, NetworkItem>
  readonly endpoints: ReadonlyMap<string, EndpointItem>
  readonly services: ReadonlyMap<string, ServiceItem>
  /** The node's own tasks: ids of their networks, in the order in which they were asked for. */
  readonly networksOf: (taskId: string) => readonly string[]
}

export function buildDns(input: DnsInput): DnsTables {
  const endpoints = groupBy(input.endpoints.values(), ({ networkId }) => networkId)
  const services = groupBy(input.services.values(), ({ networkId }) => networkId)
  const networks = [...input.networks.values()]
    // Nobody asks for names on the ingress network: it is the way in for published ports.
    .filter(({ ingress }) => !ingress)
    .map((network): DnsNetwork => {
      const { id, name, subnets } = network
      const tasks = endpoints.get(id) ?? []
      const records = [
        ...serviceRecords(services.get(id) ?? [], tasks),
        ...tasks.flatMap(taskRecords),
      ]
      return { id, name, subnets: subnets.map(({ subnet }) => subnet), records: merged(records) }
    })
  return { networks, clients: clients(input) }
}

function serviceRecords(
  services: readonly ServiceItem[],
  tasks: readonly EndpointItem[],
): DnsRecord[] {
  const serving = groupBy(
    tasks.filter(({ state }) => state === 'serving'),
    ({ serviceId }) => serviceId,
  )
  return services.flatMap((service) => {
    const members = serving.get(service.serviceId) ?? []
    const all = members.flatMap(({ addresses }) => addresses)
    const answer = service.mode === 'vip' && service.vips.length > 0 ? service.vips : all
    const isCanonical = answer === service.vips
    return [
      { name: service.name, addresses: answer, isCanonical },
      { name: `tasks.${service.name}`, addresses: all },
      ...service.aliases.flatMap((alias) => [
        { name: alias, addresses: answer },
        { name: `tasks.${alias}`, addresses: all },
      ]),
    ]
  })
}

function taskRecords(task: EndpointItem): DnsRecord[] {
  const { serviceName, slot, taskId, nodeId, addresses, hostname } = task
  const name = serviceName === '' ? taskId : `${serviceName}.${slot ?? nodeId}.${taskId}`
  const records: DnsRecord[] = [{ name, addresses, isCanonical: true }]
  // A hostname with a template in it is known on its node alone.
  if (hostname !== '' && !hostname.includes('{{')) records.push({ name: hostname, addresses })
  // The aliases of a service's tasks are the service's (serviceRecords); an attachment has its own.
  if (task.serviceId === '') {
    for (const alias of task.aliases) records.push({ name: alias, addresses })
  }
  return records
}

/** Names that several things have answer for all of them. */
function merged(records: readonly DnsRecord[]): DnsRecord[] {
  const byName = new Map<string, DnsRecord>()
  for (const record of records) {
    const key = record.name.toLowerCase()
    const other = byName.get(key)
    if (other === undefined) byName.set(key, record)
    else {
      const addresses = [...new Set([...other.addresses, ...record.addresses])]
      byName.set(key, { ...other, addresses })
    }
  }
  return [...byName.values()]
}

function clients({ nodeId, networks, endpoints, networksOf }: DnsInput): DnsClient[] {
  const own = [...endpoints.values()].filter((endpoint) => endpoint.nodeId === nodeId)
  return [...groupBy(own, ({ taskId }) => taskId)].map(([taskId, places]) => {
    const order = networksOf(taskId)
    const ids = places.map(({ networkId }) => networkId).filter((id) => !networks.get(id)?.ingress)
    return {
      addresses: places.flatMap(({ addresses }) => addresses),
      networks: ids.sort((a, b) => order.indexOf(a) - order.indexOf(b)),
      // As with Docker: a container has the outside unless all its networks are internal.
      external: ids.length === 0 || ids.some((id) => networks.get(id)?.internal !== true),
    }
  })
}

function groupBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}
