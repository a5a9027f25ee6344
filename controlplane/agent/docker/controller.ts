// One task as a container of the local engine. What there is to know of it the engine knows: a new
// controller finds the container by its name and label, and goes on.
//
// A look at a container costs the engine and us a millisecond or two, and many tasks may begin at
// once. So what was made here is not looked at before it runs, and what was looked at is looked at
// again when an event says that it has changed, or after LOOK_MS: a task begins with three
// requests, create, start and a look.

import type { Readable } from 'node:stream'
import type Docker from 'dockerode'
import type { Logger } from '../../../base/log.ts'
import { startTimer } from '../../../base/long-timer.ts'
import type { LocalInterface } from '../../../dataplane/tables.ts'
import type { AssignedTask, NetworkItem } from '../../store/assignment.ts'
import type { TaskStatus } from '../../store/objects.ts'
import { predefinedNetwork } from '../../store/predefined-networks.ts'
import type { PortConfig } from '../../store/specs.ts'
import {
  type LogLine,
  type LogOptions,
  type TaskController,
  TaskError,
  type TaskHost,
} from '../executor.ts'
import { containerName, createOptions, hostPorts, ofEngine, TASK_LABEL } from './container-spec.ts'
import { engineError, ignore, statusOf, wordsOf } from './engine-error.ts'
import type { EngineEvents } from './engine-events.ts'
import { engineLines } from './engine-log.ts'
import type { EngineNetworks } from './engine-networks.ts'
import { removeTaskFiles, writeTaskFiles } from './files.ts'
import { inBody } from './in-body.ts'
import { bare, deviceName, interfaceOn } from './interfaces.ts'
import { LOOK_MS, STOP_GRACE_MS, STOP_MARGIN_MS } from './limits.ts'
import type { NetworkDriver } from './network-driver.ts'
import type { Puller } from './pull.ts'

export interface DockerParts {
  readonly docker: Docker
  readonly events: EngineEvents
  readonly networks: EngineNetworks
  readonly puller: Puller
  /** Null where the engine cannot be given one: interfaces are injected. */
  readonly driver: NetworkDriver | null
  /** On a tmpfs: secrets and configs. */
  readonly filesDirectory: string
  readonly network: (networkId: string) => NetworkItem | undefined
  /** The MAC address that belongs to an address without prefix length. */
  readonly macOf: (address: string) => string
  readonly log: Logger
}

export type Inspection = Awaited<ReturnType<Docker.Container['inspect']>>

/** moby's words (daemon/cluster/executor/container/errors.go). */
const UNHEALTHY = 'dockerexec: unhealthy container'
const DESTROYED = 'dockerexec: container destroyed'

export class DockerController implements TaskController {
  #task: AssignedTask
  readonly #host: TaskHost
  readonly #parts: DockerParts
  /** What the engine said last; null = it has no container of the task. */
  #seen: Inspection | null
  /** Id of the container that was made here and has not been looked at since. */
  #made: string | null = null
  /** The last look, under way or over; null = it failed, or there was none. */
  #looking: Promise<Inspection | null> | null = null
  #lookedMs = 0
  /** Something has happened to the container since, or may have. */
  #isStale = false
  readonly #wakers = new Set<() => void>()
  readonly #unwatch: () => void
  #isPrepared = false
  #isRemoved = false
  isSick = false

  /** `seen`: the container that an earlier agent has made. */
  constructor(task: AssignedTask, host: TaskHost, parts: DockerParts, seen: Inspection | null) {
    this.#task = ofEngine(task)
    this.#host = host
    this.#parts = parts
    this.#seen = seen
    this.#unwatch = parts.events.watch(task.id, () => {
      this.#isStale = true
      this.#wake()
    })
    if (seen === null) return
    for (const { networkId } of this.#task.networks) parts.networks.use(networkId, task.id)
    if (seen.State.Running || seen.State.Status === 'created') this.#expect()
  }

  update(task: AssignedTask): void {
    this.#task = ofEngine(task)
  }

  async prepare(signal: AbortSignal): Promise<void> {
    // A container of an earlier agent was told when this controller began.
    const isKnown = this.#seen !== null || this.#made !== null
    const seen = isKnown ? await this.#look() : null
    if (seen !== null && seen.State.Status !== 'created') return this.#prepared()
    const spec = this.#task.spec.ContainerSpec
    if (spec === undefined) throw new TaskError('the task has no container to run')
    if (seen === null) await this.#parts.puller.pull(spec, signal)
    signal.throwIfAborted()
    const items = this.#networkItems()
    const twins = await this.#twins(items)
    const ofTasks = items.filter(({ ingress }) => !ingress)
    const gateways = ofTasks.flatMap(({ subnets }) => subnets.map(({ gateway }) => gateway))
    const files = await writeTaskFiles(this.#parts.filesDirectory, this.#task, this.#host)
    const predefined = predefinedNetwork(this.#task.spec) ?? 'default'
    const withoutDriver = this.#task.networks.length === 0 ? predefined : 'none'
    const options = createOptions(this.#task, this.#host, {
      networkMode: twins[0]?.name ?? withoutDriver,
      nameServers: gateways.filter((text) => text !== ''),
      files,
    })
    this.#prepared()
    if (seen !== null) await this.#connect(seen.Id, twins, networksOf(seen))
    else await this.#create(options, twins)
  }

  #networkItems(): NetworkItem[] {
    return this.#task.networks.map(({ networkId }) => {
      const item = this.#parts.network(networkId)
      if (item !== undefined) return item
      throw new TaskError(`network ${networkId} is not known here yet`, { temporary: true })
    })
  }

  async #twins(items: readonly NetworkItem[]): Promise<Twin[]> {
    if (this.#parts.driver === null) return []
    const twins: Twin[] = []
    for (const [n, item] of items.entries()) {
      try {
        const name = await this.#parts.networks.ensure(item, this.#task.id)
        twins.push({ id: item.id, name, addresses: this.#task.networks[n]!.addresses })
      } catch (error) {
        throw engineError(error)
      }
    }
    return twins
  }

  /** The packet loop makes the interfaces from now on, and the driver knows them. */
  #prepared(): void {
    this.#expect()
    this.#host.changed()
  }

  #expect(): void {
    this.#isPrepared = true
    const { driver, network, macOf } = this.#parts
    for (const { networkId, addresses } of this.#task.networks) {
      const internal = network(networkId)?.internal ?? false
      const [first] = addresses
      if (first === undefined) continue
      const device = deviceName(this.#task.id, networkId)
      const expected = { device, mac: macOf(bare(first)), internal }
      for (const address of addresses) driver?.expect(bare(address), expected)
    }
  }

  async #create(options: Docker.ContainerCreateOptions, twins: readonly Twin[]): Promise<void> {
    const [first] = twins
    const EndpointsConfig = first === undefined ? {} : { [first.name]: endpoint(first.addresses) }
    const networking = { NetworkingConfig: { EndpointsConfig } }
    let made: string
    try {
      const { name = '', ...body } = { ...options, ...networking }
      made = (await this.#parts.docker.createContainer(inBody(body, { name }))).id
    } catch (error) {
      // 409: the name is taken, by the task itself if an agent did not live to say so.
      const seen = statusOf(error) === 409 ? await this.#look() : null
      if (seen !== null) return this.#connect(seen.Id, twins, networksOf(seen))
      this.#doubtNetwork(error, first)
      if (statusOf(error) === 404 && /no such image/i.test(wordsOf(error))) {
        throw new TaskError(`No such image: ${options.Image}`)
      }
      throw engineError(error)
    }
    this.#made = made
    await this.#connect(made, twins.slice(1), new Set())
  }

  async #connect(
    id: string,
    twins: readonly Twin[],
    connected: ReadonlySet<string>,
  ): Promise<void> {
    for (const twin of twins) {
      if (connected.has(twin.name)) continue
      try {
        const network = this.#parts.docker.getNetwork(twin.name)
        await network.connect({ Container: id, EndpointConfig: endpoint(twin.addresses) })
      } catch (error) {
        this.#doubtNetwork(error, twin)
        throw engineError(error)
      }
    }
  }

  /** Somebody has taken the twin away: the next try makes it again. */
  #doubtNetwork(error: unknown, twin: Twin | undefined): void {
    const words = wordsOf(error)
    if (twin === undefined || statusOf(error) !== 404 || !/network/i.test(words)) return
    this.#parts.networks.doubt(twin.id)
    throw new TaskError(words, { temporary: true })
  }

  async start(signal: AbortSignal): Promise<void> {
    if (this.#made !== null) {
      await this.#startContainer(this.#made)
    } else {
      const seen = await this.#look()
      if (seen === null) throw new TaskError(DESTROYED)
      if (seen.State.Status === 'created') {
        this.#prepared()
        await this.#startContainer(seen.Id)
      }
    }
    await this.#until(signal, async (now) => {
      if (now === null) throw new TaskError(DESTROYED)
      if (!now.State.Running) return true
      const health = now.State.Health?.Status
      if (health === 'unhealthy') throw await this.#endUnhealthy(signal)
      return health === undefined || health === 'none' || health === 'healthy'
    })
    this.#host.changed()
  }

  async #startContainer(id: string): Promise<void> {
    // Whatever comes of it, the next try looks: to start one that has ended would run it again.
    this.#made = null
    try {
      await this.#parts.docker.getContainer(id).start()
    } catch (error) {
      if (/no such container/i.test(wordsOf(error))) throw new TaskError(DESTROYED)
      if (statusOf(error) !== 304) throw engineError(error)
    }
    await this.#look()
    this.#host.changed()
  }

  async wait(signal: AbortSignal): Promise<void> {
    const ended = await this.#until(signal, async (now) => {
      if (now === null) throw new TaskError(DESTROYED)
      const isSick = now.State.Running && now.State.Health?.Status === 'unhealthy'
      if (isSick) throw await this.#endUnhealthy(signal)
      return !now.State.Running
    })
    const { ExitCode: exitCode, Error: words, OOMKilled } = ended!.State
    if (exitCode === 0) return
    const why = words !== '' ? `: ${words}` : OOMKilled ? ': out of memory' : ''
    throw new TaskError(`task: non-zero exit (${exitCode})${why}`, { exitCode })
  }

  /** It is out of service at once, and stopped in order; how it ended is part of the error. */
  async #endUnhealthy(signal: AbortSignal): Promise<TaskError> {
    this.isSick = true
    this.#host.changed()
    await this.shutdown(signal)
    const exitCode = this.#seen?.State.ExitCode ?? 0
    const how = exitCode === 0 ? '' : `task: non-zero exit (${exitCode}): `
    return new TaskError(`${how}${UNHEALTHY}`, { exitCode })
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    const seen = await this.#look()
    if (seen === null || !seen.State.Running) return
    const grace = this.#task.spec.ContainerSpec?.StopGracePeriod
    const seconds = Math.ceil((grace === undefined ? STOP_GRACE_MS : grace / 1e6) / 1000)
    const stopped = this.#container(seen).stop({ t: seconds })
    // 304: it has stopped by itself.
    const stopping = stopped.catch(ignore(304, 404))
    await within(seconds * 1000 + STOP_MARGIN_MS, signal, stopping)
    await this.#look()
  }

  async terminate(): Promise<void> {
    const seen = await this.#look()
    if (seen?.State.Running) await this.#container(seen).kill().catch(ignore(404, 409))
    await this.#look()
  }

  async remove(): Promise<void> {
    const { driver, networks, filesDirectory } = this.#parts
    const seen = await this.#look()
    if (seen !== null) {
      await this.#container(seen).remove({ v: true, force: true }).catch(ignore(404, 409))
      // 409: its removal is under way already. Its networks cannot go before it.
      if ((await this.#look()) !== null) throw new TaskError('the engine is still removing it')
    }
    this.#isRemoved = true
    this.#unwatch()
    this.#wake()
    await removeTaskFiles(filesDirectory, this.#task.id)
    for (const { networkId, addresses } of this.#task.networks) {
      const device = deviceName(this.#task.id, networkId)
      for (const address of addresses) driver?.forget(bare(address), device)
      await networks.release(networkId, this.#task.id)
    }
  }

  status(): Pick<TaskStatus, 'container' | 'hostPorts'> {
    const seen = this.#seen
    if (seen === null) {
      const made = this.#made === null ? null : { id: this.#made, pid: 0, exitCode: 0 }
      return { container: made, hostPorts: [] }
    }
    const container = { id: seen.Id, pid: seen.State.Pid, exitCode: seen.State.ExitCode }
    return { container, hostPorts: publishedPorts(this.#task, seen) }
  }

  interfaceOf(networkId: string): LocalInterface | null {
    const index = this.#task.networks.findIndex((network) => network.networkId === networkId)
    if (!this.#isPrepared || index < 0) return null
    const pid = this.#seen?.State.Running ? this.#seen.State.Pid : 0
    const isInjected = this.#parts.driver === null
    return interfaceOn(this.#task.id, this.#task.networks[index]!, index, pid, isInjected)
  }

  async *logs(options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    const seen = await this.#awaitContainer(options.follow, signal)
    if (seen === null) return
    const query = {
      stdout: options.stdout,
      stderr: options.stderr,
      timestamps: true,
      details: true,
      since: options.sinceMs / 1000,
      ...(options.tail < 0 ? {} : { tail: options.tail }),
    }
    const container = this.#container(seen)
    let stream: Readable | Buffer
    try {
      stream = options.follow
        ? ((await container.logs({ ...query, follow: true })) as unknown as Readable)
        : await container.logs({ ...query, follow: false })
    } catch (error) {
      throw engineError(error)
    }
    const chunks = Buffer.isBuffer(stream) ? whole(stream) : stream
    const end = (): void => void (Buffer.isBuffer(stream) || stream.destroy())
    signal.addEventListener('abort', end, { once: true })
    try {
      if (!signal.aborted) yield* engineLines(chunks, seen.Config.Tty)
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      signal.removeEventListener('abort', end)
      end()
    }
  }

  /** Whoever follows waits until there is something. */
  async #awaitContainer(follow: boolean, signal: AbortSignal): Promise<Inspection | null> {
    if (this.#seen !== null || !follow) return this.#seen ?? (await this.#look())
    return this.#until(signal, async (now) => now !== null || this.#isRemoved).catch((error) => {
      if (signal.aborted) return null
      throw error
    })
  }

  #container({ Id }: Inspection): Docker.Container {
    return this.#parts.docker.getContainer(Id)
  }

  #look(): Promise<Inspection | null> {
    this.#isStale = false
    this.#lookedMs = performance.now()
    const looking = this.#inspect()
    this.#looking = looking
    looking.then(
      (seen) => {
        if (this.#looking !== looking) return
        this.#seen = seen
        this.#made = null
      },
      () => {
        if (this.#looking === looking) this.#looking = null
      },
    )
    return looking
  }

  async #inspect(): Promise<Inspection | null> {
    try {
      const seen = await this.#parts.docker.getContainer(containerName(this.#task)).inspect()
      return seen.Config.Labels?.[TASK_LABEL] === this.#task.id ? seen : null
    } catch (error) {
      if (statusOf(error) !== 404) throw engineError(error)
      return null
    }
  }

  /** The last look, where nothing has happened since. Undefined while the engine is away: its
   * containers may run on. */
  async #current(): Promise<Inspection | null | undefined> {
    const isOld = performance.now() - this.#lookedMs >= LOOK_MS
    try {
      return await (this.#isStale || isOld || this.#looking === null ? this.#look() : this.#looking)
    } catch (error) {
      if (!(error instanceof TaskError) || error.kind !== 'temporary') throw error
      return undefined
    }
  }

  /** Waits until `done` says so of the container, which is looked at whenever it has changed. */
  async #until(
    signal: AbortSignal,
    done: (now: Inspection | null) => Promise<boolean>,
  ): Promise<Inspection | null> {
    const wake = (): void => this.#wake()
    signal.addEventListener('abort', wake, { once: true })
    try {
      for (;;) {
        signal.throwIfAborted()
        const now = await this.#current()
        if (now !== undefined && (await done(now))) return now
        if (!this.#isStale && !signal.aborted) await this.#sleep()
      }
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }

  /** Until something happens, at most LOOK_MS. */
  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#wakers.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, LOOK_MS)
      this.#wakers.add(wake)
    })
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake()
  }
}

/** The engine's twin of one of the task's networks. */
interface Twin {
  /** Of the overlay. */
  readonly id: string
  readonly name: string
  readonly addresses: readonly string[]
}

function networksOf(seen: Inspection): ReadonlySet<string> {
  return new Set(Object.keys(seen.NetworkSettings.Networks))
}

function endpoint(addresses: readonly string[]): Docker.EndpointSettings {
  const all = addresses.map(bare)
  const four = all.find((address) => !address.includes(':'))
  const six = all.find((address) => address.includes(':'))
  return {
    IPAMConfig: {
      ...(four === undefined ? {} : { IPv4Address: four }),
      ...(six === undefined ? {} : { IPv6Address: six }),
    },
  } as Docker.EndpointSettings
}

function publishedPorts(task: AssignedTask, seen: Inspection): PortConfig[] {
  return hostPorts(task).flatMap((port) => {
    const bound = seen.NetworkSettings.Ports?.[`${port.TargetPort}/${port.Protocol}`]
    const number = Number(port.PublishedPort || (bound?.[0]?.HostPort ?? 0))
    return number > 0 ? [{ ...port, PublishedPort: number }] : []
  })
}

/** Rejects when `work` takes longer, or `signal` aborts. */
async function within(limitMs: number, signal: AbortSignal, work: Promise<unknown>): Promise<void> {
  work.catch(() => {})
  let give = (_: Error): void => {}
  const late = new Promise<never>((_, reject) => {
    give = reject
  })
  const abort = (): void => give(new TaskError('aborted', { temporary: true }))
  const cancel = startTimer(limitMs, () => {
    give(new TaskError('the engine does not stop it', { temporary: true }))
  })
  signal.addEventListener('abort', abort, { once: true })
  try {
    if (signal.aborted) abort()
    await Promise.race([work, late])
  } finally {
    cancel()
    signal.removeEventListener('abort', abort)
  }
}

async function* whole(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
