// Packets for the tests of this folder: built from named fields, read back into them, with
// checksums filled in and checked by full recomputation. For tests only: it allocates and throws.

import {
  checksum,
  checksumHolds,
  finishChecksum,
  pseudoSumV4,
  pseudoSumV6,
} from '../wire/checksum.ts'
import { fillIcmpChecksum } from '../wire/icmp.ts'
import { fillIcmpv6Checksum } from '../wire/icmpv6.ts'
import {
  fillIpv4Checksum,
  ipv4HeaderHolds,
  setIpv4Fragment,
  setIpv4Identification,
  writeIpv4Header,
} from '../wire/ipv4.ts'
import { writeIpv6Fragment, writeIpv6Header } from '../wire/ipv6.ts'
import { formatAddress, parseAddress } from './address.ts'
import { crc32c } from './crc32c.ts'
import { ICMP, ICMPV6, IPV4, SCTP, TCP, UDP } from './flow.ts'

export interface Fields {
  /** 6 TCP, 17 UDP, 132 SCTP. */
  readonly protocol: number
  readonly source: string
  readonly target: string
  readonly sourcePort: number
  readonly targetPort: number
  /** TCP flags, default SYN. */
  readonly flags?: number
  readonly sequence?: number
  readonly acknowledgement?: number
  /** First SCTP chunk's type, default INIT. */
  readonly chunk?: number
  readonly payload?: Uint8Array
  /** The checksum field holds the pseudo-header sum only. */
  readonly partial?: boolean
  /** UDP over IPv4 without a checksum. */
  readonly noChecksum?: boolean
  /** Fragment: offset in bytes, more to come, identification. At an offset above 0 there is no L4
   * header. */
  readonly fragment?: { readonly offset: number; readonly more: boolean; readonly id: number }
}

export interface Packet {
  readonly view: DataView
  readonly ipAt: number
  readonly l4At: number
  readonly end: number
  readonly protocol: number
}

const ROOM = 4096
/** Not 0, so that an offset mistaken for an absolute one shows. */
const START = 18

/** Builds a packet from `fields`. */
export function build(fields: Fields): Packet {
  const view = new DataView(new ArrayBuffer(ROOM))
  const source = new Int32Array(4)
  const target = new Int32Array(4)
  const family = parseAddress(fields.source, source)
  if (family < 0 || family !== parseAddress(fields.target, target)) throw new Error('bad addresses')
  const later = (fields.fragment?.offset ?? 0) > 0
  const extension = family !== IPV4 && fields.fragment !== undefined ? 8 : 0
  const l4At = START + (family === IPV4 ? 20 : 40) + extension
  const end = later ? putPayload(view, l4At, fields.payload) : putL4(view, l4At, fields)
  if (family === IPV4) {
    writeIpv4Header(view, START, end - START, fields.protocol, 64, source[0]!, target[0]!)
    if (fields.fragment !== undefined) {
      const { offset, more, id } = fields.fragment
      setIpv4Fragment(view, START, offset, false, more)
      setIpv4Identification(view, START, id)
    }
    fillIpv4Checksum(view, START)
  } else {
    writeIpv6Header(view, START, end - START - 40, extension ? 44 : fields.protocol, 64)
    for (let i = 0; i < 4; i++) {
      view.setInt32(START + 8 + 4 * i, source[i]!)
      view.setInt32(START + 24 + 4 * i, target[i]!)
    }
    if (fields.fragment !== undefined) {
      const { offset, more, id } = fields.fragment
      writeIpv6Fragment(view, l4At - 8, fields.protocol, offset, more, id)
    }
  }
  const packet = { view, ipAt: START, l4At, end, protocol: fields.protocol }
  if (!later) fillL4Checksum(packet, fields.partial === true, fields.noChecksum === true)
  return packet
}

function putPayload(view: DataView, at: number, payload: Uint8Array | undefined): number {
  for (let i = 0; i < (payload?.length ?? 0); i++) view.setUint8(at + i, payload![i]!)
  return at + (payload?.length ?? 0)
}

function putL4(view: DataView, at: number, fields: Fields): number {
  view.setUint16(at, fields.sourcePort)
  view.setUint16(at + 2, fields.targetPort)
  if (fields.protocol === TCP) {
    view.setUint32(at + 4, fields.sequence ?? 0)
    view.setUint32(at + 8, fields.acknowledgement ?? 0)
    view.setUint16(at + 12, (5 << 12) | (fields.flags ?? 2))
    view.setUint16(at + 14, 65535)
    return putPayload(view, at + 20, fields.payload)
  }
  if (fields.protocol === SCTP) {
    view.setUint8(at + 12, fields.chunk ?? 1)
    view.setUint16(at + 14, 4)
    return putPayload(view, at + 16, fields.payload)
  }
  const end = putPayload(view, at + 8, fields.payload)
  view.setUint16(at + 4, end - at)
  return end
}

function pseudo(packet: Packet): number {
  const { view, ipAt, l4At, end, protocol } = packet
  return view.getUint8(ipAt) >> 4 === 4
    ? pseudoSumV4(view, ipAt, protocol, end - l4At)
    : pseudoSumV6(view, ipAt, protocol, end - l4At)
}

function fillL4Checksum(packet: Packet, partial: boolean, none: boolean): void {
  const { view, l4At, end, protocol } = packet
  if (protocol === SCTP) {
    view.setUint32(l4At + 8, crc32c(view, l4At, end), true)
    return
  }
  const field = l4At + (protocol === TCP ? 16 : 6)
  if (none) return
  if (partial) {
    view.setUint16(field, pseudo(packet))
    return
  }
  const check = checksum(view, l4At, end, pseudo(packet))
  view.setUint16(field, protocol === UDP && check === 0 ? 0xffff : check)
}

/** "source:port > target:port" of a packet, for comparison. */
export function ends(packet: Packet): string {
  const { view, ipAt, l4At } = packet
  const family = view.getUint8(ipAt) >> 4 === 4 ? 0 : 1
  const words = new Int32Array(8)
  const count = family === 0 ? 1 : 4
  for (let i = 0; i < count; i++) {
    words[i] = view.getInt32(ipAt + (family === 0 ? 12 : 8) + 4 * i)
    words[4 + i] = view.getInt32(ipAt + (family === 0 ? 16 : 24) + 4 * i)
  }
  const text = (at: number, port: number): string => {
    const address = formatAddress(family, words, at)
    return family === 0 ? `${address}:${port}` : `[${address}]:${port}`
  }
  return `${text(0, view.getUint16(l4At))} > ${text(4, view.getUint16(l4At + 2))}`
}

/** True when every checksum of the packet is what full recomputation gives. A partial one is
 * finished on a copy first. */
export function checksumsHold(packet: Packet, partial = false): boolean {
  const { ipAt, l4At, end, protocol } = packet
  const view = new DataView(packet.view.buffer.slice(0))
  const ipv4 = view.getUint8(ipAt) >> 4 === 4
  if (ipv4 && !ipv4HeaderHolds(view, ipAt)) return false
  if (protocol === SCTP) {
    const stored = view.getUint32(l4At + 8, true)
    view.setUint32(l4At + 8, 0)
    return stored === crc32c(view, l4At, end)
  }
  const field = l4At + (protocol === TCP ? 16 : 6)
  if (protocol === UDP && ipv4 && view.getUint16(field) === 0) return true
  if (partial) finishChecksum(view, l4At, end, field)
  return checksumHolds(view, l4At, end, pseudo({ ...packet, view }))
}

/** The ICMP or ICMPv6 "port unreachable" from `from` to `to` that quotes `quoted`, cut to
 * `quotedSize`. */
export function buildError(from: string, to: string, quoted: Packet, quotedSize: number): Packet {
  const view = new DataView(new ArrayBuffer(ROOM))
  const source = new Int32Array(4)
  const target = new Int32Array(4)
  const family = parseAddress(from, source)
  parseAddress(to, target)
  const icmpAt = START + (family === IPV4 ? 20 : 40)
  const size = Math.min(quotedSize, quoted.end - quoted.ipAt)
  const end = icmpAt + 8 + size
  const bytes = new Uint8Array(view.buffer)
  bytes.set(new Uint8Array(quoted.view.buffer, quoted.ipAt, size), icmpAt + 8)
  if (family === IPV4) {
    writeIpv4Header(view, START, end - START, ICMP, 64, source[0]!, target[0]!)
    fillIpv4Checksum(view, START)
    view.setUint16(icmpAt, 0x0303)
    fillIcmpChecksum(view, icmpAt, end)
  } else {
    writeIpv6Header(view, START, end - START - 40, ICMPV6, 64)
    for (let i = 0; i < 4; i++) {
      view.setInt32(START + 8 + 4 * i, source[i]!)
      view.setInt32(START + 24 + 4 * i, target[i]!)
    }
    view.setUint16(icmpAt, 0x0104)
    fillIcmpv6Checksum(view, START, icmpAt, end)
  }
  return { view, ipAt: START, l4At: icmpAt, end, protocol: family === IPV4 ? ICMP : ICMPV6 }
}

/** True when the ICMP checksum, the IPv4 header's, and the quoted IPv4 header's hold. */
export function errorHolds(packet: Packet): boolean {
  const { view, ipAt, l4At, end } = packet
  if (view.getUint8(ipAt) >> 4 === 4) {
    return (
      ipv4HeaderHolds(view, ipAt) &&
      ipv4HeaderHolds(view, l4At + 8) &&
      checksumHolds(view, l4At, end, 0)
    )
  }
  return checksumHolds(view, l4At, end, pseudoSumV6(view, ipAt, ICMPV6, end - l4At))
}

/** The quoted packet of an error, to be read with ends(). */
export function quotedOf(packet: Packet): Packet {
  const ipAt = packet.l4At + 8
  const ipv4 = packet.view.getUint8(ipAt) >> 4 === 4
  const l4At = ipAt + (ipv4 ? 20 : 40)
  return { view: packet.view, ipAt, l4At, end: packet.end, protocol: 0 }
}
