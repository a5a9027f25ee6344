// The few things that are done to every task's devices, asked of the kernel directly (rtnetlink(7))
// and not by two programs each, of which a start of hundreds of tasks is made otherwise. What is to
// be done is written as `ip -batch` would have it, so plans stay readable, and whatever a line says
// that is not in this vocabulary goes to `ip` itself:
//
//     link add name D address MAC type veth peer name P address MAC netns PATH
//     link set dev D [address MAC] [mtu N] [txqueuelen N] [gso_max_size N] [gso_max_segs N]
//                    [addrgenmode none] [up | down]
//     link del dev D
//     addr replace A/N dev D [nodad]
//     addr del A/N dev D
//     route replace default|A[/N] [via G] dev D [scope link] [table N]
//     neigh replace A lladdr MAC dev D nud permanent

import { isIP } from 'node:net'
import { addressBytes, canonicalAddress, familyOf } from './address.ts'
import { changeIp, type IpCommand, type IpOptions, type Tolerance } from './command.ts'
import { EdgeError, errnoSentence, systemError } from './errors.ts'
import * as libc from './libc.ts'
import { inNamespace } from './netns.ts'

const AF_NETLINK = 16
const SIOCGIFINDEX = 0x8933
const MESSAGE_MAX = 1024

// linux/netlink.h
const NLMSG_ERROR = 2
const REQUEST = 1 | 4 // NLM_F_REQUEST, NLM_F_ACK
const REPLACE = 0x100
const EXCLUSIVE = 0x200
const CREATE = 0x400
// linux/rtnetlink.h
const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_NEWROUTE = 24
const RTM_NEWNEIGH = 28
const RTPROT_BOOT = 3
const RT_SCOPE_LINK = 253
const RT_TABLE_MAIN = 254
const RTN_UNICAST = 1
const RTA = { dst: 1, oif: 4, gateway: 5, table: 15 } as const
// linux/if_link.h
const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  txqueuelen: 13,
  info: 18,
  afSpec: 26,
  netnsFd: 28,
  gso_max_segs: 40,
  gso_max_size: 41,
} as const
const IFLA_INFO_KIND = 1
const IFLA_INFO_DATA = 2
const VETH_INFO_PEER = 1
const IFLA_INET6_ADDR_GEN_MODE = 8
const ADDR_GEN_MODE_NONE = 1
const IFF_UP = 1
// linux/if_addr.h, linux/neighbour.h
const IFA = { address: 1, local: 2, flags: 8 } as const
const IFA_F_NODAD = 2
const NDA = { dst: 1, lladdr: 2 } as const
const NUD_PERMANENT = 0x80

const out = libc.allocateStatic(MESSAGE_MAX)
const outAddress = libc.addressOf(out)
const answer = libc.allocateStatic(MESSAGE_MAX)
const answerAddress = libc.addressOf(answer)

/** A line that is `ip`'s. */
class Unknown extends Error {}

/** The message being written; there is one at a time. */
let end = 0

function begin(type: number, flags: number, header: readonly number[]): void {
  out.fill(0)
  out.writeUInt16LE(type, 4)
  out.writeUInt16LE(REQUEST | flags, 6)
  out.set(header, 16)
  end = 16 + header.length
}

function attribute(type: number, bytes: Uint8Array): void {
  out.writeUInt16LE(4 + bytes.length, end)
  out.writeUInt16LE(type, end + 2)
  out.set(bytes, end + 4)
  end += 4 + ((bytes.length + 3) & ~3)
}

/** An attribute whose content is what `write` writes. */
function nested(type: number, write: () => void): void {
  const start = end
  out.writeUInt16LE(type, start + 2)
  end += 4
  write()
  out.writeUInt16LE(end - start, start)
}

const number = (value: number): Uint8Array => Uint8Array.from(word(value))
const text = (value: string): Uint8Array => Buffer.from(`${value}\0`)
const word = (value: number): number[] => [
  value & 255,
  (value >> 8) & 255,
  (value >> 16) & 255,
  (value >>> 24) & 255,
]

function mac(value: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(value)) throw new Unknown()
  return Uint8Array.from(value.split(':').map((byte) => Number.parseInt(byte, 16)))
}

function whole(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new Unknown()
  return Number(value)
}

/** Bytes of an address and its prefix length, by default all of it. */
function prefix(value: string): { bytes: Uint8Array; length: number; family: number } {
  const [host = '', length] = value.split('/')
  if (isIP(host) === 0) throw new Unknown()
  const bytes = addressBytes(canonicalAddress(host))
  const family = familyOf(host) === 6 ? libc.AF_INET6 : libc.AF_INET
  return { bytes, length: length === undefined ? bytes.length * 8 : whole(length), family }
}

/** Takes `KEY VALUE` pairs and single words apart. */
function options(
  words: readonly string[],
  valued: readonly string[],
  single: readonly string[] = [],
): Map<string, string> {
  const found = new Map<string, string>()
  for (let i = 0; i < words.length; i++) {
    const key = words[i]!
    if (single.includes(key)) found.set(key, '')
    else if (valued.includes(key) && words[i + 1] !== undefined) found.set(key, words[++i]!)
    else throw new Unknown()
  }
  return found
}

function required(found: ReadonlyMap<string, string>, key: string): string {
  const value = found.get(key)
  if (value === undefined) throw new Unknown()
  return value
}

/** What a line needs besides its message: the device's number, descriptors to close after. */
interface Around {
  indexOf(device: string): number
  open(path: string): number
}

type Writer = (words: readonly string[], around: Around) => void

const linkHeader = (flags = 0, change = 0): number[] => [
  ...[0, 0, 0, 0],
  ...word(0),
  ...word(flags),
  ...word(change),
]

const WRITERS: Readonly<Record<string, Writer>> = {
  'link set'(words) {
    const numbers = ['mtu', 'txqueuelen', 'gso_max_size', 'gso_max_segs'] as const
    const valued = ['dev', 'address', 'addrgenmode', ...numbers]
    const found = options(words, valued, ['up', 'down'])
    const isSet = found.has('up') || found.has('down')
    begin(RTM_NEWLINK, 0, linkHeader(found.has('up') ? IFF_UP : 0, isSet ? IFF_UP : 0))
    attribute(IFLA.name, text(required(found, 'dev')))
    if (found.has('address')) attribute(IFLA.address, mac(required(found, 'address')))
    for (const key of numbers) {
      if (found.has(key)) attribute(IFLA[key], number(whole(required(found, key))))
    }
    if (!found.has('addrgenmode')) return
    if (found.get('addrgenmode') !== 'none') throw new Unknown()
    nested(IFLA.afSpec, () => {
      nested(libc.AF_INET6, () => {
        attribute(IFLA_INET6_ADDR_GEN_MODE, Uint8Array.of(ADDR_GEN_MODE_NONE))
      })
    })
  },
  'link add'(words, around) {
    const at = words.indexOf('peer')
    if (at < 0) throw new Unknown()
    const own = options(words.slice(0, at), ['name', 'address', 'type'])
    const peer = options(words.slice(at + 1), ['name', 'address', 'netns'])
    if (own.get('type') !== 'veth') throw new Unknown()
    const path = required(peer, 'netns')
    if (!path.startsWith('/')) throw new Unknown()
    const namespace = around.open(path)
    begin(RTM_NEWLINK, CREATE | EXCLUSIVE, linkHeader())
    attribute(IFLA.name, text(required(own, 'name')))
    attribute(IFLA.address, mac(required(own, 'address')))
    nested(IFLA.info, () => {
      attribute(IFLA_INFO_KIND, text('veth'))
      nested(IFLA_INFO_DATA, () => {
        nested(VETH_INFO_PEER, () => {
          end += linkHeader().length
          attribute(IFLA.name, text(required(peer, 'name')))
          attribute(IFLA.address, mac(required(peer, 'address')))
          attribute(IFLA.netnsFd, number(namespace))
        })
      })
    })
  },
  'link del'(words) {
    begin(RTM_DELLINK, 0, linkHeader())
    attribute(IFLA.name, text(required(options(words, ['dev']), 'dev')))
  },
  'addr replace'([address = '', ...words], around) {
    const found = options(words, ['dev'], ['nodad'])
    const { bytes, length, family } = prefix(address)
    const index = around.indexOf(required(found, 'dev'))
    begin(RTM_NEWADDR, CREATE | REPLACE, [family, length, 0, 0, ...word(index)])
    attribute(IFA.local, bytes)
    attribute(IFA.address, bytes)
    if (found.has('nodad')) attribute(IFA.flags, number(IFA_F_NODAD))
  },
  'addr del'([address = '', ...words], around) {
    const { bytes, length, family } = prefix(address)
    const index = around.indexOf(required(options(words, ['dev']), 'dev'))
    begin(RTM_DELADDR, 0, [family, length, 0, 0, ...word(index)])
    attribute(IFA.local, bytes)
    attribute(IFA.address, bytes)
  },
  'route replace'([target = '', ...words], around) {
    const found = options(words, ['via', 'dev', 'scope', 'table'])
    const via = found.get('via')
    const gateway = via === undefined ? null : prefix(via)
    const to = target === 'default' ? null : prefix(target)
    const family = to?.family ?? gateway?.family
    if (family === undefined || (found.has('scope') && found.get('scope') !== 'link')) {
      throw new Unknown()
    }
    // As ip: what is reached directly over IPv4 is of the link.
    const isDirect = gateway === null && family === libc.AF_INET
    const scope = isDirect || found.has('scope') ? RT_SCOPE_LINK : 0
    const table = whole(found.get('table') ?? String(RT_TABLE_MAIN))
    const index = around.indexOf(required(found, 'dev'))
    const small = table < 256 ? table : 0
    const header = [family, to?.length ?? 0, 0, 0, small, RTPROT_BOOT, scope, RTN_UNICAST]
    begin(RTM_NEWROUTE, CREATE | REPLACE, [...header, ...word(0)])
    if (to !== null) attribute(RTA.dst, to.bytes)
    if (gateway !== null) attribute(RTA.gateway, gateway.bytes)
    attribute(RTA.oif, number(index))
    attribute(RTA.table, number(table))
  },
  'neigh replace'([address = '', ...words], around) {
    const found = options(words, ['lladdr', 'dev', 'nud'])
    if (found.get('nud') !== 'permanent') throw new Unknown()
    const { bytes, family } = prefix(address)
    const index = around.indexOf(required(found, 'dev'))
    const header = [family, 0, 0, 0, ...word(index), NUD_PERMANENT, 0, 0, 0]
    begin(RTM_NEWNEIGH, CREATE | REPLACE, header)
    attribute(NDA.dst, bytes)
    attribute(NDA.lladdr, mac(required(found, 'lladdr')))
  },
}

/** Error numbers that a tolerance covers: ENOENT, ESRCH, ENXIO, ENODEV, EADDRNOTAVAIL; EEXIST. */
const TOLERATED: Readonly<Record<Tolerance, readonly number[]>> = {
  exists: [17],
  missing: [2, 3, 6, 19, 99],
  'no source': [],
}

/** The kernel's answer to the message: 0 or -errno. */
function send(fd: number): number {
  out.writeUInt32LE(end, 0)
  const sent = libc.write(fd, outAddress, end)
  if (sent < 0) return sent
  const got = libc.read(fd, answerAddress, MESSAGE_MAX)
  if (got < 0) return got
  return answer.readUInt16LE(4) === NLMSG_ERROR ? answer.readInt32LE(16) : 0
}

const request = libc.allocateStatic(40)
const requestAddress = libc.addressOf(request)

/** Does what one line says; 0 or -errno. Throws Unknown. */
function perform(fd: number, line: string): number {
  const [object = '', verb = '', ...words] = line.split(' ')
  const writer = WRITERS[`${object} ${verb}`]
  if (writer === undefined) throw new Unknown()
  const opened: number[] = []
  let failed = 0
  const around: Around = {
    indexOf(device) {
      request.fill(0)
      request.write(device.slice(0, 15), 0)
      const result = libc.ioctl(fd, SIOCGIFINDEX, requestAddress)
      if (result < 0) failed = result
      return request.readInt32LE(16)
    },
    open(path) {
      const namespace = libc.open(path, libc.O_RDONLY | libc.O_CLOEXEC)
      if (namespace < 0) failed = namespace
      else opened.push(namespace)
      return namespace
    },
  }
  try {
    writer(words, around)
    return failed < 0 ? failed : send(fd)
  } finally {
    for (const namespace of opened) libc.close(namespace)
  }
}

/** Makes changes in order, as changeIp() does, without a program where it can be. It goes on after
 * a failure and then rejects with EdgeError COMMAND_FAILED or NO_PERMISSION, or NAMESPACE_*. `byIp`
 * does what is left. */
export async function changeLinks(
  commands: readonly IpCommand[],
  how: IpOptions = {},
  byIp: typeof changeIp = changeIp,
): Promise<void> {
  const failures: { line: string; errno: number }[] = []
  const left = inNamespace(how.namespace, () => {
    const fd = libc.socket(AF_NETLINK, libc.SOCK_RAW | libc.SOCK_CLOEXEC, 0)
    if (fd < 0) throw systemError('socket', 'rtnetlink', fd)
    try {
      for (const [c, { line, tolerate }] of commands.entries()) {
        const errno = performed(fd, line)
        // The rest is ip's, which keeps the order.
        if (errno === null) return commands.slice(c)
        if (errno === 0 || (tolerate && TOLERATED[tolerate].includes(-errno))) continue
        failures.push({ line, errno })
      }
      return []
    } finally {
      libc.close(fd)
    }
  })
  await byIp(left, how)
  if (failures.length === 0) return
  const what = failures.map(({ line, errno }) => `ip ${line}: ${errnoSentence(errno)}`).join('\n')
  const denied = failures.some(({ errno }) => errno === -libc.EPERM)
  const remedy = denied ? 'run as root or with CAP_NET_ADMIN' : ''
  throw new EdgeError(denied ? 'NO_PERMISSION' : 'COMMAND_FAILED', 'ip', what, remedy)
}

/** 0 or -errno; null for what is not in the vocabulary. */
function performed(fd: number, line: string): number | null {
  try {
    return perform(fd, line)
  } catch (error) {
    if (error instanceof Unknown) return null
    throw error
  }
}
