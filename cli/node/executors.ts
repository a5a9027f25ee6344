// What runs this node's tasks, by `--runtime`: the Docker engine where one answers, processes of
// the host otherwise.

import { existsSync, readFileSync } from 'node:fs'
import { Address4, Address6 } from 'ip-address'
import type { Logger } from '../../base/log.ts'
import { upstreamsOf } from '../../controlplane/agent/dns/upstream.ts'
import { DockerExecutor } from '../../controlplane/agent/docker/executor.ts'
import type { AttachmentCalls, Executor } from '../../controlplane/agent/executor.ts'
import type { Egress } from '../../controlplane/agent/process/egress.ts'
import { ProcessExecutor } from '../../controlplane/agent/process/executor.ts'
import type { NetworkItem } from '../../controlplane/store/assignment.ts'
import type { GenericResource } from '../../controlplane/store/specs.ts'
import {
  closeEgressLink,
  EGRESS_ADDRESSES,
  egressAddress,
  egressObstacle,
  openEgressLink,
  restoreEgressLink,
} from '../../dataplane/edge/egress.ts'
import { EGRESS_DEVICES } from '../../dataplane/edge/mesh-plan.ts'
import { makeNetworkNamespace, releaseNetworkNamespace } from '../../dataplane/edge/netns.ts'
import { spawn } from '../../dataplane/edge/spawn.ts'
import { openTerminal } from '../../dataplane/edge/terminal.ts'
import { macFromAddress } from '../../dataplane/mac-derive.ts'

/** A network of the node's assignment, by its id. */
export type NetworkOf = (networkId: string) => NetworkItem | undefined

/** What an executor asks of the node's membership. */
export interface ExecutorHost {
  readonly network: NetworkOf
  readonly attachments: AttachmentCalls
  /** Waits until the packet loop has made an interface; false when it has not within `limitMs`. */
  readonly made: (device: string, limitMs: number) => Promise<boolean>
  /** Addresses of this host at which published ports answer. */
  readonly addresses: () => readonly string[]
}

export type Runtime = 'auto' | 'docker' | 'process'

export interface ExecutorOptions extends ExecutorHost {
  readonly runtime: Runtime
  readonly dataDirectory: string
  readonly runDirectory: string
  readonly version: string
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  readonly genericResources: readonly GenericResource[]
  readonly engineSocket: string
  /** Of the engine: where it looks for network drivers. */
  readonly pluginDirectory: string
  readonly log: Logger
}

/** Rejects when the runtime that was asked for cannot be had. */
export async function openExecutor(options: ExecutorOptions): Promise<Executor> {
  const { runtime, engineSocket, log } = options
  if (runtime === 'docker' || (runtime === 'auto' && existsSync(engineSocket))) {
    try {
      const executor = await openDocker(options)
      log.info('tasks run as containers', { engine: engineSocket })
      return executor
    } catch (error) {
      const why = `the engine at ${engineSocket} cannot be used: ${(error as Error).message}`
      if (runtime === 'docker') throw new Error(why)
      log.warn('tasks run as processes', { reason: why })
      return openProcess(options)
    }
  }
  const reason = runtime === 'auto' ? `there is no engine at ${engineSocket}` : '--runtime process'
  log.info('tasks run as processes', { reason })
  return openProcess(options)
}

async function openDocker(options: ExecutorOptions): Promise<Executor> {
  const { engineSocket, pluginDirectory, runDirectory, hostname, log, network } = options
  const executor = new DockerExecutor({
    socketPath: engineSocket,
    pluginDirectory,
    runDirectory,
    hostname,
    labels: options.labels,
    genericResources: options.genericResources,
    addresses: options.addresses,
    network,
    macOf,
    attachments: options.attachments,
    made: options.made,
    startProgram: spawn,
    log,
  })
  await executor.open()
  return executor
}

async function openProcess(options: ExecutorOptions): Promise<Executor> {
  const { dataDirectory, runDirectory, version, hostname, labels, genericResources } = options
  const executor = new ProcessExecutor({
    dataDirectory,
    runDirectory,
    version,
    hostname,
    labels,
    genericResources,
    addresses: options.addresses,
    network: options.network,
    openTerminal,
    startProgram: spawn,
    egress: await hostEgress(options.log),
    namespaces: { make: makeNetworkNamespace, release: releaseNetworkNamespace },
    wallNs: () => BigInt(Date.now()) * 1_000_000n,
  })
  await executor.open()
  return executor
}

/** By which tasks reach outside; null, and a warning, where the host has no means. */
async function hostEgress(log: Logger): Promise<Egress | null> {
  const obstacle = await egressObstacle()
  if (obstacle !== null) {
    log.warn('tasks reach nothing outside their networks', { reason: obstacle })
    return null
  }
  return {
    devices: EGRESS_DEVICES,
    addresses: EGRESS_ADDRESSES,
    address: egressAddress,
    connect: openEgressLink,
    restore: async (link) => {
      await restoreEgressLink(link).catch((error: Error) => {
        log.warn('a task has no way outside', { device: link.device, error: error.message })
      })
    },
    disconnect: closeEgressLink,
    resolvers: () => {
      try {
        const servers = upstreamsOf(readFileSync('/etc/resolv.conf', 'utf8'), new Set())
        return servers.map(({ address }) => address).filter((text) => !/^(127\.|::1$)/.test(text))
      } catch {
        return []
      }
    },
  }
}

/** "02:42:0a:00:01:03" for 10.0.1.3: the address under which the packet loop knows an endpoint. */
function macOf(address: string): string {
  const bytes = address.includes(':')
    ? new Address6(address).toUnsignedByteArray()
    : new Address4(address).toArray()
  const wide = address.includes(':') ? [...Array(16 - bytes.length).fill(0), ...bytes] : bytes
  const mac = macFromAddress(Uint8Array.from(wide))
  return [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
}
