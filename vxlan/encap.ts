// Encapsulation, in place: headers are written into the headroom in front of a frame that stays
// where it is in the slab.
//
//     sealed      | envelope 16 | VXLAN 8 | frame ... | tag 16 |       then AeadKey.seal()
//                 ^ at - 24               ^ at
//                 sealed part:  [at - 8, end); its counter stands at at - 16
//
//     plain       | VXLAN 8 | frame ... |                              RFC 7348 to the letter
//                 ^ at - 8  ^ at

import {
  ENVELOPE_HEADER_SIZE,
  ENVELOPE_TAG_SIZE,
  ENVELOPE_TRANSPORT,
  writeEnvelope,
} from '../wire/envelope.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import { VXLAN_HEADER_SIZE, writeVxlan } from '../wire/vxlan.ts'

/** Room needed in front of a frame, and behind it. */
export const SEALED_HEADROOM: number = ENVELOPE_HEADER_SIZE + VXLAN_HEADER_SIZE
export const SEALED_TAILROOM: number = ENVELOPE_TAG_SIZE
export const PLAIN_HEADROOM: number = VXLAN_HEADER_SIZE

/** Bytes that a frame gains on its way into a UDP payload. */
export const SEALED_OVERHEAD: number = SEALED_HEADROOM + SEALED_TAILROOM
export const PLAIN_OVERHEAD: number = PLAIN_HEADROOM

const UDP_HEADER_SIZE = 8
const IPV4_HEADER_SIZE = 20
const IPV6_HEADER_SIZE = 40

/** Writes both headers in front of the frame at `at`; the counter is left to AeadKey.seal(), to be
 * called with sealedAt(at) and sealedLength(frame's length). `innerFlags`: VXLAN_INNER_*. Returns
 * the offset of the datagram's first byte. */
export function encapSealed(
  view: DataView,
  at: number,
  receiverIndex: number,
  vni: number,
  innerFlags: number,
): number {
  writeVxlan(view, at - VXLAN_HEADER_SIZE, vni, innerFlags)
  const start = at - SEALED_HEADROOM
  writeEnvelope(view, start, ENVELOPE_TRANSPORT, receiverIndex)
  return start
}

/** What AeadKey.seal() wants for a frame at `at`: the offset of the counter. */
export function sealedAt(at: number): number {
  return at - VXLAN_HEADER_SIZE - 8
}

/** What AeadKey.seal() wants for a frame of `frameLength` bytes: the length of what is encrypted.
 * */
export function sealedLength(frameLength: number): number {
  return VXLAN_HEADER_SIZE + frameLength
}

/** Writes an RFC 7348 header in front of the frame at `at`. Returns the datagram's offset. */
export function encapPlain(view: DataView, at: number, vni: number): number {
  const start = at - PLAIN_HEADROOM
  writeVxlan(view, start, vni, 0)
  return start
}

/** Largest UDP payload in an outer packet of `outerMtu` bytes. */
export function udpPayloadMax(outerMtu: number, outerIpv6: boolean): number {
  return outerMtu - (outerIpv6 ? IPV6_HEADER_SIZE : IPV4_HEADER_SIZE) - UDP_HEADER_SIZE
}

/** Largest inner IP packet that fits a UDP payload of `payloadMax` bytes. */
export function innerMtu(payloadMax: number, sealed: boolean): number {
  return payloadMax - (sealed ? SEALED_OVERHEAD : PLAIN_OVERHEAD) - ETHERNET_HEADER_SIZE
}
