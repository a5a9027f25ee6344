// What the agent has, gathered page by page: the balancer's services with their loads, and those
// added by hand as they were given. The two are one table: a service added by hand shows the
// weights and methods that were given, and also where it has no place in the running tables.

import { parseAddress } from '../../dataplane/address.ts'
import { manualKey, manualServerKey } from '../../dataplane/manual-merge.ts'
import { keyText, type ManualServer, type ManualService } from '../../dataplane/manual-services.ts'
import type {
  Five,
  ListedServer,
  ListedService,
  ServicePage,
  ServicePlace,
} from '../../ipvs-emulator/listing.ts'
import type { ControlClient } from '../control-client.ts'

const START: ServicePlace = { service: 0, server: 0 }
const ZEROS: Five = [0, 0, 0, 0, 0]

/** The part of the client that listings use. */
export type Asks = Pick<ControlClient, 'call'>

/** All services, those of the tables and those added by hand. */
export async function gatherServices(client: Asks): Promise<ListedService[]> {
  const manual = await gatherManual(client)
  const services = await gatherBalanced(client)
  return joinServices(services, manual)
}

async function gatherManual(client: Asks): Promise<ManualService[]> {
  const found = new Map<string, ManualService>()
  for (let from: ServicePlace | null = START; from !== null; ) {
    const page: { services: readonly ManualService[]; next: ServicePlace | null } =
      await client.call('ipvs.manual', from)
    for (const service of page.services) {
      const name = keyText(service)
      const servers = [...(found.get(name)?.servers ?? []), ...service.servers]
      found.set(name, { ...service, servers })
    }
    from = page.next
  }
  return [...found.values()]
}

async function gatherBalanced(client: Asks): Promise<ListedService[]> {
  const found = new Map<string, ListedService>()
  for (let from: ServicePlace | null = START; from !== null; ) {
    const page: ServicePage = await client.call('ipvs.services', from)
    for (const service of page.services) {
      const name = `${service.key}|${service.family}|${service.address}|${service.port}`
      const servers = [...(found.get(name)?.servers ?? []), ...service.servers]
      found.set(name, { ...service, servers })
    }
    from = page.next
  }
  return [...found.values()]
}

/** Puts what was given by hand over what the balancer says of it. */
export function joinServices(
  balanced: readonly ListedService[],
  manual: readonly ManualService[],
): ListedService[] {
  const byKey = new Map(balanced.map((service) => [service.key, service]))
  const manualKeys = new Set(manual.map(manualKey))
  const places = new Set(
    balanced.filter(({ key }) => !manualKeys.has(key)).map((service) => placeText(service)),
  )
  const joined = balanced.filter(({ key }) => !manualKeys.has(key))
  for (const service of manual) {
    const listed = listManual(service, byKey.get(manualKey(service)))
    // In the shade of a service of the tables.
    if (service.mark === 0 && places.has(placeText(listed))) continue
    joined.push(listed)
  }
  return joined
}

function placeText({ protocol, address, port }: ListedService): string {
  return `${protocol}/${address}/${port}`
}

function listManual(service: ManualService, live: ListedService | undefined): ListedService {
  const { mark, protocol, port, scheduler, schedulerFlags, persistenceSeconds } = service
  const family = service.family === 4 ? 0 : 1
  const loads = new Map(live?.servers.map((server) => [server.key, server]) ?? [])
  return {
    key: manualKey(service),
    zone: live?.zone ?? 0,
    family,
    mark,
    protocol,
    address: mark === 0 ? service.address : family === 0 ? '0.0.0.0' : '::',
    port,
    scheduler,
    schedulerFlags,
    persistenceSeconds,
    persistencePrefix: service.persistencePrefix,
    onePacket: service.onePacket,
    counters: live?.counters ?? ZEROS,
    rates: live?.rates ?? ZEROS,
    servers: service.servers.map((server) => {
      const key = manualServerKey(service, server.address, server.port)
      return listServer(server, key, family, loads.get(key))
    }),
  }
}

function listServer(
  server: ManualServer,
  key: string,
  family: number,
  live: ListedServer | undefined,
): ListedServer {
  const { address, port, weight, method, upperThreshold, lowerThreshold } = server
  return {
    key,
    family: parseAddress(address)?.bytes.length === 16 ? 1 : family,
    address,
    port,
    weight,
    method,
    upperThreshold,
    lowerThreshold,
    active: live?.active ?? 0,
    inactive: live?.inactive ?? 0,
    persistent: live?.persistent ?? 0,
    counters: live?.counters ?? ZEROS,
    rates: live?.rates ?? ZEROS,
  }
}
