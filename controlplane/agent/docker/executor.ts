// Runs tasks as containers of the local Docker engine. weft is the engine's network driver besides
// (network-driver.ts), so that a container has its interfaces before its process starts; where the
// engine's plugin directory is not to be had, the interfaces are made in the container right after
// its start instead.
//
// The engine stays out of its own swarm mode. It outlives the agent, and the agent the engine:
// while the engine is away nothing is said of its containers.

import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import Docker from 'dockerode'
import type { Logger } from '../../../base/log.ts'
import type { AssignedTask, NetworkItem } from '../../store/assignment.ts'
import type { NodeDescription } from '../../store/objects.ts'
import type { GenericResource } from '../../store/specs.ts'
import type { AttachmentCalls, Executor, TaskController, TaskHost } from '../executor.ts'
import type { StartProgram } from '../process/shell.ts'
import { ensureTmpfs } from '../tmpfs.ts'
import { AttachedContainers } from './attached-containers.ts'
import { TASK_LABEL } from './container-spec.ts'
import { DockerController, type DockerParts, type Inspection } from './controller.ts'
import { ignore, wordsOf } from './engine-error.ts'
import { EngineEvents } from './engine-events.ts'
import { EngineNetworks } from './engine-networks.ts'
import { removeTaskFiles } from './files.ts'
import { ADOPT_AT_ONCE, ENSURED_MS } from './limits.ts'
import { DRIVER_NAME, NetworkDriver } from './network-driver.ts'
import { Puller } from './pull.ts'

export interface DockerExecutorOptions {
  /** Of the engine. */
  readonly socketPath: string
  /** Where the engine looks for its plugins; null = interfaces are injected. */
  readonly pluginDirectory: string | null
  readonly runDirectory: string
  readonly hostname: string
  /** Beside the engine's own. */
  readonly labels: Readonly<Record<string, string>>
  readonly genericResources: readonly GenericResource[]
  /** Addresses at which published ports answer. */
  readonly addresses: () => readonly string[]
  readonly network: (networkId: string) => NetworkItem | undefined
  /** The MAC address that belongs to an address without prefix length. */
  readonly macOf: (address: string) => string
  readonly attachments: AttachmentCalls
  readonly startProgram: StartProgram
  /** Waits until the packet loop has made an interface; false when it has not within `limitMs`. */
  readonly made: (device: string, limitMs: number) => Promise<boolean>
  readonly log: Logger
}

type Described = Omit<NodeDescription, 'tls'>

/** What is read of the engine's GET /info. */
interface EngineInfo {
  readonly Architecture: string
  readonly OSType: string
  readonly NCPU: number
  readonly MemTotal: number
  readonly ServerVersion: string
  readonly Labels?: readonly string[] | null
  readonly Plugins: Readonly<Record<string, readonly string[] | null>>
}

export class DockerExecutor implements Executor {
  readonly #options: DockerExecutorOptions
  readonly #docker: Docker
  readonly #events: EngineEvents
  readonly #networks: EngineNetworks
  readonly #filesDirectory: string
  readonly #puller: Puller
  readonly #attached: AttachedContainers
  /** Containers that an earlier agent has made, by task. */
  #adopted = new Map<string, Inspection>()
  #driver: NetworkDriver | null = null
  #hasEgress = false
  #ensured = 0
  #described: Described | null = null

  constructor(options: DockerExecutorOptions) {
    this.#options = options
    this.#docker = new Docker({ socketPath: options.socketPath })
    this.#events = new EngineEvents(this.#docker, options.log)
    this.#networks = new EngineNetworks(this.#docker)
    this.#puller = new Puller(this.#docker, options.log)
    this.#attached = new AttachedContainers({
      docker: this.#docker,
      events: this.#events,
      networks: this.#networks,
      calls: options.attachments,
      internal: (networkId) => options.network(networkId)?.internal ?? false,
      macOf: options.macOf,
      log: options.log,
    })
    this.#filesDirectory = join(options.runDirectory, 'files')
  }

  /** Rejects when the engine does not answer, or is in a swarm of its own. */
  async open(): Promise<void> {
    const { runDirectory, log, pluginDirectory, startProgram } = this.#options
    this.#described = await this.#describe()
    const info = (await this.#docker.info()) as { Swarm?: { LocalNodeState?: string } }
    if (info.Swarm?.LocalNodeState === 'active') {
      throw new Error('the engine is in a swarm of its own: take it out by "docker swarm leave"')
    }
    await mkdir(this.#filesDirectory, { recursive: true, mode: 0o700 })
    await ensureTmpfs(this.#filesDirectory, startProgram)
    if (pluginDirectory !== null) await this.#openDriver(pluginDirectory)
    await this.#adopt()
    if (this.#driver !== null) await this.#attached.open(this.#driver)
    this.#events.open()
    log.info('tasks run as containers', {
      socket: this.#options.socketPath,
      runDirectory,
      networks: this.#driver === null ? 'injected' : 'plugin',
      egress: this.#hasEgress,
    })
  }

  async #openDriver(directory: string): Promise<void> {
    const { log } = this.#options
    const driver = new NetworkDriver({
      log,
      attach: (networkId, pool) => this.#attached.attach(networkId, pool),
      detach: (networkId, address) => this.#attached.detach(networkId, address),
      hasEgress: () => this.#hasEgress,
      made: this.#options.made,
    })
    try {
      await driver.listen(join(directory, `${DRIVER_NAME}.sock`))
    } catch (error) {
      const words = (error as Error).message
      log.warn('no network driver: interfaces are made after a container has started', {
        error: words,
      })
      return
    }
    this.#driver = driver
    try {
      await this.#networks.ensureGatewayBridge()
      this.#hasEgress = true
    } catch (error) {
      log.warn('containers have no way outside: the engine makes no docker_gwbridge', {
        error: wordsOf(error),
      })
    }
  }

  /** Looks at what runs already, before anybody asks where its interfaces are. */
  async #adopt(): Promise<void> {
    const filters = { label: [TASK_LABEL] }
    const containers = await this.#docker.listContainers({ all: true, filters })
    const queue = [...containers]
    const work = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        const seen = await this.#docker
          .getContainer(next.Id)
          .inspect()
          .catch(() => null)
        const taskId = seen?.Config.Labels?.[TASK_LABEL]
        if (seen !== null && taskId !== undefined) this.#adopted.set(taskId, seen)
      }
    }
    await Promise.all(Array.from({ length: ADOPT_AT_ONCE }, work))
  }

  async describe(): Promise<Described> {
    try {
      this.#described = await this.#describe()
    } catch (error) {
      this.#options.log.warn('the engine does not answer', { error: wordsOf(error) })
    }
    return this.#described!
  }

  async #describe(): Promise<Described> {
    const info = (await this.#docker.info()) as EngineInfo
    const { hostname, labels, genericResources, addresses } = this.#options
    const own = (info.Labels ?? []).map((label): [string, string] => {
      const at = label.indexOf('=')
      return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)]
    })
    const plugins = Object.entries(info.Plugins).flatMap(([type, names]) =>
      (names ?? []).map((name) => ({ type, name })),
    )
    const isOverlay = ({ type, name }: { type: string; name: string }): boolean =>
      type === 'Network' && name === 'overlay'
    return {
      hostname,
      platform: { os: info.OSType, architecture: info.Architecture },
      resources: { nanoCpus: info.NCPU * 1e9, memoryBytes: info.MemTotal },
      genericResources,
      engine: {
        version: info.ServerVersion,
        labels: { ...Object.fromEntries(own), ...labels },
        // Overlays are weft's, whatever the engine has.
        plugins: [
          ...plugins.filter((one) => !isOverlay(one)),
          { type: 'Network', name: 'overlay' },
        ],
      },
      addresses: addresses(),
    }
  }

  controller(task: AssignedTask, host: TaskHost): TaskController {
    if (task.spec.Runtime === 'attachment') return this.#attached.controller(task, host)
    const { network, macOf, log } = this.#options
    const parts: DockerParts = {
      docker: this.#docker,
      events: this.#events,
      networks: this.#networks,
      puller: this.#puller,
      driver: this.#driver,
      filesDirectory: this.#filesDirectory,
      network,
      macOf,
      log,
    }
    const seen = this.#adopted.get(task.id) ?? null
    this.#adopted.delete(task.id)
    return new DockerController(task, host, parts, seen)
  }

  async remains(): Promise<readonly string[]> {
    const filters = { label: [TASK_LABEL] }
    const containers = await this.#docker.listContainers({ all: true, filters })
    const labelled = containers.map(({ Labels }) => Labels[TASK_LABEL] ?? '')
    const files = await readdir(this.#filesDirectory).catch(() => [])
    // The networks of tasks that are gone for good: everybody who goes on has said so by now.
    await this.#networks.sweep().catch(() => {})
    return [...new Set([...labelled, ...files])].filter((id) => id !== '')
  }

  async removeRemains(taskId: string): Promise<void> {
    const filters = { label: [`${TASK_LABEL}=${taskId}`] }
    for (const { Id } of await this.#docker.listContainers({ all: true, filters })) {
      await this.#docker.getContainer(Id).remove({ v: true, force: true }).catch(ignore(404, 409))
    }
    await removeTaskFiles(this.#filesDirectory, taskId)
  }

  async ensureNetwork(network: NetworkItem): Promise<string> {
    if (this.#driver === null) {
      throw new Error('weft is not the network driver of the engine here: see --plugin-dir')
    }
    // Until its container is there, nobody else uses it.
    const user = `ensured ${++this.#ensured}`
    const name = await this.#networks.ensure(network, user)
    const release = (): void => {
      this.#networks.release(network.id, user).catch(() => {})
    }
    setTimeout(release, ENSURED_MS).unref()
    return name
  }

  async close(): Promise<void> {
    this.#attached.close()
    this.#events.close()
    await this.#driver?.close()
  }
}
