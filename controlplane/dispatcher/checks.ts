// What nodes say of themselves, checked: it comes from a machine that may be somebody else's by
// now, and goes into the store of the whole cluster. Sizes are bounded, unknown fields are dropped,
// wrong ones refused as a whole.

import type { NodeDescription, TaskState, TaskStatus } from '../store/objects.ts'
import { stateRank, TASK_STATES } from '../store/objects.ts'
import type { GenericResource, PortConfig } from '../store/specs.ts'
import { DispatchError } from './errors.ts'
import { DESCRIPTION_BYTES_MAX, LIST_MAX, STATUS_BYTES_MAX, TEXT_MAX } from './limits.ts'

type Fields = Readonly<Record<string, unknown>>

/** The tunnel of a node as it describes it. */
export interface TunnelDescription {
  readonly publicKey: string
  readonly endpoint: string | null
  readonly zone: string
}

export function parseDescription(bytes: Uint8Array): NodeDescription {
  const value = parse(bytes, DESCRIPTION_BYTES_MAX, 'description')
  const platform = fields(value.platform)
  const resources = fields(value.resources)
  const engine = fields(value.engine)
  const tls = value.tls === null || value.tls === undefined ? null : fields(value.tls)
  return {
    hostname: text(value.hostname),
    platform: { os: text(platform.os), architecture: text(platform.architecture) },
    resources: {
      nanoCpus: count(resources.nanoCpus),
      memoryBytes: count(resources.memoryBytes),
    },
    genericResources: list(value.genericResources).map(genericResource),
    engine: {
      version: text(engine.version),
      labels: labels(engine.labels),
      plugins: list(engine.plugins).map((plugin) => {
        const { type, name } = fields(plugin)
        return { type: text(type), name: text(name) }
      }),
    },
    tls:
      tls === null
        ? null
        : {
            trustRoot: text(tls.trustRoot, DESCRIPTION_BYTES_MAX),
            issuerSubject: text(tls.issuerSubject),
            issuerPublicKey: text(tls.issuerPublicKey),
          },
    addresses: list(value.addresses).map((address) => text(address)),
  }
}

/** A key of 32 bytes in base64, an endpoint `address:port` or ''. Null for a node without a tunnel.
 */
export function parseTunnel(
  publicKey: string,
  endpoint: string,
  zone: string,
): TunnelDescription | null {
  if (publicKey === '') return null
  const bytes = Buffer.from(publicKey, 'base64')
  if (bytes.length !== 32 || bytes.toString('base64') !== publicKey) refuse('tunnel key')
  return { publicKey, endpoint: endpoint === '' ? null : parseEndpoint(endpoint), zone: text(zone) }
}

export function parseEndpoint(endpoint: string): string {
  const form = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/.exec(endpoint)
  const port = Number(form?.[1])
  if (form === null || port < 1 || port > 65535) refuse('tunnel endpoint')
  return endpoint
}

/** States that a node may give its tasks. */
function isReported(state: string): state is TaskState {
  if (!(TASK_STATES as readonly string[]).includes(state)) return false
  const rank = stateRank(state as TaskState)
  return rank >= stateRank('assigned') && rank <= stateRank('rejected')
}

export function parseStatus(bytes: Uint8Array): TaskStatus {
  const value = parse(bytes, STATUS_BYTES_MAX, 'status')
  const state = text(value.state)
  if (!isReported(state)) refuse('state')
  const container = value.container === null ? null : fields(value.container)
  return {
    state,
    atMs: count(value.atMs),
    message: text(value.message),
    error: text(value.error),
    container:
      container === null
        ? null
        : {
            id: text(container.id),
            pid: count(container.pid),
            exitCode: integer(container.exitCode),
          },
    hostPorts: list(value.hostPorts).map(portConfig),
    isServing: value.isServing === true,
  }
}

function portConfig(value: unknown): PortConfig {
  const { Name, Protocol, TargetPort, PublishedPort } = fields(value)
  if (Protocol !== 'tcp' && Protocol !== 'udp' && Protocol !== 'sctp') refuse('port')
  return {
    ...(Name === undefined ? {} : { Name: text(Name) }),
    Protocol,
    TargetPort: count(TargetPort),
    ...(PublishedPort === undefined ? {} : { PublishedPort: count(PublishedPort) }),
    PublishMode: 'host',
  }
}

function genericResource(value: unknown): GenericResource {
  const { NamedResourceSpec: named, DiscreteResourceSpec: discrete } = fields(value)
  if (named !== undefined) {
    const { Kind, Value } = fields(named)
    return { NamedResourceSpec: { Kind: text(Kind), Value: text(Value) } }
  }
  const { Kind, Value } = fields(discrete)
  return { DiscreteResourceSpec: { Kind: text(Kind), Value: count(Value) } }
}

function parse(bytes: Uint8Array, bytesMax: number, what: string): Fields {
  if (bytes.length > bytesMax) refuse(`${what}: ${bytes.length} bytes`)
  try {
    return fields(JSON.parse(Buffer.from(bytes).toString('utf8')))
  } catch (error) {
    if (error instanceof DispatchError) throw error
    return refuse(`${what}: no JSON`)
  }
}

function fields(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse('object')
  return value as Fields
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value) || value.length > LIST_MAX) refuse('list')
  return value as readonly unknown[]
}

function labels(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fields(value))
  if (entries.length > LIST_MAX) refuse('labels')
  return Object.fromEntries(entries.map(([key, label]) => [text(key), text(label)]))
}

function text(value: unknown, lengthMax: number = TEXT_MAX): string {
  if (typeof value !== 'string' || value.length > lengthMax) refuse('text')
  return value as string
}

function integer(value: unknown): number {
  if (!Number.isSafeInteger(value)) refuse('integer')
  return value as number
}

function count(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) refuse('number')
  return value as number
}

function refuse(what: string): never {
  throw new DispatchError('invalid-argument', `not what a node says: ${what}`)
}
