// Addresses and prefixes: from text to bytes and back, and the few questions that the tables ask of
// them. All arithmetic on CIDR is the package ip-address's; it is used only while tables are read,
// never for a packet.
//
// One address has one text here: IPv4 in dotted decimal without leading zeros, IPv6 in any form on
// reading and RFC 5952's on writing. Zones (fe80::1%eth0) and IPv4-mapped IPv6 (::ffff:10.0.0.1)
// are refused: the first means nothing on another host, the second is a second text for an IPv4
// address.

import { Address4, Address6 } from 'ip-address'
import type { Address, Prefix } from './compiled.ts'

/** 4 or 6. */
export function familyOf(address: Address): 4 | 6 {
  return address.bytes.length === 4 ? 4 : 6
}

function fromAddress4(parsed: Address4): Address {
  return { text: parsed.correctForm(), bytes: Uint8Array.from(parsed.toArray()) }
}

function fromAddress6(parsed: Address6): Address {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < 8; i++) view.setUint16(2 * i, Number.parseInt(parsed.parsedAddress[i]!, 16))
  return { text: parsed.correctForm(), bytes }
}

function isMapped(bytes: Uint8Array): boolean {
  return (
    bytes.length === 16 &&
    bytes.subarray(0, 10).every((byte) => byte === 0) &&
    bytes[10] === 0xff &&
    bytes[11] === 0xff
  )
}

/** An IPv4 or IPv6 address without prefix length, or null. */
export function parseAddress(text: string): Address | null {
  if (text.includes('/') || text.includes('%')) return null
  try {
    if (!text.includes(':')) return fromAddress4(new Address4(text))
    const address = fromAddress6(new Address6(text))
    return isMapped(address.bytes) ? null : address
  } catch {
    return null
  }
}

/** A prefix in CIDR notation, or null. Host bits may be set in the text; they are zero in the
 * result, so that `prefixText(result) !== text` finds them. */
export function parsePrefix(text: string): Prefix | null {
  if (!/^[0-9a-fA-F.:]+\/(0|[1-9]\d{0,2})$/.test(text)) return null
  try {
    if (!text.includes(':')) {
      const parsed = new Address4(text)
      return { ...fromAddress4(parsed.startAddress()), length: parsed.subnetMask }
    }
    const parsed = new Address6(text)
    const start = fromAddress6(parsed.startAddress())
    return isMapped(start.bytes) ? null : { ...start, length: parsed.subnetMask }
  } catch {
    return null
  }
}

/** "10.1.0.0/16". */
export function prefixText(prefix: Prefix): string {
  return `${prefix.text}/${prefix.length}`
}

function wholeForm(prefix: Prefix): Address4 | Address6 {
  const text = prefixText(prefix)
  return familyOf(prefix) === 4 ? new Address4(text) : new Address6(text)
}

/** The last address of a prefix: the broadcast address of an IPv4 subnet. */
export function lastAddress(prefix: Prefix): Address {
  const form = wholeForm(prefix)
  return form instanceof Address4
    ? fromAddress4(form.endAddress())
    : fromAddress6(form.endAddress() as Address6)
}

/** The first host address: the one behind the network address (the subnet-router anycast address of
 * IPv6, RFC 4291 section 2.6.1). */
export function firstHost(prefix: Prefix): Address {
  const form = wholeForm(prefix)
  return form instanceof Address4
    ? fromAddress4(form.startAddressExclusive())
    : fromAddress6(form.startAddressExclusive() as Address6)
}

/** True when `address` lies in `prefix`. Written over bytes: it is asked for every endpoint. */
export function contains(prefix: Prefix, address: Address): boolean {
  const { bytes } = address
  if (bytes.length !== prefix.bytes.length) return false
  const whole = prefix.length >> 3
  for (let i = 0; i < whole; i++) if (bytes[i] !== prefix.bytes[i]) return false
  const rest = prefix.length & 7
  return rest === 0 || (bytes[whole]! ^ prefix.bytes[whole]!) >> (8 - rest) === 0
}

/** True when two prefixes share an address; then one holds the other. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? contains(a, b) : contains(b, a)
}

/** Order by family, then address, then length: a prefix stands before those inside it. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  if (a.bytes.length !== b.bytes.length) return a.bytes.length - b.bytes.length
  for (let i = 0; i < a.bytes.length; i++) {
    if (a.bytes[i] !== b.bytes[i]) return a.bytes[i]! - b.bytes[i]!
  }
  return a.length - b.length
}

export type SpecialKind = 'unspecified' | 'this network' | 'loopback' | 'multicast' | 'link-local'

/** What sets an address apart from ordinary unicast ones, null for an ordinary one. IPv4's reserved
 * class E counts as multicast: no host takes either. */
export function specialKind(address: Address): SpecialKind | null {
  const [first, second] = address.bytes
  if (address.bytes.every((byte) => byte === 0)) return 'unspecified'
  if (address.bytes.length === 4) {
    if (first === 0) return 'this network'
    if (first === 127) return 'loopback'
    return first! >= 224 ? 'multicast' : null
  }
  if (address.text === '::1') return 'loopback'
  if (first === 0xff) return 'multicast'
  return first === 0xfe && (second! & 0xc0) === 0x80 ? 'link-local' : null
}

export interface SocketAddress {
  readonly address: Address
  readonly port: number
}

/** "192.168.0.2:4789" or "[fd00::2]:4789", or null. */
export function parseSocketAddress(text: string): SocketAddress | null {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([1-9]\d{0,4})$/.exec(text)
  if (match === null) return null
  const address = parseAddress(match[1] ?? match[2]!)
  const port = Number(match[3])
  // Brackets are for IPv6 and only for it (RFC 3986 section 3.2.2).
  if (address === null || (match[1] !== undefined) !== (familyOf(address) === 6)) return null
  return port > 65_535 ? null : { address, port }
}

/** "192.168.0.2:4789" or "[fd00::2]:4789". */
export function socketAddressText(socket: SocketAddress): string {
  const { text } = socket.address
  return familyOf(socket.address) === 6 ? `[${text}]:${socket.port}` : `${text}:${socket.port}`
}

/** Six bytes from "02:42:0a:01:00:02", or null. */
export function parseMac(text: string): Uint8Array | null {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return null
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16))
}

/** "02:42:0a:01:00:02". */
export function macText(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

/** 32 bytes from canonical base64, or null. Node's decoder is lenient; the round trip is not. */
export function parseKey(text: string): Uint8Array | null {
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === 32 && bytes.toString('base64') === text ? Uint8Array.from(bytes) : null
}
