// FrameDevice over the descriptor of a TAP or TUN: what the packet loop reads and writes. One
// system call moves one frame; the kernel reads and writes the slab itself. The iovec arrays live
// in pinned memory of their own. The scatter array is rewritten only when its base or geometry
// moves, so a loop that reads to the same place again and again pays for one call and nothing else.

import type { FrameDevice } from '../../base/device.ts'
import type { Slab } from '../../base/slab.ts'
import * as libc from './libc.ts'
import { IOVEC_COUNT_MAX } from './limits.ts'

// struct iovec: address and length, 64 bits each, here as four 32-bit words. The high word of a
// length stays zero from the beginning.
const IOVEC_WORDS = 4
const WORD = 2 ** 32

/** The iovec arrays of one slab, shared by the devices that read and write it: a loop that reads
 * every device to the same place describes that place once. */
class IovecTable {
  readonly scatterAddress: number
  readonly gatherAddress: number
  private readonly slabLow: number
  private readonly slabHigh: number
  private readonly scatter: Uint32Array
  private readonly gather: Uint32Array
  // The geometry that `scatter` holds now.
  private headAt = -1
  private headSize = -1
  private slotAt = -1
  private slotSize = -1
  private stride = -1
  private slotCount = -1

  constructor(slab: Slab) {
    this.slabLow = slab.address % WORD
    this.slabHigh = Math.floor(slab.address / WORD)
    const size = IOVEC_COUNT_MAX * IOVEC_WORDS * 4
    const scatter = libc.allocatePinned(size)
    const gather = libc.allocatePinned(size)
    this.scatterAddress = libc.addressOf(scatter)
    this.gatherAddress = libc.addressOf(gather)
    this.scatter = new Uint32Array(scatter.buffer, scatter.byteOffset, size / 4)
    this.gather = new Uint32Array(gather.buffer, gather.byteOffset, size / 4)
  }

  /** Describes a head and its slots, unless they are described already. */
  setScatter(
    at: number,
    headSize: number,
    slotAt: number,
    slotSize: number,
    stride: number,
    slotCount: number,
  ): void {
    if (
      at === this.headAt &&
      slotAt === this.slotAt &&
      headSize === this.headSize &&
      slotSize === this.slotSize &&
      stride === this.stride &&
      slotCount === this.slotCount
    ) {
      return
    }
    this.headAt = at
    this.headSize = headSize
    this.slotAt = slotAt
    this.slotSize = slotSize
    this.stride = stride
    this.slotCount = slotCount
    this.describe(this.scatter, 0, at, headSize)
    for (let k = 0; k < slotCount; k++) {
      this.describe(this.scatter, k + 1, slotAt + k * stride, slotSize)
    }
  }

  setGather(pieces: Int32Array, count: number): void {
    for (let k = 0; k < count; k++) {
      this.describe(this.gather, k, pieces[2 * k]!, pieces[2 * k + 1]!)
    }
  }

  private describe(iovecs: Uint32Array, index: number, at: number, length: number): void {
    const low = this.slabLow + at
    const word = index * IOVEC_WORDS
    // Storing wraps modulo 2^32, as the low word should; the carry goes into the high one.
    iovecs[word] = low
    iovecs[word + 1] = low >= WORD ? this.slabHigh + 1 : this.slabHigh
    iovecs[word + 2] = length
  }
}

const tables = new WeakMap<Slab, IovecTable>()

function iovecTable(slab: Slab): IovecTable {
  let table = tables.get(slab)
  if (table === undefined) {
    table = new IovecTable(slab)
    tables.set(slab, table)
  }
  return table
}

class VnetDevice implements FrameDevice {
  readonly name: string
  fd: number
  private readonly slabAddress: number
  private readonly iovecs: IovecTable

  constructor(fd: number, name: string, slab: Slab) {
    this.fd = fd
    this.name = name
    this.slabAddress = slab.address
    this.iovecs = iovecTable(slab)
  }

  read(at: number, capacity: number): number {
    return libc.read(this.fd, this.slabAddress + at, capacity)
  }

  readScatter(
    at: number,
    headSize: number,
    slotAt: number,
    slotSize: number,
    stride: number,
    slotCount: number,
  ): number {
    if (slotCount >= IOVEC_COUNT_MAX) return -libc.EINVAL
    this.iovecs.setScatter(at, headSize, slotAt, slotSize, stride, slotCount)
    return libc.readv(this.fd, this.iovecs.scatterAddress, slotCount + 1)
  }

  write(at: number, length: number): number {
    return libc.write(this.fd, this.slabAddress + at, length)
  }

  writeGather(pieces: Int32Array, count: number): number {
    if (count > IOVEC_COUNT_MAX) return -libc.EINVAL
    this.iovecs.setGather(pieces, count)
    return libc.writev(this.fd, this.iovecs.gatherAddress, count)
  }

  close(): void {
    if (this.fd < 0) return
    libc.close(this.fd)
    this.fd = -1
  }
}

/** A FrameDevice over an open TAP or TUN. It owns the descriptor from here on. */
export function vnetDevice(fd: number, name: string, slab: Slab): FrameDevice {
  return new VnetDevice(fd, name, slab)
}
