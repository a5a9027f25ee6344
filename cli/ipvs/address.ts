// Addresses, ports and masks as ipvsadm reads them: inet_aton's forms of IPv4 (a.b.c.d, a.b.c, a.b,
// hexadecimal and octal parts), IPv6 with or without brackets, names of hosts and of ports.

import { parseAddress } from '../../dataplane/address.ts'
import type { Names } from './names.ts'

export interface ServiceAddress {
  readonly family: 4 | 6
  /** Canonical text. */
  readonly address: string
  /** Null when none was given. */
  readonly port: number | null
}

const PORT_MAX = 65_535

/** A whole number as strtol(3) reads it in base 10, from `min` to `max`; null for anything else. */
export function wholeNumber(text: string, min: number, max: number): number | null {
  if (!/^\s*[+-]?\d+$/.test(text)) return null
  const value = Number(text)
  return value >= min && value <= max ? value : null
}

/** inet_aton(3): the text's address in dotted decimal, null when it is none. */
export function inetAton(text: string): string | null {
  const parts = text.split('.')
  if (parts.length > 4) return null
  const numbers: number[] = []
  for (const part of parts) {
    const isNumber = /^(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)$/.test(part)
    if (!isNumber) return null
    const isOctal = /^0[0-7]+$/.test(part)
    numbers.push(isOctal ? Number.parseInt(part, 8) : Number(part))
  }
  const last = numbers.pop()!
  if (numbers.some((number) => number > 255) || last >= 256 ** (4 - numbers.length)) return null
  const value = numbers.reduce((sum, number, i) => sum + number * 256 ** (3 - i), 0) + last
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.')
}

/** "host[:port]", "[v6]:port" or a bare IPv6 address; null when it is none of them. */
export function parseService(text: string, protocol: string, names: Names): ServiceAddress | null {
  if (/^\d*$/.test(text)) return null
  let host = text
  let port: string | null = null
  if (text.startsWith('[')) {
    const match = /^\[([^\]]*)\]:(.*)$/s.exec(text)
    if (match === null) return null
    host = match[1]!
    port = match[2]!
  }
  let address = host.includes(':') ? (parseAddress(host)?.text ?? null) : null
  if (address === null) {
    if (port === null) {
      const colon = host.lastIndexOf(':')
      if (colon >= 0) port = host.slice(colon + 1)
      if (colon >= 0) host = host.slice(0, colon)
    }
    address = inetAton(host) ?? names.address(host) ?? null
  }
  if (address === null) return null
  const number = port === null ? null : portNumber(port, protocol, names)
  if (port !== null && number === null) return null
  return { family: address.includes(':') ? 6 : 4, address, port: number }
}

function portNumber(text: string, protocol: string, names: Names): number | null {
  return wholeNumber(text, 0, PORT_MAX) ?? names.port(protocol, text) ?? null
}

/** Prefix length of an IPv4 mask in any form of inet_aton, null when it is none. ipvsadm takes any
 * address for a mask; here its ones must stand together. */
export function parseNetmask(text: string): number | null {
  const dotted = inetAton(text)
  if (dotted === null) return null
  const bits = dotted
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('')
  return /^1*0*$/.test(bits) ? bits.lastIndexOf('1') + 1 : null
}
