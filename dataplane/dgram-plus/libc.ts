// The system calls of the package, bound once through koffi. Pointers are declared int64_t and
// passed as plain numbers: user-space addresses fit in 47 bits, so a double carries them exactly,
// and a call costs a third of one that takes a Buffer. The memory behind such a number must be
// pinned; `pin` says how.
//
// Linux on x86_64 and arm64 only: the layouts in layout.ts are little-endian LP64.

import { arch, constants, endianness, platform } from 'node:os'
import koffi from 'koffi'

if (platform() !== 'linux' || endianness() !== 'LE' || !['x64', 'arm64'].includes(arch())) {
  throw new Error(`dgram-plus runs on Linux x86_64 and arm64, not on ${platform()} ${arch()}`)
}

const libc = koffi.load(null)

type Call<A extends number[]> = (...args: A) => number

export const sysSocket: Call<[domain: number, type: number, protocol: number]> = libc.func(
  'int socket(int, int, int)',
)
export const sysClose: Call<[fd: number]> = libc.func('int close(int)')
export const sysBind: Call<[fd: number, name: number, size: number]> = libc.func(
  'int bind(int, int64_t, unsigned int)',
)
export const sysGetsockname: Call<[fd: number, name: number, size: number]> = libc.func(
  'int getsockname(int, int64_t, int64_t)',
)
export const sysSetsockopt: Call<
  [fd: number, level: number, option: number, value: number, size: number]
> = libc.func('int setsockopt(int, int, int, int64_t, unsigned int)')
export const sysGetsockopt: Call<
  [fd: number, level: number, option: number, value: number, size: number]
> = libc.func('int getsockopt(int, int, int, int64_t, int64_t)')
export const sysSendmmsg: Call<[fd: number, messages: number, count: number, flags: number]> =
  libc.func('int sendmmsg(int, int64_t, unsigned int, int)')
export const sysRecvmmsg: Call<
  [fd: number, messages: number, count: number, flags: number, timeout: number]
> = libc.func('int recvmmsg(int, int64_t, unsigned int, int, int64_t)')
export const sysPoll: Call<[fds: number, count: number, timeoutMs: number]> = libc.func(
  'int poll(int64_t, unsigned long, int)',
)
export const sysInetPton: (family: number, text: string, to: number) => number = libc.func(
  'int inet_pton(int, str, int64_t)',
)
export const sysInetNtop: (
  family: number,
  from: number,
  to: number,
  size: number,
) => string | null = libc.func('str inet_ntop(int, int64_t, int64_t, unsigned int)')
export const sysIfNametoindex: (name: string) => number = libc.func(
  'unsigned int if_nametoindex(str)',
)

/** errno of the last call of this thread. */
export const errno: () => number = koffi.errno

// <bits/socket.h>, <netinet/in.h>, <linux/udp.h>: the same numbers on every Linux architecture we
// run on.
export const AF_INET = 2
export const AF_INET6 = 10
export const SOCK_DGRAM = 2
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_SNDBUF = 7
export const SO_RCVBUF = 8
export const SO_REUSEPORT = 15
export const SO_SNDBUFFORCE = 32
export const SO_RCVBUFFORCE = 33
export const SO_MEMINFO = 55
export const IPPROTO_IP = 0
export const IP_MTU_DISCOVER = 10
export const IP_RECVERR = 11
export const IP_PMTUDISC_PROBE = 3
export const IPPROTO_IPV6 = 41
export const IPV6_MTU_DISCOVER = 23
export const IPV6_RECVERR = 25
export const IPV6_V6ONLY = 26
export const SOL_UDP = 17
export const UDP_SEGMENT = 103
export const UDP_GRO = 104
export const MSG_TRUNC = 0x20
export const MSG_DONTWAIT = 0x40
export const POLLIN = 1
export const POLLOUT = 4

// <asm-generic/errno.h>, which x86_64 and arm64 share.
export const EINTR = 4
export const EIO = 5
export const EAGAIN = 11
export const EACCES = 13
export const EINVAL = 22
export const EMSGSIZE = 90
export const ENOPROTOOPT = 92
export const EAFNOSUPPORT = 97
export const EADDRINUSE = 98
export const EADDRNOTAVAIL = 99
export const ENOBUFS = 105
export const ECONNREFUSED = 111

/** Memory that the kernel may write to: it neither moves nor goes away while the object is held. */
export interface PinnedMemory {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Machine address of byte 0, as a plain number. */
  readonly address: number
}

/** Allocates `size` bytes, zeroed and pinned. The backing store of a plain ArrayBuffer lies outside
 * the JavaScript heap; a small `new Uint8Array(n)` may lie inside, where the collector moves it. */
export function pin(size: number): PinnedMemory {
  const buffer = new ArrayBuffer(size)
  const bytes = new Uint8Array(buffer)
  return { bytes, view: new DataView(buffer), address: Number(koffi.address(bytes)) }
}

/** Name of an errno value ("EAGAIN"), or "errno N". */
export function errorCode(value: number): string {
  for (const [name, number] of Object.entries(constants.errno)) {
    if (number === value) return name
  }
  return `errno ${value}`
}

/** An operating error in the shape of Node's own: `code`, `errno` (negative, as Node has it),
 * `syscall`. */
export function systemError(syscall: string, value: number, sentence: string): Error {
  const code = errorCode(value)
  return Object.assign(new Error(`${syscall} ${code}: ${sentence}`), {
    code,
    errno: -value,
    syscall,
  })
}
