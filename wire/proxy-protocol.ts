// The PROXY protocol's header (haproxy, doc/proxy-protocol.txt): what a balancer puts in front of a
// TCP stream so that the server learns whose stream it is and where it was sent. Sections 2.1 and
// 2.2; of both versions only what is said of a TCP connection.
//
//   v1   "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"      at most 107 bytes
//   v2   signature(12)  0x21  family(1)  length(2)  source  target  ports(4)
//        family: 0x11 TCP over IPv4, 12 bytes follow; 0x21 TCP over IPv6, 36 bytes follow
//
// Addresses come as words in network order, one for IPv4 and four for IPv6. Nothing is allocated: a
// header is written for every connection. IPv6 addresses of v1 are in the form of RFC 5952.

export const PROXY_V1 = 1
export const PROXY_V2 = 2

/** Longest header: v1 with two long IPv6 addresses (section 2.1). */
export const PROXY_HEADER_SIZE_MAX = 107

/** "\r\n\r\n\0\r\nQUIT\n" as words. */
const SIGNATURE: readonly number[] = [0x0d0a0d0a, 0x000d0a51, 0x5549540a]
const SIGNATURE_SIZE = 12
/** Version 2, command PROXY. */
const VERSION_COMMAND = 0x21
const FAMILY_TCP4 = 0x11
const FAMILY_TCP6 = 0x21
const ADDRESSES_AT = 16

const SPACE = 0x20
const DOT = 0x2e
const COLON = 0x3a
const ZERO = 0x30
const CR = 0x0d
const LF = 0x0a
/** "PROXY TCP". */
const START: readonly number[] = [...'PROXY TCP'].map((letter) => letter.charCodeAt(0))

/** Writes the header of `version` at `at`, where PROXY_HEADER_SIZE_MAX bytes are free. `words` per
 * address: 1 or 4; they lie in `records` from `source` and from `target` on. Returns its size. */
export function writeProxyHeader(
  version: number,
  view: DataView,
  at: number,
  words: number,
  records: Int32Array,
  source: number,
  target: number,
  sourcePort: number,
  targetPort: number,
): number {
  if (version === PROXY_V1) {
    const end = writeLine(view, at, words, records, source, target, sourcePort, targetPort)
    return end - at
  }
  for (let i = 0; i < 3; i++) view.setUint32(at + 4 * i, SIGNATURE[i]!)
  view.setUint8(at + SIGNATURE_SIZE, VERSION_COMMAND)
  view.setUint8(at + SIGNATURE_SIZE + 1, words === 1 ? FAMILY_TCP4 : FAMILY_TCP6)
  view.setUint16(at + SIGNATURE_SIZE + 2, 8 * words + 4)
  const targetAt = at + ADDRESSES_AT + 4 * words
  for (let i = 0; i < words; i++) {
    view.setInt32(at + ADDRESSES_AT + 4 * i, records[source + i]!)
    view.setInt32(targetAt + 4 * i, records[target + i]!)
  }
  const portsAt = targetAt + 4 * words
  view.setUint16(portsAt, sourcePort)
  view.setUint16(portsAt + 2, targetPort)
  return portsAt + 4 - at
}

/** Each of these writes at `at` and returns the offset behind. */
function writeLine(
  view: DataView,
  at: number,
  words: number,
  records: Int32Array,
  source: number,
  target: number,
  sourcePort: number,
  targetPort: number,
): number {
  let end = at
  for (let i = 0; i < START.length; i++) view.setUint8(end++, START[i]!)
  view.setUint8(end++, words === 1 ? ZERO + 4 : ZERO + 6)
  view.setUint8(end++, SPACE)
  end = writeAddress(view, end, words, records, source)
  view.setUint8(end++, SPACE)
  end = writeAddress(view, end, words, records, target)
  view.setUint8(end++, SPACE)
  end = writeDecimal(view, end, sourcePort)
  view.setUint8(end++, SPACE)
  end = writeDecimal(view, end, targetPort)
  view.setUint8(end++, CR)
  view.setUint8(end++, LF)
  return end
}

function writeAddress(
  view: DataView,
  at: number,
  words: number,
  records: Int32Array,
  from: number,
): number {
  if (words !== 1) return writeIpv6(view, at, records, from)
  const address = records[from]!
  let end = at
  for (let shift = 24; shift >= 0; shift -= 8) {
    end = writeDecimal(view, end, (address >>> shift) & 0xff)
    if (shift > 0) view.setUint8(end++, DOT)
  }
  return end
}

/** RFC 5952 section 4: lower case, no leading zeros, the first of the longest runs of at least two
 * zero groups as "::". */
function writeIpv6(view: DataView, at: number, records: Int32Array, from: number): number {
  let runAt = -1
  let runSize = 1
  let zeros = 0
  for (let i = 0; i < 8; i++) {
    zeros = groupOf(records, from, i) === 0 ? zeros + 1 : 0
    if (zeros <= runSize) continue
    runSize = zeros
    runAt = i - zeros + 1
  }
  let end = at
  for (let i = 0; i < 8; i++) {
    if (i === runAt) {
      view.setUint8(end++, COLON)
      view.setUint8(end++, COLON)
      i += runSize - 1
      continue
    }
    if (i > 0 && i !== runAt + runSize) view.setUint8(end++, COLON)
    end = writeHex(view, end, groupOf(records, from, i))
  }
  return end
}

function groupOf(records: Int32Array, from: number, i: number): number {
  const word = records[from + (i >> 1)]!
  return (i & 1) === 0 ? word >>> 16 : word & 0xffff
}

function writeHex(view: DataView, at: number, value: number): number {
  let end = at
  for (let shift = 12; shift >= 0; shift -= 4) {
    if (shift > 0 && value >>> shift === 0) continue
    const digit = (value >>> shift) & 15
    view.setUint8(end++, digit < 10 ? ZERO + digit : 0x61 + digit - 10)
  }
  return end
}

function writeDecimal(view: DataView, at: number, value: number): number {
  let end = at
  for (let unit = 10_000; unit >= 1; unit = Math.trunc(unit / 10)) {
    if (unit > 1 && value < unit) continue
    view.setUint8(end++, ZERO + (Math.trunc(value / unit) % 10))
  }
  return end
}
