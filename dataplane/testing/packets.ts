// Frames for tests, built from named fields the slow and obvious way, and the plain twins of
// splitting and merging: segments are built one by one from fields as the rules of Linux GSO say,
// never by patching a template. For tests only: everything allocates, and what cannot be is thrown.

import assert from 'node:assert/strict'
import { checksumPlain, sumBytesPlain } from '../../wire/checksum.ts'
import { TCP_CWR, TCP_FIN, TCP_PSH } from '../../wire/tcp.ts'
import {
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_HEADER_SIZE,
  writeVnet,
} from '../../wire/vnet.ts'
import { parseAddress } from '../address.ts'
import { macFromAddress } from '../mac-derive.ts'

export const ETHERNET = 14
export const TCP = 6
export const UDP = 17
export const ICMP = 1
export const ICMPV6 = 58

export interface PacketFields {
  readonly source: string
  readonly target: string
  /** Six bytes each, default derived from the addresses. */
  readonly sourceMac?: Uint8Array
  readonly targetMac?: Uint8Array
  /** Default UDP. */
  readonly protocol?: number
  readonly sourcePort?: number
  readonly targetPort?: number
  readonly sequence?: number
  readonly acknowledgement?: number
  /** Default ACK. */
  readonly flags?: number
  readonly window?: number
  /** TCP options, a multiple of four bytes. */
  readonly options?: Uint8Array
  readonly payload?: Uint8Array
  /** IPv4 TOS or IPv6 traffic class; IPv6 flow label. */
  readonly tos?: number
  readonly flowLabel?: number
  readonly ttl?: number
  readonly identification?: number
  readonly dontFragment?: boolean
  /** Fragment offset in bytes, and whether more follow: present = a fragment. */
  readonly fragment?: { readonly offset: number; readonly more: boolean }
  /** IPv4 options, a multiple of four bytes. */
  readonly ipOptions?: Uint8Array
  /** The checksum field holds the pseudo header's sum only. */
  readonly partial?: boolean
}

/** Raw bytes of an address. */
export function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text)
  assert(address !== null, `${text} is an address`)
  return address.bytes
}

export function macOf(text: string): Uint8Array {
  return macFromAddress(addressBytes(text))
}

/** A payload of which every byte tells its place. */
export function payloadOf(size: number, seed: number = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8) * 13 + seed) & 0xff)
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A whole Ethernet frame. */
export function buildFrame(fields: PacketFields): Uint8Array {
  const packet = buildPacket(fields)
  const header = new Uint8Array(ETHERNET)
  header.set(fields.targetMac ?? macOf(fields.target))
  header.set(fields.sourceMac ?? macOf(fields.source), 6)
  view(header).setUint16(12, packet[0]! >>> 4 === 6 ? 0x86dd : 0x0800)
  return concat(header, packet)
}

/** An IP packet. */
export function buildPacket(fields: PacketFields): Uint8Array {
  const source = addressBytes(fields.source)
  const target = addressBytes(fields.target)
  const protocol = fields.protocol ?? UDP
  const later = (fields.fragment?.offset ?? 0) > 0
  const upper = later ? (fields.payload ?? new Uint8Array(0)) : buildUpper(fields, protocol)
  if (!later) fillUpper(upper, protocol, source, target, fields.partial === true)
  return source.length === 4
    ? concat(headerV4(fields, protocol, source, target, upper.length), upper)
    : concat(headerV6(fields, protocol, source, target, upper.length), upper)
}

function headerV4(
  fields: PacketFields,
  protocol: number,
  source: Uint8Array,
  target: Uint8Array,
  upperSize: number,
): Uint8Array {
  const options = fields.ipOptions ?? new Uint8Array(0)
  const header = new Uint8Array(20 + options.length)
  const at = view(header)
  at.setUint8(0, 0x40 | (header.length / 4))
  at.setUint8(1, fields.tos ?? 0)
  at.setUint16(2, header.length + upperSize)
  at.setUint16(4, fields.identification ?? 0)
  const { offset = 0, more = false } = fields.fragment ?? {}
  const keep = (fields.dontFragment ?? fields.fragment === undefined) ? 0x4000 : 0
  at.setUint16(6, keep | (more ? 0x2000 : 0) | (offset / 8))
  at.setUint8(8, fields.ttl ?? 64)
  at.setUint8(9, protocol)
  header.set(source, 12)
  header.set(target, 16)
  header.set(options, 20)
  at.setUint16(10, checksumPlain(at, 0, header.length, 0))
  return header
}

function headerV6(
  fields: PacketFields,
  protocol: number,
  source: Uint8Array,
  target: Uint8Array,
  upperSize: number,
): Uint8Array {
  const { fragment } = fields
  const header = new Uint8Array(fragment === undefined ? 40 : 48)
  const at = view(header)
  at.setUint32(0, 0x60000000 | ((fields.tos ?? 0) << 20) | (fields.flowLabel ?? 0))
  at.setUint16(4, header.length - 40 + upperSize)
  at.setUint8(6, fragment === undefined ? protocol : 44)
  at.setUint8(7, fields.ttl ?? 64)
  header.set(source, 8)
  header.set(target, 24)
  if (fragment !== undefined) {
    at.setUint8(40, protocol)
    at.setUint16(42, fragment.offset | (fragment.more ? 1 : 0))
    at.setUint32(44, fields.identification ?? 0)
  }
  return header
}

function buildUpper(fields: PacketFields, protocol: number): Uint8Array {
  const payload = fields.payload ?? new Uint8Array(0)
  if (protocol === TCP) {
    const options = fields.options ?? new Uint8Array(0)
    const header = new Uint8Array(20 + options.length)
    const at = view(header)
    at.setUint16(0, fields.sourcePort ?? 40000)
    at.setUint16(2, fields.targetPort ?? 80)
    at.setUint32(4, fields.sequence ?? 0)
    at.setUint32(8, fields.acknowledgement ?? 0)
    at.setUint8(12, (header.length / 4) << 4)
    at.setUint8(13, fields.flags ?? 0x10)
    at.setUint16(14, fields.window ?? 501)
    header.set(options, 20)
    return concat(header, payload)
  }
  if (protocol !== UDP) return payload.slice()
  const header = new Uint8Array(8)
  const at = view(header)
  at.setUint16(0, fields.sourcePort ?? 40000)
  at.setUint16(2, fields.targetPort ?? 53)
  at.setUint16(4, 8 + payload.length)
  return concat(header, payload)
}

/** Writes the checksum of TCP, UDP, ICMP or ICMPv6. */
function fillUpper(
  upper: Uint8Array,
  protocol: number,
  source: Uint8Array,
  target: Uint8Array,
  partial: boolean,
): void {
  const field = protocol === TCP ? 16 : protocol === UDP ? 6 : 2
  if (upper.length < field + 2) return
  const at = view(upper)
  at.setUint16(field, 0)
  const pseudo = protocol === ICMP ? 0 : pseudoSum(source, target, protocol, upper.length)
  if (partial) {
    at.setUint16(field, pseudo)
    return
  }
  const sum = checksumPlain(at, 0, upper.length, pseudo)
  at.setUint16(field, sum === 0 && protocol === UDP ? 0xffff : sum)
}

function pseudoSum(source: Uint8Array, target: Uint8Array, protocol: number, size: number): number {
  const header = new Uint8Array(8)
  view(header).setUint32(0, size)
  view(header).setUint32(4, protocol)
  const whole = concat(source, target, header)
  return sumBytesPlain(view(whole), 0, whole.length, 0)
}

/** True when IP header and transport checksum of a whole frame hold, computed anew. */
export function checksumsHold(frame: Uint8Array): boolean {
  return packetHolds(frame.subarray(ETHERNET))
}

export function packetHolds(packet: Uint8Array): boolean {
  const at = view(packet)
  const v6 = packet[0]! >>> 4 === 6
  const size = v6 ? 40 : (packet[0]! & 15) * 4
  if (!v6 && sumBytesPlain(at, 0, size, 0) !== 0xffff) return false
  const protocol = v6 ? packet[6]! : packet[9]!
  const source = v6 ? packet.subarray(8, 24) : packet.subarray(12, 16)
  const target = v6 ? packet.subarray(24, 40) : packet.subarray(16, 20)
  const length = packet.length - size
  const pseudo = protocol === ICMP ? 0 : pseudoSum(source, target, protocol, length)
  if (protocol === UDP && at.getUint16(size + 6) === 0) return !v6
  return sumBytesPlain(at, size, packet.length, pseudo) === 0xffff
}

/** The virtio-net header that a container's kernel puts in front of `fields`: checksum left undone,
 * and, with a gsoSize, segmentation. `linkSize` 0 for a TUN. */
export function vnetOf(
  fields: PacketFields,
  gsoSize: number = 0,
  linkSize: number = ETHERNET,
): Uint8Array {
  const bytes = new Uint8Array(VNET_HEADER_SIZE)
  if (fields.partial !== true) return bytes
  const v6 = fields.source.includes(':')
  const tcp = fields.protocol === TCP
  const l4 = linkSize + (v6 ? 40 : 20 + (fields.ipOptions?.length ?? 0))
  const type = tcp ? (v6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4) : VNET_GSO_UDP_L4
  const headers = l4 + (tcp ? 20 + (fields.options?.length ?? 0) : 8)
  const gso = gsoSize > 0 ? type : VNET_GSO_NONE
  writeVnet(view(bytes), 0, 1, gso, gsoSize > 0 ? headers : 0, gsoSize, l4, tcp ? 16 : 6)
  return bytes
}

/** Splitting, the plain way: the fields of each segment, from the fields of the super-packet. */
export function segmentsOf(fields: PacketFields, gsoSize: number): PacketFields[] {
  const payload = fields.payload ?? new Uint8Array(0)
  const segments: PacketFields[] = []
  for (let from = 0; from < payload.length; from += gsoSize) {
    const last = from + gsoSize >= payload.length
    const cleared = (last ? 0 : TCP_FIN | TCP_PSH) | (from > 0 ? TCP_CWR : 0)
    segments.push({
      ...fields,
      payload: payload.slice(from, from + gsoSize),
      identification: ((fields.identification ?? 0) + segments.length) & 0xffff,
      sequence: ((fields.sequence ?? 0) + from) >>> 0,
      flags: (fields.flags ?? 0x10) & ~cleared,
    })
  }
  return segments
}
