// What runs this node's tasks, by `--runtime`: the Docker engine where one answers, processes of
// the host otherwise.

import { networkInterfaces } from 'node:os'
import type { Executor } from '../../controlplane/agent/executor.ts'
import { ProcessExecutor } from '../../controlplane/agent/process/executor.ts'
import type { GenericResource } from '../../controlplane/store/specs.ts'
import type { SystemAddress } from './addresses.ts'

export type Runtime = 'auto' | 'docker' | 'process'

export interface ExecutorOptions {
  readonly runtime: Runtime
  readonly dataDirectory: string
  readonly runDirectory: string
  readonly version: string
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  readonly genericResources: readonly GenericResource[]
  readonly gateways: (networkId: string) => readonly string[]
}

/** Rejects when the runtime that was asked for cannot be had. */
export async function openExecutor(options: ExecutorOptions): Promise<Executor> {
  if (options.runtime === 'docker') {
    throw new Error('the runtime "docker" is not there yet: use --runtime process')
  }
  const { dataDirectory, runDirectory, version, hostname, labels, genericResources } = options
  const executor = new ProcessExecutor({
    dataDirectory,
    runDirectory,
    version,
    hostname,
    labels,
    genericResources,
    addresses: publishedAddresses,
    gateways: options.gateways,
    wallNs: () => BigInt(Date.now()) * 1_000_000n,
  })
  await executor.open()
  return executor
}

/** Every address of the interfaces that are up, loopback not among them. */
export function systemAddresses(): SystemAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter(({ internal }) => !internal)
      .map(({ address }) => ({ interface: name, address })),
  )
}

/** Where published ports answer: link-local addresses need a scope and are left out, and what
 * weft itself made is none of the host's. */
export function publishedAddresses(): string[] {
  return systemAddresses()
    .filter((one) => !one.interface.startsWith('weft') && !/^fe80:/i.test(one.address))
    .map(({ address }) => address)
    .sort()
}
