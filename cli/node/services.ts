// What the Engine API sets going in other parts of the node: a new root, logs, networks of the
// engine.

import { type ServiceError, status as Status } from '@grpc/grpc-js'
import { notAttachable } from '../../controlplane/api/attachments.ts'
import { ApiError, noLeader } from '../../controlplane/api/errors.ts'
import type {
  EngineNetwork,
  LogLine,
  LogSubscription,
  NodeServices,
} from '../../controlplane/api/node-control.ts'
import { planRoot } from '../../controlplane/ca/rotation.ts'
import type { LogEntry } from '../../controlplane/dispatcher/log-broker.ts'
import type { NetworkItem } from '../../controlplane/store/assignment.ts'
import type { RootCaState } from '../../controlplane/store/objects.ts'
import type { SwarmSpec } from '../../controlplane/store/specs.ts'
import { type Node, sessionOf } from './node.ts'

const NEWLINE = 10
const NANOS_PER_MS = 1_000_000n

export function nodeServices(node: Node): NodeServices {
  return {
    planRoot(current: RootCaState, config: SwarmSpec['CAConfig']): Promise<RootCaState> {
      const { manager } = node
      if (manager === null) throw noLeader()
      return planRoot(current, config, manager.external, node.clock.wallMs())
    },
    async *logs(subscription: LogSubscription, signal: AbortSignal): AsyncGenerator<LogLine> {
      const broker = node.manager?.loops?.dispatcher.logs
      if (broker === undefined) throw noLeader()
      const { sinceMs, tail, ...which } = subscription
      const request = { ...which, sinceMs: sinceMs ?? 0, tail: tail ?? -1 }
      for await (const entry of broker.subscribe(request, signal)) yield logLine(entry)
    },
    ensureEngineNetwork: (network) => ensureEngineNetwork(node, network),
  }
}

async function ensureEngineNetwork(node: Node, network: string): Promise<EngineNetwork | null> {
  const { membership } = node
  const ensure = membership?.executor.ensureNetwork
  // Processes are given their networks by the executor; there is no engine that has to know.
  if (membership === null || ensure === undefined) return null
  let item: NetworkItem
  try {
    item = await sessionOf(membership).findNetwork(network)
  } catch (error) {
    const { code, details } = error as ServiceError
    if (code === Status.PERMISSION_DENIED) throw notAttachable(network)
    if (code === Status.NOT_FOUND) return null
    throw new ApiError(503, `the swarm cannot be asked for network ${network}: ${details ?? error}`)
  }
  const name = await membership.executor.ensureNetwork!(item)
  const nameServers = item.subnets.map(({ gateway }) => gateway).filter((text) => text !== '')
  return { name, nameServers }
}

function logLine({ timestampNs, data, ...entry }: LogEntry): LogLine {
  const nanos = /^\d{1,20}$/.test(timestampNs) ? BigInt(timestampNs) : 0n
  const end = data.at(-1) === NEWLINE ? data.length - 1 : data.length
  return {
    ...entry,
    atMs: Number(nanos / NANOS_PER_MS),
    atNanos: Number(nanos % NANOS_PER_MS),
    text: data.subarray(0, end),
  }
}
