// The MAC address that belongs to an inner address when the tables name none, as bytes;
// vxlan/mac.ts says which it is and why.

import { DERIVED_MAC_HI, derivedMacLoV4, derivedMacLoV6 } from '../vxlan/mac.ts'

/** Six bytes for an address of 4 or 16. */
export function macFromAddress(bytes: Uint8Array): Uint8Array {
  const address = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const mac = new Uint8Array(6)
  const view = new DataView(mac.buffer)
  view.setUint16(0, DERIVED_MAC_HI)
  const isV4 = bytes.length === 4
  view.setUint32(2, isV4 ? derivedMacLoV4(address.getUint32(0)) : derivedMacLoV6(address, 0))
  return mac
}
