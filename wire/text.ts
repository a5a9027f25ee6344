// Addresses as people read them. For logs, metrics, errors and tests: each call allocates a string,
// so nothing on the packet path calls these. Parsing addresses and prefixes is ip-address's work,
// done where configuration is read.

/** 0x0a000001 as "10.0.0.1". */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`
}

/** The sixteen bytes at `at` in the canonical form of RFC 5952: lower case, no leading zeros,
 * the longest run of two or more zero groups (the first of equals) as "::". */
export function formatIpv6(view: DataView, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(at + i * 2))
  let best = -1
  let bestSize = 1
  for (let i = 0; i < 8; i++) {
    let size = 0
    while (i + size < 8 && groups[i + size] === 0) size++
    if (size > bestSize) {
      best = i
      bestSize = size
    }
    if (size > 0) i += size
  }
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':')
  return best < 0 ? text(0, 8) : `${text(0, best)}::${text(best + bestSize, 8)}`
}

/** A MAC given as its two halves, "02:42:0a:00:00:01". */
export function formatMac(hi: number, lo: number): string {
  const digits = hi.toString(16).padStart(4, '0') + lo.toString(16).padStart(8, '0')
  return digits.replace(/..(?!$)/g, '$&:')
}
