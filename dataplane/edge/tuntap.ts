// Opening TAP and TUN devices with a virtio-net header and segmentation offload, in any network
// namespace. A device lives as long as its descriptor, unless it is made persistent: then it
// outlives the agent, and the next agent takes it over, with the container that uses it still
// running.
//
// What the kernel is told: IFF_NO_PI (no 4-byte prefix), IFF_VNET_HDR (each frame begins with the
// 10-byte header of linux/virtio_net.h), and TUNSETOFFLOAD: we take frames whose checksum is not
// yet computed and TCP super-packets of up to 64 KB, and UDP ones where the kernel knows USO (6.2).
// TSO_ECN is not asked for: a super-packet with CWR would have to be split by other rules (RFC
// 3168).

import { readdirSync, readFileSync } from 'node:fs'
import process from 'node:process'
import { DEVICE_GONE } from '../../base/device.ts'
import { VNET_HEADER_SIZE } from '../../wire/vnet.ts'
import { EdgeError, errnoSentence, systemError } from './errors.ts'
import * as libc from './libc.ts'
import { DEVICE_NAME_SIZE_MAX, HOLDER_SCAN_COUNT_MAX } from './limits.ts'
import { inNamespace, type NetworkNamespace, namespacePath } from './netns.ts'

const TUN_PATH = '/dev/net/tun'

// linux/if_tun.h
const TUNSETOWNER = 0x400454cc
const TUNSETIFF = 0x400454ca
const TUNSETPERSIST = 0x400454cb
const TUNSETOFFLOAD = 0x400454d0
const TUNGETVNETHDRSZ = 0x800454d7
const TUNSETVNETHDRSZ = 0x400454d8
const IFF_TUN = 0x0001
const IFF_TAP = 0x0002
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const IFF_TUN_EXCL = 0x8000
const TUN_F_CSUM = 0x01
const TUN_F_TSO4 = 0x02
const TUN_F_TSO6 = 0x04
const TUN_F_USO4 = 0x20
const TUN_F_USO6 = 0x40
const TUN_F_BASE = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6

export interface DeviceOptions {
  /** 1..15 bytes, no slash, no white space. */
  readonly name: string
  /** Where the device is to be; default the namespace of the calling thread. */
  readonly namespace?: NetworkNamespace
  /** True = the device outlives this process. Default false. */
  readonly persistent?: boolean
}

export interface OpenedDevice {
  readonly fd: number
  readonly name: string
  readonly kind: 'tap' | 'tun'
  /** True when the device was there before, persistent and held by nobody, and is now ours. */
  readonly adopted: boolean
  /** True when the kernel also gives and takes UDP super-packets (USO4 and USO6). */
  readonly udpSegmentation: boolean
}

/** Opens or takes over a TAP (Ethernet frames). The descriptor does not block and is closed on
 * exec. Throws EdgeError: NAMESPACE_*, TUN_MISSING, TUN_FORBIDDEN, DEVICE_TAKEN, NO_PERMISSION,
 * BAD_NAME. */
export function openTap(options: DeviceOptions): OpenedDevice {
  return openDevice('tap', options)
}

/** Opens or takes over a TUN (IP packets). See openTap. */
export function openTun(options: DeviceOptions): OpenedDevice {
  return openDevice('tun', options)
}

/** Makes an open device outlive its descriptor, or not. One that has gone with its namespace is
 * left alone. Throws EdgeError SYSTEM. */
export function setPersistent(device: OpenedDevice, persistent: boolean): void {
  const result = libc.ioctl(device.fd, TUNSETPERSIST, persistent ? 1 : 0)
  if (result < 0 && result !== DEVICE_GONE) throw systemError('TUNSETPERSIST', device.name, result)
}

// struct ifreq: the name in 16 bytes, then (for TUNSETIFF) 16 bits of flags; 40 bytes in all.
const request = libc.allocateStatic(40)
const requestAddress = libc.addressOf(request)

function openDevice(kind: 'tap' | 'tun', options: DeviceOptions): OpenedDevice {
  checkName(options.name)
  return inNamespace(options.namespace, () => {
    // The namespace of a device is that of the open() of /dev/net/tun, not of the ioctl.
    const fd = openTunFile()
    try {
      const adopted = attach(fd, kind, options)
      const udpSegmentation = enableOffload(fd, options.name)
      const opened = { fd, name: options.name, kind, adopted, udpSegmentation }
      if (options.persistent !== undefined) setPersistent(opened, options.persistent)
      own(fd, options.name)
      return opened
    } catch (error) {
      libc.close(fd)
      throw error
    }
  })
}

/** A persistent device without an owner may be attached by whoever can open /dev/net/tun in its
 * namespace (tun_not_capable() in drivers/net/tun.c): make it ours, for the time after a kill. */
function own(fd: number, name: string): void {
  const result = libc.ioctl(fd, TUNSETOWNER, process.geteuid?.() ?? 0)
  if (result < 0) throw systemError('TUNSETOWNER', name, result)
}

function checkName(name: string): void {
  const size = Buffer.byteLength(name)
  // dev_valid_name() in net/core/dev.c; '%' would be a pattern to TUNSETIFF.
  const wrong = size === 0 || size > DEVICE_NAME_SIZE_MAX || /[\s/:%]/.test(name)
  if (wrong || name === '.' || name === '..') {
    throw new EdgeError(
      'BAD_NAME',
      name,
      `'${name}' cannot be the name of a network device`,
      `use 1..${DEVICE_NAME_SIZE_MAX} bytes without white space, '/', ':' or '%'`,
    )
  }
}

function openTunFile(): number {
  const fd = libc.open(TUN_PATH, libc.O_RDWR | libc.O_NONBLOCK | libc.O_CLOEXEC)
  if (fd >= 0) return fd
  if (fd === -libc.EACCES || fd === -libc.EPERM) {
    throw new EdgeError(
      'TUN_FORBIDDEN',
      TUN_PATH,
      `${TUN_PATH} may not be opened`,
      'chmod 0666 it, or give the container `--device /dev/net/tun`',
    )
  }
  if (fd === -libc.ENOENT || fd === -libc.ENXIO || fd === -libc.ENODEV) {
    throw new EdgeError(
      'TUN_MISSING',
      TUN_PATH,
      `${TUN_PATH} is not there`,
      'load the driver with `modprobe tun`, or give the container `--device /dev/net/tun`',
    )
  }
  throw systemError('open', TUN_PATH, fd)
}

/** Attaches `fd` to the device; returns true when the device was there before. */
function attach(fd: number, kind: 'tap' | 'tun', options: DeviceOptions): boolean {
  const flags = (kind === 'tap' ? IFF_TAP : IFF_TUN) | IFF_NO_PI | IFF_VNET_HDR
  // First insist on making it: only so can a device of our own making be told from one that was
  // there.
  const made = setInterface(fd, options.name, flags | IFF_TUN_EXCL)
  if (made >= 0) return false
  if (made !== -libc.EBUSY && made !== -libc.EINVAL) throw attachError(made, kind, options)
  const adopted = setInterface(fd, options.name, flags)
  if (adopted < 0) throw attachError(adopted, kind, options)
  return true
}

function setInterface(fd: number, name: string, flags: number): number {
  request.fill(0)
  request.write(name, 0)
  request.writeUInt16LE(flags, 16)
  return libc.ioctl(fd, TUNSETIFF, requestAddress)
}

function attachError(errno: number, kind: 'tap' | 'tun', options: DeviceOptions): EdgeError {
  const { name } = options
  const where = options.namespace === undefined ? '' : ` in ${namespacePath(options.namespace)}`
  if (errno === -libc.EPERM || errno === -libc.EACCES) {
    return new EdgeError(
      'NO_PERMISSION',
      name,
      `no permission to make device ${name}${where}`,
      'run as root or with CAP_NET_ADMIN, or inside a user namespace that owns the network',
    )
  }
  if (errno === -libc.EBUSY) {
    return new EdgeError(
      'DEVICE_TAKEN',
      name,
      `device ${name}${where} is in use${describeHolder(name)}`,
      'end that process or choose another name',
    )
  }
  if (errno === -libc.EINVAL) {
    return new EdgeError(
      'DEVICE_TAKEN',
      name,
      `device ${name}${where} exists and is no ${kind.toUpperCase()} device`,
      `remove it with \`ip link del ${name}\` or choose another name`,
    )
  }
  return new EdgeError('SYSTEM', name, `TUNSETIFF ${name}${where}: ${errnoSentence(errno)}`)
}

/** " by process 123 (weft)" for the process that holds a TUN/TAP of this name, as far as /proc
 * tells. A device of the same name in another namespace looks alike there: hence only an only
 * candidate. */
function describeHolder(name: string): string {
  const holders: string[] = []
  for (const pid of listDirectory('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .slice(0, HOLDER_SCAN_COUNT_MAX)) {
    const holds = listDirectory(`/proc/${pid}/fdinfo`).some((fd) =>
      readText(`/proc/${pid}/fdinfo/${fd}`).includes(`iff:\t${name}\n`),
    )
    if (holds) holders.push(`${pid} (${readText(`/proc/${pid}/comm`).trim()})`)
  }
  return holders.length === 1 ? `, probably by process ${holders[0]}` : ''
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Returns whether UDP segmentation was accepted too. */
function enableOffload(fd: number, name: string): boolean {
  const size = libc.ioctl(fd, TUNGETVNETHDRSZ, requestAddress)
  if (size < 0) throw systemError('TUNGETVNETHDRSZ', name, size)
  if (request.readInt32LE(0) !== VNET_HEADER_SIZE) {
    // Only a device taken over from other software: a new one starts with 10.
    request.writeInt32LE(VNET_HEADER_SIZE, 0)
    const set = libc.ioctl(fd, TUNSETVNETHDRSZ, requestAddress)
    if (set < 0) throw systemError('TUNSETVNETHDRSZ', name, set)
  }
  const base = libc.ioctl(fd, TUNSETOFFLOAD, TUN_F_BASE)
  if (base < 0) throw systemError('TUNSETOFFLOAD', name, base)
  // Linux before 6.2 answers EINVAL, and keeps what was set just before.
  return libc.ioctl(fd, TUNSETOFFLOAD, TUN_F_BASE | TUN_F_USO4 | TUN_F_USO6) >= 0
}
