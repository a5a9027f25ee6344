// Carries a request out on a running agent. Text goes to `write`; what is refused is an
// IpvsFailure with ipvsadm's words and status.

import type {
  ManualChange,
  ManualError,
  ManualOptions,
  ServiceKey,
} from '../../dataplane/manual-services.ts'
import {
  type Columns,
  connectionLines,
  connectionTitle,
  type EndpointText,
  formatRules,
  formatServices,
  formatTimeouts,
  numericEndpoint,
} from '../../ipvs-emulator/format.ts'
import type { ConnectionPage, ListedService } from '../../ipvs-emulator/listing.ts'
import { IpvsFailure, STATUS_NOT_THERE, STATUS_REFUSED } from './failure.ts'
import type { OptionName } from './grammar.ts'
import { type Asks, gatherServices } from './listing.ts'
import type { Names } from './names.ts'
import type { Request } from './request.ts'

/** Writes a piece of output; resolves when more may come. */
export type Write = (text: string) => void | Promise<void>

/** Carries out anything but a restore, --help and --version. */
export async function runRequest(
  client: Asks,
  request: Request,
  names: Names,
  write: Write,
): Promise<void> {
  const change = changeOf(request)
  if (change !== null) return runChanges(client, [change], false)
  const numeric = request.options.has('numeric') ? numericEndpoint : null
  const endpoint = numeric ?? namedEndpoint(names)
  switch (request.command) {
    case 'list':
      return list(client, request, endpoint, write)
    case 'save':
      return write(formatRules(await gatherServices(client), numeric ?? ruleEndpoint(names)))
    case 'zero':
      return zero(client, request.key)
    case 'set':
      await client.call('ipvs.setTimeouts', { seconds: request.timeouts! })
      return
    default:
      throw new IpvsFailure(
        STATUS_REFUSED,
        'There is no sync daemon: every node balances for its own clients',
      )
  }
}

/** The change that a request is, null when it is none. */
export function changeOf({ command, key, service, server }: Request): ManualChange | null {
  switch (command) {
    case 'add-service':
    case 'edit-service':
      return {
        verb: command,
        service: { ...key!, ...service } satisfies ServiceKey & ManualOptions,
      }
    case 'delete-service':
      return { verb: command, key: key! }
    case 'flush':
      return { verb: 'clear' }
    case 'add-server':
    case 'edit-server':
      return { verb: command, key: key!, server: server! }
    case 'delete-server':
      return { verb: command, key: key!, address: server!.address, port: server!.port }
    default:
      return null
  }
}

/** Makes changes; refuses with the words for the first that is not made. */
export async function runChanges(
  client: Asks,
  changes: readonly ManualChange[],
  restoring: boolean,
): Promise<void> {
  const { made, error } = await client.call('ipvs.change', { changes, restoring })
  if (error !== null) throw new Refusal(made, wordsFor(changes[made]!.verb, error))
}

/** A change that was refused, and how many before it were made. */
export class Refusal extends IpvsFailure {
  override readonly name: string = 'Refusal'
  readonly made: number

  constructor(made: number, words: string) {
    super(STATUS_REFUSED, words)
    this.made = made
  }
}

const COMMON_WORDS: Readonly<Record<ManualError, string>> = {
  EEXIST: 'Service already exists',
  ESRCH: 'No such service',
  ENOENT: 'Scheduler or persistence engine not found',
  EINVAL: 'Invalid operation: no usable address, or zero port of a non-persistent service',
  ERANGE: 'Numerical result out of range: the lower threshold is above the upper one',
  ENOMEM: 'Memory allocation problem: there are as many services or servers as there can be',
  EAFNOSUPPORT: 'Operation not supported with specified address family',
  FIXED: "The service is one of the tables' and cannot be changed by hand",
  TAKEN: 'The address is that of an endpoint or gateway of the tables',
}

const SERVER_WORDS: Partial<Record<ManualError, string>> = {
  EEXIST: 'Destination already exists',
  ESRCH: 'Service not defined',
  ENOENT: 'No such destination',
}

function wordsFor(verb: ManualChange['verb'], error: ManualError): string {
  const words = verb.endsWith('-server') ? SERVER_WORDS[error] : undefined
  return words ?? COMMON_WORDS[error]
}

/** Names where there are any, cut to nothing: format.ts does the columns. */
function namedEndpoint(names: Names): EndpointText {
  return (family, address, port, protocol) => {
    const host = names.host(address)
    return `${family === 0 ? host : `[${host}]`}:${names.service(protocol, port)}`
  }
}

/** Names that a restore reads as the same address and port; numbers where there are none. */
function ruleEndpoint(names: Names): EndpointText {
  return (family, address, port, protocol) => {
    const host = names.host(address)
    const service = names.service(protocol, port)
    const ownPort = names.port(protocol, service) === port ? service : port
    if (family !== 0) return `[${address}]:${ownPort}`
    return `${names.address(host) === address ? host : address}:${ownPort}`
  }
}

async function list(
  client: Asks,
  { options, key }: Request,
  endpoint: EndpointText,
  write: Write,
): Promise<void> {
  if (options.has('connection')) {
    return listConnections(client, options.has('persistent-conn'), endpoint, write)
  }
  if (options.has('timeout')) return write(formatTimeouts(await client.call('ipvs.timeouts', null)))
  // There is no sync daemon, so there is nothing to tell of one.
  if (options.has('daemon')) return
  const services = await gatherServices(client)
  const wanted = key === null ? services : services.filter((service) => isOf(service, key))
  if (key !== null && wanted.length === 0) {
    throw new IpvsFailure(STATUS_NOT_THERE, 'No such service')
  }
  const text = formatServices(wanted, {
    columns: columnsOf(options),
    exact: options.has('exact'),
    unsorted: options.has('nosort'),
    tableSize: key === null ? await client.call('ipvs.capacity', null) : null,
    endpoint,
  })
  return write(text)
}

/** Where several are asked for, ipvsadm takes the first of these. */
function columnsOf(options: ReadonlySet<OptionName>): Columns {
  const order: readonly Columns[] = ['stats', 'rate', 'thresholds', 'persistent-conn', 'tun-info']
  return order.find((columns) => options.has(columns as OptionName)) ?? 'plain'
}

function isOf(service: ListedService, key: ServiceKey): boolean {
  if (key.mark !== 0) {
    return service.mark === key.mark && service.family === (key.family === 4 ? 0 : 1)
  }
  return (
    service.mark === 0 &&
    service.protocol === key.protocol &&
    service.address === key.address &&
    service.port === key.port
  )
}

async function listConnections(
  client: Asks,
  persistence: boolean,
  endpoint: EndpointText,
  write: Write,
): Promise<void> {
  await write(connectionTitle(persistence))
  for (let from = 0; from >= 0; ) {
    const page: ConnectionPage = await client.call('ipvs.connections', { from })
    if (page.connections.length > 0) await write(connectionLines(page.connections, endpoint))
    from = page.next
  }
}

async function zero(client: Asks, key: ServiceKey | null): Promise<void> {
  if (key === null) {
    await client.call('ipvs.zero', { key: null })
    return
  }
  const service = (await gatherServices(client)).find((one) => isOf(one, key))
  if (service === undefined) throw new IpvsFailure(STATUS_REFUSED, 'No such service')
  // One without a place in the tables has counted nothing.
  await client.call('ipvs.zero', { key: service.key })
}
