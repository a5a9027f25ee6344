// Addresses and subnets as numbers, for whoever hands out addresses or asks whether one lies within
// another. All parsing and printing of addresses is the package ip-address's.
//
// Zones (fe80::1%eth0) and IPv4-mapped IPv6 addresses are refused: the first means nothing on
// another host, the second is a second text for an IPv4 address.

import { Address4, Address6 } from 'ip-address'

export type Family = 4 | 6

export interface IpNumber {
  readonly family: Family
  readonly value: bigint
}

export interface Cidr {
  readonly family: Family
  /** First address: host bits are zero. */
  readonly base: bigint
  readonly prefix: number
  /** How many addresses it has. */
  readonly size: bigint
}

const BITS: Readonly<Record<Family, number>> = { 4: 32, 6: 128 }
const MAPPED_PREFIX = 0xffffn
const CIDR_FORM = /^([0-9a-fA-F.:]+)\/(0|[1-9]\d{0,2})$/

/** An address without prefix length, or null. */
export function parseIp(text: string): IpNumber | null {
  if (!/^[0-9a-fA-F.:]+$/.test(text)) return null
  try {
    if (!text.includes(':')) return { family: 4, value: new Address4(text).bigInt() }
    const value = new Address6(text).bigInt()
    return value >> 32n === MAPPED_PREFIX ? null : { family: 6, value }
  } catch {
    return null
  }
}

/** A subnet in CIDR notation, or null. Host bits in the text are dropped. */
export function parseCidr(text: string): Cidr | null {
  const [, host, length] = CIDR_FORM.exec(text) ?? []
  if (host === undefined) return null
  const ip = parseIp(host)
  const prefix = Number(length)
  if (ip === null || prefix > BITS[ip.family]) return null
  return cidrOf(ip, prefix)
}

/** The subnet of length `prefix` around an address. */
export function cidrOf({ family, value }: IpNumber, prefix: number): Cidr {
  const hostBits = BigInt(BITS[family] - prefix)
  return { family, base: (value >> hostBits) << hostBits, prefix, size: 1n << hostBits }
}

export function formatIp({ family, value }: IpNumber): string {
  return family === 4 ? formatIp4(Number(value)) : Address6.fromBigInt(value).correctForm()
}

export function formatCidr({ family, base, prefix }: Cidr): string {
  return `${formatIp({ family, value: base })}/${prefix}`
}

export function cidrHas(cidr: Cidr, ip: IpNumber): boolean {
  if (ip.family !== cidr.family) return false
  return ip.value >= cidr.base && ip.value < cidr.base + cidr.size
}

/** True when the two have an address in common. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.base < b.base + b.size && b.base < a.base + a.size
}

function formatIp4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}
