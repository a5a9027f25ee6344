// Runs tasks as processes of this host, each in namespaces of its own: for machines without a
// Docker engine, and without root (inside a user namespace). It keeps a task's network, files,
// limits and processes apart from the others'; it is no wall against a hostile image, whose
// processes may be root in a root file system of theirs (docs/security.md).

import { readdirSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { availableParallelism, hostname, totalmem } from 'node:os'
import { join } from 'node:path'
import type { AssignedTask, NetworkItem } from '../../store/assignment.ts'
import type { NodeDescription } from '../../store/objects.ts'
import type { GenericResource, PortConfig } from '../../store/specs.ts'
import type { Executor, TaskController, TaskHost } from '../executor.ts'
import { ensureTmpfs } from '../tmpfs.ts'
import { ProcessController } from './controller.ts'
import type { Egress } from './egress.ts'
import type { Terminal } from './launch.ts'
import { firstProcess, send, supervisorOf } from './life.ts'
import { type Directories, type NetworkNamespaces, removeTraces } from './places.ts'
import type { StartProgram } from './shell.ts'

export interface ProcessExecutorOptions {
  readonly dataDirectory: string
  readonly runDirectory: string
  /** Version of weft, shown as the engine's. */
  readonly version: string
  readonly hostname?: string
  readonly labels: Readonly<Record<string, string>>
  readonly genericResources: readonly GenericResource[]
  /** Addresses at which published ports answer. */
  readonly addresses: () => readonly string[]
  readonly network: (networkId: string) => NetworkItem | undefined
  readonly namespaces: NetworkNamespaces
  readonly openTerminal: () => Terminal
  readonly startProgram: StartProgram
  /** Null: tasks reach nothing outside their networks. */
  readonly egress: Egress | null
  readonly wallNs: () => bigint
}

export class ProcessExecutor implements Executor {
  readonly #options: ProcessExecutorOptions
  readonly #directories: Directories
  readonly #controllers = new Map<string, ProcessController>()

  constructor(options: ProcessExecutorOptions) {
    this.#options = options
    this.#directories = {
      tasks: join(options.dataDirectory, 'tasks'),
      images: join(options.dataDirectory, 'images'),
      volumes: join(options.dataDirectory, 'volumes'),
      files: join(options.runDirectory, 'files'),
      namespaces: join(options.runDirectory, 'netns'),
    }
  }

  /** Makes the directories. Rejects when they cannot be had. */
  async open(): Promise<void> {
    const { startProgram } = this.#options
    const { files } = this.#directories
    for (const directory of Object.values(this.#directories)) {
      await mkdir(directory, { recursive: true, mode: 0o700 })
    }
    await ensureTmpfs(files, startProgram)
  }

  async describe(): Promise<Omit<NodeDescription, 'tls'>> {
    const { version, labels, genericResources, addresses } = this.#options
    return {
      hostname: this.#options.hostname ?? hostname(),
      platform: { os: 'linux', architecture: process.arch === 'arm64' ? 'aarch64' : 'x86_64' },
      resources: { nanoCpus: availableParallelism() * 1e9, memoryBytes: totalmem() },
      genericResources,
      engine: {
        version,
        labels,
        plugins: [
          { type: 'Log', name: 'json-file' },
          { type: 'Network', name: 'overlay' },
          { type: 'Volume', name: 'local' },
        ],
      },
      addresses: addresses(),
    }
  }

  controller(task: AssignedTask, host: TaskHost): TaskController {
    const { network, namespaces, openTerminal, startProgram, egress, wallNs } = this.#options
    const onRemoved = (): void => {
      this.#controllers.delete(task.id)
    }
    const directories = this.#directories
    const hostPorts = (): PortConfig[] =>
      [...this.#controllers.values()].flatMap((one) => one.hostPorts())
    const egressAddresses = (): ReadonlySet<string> =>
      new Set([...this.#controllers.values()].flatMap((one) => one.egressAddress ?? []))
    const controller = new ProcessController(task, host, {
      directories,
      namespaces,
      openTerminal,
      startProgram,
      network,
      egress,
      egressAddresses,
      hostPorts,
      wallNs,
      onRemoved,
    })
    this.#controllers.set(task.id, controller)
    return controller
  }

  async remains(): Promise<readonly string[]> {
    const names = (path: string): string[] => {
      try {
        return readdirSync(path)
      } catch {
        return []
      }
    }
    const { tasks, files, namespaces } = this.#directories
    return [...new Set([tasks, files, namespaces].flatMap(names))]
  }

  async removeRemains(taskId: string): Promise<void> {
    const directory = join(this.#directories.tasks, taskId)
    const supervisor = supervisorOf(directory)
    if (supervisor > 0 && !send(firstProcess(directory), 'KILL')) send(supervisor, 'KILL')
    const { namespaces, egress } = this.#options
    await removeTraces(taskId, { directories: this.#directories, namespaces, egress })
  }

  async close(): Promise<void> {
    await Promise.all([...this.#controllers.values()].map((controller) => controller.close()))
  }
}
