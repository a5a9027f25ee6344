// ICMP errors that come to this host, by raw sockets (raw(7), ipv6(7)): the host's own stack gets
// them as before, and drops those about flows of published ports, for which it has no socket.
//
// A filter in the kernel lets nothing pass but the errors that routers and hosts send about packets
// of others: unreachable (with "fragmentation needed"), time exceeded, parameter problem, and
// "packet too big" of ICMPv6. A packet filter of the host has its say before (INPUT).
//
// A raw IPv4 socket hands over the whole packet, an IPv6 one what follows the headers. There the
// source is the message's name and the target its IPV6_PKTINFO; with them a header is made anew.

import type { ErrorSource } from '../../base/device.ts'
import type { Slab } from '../../base/slab.ts'
import { ICMP_PARAMETER_PROBLEM, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE } from '../../wire/icmp.ts'
import {
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
} from '../../wire/icmpv6.ts'
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from '../../wire/ipv4.ts'
import { IPV6_HEADER_SIZE, ipv6SourceAt, ipv6TargetAt, writeIpv6Header } from '../../wire/ipv6.ts'
import type { AddressFamily } from './address.ts'
import { EdgeError, errnoSentence, systemError } from './errors.ts'
import * as libc from './libc.ts'
import { ICMP_BUFFER_SIZE } from './limits.ts'

const SOL_RAW = 255
const SOL_IPV6 = 41
const SOL_ICMPV6 = 58
/** linux/icmp.h: a set bit keeps the type away. */
const ICMP_FILTER = 1
/** linux/icmpv6.h: the same, 256 bits. */
const ICMPV6_FILTER = 1
const IPV6_RECVPKTINFO = 49
const IPV6_PKTINFO = 50

const TYPES4 = [ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM]
const TYPES6 = [
  ICMPV6_UNREACHABLE,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_PARAMETER_PROBLEM,
]

const HOP_LIMIT = 64

/** Opens a socket for the errors of a family in the calling thread's network namespace. The
 * descriptor does not block and is closed on exec. Null where the host does not have the family.
 * Throws EdgeError NO_PERMISSION, SYSTEM. */
export function openIcmpSocket(family: AddressFamily): number | null {
  const kind = libc.SOCK_RAW | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
  const fd =
    family === 4
      ? libc.socket(libc.AF_INET, kind, PROTOCOL_ICMP)
      : libc.socket(libc.AF_INET6, kind, PROTOCOL_ICMPV6)
  const what = `raw ICMP socket for IPv${family}`
  if (fd === -libc.EAFNOSUPPORT) return null
  if (fd === -libc.EPERM || fd === -libc.EACCES) {
    const remedy = 'the agent needs CAP_NET_RAW for it'
    throw new EdgeError('NO_PERMISSION', what, `${what}: ${errnoSentence(fd)}`, remedy)
  }
  if (fd < 0) throw systemError('socket', what, fd)
  try {
    if (family === 4) set(fd, SOL_RAW, ICMP_FILTER, filterOf(TYPES4, 1))
    else {
      set(fd, SOL_ICMPV6, ICMPV6_FILTER, filterOf(TYPES6, 8))
      set(fd, SOL_IPV6, IPV6_RECVPKTINFO, [1])
    }
    // The kernel doubles the wish, for what it needs itself.
    set(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, [ICMP_BUFFER_SIZE / 2])
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

/** A filter of `words` words that lets only `types` pass. */
function filterOf(types: readonly number[], words: number): number[] {
  const filter = new Array<number>(words).fill(-1)
  for (const type of types) filter[type >> 5]! &= ~(1 << (type & 31))
  return filter
}

function set(fd: number, level: number, option: number, words: readonly number[]): void {
  const value = libc.allocatePinned(4 * words.length)
  words.forEach((word, i) => {
    value.writeInt32LE(word, 4 * i)
  })
  const result = libc.setsockopt(fd, level, option, libc.addressOf(value), value.length)
  if (result < 0) throw systemError('setsockopt', `raw ICMP socket, option ${option}`, result)
}

/** An ErrorSource over a socket of openIcmpSocket(). The descriptor stays the caller's. */
export function errorSource(fd: number, family: AddressFamily, slab: Slab): ErrorSource {
  return family === 4 ? new IcmpSource(fd, slab) : new Icmpv6Source(fd, slab)
}

class IcmpSource implements ErrorSource {
  readonly fd: number
  private readonly slabAddress: number

  constructor(fd: number, slab: Slab) {
    this.fd = fd
    this.slabAddress = slab.address
  }

  read(at: number, capacity: number): number {
    return libc.read(this.fd, this.slabAddress + at, capacity)
  }
}

// struct msghdr: name, namelen (4 of 8 bytes), iov, iovlen, control, controllen, flags. Then, in
// the same memory, struct iovec, struct sockaddr_in6 and one control message: cmsghdr (len, level,
// type) and in6_pktinfo (address, interface).
const HEADER_SIZE = 56
const NAME_SIZE_AT = 8
const CONTROL_SIZE_AT = 40
const IOVEC_AT: number = HEADER_SIZE
const NAME_AT: number = IOVEC_AT + 16
const NAME_SIZE = 28
const NAME_ADDRESS_AT: number = NAME_AT + 8
const CONTROL_AT: number = NAME_AT + 32
const CONTROL_SIZE = 40
const CONTROL_LEVEL_AT: number = CONTROL_AT + 8
const CONTROL_TYPE_AT: number = CONTROL_AT + 12
const CONTROL_ADDRESS_AT: number = CONTROL_AT + 16
const MESSAGE_SIZE: number = CONTROL_AT + CONTROL_SIZE
const WORD = 2 ** 32

class Icmpv6Source implements ErrorSource {
  readonly fd: number
  private readonly slab: Slab
  private readonly message: Buffer
  private readonly messageAddress: number

  constructor(fd: number, slab: Slab) {
    this.fd = fd
    this.slab = slab
    this.message = libc.allocatePinned(MESSAGE_SIZE)
    this.messageAddress = libc.addressOf(this.message)
    this.point(0, this.messageAddress + NAME_AT)
    this.point(16, this.messageAddress + IOVEC_AT)
    this.message[24] = 1
    this.point(32, this.messageAddress + CONTROL_AT)
  }

  read(at: number, capacity: number): number {
    const { message, slab } = this
    const icmp = at + IPV6_HEADER_SIZE
    this.point(IOVEC_AT, slab.address + icmp)
    message.writeUInt32LE(capacity - IPV6_HEADER_SIZE, IOVEC_AT + 8)
    message.writeUInt32LE(NAME_SIZE, NAME_SIZE_AT)
    message.writeUInt32LE(CONTROL_SIZE, CONTROL_SIZE_AT)
    message.fill(0, CONTROL_AT)
    const size = libc.recvmsg(this.fd, this.messageAddress)
    if (size < 0) return size
    writeIpv6Header(slab.view, at, size, PROTOCOL_ICMPV6, HOP_LIMIT)
    const hasTarget =
      message.readUInt32LE(CONTROL_LEVEL_AT) === SOL_IPV6 &&
      message.readUInt32LE(CONTROL_TYPE_AT) === IPV6_PKTINFO
    // To nobody: a packet that is cut short.
    if (!hasTarget) return IPV6_HEADER_SIZE
    this.copyAddress(NAME_ADDRESS_AT, ipv6SourceAt(at))
    this.copyAddress(CONTROL_ADDRESS_AT, ipv6TargetAt(at))
    return IPV6_HEADER_SIZE + size
  }

  private copyAddress(from: number, to: number): void {
    const { bytes } = this.slab
    for (let i = 0; i < 16; i++) bytes[to + i] = this.message[from + i]!
  }

  private point(at: number, address: number): void {
    this.message.writeUInt32LE(address % WORD, at)
    this.message.writeUInt32LE(Math.floor(address / WORD), at + 4)
  }
}
