// The internet checksum: RFC 1071 (definition), RFC 1624 (incremental update), and the "partial"
// form that network cards and TUN/TAP devices use.
//
// A "sum" here is the one's complement sum of big-endian 16-bit words, folded to 16 bits and NOT
// complemented; a "checksum" is what stands in a header: the complement of a sum. A checksum field
// is "partial" when it holds only the sum of the pseudo header, for a later stage to finish
// (virtio's NEEDS_CSUM, Linux's CHECKSUM_PARTIAL).
//
// The sum does not depend on byte order (RFC 1071 section 2 (B)): sumBytes() reads little-endian,
// which costs no byte swap on the machines we run on, and swaps the 16-bit result once.
// sumBytesPlain() is its plain twin, and a test holds them equal.

const ADDRESSES_V4 = 12
const ADDRESSES_V6 = 8

/** From this many bytes on, sumBytes() adds in floating point. Measured on Node 24, x86-64, in ns:
 * 1400 bytes 283 in integers and 151 in floating point, 20 bytes 9 and 15. */
const LONG_SIZE = 256

/** Folds an unsigned 32-bit integer to 16 bits with end-around carry. */
export function foldSum(sum: number): number {
  let folded = (sum >>> 16) + (sum & 0xffff)
  folded = (folded >>> 16) + (folded & 0xffff)
  return folded
}

function swap16(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8)
}

/** Sum over [at, end) on top of the sum `initial`. An odd last byte counts as if a zero byte
 * followed. At most 64 KB. */
export function sumBytes(view: DataView, at: number, end: number, initial: number): number {
  let i = at
  let a = 0
  let b = 0
  if (end - at >= LONG_SIZE) {
    i = end - ((end - at) & 31)
    a = sumBlocks(view, at, i)
  }
  // A word adds its two halves, so the totals stay below 2^31 over 64 KB: two accumulators of
  // 32-bit integers.
  for (const last = end - 16; i <= last; i += 16) {
    const w0 = view.getInt32(i, true)
    const w1 = view.getInt32(i + 4, true)
    const w2 = view.getInt32(i + 8, true)
    const w3 = view.getInt32(i + 12, true)
    a = (a + (w0 & 0xffff) + (w0 >>> 16) + (w1 & 0xffff) + (w1 >>> 16)) | 0
    b = (b + (w2 & 0xffff) + (w2 >>> 16) + (w3 & 0xffff) + (w3 >>> 16)) | 0
  }
  for (; i + 2 <= end; i += 2) a = (a + view.getUint16(i, true)) | 0
  if (i < end) a = (a + view.getUint8(i)) | 0
  return foldSum(swap16(foldSum(foldSum(a) + foldSum(b))) + initial)
}

/** Little-endian sum of [at, end), a multiple of 32 bytes, folded. Whole 32-bit words are added as
 * doubles, which are exact up to 2^53: four independent chains, one addition per four bytes. */
function sumBlocks(view: DataView, at: number, end: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  for (let i = at; i < end; i += 32) {
    a += view.getUint32(i, true) + view.getUint32(i + 16, true)
    b += view.getUint32(i + 4, true) + view.getUint32(i + 20, true)
    c += view.getUint32(i + 8, true) + view.getUint32(i + 24, true)
    d += view.getUint32(i + 12, true) + view.getUint32(i + 28, true)
  }
  const sum = a + b + c + d
  return foldSum(foldSum(sum >>> 0) + Math.floor(sum / 4294967296))
}

/** The plain twin of sumBytes(): one word at a time, as RFC 1071 writes it. */
export function sumBytesPlain(view: DataView, at: number, end: number, initial: number): number {
  let sum = initial
  for (let i = at; i < end; i += 2) {
    sum += view.getUint8(i) * 256 + (i + 1 < end ? view.getUint8(i + 1) : 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

/** Checksum of [at, end) on top of the sum `initial`: what goes into the header, field zeroed
 * before. */
export function checksum(view: DataView, at: number, end: number, initial: number): number {
  return ~sumBytes(view, at, end, initial) & 0xffff
}

/** The plain twin of checksum(). */
export function checksumPlain(view: DataView, at: number, end: number, initial: number): number {
  return 0xffff - sumBytesPlain(view, at, end, initial)
}

/** True when [at, end), its checksum field included, sums up to all ones on top of `initial`. A
 * field that was never filled in (all bytes zero) does not pass: the sum of nothing is 0. */
export function checksumHolds(view: DataView, at: number, end: number, initial: number): boolean {
  return sumBytes(view, at, end, initial) === 0xffff
}

/** Sum of the pseudo header of an IPv4 packet at `ipAt` (RFC 9293 section 3.1, RFC 768): addresses,
 * protocol, and `length`, the bytes of upper-layer header and payload. This is also what a partial
 * checksum field holds. */
export function pseudoSumV4(
  view: DataView,
  ipAt: number,
  protocol: number,
  length: number,
): number {
  const source = view.getInt32(ipAt + ADDRESSES_V4)
  const target = view.getInt32(ipAt + ADDRESSES_V4 + 4)
  return foldSum(
    (source >>> 16) +
      (source & 0xffff) +
      (target >>> 16) +
      (target & 0xffff) +
      protocol +
      (length >>> 16) +
      (length & 0xffff),
  )
}

/** Sum of the pseudo header of an IPv6 packet at `ipAt` (RFC 8200 section 8.1). */
export function pseudoSumV6(
  view: DataView,
  ipAt: number,
  protocol: number,
  length: number,
): number {
  let sum = protocol + (length >>> 16) + (length & 0xffff)
  for (let i = ipAt + ADDRESSES_V6; i < ipAt + ADDRESSES_V6 + 32; i += 4) {
    const word = view.getInt32(i)
    sum += (word >>> 16) + (word & 0xffff)
  }
  return foldSum(sum)
}

/** Finishes a partial checksum: sums [start, end), whose field at `field` holds the pseudo
 * header's sum, and writes the checksum there. Zero is written as 0xffff, as UDP demands (RFC
 * 768) and as no other protocol minds: both are zero in one's complement. */
export function finishChecksum(view: DataView, start: number, end: number, field: number): void {
  const value = checksum(view, start, end, 0)
  view.setUint16(field, value === 0 ? 0xffff : value)
}

/** The checksum after one aligned 16-bit word went from `before` to `after`: equation 3 of RFC
 * 1624. */
export function updateChecksum16(check: number, before: number, after: number): number {
  return ~foldSum((~check & 0xffff) + (~before & 0xffff) + after) & 0xffff
}

/** The checksum after one aligned 32-bit word, such as an IPv4 address, went from `before` to
 * `after`. */
export function updateChecksum32(check: number, before: number, after: number): number {
  return (
    ~foldSum(
      (~check & 0xffff) + (~before >>> 16) + (~before & 0xffff) + (after >>> 16) + (after & 0xffff),
    ) & 0xffff
  )
}

/** The checksum after the 16 bytes of an IPv6 address went from those at `before` to those at
 * `after`. */
export function updateChecksumV6(
  check: number,
  beforeView: DataView,
  before: number,
  afterView: DataView,
  after: number,
): number {
  return ~sumV6Change(~check & 0xffff, beforeView, before, afterView, after) & 0xffff
}

/** A sum (such as a partial checksum field) after one aligned 16-bit word changed. */
export function updateSum16(sum: number, before: number, after: number): number {
  return foldSum(sum + (~before & 0xffff) + after)
}

/** A sum (such as a partial checksum field) after one aligned 32-bit word changed. */
export function updateSum32(sum: number, before: number, after: number): number {
  return foldSum(sum + (~before >>> 16) + (~before & 0xffff) + (after >>> 16) + (after & 0xffff))
}

/** A sum (such as a partial checksum field) after an IPv6 address changed. */
export function updateSumV6(
  sum: number,
  beforeView: DataView,
  before: number,
  afterView: DataView,
  after: number,
): number {
  return sumV6Change(sum, beforeView, before, afterView, after)
}

function sumV6Change(
  sum: number,
  beforeView: DataView,
  before: number,
  afterView: DataView,
  after: number,
): number {
  let total = sum
  for (let i = 0; i < 16; i += 4) {
    const out = ~beforeView.getInt32(before + i)
    const into = afterView.getInt32(after + i)
    total += (out >>> 16) + (out & 0xffff) + (into >>> 16) + (into & 0xffff)
  }
  return foldSum(total)
}
