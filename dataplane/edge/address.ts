// Addresses as text, as far as the edge needs them: which family, and one spelling each, so that what
// was asked for can be compared with what the kernel prints.

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
