// The packet loop's thread: puts the engine together over Linux and runs it until told to stop.

import { randomBytes } from 'node:crypto'
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { BatchSocket } from 'dgram-plus'
import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { FrameDevice, UnderlaySocket } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import { Counters } from '../dataplane/counters.ts'
import { adviseHugePages } from '../dataplane/edge/huge-pages.ts'
import { errorSource } from '../dataplane/edge/icmp-socket.ts'
import { yieldCore } from '../dataplane/edge/libc.ts'
import { createAeadFactory } from '../dataplane/edge/libcrypto.ts'
import { PcapWriter } from '../dataplane/edge/pcap.ts'
import { captureDevice, captureUnderlay } from '../dataplane/edge/pcap-edges.ts'
import { createPoller } from '../dataplane/edge/poller.ts'
import { allocateSlab } from '../dataplane/edge/slab.ts'
import { vnetDevice } from '../dataplane/edge/vnet-device.ts'
import { drainWake } from '../dataplane/edge/wake.ts'
import { Engine, SLAB_SOCKET_AT } from '../dataplane/engine.ts'
import { Port } from '../dataplane/ports.ts'
import type { Restored } from '../dataplane/saved-flows.ts'
import { ConfigError } from '../ipvs-emulator/config.ts'
import { FlowStateError } from '../ipvs-emulator/flow-state.ts'
import type {
  DeviceHandle,
  EngineWorkerData,
  FromEngine,
  TablesMessage,
  ToEngine,
} from './engine-protocol.ts'

/** Receive buffers: with UDP_GRO a message has up to 64 KB; without, one datagram of at most a
 * jumbo frame. */
const GRO_BUFFERS = { count: 8, size: 65536 }
const PLAIN_BUFFERS = { count: 32, size: 16384 }

const ETHERNET_SIZE = 14
/** Name of the underlay among the captures, as in agent.ts. */
const UNDERLAY = 'underlay'

function main(port: MessagePort, data: EngineWorkerData): void {
  const slab = allocateSlab(SLAB_SOCKET_AT + GRO_BUFFERS.count * GRO_BUFFERS.size)
  const { node } = data.first.tables
  const clock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
  const captures = new Captures(slab, clock, data.captures)
  let socket: UnderlaySocket
  try {
    const opened = new BatchSocket({
      memory: slab,
      receive: { at: SLAB_SOCKET_AT, ...GRO_BUFFERS },
      receiveWithoutGro: { at: SLAB_SOCKET_AT, ...PLAIN_BUFFERS },
      ...(node.listenAddress === '::' ? {} : { address: node.listenAddress }),
      port: node.listenPort,
    })
    socket = captures.underlay(opened, node.listenAddress)
  } catch (error) {
    const { code, message } = error as Error & { code?: string }
    const subject = `UDP port ${node.listenPort}`
    const sentence = message
    const refused: FromEngine = { kind: 'refused', code: code ?? 'SYSTEM', subject, sentence }
    port.postMessage(refused)
    return
  }
  try {
    serve(port, data, { slab, socket, captures, clock })
  } finally {
    // The descriptor is the process's and would outlive the thread: no other loop could begin.
    socket.close()
  }
}

interface Edges {
  readonly slab: Slab
  readonly socket: UnderlaySocket
  readonly captures: Captures
  readonly clock: Clock
}

/** Runs the engine until it is told to stop. */
function serve(port: MessagePort, data: EngineWorkerData, edges: Edges): void {
  const { slab, socket, clock } = edges
  const { node } = data.first.tables
  const say = (message: FromEngine): void => port.postMessage(message)
  const counters = new Counters(data.counters)
  const ports = new Map<number, Port>()
  const engine = new Engine({
    slab,
    socket,
    poller: createPoller(),
    wakeFd: data.wakeFd,
    onWake: () => {
      drainWake(data.wakeFd)
      hear(port, (message) => {
        if (message.kind === 'stop') engine.stop()
        else if (message.kind === 'ask') {
          say({ kind: 'answer', answer: engine.ask(message.question) })
        } else {
          say(swapOrRefuse(engine, edges, ports, counters, message.next))
        }
      })
    },
    relax: yieldCore,
    aead: createAeadFactory(slab),
    clock,
    randomBytes,
    random: randomWords(),
    counters,
    statistics: new Float64Array(data.statistics),
    connectionsMax: node.balancer.flowsMax,
    onLargeTable: adviseHugePages,
    privateKey: node.privateKey ?? randomBytes(32),
    presharedKeys: node.presharedKeys,
  })
  swap(engine, edges, ports, data.first)
  if (data.flows !== null) say({ kind: 'restored', result: restore(engine, data.flows) })
  say({ kind: 'ready', rows: counters.list(), balancer: engine.services.rows() })
  engine.run()
  const bytes = engine.saveFlows()
  port.postMessage({ kind: 'flows', bytes } satisfies FromEngine, [bytes.buffer])
}

/** Swaps the tables. What the balancer cannot hold is refused, and the sender puts the tables that
 * ran before back. */
function swapOrRefuse(
  engine: Engine,
  edges: Edges,
  ports: Map<number, Port>,
  counters: Counters,
  next: TablesMessage,
): FromEngine {
  try {
    swap(engine, edges, ports, next)
    return { kind: 'swapped', rows: counters.list(), balancer: engine.services.rows() }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { kind: 'refused', code: 'CONFIG', subject: 'the tables', sentence: error.message }
  }
}

/** Takes over saved flows. Returns what became of them, or why they are of no use. */
function restore(engine: Engine, flows: Uint8Array): Restored | string {
  try {
    return engine.restoreFlows(flows)
  } catch (error) {
    if (error instanceof FlowStateError || error instanceof SyntaxError) return error.message
    throw error
  }
}

/** Takes every message that waits. There is at most one question among them. */
function hear(port: MessagePort, take: (message: ToEngine) => void): void {
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: ToEngine } | undefined
    if (received === undefined) return
    take(received.message)
  }
}

function swap(
  engine: Engine,
  { captures, slab }: Edges,
  ports: Map<number, Port>,
  next: TablesMessage,
): void {
  // A descriptor that stays open stays the same port, with what it learnt.
  const open = (handle: DeviceHandle, linkSize: number): Port => {
    let port = ports.get(handle.fd)
    if (port === undefined) {
      port = new Port(captures.device(handle, linkSize), linkSize, handle.mtu)
      ports.set(handle.fd, port)
    }
    return port
  }
  const byName = new Map(next.devices.map((handle) => [handle.name, handle]))
  const tun = next.tun === null ? null : open(next.tun, 0)
  engine.swap(
    next.tables,
    (name) => {
      const handle = byName.get(name)
      return handle === undefined ? null : open(handle, ETHERNET_SIZE)
    },
    tun,
    next.mergeUdp,
    next.errors.map(({ fd, family }) => errorSource(fd, family, slab)),
  )
  const held = new Set(next.devices.map((handle) => handle.fd))
  if (next.tun !== null) held.add(next.tun.fd)
  for (const fd of ports.keys()) if (!held.has(fd)) ports.delete(fd)
}

/** Puts packet captures around the edges that `--pcap` names; without one, nothing is in the
 * way. */
class Captures {
  private readonly files: ReadonlyMap<string, string>
  private readonly slab: Slab
  private readonly clock: Clock

  constructor(slab: Slab, clock: Clock, captures: EngineWorkerData['captures']) {
    this.slab = slab
    this.clock = clock
    this.files = new Map(captures)
  }

  device(handle: DeviceHandle, linkSize: number): FrameDevice {
    const device = vnetDevice(handle.fd, handle.device, this.slab)
    const file = this.files.get(handle.name)
    if (file === undefined) return device
    const writer = new PcapWriter(file, linkSize === 0 ? 'raw' : 'ethernet', this.clock)
    return captureDevice(device, this.slab, writer)
  }

  underlay(socket: BatchSocket, listenAddress: string): UnderlaySocket {
    const file = this.files.get(UNDERLAY)
    if (file === undefined) return socket
    const writer = new PcapWriter(file, 'raw', this.clock)
    const local = listenAddress === '::' ? '0.0.0.0' : listenAddress
    return captureUnderlay(socket, this.slab, writer, local)
  }
}

/** Uniform 32-bit numbers, drawn from the system a page at a time. */
function randomWords(): () => number {
  const words = new Uint32Array(1024)
  let at = words.length
  return () => {
    if (at === words.length) {
      words.set(new Uint32Array(new Uint8Array(randomBytes(words.byteLength)).buffer))
      at = 0
    }
    return words[at++]!
  }
}

assert(parentPort !== null, 'the packet loop runs in a worker thread')
main(parentPort, workerData as EngineWorkerData)
