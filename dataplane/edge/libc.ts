// The one place where libc is declared. koffi calls it without a native addon; a call with integers
// costs 32-40 ns and a pointer passed as a plain number costs the same, where a Buffer argument
// costs 95 ns: so every pointer here is a number, taken once with addressOf() from memory that does
// not move.
//
// Every function returns what the system call returned, or -errno: one convention for the whole
// edge, and the one of base/device.ts. Return values are declared `int` although ssize_t is wider:
// no call here moves 2 GB, and -1 reads the same in 32 bits.

import { constants } from 'node:os'
import koffi from 'koffi'

const library = koffi.load(null)

type Call = (...parameters: (number | string)[]) => number

function declare(name: string, parameters: string[], result = 'int'): Call {
  return library.func(name, result, parameters) as Call
}

const open_ = declare('open', ['str', 'int', 'int'])
const close_ = declare('close', ['int'])
const closeAside_ = library.func('close', 'int', ['int'])
const read_ = declare('read', ['int', 'int64_t', 'int64_t'])
const write_ = declare('write', ['int', 'int64_t', 'int64_t'])
const readv_ = declare('readv', ['int', 'int64_t', 'int'])
const writev_ = declare('writev', ['int', 'int64_t', 'int'])
const ioctl_ = declare('ioctl', ['int', 'int64_t', 'int64_t'])
const socket_ = declare('socket', ['int', 'int', 'int'])
const setsockopt_ = declare('setsockopt', ['int', 'int', 'int', 'int64_t', 'int'])
const recvmsg_ = declare('recvmsg', ['int', 'int64_t', 'int'])
const getsockopt_ = declare('getsockopt', ['int', 'int', 'int', 'int64_t', 'int64_t'])
const setns_ = declare('setns', ['int', 'int'])
const unshare_ = declare('unshare', ['int'])
const mount_ = declare('mount', ['str', 'str', 'str', 'uint64_t', 'str'])
const unmount_ = declare('umount2', ['str', 'int'])
const flock_ = declare('flock', ['int', 'int'])
const eventfd_ = declare('eventfd', ['uint', 'int'])
const epollCreate_ = declare('epoll_create1', ['int'])
const epollControl_ = declare('epoll_ctl', ['int', 'int', 'int', 'int64_t'])
const epollWait_ = declare('epoll_wait', ['int', 'int64_t', 'int', 'int'])
const getrusage_ = declare('getrusage', ['int', 'int64_t'])
const setaffinity_ = declare('sched_setaffinity', ['int', 'int64_t', 'int64_t'])
const mmap_ = declare('mmap', ['int64_t', 'int64_t', 'int', 'int', 'int', 'int64_t'], 'int64_t')
const munmap_ = declare('munmap', ['int64_t', 'int64_t'])
const mprotect_ = declare('mprotect', ['int64_t', 'int64_t', 'int'])
const schedYield_ = declare('sched_yield', [])
const madvise_ = declare('madvise', ['int64_t', 'int64_t', 'int'])
const abort_ = declare('abort', [], 'void')
const pipe_ = declare('pipe2', ['int64_t', 'int'])
const waitpid_ = declare('waitpid', ['int', 'int64_t', 'int'])
const spawning = declareSpawning()

interface Spawning {
  readonly init: Call
  readonly flags: Call
  readonly defaults: Call
  readonly mask: Call
  readonly destroy: Call
  readonly open: Call
  readonly dup: Call
  readonly end: Call
  readonly run: Call
  readonly fill: Call
  readonly empty: Call
}

function declareSpawning(): Spawning | null {
  const pointer = 'int64_t'
  try {
    return {
      init: declare('posix_spawnattr_init', [pointer]),
      flags: declare('posix_spawnattr_setflags', [pointer, 'short']),
      defaults: declare('posix_spawnattr_setsigdefault', [pointer, pointer]),
      mask: declare('posix_spawnattr_setsigmask', [pointer, pointer]),
      destroy: declare('posix_spawnattr_destroy', [pointer]),
      open: declare('posix_spawn_file_actions_init', [pointer]),
      dup: declare('posix_spawn_file_actions_adddup2', [pointer, 'int', 'int']),
      end: declare('posix_spawn_file_actions_destroy', [pointer]),
      run: declare('posix_spawn', [pointer, 'str', pointer, pointer, pointer, pointer]),
      fill: declare('sigfillset', [pointer]),
      empty: declare('sigemptyset', [pointer]),
    }
  } catch {
    return null
  }
}

/** posixSpawn() can be called. */
export const canSpawn: boolean = spawning !== null

function checked(result: number): number {
  return result === -1 ? -koffi.errno() : result
}

export const EPERM: number = constants.errno.EPERM
export const ENOENT: number = constants.errno.ENOENT
export const EINTR: number = constants.errno.EINTR
export const EAGAIN: number = constants.errno.EAGAIN
export const EACCES: number = constants.errno.EACCES
export const EBUSY: number = constants.errno.EBUSY
export const EINVAL: number = constants.errno.EINVAL
export const ENXIO: number = constants.errno.ENXIO
export const ENODEV: number = constants.errno.ENODEV
export const EAFNOSUPPORT: number = constants.errno.EAFNOSUPPORT
export const EMSGSIZE: number = constants.errno.EMSGSIZE
export const ENOBUFS: number = constants.errno.ENOBUFS

export const O_RDONLY = 0
export const O_RDWR = 2
export const O_NONBLOCK = 0o4000
export const O_CLOEXEC = 0o2000000
/** Linux (sched.h): the network namespace. */
export const CLONE_NEWNET = 0x40000000
export const MS_BIND = 4096
export const MNT_DETACH = 2
export const AF_INET = 2
export const AF_INET6 = 10
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SO_RCVBUF = 8
/** A number no other network namespace of this boot has (linux 5.14, asm-generic/socket.h). */
export const SO_NETNS_COOKIE = 71
export const LOCK_EX = 2
export const LOCK_NB = 4
export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLLIN = 1
export const RUSAGE_THREAD = 1
export const PROT_NONE = 0
export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_PRIVATE = 0x02
export const MAP_ANONYMOUS = 0x20
export const MAP_NORESERVE = 0x4000
export const MAP_FIXED_NOREPLACE = 0x100000
/** Bytes of a page of memory at least; kernels for aarch64 may have larger ones. */
export const PAGE_SIZE = 4096
export const MADV_HUGEPAGE = 14
export const MADV_NOHUGEPAGE = 15

/** Machine address of pinned memory: only for what allocatePinned() or mmap gave. */
export function addressOf(memory: ArrayBufferView): number {
  return Number(koffi.address(memory))
}

/** Memory whose bytes never move: V8 keeps the store of a slow Buffer outside its moving heap for
 * as long as the Buffer is referenced. Zeroed. */
export function allocatePinned(size: number): Buffer {
  return Buffer.allocUnsafeSlow(size).fill(0)
}

const statics: Buffer[] = []

/** Pinned memory that lives as long as the thread: for a module that keeps an address and no
 * reference. V8 collects a module's variable that no function captures, however it was declared,
 * and the kernel would go on writing to where it was. */
export function allocateStatic(size: number): Buffer {
  const memory = allocatePinned(size)
  statics.push(memory)
  return memory
}

/** A view over memory at a machine address. The memory must outlive the view. */
export function memoryAt(address: number, size: number): ArrayBuffer {
  return koffi.view(address, size) as ArrayBuffer
}

export function open(path: string, flags: number, mode = 0): number {
  return checked(open_(path, flags, mode))
}

export function close(fd: number): number {
  return checked(close_(fd))
}

/** close() on a thread of the pool: for what takes the kernel so long that the calling thread must
 * not wait, the end of a network device. Resolves when it is over, whatever came of it. */
export function closeAside(fd: number): Promise<void> {
  return new Promise((closed) => closeAside_.async(fd, () => closed()))
}

export function read(fd: number, address: number, size: number): number {
  const result = read_(fd, address, size)
  return result < 0 ? -koffi.errno() : result
}

export function write(fd: number, address: number, size: number): number {
  const result = write_(fd, address, size)
  return result < 0 ? -koffi.errno() : result
}

export function readv(fd: number, iovecs: number, count: number): number {
  const result = readv_(fd, iovecs, count)
  return result < 0 ? -koffi.errno() : result
}

export function writev(fd: number, iovecs: number, count: number): number {
  const result = writev_(fd, iovecs, count)
  return result < 0 ? -koffi.errno() : result
}

/** `parameter` is a machine address or, for the requests that want one, a plain value. */
export function ioctl(fd: number, request: number, parameter: number): number {
  return checked(ioctl_(fd, request, parameter))
}

export function socket(family: number, type: number, protocol: number): number {
  return checked(socket_(family, type, protocol))
}

export function getsockopt(
  fd: number,
  level: number,
  option: number,
  value: number,
  size: number,
): number {
  return checked(getsockopt_(fd, level, option, value, size))
}

export function setsockopt(
  fd: number,
  level: number,
  option: number,
  value: number,
  size: number,
): number {
  return checked(setsockopt_(fd, level, option, value, size))
}

/** `message` is the address of a struct msghdr. */
export function recvmsg(fd: number, message: number): number {
  const result = recvmsg_(fd, message, 0)
  return result < 0 ? -koffi.errno() : result
}

/** Moves the calling thread, and it alone, into the namespace that `fd` stands for. */
export function setns(fd: number, kind: number): number {
  return checked(setns_(fd, kind))
}

export function unshare(flags: number): number {
  return checked(unshare_(flags))
}

export function mount(source: string, target: string, flags: number): number {
  return checked(mount_(source, target, 'none', flags, ''))
}

export function unmount(target: string, flags: number): number {
  return checked(unmount_(target, flags))
}

export function flock(fd: number, operation: number): number {
  return checked(flock_(fd, operation))
}

export function eventfd(initial: number, flags: number): number {
  return checked(eventfd_(initial, flags))
}

export function epollCreate(flags: number): number {
  return checked(epollCreate_(flags))
}

export function epollControl(epoll: number, operation: number, fd: number, event: number): number {
  return checked(epollControl_(epoll, operation, fd, event))
}

export function epollWait(epoll: number, events: number, count: number, timeoutMs: number): number {
  const result = epollWait_(epoll, events, count, timeoutMs)
  return result < 0 ? -koffi.errno() : result
}

/** Low mappings are tried at multiples of this, and so often. */
const LOW_STEP: number = 2 ** 20
const LOW_TRIES = 16
/** Where low mappings begin, and where they must end: addresses below 2^31 are small integers to
 * V8 and take napi's shortest way into a call (17 ns less for the two calls of a seal). */
const LOW_FIRST = 0x20000000
const LOW_END = 0x7f000000
let lowNext = LOW_FIRST

/** Anonymous private memory, zero and not resident until touched, at a low address if one is free.
 * Returns its address or -errno. */
export function mmapAnonymous(size: number): number {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
  const protection = PROT_READ | PROT_WRITE
  const step = Math.ceil(size / LOW_STEP) * LOW_STEP
  for (let tries = 0; tries < LOW_TRIES && lowNext + step <= LOW_END; tries++) {
    const wish = lowNext
    lowNext += step
    // A kernel older than 4.17 does not know the flag and may map elsewhere, which is as good.
    const got = checked(mmap_(wish, size, protection, flags | MAP_FIXED_NOREPLACE, -1, 0))
    if (got >= 0) return got
  }
  return checked(mmap_(0, size, protection, flags, -1, 0))
}

export function munmap(address: number, size: number): number {
  return checked(munmap_(address, size))
}

export function mprotect(address: number, size: number, protection: number): number {
  return checked(mprotect_(address, size, protection))
}

/** Lets other runnable threads of this core go first. */
export function yieldCore(): void {
  schedYield_()
}

export function madvise(address: number, size: number, advice: number): number {
  return checked(madvise_(address, size, advice))
}

const cpuSet = allocateStatic(128)
const cpuSetAddress = addressOf(cpuSet)

/** Pins the calling thread to processor `cpu` (0..1023). Returns 0 or -errno. */
export function pinThread(cpu: number): number {
  if (cpu < 0 || cpu >= cpuSet.length * 8) return -EINVAL
  cpuSet.fill(0)
  cpuSet[cpu >> 3] = 1 << (cpu & 7)
  return checked(setaffinity_(0, cpuSet.length, cpuSetAddress))
}

export interface ThreadUsage {
  userUs: number
  systemUs: number
  /** Times the thread gave the processor up itself, to wait. */
  voluntarySwitches: number
  /** Times the processor was taken from it: others want the core. */
  involuntarySwitches: number
}

// struct rusage (linux/resource.h): utime at 0, stime at 16, nvcsw at 128, nivcsw at 136; all
// longs.
const usage = allocateStatic(144)
const usageAddress = addressOf(usage)
const usageView = new DataView(usage.buffer, usage.byteOffset, usage.length)

function timeUs(at: number): number {
  return usageView.getUint32(at, true) * 1e6 + usageView.getUint32(at + 8, true)
}

/** Writes what the calling thread has used so far into `out`. Returns 0 or -errno. */
export function threadUsage(out: ThreadUsage): number {
  const result = getrusage_(RUSAGE_THREAD, usageAddress)
  if (result < 0) return -koffi.errno()
  out.userUs = timeUs(0)
  out.systemUs = timeUs(16)
  out.voluntarySwitches = usageView.getUint32(128, true)
  out.involuntarySwitches = usageView.getUint32(136, true)
  return 0
}

/** Ends the process at once, from any thread: for a broken invariant that must not be survived. */
export function abort(): never {
  abort_()
  throw new Error('unreachable: abort() returned')
}

export interface Pipe {
  readonly read: number
  readonly write: number
}

const ends = allocateStatic(8)
const endsAddress = addressOf(ends)

/** Both ends of a pipe that no child inherits. Throws where the process has no more descriptors. */
export function pipe(): Pipe {
  const result = checked(pipe_(endsAddress, O_CLOEXEC))
  if (result < 0) throw new Error(`pipe2: errno ${-result}`)
  return { read: ends.readInt32LE(0), write: ends.readInt32LE(4) }
}

const waited = allocateStatic(4)
const waitedAddress = addressOf(waited)
const WNOHANG = 1

/** Takes leave of a child that has ended: its status as waitpid(2) gives it. Null while it runs. */
export function waitpid(pid: number): number | null {
  return waitpid_(pid, waitedAddress, WNOHANG) === pid ? waited.readInt32LE(0) : null
}

// Opaque types of libc, some 340 and 80 bytes in glibc and musl; a sigset_t is 128.
const attributes = addressOf(allocateStatic(1024))
const actions = addressOf(allocateStatic(1024))
const allSignals = addressOf(allocateStatic(128))
const noSignals = addressOf(allocateStatic(128))
/** POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK (spawn.h). */
const SPAWN_FLAGS = 0x04 | 0x08

/** What a call in hand points to: V8 collects a Buffer of which only the address is in use. */
const held: Buffer[] = []

/** Starts the program at `path` with the descriptors of `streams` as its 0, 1 and 2, all signals at
 * their defaults and none blocked. Returns its pid, or -errno, also where the program could not be
 * run. `parameters` begin with its name. */
export function posixSpawn(
  path: string,
  parameters: readonly string[],
  environment: readonly string[],
  streams: readonly number[],
): number {
  const argv = pointers(parameters)
  const envp = pointers(environment)
  held.push(argv, envp)
  const { init, flags, defaults, mask, destroy, open, dup, end, run, fill, empty } = spawning!
  init(attributes)
  open(actions)
  fill(allSignals)
  empty(noSignals)
  flags(attributes, SPAWN_FLAGS)
  defaults(attributes, allSignals)
  mask(attributes, noSignals)
  streams.forEach((fd, n) => {
    dup(actions, fd, n)
  })
  const result = run(waitedAddress, path, actions, attributes, addressOf(argv), addressOf(envp))
  held.length = 0
  end(actions)
  destroy(attributes)
  return result === 0 ? waited.readInt32LE(0) : -result
}

/** A char *[] with its strings behind it. */
function pointers(words: readonly string[]): Buffer {
  const texts = words.map((word) => Buffer.from(`${word}\0`))
  const head = 8 * (words.length + 1)
  const memory = allocatePinned(texts.reduce((size, text) => size + text.length, head))
  const address = addressOf(memory)
  let at = head
  for (const [n, text] of texts.entries()) {
    memory.writeBigUInt64LE(BigInt(address + at), 8 * n)
    memory.set(text, at)
    at += text.length
  }
  return memory
}
