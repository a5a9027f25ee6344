// The packet loop as the rest of the process sees it: EngineHandle over a worker thread. This side makes
// what the loop needs of the host (devices in namespaces, links, the routing mesh's rules) before the
// tables that name it, and takes away after them what they no longer name.

import { Worker } from 'node:worker_threads'
import type { CompiledPort, CompiledTables } from '../dataplane/compiled.ts'
import { PROTOCOL_TCP } from '../dataplane/compiled.ts'
import { type CounterRow, counterMemory } from '../dataplane/counters.ts'
import { EdgeError } from '../dataplane/edge/errors.ts'
import { applyIngress, type IngressWish, NO_INGRESS } from '../dataplane/edge/ingress.ts'
import { close } from '../dataplane/edge/libc.ts'
import { configureLink } from '../dataplane/edge/link.ts'
import { type MeshHost, openMeshHost } from '../dataplane/edge/mesh-host.ts'
import { trimMemory } from '../dataplane/edge/trim.ts'
import { type OpenedDevice, openTap, setPersistent } from '../dataplane/edge/tuntap.ts'
import { closeWake, openWake, ringWake } from '../dataplane/edge/wake.ts'
import type { EngineHandle, EngineOptions } from '../dataplane/engine-handle.ts'
import { SEGMENTS_PER_FRAME_MAX } from '../dataplane/engine-limits.ts'
import type { DeviceHandle, FromEngine, TablesMessage, ToEngine } from './engine-protocol.ts'

/** Largest UDP payload over IPv4; what one message of SEGMENTS_PER_FRAME_MAX datagrams must not exceed. */
const MESSAGE_MAX = 65507
/** Outer headers per segment inside that message, see transmitter.ts. */
const SEGMENT_OVERHEAD = 40 + 14
const TUN_NAME = 'weft0'
const TRANSMIT_QUEUE_LENGTH = 2000
/** By then the start is over and the first packets have warmed up what they need. */
const TRIM_AFTER_MS = 5000

interface LocalDevice {
  readonly opened: OpenedDevice
  readonly port: CompiledPort
}

export class EngineThread implements EngineHandle {
  readonly counters: SharedArrayBuffer = counterMemory()
  private readonly devices: Map<string, LocalDevice> = new Map()
  /** The ingress rules that are made, by namespace ("" = the agent's own). */
  private readonly ingress: Map<string, IngressWish> = new Map()
  private mesh: MeshHost | null = null
  private worker: Worker | null = null
  private wakeFd = -1
  private isRunning = false
  private rows: readonly CounterRow[] = []
  private options: EngineOptions | null = null
  private stopping: Promise<void> | null = null
  private trimTimer: NodeJS.Timeout | undefined
  private settleReply: ((reply: FromEngine | Error) => void) | null = null
  /** Host changes are made one after another, also those of stop(). */
  private work: Promise<unknown> = Promise.resolve()

  counterRows(): readonly CounterRow[] {
    return this.rows
  }

  start(tables: CompiledTables, options: EngineOptions): Promise<void> {
    this.options = options
    return this.inTurn(async () => {
      try {
        await this.begin(tables, options)
      } catch (error) {
        await this.undo()
        throw error
      }
    })
  }

  swap(tables: CompiledTables): Promise<void> {
    return this.inTurn(async () => {
      const made: string[] = []
      try {
        await this.openDevices(tables, made)
        await this.openMesh(tables)
      } catch (error) {
        for (const name of made) await this.closeDevice(name)
        throw error
      }
      const next = this.message(tables)
      this.tell({ kind: 'swap', next })
      await this.reply()
      await this.applyIngress(ingressWishes(tables))
      await this.applyMesh(tables)
      const kept = new Set(tables.ports.map(deviceKey))
      for (const name of [...this.devices.keys()]) {
        if (!kept.has(name)) await this.closeDevice(name)
      }
    })
  }

  stop(): Promise<void> {
    this.stopping ??= this.inTurn(() => this.undo())
    return this.stopping
  }

  private inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.work.then(task)
    this.work = result.catch(() => {})
    return result
  }

  private async begin(tables: CompiledTables, options: EngineOptions): Promise<void> {
    await this.openDevices(tables, [])
    await this.applyIngress(ingressWishes(tables))
    await this.openMesh(tables)
    this.wakeFd = openWake()
    const first = this.message(tables)
    const captures = [...options.captures]
    const worker = new Worker(new URL('./engine-worker.ts', import.meta.url), {
      workerData: { counters: this.counters, wakeFd: this.wakeFd, first, captures },
    })
    this.worker = worker
    worker.on('message', (reply: FromEngine) => this.settle(reply))
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
    if (reply.kind !== 'refused') this.rows = reply.rows
    return reply
  }

  private settle(reply: FromEngine | Error): void {
    const settle = this.settleReply
    this.settleReply = null
    settle?.(reply)
  }

  /** The loop has ended by itself. During start() that is start()'s error; later nothing goes on without it,
   * whether or not somebody waits for an answer. */
  private fail(error: Error): void {
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

  // -- devices --------------------------------------------------------------------------------------

  private async openDevices(tables: CompiledTables, made: string[]): Promise<void> {
    const links: Promise<void>[] = []
    for (const port of tables.ports) {
      const key = deviceKey(port)
      if (this.devices.has(key)) continue
      const namespace = port.netns ?? undefined
      const opened = openTap({
        name: port.device,
        persistent: true,
        ...(namespace === undefined ? {} : { namespace }),
      })
      this.devices.set(key, { opened, port })
      made.push(key)
      if (opened.adopted) this.options?.log.info('took over device', { device: port.device })
      links.push(configureLink(linkOptions(port), opened.adopted))
    }
    const results = await Promise.allSettled(links)
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  private async closeDevice(key: string): Promise<void> {
    const device = this.devices.get(key)
    if (device === undefined) return
    this.devices.delete(key)
    const { opened } = device
    setPersistent(opened, false)
    close(opened.fd)
  }

  /** The rules in the tasks' namespaces that bring answers back into the mesh. */
  private async applyIngress(wishes: ReadonlyMap<string, IngressWish>): Promise<void> {
    const before = this.ingress
    for (const namespace of new Set([...before.keys(), ...wishes.keys()])) {
      const wish = wishes.get(namespace) ?? NO_INGRESS
      if (JSON.stringify(wish) === JSON.stringify(before.get(namespace))) continue
      // Noted first: when it fails half-way, the next call makes it again.
      this.ingress.delete(namespace)
      await applyIngress(wish, namespace === '' ? undefined : namespace)
      if (wish !== NO_INGRESS) this.ingress.set(namespace, wish)
    }
  }

  private message(tables: CompiledTables): TablesMessage {
    const devices: DeviceHandle[] = []
    let mergeUdp = true
    for (const port of tables.ports) {
      const local = this.devices.get(deviceKey(port))
      if (local === undefined) continue
      const { fd, udpSegmentation } = local.opened
      devices.push({ name: port.name, device: port.device, fd, mtu: port.mtu })
      mergeUdp &&= udpSegmentation
    }
    let tun: DeviceHandle | null = null
    if (this.mesh !== null) {
      const { fd, name, udpSegmentation } = this.mesh.device
      tun = { name, device: name, fd, mtu: meshMtu(tables) }
      mergeUdp &&= udpSegmentation
    }
    return { tables, devices, tun, mergeUdp }
  }

  // -- routing mesh ---------------------------------------------------------------------------------

  private async openMesh(tables: CompiledTables): Promise<void> {
    if (this.mesh !== null || tables.publishedPorts.length === 0) return
    const runDirectory = this.options!.runDirectory
    this.mesh = await openMeshHost({ tunName: TUN_NAME, mtu: meshMtu(tables), runDirectory })
  }

  private async applyMesh(tables: CompiledTables): Promise<void> {
    await this.mesh?.apply({
      addresses: tables.node.addresses.map((address) => address.text),
      ports: tables.publishedPorts.map((published) => ({
        protocol: published.protocol === PROTOCOL_TCP ? 'tcp' : 'udp',
        port: published.portNumber,
      })),
    })
  }

  // -- the end --------------------------------------------------------------------------------------

  private async undo(): Promise<void> {
    clearTimeout(this.trimTimer)
    await this.mesh?.undoAll()
    const worker = this.worker
    if (worker !== null) {
      this.worker = null
      const gone = new Promise((resolve) => worker.once('exit', resolve))
      worker.postMessage({ kind: 'stop' } satisfies ToEngine)
      ringWake(this.wakeFd)
      await gone
    }
    if (this.mesh !== null) close(this.mesh.device.fd)
    this.mesh = null
    await this.applyIngress(new Map())
    for (const key of [...this.devices.keys()]) await this.closeDevice(key)
    if (this.wakeFd >= 0) closeWake(this.wakeFd)
    this.wakeFd = -1
  }
}

/** What makes two ports the same device: a change of any of it means another device. */
function deviceKey(port: CompiledPort): string {
  const addresses = port.addresses.map((address) => address.text).join(',')
  const mac = Buffer.from(port.mac).toString('hex')
  return [port.netns ?? '', port.device, mac, addresses, port.mtu, port.defaultRoute].join(' ')
}

/** What each namespace must send back into the mesh: its addresses on the ingress network, and the UDP
 * ports on which it serves published ones. */
function ingressWishes(tables: CompiledTables): Map<string, IngressWish> {
  const served = new Map<number, Set<number>>()
  for (const { protocol, targetPortNumber, service } of tables.publishedPorts) {
    if (protocol === PROTOCOL_TCP) continue
    for (const backend of tables.services[service]!.backends) {
      const { port } = tables.endpoints[tables.backends[backend]!.endpoint]!
      served.set(port, (served.get(port) ?? new Set()).add(targetPortNumber))
    }
  }
  const wishes = new Map<string, { addresses: string[]; udpPorts: number[] }>()
  tables.ports.forEach((port, p) => {
    if (!port.ingress) return
    const namespace = port.netns ?? ''
    const wish = wishes.get(namespace) ?? { addresses: [], udpPorts: [] }
    wish.addresses.push(...port.addresses.map((address) => address.text))
    wish.udpPorts.push(...(served.get(p) ?? []))
    wishes.set(namespace, wish)
  })
  return wishes
}

function meshMtu(tables: CompiledTables): number {
  return tables.networks[tables.ingressNetwork]?.mtu ?? 1280
}

function linkOptions(port: CompiledPort): Parameters<typeof configureLink>[0] {
  const segment = port.mtu + SEGMENT_OVERHEAD
  const segments = Math.min(SEGMENTS_PER_FRAME_MAX, Math.floor(MESSAGE_MAX / segment))
  const gateways = port.gateways.map((gateway) => gateway.text)
  return {
    name: port.device,
    namespace: port.netns ?? undefined,
    mac: [...port.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    addresses: port.addresses.map((address, i) => `${address.text}/${port.prefixLengths[i]}`),
    mtu: port.mtu,
    transmitQueueLength: TRANSMIT_QUEUE_LENGTH,
    gsoSizeMax: Math.min(65535, segments * (port.mtu - 40)),
    gsoSegmentCountMax: segments,
    ...(port.defaultRoute ? { defaultGateways: gateways } : {}),
    ...(port.ingress ? { ingressGateways: gateways } : {}),
  }
}
