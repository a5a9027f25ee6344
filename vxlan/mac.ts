// MAC addresses of endpoints that name none: they derive from the endpoint's first address, so that
// every node knows them without being told and nothing is learnt from traffic.
//
//     IPv4    02:42 : the four bytes of the address           (as Docker's bridge and overlay do)
//     IPv6    02:42 : 32 bits of hash of the address          (16 bytes do not fit)
//
// 02 marks a locally administered unicast address (IEEE 802-2014 section 8.2). Two IPv6 addresses
// of one network collide once in 2^32 pairs; Fdb refuses the second, which must then be given a MAC
// explicitly.

/** First 16 bits of every derived MAC. */
export const DERIVED_MAC_HI = 0x0242

/** Last 32 bits of the MAC for an IPv4 address given as an unsigned number. */
export function derivedMacLoV4(address: number): number {
  return address >>> 0
}

/** Last 32 bits of the MAC for the IPv6 address at [at, at + 16). */
export function derivedMacLoV6(view: DataView, at: number): number {
  // FNV-1a over the four words, then the finalizer of MurmurHash3, as neighbouring addresses differ
  // in few bits and FNV alone would keep them neighbours.
  let hash = 0x811c9dc5
  for (let i = at; i < at + 16; i += 4) hash = Math.imul(hash ^ view.getInt32(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** "02:42:0a:00:00:02" */
export function formatMac(hi: number, lo: number): string {
  const hex = hi.toString(16).padStart(4, '0') + (lo >>> 0).toString(16).padStart(8, '0')
  return hex.replace(/(..)(?!$)/g, '$1:')
}

/** The halves of a MAC in text, hexadecimal bytes joined by ':' or '-'; null when it is none. */
export function parseMac(text: string): { hi: number; lo: number } | null {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) return null
  const hex = text.replace(/[:-]/g, '')
  return { hi: Number.parseInt(hex.slice(0, 4), 16), lo: Number.parseInt(hex.slice(4), 16) }
}
