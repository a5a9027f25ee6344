// Goal: in the steady state the packet loop allocates nothing, neither garbage nor anything that
// stays. Method: two engines whose edges, cipher and poller allocate nothing themselves; frames go
// from a TAP of one to a TAP of the other, some of them balanced, some super-packets. The growth of
// the heap between samples is added up: garbage shows as growth too, whenever it is collected.

import t from 'tap'
import type { AeadFactory, AeadKey, FrameDevice, UnderlaySocket } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import { CLUSTER, type Cluster } from './testing/cluster.ts'
import { buildFrame, concat, payloadOf, TCP, vnetOf } from './testing/packets.ts'
import { type Node, World } from './testing/world.ts'

/** Frames until the compiler has settled, then windows of frames of which the median counts: what
 * every frame allocates shows in each of them, a late compilation in one. */
const WARM_UP = 20_000
const WINDOWS = 5
const WINDOW = 10_000
const SAMPLE = 2000
/** Below this a difference is the sampling itself: one object of 16 bytes per frame would be 16. */
const BYTES_PER_FRAME_MAX = 4

/** A cipher that costs nothing: counter and length are as they should be. */
function nullCipher(slab: Slab): AeadFactory {
  const key = (first: number): AeadKey => {
    let counter = first
    return {
      seal(at) {
        slab.view.setUint32(at, 0)
        slab.view.setUint32(at + 4, counter++)
        return 0
      },
      open: () => 0,
      free: () => {},
    }
  }
  return { sealer: (_key, _salt, _aad, first) => key(first), opener: () => key(0) }
}

/** Reads a template for as long as it is fed, and swallows what it is given. */
class QuietDevice implements FrameDevice {
  readonly name = 'quiet'
  readonly fd: number
  readonly template: Uint8Array
  left = 0
  taken = 0
  private readonly slab: Slab
  private readonly views = new Map<number, Uint8Array>()

  constructor(inner: FrameDevice, slab: Slab, template: Uint8Array) {
    this.fd = inner.fd
    this.slab = slab
    this.template = template
  }

  read(at: number, _capacity: number): number {
    return this.readScatter(at, this.template.length, 0, 1, 0, 0)
  }

  readScatter(
    at: number,
    head: number,
    slotAt: number,
    slotSize: number,
    stride: number,
    _slots: number,
  ): number {
    if (this.left === 0) return -11
    this.left--
    const { template } = this
    const first = Math.min(head, template.length)
    this.copy(0, first, at)
    let from = first
    for (let slot = slotAt; from < template.length; slot += stride) {
      const to = Math.min(from + slotSize, template.length)
      this.copy(from, to, slot)
      from = to
    }
    return template.length
  }

  private copy(from: number, to: number, at: number): void {
    const key = from * 65536 + to
    let piece = this.views.get(key)
    if (piece === undefined) {
      piece = this.template.subarray(from, to)
      this.views.set(key, piece)
    }
    this.slab.bytes.set(piece, at)
  }

  write(_at: number, length: number): number {
    this.taken++
    return length
  }

  writeGather(_pieces: Int32Array, _count: number): number {
    this.taken++
    return 1
  }

  close(): void {}
}

const RING = 1024
const SLOT = 2048

/** Datagrams on their way from one engine to the other: fixed memory. */
class Wire {
  readonly bytes: Uint8Array = new Uint8Array(RING * SLOT)
  readonly sizes: Int32Array = new Int32Array(RING)
  head = 0
  tail = 0
}

/** Once `wire` is set, sends to and receives from fixed memory. */
function quietSocket(inner: UnderlaySocket, slab: Slab, state: SocketState): UnderlaySocket {
  const { sending, receiving } = inner
  return {
    fd: inner.fd,
    port: inner.port,
    sending: {
      get count() {
        return sending.count
      },
      lastError: 0,
      begin: (endpoint) => (state.out === null ? sending.begin(endpoint) : 0),
      append(message, at, length) {
        const { out } = state
        if (out === null) return sending.append(message, at, length)
        const slot = out.tail++ % RING
        out.sizes[slot] = length
        for (let i = 0; i < length; i++) out.bytes[slot * SLOT + i] = slab.bytes[at + i]!
        return true
      },
      segment(message, size) {
        if (state.out === null) sending.segment(message, size)
      },
      flush: () => (state.out === null ? sending.flush() : 0),
    },
    receiving: {
      capacity: 16,
      receive() {
        const wire = state.in
        if (wire === null) return receiving.receive()
        let count = 0
        for (; wire.head < wire.tail && count < 16; count++) {
          const slot = wire.head++ % RING
          const size = wire.sizes[slot]!
          const at = receiving.at(count)
          for (let i = 0; i < size; i++) slab.bytes[at + i] = wire.bytes[slot * SLOT + i]!
          state.sizes[count] = size
        }
        return count
      },
      at: (i) => receiving.at(i),
      size: (i) => (state.in === null ? receiving.size(i) : state.sizes[i]!),
      segmentSize: (i) => (state.in === null ? receiving.segmentSize(i) : state.sizes[i]!),
      from: (i, endpoint) => (state.in === null ? receiving.from(i, endpoint) : true),
      source: (i) => receiving.source(i),
      sourceBytes: (i, out) => receiving.sourceBytes(i, out),
    },
    endpoint: (address, port) => inner.endpoint(address, port),
    retain: (endpoint) => inner.retain(endpoint),
    release: (endpoint) => inner.release(endpoint),
    describe: (endpoint) => inner.describe(endpoint),
    close: () => inner.close(),
  }
}

interface SocketState {
  in: Wire | null
  out: Wire | null
  readonly sizes: Int32Array
}

const udp = { source: '10.1.0.11', target: '10.1.0.21', payload: payloadOf(400) }
const vip = { ...udp, target: '10.1.0.2' }
const near = { ...udp, target: '10.1.0.12' }
const large = { ...udp, protocol: TCP, partial: true, payload: payloadOf(5200) }

/** Virtual services on the same address that balance each packet by itself. */
const ONE_PACKET: Cluster = {
  ...CLUSTER,
  services: CLUSTER.services.map((service) => ({ ...service, onePacket: true })),
}

const KINDS: readonly [string, Uint8Array, Cluster?][] = [
  ['to another node', concat(new Uint8Array(10), buildFrame(udp))],
  ['to a virtual address', concat(new Uint8Array(10), buildFrame(vip))],
  [
    'to a virtual address, each packet by itself',
    concat(new Uint8Array(10), buildFrame(vip)),
    ONE_PACKET,
  ],
  ['to the same node', concat(new Uint8Array(10), buildFrame(near))],
  ['super-packets', concat(vnetOf(large, 1300), buildFrame(large))],
]

/** Polls without allocating: the same descriptors are ready at every turn. */
function quietPoller(node: Node, device: QuietDevice): void {
  const tokens = (node.poller as unknown as { tokens: Map<number, number> }).tokens
  const ready = [tokens.get(node.socket.fd)!, tokens.get(device.fd) ?? -1].filter((one) => one >= 0)
  node.poller.wait = () => ready.length
  node.poller.token = (i) => ready[i]!
}

function allocated(
  kind: Uint8Array,
  cluster: Cluster = CLUSTER,
): { bytesPerFrame: number; taken: number; world: World } {
  const states: SocketState[] = []
  const devices: QuietDevice[] = []
  const world = new World({
    nodes: ['a', 'b'],
    cluster,
    wrapAead: (_aead, slab) => nullCipher(slab),
    wrapSocket: (socket, slab) => {
      const state: SocketState = { in: null, out: null, sizes: new Int32Array(16) }
      states.push(state)
      return quietSocket(socket, slab, state)
    },
    wrapDevice: (device, slab) => {
      const quiet = new QuietDevice(device, slab, kind)
      devices.push(quiet)
      return quiet
    },
  })
  world.connect()
  const [a, b] = [world.node('a'), world.node('b')]
  const source = devices.find(({ fd }) => fd === a.devices.get('front-a')!.fd)!
  quietPoller(a, source)
  quietPoller(b, source)
  const wire = new Wire()
  const back = new Wire()
  Object.assign(states[0]!, { out: wire, in: back })
  Object.assign(states[1]!, { out: back, in: wire })
  const run = (frames: number): void => {
    for (let done = 0; done < frames; done += 32) {
      source.left = 32
      a.engine.turn(0)
      while (wire.head < wire.tail) b.engine.turn(0)
    }
  }
  run(WARM_UP)
  const windows = Array.from({ length: WINDOWS }, () => {
    let grown = 0
    let used = process.memoryUsage().heapUsed
    for (let done = 0; done < WINDOW; done += SAMPLE) {
      run(SAMPLE)
      const now = process.memoryUsage().heapUsed
      if (now > used) grown += now - used
      used = now
    }
    return grown / WINDOW
  })
  windows.sort((a, b) => a - b)
  const taken = devices.reduce((sum, device) => sum + device.taken, 0)
  return { bytesPerFrame: windows[WINDOWS >> 1]!, taken, world }
}

t.test('nothing is allocated per frame', async (t) => {
  allocated(KINDS[0]![1])
  for (const [sentence, kind, cluster] of KINDS) {
    const { bytesPerFrame, taken, world } = allocated(kind, cluster)
    t.ok(taken >= WARM_UP, `${taken} frames came out`)
    t.strictSame(world.node('a').dropNames(), {})
    t.ok(
      bytesPerFrame < BYTES_PER_FRAME_MAX,
      `${sentence}: ${bytesPerFrame.toFixed(2)} bytes per frame`,
    )
    world.audit()
  }
})
