// The receiving half of a batch socket: one recvmmsg fills up to `count` buffers, each with one
// message, which is one datagram or, with UDP_GRO, several of one flow in arrival order, glued
// together.
//
// The mmsghdrs, sockaddrs, iovecs and cmsghdrs lie in one pinned area and are written once. The
// kernel overwrites three fields: the name's size (with the value that was there), the flags and
// the size of the control data; only the last must be set again before the next call, and only with
// UDP_GRO.
//
// The merged size comes as a cmsg of level SOL_UDP, type UDP_GRO, whose data is an int
// (udp_cmsg_recv in include/linux/udp.h). The kernel merges datagrams of equal size, of which the
// last may be shorter.
//
// A message longer than its buffer (MSG_TRUNC) is counted and left out.

import type { EndpointTable } from './endpoint-table.ts'
import { NAME_STRIDE_WORDS } from './endpoint-table.ts'
import {
  CONTROL_DATA,
  CONTROL_LENGTH_INT,
  CONTROL_LEVEL,
  CONTROL_SIZE,
  CONTROL_TYPE,
  IOVEC_LENGTH,
  IOVEC_SIZE,
  MESSAGE_CONTROL,
  MESSAGE_CONTROL_SIZE,
  MESSAGE_FLAGS,
  MESSAGE_IOVEC_COUNT,
  MESSAGE_IOVECS,
  MESSAGE_LENGTH,
  MESSAGE_NAME,
  MESSAGE_NAME_SIZE,
  MESSAGE_SIZE,
  NAME_SIZE,
  NAME_STRIDE,
  putPointer,
} from './layout.ts'
import {
  AF_INET6,
  EAGAIN,
  ECONNREFUSED,
  EINTR,
  errno,
  MSG_DONTWAIT,
  MSG_TRUNC,
  type PinnedMemory,
  pin,
  SOL_UDP,
  sysRecvmmsg,
  UDP_GRO,
} from './libc.ts'
import { KERNEL_VECTOR_MAX, RECEIVE_TRIES_MAX } from './limits.ts'

const MESSAGE_WORDS = MESSAGE_SIZE / 4

/** `count` receive buffers of `size` bytes each, one after the other from offset `at` of the
 * memory. */
export interface ReceiveBuffers {
  at: number
  count: number
  size: number
}

/** Counts since the socket was opened. A scrape may read them at any time. */
export interface ReceiveCounters {
  messagesReceived: number
  /** Datagrams in them, merged ones counted singly. */
  datagramsReceived: number
  bytesReceived: number
  /** Messages longer than their buffer, dropped. */
  truncated: number
}

export class MessageReceiver {
  readonly counters: ReceiveCounters = {
    messagesReceived: 0,
    datagramsReceived: 0,
    bytesReceived: 0,
    truncated: 0,
  }

  /** Holds on to the buffers, which the kernel knows only by their addresses. */
  readonly memory: PinnedMemory
  private fd: number
  private readonly buffers: ReceiveBuffers
  private readonly endpoints: EndpointTable
  private readonly gro: boolean

  private readonly area: PinnedMemory
  private readonly words: Uint32Array
  private readonly names: Int32Array
  private readonly namesAt: number
  private readonly controlsAt: number

  // Per message kept: its buffer's number, bytes, and datagram size.
  private readonly slots: Int32Array
  private readonly sizes: Int32Array
  private readonly segmentSizes: Int32Array
  /** mmsghdrs the kernel wrote to in the last call. */
  private written = 0

  constructor(options: {
    fd: number
    memory: PinnedMemory
    buffers: ReceiveBuffers
    endpoints: EndpointTable
    gro: boolean
  }) {
    const { memory, buffers } = options
    const { at, count, size } = buffers
    checkBuffers(memory, buffers)
    this.fd = options.fd
    this.memory = memory
    this.buffers = { at, count, size }
    this.endpoints = options.endpoints
    this.gro = options.gro

    this.namesAt = count * MESSAGE_SIZE
    const iovecsAt = this.namesAt + count * NAME_STRIDE
    this.controlsAt = iovecsAt + count * IOVEC_SIZE
    this.area = pin(this.controlsAt + count * CONTROL_SIZE)
    this.words = new Uint32Array(this.area.bytes.buffer)
    this.names = new Int32Array(this.area.bytes.buffer)
    const { view, address } = this.area
    for (let i = 0; i < count; i++) {
      const header = i * MESSAGE_SIZE
      const iovec = iovecsAt + i * IOVEC_SIZE
      putPointer(view, header + MESSAGE_NAME, address + this.namesAt + i * NAME_STRIDE)
      view.setUint32(header + MESSAGE_NAME_SIZE, NAME_SIZE, true)
      putPointer(view, header + MESSAGE_IOVECS, address + iovec)
      putPointer(view, header + MESSAGE_IOVEC_COUNT, 1)
      if (this.gro) {
        putPointer(view, header + MESSAGE_CONTROL, address + this.controlsAt + i * CONTROL_SIZE)
      }
      putPointer(view, iovec, memory.address + at + i * size)
      putPointer(view, iovec + IOVEC_LENGTH, size)
    }

    this.slots = new Int32Array(count)
    this.sizes = new Int32Array(count)
    this.segmentSizes = new Int32Array(count)
    this.written = count
  }

  /** Forgets the descriptor, whose number may soon be another's: receive() is -EBADF from now on.
   * */
  detach(): void {
    this.fd = -1
  }

  /** Fills the batch without blocking. Returns the number of messages, 0 when none waits, or
   * -errno. */
  receive(): number {
    for (let tries = 0; tries < RECEIVE_TRIES_MAX; tries++) {
      if (this.gro) {
        for (let i = 0; i < this.written; i++) {
          this.words[i * MESSAGE_WORDS + MESSAGE_CONTROL_SIZE / 4] = CONTROL_SIZE
        }
      }
      const n = sysRecvmmsg(this.fd, this.area.address, this.buffers.count, MSG_DONTWAIT, 0)
      if (n < 0) {
        const error = errno()
        if (error === EAGAIN) return 0
        // ECONNREFUSED is a late ICMP error of something we sent: no reason not to receive.
        if (error === EINTR || error === ECONNREFUSED) continue
        return -error
      }
      this.written = n
      const kept = this.read(n)
      if (kept > 0) return kept
    }
    return 0
  }

  /** Takes down what the kernel wrote. Returns the number of messages kept. */
  private read(n: number): number {
    const { words, counters } = this
    let kept = 0
    for (let slot = 0; slot < n; slot++) {
      const header = slot * MESSAGE_WORDS
      if ((words[header + MESSAGE_FLAGS / 4]! & MSG_TRUNC) !== 0) {
        counters.truncated++
        continue
      }
      const size = words[header + MESSAGE_LENGTH / 4]!
      const segmentSize = this.merged(slot, header, size)
      this.slots[kept] = slot
      this.sizes[kept] = size
      this.segmentSizes[kept] = segmentSize
      kept++
      counters.bytesReceived += size
      counters.datagramsReceived += segmentSize < size ? Math.ceil(size / segmentSize) : 1
    }
    counters.messagesReceived += kept
    return kept
  }

  /** Datagram size of the message in buffer `slot`: the UDP_GRO cmsg's, else the whole. */
  private merged(slot: number, header: number, size: number): number {
    if (!this.gro) return size
    const words = this.words
    if (words[header + MESSAGE_CONTROL_SIZE / 4]! < CONTROL_LENGTH_INT) return size
    const control = (this.controlsAt + slot * CONTROL_SIZE) / 4
    if (words[control + CONTROL_LEVEL / 4] !== SOL_UDP) return size
    if (words[control + CONTROL_TYPE / 4] !== UDP_GRO) return size
    const segmentSize = words[control + CONTROL_DATA / 4]!
    return segmentSize > 0 && segmentSize < size ? segmentSize : size
  }

  /** Messages that one receive() can bring. */
  get capacity(): number {
    return this.buffers.count
  }

  /** Offset in the memory of message i's first byte. */
  at(i: number): number {
    return this.buffers.at + this.slots[i]! * this.buffers.size
  }

  /** Bytes in message i: one datagram, or several merged by UDP_GRO. */
  size(i: number): number {
    return this.sizes[i]!
  }

  /** Size of each merged datagram but the last; equals size(i) when there is only one. */
  segmentSize(i: number): number {
    return this.segmentSizes[i]!
  }

  /** True when message i came from endpoint `endpoint`. */
  from(i: number, endpoint: number): boolean {
    return this.endpoints.matches(endpoint, this.names, this.nameOf(i))
  }

  /** Interns the source of message i and returns its handle, -1 when the table is full. The caller
   * owes one release. */
  source(i: number): number {
    return this.endpoints.intern(this.names, this.nameOf(i))
  }

  /** Writes the source of message i to out[0..18): 16 bytes of address (IPv4 as ::ffff:a.b.c.d),
   * then the port, big-endian. */
  sourceBytes(i: number, out: Uint8Array): void {
    const name = this.nameOf(i)
    const words = this.names
    const v6 = (words[name]! & 0xffff) === AF_INET6
    // sockaddr words are little-endian pictures of network-order bytes.
    for (let k = 0; k < 16; k++) {
      if (v6) out[k] = words[name + 2 + (k >> 2)]! >>> (8 * (k & 3))
      else if (k < 12) out[k] = k < 10 ? 0 : 0xff
      else out[k] = words[name + 1]! >>> (8 * (k & 3))
    }
    out[16] = words[name]! >>> 16
    out[17] = words[name]! >>> 24
  }

  private nameOf(i: number): number {
    return this.namesAt / 4 + this.slots[i]! * NAME_STRIDE_WORDS
  }
}

function checkBuffers(memory: PinnedMemory, buffers: ReceiveBuffers): void {
  const { at, count, size } = buffers
  if (![at, count, size].every(Number.isSafeInteger) || at < 0 || count < 1 || size < 1) {
    throw new RangeError(`receive buffers: at ${at}, count ${count}, size ${size} make no sense`)
  }
  if (count > KERNEL_VECTOR_MAX) {
    throw new RangeError(`receive buffers: at most ${KERNEL_VECTOR_MAX}, not ${count}`)
  }
  if (at + count * size > memory.bytes.length) {
    throw new RangeError(`receive buffers end beyond the memory's ${memory.bytes.length} bytes`)
  }
}
