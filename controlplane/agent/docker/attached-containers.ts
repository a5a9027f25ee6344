// Containers on attachable networks that are no tasks of a service (`docker run --network NAME`).
// The engine asks for an address; the cluster is asked for an attachment, a task of this node that
// comes with addresses like any other; its controller knows the interface. Which container it is
// nobody says when the address is asked for: it is looked up at the engine once it is connected,
// and told to the cluster with its name.
//
// An attachment goes when the engine gives its address back; while no manager is in reach, as soon
// as one is. One whose container has gone meanwhile (agent or engine were away) goes when the
// networks are looked at.

import type Docker from 'dockerode'
import type { Logger } from '../../../base/log.ts'
import type { LocalInterface } from '../../../dataplane/tables.ts'
import type { AssignedTask } from '../../store/assignment.ts'
import { ENGINE_NETWORK_LABEL } from '../../store/labels.ts'
import type { TaskStatus } from '../../store/objects.ts'
import type { AttachmentCalls, LogLine, TaskController, TaskHost } from '../executor.ts'
import { TASK_LABEL } from './container-spec.ts'
import { type EngineEvents, NETWORKS } from './engine-events.ts'
import type { EngineNetworks } from './engine-networks.ts'
import { deviceName, interfaceOn } from './interfaces.ts'
import { ATTACH_TIMEOUT_MS, LOOK_MS } from './limits.ts'
import type { NetworkDriver } from './network-driver.ts'

export interface AttachedParts {
  readonly docker: Docker
  readonly events: EngineEvents
  readonly networks: EngineNetworks
  readonly calls: AttachmentCalls
  readonly internal: (networkId: string) => boolean
  readonly macOf: (address: string) => string
  readonly log: Logger
}

interface Container {
  readonly id: string
  readonly name: string
  readonly pid: number
}

const SHORT_ID = 12

export class AttachedContainers {
  readonly #parts: AttachedParts
  /** By task. */
  readonly #attachments = new Map<string, Attachment>()
  /** Connected containers by address. */
  #containers = new Map<string, Container>()
  /** Addresses of the other family than the one that was asked for first. */
  readonly #spare: { readonly networkId: string; readonly address: string }[] = []
  #driver: NetworkDriver | null = null
  #wake = (): void => {}
  #isClosed = false

  constructor(parts: AttachedParts) {
    this.#parts = parts
  }

  /** Looks at what is there, before anybody asks for interfaces. */
  async open(driver: NetworkDriver): Promise<void> {
    this.#driver = driver
    await this.#scan()
    void this.#follow()
  }

  close(): void {
    this.#isClosed = true
    this.#wake()
  }

  controller(task: AssignedTask, host: TaskHost): TaskController {
    const attachment = new Attachment(task, host, {
      pidOf: (address) => this.#containers.get(address)?.pid ?? 0,
      onRemoved: () => this.#removed(task),
    })
    this.#attachments.set(task.id, attachment)
    for (const { networkId, addresses } of task.networks) {
      this.#parts.networks.use(networkId, task.id)
      const first = bare(addresses[0] ?? '')
      if (first === '') continue
      const device = deviceName(task.id, networkId)
      const internal = this.#parts.internal(networkId)
      const expected = { device, mac: this.#parts.macOf(first), internal }
      for (const address of addresses) this.#driver?.expect(bare(address), expected)
    }
    this.#wake()
    return attachment
  }

  async #removed({ id, networks }: AssignedTask): Promise<void> {
    this.#attachments.delete(id)
    for (const { networkId, addresses } of networks) {
      const device = deviceName(id, networkId)
      for (const address of addresses) this.#driver?.forget(bare(address), device)
      await this.#parts.networks.release(networkId, id)
    }
  }

  /** An address of `pool` for a container that is being started. */
  async attach(networkId: string, pool: string): Promise<string> {
    const isSix = pool.includes(':')
    const fits = (address: string): boolean => address.includes(':') === isSix
    const at = this.#spare.findIndex((one) => one.networkId === networkId && fits(one.address))
    if (at >= 0) return this.#spare.splice(at, 1)[0]!.address
    const taskId = await this.#parts.calls.attach({ networkId })
    const untilMs = performance.now() + ATTACH_TIMEOUT_MS
    while (!this.#attachments.has(taskId)) {
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0 || this.#isClosed) {
        await this.#parts.calls.detach(taskId).catch(() => {})
        throw new Error('the cluster has given the container no address')
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(leftMs, 10)))
    }
    const attachment = this.#attachments.get(taskId)!
    const addresses = attachment.task.networks.flatMap((network) => network.addresses)
    const given = addresses.find(fits)
    if (given === undefined) throw new Error('the network has no such address')
    for (const address of addresses) {
      if (address !== given) this.#spare.push({ networkId, address })
    }
    return given
  }

  /** The engine gives an address back; those of services' tasks are none of ours. */
  async detach(networkId: string, address: string): Promise<void> {
    const wanted = bare(address)
    for (const [taskId, { task }] of this.#attachments) {
      const isIt = task.networks.some(
        (network) =>
          network.networkId === networkId && network.addresses.map(bare).includes(wanted),
      )
      if (isIt) await this.#end(taskId)
    }
  }

  async #end(taskId: string): Promise<void> {
    const attachment = this.#attachments.get(taskId)
    if (attachment !== undefined) attachment.isOver = true
    await this.#parts.calls.detach(taskId).catch((error: Error) => {
      this.#parts.log.warn('an attachment cannot be given back yet', { error: error.message })
    })
  }

  /** Looks at the networks whenever something may have changed. */
  async #follow(): Promise<void> {
    let isWoken = false
    const unwatch = this.#parts.events.watch(NETWORKS, () => {
      isWoken = true
      this.#wake()
    })
    while (!this.#isClosed) {
      isWoken = false
      if (this.#attachments.size > 0) {
        await this.#scan().then(
          () => this.#compare(),
          (error: Error) => {
            this.#parts.log.debug('no networks of the engine', { error: error.message })
          },
        )
      }
      if (isWoken) continue
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_MS)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    unwatch()
  }

  async #scan(): Promise<void> {
    const { docker } = this.#parts
    const filters = { label: [ENGINE_NETWORK_LABEL] }
    const found = new Map<string, Container>()
    const isTask = new Map<string, Container | null>()
    for (const { Id } of await docker.listNetworks({ filters })) {
      const { Containers } = (await docker.getNetwork(Id).inspect()) as {
        Containers?: Record<string, { IPv4Address?: string; IPv6Address?: string }>
      }
      for (const [id, { IPv4Address = '', IPv6Address = '' }] of Object.entries(Containers ?? {})) {
        if (!isTask.has(id)) isTask.set(id, await this.#container(id))
        const container = isTask.get(id)
        if (container === null || container === undefined) continue
        for (const address of [IPv4Address, IPv6Address]) {
          if (address !== '') found.set(bare(address), container)
        }
      }
    }
    this.#containers = found
  }

  /** Null for a service's. */
  async #container(id: string): Promise<Container | null> {
    const seen = await this.#parts.docker
      .getContainer(id)
      .inspect()
      .catch(() => null)
    if (seen === null || seen.Config.Labels?.[TASK_LABEL] !== undefined) return null
    return { id, name: seen.Name.replace(/^\//, ''), pid: seen.State.Running ? seen.State.Pid : 0 }
  }

  /** Tells the cluster which containers came, and which have gone. */
  async #compare(): Promise<void> {
    const nowMs = performance.now()
    for (const [taskId, attachment] of [...this.#attachments]) {
      if (attachment.isOver) {
        await this.#end(taskId)
        continue
      }
      const [network] = attachment.task.networks
      const address = bare(network?.addresses[0] ?? '')
      const container = this.#containers.get(address)
      if (container === undefined) {
        attachment.missingMs ??= nowMs
        if (nowMs - attachment.missingMs > ATTACH_TIMEOUT_MS) await this.#end(taskId)
        continue
      }
      attachment.missingMs = null
      if (attachment.container?.pid !== container.pid) attachment.moved(container)
      if (attachment.isNamed(container.id)) continue
      const aliases = [container.name, container.id.slice(0, SHORT_ID)]
      const request = { networkId: network!.networkId, taskId, containerId: container.id, aliases }
      await this.#parts.calls.attach(request).then(
        () => attachment.named(container.id),
        (error: Error) => {
          this.#parts.log.warn('an attachment cannot be named yet', { error: error.message })
        },
      )
    }
  }
}

interface AttachmentParts {
  readonly pidOf: (address: string) => number
  readonly onRemoved: () => Promise<void>
}

/** The task that stands for such a container: it runs as long as the cluster has it. */
class Attachment implements TaskController {
  task: AssignedTask
  /** Since when its container is not seen. */
  missingMs: number | null = null
  /** The cluster is to take it back, or was told so. */
  isOver = false
  container: Container | null = null
  #named = ''
  readonly #host: TaskHost
  readonly #parts: AttachmentParts

  constructor(task: AssignedTask, host: TaskHost, parts: AttachmentParts) {
    this.task = task
    this.#host = host
    this.#parts = parts
    this.#named = task.spec.NetworkAttachmentSpec?.ContainerID ?? ''
  }

  moved(container: Container): void {
    this.container = container
    this.#host.changed()
  }

  named(containerId: string): void {
    this.#named = containerId
  }

  isNamed(containerId: string): boolean {
    return this.#named === containerId
  }

  update(task: AssignedTask): void {
    this.task = task
  }

  async prepare(): Promise<void> {
    this.#host.changed()
  }

  async start(): Promise<void> {}

  wait(signal: AbortSignal): Promise<void> {
    return new Promise((_, reject) => {
      const end = (): void => reject(signal.reason as Error)
      if (signal.aborted) end()
      else signal.addEventListener('abort', end, { once: true })
    })
  }

  async shutdown(): Promise<void> {}

  async terminate(): Promise<void> {}

  remove(): Promise<void> {
    return this.#parts.onRemoved()
  }

  status(): Pick<TaskStatus, 'container' | 'hostPorts'> {
    const { container } = this
    const shown = container && { id: container.id, pid: container.pid, exitCode: 0 }
    return { container: shown, hostPorts: [] }
  }

  interfaceOf(networkId: string): LocalInterface | null {
    const network = this.task.networks.find((one) => one.networkId === networkId)
    if (network === undefined) return null
    const pid = this.#parts.pidOf(bare(network.addresses[0] ?? ''))
    return interfaceOn(this.task.id, network, 0, pid, false)
  }

  async *logs(): AsyncGenerator<LogLine> {}
}

function bare(address: string): string {
  return address.replace(/\/.*$/, '')
}
