// One task of the process runtime. Everything that must outlive the agent is on disk, in the task's
// directory, or in the kernel (the processes, the network namespace): a new controller of the same
// task finds it there and goes on.
//
//   <data>/tasks/ID/    run.sh inside.sh hosts resolv.conf hostname    made by prepare()
//                       pid out err state                             while it runs
//                       exit                                          when it ended
//                       log log.1 ...                                 what it wrote
//   <run>/files/ID/     secrets and configs, on a tmpfs
//   <run>/netns/ID      its network namespace

import { existsSync, type FSWatcher, readFileSync, watch } from 'node:fs'
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
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
import { filesOf } from '../task-context.ts'
import { makeGroup, wasOutOfMemory } from './cgroup.ts'
import {
  connectEgress,
  disconnectEgress,
  type Egress,
  readEgress,
  restoreEgress,
  takeEgress,
  wantsEgress,
} from './egress.ts'
import { HealthJudge, healthPlan } from './health.ts'
import { readHostPorts, takeHostPorts } from './host-ports.ts'
import { findImage } from './image.ts'
import { launch, type Terminal } from './launch.ts'
import { exitStatus, firstProcess, send, stateText, supervisorOf } from './life.ts'
import { INTERFACES_TIMEOUT_MS, KILL_TIMEOUT_MS, POLL_MS, STOP_GRACE_MS } from './limits.ts'
import {
  bindSource,
  hostResolvConf,
  isNamespace,
  linkedPath,
  type Places,
  removeTraces,
} from './places.ts'
import { type Plan, planTask } from './plan.ts'
import { insideScript, OWN_FILES, type Place, runScript } from './script.ts'
import { execute, type StartProgram } from './shell.ts'
import { logLimits, TaskLog } from './task-log.ts'
import { userNumbers } from './users.ts'

export interface ControllerParts extends Places {
  readonly network: (networkId: string) => NetworkItem | undefined
  readonly openTerminal: () => Terminal
  readonly startProgram: StartProgram
  /** Addresses of the links of all tasks of the node. */
  readonly egressAddresses: () => ReadonlySet<string>
  /** Ports of mode "host" of all tasks of the node. */
  readonly hostPorts: () => readonly PortConfig[]
  readonly wallNs: () => bigint
  readonly onRemoved: () => void
}

export class ProcessController implements TaskController {
  #task: AssignedTask
  readonly #host: TaskHost
  readonly #parts: ControllerParts
  readonly #directory: string
  #log: TaskLog | null = null
  #hasNamespace: boolean
  #hostPorts: readonly PortConfig[]
  #egressAddress: string | null

  constructor(task: AssignedTask, host: TaskHost, parts: ControllerParts) {
    this.#task = task
    this.#host = host
    this.#parts = parts
    this.#directory = join(parts.directories.tasks, task.id)
    this.#hasNamespace = existsSync(this.#namespacePath)
    this.#hostPorts = readHostPorts(this.#directory)
    this.#egressAddress = readEgress(this.#directory)
    if (supervisorOf(this.#directory) === 0) return
    this.#openLog().open()
    const address = this.#egressAddress
    if (parts.egress === null || address === null) return
    void restoreEgress(parts.egress, task.id, this.#egressLink(address))
  }

  #egressLink(address: string): { namespace: string; name: string; address: string } {
    const name = `eth${this.#task.networks.length}`
    return { namespace: this.#namespacePath, name, address }
  }

  get #namespacePath(): string {
    return join(this.#parts.directories.namespaces, this.#task.id)
  }

  update(task: AssignedTask): void {
    this.#task = task
  }

  async prepare(signal: AbortSignal): Promise<void> {
    if (supervisorOf(this.#directory) > 0 || exitStatus(this.#directory) !== null) return
    const { directories, startProgram } = this.#parts
    const name = this.#task.spec.ContainerSpec?.Image ?? ''
    const image = await findImage(name, directories.images, startProgram)
    const networks = this.#task.networks.flatMap(({ networkId }) => {
      return this.#parts.network(networkId) ?? []
    })
    const predefined = predefinedNetwork(this.#task.spec)
    const isHost = predefined === 'host'
    const isAlone = isHost || predefined === 'none'
    const egress = wantsEgress(networks) && !isAlone ? this.#parts.egress : null
    const gateways = networks.flatMap(({ subnets }) => subnets.map(({ gateway }) => gateway))
    const servers = networks.length > 0 || egress === null ? gateways : egress.resolvers()
    const plan = planTask(
      this.#task,
      this.#host,
      image,
      servers.filter((text) => text !== ''),
    )
    try {
      logLimits(this.#task.logDriver?.Options)
      healthPlan(this.#task.spec.ContainerSpec?.Healthcheck)
    } catch (error) {
      throw new TaskError((error as Error).message)
    }
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    this.#hostPorts = takeHostPorts(
      this.#task,
      this.#directory,
      networks.some(({ ingress }) => ingress),
      this.#parts.hostPorts(),
    )
    if (!isHost) await this.#makeNamespace()
    if (egress !== null) await this.#connect(egress)
    signal.throwIfAborted()
    const place = await this.#makePlace(plan, image.root)
    // The place of a /run of its own.
    if (image.root === null) await mkdir(join(this.#directory, 'run'), { recursive: true })
    const write = (name: string, text: string): Promise<void> =>
      writeFile(join(this.#directory, name), text, { mode: 0o600 })
    await write('hosts', `${plan.hosts.join('\n')}\n`)
    await write('hostname', `${plan.hostname}\n`)
    await write('resolv.conf', isHost ? await hostResolvConf(plan) : plan.resolvConf)
    // The task may run as anybody; these it must be able to read.
    for (const name of ['hosts', 'hostname', 'resolv.conf']) {
      await chmod(join(this.#directory, name), 0o644)
    }
    await write('stop-signal', plan.stopSignal)
    await write('inside.sh', insideScript(plan, place))
    await write('run.sh', runScript(place, plan.isTty))
    this.#host.changed()
  }

  async #makeNamespace(): Promise<void> {
    const path = this.#namespacePath
    if (!(await isNamespace(path))) this.#parts.namespaces.make(path)
    this.#hasNamespace = true
  }

  async #connect(egress: Egress): Promise<void> {
    const address = takeEgress(egress, this.#directory, this.#parts.egressAddresses())
    this.#egressAddress = address
    await connectEgress(egress, this.#task.id, this.#egressLink(address))
  }

  async #makePlace(plan: Plan, root: string | null): Promise<Place> {
    const { uid, gid } = userNumbers(plan.user, root ?? '')
    return {
      directory: this.#directory,
      namespace: this.#hasNamespace ? this.#namespacePath : null,
      root,
      uid,
      gid,
      sources: await this.#mountSources(plan),
      files: await this.#writeFiles(),
      groups: await makeGroup(this.#task.id, this.#task.spec.Resources?.Limits),
      ownFiles: await Promise.all(
        OWN_FILES.map(async (name) => {
          const path = `/etc/${name}`
          return { name, path: root === null ? await linkedPath(path) : path }
        }),
      ),
    }
  }

  async #mountSources(plan: Plan): Promise<string[]> {
    const sources: string[] = []
    for (const [m, mount] of plan.mounts.entries()) {
      if (mount.kind === 'tmpfs') {
        sources.push('')
      } else if (mount.kind === 'bind') {
        sources.push(bindSource(mount.source, mount.createSource))
      } else {
        const own = join(this.#directory, 'volumes', String(m))
        const shared = join(this.#parts.directories.volumes, mount.source, '_data')
        const path = mount.source === '' ? own : shared
        await mkdir(path, { recursive: true, mode: 0o755 })
        sources.push(path)
      }
    }
    return sources
  }

  /** Secrets and configs, with the owners and modes that their references give. */
  async #writeFiles(): Promise<{ path: string; target: string }[]> {
    const directory = join(this.#parts.directories.files, this.#task.id)
    const placed: { path: string; target: string }[] = []
    let files: ReturnType<typeof filesOf>
    try {
      files = filesOf(this.#task, this.#host)
    } catch (error) {
      throw new TaskError((error as Error).message)
    }
    if (files.length > 0) await mkdir(directory, { recursive: true, mode: 0o700 })
    for (const [f, file] of files.entries()) {
      const path = join(directory, String(f))
      await rm(path, { force: true })
      await writeFile(path, file.bytes, { mode: 0o600 })
      await chmod(path, file.mode)
      if (file.uid !== 0 || file.gid !== 0) await chown(path, file.uid, file.gid)
      placed.push({ path, target: file.target })
    }
    return placed
  }

  async start(signal: AbortSignal): Promise<void> {
    if (exitStatus(this.#directory) !== null) return
    if (supervisorOf(this.#directory) === 0) {
      await this.#awaitNetwork(signal)
      await this.#launch()
    }
    this.#openLog().open()
    for (;;) {
      signal.throwIfAborted()
      const state = stateText(this.#directory)
      if (state === 'running') break
      if (state !== '') throw new TaskError(`cannot start: ${state}`)
      if (exitStatus(this.#directory) !== null || supervisorOf(this.#directory) === 0) {
        throw new TaskError(`cannot start: ${this.#lastWords() || 'it ended at once'}`)
      }
      await this.#change(signal)
    }
    this.#host.changed()
    await this.#awaitHealth(signal)
  }

  /** A process begins after its interfaces: a server binds to what is there. */
  async #awaitNetwork(signal: AbortSignal): Promise<void> {
    if (this.#task.networks.length === 0) return
    const late = AbortSignal.timeout(INTERFACES_TIMEOUT_MS)
    try {
      await this.#host.networked(AbortSignal.any([signal, late]))
    } catch {
      signal.throwIfAborted()
      throw new TaskError('cannot start: its interfaces did not appear')
    }
  }

  async #launch(): Promise<void> {
    const isTty = this.#task.spec.ContainerSpec?.TTY ?? false
    await launch(this.#directory, isTty ? this.#parts.openTerminal : null)
    // Until run.sh has written its number nobody could tell that it lives.
    const { signal } = new AbortController()
    for (let n = 0; n < 100 && !existsSync(join(this.#directory, 'pid')); n++)
      await this.#change(signal)
  }

  async #awaitHealth(signal: AbortSignal): Promise<void> {
    const plan = healthPlan(this.#task.spec.ContainerSpec?.Healthcheck)
    if (plan === null) return
    const judge = new HealthJudge(plan, performance.now())
    while (judge.state !== 'healthy') {
      await this.#pause(judge.delayMs(performance.now()), signal)
      if (exitStatus(this.#directory) !== null) return
      const ended = await this.#probe(plan.command, plan.timeoutMs, signal)
      if (judge.judge(ended, performance.now()) === 'unhealthy') throw unhealthy(judge)
    }
  }

  /** Runs a health probe in the task's namespaces. */
  async #probe(command: readonly string[], timeoutMs: number, signal: AbortSignal) {
    const pid = firstProcess(this.#directory)
    if (pid === 0) return { status: 125, output: 'the task does not run' }
    const spaces = ['--mount', '--uts', '--ipc', '--net', '--pid', '--root', '--wd=/', '--']
    const words = ['--target', String(pid), ...spaces, ...command]
    const { startProgram } = this.#parts
    return execute(startProgram, 'nsenter', words, timeoutMs, signal).catch((error: Error) => ({
      status: 125,
      output: error.message,
    }))
  }

  async wait(signal: AbortSignal): Promise<void> {
    const plan = healthPlan(this.#task.spec.ContainerSpec?.Healthcheck)
    const watching = new AbortController()
    const stop = (): void => watching.abort()
    signal.addEventListener('abort', stop, { once: true })
    let sick: TaskError | null = null
    const probing =
      plan === null
        ? Promise.resolve()
        : this.#watchHealth(plan, watching.signal).then((error) => {
            sick = error
            if (error !== null) stop()
          })
    try {
      while (exitStatus(this.#directory) === null) {
        if (sick !== null) throw sick
        signal.throwIfAborted()
        if (supervisorOf(this.#directory) === 0) {
          // It may have ended between the two looks.
          if (exitStatus(this.#directory) !== null) break
          throw new TaskError('task: its processes are gone without an exit status')
        }
        await this.#change(watching.signal)
      }
    } finally {
      stop()
      signal.removeEventListener('abort', stop)
      await probing
    }
    this.#openLog().collect(true)
    const status = exitStatus(this.#directory)!
    if (status === 0) return
    const killed = await wasOutOfMemory(this.#task.id)
    const why = status === 125 && stateText(this.#directory) !== 'running' ? this.#lastWords() : ''
    const suffix = killed ? ': out of memory' : why === '' ? '' : `: ${why}`
    throw new TaskError(`task: non-zero exit (${status})${suffix}`, { exitCode: status })
  }

  /** Probes a running task; resolves to the reason when it got sick, to null when told to stop. */
  async #watchHealth(
    plan: NonNullable<ReturnType<typeof healthPlan>>,
    signal: AbortSignal,
  ): Promise<TaskError | null> {
    const judge = new HealthJudge(plan, Number.NEGATIVE_INFINITY)
    judge.state = 'healthy'
    while (!signal.aborted) {
      await this.#pause(plan.intervalMs, signal).catch(() => {})
      if (signal.aborted || exitStatus(this.#directory) !== null) return null
      const ended = await this.#probe(plan.command, plan.timeoutMs, signal)
      if (signal.aborted) return null
      if (judge.judge(ended, performance.now()) === 'unhealthy') return unhealthy(judge)
    }
    return null
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    const grace = this.#task.spec.ContainerSpec?.StopGracePeriod
    const graceMs = grace === undefined ? STOP_GRACE_MS : grace / 1e6
    const stopSignal = readText(join(this.#directory, 'stop-signal')) || 'TERM'
    const untilMs = performance.now() + graceMs
    let isSent = false
    while (supervisorOf(this.#directory) > 0 && performance.now() < untilMs) {
      if (!isSent) isSent = send(firstProcess(this.#directory), stopSignal)
      await this.#change(signal, Math.min(POLL_MS, untilMs - performance.now()))
    }
    await this.terminate()
  }

  async terminate(): Promise<void> {
    const untilMs = performance.now() + KILL_TIMEOUT_MS
    const { signal } = new AbortController()
    while (supervisorOf(this.#directory) > 0) {
      // The kernel ends everything of a PID namespace with its first process.
      if (!send(firstProcess(this.#directory), 'KILL')) send(supervisorOf(this.#directory), 'KILL')
      if (performance.now() > untilMs) throw new TaskError('its processes do not end')
      await this.#change(signal, 50)
    }
    this.#log?.collect(true)
  }

  async remove(): Promise<void> {
    await this.terminate()
    this.#log?.close()
    this.#log = null
    await removeTraces(this.#task.id, this.#parts)
    this.#hasNamespace = false
    this.#parts.onRemoved()
  }

  status(): Pick<TaskStatus, 'container' | 'hostPorts'> {
    if (!existsSync(join(this.#directory, 'pid'))) return { container: null, hostPorts: [] }
    const container = {
      id: this.#task.id,
      pid: firstProcess(this.#directory),
      exitCode: exitStatus(this.#directory) ?? 0,
    }
    return { container, hostPorts: this.#hostPorts }
  }

  get egressAddress(): string | null {
    return this.#egressAddress
  }

  hasEgress(): boolean {
    return this.#egressAddress !== null
  }

  hostPorts(): readonly PortConfig[] {
    return this.#hostPorts
  }

  interfaceOf(networkId: string): LocalInterface | null {
    const n = this.#task.networks.findIndex((network) => network.networkId === networkId)
    if (n < 0 || !this.#hasNamespace) return null
    return { netns: this.#namespacePath, name: `eth${n}` }
  }

  logs(options: LogOptions, signal: AbortSignal): AsyncIterable<LogLine> {
    return this.#openLog().lines(options, signal)
  }

  /** The agent ends, the task goes on: nobody reads what it writes until the next agent does. */
  async close(): Promise<void> {
    this.#log?.close()
    this.#log = null
    await disconnectEgress(this.#parts.egress, this.#task.id, this.#directory).catch(() => {})
  }

  #openLog(): TaskLog {
    if (this.#log !== null) return this.#log
    const limits = logLimits(this.#task.logDriver?.Options)
    this.#log = new TaskLog(this.#directory, limits, this.#parts)
    return this.#log
  }

  /** Why it could not start, or what was written last to standard error. */
  #lastWords(): string {
    const state = stateText(this.#directory)
    if (state !== '' && state !== 'running') return state
    const text = readText(join(this.#directory, 'why')) || readText(join(this.#directory, 'err'))
    return text.split('\n').slice(-3).join(' ').slice(0, 256)
  }

  /** Until something happens in the task's directory, at most `limitMs`. */
  #change(signal: AbortSignal, limitMs: number = POLL_MS): Promise<void> {
    return new Promise((resolve) => {
      let watcher: FSWatcher | null = null
      const finish = (): void => {
        clearTimeout(timer)
        watcher?.close()
        signal.removeEventListener('abort', finish)
        resolve()
      }
      const timer = setTimeout(finish, Math.max(0, limitMs))
      signal.addEventListener('abort', finish, { once: true })
      if (signal.aborted) return finish()
      try {
        watcher = watch(this.#directory, (_, name) => {
          if (name === 'exit' || name === 'state' || name === 'pid') finish()
        })
        watcher.on('error', finish)
      } catch {
        // Polled instead.
      }
    })
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        cancel()
        reject(signal.reason as Error)
      }
      const cancel = startTimer(ms, () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    })
  }
}

function unhealthy({ lastOutput }: HealthJudge): TaskError {
  const why = lastOutput === '' ? '' : `: ${lastOutput}`
  return new TaskError(`task: unhealthy container${why}`)
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
