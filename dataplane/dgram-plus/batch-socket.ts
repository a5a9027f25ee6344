// A UDP socket for a packet loop: synchronous, non-blocking, nothing allocated per call. The caller
// brings the memory; messages are offsets into it, endpoints are small integers.
//
//   const memory = pin(4 << 20)
//   const socket = new BatchSocket({ memory, receive: { at: 0, count: 8, size: 65_536 } })
//   const peer = socket.endpoint('192.0.2.1', 4789)
//   const message = socket.sending.begin(peer)
//   socket.sending.segment(message, 1400)
//   socket.sending.append(message, 1 << 20, 14_000)    // ten datagrams in one go
//   socket.sending.flush()
//   ... wait until socket.fd is readable ...
//   for (let n = socket.receiving.receive(), i = 0; i < n; i++) use(socket.receiving.at(i), ...)
//
// The socket is dual-stack where the host has IPv6, IPv4 otherwise. With `pathMtu: 'probe'` every
// datagram carries DF and the kernel's path-MTU cache is ignored (IP_PMTUDISC_PROBE): the program
// finds the path MTU itself, and EMSGSIZE speaks of the first link only. ICMP errors are not
// reported (IP_RECVERR off): they are forgeable, and they would fail the wrong message of a batch.

import { randomBytes } from 'node:crypto'
import { AddressCodec } from './address.ts'
import { EndpointTable, NAME_STRIDE_WORDS } from './endpoint-table.ts'
import { NAME_PORT, NAME_SIZE } from './layout.ts'
import * as sys from './libc.ts'
import {
  ENDPOINTS,
  GRO_MESSAGE_SIZE,
  PAYLOAD_SIZE_MAX_V4,
  PAYLOAD_SIZE_MAX_V6,
  SEND_MESSAGES,
  SEND_RANGES,
  SOCKET_BUFFER_BYTES,
} from './limits.ts'
import { MessageReceiver, type ReceiveBuffers, type ReceiveCounters } from './message-receiver.ts'
import { MessageSender, type SendCounters } from './message-sender.ts'

export interface BatchSocketOptions {
  /** Pinned memory (see `pin`) that holds what is sent and what is received. */
  memory: sys.PinnedMemory
  /** Where received messages go. UDP_GRO needs buffers of GRO_MESSAGE_SIZE bytes and is off with
   * less. */
  receive: ReceiveBuffers
  /** Where they go instead when UDP_GRO is off or refused: more and smaller buffers, say. */
  receiveWithoutGro?: ReceiveBuffers
  /** Literal address to bind to; default all addresses. */
  address?: string
  /** Port to bind to; default 0, any free one. */
  port?: number
  /** Lets several sockets share address and port; the kernel spreads flows over them
   * (SO_REUSEPORT). */
  reusePort?: boolean
  /** 'probe' (default) as above; 'kernel' leaves path-MTU discovery to the kernel's default. */
  pathMtu?: 'probe' | 'kernel'
  /** false turns the feature off even where the kernel has it. */
  ipv6?: boolean
  gso?: boolean
  gro?: boolean
  /** Messages per flush; default SEND_MESSAGES. */
  sendMessages?: number
  /** Ranges per message; default SEND_RANGES. */
  sendRanges?: number
  /** Endpoints that can be interned at a time; default ENDPOINTS. */
  endpoints?: number
  /** Wish for the socket's buffers in bytes, each way; default SOCKET_BUFFER_BYTES. */
  bufferBytes?: number
}

/** What the kernel has and the options allow. `gso` turns false when the kernel refuses it later.
 * */
export interface Features {
  gso: boolean
  gro: boolean
  ipv6: boolean
}

export class BatchSocket {
  readonly fd: number
  readonly port: number
  readonly sending: MessageSender
  readonly receiving: MessageReceiver
  /** What SO_RCVBUF and SO_SNDBUF read back: the kernel doubles the wish to cover its own overhead.
   * */
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  private readonly ipv6: boolean
  private readonly gro: boolean
  private readonly table: EndpointTable
  private readonly codec: AddressCodec
  private closed = false

  /** Opens and binds. Throws an Error with `code` and `syscall` when the kernel refuses, TypeError
   * or RangeError for options that make no sense; nothing stays open then. */
  constructor(options: BatchSocketOptions) {
    const opened = open(options)
    this.fd = opened.fd
    this.codec = opened.codec
    this.ipv6 = opened.codec.family === sys.AF_INET6
    try {
      this.port = boundPort(this.fd)
      if (options.pathMtu !== 'kernel') probePathMtu(this.fd, this.ipv6)
      const wish = options.bufferBytes ?? SOCKET_BUFFER_BYTES
      this.receiveBufferBytes = growBuffer(this.fd, sys.SO_RCVBUF, sys.SO_RCVBUFFORCE, wish)
      this.sendBufferBytes = growBuffer(this.fd, sys.SO_SNDBUF, sys.SO_SNDBUFFORCE, wish)
      const roomForGro = options.receive.size >= GRO_MESSAGE_SIZE
      this.gro = options.gro !== false && roomForGro && enableGro(this.fd)
      this.table = new EndpointTable(options.endpoints ?? ENDPOINTS, randomBytes(4).readInt32LE())
      this.sending = new MessageSender({
        fd: this.fd,
        memory: options.memory,
        endpoints: this.table,
        messages: options.sendMessages ?? SEND_MESSAGES,
        ranges: options.sendRanges ?? SEND_RANGES,
        gso: options.gso !== false && getOption(this.fd, sys.SOL_UDP, sys.UDP_SEGMENT) === 0,
      })
      this.receiving = new MessageReceiver({
        fd: this.fd,
        memory: options.memory,
        buffers: this.gro ? options.receive : (options.receiveWithoutGro ?? options.receive),
        endpoints: this.table,
        gro: this.gro,
      })
    } catch (error) {
      sys.sysClose(this.fd)
      throw error
    }
  }

  get features(): Features {
    const gso = this.sending.gsoV4 && (this.sending.gsoV6 || !this.ipv6)
    return { gso, gro: this.gro, ipv6: this.ipv6 }
  }

  get counters(): SendCounters & ReceiveCounters {
    return { ...this.sending.counters, ...this.receiving.counters }
  }

  /** Endpoints interned now. */
  get endpointCount(): number {
    return this.table.count
  }

  /** Interns a literal address and a port and returns a small integer; reference counted. -1 when
   * the table is full. Throws TypeError (ERR_INVALID_ADDRESS) or RangeError (ERR_SOCKET_BAD_PORT).
   * */
  endpoint(address: string, port: number): number {
    this.codec.encode(address, port)
    return this.table.intern(this.codec.words, 0)
  }

  /** Takes one more reference to a handle. Throws RangeError when it is not in use. */
  retain(endpoint: number): void {
    if (!this.table.retain(endpoint)) throw new RangeError(`endpoint ${endpoint} is not in use`)
  }

  /** Gives a handle back. Throws RangeError when it is not in use. */
  release(endpoint: number): void {
    if (!this.table.release(endpoint)) throw new RangeError(`endpoint ${endpoint} is not in use`)
  }

  /** "192.0.2.1:4789" or "[2001:db8::1]:4789". */
  describe(endpoint: number): string {
    const address = this.addressOf(endpoint)
    const port = this.codec.port()
    return this.codec.isV4() ? `${address}:${port}` : `[${address}]:${port}`
  }

  /** The literal address of a handle. */
  addressOf(endpoint: number): string {
    if (!this.table.used(endpoint)) throw new RangeError(`endpoint ${endpoint} is not in use`)
    this.codec.load(this.table.names, endpoint * NAME_STRIDE_WORDS)
    return this.codec.address()
  }

  /** The port of a handle. */
  portOf(endpoint: number): number {
    if (!this.table.used(endpoint)) throw new RangeError(`endpoint ${endpoint} is not in use`)
    this.codec.load(this.table.names, endpoint * NAME_STRIDE_WORDS)
    return this.codec.port()
  }

  /** Largest datagram the protocol allows to this endpoint, in payload bytes; the path may allow
   * less. */
  payloadSizeMax(endpoint: number): number {
    return this.table.isV6(endpoint) ? PAYLOAD_SIZE_MAX_V6 : PAYLOAD_SIZE_MAX_V4
  }

  /** Datagrams the kernel dropped because this socket's receive buffer was full (SO_MEMINFO). */
  receiveDrops(): number {
    if (this.closed) return 0
    return getOption(this.fd, sys.SOL_SOCKET, sys.SO_MEMINFO, MEMINFO_DROPS)
  }

  /** Closes the socket. A second call does nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.sending.detach()
    this.receiving.detach()
    sys.sysClose(this.fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Word SK_MEMINFO_DROPS of what SO_MEMINFO gives, <linux/sock_diag.h>. */
const MEMINFO_DROPS = 8

// Where socket options and names pass between the kernel and us: a value, then its size. Held for
// good, because nothing else would keep memory alive that the kernel knows only by its address.
const scratch: sys.PinnedMemory = sys.pin(128)
const SCRATCH_VALUE_SIZE = 64
const SCRATCH_SIZE = 64

interface Opened {
  fd: number
  codec: AddressCodec
}

/** Opens and binds, IPv6 first. IPv4 takes over when the host has no IPv6 at all, or, unless an
 * address was asked for, none to bind to. */
function open(options: BatchSocketOptions): Opened {
  if (options.ipv6 !== false) {
    try {
      return openFamily(sys.AF_INET6, options)
    } catch (error) {
      const code = (error as { code?: string }).code
      const retry =
        code === 'EAFNOSUPPORT' || (code === 'EADDRNOTAVAIL' && options.address === undefined)
      if (!retry) throw error
    }
  }
  return openFamily(sys.AF_INET, options)
}

function openFamily(family: number, options: BatchSocketOptions): Opened {
  const codec = new AddressCodec(family)
  const address = options.address ?? (family === sys.AF_INET6 ? '::' : '0.0.0.0')
  codec.encode(address, options.port ?? 0)
  const type = sys.SOCK_DGRAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC
  const fd = sys.sysSocket(family, type, 0)
  if (fd < 0) throw sys.systemError('socket', sys.errno(), 'the kernel gives no UDP socket')
  try {
    if (family === sys.AF_INET6) mustSet(fd, sys.IPPROTO_IPV6, sys.IPV6_V6ONLY, 0)
    if (options.reusePort) mustSet(fd, sys.SOL_SOCKET, sys.SO_REUSEPORT, 1)
    if (sys.sysBind(fd, codec.memory.address, NAME_SIZE) < 0) {
      throw bindError(sys.errno(), address, options.port ?? 0)
    }
  } catch (error) {
    sys.sysClose(fd)
    throw error
  }
  return { fd, codec }
}

function bindError(error: number, address: string, port: number): Error {
  const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const sentence =
    error === sys.EADDRINUSE
      ? `another socket already has ${where}; choose another port, or set reusePort on both`
      : error === sys.EADDRNOTAVAIL
        ? `this host has no address ${address}`
        : error === sys.EACCES
          ? `this process may not bind to ${where}`
          : `cannot bind to ${where}`
  return Object.assign(sys.systemError('bind', error, sentence), { address, port })
}

function boundPort(fd: number): number {
  scratch.view.setUint32(SCRATCH_SIZE, SCRATCH_VALUE_SIZE, true)
  if (sys.sysGetsockname(fd, scratch.address, scratch.address + SCRATCH_SIZE) < 0) {
    throw sys.systemError('getsockname', sys.errno(), 'the bound port cannot be read')
  }
  return scratch.view.getUint16(NAME_PORT)
}

function probePathMtu(fd: number, ipv6: boolean): void {
  mustSet(fd, sys.IPPROTO_IP, sys.IP_MTU_DISCOVER, sys.IP_PMTUDISC_PROBE)
  mustSet(fd, sys.IPPROTO_IP, sys.IP_RECVERR, 0)
  if (!ipv6) return
  mustSet(fd, sys.IPPROTO_IPV6, sys.IPV6_MTU_DISCOVER, sys.IP_PMTUDISC_PROBE)
  mustSet(fd, sys.IPPROTO_IPV6, sys.IPV6_RECVERR, 0)
}

/** Sets a buffer size, which net.core.rmem_max or wmem_max may cut, then by force, which only
 * CAP_NET_ADMIN of the host may. Returns what was got, which is twice what was granted. */
function growBuffer(fd: number, option: number, force: number, bytes: number): number {
  setOption(fd, sys.SOL_SOCKET, option, bytes)
  if (getOption(fd, sys.SOL_SOCKET, option) < 2 * bytes) {
    setOption(fd, sys.SOL_SOCKET, force, bytes)
  }
  return getOption(fd, sys.SOL_SOCKET, option)
}

/** Asks for UDP_GRO and reads it back: kernels before 5.12 cannot be asked, and are not to be
 * trusted. */
function enableGro(fd: number): boolean {
  return setOption(fd, sys.SOL_UDP, sys.UDP_GRO, 1) && getOption(fd, sys.SOL_UDP, sys.UDP_GRO) === 1
}

/** Sets an int option; false when the kernel refuses. */
export function setOption(fd: number, level: number, option: number, value: number): boolean {
  scratch.view.setInt32(0, value, true)
  return sys.sysSetsockopt(fd, level, option, scratch.address, 4) === 0
}

function mustSet(fd: number, level: number, option: number, value: number): void {
  if (setOption(fd, level, option, value)) return
  throw sys.systemError('setsockopt', sys.errno(), `option ${level}/${option} refused`)
}

/** Word `word` of an option's value, or -1 when the kernel does not know the option. */
function getOption(fd: number, level: number, option: number, word: number = 0): number {
  scratch.view.setUint32(SCRATCH_SIZE, SCRATCH_VALUE_SIZE, true)
  const size = scratch.address + SCRATCH_SIZE
  if (sys.sysGetsockopt(fd, level, option, scratch.address, size) < 0) return -1
  return scratch.view.getInt32(word * 4, true)
}
