// IP addresses as text and as four 32-bit words in network order (IPv4: word 0 only). Configuration
// only; packets never come here. RFC 4291 section 2.2 (text forms), RFC 5952 (how to write IPv6).

import { IPV4, IPV6 } from './flow.ts'

/** Reads `text` into `address`. Returns IPV4, IPV6 or -1 when it is neither. No zones, no prefixes;
 * an IPv4-mapped IPv6 address stays IPv6. */
export function parseAddress(text: string, address: Int32Array): number {
  address.fill(0)
  if (!text.includes(':')) {
    const word = parseIpv4(text)
    if (word === null) return -1
    address[0] = word
    return IPV4
  }
  return parseIpv6(text, address) ? IPV6 : -1
}

function parseIpv4(text: string): number | null {
  const parts = text.split('.')
  if (parts.length !== 4) return null
  let word = 0
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null
    word = (word << 8) | Number(part)
  }
  return word
}

function parseIpv6(text: string, address: Int32Array): boolean {
  const halves = text.split('::')
  if (halves.length > 2) return false
  const head = parseGroups(halves[0]!, halves.length === 1)
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : []
  if (head === null || tail === null) return false
  const missing = 8 - head.length - tail.length
  // "::" stands for at least one group (RFC 5952 section 4.2.2 for writing; read strictly too).
  if (halves.length === 2 ? missing < 1 : missing !== 0) return false
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail]
  for (let i = 0; i < 4; i++) address[i] = (groups[2 * i]! << 16) | groups[2 * i + 1]!
  return true
}

function parseGroups(text: string, last: boolean): number[] | null {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    if (part.includes('.')) {
      const word = last && i === parts.length - 1 ? parseIpv4(part) : null
      if (word === null) return null
      groups.push(word >>> 16, word & 0xffff)
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null
      groups.push(Number.parseInt(part, 16))
    }
  }
  return groups.length <= 8 ? groups : null
}

/** Text of the address whose words start at `at` of `words`. */
export function formatAddress(family: number, words: Int32Array, at = 0): string {
  if (family === IPV4) {
    const word = words[at]!
    return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`
  }
  const groups: number[] = []
  for (let i = 0; i < 4; i++) groups.push(words[at + i]! >>> 16, words[at + i]! & 0xffff)
  // The longest run of two or more zero groups, the first of equals, becomes "::".
  let runAt = -1
  let runLength = 1
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > runLength) {
      runAt = i
      runLength = length
    }
  }
  const hex = (part: number[]): string => part.map((group) => group.toString(16)).join(':')
  if (runAt < 0) return hex(groups)
  return `${hex(groups.slice(0, runAt))}::${hex(groups.slice(runAt + runLength))}`
}
