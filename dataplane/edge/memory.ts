// The edge in memory: devices, an underlay and a poller that behave as the kernel's do (same
// results, same errors, same truncation), so that a whole node, or ten of them, runs in one test
// without a privilege, a thread or a clock. Nothing blocks, nothing is asynchronous, nothing is
// random.
//
// What crosses an edge is copied, as the kernel does: what the loop does to its slab afterwards
// cannot be seen on the other side. Queues are bounded; what does not fit is dropped and counted.
//
// memory-underlay.ts holds the UDP side.

import { DEVICE_GONE, type ErrorSource, type FrameDevice, type Poller } from '../../base/device.ts'
import type { Slab } from '../../base/slab.ts'
import { VNET_HEADER_SIZE } from '../../wire/vnet.ts'
import { IOVEC_COUNT_MAX, MEMORY_QUEUE_COUNT_MAX } from './limits.ts'

// The errors of the real edges, spelled here so that this file works without libc.
const EBADF = 9
const EAGAIN = 11
const EINVAL = 22

/** Something that a MemoryPoller can watch. */
export interface Readable {
  /** True when the next read will not answer EAGAIN. */
  readonly readable: boolean
}

/** A Poller over in-memory edges, level-triggered like the real one. It cannot block: wait(-1) with
 * nothing ready returns 0. Its descriptors are its own, beginning far from real ones. */
export class MemoryPoller implements Poller {
  private readonly sources = new Map<number, Readable>()
  private readonly tokens = new Map<number, number>()
  private readonly ready: number[] = []
  private nextFd = 1_000_000

  /** Gives an edge the descriptor by which it is added. */
  register(source: Readable): number {
    const fd = this.nextFd++
    this.sources.set(fd, source)
    return fd
  }

  add(fd: number, token: number): void {
    if (!this.sources.has(fd)) throw new RangeError(`descriptor ${fd} is not of this poller`)
    this.tokens.set(fd, token)
  }

  remove(fd: number): void {
    this.tokens.delete(fd)
  }

  wait(_timeoutMs: number): number {
    this.ready.length = 0
    for (const [fd, token] of this.tokens) {
      if (this.sources.get(fd)?.readable) this.ready.push(token)
    }
    return this.ready.length
  }

  token(i: number): number {
    return this.ready[i]!
  }

  close(): void {
    this.tokens.clear()
    this.sources.clear()
  }
}

/** A bounded first-in first-out queue of byte strings. */
export class FrameQueue {
  droppedCount = 0
  private readonly frames: Uint8Array[] = []
  private head = 0

  get size(): number {
    return this.frames.length - this.head
  }

  /** Takes a frame over. Returns false, and counts, when there is no room. */
  push(frame: Uint8Array): boolean {
    if (this.size >= MEMORY_QUEUE_COUNT_MAX) {
      this.droppedCount++
      return false
    }
    this.frames.push(frame)
    return true
  }

  shift(): Uint8Array | undefined {
    const frame = this.frames[this.head]
    if (frame === undefined) return undefined
    this.head++
    if (this.head >= 1024) {
      this.frames.splice(0, this.head)
      this.head = 0
    }
    return frame
  }
}

/** Copies `frame` to [at, at + headSize), then to the slots in turn; what does not fit is cut off.
 * Returns how much was copied, as readv does on a TAP. */
export function scatterFrame(
  slab: Slab,
  frame: Uint8Array,
  at: number,
  headSize: number,
  slotAt: number,
  slotSize: number,
  stride: number,
  slotCount: number,
): number {
  slab.bytes.set(frame.subarray(0, headSize), at)
  let copied = Math.min(frame.length, headSize)
  for (let k = 0; k < slotCount && copied < frame.length; k++) {
    const piece = frame.subarray(copied, copied + slotSize)
    slab.bytes.set(piece, slotAt + k * stride)
    copied += piece.length
  }
  return copied
}

export interface MemoryDeviceOptions {
  readonly name: string
  readonly slab: Slab
  /** Absent: the device has descriptor -1 and cannot be polled. */
  readonly poller?: MemoryPoller
}

/** A FrameDevice whose other side is a test: push() is what the kernel sends out through the
 * device, take() what the loop wrote into it. Frames carry their 10-byte virtio-net header on both
 * sides. */
export class MemoryDevice implements FrameDevice, Readable {
  readonly name: string
  readonly fd: number
  /** Frames on their way to the loop. */
  readonly incoming: FrameQueue = new FrameQueue()
  /** Frames that the loop wrote, until somebody takes them. */
  readonly outgoing: FrameQueue = new FrameQueue()
  private readonly slab: Slab
  private peer: MemoryDevice | undefined
  private closed = false
  private gone = false

  constructor(options: MemoryDeviceOptions) {
    this.name = options.name
    this.slab = options.slab
    this.fd = options.poller?.register(this) ?? -1
  }

  get readable(): boolean {
    return this.closed || this.gone || this.incoming.size > 0
  }

  /** The device goes with its namespace; the descriptor stays. */
  vanish(): void {
    this.gone = true
  }

  /** Hands a frame to the loop (copied). Returns false when the queue is full. */
  push(frame: Uint8Array): boolean {
    return this.incoming.push(Uint8Array.from(frame))
  }

  /** The next frame that the loop wrote. */
  take(): Uint8Array | undefined {
    return this.outgoing.shift()
  }

  /** From here on what is written to one device is read from the other. */
  connect(peer: MemoryDevice): void {
    this.peer = peer
    peer.peer = this
  }

  read(at: number, capacity: number): number {
    return this.readScatter(at, capacity, 0, 0, 0, 0)
  }

  readScatter(
    at: number,
    headSize: number,
    slotAt: number,
    slotSize: number,
    stride: number,
    slotCount: number,
  ): number {
    if (this.closed) return -EBADF
    if (this.gone) return DEVICE_GONE
    if (slotCount >= IOVEC_COUNT_MAX) return -EINVAL
    const frame = this.incoming.shift()
    if (frame === undefined) return -EAGAIN
    return scatterFrame(this.slab, frame, at, headSize, slotAt, slotSize, stride, slotCount)
  }

  write(at: number, length: number): number {
    return this.accept(this.slab.bytes.slice(at, at + length))
  }

  writeGather(pieces: Int32Array, count: number): number {
    if (count > IOVEC_COUNT_MAX) return -EINVAL
    return this.accept(gather(this.slab, pieces, count))
  }

  private accept(frame: Uint8Array): number {
    if (this.closed) return -EBADF
    if (this.gone) return DEVICE_GONE
    if (frame.length <= VNET_HEADER_SIZE) return -EINVAL
    // Like the kernel, which takes a frame and drops it when nobody reads: the writer is not told.
    if (this.peer !== undefined) this.peer.incoming.push(frame)
    else this.outgoing.push(frame)
    return frame.length
  }

  close(): void {
    this.closed = true
  }
}

/** An ErrorSource whose other side is a test: push() is a packet that comes from outside. */
export class MemoryErrors implements ErrorSource, Readable {
  readonly fd: number
  private readonly incoming: FrameQueue = new FrameQueue()
  private readonly slab: Slab

  constructor(slab: Slab, poller: MemoryPoller) {
    this.slab = slab
    this.fd = poller.register(this)
  }

  get readable(): boolean {
    return this.incoming.size > 0
  }

  push(packet: Uint8Array): boolean {
    return this.incoming.push(Uint8Array.from(packet))
  }

  read(at: number, capacity: number): number {
    const packet = this.incoming.shift()
    if (packet === undefined) return -EAGAIN
    return scatterFrame(this.slab, packet.subarray(0, capacity), at, capacity, 0, 0, 0, 0)
  }
}

/** The pieces [offset, length, offset, length, ...] as one byte string. */
export function gather(slab: Slab, pieces: ArrayLike<number>, count: number): Uint8Array {
  let size = 0
  for (let k = 0; k < count; k++) size += pieces[2 * k + 1]!
  const whole = new Uint8Array(size)
  let filled = 0
  for (let k = 0; k < count; k++) {
    const at = pieces[2 * k]!
    const length = pieces[2 * k + 1]!
    whole.set(slab.bytes.subarray(at, at + length), filled)
    filled += length
  }
  return whole
}
