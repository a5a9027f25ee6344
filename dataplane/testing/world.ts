// A world for tests: several engines in one process over the in-memory edges, with a clock that
// only the test moves and one seed for all randomness. No socket, no thread, no privilege: a run
// that failed once fails again.
//
//   const world = new World({ nodes: ['a', 'b'] })
//   world.connect()                              sessions between all nodes are up
//   world.inject('web-a', frame)                 what the container sends
//   world.settle()                               turns of all engines until nothing moves
//   world.read('web-b')                          what came out there
//
// The tables come from one description of the cluster (cluster.ts), seen from each node in turn,
// and pass through the same validation and compilation as a file does.

import assert from 'node:assert/strict'
import { type ManualClock, manualClock } from '../../base/clock.ts'
import type { AeadFactory, FrameDevice, SendBatch, UnderlaySocket } from '../../base/device.ts'
import { type Prng, prng } from '../../base/prng.ts'
import type { Slab } from '../../base/slab.ts'
import { SCHEDULERS } from '../../ipvs-emulator/sched.ts'
import { STATE_COUNT_CELLS } from '../../ipvs-emulator/state-counts.ts'
import { PERSISTENT_CONNECTIONS } from '../../ipvs-emulator/statistics-columns.ts'
import { guardedView } from '../../test/guarded-view.ts'
import { PlainAeadFactory } from '../../vxlan/aead.ts'
import { ETHERNET_HEADER_SIZE } from '../../wire/ethernet.ts'
import { VNET_HEADER_SIZE } from '../../wire/vnet.ts'
import { compileTables } from '../compile.ts'
import type { CompiledTables } from '../compiled.ts'
import { Counters, counterMemory, DROP_CELLS, ENGINE_CELLS, STATE_CELLS } from '../counters.ts'
import { DROP_REASONS } from '../drop-reasons.ts'
import { MemoryDevice, MemoryErrors, MemoryPoller } from '../edge/memory.ts'
import { MemoryNetwork, type MemorySocket } from '../edge/memory-underlay.ts'
import { Engine, SLAB_SOCKET_AT } from '../engine.ts'
import { ARENA_SIZE } from '../engine-limits.ts'
import { Port } from '../ports.ts'
import type { ForwardingTables } from '../tables.ts'
import { validateTables } from '../validate.ts'
import { CLUSTER, type Cluster, privateKeyOf, tablesOf, underlayOf } from './cluster.ts'

/** Rounds after which a world that does not come to rest has a loop in it. */
const ROUNDS_MAX = 20_000
const RECEIVE = { count: 16, size: 65_536 } as const
/** Bytes around the receive buffers that nobody may touch. */
const CANARY_SIZE = 4096
const CANARY = 0x5a
/** What the engine may use in front of the first buffer: its own gap. */
const GAP = 64

export interface WorldOptions {
  /** Names of the cluster's nodes that run an engine, default all that have a key. */
  readonly nodes?: readonly string[]
  readonly cluster?: Cluster
  readonly seed?: number
  /** Every access through the slab's view is checked: slow. Default false. */
  readonly guarded?: boolean
  /** Devices take UDP super-packets. Default true. */
  readonly mergeUdp?: boolean
  /** Default 1024. */
  readonly connectionsMax?: number
  /** Messages per send batch, and datagrams merged on the way in. */
  readonly sendCount?: number
  readonly merge?: boolean
  /** Puts something between engine and edge, such as a fault injector. */
  readonly wrapSocket?: (socket: UnderlaySocket, slab: Slab) => UnderlaySocket
  readonly wrapAead?: (aead: AeadFactory, slab: Slab) => AeadFactory
  readonly wrapDevice?: (device: FrameDevice, slab: Slab) => FrameDevice
}

/** One node: its engine and the far side of everything it holds. */
export class Node {
  readonly name: string
  readonly slab: Slab
  readonly counters: Counters = new Counters(counterMemory(512))
  readonly poller: MemoryPoller = new MemoryPoller()
  readonly socket: MemorySocket
  readonly engine: Engine
  readonly devices: Map<string, MemoryDevice> = new Map()
  readonly ports: Map<string, Port> = new Map()
  readonly tun: MemoryDevice
  /** ICMP errors from outside. */
  readonly errors: MemoryErrors
  private readonly tunPort: Port
  private readonly options: WorldOptions
  tables: CompiledTables

  constructor(name: string, world: World, options: WorldOptions) {
    this.name = name
    this.options = options
    this.slab = worldSlab(options.guarded === true)
    this.socket = world.network.socket({
      address: underlayOf(name),
      port: 4789,
      slab: this.slab,
      receive: { at: SLAB_SOCKET_AT + CANARY_SIZE, ...RECEIVE },
      poller: this.poller,
      ...(options.sendCount === undefined ? {} : { sendCount: options.sendCount }),
      ...(options.merge === undefined ? {} : { merge: options.merge }),
    })
    const checked = checkedSocket(this.socket)
    const aead = new PlainAeadFactory(this.slab)
    this.engine = new Engine({
      slab: this.slab,
      socket: options.wrapSocket?.(checked, this.slab) ?? checked,
      poller: this.poller,
      wakeFd: -1,
      onWake: () => {},
      aead: options.wrapAead?.(aead, this.slab) ?? aead,
      clock: world.clock,
      randomBytes: (size) => Uint8Array.from({ length: size }, () => world.random.below(256)),
      random: () => world.random.nextU32(),
      counters: this.counters,
      privateKey: privateKeyOf(name),
      presharedKeys: [new Uint8Array(32)],
      connectionsMax: options.connectionsMax ?? 1024,
    })
    this.tun = new MemoryDevice({ name: 'weft0', slab: this.slab, poller: this.poller })
    this.errors = new MemoryErrors(this.slab, this.poller)
    this.tunPort = new Port(this.wrap(this.tun), 0, 1500)
    this.tables = compileFor(world.cluster, name)
    this.swap(this.tables)
  }

  /** Takes over other tables; devices of ports that stay are kept. */
  swap(tables: CompiledTables): void {
    this.tables = tables
    const { slab, poller } = this
    for (const port of tables.ports) {
      if (this.devices.has(port.name)) continue
      const device = new MemoryDevice({ name: port.device, slab, poller })
      this.devices.set(port.name, device)
      this.ports.set(port.name, new Port(this.wrap(device), ETHERNET_HEADER_SIZE, port.mtu))
    }
    const tun = tables.publishedPorts.length > 0 ? this.tunPort : null
    const errors = tun === null ? [] : [this.errors]
    const mergeUdp = this.options.mergeUdp ?? true
    this.engine.swap(tables, (name) => this.ports.get(name) ?? null, tun, mergeUdp, errors)
  }

  private wrap(device: MemoryDevice): FrameDevice {
    return this.options.wrapDevice?.(device, this.slab) ?? device
  }

  get busy(): boolean {
    if (this.socket.readable || this.tun.readable || this.errors.readable) return true
    for (const name of this.engine.topology.ports.keys()) {
      if (this.devices.get(name)?.readable) return true
    }
    return false
  }

  cell(cell: keyof typeof ENGINE_CELLS): number {
    return this.counters.cells[ENGINE_CELLS[cell]]!
  }

  drops(reason: number): number {
    return this.counters.cells[DROP_CELLS + reason]!
  }

  /** Drops by name, zeros left out. */
  dropNames(): Record<string, number> {
    const names: Record<string, number> = {}
    DROP_REASONS.forEach(({ name }, reason) => {
      if (this.drops(reason) > 0) names[name] = this.drops(reason)
    })
    return names
  }

  /** What came in less what is known of its fate: zero when every packet is accounted for. */
  imbalance(): number {
    let drops = 0
    for (let reason = 1; reason < DROP_REASONS.length; reason++) drops += this.drops(reason)
    return (
      this.cell('framesIn') +
      this.cell('datagramsIn') +
      this.cell('replicated') -
      this.cell('forwarded') -
      this.cell('answered') -
      this.cell('control') -
      this.cell('staged') -
      this.cell('merged') -
      drops
    )
  }

  /** Sum of the counts of flows by state. */
  flowsByState(): number {
    const counts = this.counters.cells.subarray(STATE_CELLS, STATE_CELLS + STATE_COUNT_CELLS)
    return counts.reduce((sum, count) => sum + count, 0)
  }

  /** True while nobody wrote around the receive buffers. */
  get canariesAlive(): boolean {
    const { bytes } = this.slab
    const end = SLAB_SOCKET_AT + CANARY_SIZE + RECEIVE.count * RECEIVE.size
    for (let i = 0; i < CANARY_SIZE - GAP; i++) {
      if (bytes[SLAB_SOCKET_AT + i] !== CANARY || bytes[end + i] !== CANARY) return false
    }
    return true
  }
}

export class World {
  readonly clock: ManualClock = manualClock(1000, 1_700_000_000_000)
  readonly network: MemoryNetwork = new MemoryNetwork()
  readonly random: Prng
  readonly cluster: Cluster
  readonly nodes: Map<string, Node> = new Map()

  constructor(options: WorldOptions = {}) {
    this.random = prng(options.seed ?? 1)
    this.cluster = options.cluster ?? CLUSTER
    const keyed = this.cluster.nodes.filter(({ plain }) => plain !== true).map(({ name }) => name)
    for (const name of options.nodes ?? keyed) this.nodes.set(name, new Node(name, this, options))
  }

  node(name: string): Node {
    const node = this.nodes.get(name)
    assert(node !== undefined, `no node ${name}`)
    return node
  }

  /** The node that runs an endpoint. */
  nodeOf(endpoint: string): Node {
    for (const node of this.nodes.values()) if (node.devices.has(endpoint)) return node
    throw new Error(`no node runs ${endpoint}`)
  }

  /** A frame from the container `endpoint`, behind its virtio-net header (default: nothing asked).
   * */
  inject(endpoint: string, frame: Uint8Array, vnet?: Uint8Array): void {
    const device = this.nodeOf(endpoint).devices.get(endpoint)!
    assert(device.push(withVnet(frame, vnet)), 'the device takes the frame')
  }

  /** An IP packet from outside to a published port of `node`. */
  injectMesh(node: string, packet: Uint8Array, vnet?: Uint8Array): void {
    assert(this.node(node).tun.push(withVnet(packet, vnet)), 'the device takes the packet')
  }

  /** An ICMP error, as an IP packet, that reaches `node` from outside. */
  injectError(node: string, packet: Uint8Array): void {
    assert(this.node(node).errors.push(packet), 'the socket takes the packet')
  }

  /** Everything that came out of a container's interface: frames without their virtio-net headers.
   * */
  read(endpoint: string): Uint8Array[] {
    return this.readRaw(endpoint).map((frame) => frame.subarray(VNET_HEADER_SIZE))
  }

  readRaw(endpoint: string): Uint8Array[] {
    return drain(this.nodeOf(endpoint).devices.get(endpoint)!)
  }

  readMesh(node: string): Uint8Array[] {
    return drain(this.node(node).tun).map((frame) => frame.subarray(VNET_HEADER_SIZE))
  }

  /** Turns of all engines, without time passing, until nothing moves any more. */
  settle(): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      for (const node of this.nodes.values()) node.engine.turn(0)
      if (![...this.nodes.values()].some((node) => node.busy)) return
    }
    throw new Error('the world does not come to rest')
  }

  /** Lets time pass in steps, settling after each. */
  advance(deltaMs: number, stepMs: number = 250): void {
    for (let left = deltaMs; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(left, stepMs))
      this.settle()
    }
  }

  /** Brings up the sessions between all nodes, and lets the search for the path MTU end. */
  connect(): void {
    for (const node of this.nodes.values()) {
      const { peers } = node.engine.topology
      for (let peer = 0; peer < node.tables.peers.length; peer++) {
        const session = peers.session[peer]!
        if (session < 0 || !this.nodes.has(node.tables.peers[peer]!.name)) continue
        node.engine.sessions.wantSession(session, this.clock.nowMs())
      }
      // Calls that cross are legal and slower to settle: one after the other.
      node.engine.turn(0)
      this.settle()
    }
    this.advance(2000)
  }

  /** Fails unless every packet of every node is accounted for and no memory was touched out of
   * turn. */
  audit(): void {
    for (const node of this.nodes.values()) {
      assert.equal(node.imbalance(), 0, `packets of ${node.name} that nobody accounts for`)
      const templates = node.engine.director.services.statistics.get(0, PERSISTENT_CONNECTIONS)
      const flows = node.engine.director.connectionCount - templates
      assert.equal(node.flowsByState(), flows, `flows of ${node.name} that no state accounts for`)
      assert(node.canariesAlive, `${node.name} wrote outside its buffers`)
    }
  }
}

/** The cluster's tables for one node, validated and compiled. */
export function compileFor(cluster: Cluster, node: string): CompiledTables {
  return compileValid(tablesOf(cluster, node))
}

export function compileValid(tables: ForwardingTables): CompiledTables {
  const { problems } = validateTables(tables, { schedulers: [...SCHEDULERS.keys()] })
  assert.deepEqual(problems, [])
  return compileTables(tables, { privateKey: null })
}

function withVnet(
  frame: Uint8Array,
  vnet: Uint8Array = new Uint8Array(VNET_HEADER_SIZE),
): Uint8Array {
  const whole = new Uint8Array(VNET_HEADER_SIZE + frame.length)
  whole.set(vnet)
  whole.set(frame, VNET_HEADER_SIZE)
  return whole
}

function drain(device: MemoryDevice): Uint8Array[] {
  const frames: Uint8Array[] = []
  for (let frame = device.take(); frame !== undefined; frame = device.take()) frames.push(frame)
  return frames
}

function worldSlab(guarded: boolean): Slab {
  const buffersEnd = SLAB_SOCKET_AT + CANARY_SIZE + RECEIVE.count * RECEIVE.size
  const bytes = new Uint8Array(buffersEnd + CANARY_SIZE)
  bytes.fill(CANARY, SLAB_SOCKET_AT, SLAB_SOCKET_AT + CANARY_SIZE)
  bytes.fill(CANARY, buffersEnd)
  const view = guarded ? guardedView(bytes, 0, buffersEnd) : new DataView(bytes.buffer)
  return { bytes, view, address: 0 }
}

/** A socket that sends from the arena only: everything else is somebody else's memory. */
function checkedSocket(inner: MemorySocket): UnderlaySocket {
  const batch = inner.sending
  const sending: SendBatch = {
    get count() {
      return batch.count
    },
    get lastError() {
      return batch.lastError
    },
    begin: (endpoint) => batch.begin(endpoint),
    append(message, at, length) {
      assert(at >= 0 && length > 0 && at + length <= ARENA_SIZE, `sent from ${at}..${at + length}`)
      return batch.append(message, at, length)
    },
    segment: (message, size) => batch.segment(message, size),
    flush: () => batch.flush(),
  }
  return {
    fd: inner.fd,
    port: inner.port,
    sending,
    receiving: inner.receiving,
    endpoint: (address, port) => inner.endpoint(address, port),
    retain: (endpoint) => inner.retain(endpoint),
    release: (endpoint) => inner.release(endpoint),
    describe: (endpoint) => inner.describe(endpoint),
    close: () => inner.close(),
  }
}
