// A UDP socket for any Node program: batches in, batches out, events, no offsets to care for.
//
//   const socket = await createSocket({ port: 4000 })
//   socket.on('messages', (messages) => {
//     for (const { data, rinfo } of messages) socket.send([data], rinfo.port, rinfo.address)
//   })
//
// It is a BatchSocket with memory of its own. send() copies the datagrams into it side by side and
// lets the kernel cut them again (UDP_SEGMENT); what arrives is cut by the size that UDP_GRO
// reports.
//
// UDP may lose any datagram anywhere, and a refusal by the kernel is treated as such a loss: send()
// returns how many datagrams the kernel took and `lastSendError` says why not all. Exceptions are
// for requests that make no sense. Names are not resolved: addresses are literals.

import { EventEmitter } from 'node:events'
import { BatchSocket, type BatchSocketOptions, type Features } from './batch-socket.ts'
import { errorCode, type PinnedMemory, pin, systemError } from './libc.ts'
import {
  BATCH_SIZE,
  KERNEL_VECTOR_MAX,
  RECEIVE_BUFFER_SIZE,
  REMEMBERED_ADDRESSES,
  ROUNDS_PER_WAKE,
  SEGMENTS_PER_MESSAGE_MAX,
  SEND_AREA_SIZE,
} from './limits.ts'
import type { ReceiveCounters } from './message-receiver.ts'
import type { SendCounters } from './message-sender.ts'
import { Readiness } from './readiness.ts'

export interface SocketOptions
  extends Pick<
    BatchSocketOptions,
    'address' | 'port' | 'reusePort' | 'ipv6' | 'gso' | 'gro' | 'bufferBytes' | 'pathMtu'
  > {
  /** Messages per system call, each way; default 32. Each costs 64 KiB of receive memory. */
  batchSize?: number
  /** true: received data are views of the socket's own memory, valid only until the listener
   * returns. false (default): they may be kept. */
  borrow?: boolean
}

export interface RemoteInfo {
  readonly address: string
  readonly family: 'IPv4' | 'IPv6'
  readonly port: number
}

export interface Datagram {
  readonly data: Buffer
  readonly rinfo: RemoteInfo
}

/** Datagrams of `segmentSize` bytes each, of which the last may be shorter, back to back. */
export interface SegmentedData {
  data: Uint8Array
  segmentSize: number
}

export interface SocketEvents {
  /** One system call's worth of datagrams, in arrival order. */
  messages: [messages: Datagram[]]
  /** Receiving failed; the socket has closed itself. */
  error: [error: Error]
  close: []
}

export class Socket extends EventEmitter<SocketEvents> {
  readonly address: string
  private readonly batch: BatchSocket
  private readonly memory: PinnedMemory
  private readonly sendAt: number
  private readonly borrow: boolean
  private readiness: Readiness | undefined
  private referenced = true
  private closed = false

  /** Endpoints of send() by "port address", and of received datagrams by handle; oldest first. */
  private readonly peers = new Map<string, number>()
  private readonly sources = new Map<number, RemoteInfo>()
  private lastPeer = -1
  private lastPeerAddress = ''
  private lastPeerPort = -1
  private lastSource = -1
  private lastRinfo: RemoteInfo | undefined

  /** Use createSocket(). */
  constructor(options: SocketOptions = {}) {
    super()
    const { batchSize = BATCH_SIZE, borrow = false, ...rest } = options
    if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > KERNEL_VECTOR_MAX) {
      throw new RangeError(
        `batchSize must be a whole number from 1 to ${KERNEL_VECTOR_MAX}, not ${batchSize}`,
      )
    }
    this.borrow = borrow
    this.sendAt = batchSize * RECEIVE_BUFFER_SIZE
    this.memory = pin(this.sendAt + SEND_AREA_SIZE)
    this.batch = new BatchSocket({
      pathMtu: 'kernel',
      ...rest,
      memory: this.memory,
      receive: { at: 0, count: batchSize, size: RECEIVE_BUFFER_SIZE },
      sendMessages: batchSize,
      sendRanges: 1,
      // Each side interns a new address before it forgets the oldest.
      endpoints: 2 * (REMEMBERED_ADDRESSES + 1),
    })
    this.address = options.address ?? (this.batch.features.ipv6 ? '::' : '0.0.0.0')
    const events = this as unknown as EventEmitter
    events.on('newListener', (event) => {
      if (event === 'messages') this.startReceiving()
    })
    events.on('removeListener', (event) => {
      if (event === 'messages' && this.listenerCount('messages') === 0) this.stopReceiving()
    })
  }

  get port(): number {
    return this.batch.port
  }

  get features(): Features {
    return this.batch.features
  }

  get counters(): SendCounters & ReceiveCounters {
    return this.batch.counters
  }

  /** Datagrams the kernel dropped because this socket's receive buffer was full. */
  get receiveDrops(): number {
    return this.batch.receiveDrops()
  }

  /** Why the last send() did not send all ("EMSGSIZE", "EAGAIN"), null when it did. */
  lastSendError: string | null = null

  /** Sends datagrams, in order, to one address, before it returns. Neighbours of equal size, and a
   * shorter one behind them, go as one message. Returns how many the kernel took. Throws TypeError
   * for an address that is no literal, RangeError for a port or a size that cannot be, Error when
   * the socket is closed; nothing is sent then. */
  send(datagrams: readonly Uint8Array[] | SegmentedData, port: number, address: string): number {
    if (this.closed) {
      throw Object.assign(new Error('the socket is closed'), {
        code: 'ERR_SOCKET_DGRAM_NOT_RUNNING',
      })
    }
    const peer = this.peerOf(address, port)
    const sizeMax = this.batch.payloadSizeMax(peer)
    const before = this.batch.sending.counters.datagramsSent
    this.lastSendError = null
    if ('segmentSize' in datagrams) {
      const { data, segmentSize } = datagrams
      if (!Number.isInteger(segmentSize) || segmentSize < 1) {
        throw new RangeError(`segmentSize must be a whole number from 1, not ${segmentSize}`)
      }
      checkSize(Math.min(segmentSize, data.length), sizeMax)
      this.sendSegments(data, segmentSize, peer, sizeMax)
    } else {
      for (const datagram of datagrams) checkSize(datagram.length, sizeMax)
      this.sendEach(datagrams, peer)
    }
    return this.batch.sending.counters.datagramsSent - before
  }

  private sendSegments(data: Uint8Array, segmentSize: number, peer: number, sizeMax: number): void {
    const { sending } = this.batch
    const segments = Math.min(SEGMENTS_PER_MESSAGE_MAX, Math.floor(sizeMax / segmentSize))
    const step = Math.max(1, segments) * segmentSize
    let used = 0
    let from = 0
    do {
      const size = Math.min(step, data.length - from)
      const message = used + size <= SEND_AREA_SIZE ? sending.begin(peer) : -1
      if (message < 0) {
        this.flush()
        used = 0
        continue
      }
      this.memory.bytes.set(data.subarray(from, from + size), this.sendAt + used)
      sending.segment(message, Math.min(segmentSize, sizeMax))
      sending.append(message, this.sendAt + used, size)
      used += size
      from += size
    } while (from < data.length)
    this.flush()
  }

  private sendEach(datagrams: readonly Uint8Array[], peer: number): void {
    const { sending } = this.batch
    const { bytes } = this.memory
    let used = 0
    for (let i = 0; i < datagrams.length; ) {
      const segmentSize = datagrams[i]!.length
      const message = used + segmentSize <= SEND_AREA_SIZE ? sending.begin(peer) : -1
      if (message < 0) {
        this.flush()
        used = 0
        continue
      }
      if (segmentSize > 0) sending.segment(message, segmentSize)
      // The first always fits; then as many as may follow it. An empty datagram is a message of its
      // own.
      let size = segmentSize
      do {
        bytes.set(datagrams[i]!, this.sendAt + used)
        sending.append(message, this.sendAt + used, size)
        used += size
        i++
        if (size < segmentSize || i === datagrams.length) break
        size = datagrams[i]!.length
      } while (
        size > 0 &&
        size <= segmentSize &&
        used + size <= SEND_AREA_SIZE &&
        sending.fits(message, size)
      )
    }
    this.flush()
  }

  private flush(): void {
    const { sending } = this.batch
    if (sending.flush() > 0) this.lastSendError = errorCode(sending.lastError)
  }

  private peerOf(address: string, port: number): number {
    if (port === this.lastPeerPort && address === this.lastPeerAddress) return this.lastPeer
    const key = `${port} ${address}`
    let peer = this.peers.get(key)
    if (peer === undefined) {
      peer = this.batch.endpoint(address, port)
      if (this.peers.size === REMEMBERED_ADDRESSES) {
        const [oldestKey, oldest] = this.peers.entries().next().value!
        this.peers.delete(oldestKey)
        this.batch.release(oldest)
      }
      this.peers.set(key, peer)
    }
    this.lastPeer = peer
    this.lastPeerAddress = address
    this.lastPeerPort = port
    return peer
  }

  private startReceiving(): void {
    if (this.closed || this.readiness !== undefined) return
    this.readiness = new Readiness(this.batch.fd, () => this.drain())
    if (!this.referenced) this.readiness.unref()
  }

  private stopReceiving(): void {
    this.readiness?.close()
    this.readiness = undefined
  }

  /** Takes what waits, a bounded number of rounds: poll is level-triggered, the rest gets its turn.
   * */
  private drain(): void {
    const { receiving } = this.batch
    for (let round = 0; round < ROUNDS_PER_WAKE; round++) {
      if (this.readiness === undefined) return
      const count = receiving.receive()
      if (count === 0) return
      if (count < 0) {
        const error = systemError('recvmmsg', -count, 'receiving failed, the socket is closed')
        this.close()
        this.emit('error', error)
        return
      }
      const messages: Datagram[] = []
      for (let i = 0; i < count; i++) this.cut(i, messages)
      this.emit('messages', messages)
    }
  }

  /** Adds the datagrams of received message i to `messages`. */
  private cut(i: number, messages: Datagram[]): void {
    const { receiving } = this.batch
    const rinfo = this.rinfoOf(i)
    const at = receiving.at(i)
    const size = receiving.size(i)
    const step = receiving.segmentSize(i)
    const view = Buffer.from(this.memory.bytes.buffer as ArrayBuffer, at, size)
    const data = this.borrow ? view : Buffer.from(view)
    if (step === size) {
      messages.push({ data, rinfo })
      return
    }
    for (let from = 0; from < size; from += step) {
      messages.push({ data: data.subarray(from, Math.min(from + step, size)), rinfo })
    }
  }

  private rinfoOf(i: number): RemoteInfo {
    const { receiving } = this.batch
    if (this.lastRinfo !== undefined && receiving.from(i, this.lastSource)) return this.lastRinfo
    const source = receiving.source(i)
    let rinfo = this.sources.get(source)
    if (rinfo !== undefined) {
      this.batch.release(source)
    } else {
      if (this.sources.size === REMEMBERED_ADDRESSES) {
        const oldest = this.sources.keys().next().value!
        this.sources.delete(oldest)
        this.batch.release(oldest)
      }
      const address = this.batch.addressOf(source)
      const family = address.includes(':') ? 'IPv6' : 'IPv4'
      rinfo = Object.freeze({ address, family, port: this.batch.portOf(source) })
      this.sources.set(source, rinfo)
    }
    this.lastSource = source
    this.lastRinfo = rinfo
    return rinfo
  }

  /** While the socket has a 'messages' listener it keeps the process alive: ref() (the default) and
   * unref() turn that on and off. */
  ref(): this {
    this.referenced = true
    this.readiness?.ref()
    return this
  }

  unref(): this {
    this.referenced = false
    this.readiness?.unref()
    return this
  }

  /** Closes the socket; 'close' follows. No 'messages' event comes any more. A second call does
   * nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.stopReceiving()
    this.batch.close()
    process.nextTick(() => this.emit('close'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }
}

/** Opens and binds a socket. Rejects with an Error with `code` (EADDRINUSE, EADDRNOTAVAIL, EACCES),
 * or with TypeError or RangeError for options that make no sense. */
export async function createSocket(options: SocketOptions = {}): Promise<Socket> {
  return new Socket(options)
}

function checkSize(size: number, sizeMax: number): void {
  if (size <= sizeMax) return
  throw Object.assign(
    new RangeError(`a datagram of ${size} bytes: at most ${sizeMax} are possible`),
    {
      code: 'EMSGSIZE',
    },
  )
}
