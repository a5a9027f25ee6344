// The MAC address that belongs to an inner address when the tables name none: 02:42 (locally
// administered, as Docker makes them) and four bytes of the address: those of an IPv4 address as they
// are, FNV-1a's 32 bits of an IPv6 one (draft-eastlake-fnv-21 section 2.2).

export function macFromAddress(bytes: Uint8Array): Uint8Array {
  const mac = new Uint8Array(6)
  mac[0] = 0x02
  mac[1] = 0x42
  if (bytes.length === 4) {
    mac.set(bytes, 2)
    return mac
  }
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  new DataView(mac.buffer).setInt32(2, hash)
  return mac
}
