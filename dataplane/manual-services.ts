// Services added by hand (`weft ipvs`): what they are, the changes that ipvsadm knows, and how they
// join the tables that the engine runs.
//
// They live beside the services of the tables and survive every swap. The address of a service says
// where it works: on the network whose subnet holds it, for clients on this node, exactly as a VIP
// of the tables. One whose address is on no network, or that goes by a firewall mark (packets on an
// overlay carry none), is kept, listed and saved, and takes no packets until a network has its
// address. So does a real server whose address no endpoint of that network has.
//
// The tables have precedence. A change that would touch one of their services is refused (FIXED),
// and a service that the tables claim later is in the shade until they no longer do.
//
// Pure: values in, values out. Merging makes ordinary CompiledTables, so that the engine knows
// nothing of all this.

import { familyOf, parseAddress } from './address.ts'
import { MANUAL_SERVERS_MAX, MANUAL_SERVICES_MAX } from './limits.ts'

export type ManualProtocol = 'tcp' | 'udp' | 'sctp'

/** What identifies a service: a mark and family, or protocol, address and port. */
export interface ServiceKey {
  /** 0 = by address. */
  readonly mark: number
  readonly family: 4 | 6
  readonly protocol: ManualProtocol
  /** Canonical text; "" with a mark. */
  readonly address: string
  /** 0 = every port (persistent services only). */
  readonly port: number
}

export interface ManualOptions {
  readonly scheduler: string
  /** As ipvsadm writes them; those that no scheduler knows are kept for the listing alone. */
  readonly schedulerFlags: readonly string[]
  /** 0 = not persistent. */
  readonly persistenceSeconds: number
  /** Bits of the client's address that count, 32 or 128 for all of them. */
  readonly persistencePrefix: number
  readonly onePacket: boolean
}

/** Forwarding methods of IPVS. weft always translates; the other two are kept for the listing. */
export type Method = 'masq' | 'route' | 'tunnel'

export interface ManualServer {
  readonly address: string
  readonly port: number
  readonly method: Method
  readonly weight: number
  readonly upperThreshold: number
  readonly lowerThreshold: number
}

export interface ManualService extends ServiceKey, ManualOptions {
  /** In the order in which they were added. */
  readonly servers: readonly ManualServer[]
}

export type ManualChange =
  | { readonly verb: 'add-service' | 'edit-service'; readonly service: ServiceKey & ManualOptions }
  | { readonly verb: 'delete-service'; readonly key: ServiceKey }
  | { readonly verb: 'clear' }
  | {
      readonly verb: 'add-server' | 'edit-server'
      readonly key: ServiceKey
      readonly server: ManualServer
    }
  | {
      readonly verb: 'delete-server'
      readonly key: ServiceKey
      readonly address: string
      readonly port: number
    }

/** Why a change is refused: the kernel's error names, FIXED (the service is the tables') and TAKEN
 * (the address is an endpoint's or a gateway's). */
export type ManualError =
  | 'EEXIST'
  | 'ESRCH'
  | 'ENOENT'
  | 'EINVAL'
  | 'ERANGE'
  | 'ENOMEM'
  | 'EAFNOSUPPORT'
  | 'FIXED'
  | 'TAKEN'

/** A service of the tables as a rule sees it: enough to tell whether a rule says the same. */
export interface TableService extends ServiceKey, ManualOptions {
  readonly servers: readonly ManualServer[]
}

/** What tables have. */
export interface TableClaims {
  /** Their services by keyText(). */
  readonly services: ReadonlyMap<string, TableService>
  /** Addresses that are an endpoint's or a gateway's. */
  readonly taken: ReadonlySet<string>
}

export function keyText(key: ServiceKey): string {
  return key.mark !== 0
    ? `mark/${key.mark}/${key.family}`
    : `${key.protocol}/${key.address}/${key.port}`
}

export class ManualServices {
  private readonly services: Map<string, ManualService> = new Map()
  /** Real servers of all of them. */
  private serverCount = 0
  private findClaims: () => TableClaims = () => ({ services: new Map(), taken: new Set() })
  private foundClaims: TableClaims | null = null
  private readonly schedulers: readonly string[]

  constructor(schedulers: readonly string[]) {
    this.schedulers = schedulers
  }

  /** All of them, in the order in which they were added. */
  list(): ManualService[] {
    return [...this.services.values()]
  }

  /** Other tables run; `find` tells what they claim, and is asked when somebody wants to know. */
  setTables(find: () => TableClaims): void {
    this.findClaims = find
    this.foundClaims = null
  }

  private get claims(): TableClaims {
    this.foundClaims ??= this.findClaims()
    return this.foundClaims
  }

  private put(name: string, service: ManualService): void {
    // One that is there already keeps its place.
    this.serverCount += service.servers.length - this.serversOf(name)
    this.services.set(name, service)
  }

  private remove(name: string): void {
    this.serverCount -= this.serversOf(name)
    this.services.delete(name)
  }

  private serversOf(name: string): number {
    return this.services.get(name)?.servers.length ?? 0
  }

  private clear(): void {
    this.services.clear()
    this.serverCount = 0
  }

  /** Replaces everything by what an earlier agent had. What cannot be used is left out; returns how
   * many services that were. */
  restore(services: readonly ManualService[]): number {
    this.clear()
    let lost = 0
    let servers = 0
    for (const service of services) {
      servers += service.servers.length
      const isUsable =
        servers <= MANUAL_SERVERS_MAX &&
        !this.services.has(keyText(service)) &&
        this.serviceError(service) === null &&
        serversError(service) === null
      if (isUsable) this.put(keyText(service), service)
      else lost++
    }
    return lost
  }

  /** Makes one change. Null, or why nothing was changed. With `restoring`, a rule that says what
   * the tables say already is no error: it is how a listing with their services loads again. */
  apply(change: ManualChange, restoring: boolean = false): ManualError | null {
    if (change.verb === 'clear') {
      this.clear()
      return null
    }
    const key = 'service' in change ? change.service : change.key
    const name = keyText(key)
    const ofTables = this.claims.services.get(name)
    if (ofTables !== undefined) {
      if (restoring && saysTheSame(change, ofTables)) return null
      return change.verb === 'add-service' ? 'EEXIST' : 'FIXED'
    }
    const known = this.services.get(name)
    if (change.verb === 'add-service' || change.verb === 'edit-service') {
      return this.putService(change.verb === 'add-service', name, known, change.service)
    }
    if (known === undefined) return 'ESRCH'
    if (change.verb === 'delete-service') {
      this.remove(name)
      return null
    }
    if (change.verb === 'add-server' && this.serverCount >= MANUAL_SERVERS_MAX) return 'ENOMEM'
    const servers = changedServers(known, change as ServerChange)
    if (typeof servers === 'string') return servers
    this.put(name, { ...known, servers })
    return null
  }

  /** What is wrong with a service by itself. */
  private serviceError(service: ServiceKey & ManualOptions): ManualError | null {
    if (!this.schedulers.includes(service.scheduler)) return 'ENOENT'
    if (service.persistencePrefix > (service.family === 4 ? 32 : 128)) return 'EINVAL'
    if (service.mark !== 0) return null
    const parsed = parseAddress(service.address)
    if (parsed === null || familyOf(parsed) !== service.family) return 'EINVAL'
    // Which port a client meant is lost unless it keeps its server; only tables may do that.
    return service.port === 0 && service.persistenceSeconds === 0 ? 'EINVAL' : null
  }

  private putService(
    isNew: boolean,
    name: string,
    known: ManualService | undefined,
    service: ServiceKey & ManualOptions,
  ): ManualError | null {
    if (isNew && known !== undefined) return 'EEXIST'
    if (!isNew && known === undefined) return 'ESRCH'
    const error = this.serviceError(service)
    if (error !== null) return error
    if (this.claims.taken.has(service.address)) return 'TAKEN'
    if (isNew && this.services.size >= MANUAL_SERVICES_MAX) return 'ENOMEM'
    this.put(name, { ...service, servers: known?.servers ?? [] })
    return null
  }
}

/** What is wrong with a list of real servers. */
function serversError({ family, servers }: ManualService): ManualError | null {
  const seen = new Set<string>()
  for (const server of servers) {
    const error = serverError(family, server)
    if (error !== null) return error
    seen.add(`${server.address}/${server.port}`)
  }
  return seen.size === servers.length ? null : 'EEXIST'
}

function serverError(family: 4 | 6, server: ManualServer): ManualError | null {
  const parsed = parseAddress(server.address)
  if (parsed === null) return 'EINVAL'
  // Nothing here translates between the families.
  if (familyOf(parsed) !== family) return 'EAFNOSUPPORT'
  return server.lowerThreshold > server.upperThreshold ? 'ERANGE' : null
}

type ServerChange = Extract<
  ManualChange,
  { readonly verb: 'add-server' | 'edit-server' | 'delete-server' }
>

function changedServers(
  service: ManualService,
  change: ServerChange,
): readonly ManualServer[] | ManualError {
  const { address, port } = change.verb === 'delete-server' ? change : change.server
  const at = service.servers.findIndex((one) => one.address === address && one.port === port)
  if (change.verb === 'delete-server') {
    return at < 0 ? 'ENOENT' : service.servers.filter((_, i) => i !== at)
  }
  const { server } = change
  const error = serverError(service.family, server)
  if (error !== null) return error
  if (change.verb === 'edit-server') {
    return at < 0 ? 'ENOENT' : service.servers.map((one, i) => (i === at ? server : one))
  }
  if (at >= 0) return 'EEXIST'
  return [...service.servers, server]
}

/** True when a rule describes what the tables have. */
function saysTheSame(change: ManualChange, service: TableService): boolean {
  if (change.verb === 'add-service') {
    const { schedulerFlags, ...rest } = change.service
    return (
      (Object.keys(rest) as (keyof typeof rest)[]).every(
        (field) => rest[field] === service[field],
      ) && schedulerFlags.join() === service.schedulerFlags.join()
    )
  }
  if (change.verb !== 'add-server') return false
  const { address, port, weight, method } = change.server
  return service.servers.some(
    (one) =>
      one.address === address &&
      one.port === port &&
      one.weight === weight &&
      one.method === method,
  )
}

/** Makes changes in order, up to the first that is refused. */
export function applyChanges(
  services: ManualServices,
  changes: readonly ManualChange[],
  restoring: boolean,
): { made: number; error: ManualError | null } {
  for (const [made, change] of changes.entries()) {
    const error = services.apply(change, restoring)
    if (error !== null) return { made, error }
  }
  return { made: changes.length, error: null }
}
