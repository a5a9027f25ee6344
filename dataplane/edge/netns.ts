// Network namespaces. setns(CLONE_NEWNET) moves one thread, so a descriptor made while the calling
// thread is away belongs to the other namespace and stays usable when it is back. Synchronous work
// on this thread (open, ioctl, /proc/sys/net) sees the other namespace in between; anything
// asynchronous would run at home, or worse, half here and half there: hence the callback must
// return plainly.

import { closeSync, openSync, readFileSync, readlinkSync, statSync, writeSync } from 'node:fs'
import { EdgeError, systemError } from './errors.ts'
import * as libc from './libc.ts'

/** A namespace file such as /run/netns/web1, or the id of a process that lives in the namespace. */
export type NetworkNamespace = string | number

/** The file that stands for a namespace. */
export function namespacePath(namespace: NetworkNamespace): string {
  return typeof namespace === 'number' ? `/proc/${namespace}/ns/net` : namespace
}

function openNamespace(namespace: NetworkNamespace): number {
  const path = namespacePath(namespace)
  const fd = libc.open(path, libc.O_RDONLY | libc.O_CLOEXEC)
  if (fd >= 0) return fd
  if (fd === -libc.EACCES || fd === -libc.EPERM) {
    throw new EdgeError(
      'NAMESPACE_FORBIDDEN',
      path,
      `network namespace ${path} may not be opened`,
      'run as root, or as the user who made it',
    )
  }
  const remedy =
    typeof namespace === 'number'
      ? `process ${namespace} has ended or never was`
      : '`ip netns list` shows the ones there are'
  throw new EdgeError('NAMESPACE_MISSING', path, `network namespace ${path} is not there`, remedy)
}

/** Runs `work` with the calling thread inside `namespace` and comes back, whatever happens;
 * undefined means stay here. `work` must be synchronous. Throws EdgeError NAMESPACE_MISSING,
 * NAMESPACE_FORBIDDEN or what `work` throws. When the way back fails the process aborts: a thread
 * lost in a foreign namespace would do all its later work there. */
export function inNamespace<T>(namespace: NetworkNamespace | undefined, work: () => T): T {
  if (namespace === undefined) return work()
  const target = openNamespace(namespace)
  try {
    return away(() => enter(target, namespacePath(namespace)), work)
  } finally {
    libc.close(target)
  }
}

const OWN = '/proc/thread-self/ns/net'

/** Has this thread leave its namespace by `leave`, work, and come back. */
function away<T>(leave: () => void, work: () => T): T {
  const home = libc.open(OWN, libc.O_RDONLY | libc.O_CLOEXEC)
  if (home < 0) throw systemError('open', OWN, home)
  try {
    leave()
    try {
      return work()
    } finally {
      const back = libc.setns(home, libc.CLONE_NEWNET)
      if (back < 0) {
        writeSync(
          2,
          `weft: cannot return to the own network namespace (errno ${-back}); aborting\n`,
        )
        libc.abort()
      }
    }
  } finally {
    libc.close(home)
  }
}

function enter(fd: number, path: string): void {
  const entered = libc.setns(fd, libc.CLONE_NEWNET)
  if (entered >= 0) return
  if (entered === -libc.EPERM) {
    throw new EdgeError(
      'NAMESPACE_FORBIDDEN',
      path,
      `network namespace ${path} may not be entered`,
      'run as root, or inside the user namespace that owns it',
    )
  }
  // EINVAL: the file is there but is no network namespace (an unmounted /run/netns entry, say).
  throw new EdgeError(
    'NAMESPACE_MISSING',
    path,
    `${path} is not a network namespace`,
    'make it with `ip netns add`, or name a process instead',
  )
}

const cookie = libc.allocateStatic(16)
const cookieAddress = libc.addressOf(cookie)

/** Tells this boot's network namespaces apart, also from ones that are gone: "boot id/cookie". The
 * inode number of the namespace stands in on kernels before 5.14, which have no cookie. */
export function namespaceIdentity(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_CLOEXEC, 0)
  if (fd < 0) throw systemError('socket', 'AF_INET', fd)
  cookie.fill(0)
  cookie.writeUInt32LE(8, 8)
  const result = libc.getsockopt(
    fd,
    libc.SOL_SOCKET,
    libc.SO_NETNS_COOKIE,
    cookieAddress,
    cookieAddress + 8,
  )
  libc.close(fd)
  if (result < 0) return `${boot}/inode-${statSync('/proc/thread-self/ns/net').ino}`
  return `${boot}/${cookie.readBigUInt64LE(0)}`
}

function unshareNetwork(): void {
  const left = libc.unshare(libc.CLONE_NEWNET)
  if (left >= 0) return
  throw new EdgeError(
    'NAMESPACE_FORBIDDEN',
    'thread',
    'a network namespace may not be made',
    'run as root, or inside a user namespace',
  )
}

// struct ifreq: the name in 16 bytes, then 16 bits of flags; 40 bytes in all (linux/if.h).
const request = libc.allocateStatic(40)
const requestAddress = libc.addressOf(request)
const SIOCSIFFLAGS = 0x8914
const IFF_UP = 1

/** Makes a network namespace that lives as long as it is mounted on the file at `path`, which is
 * made (mode 0600), with its loopback up. It takes the calling thread some 0.3 ms; two programs
 * would take ten times that. Throws EdgeError NAMESPACE_FORBIDDEN, SYSTEM. */
export function makeNetworkNamespace(path: string): void {
  closeSync(openSync(path, 'a', 0o600))
  away(unshareNetwork, () => {
    const mounted = libc.mount(OWN, path, libc.MS_BIND)
    if (mounted < 0) throw systemError('mount', path, mounted)
    const fd = libc.socket(libc.AF_INET, libc.SOCK_DGRAM | libc.SOCK_CLOEXEC, 0)
    if (fd < 0) throw systemError('socket', 'AF_INET', fd)
    request.fill(0)
    request.write('lo', 0)
    request.writeUInt16LE(IFF_UP, 16)
    const up = libc.ioctl(fd, SIOCSIFFLAGS, requestAddress)
    libc.close(fd)
    if (up < 0) throw systemError('SIOCSIFFLAGS', 'lo', up)
  })
}

/** Lets go of what makeNetworkNamespace() mounted: the namespace ends with its last process. The
 * file stays. A file that nothing is mounted on is left alone. Throws EdgeError SYSTEM. */
export function releaseNetworkNamespace(path: string): void {
  const left = libc.unmount(path, libc.MNT_DETACH)
  if (left < 0 && left !== -libc.EINVAL && left !== -libc.ENOENT) {
    throw systemError('umount', path, left)
  }
}

/** Moves the calling thread for good into a new network namespace, which ends with the thread, and
 * returns the path by which others get there. Sockets that the thread has open stay where they are;
 * what it opens from now on lies in the new one. Throws EdgeError NAMESPACE_FORBIDDEN. */
export function leaveNetworkNamespace(): string {
  unshareNetwork()
  const [pid, , tid] = readlinkSync('/proc/thread-self').split('/')
  return `/proc/${pid}/task/${tid}/ns/net`
}
