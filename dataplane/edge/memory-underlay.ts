// An underlay in memory: any number of UDP sockets on one network without loss, delay or reordering
// (fault-injector.ts adds those). Segments are cut on the way out (UDP_SEGMENT) and merged again on
// the way in (UDP_GRO): datagrams of one source that arrive in a row, equal in size but for the
// last.

import type { ReceiveBatch, SendBatch, UnderlaySocket } from '../../base/device.ts'
import type { Slab } from '../../base/slab.ts'
import { canonicalAddress, familyOf, parseParty } from './address.ts'
import { UDP_PAYLOAD_SIZE_MAX, UDP_SEGMENT_COUNT_MAX } from './limits.ts'
import { FrameQueue, gather, type MemoryPoller, type Readable } from './memory.ts'

const EBADF = 9
const EMSGSIZE = 90
const EINVAL = 22
const ENETUNREACH = 101

/** "10.0.0.1:4789" or "[fd00::1]:4789". */
export function endpointText(address: string, port: number): string {
  const spelled = canonicalAddress(address)
  return familyOf(spelled) === 6 ? `[${spelled}]:${port}` : `${spelled}:${port}`
}

export interface MemorySocketOptions {
  readonly address: string
  readonly port: number
  readonly slab: Slab
  /** Where received messages go: `count` buffers of `size` bytes from slab offset `at`. */
  readonly receive: { readonly at: number; readonly count: number; readonly size: number }
  readonly poller?: MemoryPoller
  /** False: every datagram is a message of its own. Default true. */
  readonly merge?: boolean
  /** Messages per batch, default 64. */
  readonly sendCount?: number
  /** Ranges per message, default 64. */
  readonly rangeCount?: number
  /** Endpoints interned at a time, default 1024. */
  readonly endpointCount?: number
}

/** Datagrams between sockets, by address and port. */
export class MemoryNetwork {
  /** Datagrams to an address where no socket is. */
  lostCount = 0
  /** Sees every datagram on the wire; what it returns travels on, undefined is lost. For captures
   * and for an attacker on the path. Default: hands it on. */
  onDatagram: (datagram: Uint8Array, from: string, to: string) => Uint8Array | undefined = (
    datagram,
  ) => datagram
  private readonly sockets = new Map<string, MemorySocket>()

  /** Opens a socket. Throws RangeError when the address is taken. */
  socket(options: MemorySocketOptions): MemorySocket {
    const local = endpointText(options.address, options.port)
    if (this.sockets.has(local)) throw new RangeError(`${local} is in use`)
    const socket = new MemorySocket(this, local, options)
    this.sockets.set(local, socket)
    return socket
  }

  /** Puts a datagram on the wire, from a socket or from a test that forges one. */
  send(datagram: Uint8Array, from: string, to: string): void {
    const arriving = this.onDatagram(datagram, from, to)
    if (arriving === undefined) return
    const socket = this.sockets.get(to)
    if (socket === undefined) this.lostCount++
    else socket.deliver(arriving, from)
  }

  /** The socket at `from` is found at `to` from now on: a node that changed its address. */
  move(from: string, to: string): void {
    const socket = this.sockets.get(from)
    if (socket === undefined) throw new RangeError(`nobody is at ${from}`)
    this.sockets.delete(from)
    this.sockets.set(to, socket)
    socket.local = to
  }

  remove(local: string): void {
    this.sockets.delete(local)
  }
}

class EndpointTable {
  private readonly texts: (string | undefined)[]
  private readonly references: Int32Array
  private readonly handles = new Map<string, number>()

  constructor(count: number) {
    this.texts = new Array(count)
    this.references = new Int32Array(count)
  }

  intern(text: string): number {
    let handle = this.handles.get(text)
    if (handle === undefined) {
      handle = this.references.indexOf(0)
      if (handle < 0) return -1
      this.texts[handle] = text
      this.handles.set(text, handle)
    }
    this.references[handle]!++
    return handle
  }

  retain(handle: number): void {
    if (!(this.references[handle]! > 0)) throw new RangeError(`endpoint ${handle} is not in use`)
    this.references[handle]!++
  }

  release(handle: number): void {
    if (!(this.references[handle]! > 0)) throw new RangeError(`endpoint ${handle} is not in use`)
    this.references[handle]!--
    if (this.references[handle]! > 0) return
    this.handles.delete(this.texts[handle]!)
    this.texts[handle] = undefined
  }

  text(handle: number): string | undefined {
    return this.texts[handle]
  }
}

interface OutgoingMessage {
  endpoint: number
  segmentSize: number
  pieces: number[]
}

class MemorySendBatch implements SendBatch {
  lastError = 0
  private messages: OutgoingMessage[] = []
  private readonly socket: MemorySocket
  private readonly sendCount: number
  private readonly rangeCount: number

  constructor(socket: MemorySocket, options: MemorySocketOptions) {
    this.socket = socket
    this.sendCount = options.sendCount ?? 64
    this.rangeCount = options.rangeCount ?? 64
  }

  get count(): number {
    return this.messages.length
  }

  begin(endpoint: number): number {
    if (this.messages.length >= this.sendCount) return -1
    return this.messages.push({ endpoint, segmentSize: 0, pieces: [] }) - 1
  }

  append(message: number, at: number, length: number): boolean {
    const { pieces, segmentSize } = this.messages[message]!
    let size = length
    for (let i = 1; i < pieces.length; i += 2) size += pieces[i]!
    if (size > UDP_PAYLOAD_SIZE_MAX) return false
    if (segmentSize > 0 && size > segmentSize * UDP_SEGMENT_COUNT_MAX) return false
    const last = pieces.length - 2
    if (last >= 0 && pieces[last]! + pieces[last + 1]! === at) {
      pieces[last + 1]! += length
      return true
    }
    if (pieces.length >= 2 * this.rangeCount) return false
    pieces.push(at, length)
    return true
  }

  segment(message: number, segmentSize: number): void {
    this.messages[message]!.segmentSize = segmentSize
  }

  flush(): number {
    const messages = this.messages
    this.messages = []
    this.lastError = 0
    let refusedCount = 0
    for (const message of messages) {
      if (message.pieces.length === 0) continue
      const errno = this.socket.transmit(message)
      if (errno === 0) continue
      this.lastError = errno
      refusedCount++
    }
    return refusedCount
  }
}

interface IncomingMessage {
  from: string
  size: number
  segmentSize: number
}

class MemoryReceiveBatch implements ReceiveBatch {
  private readonly messages: IncomingMessage[] = []
  private readonly socket: MemorySocket
  private readonly options: MemorySocketOptions

  constructor(socket: MemorySocket, options: MemorySocketOptions) {
    this.socket = socket
    this.options = options
  }

  get capacity(): number {
    return this.options.receive.count
  }

  receive(): number {
    this.messages.length = 0
    if (this.socket.closed) return -EBADF
    const { count, size } = this.options.receive
    while (this.messages.length < count) {
      const first = this.socket.next()
      if (first === undefined) break
      const message = { from: first.from, size: 0, segmentSize: first.datagram.length }
      const at = this.at(this.messages.length)
      this.messages.push(message)
      this.copy(message, at, first.datagram)
      if (this.options.merge === false || message.size === 0) continue
      for (let merged = 1; merged < UDP_SEGMENT_COUNT_MAX; merged++) {
        const next = this.socket.peek()
        const fits = next !== undefined && message.size + next.datagram.length <= size
        if (!fits || next.from !== message.from || next.datagram.length === 0) break
        if (next.datagram.length > message.segmentSize) break
        this.socket.next()
        this.copy(message, at, next.datagram)
        if (next.datagram.length < message.segmentSize) break
      }
    }
    return this.messages.length
  }

  private copy(message: IncomingMessage, at: number, datagram: Uint8Array): void {
    const room = this.options.receive.size - message.size
    const copied = datagram.subarray(0, room)
    this.options.slab.bytes.set(copied, at + message.size)
    message.size += copied.length
    message.segmentSize = Math.min(message.segmentSize, this.options.receive.size)
  }

  at(i: number): number {
    return this.options.receive.at + i * this.options.receive.size
  }

  size(i: number): number {
    return this.messages[i]!.size
  }

  segmentSize(i: number): number {
    return this.messages[i]!.segmentSize
  }

  from(i: number, endpoint: number): boolean {
    return this.socket.endpointText(endpoint) === this.messages[i]!.from
  }

  source(i: number): number {
    return this.socket.intern(this.messages[i]!.from)
  }

  sourceBytes(i: number, out: Uint8Array): void {
    const { bytes, port } = parseParty(this.messages[i]!.from)
    out.fill(0, 0, 10)
    out.fill(0xff, 10, 12)
    out.set(bytes, 16 - bytes.length)
    out[16] = port >> 8
    out[17] = port
  }
}

/** An UnderlaySocket on a MemoryNetwork. */
export class MemorySocket implements UnderlaySocket, Readable {
  readonly fd: number
  readonly port: number
  readonly sending: SendBatch
  readonly receiving: ReceiveBatch
  /** Datagrams on their way to the loop. */
  readonly incoming: FrameQueue = new FrameQueue()
  /** Where the network finds it. */
  local: string
  closed = false
  private readonly sources: string[] = []
  private sourceHead = 0
  private readonly network: MemoryNetwork
  private readonly slab: Slab
  private readonly endpoints: EndpointTable
  private peeked: { datagram: Uint8Array; from: string } | undefined

  constructor(network: MemoryNetwork, local: string, options: MemorySocketOptions) {
    this.network = network
    this.local = local
    this.slab = options.slab
    this.port = options.port
    this.endpoints = new EndpointTable(options.endpointCount ?? 1024)
    this.sending = new MemorySendBatch(this, options)
    this.receiving = new MemoryReceiveBatch(this, options)
    this.fd = options.poller?.register(this) ?? -1
  }

  get readable(): boolean {
    return this.closed || this.peeked !== undefined || this.incoming.size > 0
  }

  endpoint(address: string, port: number): number {
    return this.endpoints.intern(endpointText(address, port))
  }

  retain(endpoint: number): void {
    this.endpoints.retain(endpoint)
  }

  release(endpoint: number): void {
    this.endpoints.release(endpoint)
  }

  describe(endpoint: number): string {
    return this.endpoints.text(endpoint) ?? `endpoint ${endpoint}, not in use`
  }

  close(): void {
    this.closed = true
    this.network.remove(this.local)
  }

  // What follows is for the batches and the network.

  intern(text: string): number {
    return this.endpoints.intern(text)
  }

  endpointText(endpoint: number): string | undefined {
    return this.endpoints.text(endpoint)
  }

  deliver(datagram: Uint8Array, from: string): void {
    if (this.incoming.push(Uint8Array.from(datagram))) this.sources.push(from)
  }

  peek(): { datagram: Uint8Array; from: string } | undefined {
    if (this.peeked !== undefined) return this.peeked
    const datagram = this.incoming.shift()
    if (datagram === undefined) return undefined
    this.peeked = { datagram, from: this.sources[this.sourceHead++]! }
    if (this.sourceHead >= 1024) {
      this.sources.splice(0, this.sourceHead)
      this.sourceHead = 0
    }
    return this.peeked
  }

  next(): { datagram: Uint8Array; from: string } | undefined {
    const next = this.peek()
    this.peeked = undefined
    return next
  }

  /** Sends one message; returns 0 or the errno with which the kernel would have refused it. */
  transmit(message: OutgoingMessage): number {
    if (this.closed) return EBADF
    const to = this.endpoints.text(message.endpoint)
    if (to === undefined) return ENETUNREACH
    const whole = gather(this.slab, message.pieces, message.pieces.length / 2)
    const size = message.segmentSize === 0 ? whole.length : message.segmentSize
    if (whole.length > UDP_PAYLOAD_SIZE_MAX) return EMSGSIZE
    // udp_send_skb: more than UDP_MAX_SEGMENTS segments are EINVAL.
    if (whole.length > size * UDP_SEGMENT_COUNT_MAX) return EINVAL
    if (whole.length === 0) this.network.send(whole, this.local, to)
    for (let at = 0; at < whole.length; at += size) {
      this.network.send(whole.slice(at, at + size), this.local, to)
    }
    return 0
  }
}
