// Wraps a FrameDevice or an UnderlaySocket and does to its packets what a bad network does: loses,
// duplicates, reorders, flips bits, cuts off. Every decision comes from a seeded generator, so a
// run that found a bug finds it again. In front of a real edge or of one in memory, it is the same.
//
// Frames are harmed as they are read from a device, datagrams as they are sent through a socket;
// for the latter each datagram becomes a message of its own (the kernel would lose whole batches
// together otherwise, and no network does). Reordering holds a packet back until `reorderSpan`
// others have passed, or until there is nothing else to deliver.

import type { FrameDevice, SendBatch, UnderlaySocket } from '../../base/device.ts'
import type { Prng } from '../../base/prng.ts'
import type { Slab } from '../../base/slab.ts'
import { FAULT_HELD_COUNT_MAX } from './limits.ts'
import { scatterFrame } from './memory.ts'

const EAGAIN = 11

/** Probabilities per packet, 0..1; absent = 0. A packet suffers at most one fault. */
export interface FaultRates {
  readonly loss?: number
  readonly duplication?: number
  readonly reordering?: number
  readonly bitFlip?: number
  readonly truncation?: number
  /** Packets that overtake a reordered one, default 3. */
  readonly reorderSpan?: number
}

export interface FaultCounts {
  passed: number
  lost: number
  duplicated: number
  reordered: number
  flipped: number
  truncated: number
}

type Fault = keyof FaultCounts

const FAULTS: readonly (readonly [keyof FaultRates, Fault])[] = [
  ['loss', 'lost'],
  ['duplication', 'duplicated'],
  ['reordering', 'reordered'],
  ['bitFlip', 'flipped'],
  ['truncation', 'truncated'],
]

/** Draws faults and keeps count. */
class FaultSource {
  readonly counts: FaultCounts = {
    passed: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    flipped: 0,
    truncated: 0,
  }
  private readonly rates: FaultRates
  private readonly random: Prng

  constructor(rates: FaultRates, random: Prng) {
    this.rates = rates
    this.random = random
  }

  get reorderSpan(): number {
    return this.rates.reorderSpan ?? 3
  }

  draw(): Fault {
    let draw = this.random.float()
    for (const [rate, fault] of FAULTS) {
      draw -= this.rates[rate] ?? 0
      if (draw < 0) return this.count(fault)
    }
    return this.count('passed')
  }

  private count(fault: Fault): Fault {
    this.counts[fault]++
    return fault
  }

  flipBit(packet: Uint8Array): void {
    if (packet.length > 0) packet[this.random.below(packet.length)]! ^= 1 << this.random.below(8)
  }

  /** A length from 1 to one less than the whole; a packet of one byte stays. */
  cut(length: number): number {
    return length < 2 ? length : 1 + this.random.below(length - 1)
  }
}

/** Packets held back, each until so many others have passed. */
class HoldingQueue<T> {
  private readonly held: { packet: T; remaining: number }[] = []

  get size(): number {
    return this.held.length
  }

  hold(packet: T, span: number): void {
    this.held.push({ packet, remaining: span })
  }

  /** Notes that a packet passed. */
  pass(): void {
    for (const entry of this.held) entry.remaining--
  }

  /** The first packet whose time has come; with `force` the first of all. */
  due(force: boolean): T | undefined {
    const index = this.held.findIndex(({ remaining }) => force || remaining <= 0)
    return index < 0 ? undefined : this.held.splice(index, 1)[0]!.packet
  }
}

export interface FaultyDevice extends FrameDevice {
  readonly faults: FaultCounts
}

class FaultInjectingDevice implements FaultyDevice {
  private readonly inner: FrameDevice
  private readonly slab: Slab
  private readonly source: FaultSource
  private readonly held = new HoldingQueue<Uint8Array>()

  constructor(inner: FrameDevice, slab: Slab, source: FaultSource) {
    this.inner = inner
    this.slab = slab
    this.source = source
  }

  get name(): string {
    return this.inner.name
  }

  get fd(): number {
    return this.inner.fd
  }

  get faults(): FaultCounts {
    return this.source.counts
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
    const scatter = (frame: Uint8Array): number =>
      scatterFrame(this.slab, frame, at, headSize, slotAt, slotSize, stride, slotCount)
    for (;;) {
      const due = this.held.due(false)
      if (due !== undefined) return scatter(due)
      const size = this.inner.readScatter(at, headSize, slotAt, slotSize, stride, slotCount)
      if (size < 0) {
        const last = size === -EAGAIN ? this.held.due(true) : undefined
        return last === undefined ? size : scatter(last)
      }
      this.held.pass()
      const frame = gatherFrame(this.slab, size, at, headSize, slotAt, slotSize, stride)
      switch (this.source.draw()) {
        case 'lost':
          continue
        case 'duplicated':
          if (this.held.size < FAULT_HELD_COUNT_MAX) this.held.hold(frame, 0)
          return size
        case 'reordered':
          if (this.held.size >= FAULT_HELD_COUNT_MAX) return size
          this.held.hold(frame, this.source.reorderSpan)
          continue
        case 'flipped':
          this.source.flipBit(frame)
          return scatter(frame)
        case 'truncated':
          return scatter(frame.subarray(0, this.source.cut(size)))
        default:
          return size
      }
    }
  }

  write(at: number, length: number): number {
    return this.inner.write(at, length)
  }

  writeGather(pieces: Int32Array, count: number): number {
    return this.inner.writeGather(pieces, count)
  }

  close(): void {
    this.inner.close()
  }
}

/** The inverse of scatterFrame. */
export function gatherFrame(
  slab: Slab,
  size: number,
  at: number,
  headSize: number,
  slotAt: number,
  slotSize: number,
  stride: number,
): Uint8Array {
  const frame = new Uint8Array(size)
  let filled = Math.min(size, headSize)
  frame.set(slab.bytes.subarray(at, at + filled))
  for (let k = 0; filled < size; k++) {
    const length = Math.min(slotSize, size - filled)
    frame.set(slab.bytes.subarray(slotAt + k * stride, slotAt + k * stride + length), filled)
    filled += length
  }
  return frame
}

/** A device whose frames are harmed as they are read. */
export function faultyDevice(
  inner: FrameDevice,
  slab: Slab,
  rates: FaultRates,
  random: Prng,
): FaultyDevice {
  return new FaultInjectingDevice(inner, slab, new FaultSource(rates, random))
}

interface Datagram {
  readonly endpoint: number
  readonly ranges: readonly number[]
}

/** A SendBatch that cuts messages into datagrams, harms them and sends them through the inner one.
 */
class FaultInjectingBatch implements SendBatch {
  private readonly inner: SendBatch
  private readonly slab: Slab
  private readonly source: FaultSource
  private messages: { endpoint: number; segmentSize: number; ranges: number[] }[] = []
  private refusedCount = 0

  constructor(inner: SendBatch, slab: Slab, source: FaultSource) {
    this.inner = inner
    this.slab = slab
    this.source = source
  }

  get count(): number {
    return this.messages.length
  }

  get lastError(): number {
    return this.inner.lastError
  }

  begin(endpoint: number): number {
    if (this.messages.length >= FAULT_HELD_COUNT_MAX) return -1
    return this.messages.push({ endpoint, segmentSize: 0, ranges: [] }) - 1
  }

  append(message: number, at: number, length: number): boolean {
    this.messages[message]!.ranges.push(at, length)
    return true
  }

  segment(message: number, segmentSize: number): void {
    this.messages[message]!.segmentSize = segmentSize
  }

  flush(): number {
    this.refusedCount = 0
    const held = new HoldingQueue<Datagram>()
    for (const message of this.messages) {
      for (const ranges of cutRanges(message.ranges, message.segmentSize)) {
        this.harm({ endpoint: message.endpoint, ranges }, held)
        for (let due = held.due(false); due !== undefined; due = held.due(false)) this.send(due)
      }
    }
    // The slab is the caller's again after flush(): nothing is held beyond it.
    for (let due = held.due(true); due !== undefined; due = held.due(true)) this.send(due)
    this.messages = []
    return this.refusedCount + this.inner.flush()
  }

  private harm(datagram: Datagram, held: HoldingQueue<Datagram>): void {
    held.pass()
    switch (this.source.draw()) {
      case 'lost':
        return
      case 'duplicated':
        this.send(datagram)
        this.send(datagram)
        return
      case 'reordered':
        held.hold(datagram, this.source.reorderSpan)
        return
      case 'flipped': {
        const [at = 0, length = 0] = datagram.ranges
        this.source.flipBit(this.slab.bytes.subarray(at, at + length))
        this.send(datagram)
        return
      }
      case 'truncated':
        this.send({ endpoint: datagram.endpoint, ranges: this.cut(datagram.ranges) })
        return
      default:
        this.send(datagram)
    }
  }

  private cut(ranges: readonly number[]): number[] {
    let total = 0
    for (let i = 1; i < ranges.length; i += 2) total += ranges[i]!
    return cutRanges(ranges, this.source.cut(total))[0] ?? []
  }

  private send(datagram: Datagram): void {
    let message = this.inner.begin(datagram.endpoint)
    if (message < 0) {
      this.refusedCount += this.inner.flush()
      message = this.inner.begin(datagram.endpoint)
    }
    for (let i = 0; i < datagram.ranges.length; i += 2) {
      this.inner.append(message, datagram.ranges[i]!, datagram.ranges[i + 1]!)
    }
  }
}

/** Cuts ranges [at, length, ...] into datagrams of `size` bytes (0 = one datagram). Exported for
 * its test. */
export function cutRanges(ranges: readonly number[], size: number): number[][] {
  const datagrams: number[][] = [[]]
  let room = size === 0 ? Number.POSITIVE_INFINITY : size
  for (let i = 0; i < ranges.length; i += 2) {
    let at = ranges[i]!
    let length = ranges[i + 1]!
    while (length > 0) {
      if (room === 0) {
        datagrams.push([])
        room = size
      }
      const taken = Math.min(length, room)
      datagrams.at(-1)!.push(at, taken)
      at += taken
      length -= taken
      room -= taken
    }
  }
  return datagrams
}

export interface FaultySocket extends UnderlaySocket {
  readonly faults: FaultCounts
}

/** A socket whose datagrams are harmed as they are sent. */
export function faultySocket(
  inner: UnderlaySocket,
  slab: Slab,
  rates: FaultRates,
  random: Prng,
): FaultySocket {
  const source = new FaultSource(rates, random)
  return {
    fd: inner.fd,
    port: inner.port,
    sending: new FaultInjectingBatch(inner.sending, slab, source),
    receiving: inner.receiving,
    faults: source.counts,
    endpoint: (address, port) => inner.endpoint(address, port),
    retain: (endpoint) => inner.retain(endpoint),
    release: (endpoint) => inner.release(endpoint),
    describe: (endpoint) => inner.describe(endpoint),
    close: () => inner.close(),
  }
}
