// The sending half of a batch socket: messages are laid out as the kernel wants them while they are
// begun and appended to, and leave in one sendmmsg.
//
// One pinned area holds, for each message, an mmsghdr, a sockaddr, its own block of iovecs and a
// cmsghdr (layout.ts). Pointers between them are written once, in the constructor. Per message
// change only: the sockaddr, the iovecs used and their count, and, when it holds more than one
// datagram, the segment size in the cmsg and the cmsg's presence.
//
// What the kernel may answer, and what is done about it:
//
//   EAGAIN, ENOBUFS      wait for room, SEND_WAIT_POLLS_MAX polls in the whole flush, then lost
//   EINTR, ECONNREFUSED  try again, SEND_RETRIES_MAX times
//   EIO, ENOPROTOOPT     on a segmented message: no UDP_SEGMENT here (EIO: the device has no
//                        checksum offload, udp_send_skb in net/ipv4/udp.c). The message is sent
//                        again as single datagrams and UDP_SEGMENT stays off for its family.
//   EINVAL               on a segmented message: the same, but UDP_SEGMENT is given up only if a
//                        single datagram then gets through: kernels before 6.14 say EINVAL, too,
//                        when the segment exceeds the path MTU, no reason to do without.
//   anything else        lost, counted, in lastError: EMSGSIZE is how a path-MTU probe hears its
//                        answer
//
// Not done here: no queue, no pacing, no choice of the segment size.

import type { EndpointTable } from './endpoint-table.ts'
import { NAME_STRIDE_WORDS } from './endpoint-table.ts'
import {
  CONTROL_DATA,
  CONTROL_LENGTH,
  CONTROL_LENGTH_U16,
  CONTROL_LEVEL,
  CONTROL_SIZE,
  CONTROL_TYPE,
  IOVEC_LENGTH,
  IOVEC_SIZE,
  MESSAGE_CONTROL,
  MESSAGE_CONTROL_SIZE,
  MESSAGE_IOVEC_COUNT,
  MESSAGE_IOVECS,
  MESSAGE_NAME,
  MESSAGE_NAME_SIZE,
  MESSAGE_SIZE,
  NAME_SIZE,
  NAME_STRIDE,
  NAME_WORDS,
  putPointer,
} from './layout.ts'
import {
  EAGAIN,
  ECONNREFUSED,
  EINTR,
  EINVAL,
  EIO,
  ENOBUFS,
  ENOPROTOOPT,
  errno,
  MSG_DONTWAIT,
  type PinnedMemory,
  POLLOUT,
  pin,
  SOL_UDP,
  sysPoll,
  sysSendmmsg,
  UDP_SEGMENT,
} from './libc.ts'
import {
  KERNEL_VECTOR_MAX,
  PAYLOAD_SIZE_MAX_V4,
  PAYLOAD_SIZE_MAX_V6,
  SEGMENTS_PER_MESSAGE_MAX,
  SEND_RETRIES_MAX,
  SEND_WAIT_POLLS_MAX,
} from './limits.ts'

const WORD = 0x1_0000_0000
const MESSAGE_WORDS = MESSAGE_SIZE / 4
const IOVEC_WORDS = IOVEC_SIZE / 4
const IOVEC_LENGTH_WORD = IOVEC_LENGTH / 4

/** Datagrams per sendmmsg when a message is sent as single datagrams. */
const SINGLES = SEGMENTS_PER_MESSAGE_MAX

/** Counts since the socket was opened. A scrape may read them at any time. */
export interface SendCounters {
  /** Messages the kernel took whole. */
  messagesSent: number
  /** Datagrams in them, and in the messages it took in part. */
  datagramsSent: number
  bytesSent: number
  /** Messages of which the kernel refused at least one datagram. */
  sendRefused: number
  /** Messages sent as single datagrams, because UDP_SEGMENT was not to be had. */
  gsoFallbacks: number
}

export class MessageSender {
  /** Messages begun since the last flush. */
  count = 0
  /** errno of the last refusal seen by flush(), 0 when there was none. */
  lastError = 0
  /** True while UDP_SEGMENT is used for IPv4 endpoints, and for IPv6 ones. */
  gsoV4: boolean
  gsoV6: boolean
  readonly counters: SendCounters = {
    messagesSent: 0,
    datagramsSent: 0,
    bytesSent: 0,
    sendRefused: 0,
    gsoFallbacks: 0,
  }

  private fd: number
  private readonly memory: PinnedMemory
  private readonly endpoints: EndpointTable
  private readonly capacity: number
  private readonly rangeMax: number

  private readonly area: PinnedMemory
  private readonly words: Uint32Array
  private readonly names: Int32Array
  private readonly namesAt: number
  private readonly iovecsAt: number
  private readonly controlsAt: number
  private readonly singlesAt: number
  private readonly singleIovecsAt: number
  private readonly pollAt: number

  // Per message: bytes, segment size (0 = not declared), iovecs used, where the last one ends,
  // limit.
  private readonly sizes: Int32Array
  private readonly segmentSizes: Int32Array
  private readonly ranges: Int32Array
  private readonly ends: Float64Array
  private readonly sizeMax: Int32Array
  private readonly isV6: Uint8Array

  private pollsLeft = 0
  private refusal = 0

  constructor(options: {
    fd: number
    memory: PinnedMemory
    endpoints: EndpointTable
    messages: number
    ranges: number
    gso: boolean
  }) {
    const { messages, ranges } = options
    checkVector('send messages', messages)
    checkVector('send ranges', ranges)
    this.fd = options.fd
    this.memory = options.memory
    this.endpoints = options.endpoints
    this.capacity = messages
    this.rangeMax = ranges
    this.gsoV4 = options.gso
    this.gsoV6 = options.gso

    // mmsghdrs first: then sockaddrs, iovecs, cmsghdrs; the same without names and cmsgs for the
    // single datagrams of one message; one pollfd.
    this.namesAt = messages * MESSAGE_SIZE
    this.iovecsAt = this.namesAt + messages * NAME_STRIDE
    this.controlsAt = this.iovecsAt + messages * ranges * IOVEC_SIZE
    this.singlesAt = this.controlsAt + messages * CONTROL_SIZE
    this.singleIovecsAt = this.singlesAt + SINGLES * MESSAGE_SIZE
    this.pollAt = this.singleIovecsAt + (SINGLES + ranges) * IOVEC_SIZE
    this.area = pin(this.pollAt + 8)
    this.words = new Uint32Array(this.area.bytes.buffer)
    this.names = new Int32Array(this.area.bytes.buffer)
    this.lay()

    this.sizes = new Int32Array(messages)
    this.segmentSizes = new Int32Array(messages)
    this.ranges = new Int32Array(messages)
    this.ends = new Float64Array(messages)
    this.sizeMax = new Int32Array(messages)
    this.isV6 = new Uint8Array(messages)
  }

  /** Forgets the descriptor, whose number may soon be another's: every message is refused from now
   * on. */
  detach(): void {
    this.fd = -1
  }

  /** Writes all that never changes. */
  private lay(): void {
    const { view, address } = this.area
    for (let i = 0; i < this.capacity; i++) {
      const header = i * MESSAGE_SIZE
      const control = this.controlsAt + i * CONTROL_SIZE
      putPointer(view, header + MESSAGE_NAME, address + this.namesAt + i * NAME_STRIDE)
      view.setUint32(header + MESSAGE_NAME_SIZE, NAME_SIZE, true)
      const iovecs = this.iovecsAt + i * this.rangeMax * IOVEC_SIZE
      putPointer(view, header + MESSAGE_IOVECS, address + iovecs)
      putPointer(view, header + MESSAGE_CONTROL, address + control)
      view.setUint32(control + CONTROL_LENGTH, CONTROL_LENGTH_U16, true)
      view.setUint32(control + CONTROL_LEVEL, SOL_UDP, true)
      view.setUint32(control + CONTROL_TYPE, UDP_SEGMENT, true)
    }
    for (let i = 0; i < SINGLES; i++) {
      view.setUint32(this.singlesAt + i * MESSAGE_SIZE + MESSAGE_NAME_SIZE, NAME_SIZE, true)
    }
    view.setInt32(this.pollAt, this.fd, true)
    view.setUint16(this.pollAt + 4, POLLOUT, true)
  }

  /** Begins a message to `endpoint`. Returns its number, or -1 when the batch is full. Throws
   * RangeError for a handle that is not in use: a programmer's error. */
  begin(endpoint: number): number {
    const message = this.count
    if (message === this.capacity) return -1
    if (!this.endpoints.used(endpoint)) throw new RangeError(`endpoint ${endpoint} is not in use`)
    const from = endpoint * NAME_STRIDE_WORDS
    const to = this.namesAt / 4 + message * NAME_STRIDE_WORDS
    const source = this.endpoints.names
    for (let i = 0; i < NAME_WORDS; i++) this.names[to + i] = source[from + i]!
    const v6 = this.endpoints.isV6(endpoint)
    this.isV6[message] = v6 ? 1 : 0
    this.sizeMax[message] = v6 ? PAYLOAD_SIZE_MAX_V6 : PAYLOAD_SIZE_MAX_V4
    this.sizes[message] = 0
    this.segmentSizes[message] = 0
    this.ranges[message] = 0
    this.ends[message] = -1
    this.count = message + 1
    return message
  }

  /** Appends [at, at + length) of the memory. False when the message would exceed its bytes, its
   * segments (if segment() was called before) or its ranges; it then stays as it was. */
  append(message: number, at: number, length: number): boolean {
    if (!this.fits(message, length)) return false
    const ranges = this.ranges[message]!
    const iovec = this.iovecsAt / 4 + (message * this.rangeMax + ranges) * IOVEC_WORDS
    if (this.ends[message] === at) {
      this.words[iovec - IOVEC_WORDS + IOVEC_LENGTH_WORD]! += length
    } else {
      if (ranges === this.rangeMax) return false
      const pointer = this.memory.address + at
      this.words[iovec] = pointer
      this.words[iovec + 1] = pointer / WORD
      this.words[iovec + IOVEC_LENGTH_WORD] = length
      this.ranges[message] = ranges + 1
    }
    this.ends[message] = at + length
    this.sizes[message]! += length
    return true
  }

  /** True when `message` has room for `length` bytes more, by its bytes and its segments. */
  fits(message: number, length: number): boolean {
    const size = this.sizes[message]! + length
    if (size > this.sizeMax[message]!) return false
    const segmentSize = this.segmentSizes[message]!
    return segmentSize === 0 || size <= segmentSize * SEGMENTS_PER_MESSAGE_MAX
  }

  /** Declares that `message` holds datagrams of `segmentSize` bytes, of which the last may be
   * shorter. */
  segment(message: number, segmentSize: number): void {
    if (!(segmentSize > 0 && segmentSize <= PAYLOAD_SIZE_MAX_V6)) {
      throw new RangeError(
        `segment size must be from 1 to ${PAYLOAD_SIZE_MAX_V6}, not ${segmentSize}`,
      )
    }
    this.segmentSizes[message] = segmentSize
  }

  /** Sends all messages in order and empties the batch. A message without any range is left out.
   * Returns the number of messages that the kernel refused, whole or in part. */
  flush(): number {
    const count = this.count
    const refusedBefore = this.counters.sendRefused
    this.lastError = 0
    this.pollsLeft = SEND_WAIT_POLLS_MAX
    for (let i = 0; i < count; i++) this.seal(i)
    let i = 0
    while (i < count) {
      let to = i
      while (to < count && this.ready(to)) to++
      if (to === i) {
        if (this.ranges[i]! > 0) this.sendSingly(i)
        i++
        continue
      }
      const sent = this.transmit(i * MESSAGE_SIZE, to - i)
      this.account(i, i + sent)
      i += sent
      if (i === to) continue
      this.refuse(i, this.refusal)
      i++
    }
    this.count = 0
    return this.counters.sendRefused - refusedBefore
  }

  /** Writes what is known only now: how many iovecs, and whether there is a cmsg. */
  private seal(message: number): void {
    const header = message * MESSAGE_WORDS
    const segmented = this.segmented(message)
    this.words[header + MESSAGE_IOVEC_COUNT / 4] = this.ranges[message]!
    this.words[header + MESSAGE_CONTROL_SIZE / 4] = segmented ? CONTROL_SIZE : 0
    if (segmented) {
      const control = this.controlsAt + message * CONTROL_SIZE
      this.words[(control + CONTROL_DATA) / 4] = this.segmentSizes[message]!
    }
  }

  private segmented(message: number): boolean {
    const segmentSize = this.segmentSizes[message]!
    return segmentSize > 0 && this.sizes[message]! > segmentSize
  }

  /** True when the message can go to the kernel as it stands. */
  private ready(message: number): boolean {
    if (this.ranges[message] === 0) return false
    if (!this.segmented(message)) return true
    if (!(this.isV6[message] === 1 ? this.gsoV6 : this.gsoV4)) return false
    // Too many segments can only be when segment() came after the appends.
    return this.sizes[message]! <= this.segmentSizes[message]! * SEGMENTS_PER_MESSAGE_MAX
  }

  /** Sends `count` mmsghdrs from byte `at` of the area. Returns how many the kernel took; when
   * fewer, `refusal` is the errno of the first it did not take. */
  private transmit(at: number, count: number): number {
    let done = 0
    let retries = 0
    while (done < count) {
      const from = this.area.address + at + done * MESSAGE_SIZE
      const n = sysSendmmsg(this.fd, from, count - done, MSG_DONTWAIT)
      if (n > 0) {
        done += n
        retries = 0
        continue
      }
      const error = errno()
      if ((error === EAGAIN || error === ENOBUFS) && this.pollsLeft > 0) {
        this.pollsLeft--
        sysPoll(this.area.address + this.pollAt, 1, 1)
        continue
      }
      if ((error === EINTR || error === ECONNREFUSED) && retries < SEND_RETRIES_MAX) {
        retries++
        continue
      }
      this.refusal = error
      return done
    }
    return done
  }

  private account(from: number, to: number): void {
    const counters = this.counters
    for (let i = from; i < to; i++) {
      const size = this.sizes[i]!
      counters.messagesSent++
      counters.bytesSent += size
      counters.datagramsSent += this.segmented(i) ? Math.ceil(size / this.segmentSizes[i]!) : 1
    }
  }

  private refuse(message: number, error: number): void {
    const offload = error === EIO || error === EINVAL || error === ENOPROTOOPT
    if (!offload || !this.segmented(message)) {
      this.counters.sendRefused++
      this.lastError = error
      return
    }
    const sent = this.sendSingly(message)
    if (error === EINVAL && sent === 0) return
    if (this.isV6[message] === 1) this.gsoV6 = false
    else this.gsoV4 = false
  }

  /** Sends a segmented message as single datagrams, SINGLES per call. Returns how many got through.
   * */
  private sendSingly(message: number): number {
    const { words, counters } = this
    const segmentSize = this.segmentSizes[message]!
    const size = this.sizes[message]!
    const name = this.area.address + this.namesAt + message * NAME_STRIDE
    let iovec = this.iovecsAt / 4 + message * this.rangeMax * IOVEC_WORDS
    let taken = 0
    let at = 0
    let sent = 0
    let refusedBytes = 0
    while (at < size) {
      const first = at / segmentSize
      let singles = 0
      let pieceAt = this.singleIovecsAt
      for (; singles < SINGLES && at < size; singles++) {
        const header = (this.singlesAt + singles * MESSAGE_SIZE) / 4
        let need = Math.min(segmentSize, size - at)
        at += need
        this.point(header + MESSAGE_NAME / 4, name)
        this.point(header + MESSAGE_IOVECS / 4, this.area.address + pieceAt)
        let pieces = 0
        while (need > 0) {
          const piece = Math.min(need, words[iovec + IOVEC_LENGTH_WORD]! - taken)
          this.point(pieceAt / 4, words[iovec]! + words[iovec + 1]! * WORD + taken)
          words[pieceAt / 4 + IOVEC_LENGTH_WORD] = piece
          pieceAt += IOVEC_SIZE
          pieces++
          need -= piece
          taken += piece
          if (taken === words[iovec + IOVEC_LENGTH_WORD]!) {
            iovec += IOVEC_WORDS
            taken = 0
          }
        }
        words[header + MESSAGE_IOVEC_COUNT / 4] = pieces
      }
      for (let i = 0; i < singles; ) {
        const n = this.transmit(this.singlesAt + i * MESSAGE_SIZE, singles - i)
        sent += n
        i += n
        if (i < singles) {
          this.lastError = this.refusal
          refusedBytes += Math.min(segmentSize, size - (first + i) * segmentSize)
          i++
        }
      }
    }
    counters.gsoFallbacks++
    counters.datagramsSent += sent
    counters.bytesSent += size - refusedBytes
    if (refusedBytes === 0) counters.messagesSent++
    else counters.sendRefused++
    return sent
  }

  private point(word: number, pointer: number): void {
    this.words[word] = pointer
    this.words[word + 1] = pointer / WORD
  }
}

function checkVector(what: string, value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= KERNEL_VECTOR_MAX) return
  throw new RangeError(
    `${what} must be a whole number from 1 to ${KERNEL_VECTOR_MAX}, not ${value}`,
  )
}
