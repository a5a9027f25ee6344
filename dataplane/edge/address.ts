// Addresses as text, as far as the edge needs them: which family, and one spelling each, so that
// what was asked for can be compared with what the kernel prints.

import { SocketAddress } from 'node:net'

export type AddressFamily = 4 | 6

/** Family of an address, with or without a prefix length. */
export function familyOf(address: string): AddressFamily {
  return address.includes(':') ? 6 : 4
}

/** The spelling that the kernel's tools print (RFC 5952 for IPv6); a prefix length stays. Throws
 * TypeError when the text is no address. */
export function canonicalAddress(address: string): string {
  const [host = '', prefix] = address.split('/')
  const family = familyOf(host) === 6 ? 'ipv6' : 'ipv4'
  const spelled = new SocketAddress({ address: host, family }).address
  return prefix === undefined ? spelled : `${spelled}/${prefix}`
}

export interface Party {
  readonly bytes: Uint8Array
  readonly port: number
}

/** "10.0.0.1:4789" or "[fd00::1]:4789" as bytes. IPv4 in IPv6 form is IPv4. */
export function parseParty(text: string): Party {
  const match = /^\[?([^\]]*?)(?:%[^\]]*)?\]?:(\d+)$/.exec(text)
  const address = (match?.[1] ?? '').replace(/^::ffff:(?=\d+\.)/i, '')
  return { bytes: addressBytes(address), port: Number(match?.[2] ?? 0) }
}

/** The 4 or 16 bytes of an address in its canonical spelling. */
export function addressBytes(address: string): Uint8Array {
  if (familyOf(address) === 4) return Uint8Array.from(address.split('.').map(Number))
  const [left = '', right] = address.split('::')
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
  const head = groups(left)
  const tail = groups(right ?? '')
  const words = [...head, ...new Array(8 - head.length - tail.length).fill(0), ...tail]
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]))
}
