// Sockets that node:dgram does not have, through libc, for box-worker.ts: UDP and ICMP with DF and
// TTL of one's choice, and packet sockets (packet(7)). All are non-blocking; a result below zero is
// -errno.

import { isIPv6 } from 'node:net'
import koffi from 'koffi'

const lib = koffi.load(null)
const c = {
  socket: lib.func('int socket(int, int, int)'),
  bind: lib.func('int bind(int, const uint8_t*, uint32_t)'),
  connect: lib.func('int connect(int, const uint8_t*, uint32_t)'),
  setsockopt: lib.func('int setsockopt(int, int, int, const int32_t*, uint32_t)'),
  send: lib.func('intptr_t send(int, const uint8_t*, size_t, int)'),
  recv: lib.func('intptr_t recv(int, void*, size_t, int)'),
  ioctl: lib.func('int ioctl(int, unsigned long, uint8_t*)'),
  close: lib.func('int close(int)'),
  nametoindex: lib.func('uint32_t if_nametoindex(const char*)'),
}

const AF_INET = 2
const AF_INET6 = 10
const AF_PACKET = 17
const SOCK_DGRAM = 2
const SOCK_RAW = 3
const SOCK_NONBLOCK = 0o4000
const ETH_P_ALL_SWAPPED = 0x0300
const IPPROTO_ICMP = 1
const IPPROTO_ICMPV6 = 58
const SOL_IP = 0
const SOL_IPV6 = 41
const IP_TTL = 2
const IP_MTU_DISCOVER = 10
const IP_RECVERR = 11
const IPV6_UNICAST_HOPS = 16
const IPV6_MTU_DISCOVER = 23
const IPV6_RECVERR = 25
const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33
const SO_RCVBUF = 8
// linux/sockios.h, linux/ethtool.h
const SIOCETHTOOL = 0x8946
const ETHTOOL_STXCSUM = 0x17
const PMTUDISC_DONT = 0
const PMTUDISC_DO = 2
const RECEIVE_BUFFER_BYTES = 4 << 20

export const EAGAIN = 11

function result(value: number | bigint): number {
  return Number(value) < 0 ? -koffi.errno() : Number(value)
}

function must(value: number, what: string): number {
  if (value < 0) throw new Error(`${what}: errno ${-value}`)
  return value
}

/** struct sockaddr_in or sockaddr_in6 of a literal address; `scope` is the interface's index. */
function sockaddr(address: string, port: number, scope: number): Buffer {
  if (!isIPv6(address)) {
    const name = Buffer.alloc(16)
    name.writeUInt16LE(AF_INET, 0)
    name.writeUInt16BE(port, 2)
    name.set(address.split('.').map(Number), 4)
    return name
  }
  const name = Buffer.alloc(28)
  name.writeUInt16LE(AF_INET6, 0)
  name.writeUInt16BE(port, 2)
  const [head = '', tail] = address.split('::') as [string, string?]
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16))
  words(head).forEach((word, i) => {
    name.writeUInt16BE(word, 8 + 2 * i)
  })
  const rear = words(tail ?? '')
  rear.forEach((word, i) => {
    name.writeUInt16BE(word, 24 - 2 * rear.length + 2 * i)
  })
  name.writeUInt32LE(scope, 24)
  return name
}

export interface RawOptions {
  /** True: DF, and the kernel refuses what does not fit (IP_PMTUDISC_DO); false: it may
   * fragment. */
  readonly df?: boolean
  /** TTL or hop limit. */
  readonly ttl?: number
}

function option(fd: number, level: number, name: number, value: number): void {
  must(result(c.setsockopt(fd, level, name, Int32Array.of(value), 4)), `setsockopt ${name}`)
}

function tune(fd: number, v6: boolean, options: RawOptions): void {
  const [level, discover, recverr, ttl] = v6
    ? [SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_UNICAST_HOPS]
    : [SOL_IP, IP_MTU_DISCOVER, IP_RECVERR, IP_TTL]
  option(fd, level, discover, options.df === true ? PMTUDISC_DO : PMTUDISC_DONT)
  option(fd, level, recverr, 0)
  if (options.ttl !== undefined) option(fd, level, ttl, options.ttl)
}

function open(family: number, type: number, protocol: number): number {
  return must(result(c.socket(family, type | SOCK_NONBLOCK, protocol)), 'socket')
}

export class RawSocket {
  readonly fd: number
  private readonly buffer: Buffer = Buffer.alloc(1 << 17)

  constructor(fd: number) {
    this.fd = fd
  }

  /** A UDP socket connected to address:port, so that ICMP errors come back as -errno. */
  static udp(address: string, port: number, options: RawOptions): RawSocket {
    const v6 = isIPv6(address)
    const fd = open(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0)
    tune(fd, v6, options)
    return RawSocket.connected(fd, sockaddr(address, port, 0))
  }

  /** A socket for ICMP. It hears all ICMP of its family: for IPv4 with the IP header, for IPv6
   * without. */
  static icmp(address: string, options: RawOptions): RawSocket {
    const v6 = isIPv6(address)
    const fd = open(v6 ? AF_INET6 : AF_INET, SOCK_RAW, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)
    tune(fd, v6, options)
    return new RawSocket(fd)
  }

  /** A packet socket on a device: whole Ethernet frames both ways, its own included. */
  static packet(device: string): RawSocket {
    // Protocol 0 hears nothing: with another the socket would hear every interface until bound.
    const fd = open(AF_PACKET, SOCK_RAW, 0)
    const name = Buffer.alloc(20)
    name.writeUInt16LE(AF_PACKET, 0)
    name.writeUInt16LE(ETH_P_ALL_SWAPPED, 2)
    name.writeInt32LE(must(c.nametoindex(device) || -1, `interface ${device}`), 4)
    must(result(c.bind(fd, name, name.length)), `bind to ${device}`)
    const size = Int32Array.of(RECEIVE_BUFFER_BYTES)
    // The first needs a privilege outside the user namespace; the second takes what the limit
    // allows.
    if (c.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4) !== 0)
      c.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, size, 4)
    return new RawSocket(fd)
  }

  private static connected(fd: number, name: Buffer): RawSocket {
    must(result(c.connect(fd, name, name.length)), 'connect')
    return new RawSocket(fd)
  }

  /** Connects a socket of icmp() to the address it talks to. Returns 0 or -errno (no route,
   * say). */
  connect(address: string): number {
    const name = sockaddr(address, 0, 0)
    return result(c.connect(this.fd, name, name.length))
  }

  send(bytes: Uint8Array): number {
    return result(c.send(this.fd, bytes, bytes.length, 0))
  }

  /** What was received, as a view that the next call overwrites; or -errno, -EAGAIN when there
   * is nothing. */
  receive(): Buffer | number {
    const size = result(c.recv(this.fd, this.buffer, this.buffer.length, 0))
    return size < 0 ? size : this.buffer.subarray(0, size)
  }

  close(): void {
    c.close(this.fd)
  }
}

/** Turns the checksum offload of sending off (`ethtool -K DEVICE tx off`). A veth pair hands a
 * packet over with its checksum still to be made, also that of a packet inside a VXLAN frame; a
 * wire never does. */
export function checksumEarly(device: string): void {
  const fd = open(AF_INET, SOCK_DGRAM, 0)
  const value = Buffer.alloc(8)
  value.writeUInt32LE(ETHTOOL_STXCSUM, 0)
  // struct ifreq: the name, then a pointer to the command.
  const request = Buffer.alloc(40)
  request.write(device, 0, 'latin1')
  request.writeBigUInt64LE(BigInt(koffi.address(value)), 16)
  const done = result(c.ioctl(fd, SIOCETHTOOL, request))
  c.close(fd)
  must(done, `checksums of ${device}`)
}
