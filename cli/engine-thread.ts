// The packet loop as the rest of the process sees it: EngineHandle over a worker thread. This side
// makes what the loop needs of the host (devices in namespaces, links, the routing mesh's rules)
// before the tables that name it, and takes away after them what they no longer name.

import { Worker } from 'node:worker_threads'
import type { Logger } from '../base/log.ts'
import { Turns } from '../base/turns.ts'
import type { BalancerRows } from '../dataplane/balanced-services.ts'
import type { CompiledTables } from '../dataplane/compiled.ts'
import { PROTOCOL_TCP } from '../dataplane/compiled.ts'
import { type CounterRow, counterMemory } from '../dataplane/counters.ts'
import { EdgeError } from '../dataplane/edge/errors.ts'
import { close } from '../dataplane/edge/libc.ts'
import { MESH_HOLD_SECONDS } from '../dataplane/edge/limits.ts'
import {
  checkMeshWish,
  type MeshHost,
  openMeshHost,
  repairMeshHost,
} from '../dataplane/edge/mesh-host.ts'
import type { MeshPort, MeshWish } from '../dataplane/edge/mesh-plan.ts'
import { trimMemory } from '../dataplane/edge/trim.ts'
import { closeWake, openWake, ringWake } from '../dataplane/edge/wake.ts'
import type {
  ChangeResult,
  EngineEnd,
  EngineHandle,
  EngineOptions,
} from '../dataplane/engine-handle.ts'
import { mergeManual, tableClaims } from '../dataplane/manual-merge.ts'
import {
  applyChanges,
  type ManualChange,
  type ManualService,
  ManualServices,
} from '../dataplane/manual-services.ts'
import type { Question, QuestionName, Questions } from '../dataplane/questions.ts'
import type { Restored } from '../dataplane/saved-flows.ts'
import { SCHEDULERS } from '../ipvs-emulator/sched.ts'
import { statisticsMemory } from '../ipvs-emulator/statistics.ts'
import type {
  DeviceHandle,
  EngineWorkerData,
  FromEngine,
  TablesMessage,
  ToEngine,
} from './engine-protocol.ts'
import { saveFlowsFile, takeFlowsFile } from './flows-file.ts'
import { IcmpSockets } from './icmp-sockets.ts'
import { LocalDevices } from './local-devices.ts'
import { LoopbackProxy } from './loopback-proxy.ts'
import { loadManual, saveManual } from './manual-file.ts'
import { QuestionQueue } from './question-queue.ts'

const TUN_NAME = 'weft0'
const SCHEDULER_NAMES: readonly string[] = [...SCHEDULERS.keys()]
const NO_ROWS: BalancerRows = {
  backends: [],
  rows: new Int32Array(0),
  weights: new Int32Array(0),
}
/** By then the start is over and the first packets have warmed up what they need. */
const TRIM_AFTER_MS = 5000

/** Takes back what a killed agent left of devices, rules and settings. Returns the number of the
 * mesh's changes. Throws EdgeError ALREADY_RUNNING, JOURNAL, COMMAND_*. */
export async function repairHost(runDirectory: string, log: Logger): Promise<number> {
  const devices = new LocalDevices(runDirectory, log)
  devices.sweep()
  await devices.undoAll()
  return repairMeshHost(runDirectory)
}

export class EngineThread implements EngineHandle {
  readonly counters: SharedArrayBuffer
  readonly statistics: SharedArrayBuffer
  private devices: LocalDevices | null = null
  /** The tables that run, without the services added by hand. */
  private current: CompiledTables | null = null
  private readonly manual: ManualServices = new ManualServices(SCHEDULER_NAMES)
  private balancer: BalancerRows = NO_ROWS
  private readonly questions: QuestionQueue = new QuestionQueue((question) =>
    this.tell({ kind: 'ask', question }),
  )
  private mesh: MeshHost | null = null
  private icmp: IcmpSockets | null = null
  /** The host could not masquerade: it is not asked again. */
  private hasNoEgress = false
  private loopback: LoopbackProxy | null = null
  private worker: Worker | null = null
  /** What the loop gave when it ended in order. */
  private savedFlows: Uint8Array | null = null
  private wakeFd = -1
  private isRunning = false
  private rows: readonly CounterRow[] = []
  private options: EngineOptions | null = null
  private stopping: Promise<void> | null = null
  private trimTimer: NodeJS.Timeout | undefined
  private settleReply: ((reply: FromEngine | Error) => void) | null = null
  /** Host changes are made one after another, also those of stop(). */
  private readonly turns: Turns = new Turns()

  /** The memory may be handed in, zeroed: readers of one engine's counters then go on with the
   * next's. */
  constructor(
    counters: SharedArrayBuffer = counterMemory(),
    statistics: SharedArrayBuffer = statisticsMemory(),
  ) {
    this.counters = counters
    this.statistics = statistics
  }

  counterRows(): readonly CounterRow[] {
    return this.rows
  }

  balancerRows(): BalancerRows {
    return this.balancer
  }

  ask<Name extends QuestionName>(
    name: Name,
    given: Questions[Name]['given'],
  ): Promise<Questions[Name]['answer']> {
    return this.questions.ask({ name, given } as Question<Name>)
  }

  manualServices(): readonly ManualService[] {
    return this.manual.list()
  }

  changeServices(changes: readonly ManualChange[], restoring: boolean): Promise<ChangeResult> {
    return this.turns.take(async () => {
      const { current, options } = this
      if (current === null || options === null) throw new Error('the packet loop does not run')
      const before = this.manual.list()
      const result = applyChanges(this.manual, changes, restoring)
      if (result.made === 0) return result
      try {
        // What would not outlive the agent must not be in force either.
        saveManual(options.runDirectory, this.manual.list())
        await this.swapLoop(current)
        return result
      } catch (error) {
        this.manual.restore(before)
        await this.swapLoop(current)
        saveManual(options.runDirectory, before)
        throw error
      }
    })
  }

  /** Gives the loop tables and waits until it runs them. Throws when it cannot. */
  private async swapLoop(tables: CompiledTables): Promise<void> {
    if (this.worker === null) throw new Error('the packet loop does not run')
    const next = this.message(tables)
    this.tell({ kind: 'swap', next })
    const reply = await this.reply()
    if (reply.kind === 'refused') throw new Error(`${reply.subject}: ${reply.sentence}`)
    this.icmp?.retain(next.errors)
  }

  start(tables: CompiledTables, options: EngineOptions): Promise<void> {
    this.options = options
    return this.turns.take(async () => {
      try {
        await this.begin(tables, options)
      } catch (error) {
        await this.undo('failed')
        throw error
      }
    })
  }

  swap(tables: CompiledTables): Promise<void> {
    return this.turns.take(async () => {
      const devices = this.devices!
      const made: string[] = []
      checkMeshWish(meshWish(tables))
      try {
        await devices.open(tables.ports, made)
        await this.openMesh(tables)
      } catch (error) {
        for (const key of made) devices.close(key)
        await devices.open(this.current!.ports, []).catch(() => {})
        throw error
      }
      try {
        await this.swapLoop(tables)
        await devices.applyIngress(tables)
        await this.applyMesh(tables)
      } catch (error) {
        await this.goBack(devices, made)
        throw error
      }
      this.current = tables
      this.manual.setTables(() => tableClaims(tables))
      devices.retain(tables.ports)
    })
  }

  /** The host or the loop has refused tables, half-way: those that ran before run again. The host
   * follows as far as it can. */
  private async goBack(devices: LocalDevices, made: readonly string[]): Promise<void> {
    const before = this.current!
    if (this.worker !== null) await this.swapLoop(before)
    for (const key of made) devices.close(key)
    await devices.open(before.ports, []).catch(() => {})
    await devices.applyIngress(before).catch(() => {})
    await this.applyMesh(before).catch(() => {})
  }

  stop(end: EngineEnd = 'undo'): Promise<void> {
    this.stopping ??= this.turns.take(() => this.undo(end))
    return this.stopping
  }

  private async begin(tables: CompiledTables, options: EngineOptions): Promise<void> {
    const devices = new LocalDevices(options.runDirectory, options.log)
    this.devices = devices
    this.icmp = new IcmpSockets(options.log)
    await devices.open(tables.ports, [])
    await devices.applyIngress(tables)
    devices.sweep()
    if (!needsMesh(tables)) await repairMeshHost(options.runDirectory)
    await this.openMesh(tables)
    this.wakeFd = openWake()
    this.manual.setTables(() => tableClaims(tables))
    const lost = this.manual.restore(loadManual(options.runDirectory, options.log))
    if (lost > 0) options.log.warn('services added by hand are lost', { services: lost })
    const first = this.message(tables)
    const captures = [...options.captures]
    const flows = takeFlowsFile(options.runDirectory, options.log)
    const worker = new Worker(new URL('./engine-worker.ts', import.meta.url), {
      workerData: {
        counters: this.counters,
        statistics: this.statistics,
        wakeFd: this.wakeFd,
        first,
        flows,
        captures,
      } satisfies EngineWorkerData,
      transferList: flows === null ? [] : [flows.buffer],
    })
    this.worker = worker
    worker.on('message', (reply: FromEngine) => {
      if (reply.kind === 'answer') this.questions.answered(reply.answer)
      else if (reply.kind === 'restored') this.tellRestored(reply.result)
      else if (reply.kind === 'flows') this.savedFlows = reply.bytes
      else this.settle(reply)
    })
    worker.on('error', (error) => this.fail(error))
    worker.on('exit', () => this.fail(new Error('the packet loop ended')))
    const reply = await this.reply()
    if (reply.kind === 'refused') {
      const { code, subject, sentence } = reply
      if (code !== 'EADDRINUSE') throw new EdgeError('SYSTEM', subject, `${subject}: ${sentence}`)
      const remedy = 'stop who uses it, or name another listenPort'
      throw new EdgeError('SYSTEM', subject, `${subject} is in use`, remedy)
    }
    this.isRunning = true
    this.current = tables
    this.questions.open()
    await this.applyMesh(tables)
    this.trimTimer = setTimeout(trimMemory, TRIM_AFTER_MS)
    this.trimTimer.unref()
  }

  /** Waits for the loop's next message. */
  private async reply(): Promise<FromEngine> {
    const reply = await new Promise<FromEngine | Error>((resolve) => {
      this.settleReply = resolve
    })
    if (reply instanceof Error) throw reply
    if (reply.kind === 'ready' || reply.kind === 'swapped') {
      this.rows = reply.rows
      this.balancer = reply.balancer
    }
    return reply
  }

  private settle(reply: FromEngine | Error): void {
    const settle = this.settleReply
    this.settleReply = null
    settle?.(reply)
  }

  /** The loop has ended by itself. During start() that is start()'s error; later nothing goes on
   * without it, whether or not somebody waits for an answer. */
  private fail(error: Error): void {
    this.questions.close()
    if (this.worker !== null) {
      this.worker = null
      if (this.isRunning && this.stopping === null) this.options?.onFailure(error)
    }
    this.settle(error)
  }

  private tell(message: ToEngine): void {
    this.worker?.postMessage(message)
    ringWake(this.wakeFd)
  }

  private message(own: CompiledTables): TablesMessage {
    const tables = mergeManual(own, this.manual.list())
    const devices: DeviceHandle[] = []
    let mergeUdp = true
    for (const port of tables.ports) {
      const opened = this.devices?.opened(port)
      if (opened === undefined) continue
      const { fd, udpSegmentation } = opened
      devices.push({ name: port.name, device: port.device, fd, mtu: port.mtu })
      mergeUdp &&= udpSegmentation
    }
    let tun: DeviceHandle | null = null
    if (this.mesh !== null) {
      const { fd, name, udpSegmentation } = this.mesh.device
      tun = { name, device: name, fd, mtu: meshMtu(tables) }
      mergeUdp &&= udpSegmentation
    }
    const errors = this.icmp?.wanted(tables.publishedPorts.length > 0) ?? []
    return { tables, devices, tun, errors, mergeUdp }
  }

  // -- routing mesh
  // ---------------------------------------------------------------------------------

  private async openMesh(tables: CompiledTables): Promise<void> {
    if (this.mesh !== null || !needsMesh(tables)) return
    const runDirectory = this.options!.runDirectory
    this.mesh = await openMeshHost({ tunName: TUN_NAME, mtu: meshMtu(tables), runDirectory })
    if (this.mesh.tookOver) this.options!.log.info('took over the published ports')
  }

  private async applyMesh(tables: CompiledTables): Promise<void> {
    const { addresses, ports } = meshWish(tables)
    const egress = tables.node.egress && !this.hasNoEgress
    try {
      await this.mesh?.apply({ addresses, ports, egress })
    } catch (error) {
      if (!egress) throw error
      // A host whose packet filter cannot still serves.
      this.hasNoEgress = true
      const { message } = error as Error
      this.options!.log.warn('processes have no way outside', { error: message })
      await this.mesh?.apply({ addresses, ports })
    }
    const own = addresses.find((address) => address.includes(':')) ?? addresses[0] ?? null
    this.loopback ??= new LoopbackProxy(this.options!.log)
    this.loopback.apply(own, ports)
  }

  // -- flows across a restart
  // ---------------------------------------------------------------------------------

  private tellRestored(result: Restored | string): void {
    const log = this.options?.log
    if (typeof result === 'string') log?.warn('the saved flows are lost', { problem: result })
    else log?.info('flows go on', { flows: result.loaded, dropped: result.dropped })
  }

  /** Writes the flows for the next agent. One that cannot is no reason not to stop. */
  private keepFlows(): void {
    const { savedFlows, options } = this
    if (savedFlows === null || options === null || !this.isRunning) return
    this.savedFlows = null
    try {
      saveFlowsFile(options.runDirectory, savedFlows)
    } catch (error) {
      options.log.warn('the open flows are lost', { error: (error as Error).message })
    }
  }

  // -- the end
  // --------------------------------------------------------------------------------------

  private async hold(): Promise<void> {
    const { mesh, options } = this
    try {
      const ports = (await mesh?.hold()) ?? 0
      if (ports === 0) return
      const seconds = MESH_HOLD_SECONDS
      options?.log.info('published ports are held for the next agent', { ports, seconds })
    } catch (error) {
      options?.log.warn('published ports are not held', { error: (error as Error).message })
      await mesh?.undoAll()
    }
  }

  private async undo(end: EngineEnd | 'failed'): Promise<void> {
    clearTimeout(this.trimTimer)
    this.questions.close()
    this.loopback?.close()
    this.loopback = null
    if (end !== 'hold') await this.mesh?.undoAll()
    const worker = this.worker
    if (worker !== null) {
      this.worker = null
      const gone = new Promise((resolve) => worker.once('exit', resolve))
      worker.postMessage({ kind: 'stop' } satisfies ToEngine)
      ringWake(this.wakeFd)
      await gone
      this.keepFlows()
    }
    if (end === 'hold') await this.hold()
    if (this.mesh !== null) close(this.mesh.device.fd)
    this.mesh = null
    this.icmp?.close()
    this.icmp = null
    if (end === 'undo') await this.devices?.undoAll()
    else if (end === 'failed') await this.devices?.giveBack()
    else await this.devices?.leave()
    this.devices = null
    if (this.wakeFd >= 0) closeWake(this.wakeFd)
    this.wakeFd = -1
  }
}

function needsMesh(tables: CompiledTables): boolean {
  return tables.publishedPorts.length > 0 || tables.node.egress
}

function meshWish({ node, publishedPorts }: CompiledTables): MeshWish {
  const addresses = node.addresses.map((address) => address.text)
  const ports = publishedPorts.map(({ protocol, portNumber }): MeshPort => {
    return { protocol: protocol === PROTOCOL_TCP ? 'tcp' : 'udp', port: portNumber }
  })
  return { addresses, ports }
}

function meshMtu(tables: CompiledTables): number {
  return tables.networks[tables.ingressNetwork]?.mtu ?? 1280
}
